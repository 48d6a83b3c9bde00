"""A floor plan: every chip as a grid of cores, each filled by the layers that it holds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn2hw.errors import listed
from snn2hw.report.text import short

CELL, GAP = 22, 4  # side of a core, and the space between tiles of the mesh, in pixels
ALONE = 66  # side of a core that is the only one of its chip
MOST_CHIPS, MOST_CORES = 64, 1024  # that are drawn, and of a chip
MOST_USED = 128  # cores in use that are drawn, but for those of the first chip
LEAST_HEIGHT = 0.04  # of a core that a layer takes up in the picture, so that it is seen

Slices = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Bar:
    """What a layer fills of a core, in pixels."""

    layer: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A core: where its square is, what fills it, and the same in words; empty if not in use.

    ``work`` is its dynamic energy as a share of the busiest core's.
    """

    x: int
    y: int
    side: int
    bars: tuple[Bar, ...]
    words: str
    work: float = 0.0


@dataclass(frozen=True, slots=True)
class ChipPlan:
    """A chip as a picture of some width and height in pixels, and what it shows in words."""

    number: int
    width: int
    height: int
    cells: tuple[Cell, ...]
    words: str


def chips(
    placement: Mapping[str, Any], work: Sequence[float] = (), sent: Sequence[float] = ()
) -> list[ChipPlan]:
    """Return the chips of a placement, of which, and of whose cores, only so many are drawn.

    Args:
        placement: ``placement.json``.
        work: of each core, its dynamic energy per inference, in any unit.
        sent: of each core, the spikes that it sends per inference.
    """
    on: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for s in placement["slices"]:
        on[s["core"]].append(s)
    per_chip, limits = placement["cores_per_chip"], placement["limits"]
    found: list[ChipPlan] = []
    most = max(work, default=0.0) or 1.0
    does = {
        core: (uj / most, f"; {uj / sum(work):.0%} of the dynamic energy, {n:,.0f} spikes sent")
        for core, (uj, n) in enumerate(zip(work, sent, strict=True))
        if sum(work)
    }
    for number in range(_drawn(placement)):
        first = number * per_chip
        spots = _spots(min(per_chip, MOST_CORES), placement.get("mesh"))
        cells = [
            _cell(first + i, spot, on.get(first + i, ()), limits, does.get(first + i, (0.0, "")))
            for i, spot in enumerate(spots)
        ]
        held = [some for core, some in on.items() if first <= core < first + per_chip]
        used = [_fill(some, limits)[0] for some in held]
        shared = sum(len(some) > 1 for some in held)
        words = (
            f"Chip {number}: {len(used)} of {per_chip} cores in use, {shared} of them by several "
            f"layers. Of what a core has least left of, they use {sum(used) / len(used):.0%} on "
            f"average, and {min(used):.0%} to {max(used):.0%}."
        )
        side = cells[0].side
        width = max(c.x for c in cells) + side + 1
        height = max(c.y for c in cells) + side + 1
        found.append(ChipPlan(number, width, height, tuple(cells), words))
    return found


def notes(placement: Mapping[str, Any]) -> list[str]:
    """Say how far spikes go, and what is not drawn."""
    mesh, drawn = placement.get("mesh"), _drawn(placement)
    left = placement["chips"] - drawn
    found: list[str] = []
    if mesh and mesh["messages"]:
        tiles = mesh["hops"] / mesh["messages"]
        found.append(
            f"If every neuron sent one spike, {mesh['messages']:,} messages would reach cores. "
            f"They pass {tiles:.2f} tiles of the mesh on average."
        )
    if placement["cores_per_chip"] > MOST_CORES:
        found.append(f"The first {MOST_CORES:,} cores of a chip are drawn.")
    if left > 0:
        first = "chip is" if drawn == 1 else f"{drawn} chips are"
        found.append(f"The first {first} drawn, {left:,} more are not.")
    return found


def _drawn(placement: Mapping[str, Any]) -> int:
    """Return how many chips are drawn."""
    fit = max(1, MOST_USED // min(placement["cores_per_chip"], MOST_CORES))
    return min(placement["chips"], MOST_CHIPS, fit)


def _spots(cores: int, mesh: Mapping[str, int] | None) -> list[tuple[int, int, int]]:
    """Return left, top and side of the square of each core: tiles in rows, cores within them."""
    if cores == 1:
        return [(1, 1, ALONE)]
    per_tile, per_row = (mesh["cores_per_tile"], mesh["tiles_per_row"]) if mesh else (1, 16)
    wide = math.isqrt(per_tile)
    tall = -(-per_tile // wide)
    found: list[tuple[int, int, int]] = []
    for core in range(cores):
        tile, inside = divmod(core, per_tile)
        (down, across), (below, beside) = divmod(tile, per_row), divmod(inside, wide)
        x = across * (wide * CELL + GAP) + beside * CELL
        y = down * (tall * CELL + GAP) + below * CELL
        found.append((x + 1, y + 1, CELL))
    return found


def _fill(slices: Slices, limits: Mapping[str, int]) -> tuple[float, str]:
    """Return the share of a core that is in use, of what it has least left of, and what that is."""
    if not slices:
        return 0.0, ""
    total = {k: sum(s["uses"].get(k, 0) for s in slices) for k in limits}
    return max((n / limits[k], k) for k, n in total.items())


def _cell(
    core: int,
    spot: tuple[int, int, int],
    slices: Slices,
    limits: Mapping[str, int],
    does: tuple[float, str],
) -> Cell:
    x, y, side = spot
    if not slices:
        return Cell(x, y, side, (), "")
    share, what = _fill(slices, limits)
    bars: list[Bar] = []
    bottom = float(y + side)
    for s in slices:
        height = side * max(LEAST_HEIGHT, s["uses"].get(what, 0) / limits[what])
        height = min(height, bottom - y)
        bottom -= height
        bars.append(Bar(s["layer"], round(bottom, 1), round(height, 1)))
    parts = listed((f"{short(s['layer'])} ({_neurons(s)})" for s in slices), most=300)
    words = f"core {core}: {parts}; {share:.0%} of {what.replace('_', ' ')}"
    return Cell(x, y, side, tuple(bars), words + does[1], does[0])


def fullest(placement: Mapping[str, Any]) -> dict[int, tuple[list[str], float, str]]:
    """Return for each core in use its layers, the share in use, and what it has least left of."""
    on: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for s in placement["slices"]:
        on[s["core"]].append(s)
    return {
        core: ([s["layer"] for s in some], *_fill(some, placement["limits"]))
        for core, some in on.items()
    }


def _neurons(s: Mapping[str, Any]) -> str:
    first = f"neurons {s['start']} to {s['stop'] - 1}"
    return f"{first} and {s['repeats'] - 1} more runs" if s.get("repeats", 1) > 1 else first
