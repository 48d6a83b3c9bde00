"""Synapses into some of the neurons of a population, without the rest of the map.

What is asked about is never larger than what these neurons hear: of a convolution, a rectangle of
its outputs with what they see. Neurons are named by their sorted indices in the flat population.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.convolution import Conv, matrix
from snn2hw.ir.synapses import Dense, Sparse, Synapses, from_matrix, sizes

Indices = NDArray[np.int64]


class _Window(NamedTuple):
    """A rectangle of a convolution's outputs, as a convolution without padding.

    Args:
        conv: from what the outputs see, to the outputs.
        outputs: where each of its outputs is among all.
        seen: where each of its inputs is among all; -1 for the zeros around the image.
    """

    conv: Conv
    outputs: Indices
    seen: Indices


def heard(synapses: Synapses, post: Indices) -> Indices:
    """Return the neurons that some of those that receive hear.

    Args:
        synapses: the whole map.
        post: those that receive; at least one.
    """
    match synapses:
        case Dense():
            return np.arange(synapses.weight.shape[1])
        case Sparse():
            there = np.zeros(synapses.pre_size, bool)
            there[synapses.indices[_entries(synapses, post)]] = True
            return np.flatnonzero(there)
        case Conv():
            seen = _window(synapses, post).seen
            return seen[seen >= 0]
        case _:
            assert_never(synapses)


def most_synapses(synapses: Synapses, post: Indices) -> int:
    """Return how many synapses some neurons have at most: zeros, where they are stored, count."""
    match synapses:
        case Dense():
            return post.size * synapses.weight.shape[1]
        case Sparse():
            return int(_lengths(synapses, post).sum())
        case Conv():
            return post.size * synapses.weight[0].size
        case _:
            assert_never(synapses)


def between(synapses: Synapses, post: Indices, pre: Indices) -> Synapses:
    """Return the synapses into some neurons from some others.

    A rectangle of whole channels stays a kernel where all that it sees is inside the image.

    Args:
        synapses: the whole map.
        post: the neurons that receive; at least one.
        pre: the neurons that send; at least those that are ``heard``.
    """
    if (post.size, pre.size) == sizes(synapses):
        return synapses
    match synapses:
        case Dense():
            return Dense(synapses.weight[np.ix_(post, pre)])
        case Sparse():
            entries, lengths = _entries(synapses, post), _lengths(synapses, post)
            source = np.searchsorted(pre, synapses.indices[entries]).astype(np.int32)
            ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            return Sparse(synapses.weight[entries], source, ends, pre.size)
        case Conv():
            return _of_window(_window(synapses, post), post, pre)
        case _:
            assert_never(synapses)


def _lengths(sparse: Sparse, post: Indices) -> Indices:
    return np.asarray(sparse.indptr[post + 1] - sparse.indptr[post], np.int64)


def _entries(sparse: Sparse, post: Indices) -> Indices:
    """Return which entries some rows have, one row after the other."""
    lengths = _lengths(sparse, post)
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(sparse.indptr[post] - before, lengths)


def _window(conv: Conv, post: Indices) -> _Window:
    """Return the smallest rectangle, of whole groups of channels, that holds some outputs."""
    channel, y, x = np.unravel_index(post, conv.output_shape)
    members = conv.weight.shape[0] // conv.groups
    groups = np.unique(channel // members)
    if conv.groups == 1:  # of which a part of the outputs is a convolution as well
        out, into = np.unique(channel), np.arange(conv.input_shape[0])
    else:
        out, into = (_members(groups, n) for n in (members, conv.weight.shape[1]))
    rows, columns = (np.arange(at.min(), at.max() + 1) for at in (y, x))
    image = [_looks(conv, axis, at) for axis, at in ((0, rows), (1, columns))]
    small = Conv(
        conv.weight[out], (into.size, image[0].size, image[1].size), conv.stride, (0, 0),
        conv.dilation, groups.size,
    )  # fmt: skip
    return _Window(
        small,
        _flat(out, rows, columns, conv.output_shape),
        _flat(into, image[0], image[1], conv.input_shape),
    )


def _members(groups: Indices, each: int) -> Indices:
    return (groups[:, None] * each + np.arange(each)).reshape(-1)


def _looks(conv: Conv, axis: int, outputs: Indices) -> Indices:
    """Return the run of rows (or columns) that some outputs see; -1 for those of the padding."""
    first = outputs[0] * conv.stride[axis] - conv.padding[axis]
    last = outputs[-1] * conv.stride[axis] - conv.padding[axis]
    last += conv.dilation[axis] * (conv.weight.shape[2 + axis] - 1)
    at = np.arange(first, last + 1)
    return np.where((at >= 0) & (at < conv.input_shape[1 + axis]), at, -1)


def _flat(channels: Indices, rows: Indices, columns: Indices, shape: Shape) -> Indices:
    """Return the flat indices of a rectangle of an image ``[C, H, W]``; -1 outside of it."""
    y, x = rows[:, None], columns[None, :]
    place = np.where((y < 0) | (x < 0), -1, y * shape[2] + x)
    whole = channels[:, None, None] * size_of(shape[1:]) + place
    return np.where(place < 0, -1, whole).reshape(-1)


def _of_window(window: _Window, post: Indices, pre: Indices) -> Synapses:
    if np.array_equal(window.outputs, post) and np.array_equal(window.seen, pre):
        return window.conv
    rows = matrix(window.conv)[np.searchsorted(window.outputs, post)].tocoo()
    seen = window.seen[rows.col]
    inside = seen >= 0
    place = (rows.row[inside], np.searchsorted(pre, seen[inside]))
    return from_matrix(
        scipy.sparse.coo_array((rows.data[inside], place), shape=(post.size, pre.size))
    )
