# pyright: basic
"""Sums, multiples and rearrangements of tensors, as signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import size_of
from snn2hw.ir.synapses import from_matrix, with_weight
from snn2hw.train.modules.origins import STILL, Floats, Ids, Operand, Where, operand
from snn2hw.train.modules.signals import Applied, Signal, Sum
from snn2hw.train.modules.tracing import BEYOND, Cannot, Operation, Tracer, values

Terms = Sequence[tuple[Any, Any]]  # (tensor or number, factor)


def combine(t: Tracer, shape: Sequence[int], terms: Terms) -> Ids:
    """Add multiples of tensors and numbers, element by element, as PyTorch broadcasts them.

    Args:
        t: what knows them.
        shape: of the result.
        terms: each with its factor, a number or an array.
    """
    ids = [np.broadcast_to(t.ids(x), shape).reshape(-1) for x, _ in terms]
    numbers = [np.broadcast_to(values(x), shape).reshape(-1) for x, _ in terms]
    factors = [np.broadcast_to(f, shape).reshape(-1) for _, f in terms]
    return _combined(t, ids, numbers, factors).reshape(tuple(shape))


def _combined(t: Tracer, ids: list[Ids], numbers: list[Floats], factors: list[Floats]) -> Ids:
    result = np.minimum(np.min(ids, axis=0), 0)  # what cannot be expressed stays so
    found = [t.rows.find(np.where(result < 0, 0, i)) for i in ids]
    constant = np.zeros(result.size)
    for w, number, factor in zip(found, numbers, factors, strict=True):
        constant += np.where(w.known, 0.0, number * factor)
    for sample, step, at in groups(found):
        live = [k for k, w in enumerate(found) if w.known[at].any()]
        first, *others = live
        if not others and (factors[first][at] == 1).all() and not constant[at].any():
            result[at] = ids[first][at]
            continue
        heard = tuple(operand(_part(found[k], at), np.zeros(at.size), step) for k in live)
        each = tuple(np.ascontiguousarray(factors[k][at]) for k in live)
        add = constant[at]
        key = ("sum", *(h.key for h in heard), *(f.tobytes() for f in each), add.tobytes())
        signal = t.signals.find(key, lambda h=heard, f=each, c=add: _sum(t, h, f, c))
        result[at] = t.rows.add(signal, step, sample, at.size) + np.arange(at.size)
    return result


def groups(found: list[Where]) -> list[tuple[int, int, Ids]]:
    """Return sample, step and places of all that is computed together."""
    known = np.any([w.known for w in found], axis=0)
    step = np.max([np.where(w.known, w.step, STILL) for w in found], axis=0)
    sample = np.max([np.where(w.known, w.sample, -1) for w in found], axis=0)
    for w in found:
        if (w.sample != sample)[w.known].any():
            raise Cannot("mixes the samples of a batch")
    places = np.flatnonzero(known)
    code = sample[places] * (int(step.max(initial=0)) + 2) + step[places] - STILL
    if code.size and (code == code[0]).all():
        return [(int(sample[places[0]]), int(step[places[0]]), places)]
    order = np.argsort(code, kind="stable")
    ends = np.flatnonzero(np.diff(code[order])) + 1
    parts = np.split(places[order], ends) if places.size else []
    return [(int(sample[at[0]]), int(step[at[0]]), at) for at in parts]


def _sum(
    t: Tracer, heard: tuple[Operand, ...], factors: tuple[Floats, ...], constant: Floats
) -> Signal:
    before = t.whole(heard[0]) if len(heard) == 1 else None
    if isinstance(before, Applied):
        folded = rescaled(before.node, factors[0], constant)
        if folded is not None:
            return replace(before, node=folded)
    return Sum(heard, factors, constant, t.line())


def rescaled(node: ir.Node, factor: Floats, shift: Floats) -> ir.Node | None:
    """Multiply what a linear map gives and add to it, both ``[size]``; None where it cannot."""
    match node:
        case ir.Affine():
            return ir.Affine(node.weight * factor[:, None], node.bias * factor + shift)
        case ir.SparseAffine():
            each = np.repeat(factor, np.diff(node.synapses.indptr))
            synapses = with_weight(node.synapses, node.synapses.weight * each)
            return replace(node, synapses=synapses, bias=node.bias * factor + shift)
        case ir.Conv2d() | ir.Conv1d():
            channels = len(node.bias)
            factor, shift = factor.reshape(channels, -1), shift.reshape(channels, -1)
            if np.ptp(factor, axis=1).any() or np.ptp(shift, axis=1).any():
                return None
            factor, shift = factor[:, 0], shift[:, 0]
            kernel = with_weight(node.kernel, node.kernel.weight * factor[:, None, None, None])
            return replace(node, kernel=kernel, bias=node.bias * factor + shift)
        case _:
            return None


def _add(t: Tracer, _f: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    return combine(t, out.shape, [(args[0], 1.0), (args[1], float(kwargs.get("alpha", 1)))])


def _subtract(t: Tracer, _f: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    return combine(t, out.shape, [(args[0], 1.0), (args[1], -float(kwargs.get("alpha", 1)))])


def _subtract_from(t: Tracer, _f: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    alpha = float(args[2] if len(args) > 2 else kwargs.get("alpha", 1))
    return combine(t, out.shape, [(args[1], 1.0), (args[0], -alpha)])


def _negate(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    return combine(t, out.shape, [(args[0], -1.0)])


def _known(t: Tracer, x: Any) -> bool:
    return isinstance(x, Tensor) and t.knows(x)


def _multiply(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    if _known(t, args[0]) and _known(t, args[1]):
        lowest = min(int(t.ids(x)[t.ids(x) != BEYOND].min(initial=0)) for x in args[:2])
        if lowest < 0:  # that one of them cannot be expressed is told already
            return np.full(out.shape, lowest)
        raise Cannot("multiplies signals with each other, and only constants can be factors")
    x, factor = args[:2] if _known(t, args[0]) else args[1::-1]
    return combine(t, out.shape, [(x, values(factor))])


def _divide(t: Tracer, _f: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    if _known(t, args[1]) or kwargs.get("rounding_mode"):
        raise Cannot("divides by a signal or rounds, and signals can only be divided by constants")
    return combine(t, out.shape, [(args[0], 1.0 / values(args[1]))])


def _same(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    if not out.is_floating_point():
        raise Cannot("turns numbers into integers: leave them as they are")
    return np.broadcast_to(t.ids(args[0]), out.shape)


def _copied(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
    return np.broadcast_to(t.ids(args[1]), out.shape)


def _moved(*data: int) -> Operation:
    """Return the operation that moves numbers, of the arguments at these places."""

    def operation(t: Tracer, func: Any, args: Any, kwargs: Any, _out: Tensor) -> Ids:
        def shadow(x: Any) -> Any:
            if isinstance(x, Tensor):
                return torch.from_numpy(t.ids(x).astype(np.float64))
            return [shadow(i) for i in x] if isinstance(x, list | tuple) else 0.0

        others = [x for i, x in enumerate(args) if i not in data]
        if any(_known(t, x) for other in others for x in _listed(other)):
            raise Cannot("chooses by values, which no network can")
        moved = func(*(shadow(x) if i in data else x for i, x in enumerate(args)), **kwargs)
        return moved.numpy().astype(np.int64)

    return operation


def _listed(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def _padded(t: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> Ids:
    found = _moved(0)(t, func, args[:2], {}, out)
    assert found is not None
    return found


def _filled(t: Tracer, _f: Any, _a: Any, _k: Any, out: Tensor) -> Ids:
    return np.zeros(out.shape, np.int64)


def _reduced(*, mean: bool) -> Operation:
    """Return the operation that adds up axes, or takes their mean."""

    def operation(t: Tracer, _f: Any, args: Any, _k: Any, out: Tensor) -> Ids:
        x, (axes, kept) = args[0], _axes(args)
        if mean and axes == [x.ndim - 2, x.ndim - 1] and x.ndim >= 4:
            return whole_average(t, x, out)
        count = size_of(tuple(x.shape[a] for a in axes))
        ids = t.ids(x).transpose(*kept, *axes).reshape(-1, count)
        numbers = values(x).transpose(*kept, *axes).reshape(-1, count)
        lost = np.minimum(ids.min(axis=1), 0)
        ids = np.where(lost[:, None] < 0, 0, ids)
        factor, where = 1.0 / count if mean else 1.0, t.rows.find(ids)
        last = np.where(where.known, where.step, STILL).max(axis=1, keepdims=True)
        if ((where.step != last) & where.known).any():  # over steps
            columns = [np.ascontiguousarray(c) for c in ids.T]
            each = [np.full(len(ids), factor)] * count
            added = _combined(t, columns, list(numbers.T), each)
        else:
            added = _added_up(t, where, numbers, factor)
        return np.where(lost < 0, lost, added).reshape(out.shape)

    return operation


def _axes(args: Any) -> tuple[list[int], list[int]]:
    """Return the axes that are added up, and the others."""
    x = args[0]
    given = args[1] if len(args) > 1 and args[1] else range(x.ndim)
    axes = sorted(a % x.ndim for a in ([given] if isinstance(given, int) else given))
    return axes, [a for a in range(x.ndim) if a not in axes]


def whole_average(t: Tracer, x: Tensor, out: Tensor) -> Ids:
    """Take the mean of whole images ``[..., C, H, W]``."""
    channels, height, width = x.shape[-3:]
    side = (height, width)
    node = ir.Pool2d((channels, height, width), side, side, (0, 0), average=True)
    name = t.name("mean")
    rows = x.numel() // size_of(tuple(x.shape[-3:]))
    return t.apply(("mean", side), x, rows, lambda heard: Applied(name, node, heard), out)


def _added_up(t: Tracer, where: Where, numbers: Floats, factor: float) -> Ids:
    """Add up each row of ``[n, count]`` numbers, all of a row being of one step."""
    result, name = np.zeros(len(numbers), np.int64), t.name("sum")
    first = [_part(where, (slice(None), k)) for k in range(numbers.shape[1])]
    for sample, step, at in groups(first):
        heard = operand(_flat(where, at), numbers[at].reshape(-1), step)
        rows = np.repeat(np.arange(at.size), numbers.shape[1])
        entries = np.full(rows.size, factor), (rows, np.arange(rows.size))
        weight = from_matrix(sparse.coo_array(entries, shape=(at.size, rows.size)))
        node = ir.SparseAffine(weight, np.zeros(at.size), (rows.size,), (at.size,))
        key = "added", factor, numbers.shape[1], heard.key
        signal = t.signals.find(key, lambda n=node, h=heard: Applied(name, n, h))
        result[at] = t.rows.add(signal, step, sample, at.size) + np.arange(at.size)
    return result


def _flat(w: Where, at: Ids) -> Where:
    return Where(*(getattr(w, k)[at].reshape(-1) for k in w.__dataclass_fields__))


def _part(w: Where, at: Any) -> Where:
    return Where(*(getattr(w, k)[at] for k in w.__dataclass_fields__))


ELEMENTWISE: dict[str, Operation] = {
    "add": _add,
    "sub": _subtract,
    "rsub": _subtract_from,
    "neg": _negate,
    "mul": _multiply,
    "div": _divide,
    "sum": _reduced(mean=False),
    "mean": _reduced(mean=True),
    "copy": _copied,
    "constant_pad_nd": _padded,
    "fill": _filled,
    "zero": _filled,
    "zeros_like": _filled,
    "ones_like": _filled,
    "full_like": _filled,
    "empty_like": _filled,
    "new_zeros": _filled,
    "new_ones": _filled,
    "new_full": _filled,
    "new_empty": _filled,
    "where": _moved(1, 2),
    **dict.fromkeys(("clone", "_to_copy", "contiguous", "lift_fresh_copy"), _same),
    **dict.fromkeys(
        (
            "cat", "stack", "index", "index_select", "gather", "repeat", "roll", "flip",
            "upsample_nearest1d", "upsample_nearest2d", "_upsample_nearest_exact1d",
            "_upsample_nearest_exact2d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
            "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
            "repeat_interleave", "take", "masked_fill", "tril", "triu", "diagonal_scatter",
        ),
        _moved(0),
    ),
    **dict.fromkeys(("select_scatter", "slice_scatter"), _moved(0, 1)),
}  # fmt: skip
