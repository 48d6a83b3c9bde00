"""Which neurons sit on which core, and how much of each limit a core uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slice:
    """Neurons ``start`` to ``stop`` (exclusive) of a layer on one core, and what they use."""

    layer: str
    start: int
    stop: int
    core: int
    uses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Slices that tile every layer exactly once, in core order; a core may hold several.

    Args:
        slices: what is where.
        limits: what one core has, by the same names as ``Slice.uses``.
        cores_per_chip: cores before the next chip starts.
        stored: for each connection, in which of the chip's formats its synapses lie.
    """

    slices: tuple[Slice, ...]
    limits: Mapping[str, int]
    cores_per_chip: int
    stored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        end: dict[str, int] = {}
        uses: dict[int, Counter[str]] = {}
        for s in self.slices:
            if s.start != end.get(s.layer, 0) or s.stop <= s.start:
                raise ValueError(f"slices of {s.layer} do not tile it at {s.start}")
            end[s.layer] = s.stop
            used = uses.setdefault(s.core, Counter())
            used.update(s.uses)
            over = [k for k, n in used.items() if n > self.limits.get(k, -1)]
            if over:
                raise ValueError(f"core {s.core} ({s.layer}) exceeds {', '.join(over)}")
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
