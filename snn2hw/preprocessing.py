"""What an author does to pixels before the first layer, folded into that layer.

Networks are trained on ``(scale x - mean) / std`` of integers ``x``; a chip takes the integers. The
factor ``scale / std`` goes into the first weights, and what is left, ``x - mean / scale``, into
biases; where a convolution pads, its border sees less of them, so they come from a layer without
weights beside the input. All is exact.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.errors import InputError, listed
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Flatten,
    Pool2d,
    Scale,
    SparseAffine,
    output_shape,
)
from snn2hw.ir.synapses import Conv, from_matrix
from snn2hw.passes import scaled

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What was done to the integers of an input: ``(scale x - mean) / std``.

    Args:
        scale: what a pixel is multiplied by first; 1/255 makes bytes numbers from 0 to 1.
        mean: is subtracted; one number, or one for each channel (the first axis of a sample).
        std: divides what is left, as ``mean``.
    """

    scale: float = 1.0
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0

    @property
    def input_max(self) -> int:
        """The largest integer of an input whose largest number was 1 before mean and deviation."""
        return max(round(1 / self.scale), 1) if 0 < self.scale < 1 else 1

    def applied(self, net: Network) -> Network:
        """Return a network that takes the integers, of one that takes what was made of them.

        Raises:
            InputError: the numbers are not of this network's input, or it has several.
        """
        if len(net.inputs()) != 1:
            raise InputError(
                f"The network has {len(net.inputs())} inputs ({listed(net.inputs())}); a scale of "
                "the input can be given for one.",
                "Scale the inputs in the first layers.",
            )
        ((name, port),) = net.inputs().items()
        scale, mean, std = (
            _each(what, value, port.shape)
            for what, value in (("scale", self.scale), ("mean", self.mean), ("std", self.std))
        )
        if not (scale > 0).all() or not (std > 0).all():
            raise InputError("An input's scale and deviation must be positive.")
        nodes = dict(net.nodes)
        nodes[name] = replace(port, gain=std / scale, offset=mean / scale)
        changed = times(replace(net, nodes=nodes), name, scale / std)
        return changed if not mean.any() else _moved(changed, name, -mean / scale)


def said(
    scale: float | None,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    input_max: int | None,
) -> Preprocessing | None:
    """Return what a caller says of an input; None if nothing.

    Raises:
        InputError: the scale makes integers larger, and nobody says how large they are: it is
            most likely the wrong way round.
    """
    if scale is None and mean is None and std is None:
        return None
    if scale is not None and scale > 1 and input_max is None:
        raise InputError(
            f"An input scale of {scale:g} makes integers {scale:g} times as large before the first "
            "layer.",
            f"If pixels were divided by {scale:g}, say 1/{scale:g}. If they were multiplied, say "
            "the largest integer as well (--input-max, in Python input_max=).",
        )
    given = {"scale": scale, "mean": mean, "std": std}
    return Preprocessing(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]


def unsaid(net: Network, option: str) -> list[str]:
    """Return a note where the first layer takes integers above 1 and nobody said their scale."""
    large = {k: n.max_value for k, n in net.inputs().items() if n.max_value > 1}
    return [
        f"{name} takes integers up to {most:,} as they are; if the network was trained on x / "
        f"{most}, its spikes are wrong: say {option} 1/{most}"
        for name, most in large.items()
    ]


def _each(what: str, value: float | Sequence[float], shape: Shape) -> Floats:
    """Return one number, or one for each channel, in a shape that fits all of a sample."""
    found = np.asarray(value, np.float64)
    if not np.isfinite(found).all():
        raise InputError(f"The input's {what} is {value}, not a number.")
    if found.size == 1:
        return found.reshape(())
    if found.shape != shape[:1]:
        raise InputError(
            f"The input's {what} holds {found.size} numbers; samples are {list(shape)}.",
            f"Give one number, or one for each of its {shape[0]} channels.",
        )
    return found.reshape(-1, *[1] * (len(shape) - 1))


