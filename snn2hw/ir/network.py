"""The float network in continuous time: what training ends with and NIR holds.

A ``Network`` is a graph of nodes named by NIR's terms. Edges carry the topology; several edges
into a node are summed. Units: seconds for time constants, volts and amperes stand for whatever
the training used (they are dimensionless in practice).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import NetworkError, listed
from snn2hw.ir.arrays import Edge, Shape, digest, frozen, size_of
from snn2hw.ir.order import looped
from snn2hw.ir.synapses import Conv, Pair, Sparse, sizes

Reset = Literal["zero", "subtract", "zero-late", "subtract-late"]
RESETS: Mapping[Reset, str] = {
    "zero": "sets the membrane to v_reset",
    "subtract": "takes the threshold from the membrane",
    "zero-late": "sets the membrane to v_reset one step late, and what that step brings is lost",
    "subtract-late": "takes the threshold from the membrane one step late",
}
Integration = Literal["euler", "exponential"]
Fires = Literal["above", "at"]

MOST_STEPS = 1 << 20
MOST_WHOLE = 1 << 31  # what a step may carry
ROWS = 12  # nodes that are shown of either end of a network


@dataclass(frozen=True, slots=True)
class Rules:
    """What one time step does where the equations leave it open (NIR paper, methods).

    Args:
        integration: ``euler`` (forward) decays by ``1 - dt / tau``, ``exponential`` by
            ``exp(-dt / tau)``, exact for inputs that are constant over a step.
        fires: a spike where the membrane is ``above`` the threshold, or already ``at`` it.
        spikes: at most ``one`` a step, or ``many``: as many as the membrane holds thresholds,
            which the next layer receives as one number.
        v_min: the membrane never goes below, None if it may.
        most: of ``many`` spikes, how many a neuron sends in a step at most; what it could not
            send stays in a membrane that resets by subtraction. None for any number.
        most_out: the same of neurons that an Output hears.
    """

    integration: Integration = "euler"
    fires: Fires = "above"
    spikes: Literal["one", "many"] = "one"
    v_min: float | None = None
    most: int | None = None
    most_out: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """Where values enter. ``max_value`` is the largest integer a step may carry (1: spikes).

    ``gain`` and ``offset`` make the integers of what the network's author fed it, ``gain x +
    offset`` to the nearest; one number each, or one for each channel.
    """

    shape: Shape
    max_value: int = 1
    gain: NDArray[np.float64] = field(default_factory=lambda: np.ones(()))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", frozen(self.gain, np.float64))
        object.__setattr__(self, "offset", frozen(self.offset, np.float64))

    @property
    def scaled(self) -> bool:
        """Whether the author fed other numbers than these integers."""
        return bool(np.any(self.gain != 1) or np.any(self.offset != 0))

    def unrounded(self, fed: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers of which ``integers`` takes the nearest, ``[..., *shape]``."""
        return fed * self.gain + self.offset

    def integers(self, fed: NDArray[Any]) -> NDArray[np.int64]:
        """Return the integers of what the author fed, ``[..., *shape]``."""
        return np.rint(self.unrounded(fed)).astype(np.int64)

    def is_fed(self, x: NDArray[Any]) -> bool:
        """Say whether samples are what the author fed: real numbers, or true and false (1, 0)."""
        return self.scaled and x.dtype.kind in "bf"

    def taken(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the integers of what an author fed; others as they are.

        Without a scale these are real numbers that are whole.
        """
        if x.dtype.kind != "f" or self.scaled:
            return self.integers(x) if self.is_fed(x) else x
        whole = (np.abs(x) < MOST_WHOLE).all() and bool((np.rint(x) == x).all())
        return self.integers(x) if whole else x

    def fed(self, integers: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the author fed in place of integers, ``[..., *shape]``."""
        return (integers - self.offset) / self.gain


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Where the answer leaves: spikes, or membrane potentials of integrators."""

    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = weight[post, pre] x + bias[post]``."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight, np.float64))
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class SparseAffine:
    """``y = weight[post, pre] x + bias[post]`` of few weights, between shapes of any kind.

    NIR has none: it is written there as an Affine where that is small enough.
    """

    synapses: Sparse
    bias: NDArray[np.float64]
    input_shape: Shape
    output_shape: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """``y = scale * x``, element by element; the array gives the shape."""

    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", frozen(self.scale, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Conv2d:
    """A convolution and one bias for each output channel, ``bias[out]``."""

    kernel: Conv
    bias: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Conv1d:
    """A convolution over ``[C, L]``; the kernel holds it as an image of height 1."""

    kernel: Conv
    bias: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Pool2d:
    """Sum or average over windows of an image ``input_shape = (C, H, W)``."""

    input_shape: tuple[int, int, int]
    kernel: Pair
    stride: Pair
    padding: Pair
    average: bool

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise ValueError("pool kernel and stride must be positive, padding not negative")
        if min(output_shape(self)) < 1:
            raise ValueError(f"pool kernel is larger than its padded input {self.input_shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Flatten:
    """Join the dimensions ``start_dim`` to ``end_dim`` (as in PyTorch); the order stays."""

    input_shape: Shape
    start_dim: int = 0
    end_dim: int = -1

    def __post_init__(self) -> None:
        n = len(self.input_shape)
        first, last = self.start_dim, self.end_dim
        if not (-n <= first < n and -n <= last < n and first % n <= last % n):
            raise ValueError(f"cannot flatten dimensions {first} to {last} of {self.input_shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """``y(t) = x(t - delay)``, ``delay`` in seconds, one for each element."""

    delay: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "delay", frozen(self.delay, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Threshold:
    """A spike in each step whose input is above ``threshold``; nothing is remembered."""

    threshold: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", frozen(self.threshold, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Lif:
    """Leaky integrate-and-fire neurons, and with ``tau = inf`` plain integrate-and-fire.

    ``tau dv/dt = v_leak - v + r I``; a spike when ``v > v_threshold``; then ``v`` becomes
    ``v_reset`` or loses ``v_threshold``, as ``reset`` says (NIR cannot say which). A ``late`` reset
    comes a step later, as snnTorch's with ``reset_delay`` (1.0.0, ``_neurons/rleaky.py``):
    ``v[t] = v_reset`` where there was a spike in step ``t - 1``, whatever ``t`` brings, or
    ``v[t] = keep v[t-1] + gain i[t] - v_threshold``.
    ``tau_synapse > 0`` adds a first-order current ``tau_synapse di/dt = -i + w_in I`` in front
    (NIR's CubaLIF). Arrays are scalars or have the population's shape.

    For integrate-and-fire neurons ``r / tau`` is what counts: NIR's IF is ``dv/dt = r I``, held
    here as ``tau = inf`` with ``rate = r`` (per second).

    ``fires`` is where this population spikes, if it is not where the network's ``Rules`` say.
    """

    shape: Shape
    tau: NDArray[np.float64]
    r: NDArray[np.float64]
    v_threshold: NDArray[np.float64]
    v_leak: NDArray[np.float64]
    v_reset: NDArray[np.float64]
    reset: Reset = "zero"
    tau_synapse: NDArray[np.float64] | None = None
    w_in: NDArray[np.float64] | None = None
    fires: Fires | None = None

    def __post_init__(self) -> None:
        for name in ("tau", "r", "v_threshold", "v_leak", "v_reset", "tau_synapse", "w_in"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen(value, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Leaky:
    """Leaky integrators, which give their membrane potential and never spike.

    NIR's LI, with ``tau_synapse`` its CubaLI, with ``tau = inf`` its I; fields as in ``Lif``.
    """

    shape: Shape
    tau: NDArray[np.float64]
    r: NDArray[np.float64]
    v_leak: NDArray[np.float64]
    tau_synapse: NDArray[np.float64] | None = None
    w_in: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in ("tau", "r", "v_leak", "tau_synapse", "w_in"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen(value, np.float64))


Linear = Affine | SparseAffine | Scale | Conv2d | Conv1d | Pool2d | Flatten | Delay
Cell = Lif | Leaky | Threshold  # where a chain of linear nodes ends and a new signal begins
Node = Input | Output | Linear | Cell


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """One time step: ``i = keep_i i + gain_i I``; ``v = keep_v v + gain_v i + drift``."""

    keep_current: NDArray[np.float64]
    gain_current: NDArray[np.float64]
    keep_voltage: NDArray[np.float64]
    gain_voltage: NDArray[np.float64]
    drift: NDArray[np.float64]

    def __post_init__(self) -> None:
        for f in fields(self):
            value = np.asarray(getattr(self, f.name))
            value.flags.writeable = False  # as many are given the same ones
            object.__setattr__(self, f.name, value)


DECIMALS = 12
ROUNDED = 2.0**-50  # four times the rounding of a float64 near 1


def _before(value: NDArray[np.float64], size: float = 0.0) -> NDArray[np.float64]:
    """Return decays or gains that went through a quotient and back, as they were before.

    ``tau = dt / (1 - decay)`` and ``1 - dt / tau`` differ in the last bits from the decay of which
    they were made. If a number of few decimals, or one of float32, is within that rounding, it was
    that one: a membrane on its threshold must be there exactly.

    Args:
        value: what came back.
        size: of the numbers that it is the difference of.
    """
    near = ROUNDED * np.maximum(np.abs(value), size)
    with np.errstate(over="ignore"):
        plain, single = np.round(value, DECIMALS), value.astype(np.float32).astype(np.float64)
    value = np.where(np.abs(single - value) <= near, single, value)
    return np.where(np.abs(plain - value) <= near, plain, value)


FEW = 64  # values of a population that has its steps remembered


def coefficients(
    neuron: Lif | Leaky, dt: float, integration: Integration = "euler"
) -> Coefficients:
    """Discretize a neuron with step ``dt`` seconds (NIR paper, methods)."""
    few = size_of(neuron.shape) <= FEW  # of a large one, the arrays would take much memory
    return (_remembered if few else _coefficients)(neuron, dt, integration)


def contents(neuron: Lif | Leaky) -> Hashable:
    """Return a key that neurons of equal numbers share; a large population is its own."""
    if size_of(neuron.shape) > FEW:
        return neuron
    values = (getattr(neuron, f.name) for f in fields(neuron))
    return type(neuron), *(
        (v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values
    )


def _coefficients(neuron: Lif | Leaky, dt: float, integration: Integration) -> Coefficients:
    def lost(tau: NDArray[np.float64]) -> NDArray[np.float64]:
        return dt / tau if integration == "euler" else -np.expm1(-dt / tau)

    leaks = np.isfinite(neuron.tau)
    leak = np.where(leaks, lost(np.where(leaks, neuron.tau, 1.0)), 0.0)
    gain = np.where(leaks, leak * neuron.r, dt * neuron.r)
    if neuron.tau_synapse is None:
        keep_current, gain_current = np.zeros(()), np.ones(())
    else:
        w_in = neuron.w_in if neuron.w_in is not None else np.ones(())
        keep_current = 1.0 - lost(neuron.tau_synapse)
        gain_current = lost(neuron.tau_synapse) * w_in
    return Coefficients(
        _before(keep_current, 1.0),
        _before(gain_current),
        _before(1.0 - leak, 1.0),
        _before(gain),
        leak * neuron.v_leak,
    )


_remembered = lru_cache(maxsize=1 << 14)(_coefficients)  # every stage and every target asks


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Network:
    """A float network: nodes by name, edges, and the time step it was trained with.

    Args:
        nodes: node by name; at least one ``Input`` and one ``Output``.
        edges: ``(from, to)``; several edges into one node are summed. Loops are recurrence: see
            ``graph.wiring`` for where a step passes.
        dt: time step in seconds.
        time_steps: how many steps one sample lasts, or None if the network does not say.
        rules: what a time step does.

    Raises:
        NetworkError: names every dangling edge, shape that does not chain and bad value.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    dt: float
    time_steps: int | None = None
    rules: Rules = Rules()
    _before: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))
        object.__setattr__(self, "edges", tuple(sorted(set(self.edges))))
        before: dict[str, list[str]] = {}
        for a, b in self.edges:
            before.setdefault(b, []).append(a)
        object.__setattr__(self, "_before", {k: tuple(v) for k, v in before.items()})
        problems = _problems(self)
        if problems:
            raise NetworkError(f"The network is not sound: {listed(problems, '; ')}.")

    def predecessors(self, name: str) -> tuple[str, ...]:
        """Return the names of the nodes with an edge into ``name``."""
        return self._before.get(name, ())

    def neurons(self) -> dict[str, Lif]:
        """Return the populations of spiking neurons by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Lif)}

    def cells(self) -> dict[str, Cell]:
        """Return everything between which linear nodes lie: neurons, integrators, thresholds."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Cell)}

    def inputs(self) -> dict[str, Input]:
        """Return the input nodes by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Input)}

    def outputs(self) -> dict[str, Output]:
        """Return the output nodes by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Output)}

    def __repr__(self) -> str:
        """Say in a line each what it is and what its nodes are."""
        steps = "" if self.time_steps is None else f", {self.time_steps} steps a sample"
        rows = [f"{len(self.nodes)} nodes, {self.dt:g} s a step{steps}"]
        for name, node in self.nodes.items():
            shape = "x".join(map(str, output_shape(node)))
            before = ", ".join(self.predecessors(name))
            rows.append(f"  {name}: {type(node).__name__} {shape}{before and f' from {before}'}")
        if len(rows) > 2 * ROWS + 1:
            rows[ROWS + 1 : -ROWS] = [f"  ... {len(rows) - 1 - 2 * ROWS} more"]
        return "\n".join(rows)

    def digest(self) -> str:
        """Return a hash of structure and values."""
        parts: list[Any] = [self.dt, self.time_steps, self.edges, self.rules]
        for name in sorted(self.nodes):
            node = self.nodes[name]
            parts += [name, type(node).__name__, *_content(node)]
        return digest(*parts)


