"""What a processor does for one inference, and an estimate of its energy.

Arithmetic is the small part of it: each operation is also an instruction, and its operands come
from a cache. Three things are priced: arithmetic, instructions, and bytes that are moved. The range
of a sum is that of its terms, all low or all high
(docs/decisions/0026-against-what-it-replaces.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from snn2hw.host.prices import Prices
from snn2hw.ir.counts import Range, range_of

Numbers = Literal["float32", "int8", "int32"]
WIDTH = {"float32": 4, "int8": 1, "int32": 4}  # bytes
SUM = 4  # bytes of a sum, also of products of 8 bits
NEAR, FAR = 32 << 10, 1 << 20  # bytes that the two caches hold which have a price


@dataclass(frozen=True, slots=True)
class Work:
    """What a processor does for one inference.

    Args:
        numbers: what it computes with.
        products: multiplications whose product is added to a sum.
        additions: additions without a product.
        instructions: of which one may work on several numbers.
        near: bytes between registers and the nearest cache.
        far: bytes between there and where the network lies: weights, activations, states.
        size: bytes of the network and its states, which decide where that is.
    """

    numbers: Numbers
    products: float
    additions: float
    instructions: Range
    near: Range
    far: Range
    size: float


@dataclass(frozen=True, slots=True)
class Energy:
    """An estimate in uJ, by what takes it."""

    arithmetic: Range
    instructions: Range
    memory: Range

    @property
    def total(self) -> Range:
        """All of it."""
        return self.arithmetic + self.instructions + self.memory


def of_layers(
    prices: Prices,
    numbers: Numbers,
    products: float,
    additions: float,
    weights: float,
    values: float,
) -> Work:
    """Return the work of a network that computes every product, zeros too.

    Args:
        prices: say how many instructions and operands a product takes.
        numbers: what it computes with.
        products: of one inference.
        additions: of one inference, beside those of products.
        weights: how many it has.
        values: how many activations the layers read and write, all together.
    """
    done, width = products + additions, WIDTH[numbers]
    steps, loads = (range_of(prices.work[k]).times(done) for k in ("dense_steps", "dense_loads"))
    moved = float(width * (weights + values))  # once
    return Work(
        numbers, products, additions, _shared(steps, prices, width), loads.times(width),
        Range(moved, moved, moved), moved,
    )  # fmt: skip


def of_events(
    prices: Prices,
    synops: float,
    updates: float,
    weights: float,
    width: float,
    states: float,
    steps: float,
) -> Work:
    """Return the work of a spiking network that goes from event to event, in integers.

    Args:
        prices: say how many instructions and operands an operation takes.
        synops: of one inference.
        updates: neurons that are updated in one inference, all steps.
        weights: how many are stored.
        width: bytes of a weight.
        states: of all neurons, numbers of 32 bits.
        steps: of one inference. All states are read and written in each.
    """
    sums = range_of(prices.work["event_sums"]).times(SUM * synops)
    done = range_of(prices.work["event_steps"]).times(synops)
    updated = range_of(prices.work["update_steps"]).times(updates)
    # A weight is read from where the network lies whenever an event meets it, or once at the least.
    read, once = width * synops, width * min(synops, weights)
    moved = 2.0 * SUM * states * steps
    return Work(
        numbers="int32",
        products=2 * updates,  # the decays of membrane and current
        additions=synops + 3 * updates,  # sums, bias, and the comparison with the threshold
        instructions=_shared(done + updated, prices, SUM),
        near=sums,
        far=Range(read + moved, once + moved, read + moved),
        size=width * weights + SUM * states,
    )


def _shared(steps: Range, prices: Prices, width: int) -> Range:
    """Return instructions of which each works on as many numbers as a vector holds."""
    lanes, more = prices.work["lanes"], SUM // width
    return Range(
        steps.typical / (lanes.value * more),
        steps.low / (lanes.high * more),
        steps.high / lanes.low,
    )


def estimated(work: Work, prices: Prices) -> Energy:
    """Price work.

    Each product costs a multiplication and an addition, of 8 bits one into 32; bytes are priced as
    parts of the 64 bits that the table has. Where the network lies is the smallest memory that
    holds all of it; beyond the largest cache with a price that is DRAM, or at the least that cache,
    as there are larger ones than the table knows.
    """
    pj = {k: range_of(f) for k, f in prices.pj.items()}
    into = "int32_add" if work.numbers == "int8" else f"{work.numbers}_add"
    product = pj[f"{work.numbers}_mul"] + pj[into]
    arithmetic = product.times(work.products) + pj[into].times(work.additions)
    memory = (work.near * pj["cache_32kb"]).times(1 / 8)
    memory += (work.far * _level(work.size, pj)).times(1 / 8)
    return Energy(
        arithmetic.times(1e-6),
        (work.instructions * pj["instruction"]).times(1e-6),
        memory.times(1e-6),
    )


def _level(size: float, pj: dict[str, Range]) -> Range:
    """Return the price of 64 bits from the memory that holds so many bytes."""
    if size <= NEAR:
        return pj["cache_32kb"]
    if size <= FAR:
        return pj["cache_1mb"]
    return Range(pj["dram"].typical, pj["cache_1mb"].low, pj["dram"].high)
