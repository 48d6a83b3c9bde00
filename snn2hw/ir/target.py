"""A chip as data: what a target file says, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from snn2hw.ir.integer import Numbers

Kind = Literal["measured", "published", "fitted", "assumed"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number about a chip: value, how low and high it may be, and who says so."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    kind: Kind
    source: str


@dataclass(frozen=True, slots=True)
class Target:
    """A chip: limits of a core, arithmetic, abilities and prices, as a file told them.

    ``open_questions`` are what nobody could tell of it, ``boards`` are systems by their number of
    chips. ``text`` is that file, which goes with what is built for the target.
    """

    name: str
    family: str
    title: str
    about: str
    numbers: Numbers
    limits: Mapping[str, Figure]
    abilities: Mapping[str, bool]
    prices: Mapping[str, Figure]
    timing: Mapping[str, Figure]
    calibration: Mapping[str, Figure]
    text: str = field(repr=False)
    open_questions: tuple[str, ...] = ()
    boards: Mapping[str, Figure] = field(default_factory=dict)

    def limit(self, name: str) -> int:
        """Return a limit as an integer."""
        return int(self.limits[name].value)

    def board_for(self, chips: int) -> Figure | None:
        """Return the smallest board with so many chips; None if no board has them."""
        large = [board for board in self.boards.values() if board.value >= chips]
        return min(large, key=lambda board: board.value, default=None)