def _content(value: Any) -> list[Any]:
    out: list[Any] = []
    for name in value.__dataclass_fields__:
        item = getattr(value, name)
        out += _content(item) if isinstance(item, Conv | Sparse) else [name, item]
    return out


def input_shape(node: Node) -> Shape:
    """Return the shape a node takes."""
    match node:
        case Input() | Output() | Lif() | Leaky():
            return node.shape
        case Affine():
            return (node.weight.shape[1],)
        case Conv2d():
            return node.kernel.input_shape
        case Conv1d():
            return _without_height(node.kernel.input_shape)
        case Pool2d() | Flatten() | SparseAffine():
            return node.input_shape
        case Scale():
            return node.scale.shape
        case Delay():
            return node.delay.shape
        case Threshold():
            return node.threshold.shape
        case _:
            assert_never(node)


def output_shape(node: Node) -> Shape:
    """Return the shape a node gives."""
    match node:
        case Affine():
            return (node.weight.shape[0],)
        case SparseAffine():
            return node.output_shape
        case Conv2d():
            return node.kernel.output_shape
        case Conv1d():
            return _without_height(node.kernel.output_shape)
        case Flatten():
            shape = node.input_shape
            first, last = (d % len(shape) for d in (node.start_dim, node.end_dim))
            return (*shape[:first], size_of(shape[first : last + 1]), *shape[last + 1 :])
        case Pool2d():
            channels, height, width = node.input_shape
            sides = [
                (n + 2 * p - k) // s + 1
                for n, k, s, p in zip(
                    (height, width), node.kernel, node.stride, node.padding, strict=True
                )
            ]
            return (channels, *sides)
        case _:
            return input_shape(node)


