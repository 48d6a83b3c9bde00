"""What was sent, as lists of events: then the work that follows is as much as there are events."""

# pyright: basic
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled
from snn2hw.simulate.batches import Workspace

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
    whole = samples * steps * size + 8  # as one more is written than counts
    ends = space.take(f"{name} ends", (samples, steps, size // channels + 1), np.int64)
    element = space.take(f"{name} elements", (whole,), np.int32)
    value = space.take(f"{name} values", (0 if plain else whole,), np.int32)
    _list(sent, span, channels, ends, element, value)
    return Events(ends, element, value, channels)


@compiled(nogil=True)
def _list(sent, span, channels, ends, element, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901
    """Fill the lists.

    Eight bytes without an event are passed over at once, where places begin at such. Of others,
    each is written, and the next one over it if it is none: a branch would be guessed wrong often.
    """
    width, carries = 8 // sent.itemsize, value.size > 0
    by_words, each = channels % width == 0, channels // width
    # Unsigned, as signed indices may count from the end, which takes a look each time.
    event, one, none = np.uint64(0), np.uint64(1), np.uint64(0)
    for n in range(sent.shape[0]):
        for t in range(span[1] - span[0]):
            row, end = sent[n, span[0] + t], ends[n, t]
            end[0] = event
            if by_words:
                words = row.view(np.uint64)
                for p in range(end.size - 1):
                    for w in range(p * each, (p + 1) * each):
                        if words[w] != 0:
                            for j in range(np.uint64(w * width), np.uint64((w + 1) * width)):
                                element[event] = j
                                if carries:
                                    value[event] = row[j]
                                event += one if row[j] != 0 else none
                    end[p + 1] = event
            else:
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


def weighed(events: Events, worth: NDArray[np.int32], space: Workspace) -> NDArray[np.int64]:
    """Add up what the events of each step are worth: ``[N, T, ways]``.

    Args:
        events: of these samples and steps.
        worth: of an event of each element, in the inner order, in several ways, ``[size, ways]``.
        space: where the sums are.
    """
    total = space.take("worth", (*events.ends.shape[:2], worth.shape[1]), np.int64)
    _weigh(events.ends, events.element, worth, total)
    return total


@compiled(nogil=True)
def _weigh(ends, element, worth, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for n in range(ends.shape[0]):
        for t in range(ends.shape[1]):
            row = total[n, t]
            row[:] = 0
            for e in range(ends[n, t, 0], ends[n, t, -1]):
                one = worth[element[e]]
                for i in range(row.size):
                    row[i] += one[i]
