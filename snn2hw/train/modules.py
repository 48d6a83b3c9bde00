# pyright: basic
"""From other people's PyTorch modules to a ``Network``: snnTorch, Norse, our own layers.

A sequence of modules is followed in its order, with the shape of one sample known on the way; batch
norm is folded with its running statistics. Classes are known by name and home, so that neither
snnTorch nor Norse is imported. What their neurons compute was read from their sources:

snnTorch 1.0.0, ``_neurons/leaky.py`` and ``synaptic.py``: ``syn = alpha syn + x``,
``mem = beta mem + syn`` (or ``x``), a spike where ``mem > threshold``. Reset to zero: ``Leaky``
gives the same spikes with ``reset_delay`` or without, as a delayed reset comes before the next
decay; a delayed ``Synaptic`` throws away the next step's input too. Reset by subtraction: a delayed
one takes the threshold away after the next decay, ``threshold / beta`` at once; one without delay
takes a membrane that still holds a threshold for one that is yet to be reset, and misses a spike.

Norse 1.1.0, ``functional/lif_box.py``, ``lif.py`` and ``iaf.py``: a cell starts at ``v_leak``
(IAF: at ``v_reset``), so its membrane is measured from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snn2hw.errors import InputError, UnsupportedError, unknown_name
from snn2hw.ir import network as ir
from snn2hw.ir.arrays import Edge, Shape, size_of
from snn2hw.ir.synapses import Conv, same_padding
from snn2hw.passes import fold_batch_norm
from snn2hw.train.export import (
    OUTPUT,
    array,
    cell_node,
    image,
    linear_nodes,
    pair,
    to_network,
)
from snn2hw.train.neurons import Lif
from snn2hw.train.stepping import NORSE, SNNTORCH, STEPPED, kind, leaves, steps_itself
from snn2hw.train.students import SOURCE, Readout, Spiking, Synapse

MaxPool = Literal["refuse", "neurons", "average"]
MAX_POOL = ("refuse", "neurons", "average")
SNNTORCH_DT = 1e-4  # what snnTorch's own NIR functions take a step to last

Floats = NDArray[np.float64]
_Handler = Callable[["_Walk", str, Any], None]


def from_module(
    module: nn.Module,
    shape: Shape | None = None,
    *,
    dt: float | None = None,
    time_steps: int | None = None,
    input_max: int = 1,
    max_pool: MaxPool = "refuse",
) -> tuple[ir.Network, list[str]]:
    """Turn a spiking module, in evaluation mode, into a network; nodes keep the modules' paths.

    Args:
        module: an ``nn.Sequential`` or Norse's ``SequentialState``, nested or not; a
            ``Spiking`` student of ours.
        shape: of one sample at one step, without batch: ``(C, H, W)``, ``(C, L)`` or ``(n,)``.
        dt: seconds of a step; None takes that of Norse's cells, else 1e-4, which snnTorch takes.
        time_steps: steps of one sample, if it is to be said.
        input_max: largest integer that a step of the input may carry.
        max_pool: ``neurons`` makes max pooling of spikes a neuron for each window, which spikes in
            the same step as the pooling would, exactly; ``average`` pools by average instead, which
            changes the spikes (``measure`` says how much).

    Returns:
        The network, and notes on what was replaced or may differ.

    Raises:
        UnsupportedError: names every module that cannot be expressed, and what to do.
        InputError: an argument that cannot be used.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"{type(module).__name__} is neither a path nor a PyTorch module.")
    if max_pool not in MAX_POOL:
        raise unknown_name("way with max pooling", str(max_pool), MAX_POOL)
    if isinstance(module, Spiking):
        return to_network(module, dt), []
    shape = _shape(shape)
    parts = list(leaves(module))
    if dt is None:
        steps: list[float] = [float(m.dt) for _, m in parts if kind(m) in NORSE]
        dt = steps[0] if steps else SNNTORCH_DT
    walk = _Walk(shape, dt, max_pool, sends_spikes=input_max == 1)
    walk.nodes[walk.last] = ir.Input(shape, input_max)
    for at, (path, leaf) in enumerate(parts):
        again = steps_itself(leaf) and any(leaf is earlier for _, earlier in parts[:at])
        _follow(walk, path or type(leaf).__name__, leaf, _twice if again else None)
    if walk.problems:
        raise UnsupportedError(f"The module cannot be expressed: {'; '.join(walk.problems)}.")
    if not any(isinstance(n, ir.Lif) for n in walk.nodes.values()):
        raise UnsupportedError(
            "The module has no spiking neurons.", "Distill a student from it: snn2hw.distill."
        )
    walk.append(OUTPUT, ir.Output(walk.shape))
    return ir.Network(walk.nodes, tuple(walk.edges), dt, time_steps), walk.notes


