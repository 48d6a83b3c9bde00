# pyright: basic
"""The door to NIR, the Neuromorphic Intermediate Representation (Pedersen et al. 2024).

The only importer of ``nir``. NIR has no time step, no reset rule and no input range, so they travel
in the graph's metadata under ``snn2hw``; when a foreign file lacks them, the caller supplies
them. Nodes are followed along edges, never in stored order: NIR sorts them by name.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

import nir
import numpy as np

from snn2hw.errors import InputError, Snn2hwError
from snn2hw.files import new_file, open_hdf5
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.network import (
    Affine,
    Conv2d,
    Flatten,
    Input,
    Lif,
    Network,
    Node,
    Output,
    Pool2d,
    Reset,
    output_shape,
)
from snn2hw.ir.synapses import Conv

KEY = "snn2hw"


def write(path: Path, net: Network) -> None:
    """Write a network as NIR.

    Raises:
        InputError: if populations reset by different rules, which one file cannot say.
    """
    resets = {n.reset for n in net.neurons().values()}
    if len(resets) > 1:
        raise InputError("Some populations reset to zero and some by subtraction.")
    ours: dict[str, Any] = {"dt": net.dt, "reset": resets.pop()}
    if net.time_steps:
        ours["time_steps"] = net.time_steps
    ours["input_max"] = {k: n.max_value for k, n in net.inputs().items()}
    graph = nir.NIRGraph(
        nodes={k: _to_nir(n) for k, n in net.nodes.items()},
        edges=list(net.edges),
        metadata={KEY: ours},
        type_check=False,
    )
    memory: Any = io.BytesIO()  # HDF5 does not survive a disk that fills up under it
    nir.write(memory, graph)
    with new_file(path) as temporary:
        temporary.write_bytes(memory.getvalue())


def _to_nir(node: Node) -> Any:
    match node:
        case Input():
            return nir.Input(input_type={"input": np.array(node.shape)})
        case Output():
            return nir.Output({"output": np.array(node.shape)})
        case Affine():
            return nir.Affine(weight=np.array(node.weight), bias=np.array(node.bias))
        case Conv2d():
            k = node.kernel
            return nir.Conv2d(
                input_shape=k.input_shape[1:], weight=np.array(k.weight), stride=k.stride,
                padding=k.padding, dilation=k.dilation, groups=k.groups,
                bias=np.array(node.bias),
            )  # fmt: skip
        case Pool2d():
            kind = nir.AvgPool2d if node.average else nir.SumPool2d
            return kind(np.array(node.kernel), np.array(node.stride), np.array(node.padding))
        case Flatten():
            return nir.Flatten({"input": np.array(node.input_shape)}, start_dim=0, end_dim=-1)
        case Lif():
            return _lif_to_nir(node)
        case _:
            assert_never(node)


def _lif_to_nir(node: Lif) -> Any:
    def full(value: Any) -> np.ndarray:
        return np.array(np.broadcast_to(value, node.shape))

    common: dict[str, Any] = {"v_threshold": full(node.v_threshold), "v_reset": full(node.v_reset)}
    if np.isinf(node.tau).any():
        if not np.isinf(node.tau).all() or node.tau_synapse is not None:
            raise InputError("NIR cannot hold this mix of leaky and leakless neurons.")
        return nir.IF(r=full(node.r), **common)
    common |= {"r": full(node.r), "v_leak": full(node.v_leak)}
    if node.tau_synapse is None:
        return nir.LIF(tau=full(node.tau), **common)
    w_in = node.w_in if node.w_in is not None else np.ones(())
    return nir.CubaLIF(
        tau_syn=full(node.tau_synapse), tau_mem=full(node.tau), w_in=full(w_in), **common
    )


def read(
    path: Path,
    *,
    dt: float | None = None,
    time_steps: int | None = None,
    reset: Reset | None = None,
) -> tuple[Network, list[str]]:
    """Read a NIR file; arguments fill in what the file does not say (the file wins not: you do).

    Returns:
        The network, and a sentence for everything that had to be assumed.

    Raises:
        InputError: names what is wrong with the file, or what it lacks.
    """
    with open_hdf5(path, "a NIR file") as file:
        if "node" not in file:
            raise InputError(f"{path} is not a NIR file: it has no graph.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph: Any = nir.read(path, type_check=False)
        ours = _metadata(graph)
        nodes = dict(graph.nodes)
        edges = [(str(a), str(b)) for a, b in graph.edges]
    except Exception as error:  # nir raises whatever its constructors meet
        raise InputError(
            f"{path} holds no NIR graph that can be read: {_short(error)}.",
            "Write it with nir 1.0.8.",
        ) from error
    notes: list[str] = []
    dt = dt or ours.get("dt")
    if not dt:
        raise InputError(f"{path} does not say its time step.", "Give --dt, in seconds.")
    if (reset or ours.get("reset")) is None:
        notes.append(f"{path} does not say how neurons reset: taken as to zero (--reset).")
    rule: Reset = reset or ours.get("reset") or "zero"
    converted = _convert(nodes, edges, rule, ours.get("input_max", {}), path)
    return Network(converted, tuple(edges), float(dt), time_steps or ours.get("time_steps")), notes


def _metadata(graph: Any) -> dict[str, Any]:
    raw = (graph.metadata or {}).get(KEY, {})
    out: dict[str, Any] = {}
    if "dt" in raw:
        out["dt"] = float(raw["dt"])
    if "time_steps" in raw:
        out["time_steps"] = int(raw["time_steps"])
    if "reset" in raw:
        value = raw["reset"]
        out["reset"] = value.decode() if isinstance(value, bytes) else str(value)
        if out["reset"] not in ("zero", "subtract"):
            raise ValueError(f"unknown reset rule {out['reset']!r}")
    out["input_max"] = {str(k): int(v) for k, v in dict(raw.get("input_max", {})).items()}
    return out


def _convert(
    nodes: Mapping[str, Any],
    edges: list[tuple[str, str]],
    reset: Reset,
    largest: Mapping[str, int],
    path: Path,
) -> dict[str, Node]:
    """Convert nodes in an order in which a node's input shape is known when it needs it."""
    done: dict[str, Node] = {}
    problems: list[str] = []
    waiting = dict(nodes)
    while waiting:
        ready = [n for n in waiting if _shape_known(waiting[n], n, edges, done)]
        if not ready:
            listed = ", ".join(sorted(waiting))
            problems.append(f"the input shape of {listed} cannot be told from the graph")
            break
        for name in ready:
            before = [done[a] for a, b in edges if b == name and a in done]
            shape = output_shape(before[0]) if before else None
            try:
                done[name] = _from_nir(waiting[name], shape, reset, largest.get(name, 1))
            except (ValueError, TypeError, Snn2hwError) as error:
                problems.append(f"{name}: {_short(error)}")
                done[name] = Output(shape or ())
            del waiting[name]
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}.")
    return done


