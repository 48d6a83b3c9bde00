# pyright: basic
"""Layers over the axis of time: what they give of each step, from those that they look back to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import size_of
from snn2hw.ir.graph import pool_kernel
from snn2hw.ir.synapses import from_matrix, matrix, synapse_count
from snn2hw.train.modules.origins import STILL, Floats, Ids, Operand, Where, operand
from snn2hw.train.modules.signals import Applied

MOST = 1 << 24  # synapses of a layer over all of the steps that are watched


class Part(NamedTuple):
    """What a layer gives of one step: the places, the signal and what tells it from others."""

    at: Ids
    step: int
    signal: Callable[[], Applied]
    key: Any


def parts(applied: Applied, where: Where, numbers: Floats) -> Iterator[Part]:
    """Divide what a linear layer gives by the first and last step that each number comes from.

    Args:
        applied: the layer, as it hears all of the steps.
        where: what it hears.
        numbers: the values.

    Raises:
        ValueError: the layer is not linear, or has too many synapses.
    """
    weight, bias = _map(applied.node)
    known = sparse.diags_array((where.known & (where.step != STILL)).astype(float))
    heard = sparse.csr_array(abs(weight) @ known)
    heard.eliminate_zeros()
    # Numbers of the same steps belong together: those behind the end of a sample do not.
    span = np.full((2, weight.shape[0]), STILL)
    filled = np.flatnonzero(np.diff(heard.indptr))
    step_of = where.step[heard.indices]
    if filled.size:
        for row, end in zip(span, (np.minimum, np.maximum), strict=True):
            row[filled] = end.reduceat(step_of, heard.indptr[filled])
    for first, step in np.unique(span, axis=1).T.tolist():
        at = np.flatnonzero((span[0] == first) & (span[1] == step))
        rows = sparse.csr_array(weight[at])
        columns = np.unique(rows.indices).astype(np.int64)
        if not where.known[columns].any():
            continue  # constants
        one = sparse.csr_array(rows[:, columns])
        one.sort_indices()
        taken = operand(_columns(where, columns), numbers[columns], step)
        values = (one.indptr, one.indices, one.data, bias[at])
        code = hashlib.blake2b(b"".join(np.ascontiguousarray(v).tobytes() for v in values))
        yield Part(
            at, step, _layer(applied.name, one, bias[at], taken),
            ("over time", code.digest(), taken.key),
        )  # fmt: skip


def _layer(name: str, weight: Any, bias: Floats, heard: Operand) -> Callable[[], Applied]:
    def make() -> Applied:
        post, pre = weight.shape
        return Applied(name, ir.SparseAffine(from_matrix(weight), bias, (pre,), (post,)), heard)

    return make


def _columns(where: Where, at: Ids) -> Where:
    return Where(*(getattr(where, k)[at] for k in where.__dataclass_fields__))


def _map(node: ir.Node) -> tuple[Any, Floats]:
    """Return the weights ``[post, pre]`` of a linear layer, and what it adds."""
    match node:
        case ir.Affine():
            return sparse.csr_array(node.weight), node.bias
        case ir.SparseAffine():
            return matrix(node.synapses), node.bias
        case ir.Conv2d() | ir.Conv1d() | ir.Pool2d():
            kernel = pool_kernel(node) if isinstance(node, ir.Pool2d) else node.kernel
            if synapse_count(kernel) > MOST:
                raise ValueError("has too many synapses over all of the steps")
            size = size_of(ir.output_shape(node))
            bias = np.zeros(1) if isinstance(node, ir.Pool2d) else node.bias
            return matrix(kernel), np.repeat(bias, size // bias.size)
        case _:
            raise ValueError("is not linear, and only linear layers can look back in time")