def _shape(shape: Shape | None) -> Shape:
    if not shape or any(int(n) != n or n < 1 for n in shape):
        raise InputError(
            f"The shape of a sample is {shape}, not positive numbers.",
            "Give it without batch and time: shape=(C, H, W).",
        )
    return tuple(int(n) for n in shape)


class _Cannot(Exception):
    """A module that cannot be expressed: why, and what to do; ``after`` is the shape behind it."""

    def __init__(self, why: str, after: Shape | None = None) -> None:
        super().__init__(why)
        self.after = after


@dataclass(slots=True)
class _Walk:
    """The network as far as the modules were followed."""

    shape: Shape
    dt: float
    max_pool: MaxPool
    sends_spikes: bool
    shape_known: bool = True
    last: str = SOURCE
    nodes: dict[str, ir.Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def append(self, name: str, node: ir.Node) -> None:
        name = _free(name, self.nodes)
        self.nodes[name] = node
        self.edges.append((self.last, name))
        self.last, self.shape = name, ir.output_shape(node)
        keeps = isinstance(node, ir.Flatten | ir.Lif)
        self.sends_spikes = keeps and (self.sends_spikes or isinstance(node, ir.Lif))


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _follow(walk: _Walk, name: str, leaf: nn.Module, handler: _Handler | None) -> None:
    """Add what a module becomes, or its problem; shapes are not judged where they are unknown."""
    try:
        (handler or _HANDLERS.get(kind(leaf), _unknown))(walk, name, leaf)
    except _Cannot as why:
        walk.problems.append(f"{name}: {type(leaf).__name__} {why}")
        walk.sends_spikes |= steps_itself(leaf)
        walk.shape_known &= why.after is not None or steps_itself(leaf)
        walk.shape = why.after or walk.shape
    except ValueError as why:
        if walk.shape_known:
            walk.problems.append(f"{name}: {type(leaf).__name__}: {why}")
        walk.shape_known = False


def _unknown(walk: _Walk, name: str, module: nn.Module) -> None:
    named = kind(module)
    if named in _FLAT:
        raise _Cannot("does not spike: distill a student from the network (snn2hw.distill)")
    if named.startswith(("snntorch.", "norse.")):
        raise _Cannot(
            f"is not known here, as {', '.join(STEPPED)} are: write the network as NIR with its "
            "package and load that file"
        )
    if named.startswith("torch."):
        raise _Cannot("has no form in NIR: leave it out before training")
    raise _Cannot(
        "is a class of its own, whose order is code: give an nn.Sequential of its modules, or "
        "write it as NIR with its package and load that file"
    )


_FLAT = tuple(
    f"torch.{n}"
    for n in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "Tanh", "Softmax")
)


def _twice(walk: _Walk, name: str, module: nn.Module) -> None:
    raise _Cannot("is used twice, with one state for both: make a module for each")


def _skip(walk: _Walk, name: str, module: nn.Module) -> None:
    """Leave out what does nothing in evaluation mode."""


def _linear(walk: _Walk, name: str, m: nn.Linear) -> None:
    if not walk.shape_known:
        walk.shape, walk.shape_known = (m.in_features,), True
    if walk.shape != (m.in_features,):
        raise ValueError(
            f"takes ({m.in_features},) but gets {walk.shape}"
            + (", put an nn.Flatten before it" if size_of(walk.shape) == m.in_features else "")
        )
    weight = array(m.weight)
    walk.append(name, ir.Affine(weight, _bias(m, len(weight))))