def _shape_known(
    node: Any, name: str, edges: list[tuple[str, str]], done: Mapping[str, Node]
) -> bool:
    if not isinstance(node, nir.Conv2d | nir.AvgPool2d | nir.SumPool2d | nir.Flatten):
        return True
    return any(a in done for a, b in edges if b == name)


def _from_nir(node: Any, shape: Shape | None, reset: Reset, largest: int) -> Node:
    match node:
        case nir.Input():
            return Input(_shape(node.input_type["input"]), largest)
        case nir.Output():
            return Output(_shape(node.output_type["output"]))
        case nir.Affine():
            return Affine(node.weight, node.bias)
        case nir.Linear():
            return Affine(node.weight, np.zeros(np.shape(node.weight)[0]))
        case nir.Conv2d():
            return _conv(node, _image(shape))
        case nir.AvgPool2d() | nir.SumPool2d():
            kernel, stride, padding = (
                _pair(v) for v in (node.kernel_size, node.stride, node.padding)
            )
            average = isinstance(node, nir.AvgPool2d)
            return Pool2d(_image(shape), kernel, stride, padding, average)
        case nir.Flatten():
            return Flatten(shape or _shape(node.input_type["input"]))
        case nir.IF() | nir.LIF() | nir.CubaLIF():
            return _lif(node, reset, shape)
        case _:
            raise ValueError(f"{type(node).__name__} nodes are not supported yet")


def _conv(node: Any, shape: tuple[int, int, int]) -> Conv2d:
    weight = np.asarray(node.weight, np.float64)
    stride, dilation = _pair(node.stride), _pair(node.dilation)
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"unknown padding {padding!r}")
        spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if padding == "same" and (stride != (1, 1) or any(s % 2 for s in spans)):
            raise ValueError("'same' padding needs stride 1 and odd kernels")
        padding = [s // 2 for s in spans] if padding == "same" else [0, 0]
    kernel = Conv(weight, shape, stride, _pair(padding), dilation, int(node.groups))
    bias = np.zeros(weight.shape[0]) if node.bias is None else np.asarray(node.bias)
    return Conv2d(kernel, np.broadcast_to(bias, weight.shape[:1]))


def _lif(node: Any, reset: Reset, shape: Shape | None) -> Lif:
    own = np.shape(node.v_threshold)
    shape = own or shape or ()
    common: dict[str, Any] = {
        "shape": shape, "r": node.r, "v_threshold": node.v_threshold, "reset": reset,
        "v_reset": node.v_reset if node.v_reset is not None else np.zeros(()),
    }  # fmt: skip
    if isinstance(node, nir.IF):
        return Lif(tau=np.array(np.inf), v_leak=np.zeros(()), **common)
    common["v_leak"] = node.v_leak
    if isinstance(node, nir.LIF):
        return Lif(tau=node.tau, **common)
    return Lif(tau=node.tau_mem, tau_synapse=node.tau_syn, w_in=node.w_in, **common)


def _image(shape: Shape | None) -> tuple[int, int, int]:
    if shape is None or len(shape) != 3:
        raise ValueError(f"takes an image [C, H, W], but what comes before gives {shape}")
    return (shape[0], shape[1], shape[2])


def _shape(value: Any) -> Shape:
    shape = tuple(int(n) for n in np.atleast_1d(value))
    if not shape or min(shape) < 1 or size_of(shape) > 1 << 28:
        raise ValueError(f"shape {shape} makes no sense")
    return shape


def _pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value, np.int64), (2,))
    return (int(both[0]), int(both[1]))


def _short(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return str(text).strip("'\" ").splitlines()[0].rstrip(".")
