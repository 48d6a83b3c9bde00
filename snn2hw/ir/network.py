"""The float network in continuous time: what training ends with and NIR holds.

A ``Network`` is a graph of nodes named by NIR's terms. Edges carry the topology; several edges
into a node are summed. Units: seconds for time constants, volts and amperes stand for whatever
the training used (they are dimensionless in practice).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import NetworkError
from snn2hw.ir.arrays import Edge, Shape, digest, frozen, size_of
from snn2hw.ir.synapses import Conv, Pair

Reset = Literal["zero", "subtract"]


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """Where values enter. ``max_value`` is the largest integer a step may carry (1: spikes)."""

    shape: Shape
    max_value: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Where spikes leave."""

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
class Conv2d:
    """A convolution and one bias for each output channel, ``bias[out]``."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Flatten:
    """Forget the shape; the element order stays."""

    input_shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Lif:
    """Leaky integrate-and-fire neurons, and with ``tau = inf`` plain integrate-and-fire.

    ``tau dv/dt = v_leak - v + r I``; a spike when ``v > v_threshold``; then ``v`` becomes
    ``v_reset`` or loses ``v_threshold``, as ``reset`` says (NIR cannot say which).
    ``tau_synapse > 0`` adds a first-order current ``tau_synapse di/dt = -i + w_in I`` in front
    (NIR's CubaLIF). Arrays are scalars or have the population's shape.

    For integrate-and-fire neurons ``r / tau`` is what counts: NIR's IF is ``dv/dt = r I``, held
    here as ``tau = inf`` with ``rate = r`` (per second).
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

    def __post_init__(self) -> None:
        for name in ("tau", "r", "v_threshold", "v_leak", "v_reset", "tau_synapse", "w_in"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen(value, np.float64))


Node = Input | Output | Affine | Conv2d | Pool2d | Flatten | Lif


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """One forward-Euler step: ``i = keep_i i + gain_i I``; ``v = keep_v v + gain_v i + drift``."""

    keep_current: NDArray[np.float64]
    gain_current: NDArray[np.float64]
    keep_voltage: NDArray[np.float64]
    gain_voltage: NDArray[np.float64]
    drift: NDArray[np.float64]


def coefficients(neuron: Lif, dt: float) -> Coefficients:
    """Discretize a neuron by forward Euler with step ``dt`` seconds (NIR paper, methods)."""
    spiking = np.isfinite(neuron.tau)
    leak = np.where(spiking, dt / np.where(spiking, neuron.tau, 1.0), 0.0)
    gain = np.where(spiking, leak * neuron.r, dt * neuron.r)
    if neuron.tau_synapse is None:
        keep_current, gain_current = np.zeros(()), np.ones(())
    else:
        w_in = neuron.w_in if neuron.w_in is not None else np.ones(())
        keep_current = 1.0 - dt / neuron.tau_synapse
        gain_current = dt / neuron.tau_synapse * w_in
    return Coefficients(keep_current, gain_current, 1.0 - leak, gain, leak * neuron.v_leak)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A float network: nodes by name, edges, and the time step it was trained with.

    Args:
        nodes: node by name; at least one ``Input``, one ``Lif`` and one ``Output``.
        edges: ``(from, to)``; several edges into one node are summed.
        dt: time step in seconds.
        time_steps: how many steps one sample lasts, or None if the network does not say.

    Raises:
        NetworkError: names every dangling edge, shape that does not chain and bad value.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    dt: float
    time_steps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))
        object.__setattr__(self, "edges", tuple(sorted(set(self.edges))))
        problems = _problems(self)
        if problems:
            listed = "; ".join(problems[:8])
            more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
            raise NetworkError(f"The network is not sound: {listed}{more}.")

    def predecessors(self, name: str) -> tuple[str, ...]:
        """Return the names of the nodes with an edge into ``name``."""
        return tuple(a for a, b in self.edges if b == name)

    def neurons(self) -> dict[str, Lif]:
        """Return the neuron populations by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Lif)}

    def inputs(self) -> dict[str, Input]:
        """Return the input nodes by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Input)}

    def digest(self) -> str:
        """Return a hash of structure and values."""
        parts: list[Any] = [self.dt, self.time_steps, self.edges]
        for name in sorted(self.nodes):
            node = self.nodes[name]
            parts += [name, type(node).__name__, *_content(node)]
        return digest(*parts)