def _conv(walk: _Walk, name: str, m: nn.Conv1d | nn.Conv2d) -> None:
    if m.padding_mode != "zeros":
        raise _Cannot(f"pads with {m.padding_mode!r}: only zeros can be")
    flat = isinstance(m, nn.Conv1d)
    if len(walk.shape) != (2 if flat else 3):
        raise ValueError(f"takes {'(C, L)' if flat else '(C, H, W)'} but gets {walk.shape}")
    weight = array(m.weight)[:, :, None] if flat else array(m.weight)
    first, shape = ((1,), _with_height(walk.shape)) if flat else ((), image(walk.shape))
    stride, dilation = pair((*first, *m.stride)), pair((*first, *m.dilation))
    if m.padding == "same":
        weight, padding = same_padding(weight, dilation)
    elif m.padding == "valid":
        padding = (0, 0)
    else:
        padding = pair(((0,) if flat else ()) + tuple(m.padding))  # type: ignore[arg-type]
    kernel = Conv(weight, shape, stride, padding, dilation, m.groups)
    walk.append(name, (ir.Conv1d if flat else ir.Conv2d)(kernel, _bias(m, len(weight))))


def _with_height(shape: Shape) -> tuple[int, int, int]:
    return (shape[0], 1, shape[1])


def _bias(module: Any, size: int) -> Floats:
    return np.zeros(size) if module.bias is None else array(module.bias)


