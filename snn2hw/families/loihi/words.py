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
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.integer import Connection
from snn2hw.ir.synapses import Conv, matrix
from snn2hw.ir.target import Target

LAYOUT: Mapping[str, str] = {
    "axons_in_per_core": "axons",
    "axons_out_per_core": "axons",
    "synapse_words_per_core": "words",
    "synapse_formats_per_core": "formats",
}
MESH: Mapping[str, str] = {"cores_per_tile": "cores", "tiles_per_row": "tiles"}
WEIGHT_BITS = (1, 2, 3, 4, 5, 6, 8)  # that a synapse may have
LEAST_INDEX_BITS = 6
DELAY_BITS, BLOCK, BLOCK_BITS, WORD = 6, 64, 10, 64

Uses = dict[str, int]


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

    def __init__(self, connection: Connection, *, sparse: bool, waits: bool) -> None:
        """Lay a connection out.

        Args:
            connection: weights and where they go.
            sparse: whether zeros are left out.
            waits: whether a synapse holds a delay.
        """
        self.connection, self.sparse = connection, sparse
        self.bits = format_bits(connection.synapses.weight) + (DELAY_BITS if waits else 0)
        conv = connection.synapses
        self.kernel = _Kernel(conv, sparse=sparse) if isinstance(conv, Conv) else None
        self.rows = None if self.kernel else matrix(connection.synapses)

    def __call__(self, start: int, stop: int) -> tuple[Uses, str]:
        """Say what neurons ``start`` to ``stop`` use, in numbers and in words."""
        if self.kernel is not None:
            axons = int(self.kernel.pixels(start, stop).sum())
            counts = self.kernel.synapses(start, stop)
        else:
            counts = self._counts(start, stop)
            axons = counts.size
        indexed = self.sparse or self.kernel is not None
        words = int(_words(counts, self.bits + (_index_bits(stop - start) if indexed else 0)).sum())
        uses = {"axons_in": axons, "synapse_words": words, "synapse_formats": int(axons > 0)}
        what = "pixels" if self.kernel is not None else "source neurons"
        return uses, f"{axons} {what} and {words} words of synapses from {self.connection.pre}"

    def sources(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Say which source neurons neurons ``start`` to ``stop`` hear."""
        if self.kernel is not None:
            return self.kernel.sources(start, stop)
        assert self.rows is not None
        heard = np.zeros(self.rows.shape[1], bool)
        heard[self.rows.indices[self.rows.indptr[start] : self.rows.indptr[stop]]] = True
        return heard

    def _counts(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the synapses of each source that has some here."""
        assert self.rows is not None
        here = self.rows.indices[self.rows.indptr[start] : self.rows.indptr[stop]]
        counts = np.bincount(here, minlength=1)
        counts = counts[counts > 0]
        return counts if self.sparse else np.full_like(counts, stop - start)


class _Kernel:
    """The parts of a kernel that pixels meet, and how often each is stored."""

    def __init__(self, conv: Conv, *, sparse: bool) -> None:
        self.conv = conv
        _, height, width = conv.input_shape
        _, below, beside = conv.output_shape
        taps = [
            _taps(n, out, k, s, p, d)
            for n, out, k, s, p, d in zip(
                (height, width), (below, beside), conv.weight.shape[2:], conv.stride, conv.padding,
                conv.dilation, strict=True,
            )
        ]  # fmt: skip
        self.hits = tuple(t.any(axis=2).astype(np.float32) for t in taps)  # [pixel, place behind]
        there = conv.weight != 0 if sparse else np.ones(conv.weight.shape, bool)
        # One row for each part of the kernel that some pixel meets: synapses [part, out, in].
        rows, columns = (np.unique(t.any(axis=1), axis=0) for t in taps)
        parts = np.einsum("oiyx,ay,bx->aboi", there.astype(np.int64), rows, columns)
        self.parts = parts.reshape(-1, *conv.weight.shape[:2])

    def synapses(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return how many synapses each list has that these neurons' channels store."""
        channels, height, width = self.conv.output_shape
        first, last = start // (height * width), (stop - 1) // (height * width)
        each, found = channels // self.conv.groups, list[NDArray[np.int64]]()
        for group in range(first // each, last // each + 1):
            low, high = max(first, group * each), min(last + 1, (group + 1) * each)
            found.append(self.parts[:, low:high].sum(axis=1).reshape(-1))
        counts = np.concatenate(found)
        return counts[counts > 0]

    def pixels(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Say which pixels reach neurons ``start`` to ``stop``: ``[height, width]``."""
        channels, height, width = self.conv.output_shape
        places = np.zeros(channels * height * width, bool)
        places[start:stop] = True
        behind = places.reshape(channels, height, width).any(axis=0).astype(np.float32)
        down, across = self.hits
        return np.matmul(np.matmul(down, behind), across.T) > 0

    def sources(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Say which source neurons neurons ``start`` to ``stop`` hear, weights of 0 included."""
        channels, height, width = self.conv.output_shape
        first, last = start // (height * width), (stop - 1) // (height * width)
        each, into = channels // self.conv.groups, self.conv.weight.shape[1]
        heard = np.zeros(self.conv.input_shape, bool)
        groups = slice(first // each * into, (last // each + 1) * into)
        heard[groups] = self.pixels(start, stop)
        return heard.reshape(-1)


def _taps(n: int, out: int, k: int, stride: int, padding: int, dilation: int) -> NDArray[np.bool_]:
    """Say along one axis which tap brings which pixel where: ``[pixel, place, tap]``."""
    pixel, place, tap = np.ogrid[:n, :out, :k]
    return pixel == place * stride - padding + tap * dilation


def _index_bits(neurons: int) -> int:
    return max(LEAST_INDEX_BITS, (neurons - 1).bit_length())


def _words(counts: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return the words that lists of so many synapses of so many bits take."""
    whole, rest = np.divmod(counts, BLOCK)
    full = -(-(BLOCK * bits + BLOCK_BITS) // WORD)
    return whole * full + np.where(rest > 0, -(-(rest * bits + BLOCK_BITS) // WORD), 0)
