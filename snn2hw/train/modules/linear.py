# pyright: basic
"""Linear layers, convolutions, pools and norms of ATen, as nodes of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.synapses import Conv, Pair, from_matrix
from snn2hw.train.export import image, pair
from snn2hw.train.modules.elementwise import rescaled, whole_average
from snn2hw.train.modules.origins import Floats, Ids, Operand
from snn2hw.train.modules.signals import Applied
from snn2hw.train.modules.tracing import Cannot, Operation, Tracer, values

MOST_PROBED = 1 << 14  # inputs of a linear map that is tried out one by one
MOST_TRIED = 1 << 28  # numbers that this may give


def _applied(t: Tracer, node: ir.Node, otherwise: str) -> Callable[[Operand], Applied]:
    name = t.name(otherwise)
    return lambda heard: Applied(name, node, heard)


def _constant(t: Tracer, *tensors: Any) -> None:
    if any(isinstance(x, Tensor) and t.knows(x) for x in tensors):
        raise Cannot("has weights that depend on the data: only signals times constants can be")


def _dense(t: Tracer, x: Tensor, weight: Tensor, bias: Any, out: Tensor) -> Ids:
    """Apply ``y = weight[post, pre] x + bias`` to the last axis."""
    _constant(t, weight, bias)
    key = "linear", t.key(weight), t.key(bias)
    rows = x.numel() // x.shape[-1]

    def build(heard: Operand) -> Applied:
        add = np.zeros(weight.shape[0]) if bias is None else values(bias)
        add = np.broadcast_to(add, (weight.shape[0],))
        return Applied(name, ir.Affine(values(weight), add), heard)

    name = t.name("linear")
    return t.apply(key, x, rows, build, out)


def _addmm(t: Tracer, _f: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    bias, x, weight = args
    if kwargs.get("beta", 1) != 1 or kwargs.get("alpha", 1) != 1 or bias.ndim > 1:
        raise Cannot("adds a matrix or a multiple: use torch.nn.functional.linear")
    return _dense(t, x, weight.t(), bias, out)


def _mm(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    return _dense(t, args[0], args[1].t(), None, out)


def _linear(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    return _dense(t, args[0], args[1], args[2] if len(args) > 2 else None, out)


def _mv(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    return _dense(t, args[1], args[0], None, out)


def _bmm(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    x, weight = args
    return np.stack([_dense(t, a, w.t(), None, o) for a, w, o in zip(x, weight, out, strict=True)])


def _convolution(t: Tracer, func: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    _constant(t, weight, bias)
    if transposed or x.ndim > 4:
        return _tried(t, func, args, x, 1, out)
    flat = x.ndim == 3
    key = "conv", t.key(weight), t.key(bias), *map(str, args[3:]), tuple(x.shape[1:])
    name = t.name("conv")

    def build(heard: Operand) -> Applied:
        kernel = values(weight)[:, :, None] if flat else values(weight)
        shape = (x.shape[1], 1, x.shape[2]) if flat else image(tuple(x.shape[1:]))
        ways = stride, padding, dilation
        if flat:
            ways = (1, *stride), (0, *padding), (1, *dilation)
        conv = Conv(kernel, shape, *map(pair, ways), groups=groups)
        add = np.zeros(len(kernel)) if bias is None else values(bias)
        return Applied(name, (ir.Conv1d if flat else ir.Conv2d)(conv, add), heard)

    return t.apply(key, x, len(x), build, out)


def _batch_norm(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    """Fold a norm with running statistics into the map before it, or make it one of its own."""
    x, weight, bias, mean, variance, training, _, epsilon = args[:8]
    if training or mean is None:
        raise Cannot("normalizes by the batch at hand: train it with track_running_stats=True")
    gain = 1.0 / np.sqrt(values(variance) + epsilon)
    gain = gain if weight is None else gain * values(weight)
    shift = (0.0 if bias is None else values(bias)) - values(mean) * gain
    shape = tuple(x.shape[1:])
    factor, add = (np.repeat(v, size_of(shape[1:])) for v in (gain, shift))
    name = t.name("norm")

    def build(heard: Operand) -> Applied:
        before = t.whole(heard)
        if isinstance(before, Applied):
            folded = rescaled(before.node, factor, add)
            if folded is not None:
                return replace(before, node=folded)
        alone = rescaled(_unchanged(shape), factor, add)
        assert alone is not None
        return Applied(name, alone, heard)

    return t.apply(("norm", gain.tobytes(), shift.tobytes(), shape), x, len(x), build, out)


def _unchanged(shape: Shape) -> ir.Affine | ir.Conv1d | ir.Conv2d:
    """Return the linear map that changes nothing, with a factor and a bias for each channel."""
    channels = shape[0]
    if len(shape) == 1:
        return ir.Affine(np.eye(channels), np.zeros(channels))
    flat = len(shape) == 2
    whole = (channels, 1, shape[1]) if flat else image(shape)
    kernel = Conv(np.ones((channels, 1, 1, 1)), whole, groups=channels)
    return (ir.Conv1d if flat else ir.Conv2d)(kernel, np.zeros(channels))


def _average(t: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    x, kernel, stride, padding, ceil, counts, divisor = _pool_arguments(args, kwargs)
    rows, shape = _images(x)
    odd = divisor is not None or (any(padding) and not counts)
    if odd or (ceil and _unfilled(shape, kernel, stride, padding)):
        return _tried(t, func, args, x, x.ndim - 3, out, **kwargs)
    node = ir.Pool2d(shape, kernel, stride, padding, average=True)
    return t.apply(("avg", node_key(node)), x, rows, _applied(t, node, "pool"), out)


def _pool_arguments(args: Any, kwargs: Any) -> tuple[Any, ...]:
    x, kernel, stride, padding, ceil, counts, divisor = (
        *args, *(None, None, (), 0, False, True, None)[len(args):]
    )  # fmt: skip
    ceil, counts = kwargs.get("ceil_mode", ceil), kwargs.get("count_include_pad", counts)
    kernel = _two(kernel)
    stride = _two(stride) if stride else kernel
    return x, kernel, stride, _two(padding), ceil, counts, kwargs.get("divisor_override", divisor)


def _two(value: Any) -> Pair:
    given = value if isinstance(value, tuple | list) else (value,)
    return int(given[0]), int(given[-1])


def _images(x: Tensor) -> tuple[int, tuple[int, int, int]]:
    """Return how many images ``[..., C, H, W]`` there are, and their shape."""
    shape = image(tuple(x.shape[-3:]))
    return x.numel() // size_of(shape), shape


def _unfilled(shape: Shape, kernel: Pair, stride: Pair, padding: Pair) -> bool:
    """Say whether pooling with rounding up has windows that are not full."""
    sides = zip(shape[1:], kernel, stride, padding, strict=True)
    return any((n + 2 * p - k) % s for n, k, s, p in sides)


def node_key(node: ir.Pool2d) -> tuple[Any, ...]:
    """Return what tells a pool from others."""
    return node.input_shape, node.kernel, node.stride, node.padding, node.average


def _adaptive(t: Tracer, func: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    x, (rows, shape) = args[0], _images(args[0])
    if out.shape[-2:] == (1, 1):
        return whole_average(t, x, out)
    sides = [n // m for n, m in zip(shape[1:], out.shape[-2:], strict=True)]
    kernel = sides[0], sides[1]
    if (kernel[0] * out.shape[-2], kernel[1] * out.shape[-1]) != shape[1:]:
        return _tried(t, func, args, x, x.ndim - 3, out)
    node = ir.Pool2d(shape, kernel, kernel, (0, 0), average=True)
    return t.apply(("avg", node_key(node)), x, rows, _applied(t, node, "pool"), out)


def _linear_map(t: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    """Interpolation, of images ``[N, C, H, W]`` or series ``[N, C, L]``."""
    return _tried(t, func, args, args[0], 1, out, **kwargs)


def _tried(
    t: Tracer, func: Any, args: Any, x: Tensor, lead: int, out: Tensor, **kwargs: Any
) -> Ids:
    """Apply a linear map whose weights are what it makes of each input alone."""
    rows = size_of(tuple(x.shape[:lead]))
    shape, given = tuple(x.shape[lead:]), tuple(out.shape[lead:])
    key = str(func), shape, *(t.key(a) if isinstance(a, Tensor) else str(a) for a in args[1:])
    name = t.name("linear")
    if size_of(shape) > MOST_PROBED or size_of(shape) * size_of(given) > MOST_TRIED:
        raise Cannot(f"maps {shape} to {given}, which is too large for a layer of single weights")

    def run(inputs: Floats) -> Floats:
        y = torch.from_numpy(inputs.reshape(-1, *shape))
        y = func(y if lead else y[0], *(_double(a) for a in args[1:]), **kwargs)
        return y.numpy().reshape(len(inputs), -1)

    def build(heard: Operand) -> Applied:
        n = size_of(shape)
        zero = run(np.zeros((1, n)))[0]
        columns = [
            sparse.csr_array(run(np.eye(n, dtype=np.float64)[a : a + step]) - zero)
            for step in (256 if lead else 1,)
            for a in range(0, n, step)
        ]
        weight = from_matrix(sparse.vstack(columns).T)
        return Applied(name, ir.SparseAffine(weight, zero, shape, given), heard)

    return t.apply(key, x, rows, build, out)


def _double(x: Any) -> Any:
    return x.detach().double() if isinstance(x, Tensor) and x.is_floating_point() else x


def _max(t: Tracer, _f: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    x, kernel, stride, padding = _pool_arguments(args[:4], {})[:4]
    dilation = _two(args[4] if len(args) > 4 else kwargs.get("dilation", 1))
    ceil = args[5] if len(args) > 5 else kwargs.get("ceil_mode", False)
    rows, shape = _images(x)
    if dilation != (1, 1):
        raise Cannot("dilates its windows, which cannot be")
    if ceil and _unfilled(shape, kernel, stride, padding):
        raise Cannot(f"pools windows that {shape} does not fill: set ceil_mode to False")
    pool = ir.Pool2d(shape, kernel, stride, padding, average=t.max_pool == "average")
    name, size = t.name("max_pool"), out.numel() // max(rows, 1)
    if t.max_pool == "average":
        note = f"{name}: max pooling became average pooling; measure what it changes"
        t.notes += [note] if note not in t.notes else []
        t.replaced = True
        return t.apply(("avg", node_key(pool)), x, rows, _applied(t, pool, "max_pool"), out)

    def build(heard: Operand) -> Applied:
        exact = f"max_pool='neurons' (exact, {size} neurons more)"
        if not t.spikes(heard):
            exact = "put it behind the neurons, as it pools no spikes here"
        if t.max_pool == "refuse" or not t.spikes(heard):
            raise Cannot(f"is max pooling, which no target has: {exact}, or max_pool='average'")
        t.notes.append(f"{name}: max pooling of spikes became {size} neurons, exactly")
        total = t.signals.add(Applied(f"{name}.sum", pool, heard))
        all_of = np.full(size, total), np.zeros(size, int), np.arange(size), np.zeros(size)
        return Applied(name, any_of(ir.output_shape(pool), t.dt), Operand(*all_of))

    return t.apply(("max", node_key(pool)), x, rows, build, out)


def any_of(shape: Shape, dt: float) -> ir.Lif:
    """Return neurons that forget at once and spike if their sum of spikes is not 0."""
    one, none = np.ones(()), np.zeros(())
    return ir.Lif(shape, np.array(dt), one, np.array(0.5), none, none)


LINEAR: dict[str, Operation] = {
    "addmm": _addmm,
    "mm": _mm,
    "linear": _linear,
    "mv": _mv,
    "bmm": _bmm,
    "convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "avg_pool2d": _average,
    "_adaptive_avg_pool2d": _adaptive,
    "max_pool2d_with_indices": _max,
    **dict.fromkeys(
        ("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d"), _linear_map
    ),
}