def _without_height(shape: tuple[int, int, int]) -> Shape:
    return (shape[0], shape[2])


def _problems(net: Network) -> list[str]:
    found = _time_problems(net)
    for wanted in (Input, Output):
        if not any(isinstance(n, wanted) for n in net.nodes.values()):
            found.append(f"there is no {wanted.__name__} node")
    for edge in net.edges:
        found += edge_problems(net.nodes, *edge)
    entered = {b for _, b in net.edges}
    told = {node: _value_problems(node) for node in set(net.nodes.values())}
    for name, node in net.nodes.items():
        found += [f"{name}: {text}" for text in told[node]]
        if not isinstance(node, Input) and name not in entered:
            found.append(f"{name} has no input")
    if around := _linear_loop(net):
        found.append(f"{listed(around)} form a loop that holds no neurons")
    return found


def _time_problems(net: Network) -> list[str]:
    found: list[str] = []
    if net.time_steps is not None and not 1 <= net.time_steps <= MOST_STEPS:
        found.append(f"a sample lasts {net.time_steps} steps")
    if not (math.isfinite(net.dt) and net.dt > 0):
        return [*found, f"the time step is {net.dt}, not a positive number of seconds"]
    shortest: dict[Lif | Leaky, float] = {}
    for name, node in net.nodes.items():
        if isinstance(node, Delay) and node.delay.max() / net.dt > MOST_STEPS:
            found.append(f"{name} waits {node.delay.max() / net.dt:.3g} steps")
        # Euler would turn the sign of a membrane in every step.
        if isinstance(node, Lif | Leaky) and net.rules.integration == "euler":
            if node not in shortest:
                shortest[node] = _shortest(node)
            tau = shortest[node]
            if 0 < tau < net.dt * (1 - ROUNDED):
                found.append(
                    f"{name} has a time constant of {tau:g} s, below the time step of {net.dt:g} s"
                )
    return found


