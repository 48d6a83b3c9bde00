# pyright: basic
"""How a module is called: all steps in one call or one call a step, and with what states."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from snn2hw.errors import UnsupportedError, listed
from snn2hw.train.modules.kinds import kind

Time = Literal["outside", "static", "first", "batch first", "folded"]
TIMES: tuple[Time, ...] = get_args(Time)
# Of snnTorch's neurons, and of Sinabs'.
STATES = ("mem", "syn", "spk", "syn_exc", "syn_inh", "v_mem", "i_syn")


class Plan(NamedTuple):
    """How a module is called, and what it returns.

    Args:
        time: ``outside``: a call is a step, ``[B, ...]``; ``static``: a call shows ``[B, ...]`` at
            all steps; ``first``: a call takes ``[T, B, ...]``; ``batch first``: ``[B, T, ...]``;
            ``folded``: ``[B T, ...]``.
        steps: how many there are in the module's code; None for as many as it is given.
        answer: which tensor of what it returns is the answer.
        axis: where the answer has its steps; None where they are added up or come one by one.
        cells: paths of the modules with a memory.
        source: the path of the one that gives the answer, if one does.
        samples: the size of a batch, if it is written in the module's code.
        factor: what a step counts in the answer, where a module adds up its steps; None in a mean,
            whose factor is 1 / T.
    """

    time: Time
    steps: int | None = None
    answer: int = 0
    axis: int | None = None
    cells: tuple[str, ...] = ()
    source: str | None = None
    samples: int | None = None
    factor: float | None = 1.0


def unwrapped(module: nn.Module) -> nn.Module:
    """Take off DataParallel and torch.compile."""
    while True:
        if type(module).__name__ in ("DataParallel", "DistributedDataParallel"):
            module = module.module  # type: ignore[assignment]
        elif type(module).__name__ == "OptimizedModule":
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def fresh(module: nn.Module) -> nn.Module:
    """Return a copy on the CPU, in evaluation mode, without wrappers and states.

    Raises:
        UnsupportedError: it is compiled code.
    """
    hooked = [
        type(part).__name__
        for part in module.modules()
        if unwrapped(part) is not part and (part._forward_hooks or part._forward_pre_hooks)
    ]
    if hooked:
        raise UnsupportedError(
            f"Hooks hang on {listed(hooked)}, which is taken off before the module runs.",
            "Hang them on the module inside.",
        )
    module = unwrapped(module)
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise UnsupportedError(
            "The module, or a part of it, is a script, which cannot be watched as it runs.",
            "Give it as it was before torch.jit.script or torch.jit.trace.",
        )
    # What hangs on a graph of gradients cannot be copied: its values are, but for states.
    memo: dict[int, Any] = {}
    for part in module.modules():
        memories = vars(part).get("_memories", {})  # of SpikingJelly
        held = {**part._buffers, **vars(part), **memories}
        memo |= {
            id(v): torch.zeros(0) if k in STATES or k in memories else v.detach().clone()
            for k, v in held.items()
            if isinstance(v, Tensor) and not v.is_leaf
        }
    copied = copy.deepcopy(module, memo).cpu().eval()
    for part in list(copied.modules()):
        for name, child in part.named_children():
            if unwrapped(child) is not child:
                setattr(part, name, unwrapped(child))
    forget(copied)
    return copied


def forget(module: nn.Module) -> None:
    """Empty the states that modules keep: the next call makes them anew.

    What is kept would hang on a graph of gradients, and its shape would be that of the last batch.
    """
    for part in module.modules():
        if kind(part).startswith(("snntorch.", "sinabs.")):
            for name in STATES:
                state = part._buffers.get(name)
                if state is not None:
                    part._buffers[name] = torch.zeros(0, device=state.device)
        elif "_memories" in vars(part):  # of SpikingJelly
            part.reset()  # type: ignore[operator]


def dtype_of(module: nn.Module) -> torch.dtype:
    """Return the precision of a module's parameters."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def call(module: nn.Module, frames: Tensor, time: Time) -> Any:
    """Run a module from fresh states.

    Args:
        module: one without wrappers.
        frames: ``[T, B, ...]``.
        time: how it takes them.

    Returns:
        What it returns; if a call is a step, the answers of all of them, a list.
    """
    stepper = Stepper()
    if time == "outside":
        return [stepper(module, frame) for frame in frames]
    if time == "static":
        return stepper(module, frames[0])
    if time == "first" and type(module) is nn.Sequential:
        return _by_layers(module, frames)
    if time == "first":
        return stepper(module, frames)
    by_sample = frames.transpose(0, 1)
    return stepper(module, by_sample if time == "batch first" else by_sample.flatten(0, 1))


def _by_layers(module: nn.Sequential, x: Tensor) -> Tensor:
    """Run layers one after another, each over all steps: ours know them, others get a batch."""
    if not any(kind(part).startswith("snn2hw.") for part in module.modules()):
        return module(x)

    def forward(x: Tensor) -> Tensor:
        for part in module:
            if type(part) is nn.Sequential:
                x = _by_layers(part, x)
            else:
                ours = kind(part).startswith("snn2hw.")
                x = part(x) if ours else part(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x

    return _with_hooks(module, forward, x)


def _with_hooks(module: nn.Module, forward: Callable[[Any], Any], x: Any) -> Any:
    """Call a module with another forward, and with the hooks that hang on it."""
    vars(module)["forward"] = forward
    try:
        return module(x)
    finally:
        del vars(module)["forward"]


class Stepper:
    """Calls modules step by step, and hands back the states that they returned."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, ...]] = {}

    def __call__(self, module: nn.Module, x: Any) -> Any:
        """Return what a module answers, without its states."""
        if type(module) is nn.Sequential and "forward" not in vars(module):
            return _with_hooks(module, partial(self._parts, module), x)
        if kind(module).startswith("snntorch."):  # it keeps its state itself
            found = module(x)
            return found[0] if isinstance(found, tuple) else found
        names = _state_names(module)
        if not names:
            return module(x)
        found = module(x, *self._kept.get(id(module), (None,) * len(names)))
        if not isinstance(found, tuple) or len(found) <= len(names):
            return found
        at = _places(module, names, len(found))
        self._kept[id(module)] = tuple(found[i] for i in at)
        rest = [value for i, value in enumerate(found) if i not in at]
        return rest[0] if len(rest) == 1 else tuple(rest)

    def _parts(self, module: nn.Sequential, x: Any) -> Any:
        for part in module:
            x = self(part, x)
        return x


def _state_names(module: nn.Module) -> list[str]:
    """Return the parameters of a forward behind its input."""
    given = list(inspect.signature(type(module).forward).parameters.values())[1:]
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    none = (inspect.Parameter.empty, None)
    return [p.name for p in given[1:] if p.kind in plain and p.default in none]


def _places(module: nn.Module, names: Sequence[str], count: int) -> list[int]:
    """Say which of the returned values are the states: by name if the code says so, else last."""
    returned = _returned_names(module)
    if len(returned) == count and all(n in returned for n in names):
        return [returned.index(n) for n in names]
    return list(range(count - len(names), count))


def _returned_names(module: nn.Module) -> list[str | None]:
    """Return the names in a forward's last ``return``, None for what has no name."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(module).forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Return)]
    last = max(found, key=lambda n: n.lineno, default=None)
    if last is None or not isinstance(last.value, ast.Tuple):
        return []
    return [item.id if isinstance(item, ast.Name) else None for item in last.value.elts]
