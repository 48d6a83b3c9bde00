"""What makes a float network unsound: edges that dangle, shapes that do not chain, bad values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import listed
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.discrete import ROUNDED
from snn2hw.ir.nodes import (
    Affine,
    Cell,
    Conv1d,
    Conv2d,
    Delay,
    Input,
    Leaky,
    Lif,
    Linear,
    Node,
    Output,
    Scale,
    SparseAffine,
    Threshold,
    input_shape,
    output_shape,
)
from snn2hw.ir.order import looped
from snn2hw.ir.synapses import sizes

if TYPE_CHECKING:
    from snn2hw.ir.network import Network

MOST_STEPS = 1 << 20


def problems(net: Network) -> list[str]:
    """Name everything that is wrong with a network, each with the node that it is about."""
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
