"""Where cores lie on the mesh of a chip, and which core lies where, so that spikes go short ways.

What is counted is spikes times hops: tiles that messages pass. Cores fill one tile after another
and tiles one row of the mesh after another; the meshes of several chips stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.ir.placement import Mesh
from snn2hw.ir.target import Target

LAYOUT: Mapping[str, str] = {"cores_per_tile": "cores", "tiles_per_row": "tiles"}
# The budget of the search, so that its result does not depend on time: how often every core, and
# how often any core is tried elsewhere, and at how many places.
ROUNDS, TRIES, PLACES = 8, 8192, 8


def tiles(cores: NDArray[np.integer[Any]], target: Target) -> NDArray[np.int64]:
    """Return the column and the row of the tile of each core, ``[cores, 2]``.

    Args:
        cores: their numbers.
        target: the chip.
    """
    chip, inside = np.divmod(cores, target.limit("cores_per_chip"))
    tile = inside // target.limit("cores_per_tile")
    down, across = np.divmod(tile, target.limit("tiles_per_row"))
    return np.stack([across + chip * target.limit("tiles_per_row"), down], axis=1)


def hops(load: Any, at: NDArray[np.int64]) -> int:
    """Return spikes times tiles that they pass.

    Args:
        load: spikes from core to core, whole numbers ``[cores, cores]``, sparse.
        at: tile of each core, ``[cores, 2]``.
    """
    pairs = load.tocoo()
    return int((np.abs(at[pairs.row] - at[pairs.col]).sum(axis=1) * pairs.data).sum())


def mesh_of(load: Any, numbers: NDArray[np.int64], target: Target) -> Mesh:
    """Return the mesh of a chip, and how far the spikes of cores with these numbers go.

    Args:
        load: spikes from core to core, whole numbers ``[cores, cores]``, sparse.
        numbers: of these cores.
        target: the chip.
    """
    tile, row = target.limit("cores_per_tile"), target.limit("tiles_per_row")
    return Mesh(tile, row, int(load.sum()), hops(load, tiles(numbers, target)))


def arranged(load: Any, target: Target) -> NDArray[np.int64]:
    """Return the number that each core gets, a permutation: those that talk get near ones.

    Cores, which come in the order of the network, follow a line that goes up and down the columns
    of the mesh. Then two at a time change places where that saves hops: each core in turn is tried
    at the places where it would be best off by itself, so often that time plays no part. As all
    numbers are whole, the same network gives the same places on every machine.

    Args:
        load: spikes from core to core, whole numbers ``[cores, cores]``, sparse.
        target: the chip.
    """
    count = load.shape[0]
    numbers = np.arange(count)
    at = tiles(numbers, target)
    line = np.lexsort((numbers, np.where(at[:, 0] % 2, -at[:, 1], at[:, 1]), at[:, 0]))
    both: Any = scipy.sparse.csr_array(load + load.T)
    both.setdiag(0)
    both.eliminate_zeros()
    search = _Search(both, at, line)
    for _ in range(max(1, min(ROUNDS, TRIES // max(1, count)))):
        if not any([search.improve(core) for core in range(min(count, TRIES))]):
            break
    return search.place if hops(load, at[search.place]) < hops(load, at) else numbers


@dataclass(slots=True)
class _Search:
    """Cores that change places.

    Args:
        load: spikes between two cores, either way, ``[cores, cores]``.
        at: tile of each place, ``[places, 2]``.
        place: of each core.
    """

    load: Any
    at: NDArray[np.int64]
    place: NDArray[np.int64]

    def improve(self, core: int) -> bool:
        """Exchange a core with the one with which that saves most; say whether it did."""
        here, costs = self.place[core], self._costs(core)
        gain = costs[here] - costs
        places = np.argsort(-gain, kind="stable")[:PLACES]
        places = places[gain[places] > 0]
        if not places.size:
            return False
        owner = np.empty_like(self.place)
        owner[self.place] = np.arange(self.place.size)
        saved = [self._saved(core, int(owner[p]), int(gain[p])) for p in places]
        best = int(np.argmax(saved))
        if saved[best] <= 0:
            return False
        other = owner[places[best]]
        self.place[core], self.place[other] = self.place[other], here
        return True

    def _costs(self, core: int) -> NDArray[np.int64]:
        """Return the spikes times hops of a core at each place, all others staying."""
        others, spikes = self._neighbours(core)
        there = self.at[self.place[others]]
        cost = np.zeros(len(self.at), np.int64)
        for axis in (0, 1):
            lines = np.arange(self.at[:, axis].max() + 1)
            each = np.abs(lines[:, None] - there[:, axis]) @ spikes
            cost += each[self.at[:, axis]]
        return cost

    def _saved(self, core: int, other: int, gain: int) -> int:
        """Return what an exchange saves, given what the core itself gains."""
        others, spikes = self._neighbours(other)
        there = self.at[self.place[others]]
        here, target = self.at[self.place[core]], self.at[self.place[other]]
        was = np.abs(target - there).sum(axis=1) @ spikes
        now = np.abs(here - there).sum(axis=1) @ spikes
        # Each was reckoned as if the other stayed: the way between them does not change.
        between = spikes[others == core].sum() * np.abs(here - target).sum()
        return int(gain + was - now - 2 * between)

    def _neighbours(self, core: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        row = slice(self.load.indptr[core], self.load.indptr[core + 1])
        return self.load.indices[row], self.load.data[row]
