"""How many spikes go from core to core: measured, or expected where nothing was run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.families.loihi.memory import entries
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.placement import Span, owners
from snn2hw.ir.synapses import Conv, Synapses, pattern

Spikes = Mapping[str, NDArray[np.integer[Any]]]  # of each neuron, by layer


def load(
    net: IntNetwork,
    spans: Mapping[str, Sequence[tuple[int, Span]]],
    cores: int,
    spikes: Spikes | None = None,
) -> Any:
    """Return the spikes that cores send each other: whole numbers ``[from, to]``, sparse.

    A spike goes once to each core with a neuron of a layer that hears it. Inputs come from no core.
    Of a convolution, whole rows count as hearing, and neurons of a part as spiking alike.

    Args:
        net: the network.
        spans: core and neurons of each part of a layer.
        cores: how many there are.
        spikes: of each neuron in some run, ``[size]`` by layer; else each is expected to spike
            once, as nothing tells them apart.
    """
    pairs: dict[tuple[int, int], int] = defaultdict(int)
    for c in net.connections:
        if c.pre not in spans:
            continue
        size = net.population(c.pre).size
        sent = np.ones(size, np.int64) if spikes is None else np.asarray(spikes[c.pre], np.int64)
        before, after = spans[c.pre], spans[c.post]
        found = _heard(c.synapses, [s for _, s in before], [s for _, s in after], sent)
        for (_, to), row in zip(enumerate(after), found, strict=True):
            for i in np.flatnonzero(row).tolist():
                pairs[before[i][0], to[0]] += int(row[i])
    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    values = np.array(list(pairs.values()), np.int64)
    return scipy.sparse.coo_array((values, (ends[:, 0], ends[:, 1])), shape=(cores, cores)).tocsr()


def _heard(
    synapses: Synapses, before: Sequence[Span], after: Sequence[Span], sent: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many spikes of each part before each part behind hears, ``[after, before]``."""
    if isinstance(synapses, Conv):
        return _heard_by_kernel(synapses, before, after, sent)
    (ends, indices), owner = pattern(synapses), owners(before, sent.size)
    found = np.zeros((len(after), len(before)), np.int64)
    for row, span in zip(found, after, strict=True):
        there = np.zeros(sent.size, np.bool_)
        there[entries(ends, indices, span)] = True
        np.add.at(row, owner[there], sent[there])
    return found


def _heard_by_kernel(
    conv: Conv, before: Sequence[Span], after: Sequence[Span], sent: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Do it without the matrix: a part behind hears some rows of some channels."""
    most = max(s.repeats for s in before)
    starts = np.zeros((len(before), most), np.int64)
    lengths = np.zeros_like(starts)  # 0 where a part has fewer runs
    for i, s in enumerate(before):
        starts[i, : s.repeats], lengths[i, : s.repeats] = s.starts, s.stop - s.start
    spikes = np.array([sent[s.where].sum() for s in before], np.int64)
    sizes = np.array([s.size for s in before], np.int64)
    found = np.empty((len(after), len(before)), np.int64)
    for row, span in zip(found, after, strict=True):
        reach = _reach(conv, span)
        common = _below(starts + lengths, *reach) - _below(starts, *reach)
        row[:] = common.sum(axis=1) * spikes // sizes
    return found


def _reach(conv: Conv, span: Span) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Return channels and places within a channel that a part hears, and places of a channel."""
    channels, out_height, out_width = conv.output_shape
    _, height, width = conv.input_shape
    plane, each = out_height * out_width, channels // conv.groups
    first, last = span.start // plane, (span.end - 1) // plane
    into = conv.weight.shape[1]
    up, down = 0, out_height - 1
    if last - first + 1 == span.repeats:  # else whole channels
        start = span.start % plane
        up, down = start // out_width, (start + span.stop - span.start - 1) // out_width
    top = up * conv.stride[0] - conv.padding[0]
    bottom = down * conv.stride[0] - conv.padding[0]
    bottom += (conv.weight.shape[2] - 1) * conv.dilation[0] + 1
    rows = max(0, top), min(height, bottom)
    places = rows[0] * width, max(rows[0], rows[1]) * width
    return (first // each * into, (last // each + 1) * into), places, height * width


def _below(
    ends: NDArray[np.int64], channels: tuple[int, int], places: tuple[int, int], plane: int
) -> NDArray[np.int64]:
    """Return how many of some places of some channels come before each neuron."""
    channel, place = np.divmod(ends, plane)
    whole = np.clip(channel - channels[0], 0, channels[1] - channels[0])
    part = np.clip(place - places[0], 0, places[1] - places[0])
    inside = (channel >= channels[0]) & (channel < channels[1])
    return whole * (places[1] - places[0]) + inside * part
