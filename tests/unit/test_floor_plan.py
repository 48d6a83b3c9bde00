"""The floor plan of a report: what is on each core, drawn and in words."""

from __future__ import annotations

import itertools

import pytest

from snn2hw.ir.placement import Mesh, Placement, Slice
from snn2hw.report.floor_plan import CELL, GAP, MOST_CHIPS, MOST_CORES, chips, notes
from snn2hw.store.layout import placement_json, placement_of


def placed(cores, per_chip=8, mesh=None):
    """Layer a takes half of all cores, and b a fifth of the last."""
    slices = [Slice("a", 10 * i, 10 * i + 10, i, {"bytes": 50, "groups": 1}) for i in range(cores)]
    slices.append(Slice("b", 0, 4, cores - 1, {"bytes": 20, "groups": 1}))
    return placement_json(Placement(tuple(slices), {"bytes": 100, "groups": 8}, per_chip, (), mesh))


def test_a_document_holds_mesh_and_rows_of_channels():
    """Of a slice that is one run, nothing is said that was not there before."""
    rows = (Slice("a", 0, 4, 0, {"n": 8}, 2, 9), Slice("a", 4, 9, 1, {"n": 10}, 2, 9))
    whole = Placement(rows, {"n": 10}, 8, (), Mesh(4, 8, 7, 5))
    assert placement_of(placement_json(whole)) == whole
    run = placement_json(Placement((Slice("a", 0, 4, 0, {"n": 1}),), {"n": 10}, 8))
    assert "mesh" not in run
    assert set(run["slices"][0]) == {"layer", "start", "stop", "core", "chip", "uses"}
    for wrong in ((0, 8, 1, 1), (4, 0, 1, 1), (4, 8, -1, 1), (4, 8, 1, -1)):
        with pytest.raises(ValueError, match="is no mesh"):
            Mesh(*wrong)


def test_every_core_is_drawn_where_it_lies():
    """Tiles of four cores, two of them in a row, with a gap between them."""
    (chip,) = chips(placed(3, mesh=Mesh(4, 1, 0, 0)))
    at = [(c.x - 1, c.y - 1) for c in chip.cells]
    tile = [(0, 0), (CELL, 0), (0, CELL), (CELL, CELL)]
    assert at == [*tile, *((x, y + 2 * CELL + GAP) for x, y in tile)]
    assert (chip.width, chip.height) == (2 * CELL + 2, 4 * CELL + GAP + 2)
    inside = [(c.x, c.y, c.x + c.side, c.y + c.side) for c in chip.cells]
    for a, b in itertools.combinations(inside, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_core_is_filled_from_below_by_what_it_has_least_left_of():
    (chip,) = chips(placed(3))
    last = chip.cells[2]
    assert [(b.layer, b.height) for b in last.bars] == [("a", 0.5 * CELL), ("b", 0.2 * CELL)]
    assert last.bars[0].y == last.y + CELL / 2
    assert last.bars[1].y == pytest.approx(last.y + 0.3 * CELL)
    assert last.words == "core 2: a (neurons 20 to 29), b (neurons 0 to 3); 70% of bytes"
    assert [c.words for c in chip.cells[3:]] == [""] * 5
    assert "Chip 0: 3 of 8 cores in use, 1 of them by several layers" in chip.words
    assert "57% on average, and 50% to 70%" in chip.words


def test_the_only_core_of_a_chip_is_drawn_large():
    (chip,) = chips(placed(1, per_chip=1))
    assert [c.side for c in chip.cells] == [66]


def test_what_is_not_drawn_is_said():
    many = placed(MOST_CHIPS + 2, per_chip=1, mesh=Mesh(1, 1, 4, 6))
    assert len(chips(many)) == MOST_CHIPS
    far, left = notes(many)
    assert "4 messages would reach cores. They pass 1.50 tiles" in far
    assert left == "The first 64 chips are drawn, 2 more are not."
    assert notes(placed(2)) == []


def test_a_chip_of_more_cores_than_any_is_drawn_in_part():
    """Whoever wrote the document may have made up its numbers."""
    (chip,) = chips(placed(2, per_chip=1 << 60, mesh=Mesh(1 << 60, 1 << 60, 0, 0)))
    assert len(chip.cells) == MOST_CORES
    assert "2 of 1152921504606846976 cores in use" in chip.words
    assert notes(placed(2, per_chip=1 << 60)) == ["The first 1,024 cores of a chip are drawn."]
