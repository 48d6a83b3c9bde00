"""What a core of Loihi 2 holds: neurons, axons and synapses in one memory.

A core pays for the state of each neuron, for each stored synapse (a kernel once for each of its
output channels on the core, however many neurons share it), and for each source neuron of a dense
or sparse connection. Sizes and their sources stand in the target's ``[limits]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.cut import Cost, Uses
from snn2hw.ir.integer import Connection
from snn2hw.ir.placement import Span
from snn2hw.ir.synapses import Conv, pattern, sizes
from snn2hw.ir.target import Target

LAYOUT: Mapping[str, str] = {
    "memory_per_core": "bytes",
    "neuron_bytes": "bytes",
    "axon_bytes": "bytes",
    "synapse_bytes_dense": "bytes",
    "synapse_bytes_sparse": "bytes",
}
BYTES = "memory_bytes"


def most_inputs(target: Target) -> int:
    """Return how many others a neuron of a dense layer can listen to, alone on a core."""
    memory = target.limit("memory_per_core") - target.limit("neuron_bytes")
    each = max(target.limit("synapse_bytes_dense"), target.limit("synapse_bytes_sparse"))
    return memory // (target.limit("axon_bytes") + each)


def stored(connection: Connection, target: Target, *, sparse: bool) -> Cost:
    """Return what neurons use of a core's memory for a connection.

    Args:
        connection: ends in these neurons.
        target: the chip.
        sparse: whether zeros are left out.
    """
    each = target.limit("synapse_bytes_sparse" if sparse else "synapse_bytes_dense")
    if isinstance(connection.synapses, Conv):
        return Kernel(connection.synapses, each, sparse=sparse)
    return Rows(connection, each, target.limit("axon_bytes"), sparse=sparse)


@dataclass(frozen=True, slots=True)
class State:
    """Memory of the neurons themselves: ``each`` bytes."""

    each: int
    image: None = None

    def __call__(self, span: Span) -> tuple[Uses, str]:
        """Return the bytes of some neurons; there is nothing to say of them."""
        return {BYTES: self.each * span.size}, ""

    def hears(self, span: Span) -> int:
        """Return 0: a state hears nobody."""
        del span
        return 0


class Rows:
    """A dense or sparse connection: an axon for each source neuron, and synapses."""

    image: tuple[int, int, int] | None = None

    def __init__(self, connection: Connection, each: int, axon: int, *, sparse: bool) -> None:
        """Lay a connection out, of ``each`` bytes a synapse and ``axon`` bytes a source neuron."""
        self.pre, self.each, self.axon, self.sparse = connection.pre, each, axon, sparse
        self.width = sizes(connection.synapses)[1]
        self.ends, self.indices = pattern(connection.synapses)

    def __call__(self, span: Span) -> tuple[Uses, str]:
        """Return the bytes that some neurons use, and what for."""
        found = entries(self.ends, self.indices, span)
        sources = _different(found)
        synapses = found.size if self.sparse else span.size * self.width
        why = f"{sources:,} source neurons and {synapses:,} synapses from {self.pre}"
        return {BYTES: sources * self.axon + synapses * self.each}, why

    def hears(self, span: Span) -> int:
        """Return how many source neurons have a synapse here."""
        return _different(entries(self.ends, self.indices, span))


class Kernel:
    """A convolution: the weights of each output channel on the core, once."""

    def __init__(self, conv: Conv, each: int, *, sparse: bool) -> None:
        """Lay a kernel out, of ``each`` bytes a weight."""
        channels, height, width = conv.output_shape
        self.image = (channels, height, width)
        self.plane, self.each = height * width, each
        counts = [int(np.count_nonzero(w)) if sparse else int(w.size) for w in conv.weight]
        self.before = np.concatenate([[0], np.cumsum(counts)])
        self.sources = conv.weight.shape[1] * conv.input_shape[1] * conv.input_shape[2]

    def __call__(self, span: Span) -> tuple[Uses, str]:
        """Return the bytes that some neurons use, and what for."""
        first, last = span.start // self.plane, (span.end - 1) // self.plane
        weights = int(self.before[last + 1] - self.before[first])
        return {BYTES: weights * self.each}, f"{weights:,} kernel weights"

    def hears(self, span: Span) -> int:
        """Return about how many source neurons some rows or channels listen to."""
        share = min(1.0, (span.stop - span.start) / self.plane)
        return int(self.sources * share)


def entries(
    ends: NDArray[np.integer], indices: NDArray[np.integer], span: Span
) -> NDArray[np.integer]:
    """Return the source neurons of all synapses of some rows, one for each synapse."""
    length = span.stop - span.start
    runs = [indices[ends[a] : ends[a + length]] for a in span.starts.tolist()]
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def _different(indices: NDArray[np.integer]) -> int:
    if not indices.size:
        return 0
    least = indices.min()  # the sources of a few neurons are near each other, of many thousands
    there = np.zeros(int(indices.max() - least) + 1, np.bool_)
    there[indices - least] = True
    return int(np.count_nonzero(there))
