# pyright: basic
"""Writing NIR files, with the ``nir`` package itself."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, assert_never

import nir
import numpy as np

from snn2hw.errors import InputError, listed
from snn2hw.files import new_file
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Leaky,
    Lif,
    Linear,
    Node,
    Output,
    Pool2d,
    Scale,
    SparseAffine,
    Threshold,
)
from snn2hw.ir.synapses import matrix
from snn2hw.nir_io.read import KEY


def write(path: Path, net: Network) -> None:
    """Write a network as NIR, which ``nir`` 1.0.8 and our ``read`` read back.

    Raises:
        InputError: names the nodes that NIR cannot hold.
    """
    wrong = [k for k in net.nodes if "/" in k or not k]
    if wrong:
        raise InputError(f"NIR cannot hold node names with a slash: {', '.join(wrong)}.")
    net = _without_sparse(net)
    graph = nir.NIRGraph(
        nodes={k: _to_nir(k, n, net) for k, n in net.nodes.items()},
        edges=list(net.edges),
        metadata={KEY: _metadata(net)},
        type_check=False,
    )
    memory: Any = io.BytesIO()  # HDF5 does not survive a disk that fills up under it
    nir.write(memory, graph)
    with new_file(path) as temporary:
        temporary.write_bytes(memory.getvalue())


MOST_WEIGHTS = 1 << 24  # of a dense layer that stands for a sparse one


def _without_sparse(net: Network) -> Network:
    """Write each sparse layer as a dense one, with a Flatten before it where it takes an image.

    Raises:
        InputError: names the layers that would be too large, or give an image to a layer.
    """
    nodes, edges, wrong = dict(net.nodes), set(net.edges), list[str]()
    for name, node in net.nodes.items():
        if not isinstance(node, SparseAffine):
            continue
        after = [net.nodes[b] for a, b in net.edges if a == name]
        if len(node.output_shape) > 1 and any(isinstance(n, Linear) for n in after):
            wrong.append(f"{name} gives {node.output_shape}, and a dense layer only a vector")
            continue
        size = node.bias.size * node.synapses.pre_size
        if size > MOST_WEIGHTS:
            wrong.append(f"{name} would be a dense layer of {size:,} weights")
            continue
        nodes[name] = Affine(matrix(node.synapses).toarray(), node.bias)
        if len(node.input_shape) > 1:
            flat = f"{name}.flatten"
            while flat in nodes:
                flat += "_"
            nodes[flat] = Flatten(node.input_shape)
            into = {edge for edge in edges if edge[1] == name}
            edges = edges - into | {(a, flat) for a, _ in into} | {(flat, name)}
    if wrong:
        raise InputError(
            f"NIR has no sparse layer, and these cannot be dense ones: {listed(wrong, '; ')}.",
            "Build the network for a target from Python (snn2hw.build), without a file.",
        )
    return replace(net, nodes=nodes, edges=tuple(edges))


def _metadata(net: Network) -> dict[str, Any]:
    ours: dict[str, Any] = {"dt": net.dt}
    resets = {k: n.reset for k, n in net.neurons().items()}
    if resets:
        same = len(set(resets.values())) == 1
        ours["reset"] = next(iter(resets.values())) if same else resets
    fires: dict[str, str] = {k: n.fires for k, n in net.neurons().items() if n.fires is not None}
    if fires:
        ours["fires_of"] = fires
    if net.time_steps:
        ours["time_steps"] = net.time_steps
    ours["input_max"] = {k: n.max_value for k, n in net.inputs().items()}
    scaled = {k: n for k, n in net.inputs().items() if n.scaled}
    if scaled:
        ours["input_gain"] = {k: np.atleast_1d(n.gain) for k, n in scaled.items()}
        ours["input_offset"] = {k: np.atleast_1d(n.offset) for k, n in scaled.items()}
    default = asdict(Rules())
    return ours | {k: v for k, v in asdict(net.rules).items() if v != default[k]}


def _to_nir(name: str, node: Node, net: Network) -> Any:
    match node:
        case Input():
            return nir.Input(input_type={"input": np.array(node.shape)})
        case Output():
            return nir.Output({"output": np.array(node.shape)})
        case Threshold():
            return nir.Threshold(threshold=np.array(node.threshold))
        case Leaky() | Lif():
            return _neuron_to_nir(name, node, net)
        case _:
            return _linear_to_nir(node)


def _linear_to_nir(node: Linear) -> Any:
    match node:
        case Affine():
            return nir.Affine(weight=np.array(node.weight), bias=np.array(node.bias))
        case SparseAffine():
            raise AssertionError("sparse layers were made dense before")
        case Scale():
            return nir.Scale(scale=np.array(node.scale))
        case Delay():
            return nir.Delay(delay=np.array(node.delay))
        case Conv2d():
            k = node.kernel
            return nir.Conv2d(
                input_shape=k.input_shape[1:], weight=np.array(k.weight), stride=k.stride,
                padding=k.padding, dilation=k.dilation, groups=k.groups,
                bias=np.array(node.bias),
            )  # fmt: skip
        case Conv1d():
            k = node.kernel
            return nir.Conv1d(
                input_shape=k.input_shape[2], weight=np.array(k.weight[:, :, 0]),
                stride=k.stride[1], padding=k.padding[1], dilation=k.dilation[1],
                groups=k.groups, bias=np.array(node.bias),
            )  # fmt: skip
        case Pool2d():
            kind = nir.AvgPool2d if node.average else nir.SumPool2d
            return kind(np.array(node.kernel), np.array(node.stride), np.array(node.padding))
        case Flatten():
            shape = {"input": np.array(node.input_shape)}
            return nir.Flatten(shape, start_dim=node.start_dim, end_dim=node.end_dim)
        case _:
            assert_never(node)


def _neuron_to_nir(name: str, node: Leaky | Lif, net: Network) -> Any:
    def full(value: Any) -> np.ndarray:  # nir cannot write scalars
        return np.array(np.broadcast_to(value, node.shape))

    whole = np.isinf(full(node.tau))
    common: dict[str, Any] = {"r": full(node.r)}
    spikes = isinstance(node, Lif)
    if isinstance(node, Lif):
        common |= {"v_threshold": full(node.v_threshold), "v_reset": full(node.v_reset)}
    if whole.all() and node.tau_synapse is None and not np.any(node.v_leak):
        return nir.IF(**common) if spikes else nir.I(**common)
    if whole.any():
        common["r"] = _endless(name, node, net, whole)
    common["v_leak"] = full(node.v_leak)
    if node.tau_synapse is None:
        return (nir.LIF if spikes else nir.LI)(tau=full(node.tau), **common)
    common["w_in"] = full(node.w_in if node.w_in is not None else np.ones(()))
    kind = nir.CubaLIF if spikes else nir.CubaLI
    return kind(tau_syn=full(node.tau_synapse), tau_mem=full(node.tau), **common)


def _endless(name: str, node: Leaky | Lif, net: Network, whole: np.ndarray) -> np.ndarray:
    """Write a decay of 1 with a gain of 1 as snnTorch does: infinite ``tau`` and ``r``."""
    gain = coefficients(node, net.dt, net.rules.integration).gain_voltage
    odd = whole & ((gain != 1) | (node.v_leak != 0))
    if odd.any():
        raise InputError(
            f"NIR cannot hold {name}: {np.count_nonzero(odd)} of its neurons never leak, beside "
            "others that do or behind a synaptic current, and their membranes take another share "
            f"of what arrives than 1 ({np.broadcast_to(gain, node.shape)[odd].flat[0]:g}).",
            "Scale the weights before them and the thresholds until it is 1, or build the network "
            "from Python (snn2hw.build), without a file.",
        )
    return np.where(whole, np.inf, node.r)