def _shortest(node: Lif | Leaky) -> float:
    taus = (node.tau, node.tau_synapse if node.tau_synapse is not None else node.tau)
    return min(float(t.min(initial=math.inf)) for t in taus)


def _linear_loop(net: Network) -> list[str]:
    """Name the nodes on loops that pass through linear nodes only."""
    names = [k for k, n in net.nodes.items() if isinstance(n, Linear)]
    return sorted(looped(names, net.edges))


def edge_problems(nodes: Mapping[str, Node], source: str, target: str) -> list[str]:
    """Say which end of an edge is missing, or that their shapes do not chain."""
    missing = [n for n in (source, target) if n not in nodes]
    if missing:
        return [f"edge {source} -> {target} names {m}, which does not exist" for m in missing]
    given, taken = output_shape(nodes[source]), input_shape(nodes[target])
    if given != taken and not _flat_match(nodes[target], given, taken):
        return [f"{source} gives {given} but {target} takes {taken}"]
    return []


def _flat_match(node: Node, given: Shape, taken: Shape) -> bool:
    # Outputs and neurons only relabel elements; C order makes that unambiguous.
    return isinstance(node, Output | Cell) and size_of(given) == size_of(taken)


def _value_problems(node: Node) -> list[str]:
    match node:
        case Affine() if node.weight.ndim != 2 or node.bias.shape != node.weight.shape[:1]:
            return [f"weight {node.weight.shape} and bias {node.bias.shape} do not match"]
        case SparseAffine() if sizes(node.synapses) != (
            size_of(node.output_shape),
            size_of(node.input_shape),
        ) or node.bias.shape != (size_of(node.output_shape),):
            return [
                f"{sizes(node.synapses)} weights do not lead from {node.input_shape} to "
                f"{node.output_shape} with a bias of {node.bias.shape}"
            ]
        case Conv2d() | Conv1d() if node.bias.shape != node.kernel.weight.shape[:1]:
            return [f"{node.kernel.weight.shape[0]} channels but bias {node.bias.shape}"]
        case Lif() | Leaky():
            return _neuron_problems(node)
        case Input():
            return _input_problems(node)
        case Delay() if (node.delay < 0).any():
            return ["delay must not be negative"]
        case _:
            return [
                f"{key} holds {int((~np.isfinite(a)).sum())} values that are NaN or infinite"
                for key, a in _arrays(node).items()
                if not np.isfinite(a).all()
            ]


