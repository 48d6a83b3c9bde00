"""What a core of Loihi 1 holds: axons in and out, and synapses in words of 64 bits.

Sources: nengo-loihi 1.1.0, ``block.py`` (``MAX_IN_AXONS``, ``MAX_OUT_AXONS``, ``MAX_SYNAPSE_BITS``,
``SynapseConfig.bits_per_axon``, ``WEIGHT_BITS_MAP``, ``INDEX_BITS_MAP``) and
``hardware/nxsdk_objects.py`` (``MAX_SYNAPSE_CFGS``, ``add_synapse``). As there:

* A source neuron with a synapse on the core takes an incoming axon for each connection, and an
  outgoing one for each core and connection that hears it. Sources of a convolution share by
  population axons: one incoming axon for each pixel, whatever its channel.
* The synapses of an axon stand in blocks of at most 64, each with 10 bits of its own and rounded
  up to words. A synapse has its weight in the fewest bits that hold all weights of the connection,
  an index unless all neurons follow each other, and a delay if the connection waits.
* Pixels that meet the same part of a kernel share its synapses, which are stored once.
* Neurons of one layer on a core are a group with a threshold of its own, of which a core has a few
  (``MAX_VTH_CFGS``). Indices count from the first neuron of the core (``build_synapse``), so those
  of a group that comes after another are counted with the bits that reach all of the core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.cut import Uses
from snn2hw.families.loihi.memory import entries
from snn2hw.ir.integer import Connection
from snn2hw.ir.placement import Span
from snn2hw.ir.synapses import Conv, pattern, sizes
from snn2hw.ir.target import Target

LAYOUT: Mapping[str, str] = {
    "axons_in_per_core": "axons",
    "axons_out_per_core": "axons",
    "synapse_words_per_core": "words",
    "synapse_formats_per_core": "formats",
}
WEIGHT_BITS = (1, 2, 3, 4, 5, 6, 8)  # that a synapse may have
LEAST_INDEX_BITS = 6
DELAY_BITS, BLOCK, BLOCK_BITS, WORD = 6, 64, 10, 64


def limits(target: Target) -> Uses:
    """Return what a core has, by the names of what neurons use."""
    return {k.removesuffix("_per_core"): target.limit(k) for k in LAYOUT}


def most_inputs(target: Target) -> int:
    """Return how many others a neuron of a dense layer can listen to, alone on a core."""
    return min(target.limit("axons_in_per_core"), target.limit("synapse_words_per_core"))


def format_bits(weight: NDArray[np.integer], finest: int = 8) -> int:
    """Return the fewest bits of a synapse that hold all weights of a connection.

    Fewer bits leave out the low ones; of weights of both signs, one bit is the sign
    (``SynapseConfig.shift_bits``).
    """
    mixed = int(bool(weight.size and weight.min() < 0 < weight.max()))
    common = int(np.bitwise_or.reduce(np.abs(weight), axis=None)) if weight.size else 0
    zeros = (common & -common).bit_length() - 1 if common else finest
    return next(b for b in WEIGHT_BITS if finest - b + mixed <= zeros)


class Stored:
    """One connection as a core keeps it."""

    def __init__(
        self, connection: Connection, *, sparse: bool, waits: bool, axons: bool = True
    ) -> None:
        """Lay a connection out.

        Args:
            connection: weights and where they go.
            sparse: whether zeros are left out.
            waits: whether a synapse holds a delay.
            axons: whether its sources are on cores, where each takes an outgoing axon.
        """
        self.connection, self.sparse, self.axons = connection, sparse, axons
        self.least_index = LEAST_INDEX_BITS
        self.bits = format_bits(connection.synapses.weight) + (DELAY_BITS if waits else 0)
        conv = connection.synapses
        self.kernel = _Kernel(conv, sparse=sparse) if isinstance(conv, Conv) else None
        self.image = conv.output_shape if isinstance(conv, Conv) else None
        self.rows = None if self.kernel else pattern(connection.synapses)

    def __call__(self, span: Span) -> tuple[Uses, str]:
        """Say what some neurons use, in numbers and in words."""
        if self.kernel is not None:
            axons, counts = self.kernel.pixels(span), self.kernel.synapses(span)
        else:
            counts = self._counts(span)
            axons = counts.size
        indexed = self.sparse or self.kernel is not None
        index = max(self.least_index, (span.size - 1).bit_length()) if indexed else 0
        words = int(_words(counts, self.bits + index).sum())
        uses = {"axons_in": axons, "synapse_words": words, "synapse_formats": int(axons > 0)}
        what = "pixels" if self.kernel is not None else "source neurons"
        return uses, f"{axons:,} {what} and {words:,} words of synapses from {self.connection.pre}"

    def beside(self, neurons: int) -> Stored:
        """Return it as a core of so many neurons keeps it where others come before its own.

        An index counts from the first neuron of the core.
        """
        other = copy(self)
        other.least_index = max(LEAST_INDEX_BITS, (neurons - 1).bit_length())
        return other

    def hears(self, span: Span) -> int:
        """Return how many neurons on cores some neurons hear."""
        if not self.axons:
            return 0
        if self.kernel is not None:
            return self.kernel.pixels(span) * self.kernel.channels(span)
        return self._counts(span).size

    def heard_by(self, spans: Iterable[Span]) -> NDArray[np.int64]:
        """Return ``[pre]``: how many of some parts hear each source neuron."""
        if self.kernel is not None:
            return self.kernel.heard_by(spans)
        assert self.rows is not None
        total = np.zeros(sizes(self.connection.synapses)[1], np.int64)
        for span in spans:
            total[np.unique(entries(*self.rows, span))] += 1
        return total

    def _counts(self, span: Span) -> NDArray[np.int64]:
        """Return the synapses of each source that has some here."""
        assert self.rows is not None
        here = entries(*self.rows, span)
        # From the first source on: those of a few neurons are near each other, of many thousands.
        counts = np.bincount(here - here.min()) if here.size else here.astype(np.int64)
        counts = counts[counts > 0]
        return counts if self.sparse else np.full_like(counts, span.size)


class AxonsOut:
    """Outgoing axons of a population: one for each core and connection that hears a neuron."""

    image: tuple[int, int, int] | None = None

    def __init__(self, heard: NDArray[np.int64]) -> None:
        """Take how many cores and connections hear each neuron, ``[size]``."""
        self.before: NDArray[np.int64] = np.concatenate([[0], heard.cumsum()])

    def __call__(self, span: Span) -> tuple[Uses, str]:
        """Return the axons of some neurons, and what they are for."""
        starts = span.starts
        count = int((self.before[starts + (span.stop - span.start)] - self.before[starts]).sum())
        return {"axons_out": count}, f"{count} axons to cores that hear it"

    def hears(self, span: Span) -> int:
        """Return 0: what leaves comes from nobody else."""
        del span
        return 0


@dataclass(frozen=True, slots=True)
class _Met:
    """What some places behind a kernel have to do with the pixels before it.

    Args:
        reached: pixels that reach one of the places, ``[height, width]``.
        parts: each set of taps by which a pixel reaches them, once, ``[parts, taps]`` of 0 and 1.
    """

    reached: NDArray[np.bool_]
    parts: NDArray[np.int64]


class _Kernel:
    """The parts of a kernel that pixels meet, and how often each is stored."""

    def __init__(self, conv: Conv, *, sparse: bool) -> None:
        self.conv = conv
        sides = zip(
            conv.input_shape[1:], conv.output_shape[1:], conv.weight.shape[2:], conv.stride,
            conv.padding, conv.dilation, strict=True,
        )  # fmt: skip
        self.taps = [_taps(n, out, k, s, p, d) for n, out, k, s, p, d in sides]
        there = conv.weight != 0 if sparse else np.ones(conv.weight.shape, bool)
        self.before = np.zeros((conv.weight.shape[0] + 1, *conv.weight.shape[1:]), np.int32)
        np.cumsum(there, axis=0, out=self.before[1:])
        self.known: dict[tuple[int, int], _Met] = {}

    def synapses(self, span: Span) -> NDArray[np.int64]:
        """Return how many synapses each list has that these neurons store.

        A list is what one input channel's pixels send to these neurons' channels by one part of the
        kernel: pixels that meet the same taps share it.
        """
        first, last = self._channels(span)
        each = self.conv.output_shape[0] // self.conv.groups
        group = np.arange(first // each, (last - 1) // each + 1)
        ends = np.minimum(last, (group + 1) * each), np.maximum(first, group * each)
        synapses = (self.before[ends[0]] - self.before[ends[1]]).astype(np.int64)
        parts = self._met(span).parts
        counts = (synapses.reshape(-1, parts.shape[1]) @ parts.T).reshape(-1)
        return counts[counts > 0]

    def pixels(self, span: Span) -> int:
        """Return how many pixels reach some neurons, weights of 0 included."""
        return int(np.count_nonzero(self._met(span).reached))

    def whole(self) -> tuple[int, int]:
        """Return how many pixels and how many source neurons reach any neuron."""
        channels, height, width = self.conv.output_shape
        pixels = self.pixels(Span(0, channels * height * width))
        return pixels, pixels * self.conv.input_shape[0]

    def channels(self, span: Span) -> int:
        """Return how many input channels reach some neurons."""
        first, last = self._groups(span)
        return (last - first) * self.conv.weight.shape[1]

    def heard_by(self, spans: Iterable[Span]) -> NDArray[np.int64]:
        """Return ``[pre]``: how many of some parts hear each source neuron, weights of 0 too."""
        total = np.zeros((self.conv.groups, *self.conv.input_shape[1:]), np.int64)
        for span in spans:
            total[slice(*self._groups(span))] += self._met(span).reached
        return np.repeat(total, self.conv.weight.shape[1], axis=0).reshape(-1)

    def _channels(self, span: Span) -> tuple[int, int]:
        _, height, width = self.conv.output_shape
        return span.start // (height * width), (span.end - 1) // (height * width) + 1

    def _groups(self, span: Span) -> tuple[int, int]:
        first, last = self._channels(span)
        each = self.conv.output_shape[0] // self.conv.groups
        return first // each, (last - 1) // each + 1

    def _met(self, span: Span) -> _Met:
        """Return what the places of a span have to do with pixels; all of whole channels."""
        _, height, width = self.conv.output_shape
        first, last = self._channels(span)
        start, stop = 0, height * width
        if last - first == span.repeats:
            start, stop = span.start % stop, span.start % stop + span.stop - span.start
        if (start, stop) not in self.known:
            self.known[start, stop] = self._meet(start, stop, width)
        return self.known[start, stop]

    def _meet(self, start: int, stop: int, width: int) -> _Met:
        """Go through places ``start`` to ``stop``: part of a row, whole rows, part of a row.

        Pixels of one row differ by what their columns meet of these three, and so the other way
        round, so that few combinations tell all sets of taps.
        """
        (up, left), (down, right) = divmod(start, width), divmod(stop - 1, width)
        bands = [(up, down + 1, left, right + 1)]
        if up < down:
            bands = [
                (up, up + 1, left, width),
                (up + 1, down, 0, width),
                (down, down + 1, 0, right + 1),
            ]
        rows = [np.logical_or.reduce(self.taps[0][:, a:b], axis=1) for a, b, _, _ in bands]
        columns = [np.logical_or.reduce(self.taps[1][:, a:b], axis=1) for _, _, a, b in bands]
        (row_sets, row), (column_sets, column) = _sets(rows), _sets(columns)
        sets = np.einsum("rby,cbx->rcyx", row_sets, column_sets) > 0
        reached = np.logical_or.reduce(sets, axis=(2, 3))[np.ix_(row, column)]
        flat = sets.reshape(-1, sets.shape[2] * sets.shape[3])
        return _Met(reached, np.unique(flat, axis=0).astype(np.int64))


def _sets(bands: list[NDArray[np.bool_]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each set of taps that pixels of an axis meet, ``[sets, bands, taps]``, and whose."""
    met = np.stack(bands, axis=1)
    sets, which = np.unique(met.reshape(met.shape[0], -1), axis=0, return_inverse=True)
    return sets.reshape(-1, *met.shape[1:]).astype(np.int64), which.reshape(-1)


def _taps(n: int, out: int, k: int, stride: int, padding: int, dilation: int) -> NDArray[np.bool_]:
    """Say along one axis which tap brings which pixel where: ``[pixel, place, tap]``."""
    pixel, place, tap = np.ogrid[:n, :out, :k]
    return pixel == place * stride - padding + tap * dilation


def _words(counts: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return the words that lists of so many synapses of so many bits take."""
    whole, rest = np.divmod(counts, BLOCK)
    full = -(-(BLOCK * bits + BLOCK_BITS) // WORD)
    return whole * full + np.where(rest > 0, -(-(rest * bits + BLOCK_BITS) // WORD), 0)
