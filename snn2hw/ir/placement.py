"""Which neurons sit on which core, and how much of each limit a core uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_RUNS = 1 << 24  # of one layer, all its slices together
FURTHEST = 1 << 40  # neuron of any layer


@dataclass(frozen=True, slots=True)
class Span:
    """Neurons of a layer: a run of them, and the same run again, ``stride`` neurons further.

    Some rows of some channels of an image ``[C, H, W]`` are a run of these rows in the first of the
    channels, repeated for each channel with a stride of ``H * W``.

    Args:
        start: first neuron of the first run.
        stop: end of the first run (exclusive).
        repeats: how many runs.
        stride: from one run to the next; 0 where there is one.
    """

    start: int
    stop: int
    repeats: int = 1
    stride: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop or self.repeats < 1:
            raise ValueError(f"neurons {self.start} to {self.stop}, {self.repeats} times, are none")
        if self.stride if self.repeats == 1 else self.stride < self.stop - self.start:
            raise ValueError(f"{self.repeats} runs cannot lie {self.stride} neurons apart")
        if self.end > FURTHEST:
            raise ValueError(f"no layer has a neuron {self.end - 1}")

    @property
    def size(self) -> int:
        """Number of neurons."""
        return (self.stop - self.start) * self.repeats

    @property
    def end(self) -> int:
        """One more than the last neuron."""
        return self.stop + (self.repeats - 1) * self.stride

    @property
    def starts(self) -> NDArray[np.int64]:
        """First neuron of each run."""
        return self.start + self.stride * np.arange(self.repeats)

    @property
    def where(self) -> slice | NDArray[np.int64]:
        """What picks the neurons out of an axis of all neurons of the layer."""
        if self.repeats == 1:
            return slice(self.start, self.stop)
        return (self.starts[:, None] + np.arange(self.stop - self.start)).reshape(-1)

    def __str__(self) -> str:
        """Name the neurons, first and last of a run."""
        first = f"{self.start} to {self.stop - 1}"
        if self.repeats == 1:
            return first
        return f"{first}, {self.repeats} such runs, {self.stride} apart"


@dataclass(frozen=True, slots=True)
class Slice:
    """Neurons of a layer on one core, and what they use.

    ``start``, ``stop``, ``repeats`` and ``stride`` say which, as in ``Span``.
    """

    layer: str
    start: int
    stop: int
    core: int
    uses: Mapping[str, int]
    repeats: int = 1
    stride: int = 0

    @property
    def span(self) -> Span:
        """Which neurons of the layer."""
        return Span(self.start, self.stop, self.repeats, self.stride)


def owners(spans: Iterable[Span], size: int) -> NDArray[np.int64]:
    """Return ``[size]``: the index of the span that each neuron of a layer is in."""
    found = np.empty(size, np.int64)
    for i, span in enumerate(spans):
        found[span.where] = i
    return found


@dataclass(frozen=True, slots=True)
class Mesh:
    """Where cores lie on a chip, and how far messages go if every neuron sends one spike.

    Args:
        cores_per_tile: cores at one node of the mesh.
        tiles_per_row: tiles side by side; rows lie below each other.
        messages: from core to core, one for each core and connection that hears a spike.
        hops: tiles that these pass, all together.
    """

    cores_per_tile: int
    tiles_per_row: int
    messages: int
    hops: int

    def __post_init__(self) -> None:
        if min(self.cores_per_tile, self.tiles_per_row) < 1 or min(self.messages, self.hops) < 0:
            raise ValueError(f"{self} is no mesh")


@dataclass(frozen=True, slots=True)
class Placement:
    """Slices that tile every layer exactly once, in core order; a core may hold several.

    Args:
        slices: what is where; a core holds one of a layer at most.
        limits: what one core has, by the same names as ``Slice.uses``.
        cores_per_chip: cores before the next chip starts.
        stored: for each connection, in which of the chip's formats its synapses lie.
        mesh: of the chip's cores, if it has one.
    """

    slices: tuple[Slice, ...]
    limits: Mapping[str, int]
    cores_per_chip: int
    stored: tuple[str, ...] = ()
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        spans: dict[str, list[Span]] = {}
        uses: dict[int, Counter[str]] = {}
        there: set[tuple[str, int]] = set()
        for s in self.slices:
            spans.setdefault(s.layer, []).append(s.span)
            used = uses.setdefault(s.core, Counter())
            used.update(s.uses)
            over = [k for k, n in used.items() if n > self.limits.get(k, -1)]
            if over:
                raise ValueError(f"core {s.core} ({s.layer}) exceeds {', '.join(over)}")
            if (s.layer, s.core) in there:
                raise ValueError(f"core {s.core} holds two slices of {s.layer}")
            there.add((s.layer, s.core))
        for layer, some in spans.items():
            _check_tiles(layer, some)
        numbers = [s.core for s in self.slices]
        if numbers != sorted(numbers) or list(uses) != list(range(len(uses))):
            raise ValueError("cores must be numbered in order")

    @property
    def cores(self) -> int:
        """Number of cores in use."""
        return self.slices[-1].core + 1 if self.slices else 0

    @property
    def chips(self) -> int:
        """Number of chips in use."""
        return -(-self.cores // self.cores_per_chip)

    def of(self, layer: str) -> tuple[Slice, ...]:
        """Return the slices of one layer."""
        return tuple(s for s in self.slices if s.layer == layer)


def _check_tiles(layer: str, spans: Iterable[Span]) -> None:
    """Raise ValueError unless every neuron from the first to the last is in one span."""
    parts = list(spans)
    if sum(s.repeats for s in parts) > MOST_RUNS:
        raise ValueError(f"{layer} is cut into more runs of neurons than {MOST_RUNS:,}")
    starts = np.concatenate([s.starts for s in parts])
    length = np.concatenate([np.full(s.repeats, s.stop - s.start) for s in parts])
    order = np.argsort(starts)
    ends = np.concatenate([[0], (starts + length)[order]])
    wrong = np.flatnonzero(starts[order] != ends[:-1])
    if wrong.size:
        raise ValueError(f"slices of {layer} do not tile it at {starts[order][wrong[0]]}")