def times(net: Network, name: str, factor: Floats) -> Network:
    """Multiply an input by a factor, in the weights of the first layers where they can take it.

    Args:
        net: the network.
        name: of the input.
        factor: one number, or one for each channel, in a shape that fits all of a sample.
    """
    if (factor == 1).all():
        return net
    full = np.broadcast_to(factor, net.inputs()[name].shape)
    nodes, edges = dict(net.nodes), list(net.edges)
    for first in _after(net, name):
        path = _path(net, name, first)
        seen = full
        for step in path[:-1]:
            seen = _channels(seen, output_shape(net.nodes[step]))
        taken = scaled(nodes[path[-1]], seen, rows=False)
        if taken is not None:
            nodes[path[-1]] = taken
            continue
        extra = _unused(f"{name}.scale", nodes)
        nodes[extra] = Scale(full)
        edges.remove((name, first))
        edges += [(name, extra), (extra, first)]
    return replace(net, nodes=nodes, edges=tuple(edges))


def _after(net: Network, name: str) -> list[str]:
    return [b for a, b in net.edges if a == name]


def _path(net: Network, name: str, first: str) -> list[str]:
    """Name the nodes from the first behind an input to the first that is no pool or Flatten.

    Only as far as nothing else joins or leaves them.
    """
    path, before = [first], name
    while (
        isinstance(net.nodes[path[-1]], Flatten | Pool2d)
        and net.predecessors(path[-1]) == (before,)
        and len(after := _after(net, path[-1])) == 1
    ):
        before = path[-1]
        path += after
    return path if net.predecessors(path[-1]) == (before,) else [first]


def _channels(factor: Floats, shape: Shape) -> Floats:
    """Return a factor for each channel, or each element, in the shape behind a pool or Flatten."""
    if factor.size == size_of(shape):
        return factor.reshape(shape)
    each = factor.reshape(factor.shape[0], -1)[:, 0]
    return np.broadcast_to(each.reshape(-1, *[1] * (len(shape) - 1)), shape)


def _moved(net: Network, name: str, by: Floats) -> Network:
    """Add constants to an input: in biases, or from a layer without weights beside it."""
    port = net.inputs()[name]
    full = np.broadcast_to(by, port.shape)
    nodes, edges = dict(net.nodes), list(net.edges)
    for first in _after(net, name):
        path = _path(net, name, first)
        layer = nodes[path[-1]]
        pooled = any(isinstance(nodes[step], Pool2d) for step in path[:-1])
        if isinstance(layer, Affine) and not pooled:
            nodes[path[-1]] = Affine(layer.weight, layer.bias + layer.weight @ full.reshape(-1))
        elif (
            isinstance(layer, Conv2d | Conv1d) and path == [first] and not any(layer.kernel.padding)
        ):
            nodes[first] = replace(layer, bias=layer.bias + _through(layer, full))
        else:
            extra = _unused(f"{name}.mean", nodes)
            nodes[extra] = _constants(full)
            edges += [(name, extra), (extra, first)]
    return replace(net, nodes=nodes, edges=tuple(edges))


def _constants(full: Floats) -> SparseAffine | Conv1d | Conv2d:
    """Return a layer without weights that gives constants, ``[C, ...]`` one for each channel."""
    shape = full.shape
    if len(shape) == 1:
        none = from_matrix(scipy.sparse.csr_array((shape[0], shape[0])))
        return SparseAffine(none, full, shape, shape)
    channels, height, width = (shape[0], 1, shape[1]) if len(shape) == 2 else shape
    weight = np.zeros((channels, 1, 1, 1))
    kernel = Conv(weight, (channels, height, width), groups=channels)
    kind = Conv1d if len(shape) == 2 else Conv2d
    return kind(kernel, full.reshape(channels, -1)[:, 0])


def _through(layer: Conv2d | Conv1d, constant: Floats) -> Floats:
    """Return what a convolution without padding makes of one constant a channel, ``[out]``."""
    kernel = layer.kernel
    out, into = kernel.weight.shape[:2]
    group = np.arange(out) // (out // kernel.groups)
    channel = constant.reshape(constant.shape[0], -1)[:, 0]
    each = channel[group[:, None] * into + np.arange(into)]
    return (kernel.weight.sum(axis=(2, 3)) * each).sum(axis=1)


def _unused(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name
