"""What was sent, as lists of events: then the work that follows is as much as there are events."""

# pyright: basic
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled
from snn2hw.simulate.batches import Workspace
from snn2hw.simulate.loads import SynapsesMet

Sent = NDArray[np.signedinteger[Any]]  # 8 bits wide where there are only spikes, else 32
Span = tuple[int, int]


class Events(NamedTuple):
    """The events of some steps of some samples, place by place.

    Those of step t of sample n at place p are ``ends[n, t, p]`` to ``ends[n, t, p + 1]``.

    Args:
        ends: ``[N, T, places + 1]``.
        element: which element sent it, of those of its step ``[size]`` in the inner order.
        value: what it carries; empty where every event is a plain spike.
        channels: of a place.
    """

    ends: NDArray[np.int64]
    element: NDArray[np.int32]
    value: NDArray[np.int32]
    channels: int

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.ends[-1, -1, -1])


def listed(
    sent: Sent, channels: int, plain: bool, span: Span, space: Workspace, name: str
) -> Events:
    """List what was sent.

    Args:
        sent: ``[N, T, size]`` in the inner order, 0 where nothing is sent.
        channels: of a place.
        plain: whether all that is sent are spikes.
        span: the first step that is listed, and the one behind the last.
        space: where the lists are kept.
        name: under which.
    """
    samples, _, size = sent.shape
    steps = span[1] - span[0]
    whole = samples * steps * size
    ends = space.take(f"{name} ends", (samples, steps, size // channels + 1), np.int64)
    element = space.take(f"{name} elements", (whole,), np.int32)
    value = space.take(f"{name} values", (0 if plain else whole,), np.int32)
    if sent.itemsize == 1 and channels % 8 == 0:
        _list_spikes(sent, span, channels, ends, element)
    else:
        _list(sent, span, channels, ends, element, value)
    return Events(ends, element, value, channels)


# Of each eight bits: which are set, then zeros, and how many.
_BITS = np.arange(256)[:, None] >> np.arange(8) & 1
_WHICH = np.sort(np.where(_BITS, np.arange(8), 8), axis=1).astype(np.int32) % 8
_MANY = _BITS.sum(axis=1).astype(np.uint64)
# The bytes of a word, 0 or 1, are its highest byte's bits after this product.
_TO_BITS = np.uint64(0x0102040810204080)
FEW = 32  # fewer events than this part of the elements: words are looked at before they are listed


@compiled(nogil=True)
def _list_spikes(sent, span, channels, ends, element):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill the lists with spikes of 8 bits, of places of whole words.

    Where there are few, words without one are passed over; else that would be guessed wrong often.
    """
    each, event = channels // 8, np.uint64(0)
    few = True
    for n in range(sent.shape[0]):
        for t in range(span[1] - span[0]):
            words, end = sent[n, span[0] + t].view(np.uint64), ends[n, t]
            end[0] = event
            for p in range(end.size - 1):
                for w in range(p * each, (p + 1) * each):
                    if not few or words[w] != 0:
                        bits = words[w] * _TO_BITS >> np.uint64(56)
                        for j in range(8):
                            element[event + np.uint64(j)] = np.int32(8 * w) + _WHICH[bits, j]
                        event += _MANY[bits]
                end[p + 1] = event
            few = (end[-1] - end[0]) * FEW < sent.shape[2]


@compiled(nogil=True)
def _list(sent, span, channels, ends, element, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill the lists.

    Each element is written, and the next one over it if it sends nothing: a branch would be guessed
    wrong often.
    """
    carries = value.size > 0
    # Unsigned, as signed indices may count from the end, which takes a look each time.
    event, one, none = np.uint64(0), np.uint64(1), np.uint64(0)
    for n in range(sent.shape[0]):
        for t in range(span[1] - span[0]):
            row, end = sent[n, span[0] + t], ends[n, t]
            end[0] = event
            for p in range(end.size - 1):
                for j in range(np.uint64(p * channels), np.uint64((p + 1) * channels)):
                    element[event] = j
                    if carries:
                        value[event] = row[j]
                    event += one if row[j] != 0 else none
                end[p + 1] = event


def counted(events: Events, total: NDArray[Any]) -> None:
    """Add to ``total [T, size]`` how many events each element had at each step, over samples."""
    _count(events.ends, events.element, total)


@compiled(nogil=True)
def _count(ends, element, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for n in range(ends.shape[0]):
        for t in range(ends.shape[1]):
            row = total[t]
            for e in range(ends[n, t, 0], ends[n, t, -1]):
                row[element[e]] += 1


def weighed(events: Events, worth: Sequence[SynapsesMet], space: Workspace) -> NDArray[np.int64]:
    """Add up what the events of each step are worth: ``[N, T, ways + 1]``; last, how many.

    Args:
        events: of these samples and steps.
        worth: of the events of elements in the inner order; their ways follow each other.
        space: where the sums are.
    """
    ends = np.cumsum([0, *(w.table.shape[0] for w in worth)]).tolist()
    total = space.take("worth", (*events.ends.shape[:2], ends[-1] + 1), np.int64)
    for w, start, stop in zip(worth, ends[:-1], ends[1:], strict=True):
        into = total[:, :, start:stop]
        parts = (w.table.indptr, w.table.indices, w.table.data)
        if w.image is None:
            _weigh(events.ends, events.element, *parts, into)
        else:
            sums = space.take("sums over an image", w.image.shape, np.int32)
            place, (down, across) = w.image.place, w.image.stride
            _weigh_sums(events.ends, events.element, place, down, across, sums, *parts, into)
    np.subtract(events.ends[:, :, -1], events.ends[:, :, 0], out=total[:, :, -1])
    return total


@compiled(nogil=True)
def _weigh(ends, element, first, way, worth, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add up what each event is worth."""
    for n in range(ends.shape[0]):
        for t in range(ends.shape[1]):
            row = total[n, t]
            row[:] = 0
            for e in range(ends[n, t, 0], ends[n, t, -1]):
                i = np.uint64(element[e])
                for k in range(np.uint64(first[i]), np.uint64(first[i + np.uint64(1)])):
                    row[np.uint64(way[k])] += worth[k]


@compiled(nogil=True)
def _weigh_sums(ends, element, place, down, across, sums, first, at, worth, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Sum events over rows and columns, a stride apart, and weigh the sums."""
    flat = sums.reshape(-1)
    height, width, channels = sums.shape
    line = width * channels
    for n in range(ends.shape[0]):
        for t in range(ends.shape[1]):
            flat[:] = 0
            for e in range(ends[n, t, 0], ends[n, t, -1]):
                flat[np.uint64(place[np.uint64(element[e])])] += 1
            for y in range(height):
                row = flat[y * line : (y + 1) * line]
                for x in range(across, width):
                    _add(row[(x - across) * channels :], row[x * channels : (x + 1) * channels])
                if y >= down:
                    _add(flat[(y - down) * line :], row)
            for i in range(total.shape[2]):
                found = 0
                for k in range(first[i], first[i + 1]):
                    found += worth[k] * flat[np.uint64(at[k])]
                total[n, t, i] = found


@compiled(nogil=True)
def _add(some, into):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for i in range(into.size):
        into[i] += some[i]
