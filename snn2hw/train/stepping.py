# pyright: basic
"""Modules from elsewhere, known by name and home, and how they are run over time.

snnTorch and Norse step: a call is one time step, and what is remembered is in the module or handed
back. Everything else takes all steps at once, folded into the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.train.neurons import Lif
from snn2hw.train.students import Readout, Synapse

NORSE = ("norse.LIFBoxCell", "norse.LIFCell", "norse.IAFCell")
SNNTORCH = ("snntorch.Leaky", "snntorch.Synaptic")
STEPPED = (*SNNTORCH, *NORSE)

_HOMES = ("torch.nn.modules.", "snntorch._neurons.", "norse.torch.module.", "snn2hw.train.")


def kind(module: nn.Module) -> str:
    """Return ``package.Class`` for a class of a known package, the plain name for others."""
    made = type(module)
    known = made.__module__.startswith(_HOMES)
    return f"{made.__module__.split('.')[0]}.{made.__name__}" if known else made.__name__


def steps_itself(module: nn.Module) -> bool:
    """Say whether a module takes one time step at a call and remembers the one before."""
    return kind(module) in STEPPED


def spikes(module: nn.Module) -> bool:
    """Say whether a module gives spikes."""
    return isinstance(module, Lif) or steps_itself(module)


def leaves(module: nn.Module, path: str = "") -> Iterator[tuple[str, Any]]:
    """Walk through sequences of modules, nested or not, in their order."""
    if kind(module) not in ("torch.Sequential", "norse.SequentialState"):
        yield path, module
        return
    for name, child in module._modules.items():  # named_children leaves out what comes twice
        if child is not None:
            yield from leaves(child, f"{path}.{name}" if path else name)


def over_time(leaf: Any, x: Tensor, steps: int) -> Tensor:
    """Run one module from fresh state over all steps.

    Args:
        leaf: the module.
        x: ``[T, B, ...]``, or ``[1, B, ...]`` for what is the same in each step.
        steps: T.

    Returns:
        ``[T, B, ...]``, or ``[1, B, ...]`` from a module without memory that got that.
    """
    if isinstance(leaf, Lif | Readout):
        return leaf(x, steps)
    if isinstance(leaf, Synapse):
        return leaf(x)
    if not steps_itself(leaf):
        return leaf(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    keeps = kind(leaf) in SNNTORCH  # its state itself
    if keeps:
        _forget(leaf)
    given: tuple[Any, ...] = ()
    sent: list[Tensor] = []
    for t in range(steps):
        found = leaf(x[min(t, len(x) - 1)], *given)
        sent.append(found[0] if isinstance(found, tuple) else found)
        given = () if keeps else (found[1],)
    if keeps:
        _forget(leaf)
    return torch.stack(sent)


def _forget(leaf: nn.Module) -> None:
    # An empty state is made anew by the next call. What is kept would hang on a graph of gradients,
    # and its shape would be that of the last batch.
    for name in ("mem", "syn"):
        state = leaf._buffers.get(name)
        if state is not None:
            leaf._buffers[name] = torch.zeros(0, device=state.device)