def _arrays(node: Node) -> dict[str, NDArray[np.float64]]:
    match node:
        case Affine():
            return {"weight": node.weight, "bias": node.bias}
        case SparseAffine():
            return {"weight": node.synapses.weight, "bias": node.bias}
        case Conv2d() | Conv1d():
            return {"weight": node.kernel.weight, "bias": node.bias}
        case Scale():
            return {"scale": node.scale}
        case Threshold():
            return {"threshold": node.threshold}
        case Delay():
            return {"delay": node.delay}
        case _:
            return {}


def _input_problems(node: Input) -> list[str]:
    found: list[str] = []
    if not 1 <= node.max_value < 1 << 31:
        found.append(f"largest input value is {node.max_value}")
    for key, value in (("gain", node.gain), ("offset", node.offset)):
        if not np.isfinite(value).all() or (key == "gain" and (value <= 0).any()):
            found.append(f"{key} holds numbers that are not finite or not positive")
        try:
            fits = np.broadcast_shapes(value.shape, node.shape) == node.shape
        except ValueError:
            fits = False
        if not fits:
            found.append(f"{key} has shape {value.shape}, not {node.shape}")
    return found


def _neuron_problems(node: Lif | Leaky) -> list[str]:
    found: list[str] = []
    for key in ("tau", "r", "v_threshold", "v_leak", "v_reset", "tau_synapse", "w_in"):
        value = getattr(node, key, None)
        if value is None:
            continue
        if value.shape not in ((), node.shape):
            found.append(f"{key} has shape {value.shape}, not {node.shape}")
        if np.isnan(value).any() or (key != "tau" and np.isinf(value).any()):
            found.append(f"{key} holds NaN or infinity")
        elif key.startswith("tau") and (value <= 0).any():
            found.append(f"{key} must be positive")
        elif key == "v_threshold" and (value <= 0).any():
            found.append("v_threshold must be positive")
    return found