def _batch_norm(walk: _Walk, name: str, m: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Fold a batch norm into the linear map before it, or make it one of its own."""
    if m.running_mean is None or m.running_var is None:
        raise _Cannot("keeps no running statistics: train it with track_running_stats=True")
    wanted = (3,) if isinstance(m, nn.BatchNorm2d) else (1, 2)
    if len(walk.shape) not in wanted or walk.shape[0] != m.num_features:
        raise ValueError(f"takes {m.num_features} channels but gets {walk.shape}")
    size = m.num_features
    gamma, beta = np.ones(size), np.zeros(size)
    if m.affine:
        gamma, beta = array(m.weight), array(m.bias)
    statistics = gamma, beta, array(m.running_mean), array(m.running_var), m.eps
    before = walk.nodes[walk.last]
    if not isinstance(before, ir.Affine | ir.Conv1d | ir.Conv2d):
        before = _identity(walk.shape)
        walk.append(name, before)
    if isinstance(before, ir.Affine):
        weight, bias = fold_batch_norm(before.weight, before.bias, *statistics)
        walk.nodes[walk.last] = ir.Affine(weight, bias)
    else:
        weight, bias = fold_batch_norm(before.kernel.weight, before.bias, *statistics)
        kernel = replace(before.kernel, weight=weight)
        walk.nodes[walk.last] = replace(before, kernel=kernel, bias=bias)


def _identity(shape: Shape) -> ir.Affine | ir.Conv1d | ir.Conv2d:
    """Return the linear map that changes nothing, with a factor and a bias for each channel."""
    channels = shape[0]
    if len(shape) == 1:
        return ir.Affine(np.eye(channels), np.zeros(channels))
    flat = len(shape) == 2
    whole = _with_height(shape) if flat else image(shape)
    kernel = Conv(np.ones((channels, 1, 1, 1)), whole, groups=channels)
    return (ir.Conv1d if flat else ir.Conv2d)(kernel, np.zeros(channels))


def _flatten(walk: _Walk, name: str, m: nn.Flatten) -> None:
    axes = len(walk.shape) + 1
    if not (-axes <= m.start_dim < axes and -axes <= m.end_dim < axes):
        raise ValueError(f"flattens {m.start_dim} to {m.end_dim} of {axes} dimensions with batch")
    first, last = m.start_dim % axes, m.end_dim % axes
    if first == 0:
        raise _Cannot("flattens the batch: set start_dim to 1")
    if last > first:
        walk.append(name, ir.Flatten(walk.shape, first - 1, last - 1))


def _average(walk: _Walk, name: str, m: nn.AvgPool2d) -> None:
    pool = _pool(walk.shape, m, average=True)
    if m.divisor_override is not None:
        raise _Cannot("has a divisor of its own: leave out divisor_override")
    if any(pool.padding) and not m.count_include_pad:
        raise _Cannot("leaves the padding out of its averages: set count_include_pad")
    walk.append(name, pool)


def _max(walk: _Walk, name: str, m: nn.MaxPool2d) -> None:
    if not walk.shape_known:
        raise _Cannot("is max pooling, which no target has")
    pool = _pool(walk.shape, m, average=walk.max_pool == "average")
    shape, spikes = ir.output_shape(pool), walk.sends_spikes
    if m.return_indices or pair(_two(m.dilation)) != (1, 1):
        raise _Cannot("dilates its windows or returns indices: neither can be", shape)
    if walk.max_pool == "average":
        walk.append(name, pool)
        walk.notes.append(f"{name}: max pooling became average pooling; measure what it changes")
        return
    if walk.max_pool == "neurons" and spikes:
        walk.append(f"{name}.sum", pool)
        walk.append(name, _any_of(shape, walk.dt))
        walk.notes.append(f"{name}: max pooling of spikes became {size_of(shape)} neurons, exactly")
        return
    exact = f"max_pool='neurons' (exact, {size_of(shape)} neurons more)"
    if not spikes:
        exact = "put it behind the neurons, as it pools no spikes here"
    raise _Cannot(f"is max pooling, which no target has: {exact}, or max_pool='average'", shape)


def _any_of(shape: Shape, dt: float) -> ir.Lif:
    """Return neurons that forget at once and spike if their sum of spikes is not 0."""
    one, none = np.ones(()), np.zeros(())
    return ir.Lif(shape, np.array(dt), one, np.array(0.5), none, none)


def _pool(shape: Shape, m: nn.AvgPool2d | nn.MaxPool2d, *, average: bool) -> ir.Pool2d:
    if len(shape) != 3:
        raise ValueError(f"takes (C, H, W) but gets {shape}")
    kernel, stride, padding = (pair(_two(v)) for v in (m.kernel_size, m.stride, m.padding))
    over = [
        (n + 2 * p - k) % s for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    ]
    if m.ceil_mode and any(over):
        raise _Cannot(f"pools windows that {shape} does not fill: set ceil_mode to False")
    return ir.Pool2d(image(shape), kernel, stride, padding, average)


def _two(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _synapse(walk: _Walk, name: str, m: Synapse) -> None:
    for key, node in linear_nodes(name, m, walk.shape, 1.0):
        walk.append(key, node)


def _own(walk: _Walk, name: str, m: Lif | Readout) -> None:
    if isinstance(m, Lif) and (m.rules.several or m.fires == "at"):
        raise _Cannot("has the rules of a chip, which whole students have: take one by its name")
    walk.append(name, cell_node(m, walk.shape, walk.dt))


def _snntorch(walk: _Walk, name: str, m: Any) -> None:
    synaptic = kind(m) == "snntorch.Synaptic"
    beta = np.clip(_each(m.beta, walk.shape), 0.0, 1.0)
    threshold = _each(m.threshold, walk.shape)
    reset, delayed = _reset(m), bool(getattr(m, "reset_delay", True))
    matters = synaptic if reset == "zero" else bool((beta < 1).any())
    why = _odd_reset(m, reset, late=delayed and matters)
    if m.inhibition:
        why.append("inhibits its neighbours: leave out inhibition")
    if m.state_quant:
        why.append("quantizes its state: leave out state_quant")
    if (array(m.graded_spikes_factor) != 1).any():
        why.append("scales its spikes: multiply the factor into the weights after it")
    current: dict[str, Any] = {}
    if synaptic:
        alpha = np.clip(_each(m.alpha, walk.shape), 0.0, 1.0)
        if (alpha == 1).any():
            why.append("has a current that never decays: choose alpha below 1")
        left = np.where(alpha == 1, 1.0, 1 - alpha)
        current = {"tau_synapse": walk.dt / left, "w_in": 1 / left}
    why += _unsound(threshold, "threshold")
    if why:
        raise _Cannot(" and ".join(why))
    if reset == "subtract" and not delayed:
        walk.notes.append(
            f"{name}: where a membrane holds two thresholds or more, snnTorch misses a spike that "
            "this network gives"
        )
    whole = beta == 1
    tau = np.where(whole, np.inf, walk.dt / np.where(whole, 1.0, 1 - beta))
    r = np.where(whole, 1.0, tau) / walk.dt  # adds a current as it is
    none = np.zeros(())
    rule: ir.Reset = "zero" if reset == "zero" else "subtract"
    walk.append(name, ir.Lif(walk.shape, tau, r, threshold, none, none, rule, **current))


def _reset(m: Any) -> str | None:
    # The constructor chose what a step does; a reset_mechanism set later is ignored in part.
    return {"_base_sub": "subtract", "_base_zero": "zero"}.get(m.state_function.__name__)


def _odd_reset(m: Any, reset: str | None, *, late: bool) -> list[str]:
    """Say what is wrong with a reset; ``late`` if its delay changes the spikes."""
    if reset is None:
        return ["never resets: choose reset_mechanism 'zero' or 'subtract'"]
    if int(m.reset_mechanism_val) != ("subtract", "zero").index(reset):
        return ["had its reset_mechanism changed after it was made: make it anew"]
    if late and reset == "zero":
        return ["loses the input of the step after a spike: pass reset_delay=False"]
    if late:
        return ["subtracts the threshold after the next decay: pass reset_delay=False"]
    return []


def _norse(walk: _Walk, name: str, m: Any) -> None:
    cell, p = kind(m), m.p
    integrates = cell == "norse.IAFCell"

    def rate(key: str) -> Floats:
        return float(m.dt) * _each(getattr(p, key), walk.shape)

    origin = _each(p.v_reset if integrates else p.v_leak, walk.shape)
    threshold = _each(p.v_th, walk.shape) - origin
    rule = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    rates = {} if integrates else {"tau_mem_inv": rate("tau_mem_inv")}
    if cell == "norse.LIFCell":
        rates["tau_syn_inv"] = rate("tau_syn_inv")
    why = [f"has {k} that is not positive: choose one" for k, v in rates.items() if (v <= 0).any()]
    why += _unsound(threshold, f"v_th above {'v_reset' if integrates else 'v_leak'}")
    if rule not in ("reset_value", "reset_subtract"):
        why.append("resets by a function of its own: use reset_value or reset_subtract")
    if p.method not in _HEAVISIDE:
        why.append(f"spikes by method {p.method!r}: use one of {', '.join(_HEAVISIDE)}")
    if why:
        raise _Cannot(" and ".join(why))
    current: dict[str, Any] = {}
    if "tau_syn_inv" in rates:
        current = {"tau_synapse": walk.dt / rates["tau_syn_inv"], "w_in": 1 / rates["tau_syn_inv"]}
    walk.append(
        name,
        ir.Lif(
            walk.shape,
            tau=np.array(np.inf) if integrates else walk.dt / rates["tau_mem_inv"],
            r=np.array(1 / walk.dt if integrates else 1.0),
            v_threshold=threshold,
            v_leak=np.zeros(()),
            v_reset=_each(p.v_reset, walk.shape) - origin,
            reset="zero" if rule == "reset_value" else "subtract",
            **current,
        ),
    )


_HEAVISIDE = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")


def _each(value: Any, shape: Shape) -> Floats:
    """Return a constant as one number, or as one for each neuron of a batch of this shape."""
    found = array(torch.as_tensor(value))
    return found.reshape(()) if found.size == 1 else np.broadcast_to(found, (1, *shape))[0]


def _unsound(threshold: Floats, what: str) -> list[str]:
    return [] if (threshold > 0).all() else [f"needs a positive {what}"]


_HANDLERS: Mapping[str, _Handler] = {
    **dict.fromkeys(SNNTORCH, _snntorch),
    **dict.fromkeys(NORSE, _norse),
    **{f"torch.{n}": _skip for n in ("Identity", "Dropout", "Dropout1d", "Dropout2d")},
    "torch.Linear": _linear,
    "torch.Conv1d": _conv,
    "torch.Conv2d": _conv,
    "torch.BatchNorm1d": _batch_norm,
    "torch.BatchNorm2d": _batch_norm,
    "torch.AvgPool2d": _average,
    "torch.MaxPool2d": _max,
    "torch.Flatten": _flatten,
    "snn2hw.Synapse": _synapse,
    "snn2hw.Lif": _own,
    "snn2hw.Readout": _own,
}