def _content(value: Any) -> list[Any]:
    out: list[Any] = []
    for field in value.__dataclass_fields__:
        item = getattr(value, field)
        out += _content(item) if isinstance(item, Conv) else [field, item]
    return out


def input_shape(node: Node) -> Shape:
    """Return the shape a node takes."""
    match node:
        case Input() | Output() | Lif():
            return node.shape
        case Affine():
            return (node.weight.shape[1],)
        case Conv2d():
            return node.kernel.input_shape
        case Pool2d() | Flatten():
            return node.input_shape
        case _:
            assert_never(node)


def output_shape(node: Node) -> Shape:
    """Return the shape a node gives."""
    match node:
        case Input() | Output() | Lif():
            return node.shape
        case Affine():
            return (node.weight.shape[0],)
        case Conv2d():
            return node.kernel.output_shape
        case Flatten():
            return (size_of(node.input_shape),)
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
            assert_never(node)


def _problems(net: Network) -> list[str]:
    found: list[str] = []
    if not (math.isfinite(net.dt) and net.dt > 0):
        found.append(f"the time step is {net.dt}, not a positive number of seconds")
    if net.time_steps is not None and net.time_steps < 1:
        found.append(f"a sample lasts {net.time_steps} steps")
    for wanted in (Input, Lif, Output):
        if not any(isinstance(n, wanted) for n in net.nodes.values()):
            found.append(f"there is no {wanted.__name__} node")
    for source, target in net.edges:
        missing = [n for n in (source, target) if n not in net.nodes]
        if missing:
            found += [f"edge {source} -> {target} names {m}, which does not exist" for m in missing]
            continue
        given, taken = output_shape(net.nodes[source]), input_shape(net.nodes[target])
        if given != taken and not _flat_match(net.nodes[target], given, taken):
            found.append(f"{source} gives {given} but {target} takes {taken}")
    for name, node in net.nodes.items():
        found += [f"{name}: {text}" for text in _value_problems(node)]
        if not isinstance(node, Input) and not any(b == name for _, b in net.edges):
            found.append(f"{name} has no input")
    return found


def _flat_match(node: Node, given: Shape, taken: Shape) -> bool:
    # Outputs and 1-D neurons only relabel elements; C order makes that unambiguous.
    return isinstance(node, Output | Lif) and size_of(given) == size_of(taken)


def _value_problems(node: Node) -> list[str]:
    arrays: dict[str, NDArray[np.float64] | None]
    match node:
        case Affine():
            arrays = {"weight": node.weight, "bias": node.bias}
            if node.weight.ndim != 2 or node.bias.shape != node.weight.shape[:1]:
                return [f"weight {node.weight.shape} and bias {node.bias.shape} do not match"]
        case Conv2d():
            arrays = {"weight": node.kernel.weight, "bias": node.bias}
            if node.bias.shape != node.kernel.weight.shape[:1]:
                return [f"{node.kernel.weight.shape[0]} channels but bias {node.bias.shape}"]
        case Lif():
            return _lif_problems(node)
        case Input():
            return [] if node.max_value >= 1 else [f"largest input value is {node.max_value}"]
        case Output() | Pool2d() | Flatten():
            return []
        case _:
            assert_never(node)
    return [
        f"{key} holds {int((~np.isfinite(a)).sum())} values that are NaN or infinite"
        for key, a in arrays.items()
        if a is not None and not np.isfinite(a).all()
    ]


def _lif_problems(node: Lif) -> list[str]:
    found: list[str] = []
    for key in ("tau", "r", "v_threshold", "v_leak", "v_reset", "tau_synapse", "w_in"):
        value = getattr(node, key)
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
