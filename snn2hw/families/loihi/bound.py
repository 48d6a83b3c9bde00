"""How few cores a network could lie on at least, however it is placed.

For every limit of a core, the least that all layers together use of it, divided by what a core has
and rounded up; the largest of these. A layer uses at least

* a neuron each of ``neurons``, and a group for as many neurons as a core holds;
* the state of each neuron, and each stored synapse once;
* a kernel's channel once for as many of its neurons as a core holds;
* an axon for each source neuron once; more, if it takes several cores, as every part has axons of
  its own. If parts are runs of neurons in their order, as ``place.py`` cuts what is no image
  (``ordered``), the cut of least memory is found among all. Of parts that are any subsets only this
  is known: of n neurons, one has at least as many sources as the n-th of all, fewest first. So the
  layer has at least its neurons times the smallest ratio of sources to neurons that a core holds.

Which layers share a core plays no part, so that it holds however they do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.cut import Layer
from snn2hw.families.loihi.memory import BYTES, Kernel, Rows, State
from snn2hw.families.loihi.place import layers_of, limits_of
from snn2hw.families.loihi.words import WORD, Stored
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.target import Target

ROUNDING = 1e-9  # a sum of quotients that should be whole may be this much more


def lower_bound(net: IntNetwork, target: Target, *, ordered: bool = True) -> int:
    """Return a number of cores that no placement can do with fewer of.

    Args:
        net: a network each of whose neurons fits a core.
        target: the chip.
        ordered: whether parts of a layer that is no image are runs of neurons in their order.
    """
    limits, total = limits_of(target), defaultdict[str, float](float)
    for layer in layers_of(net, target).values():
        for limit, n in _least(layer, ordered=ordered and layer.image is None).items():
            total[limit] += n
    return max(math.ceil(total[k] / limits[k] - ROUNDING) for k in limits)


def _least(layer: Layer, *, ordered: bool) -> Mapping[str, float]:
    """Return the least that a layer uses of each limit."""
    most = _most_neurons(layer)
    found = defaultdict[str, float](float)
    found["neurons"], found["neuron_groups"] = layer.size, math.ceil(layer.size / most)
    rows = [c for c in layer.costs if isinstance(c, Rows)]
    if rows and ordered:
        found[BYTES] += _least_in_order(layer, rows, most)
    else:
        found[BYTES] += layer.size * _state(layer) + sum(_least_rows(c, most) for c in rows)
    for cost in layer.costs:
        if isinstance(cost, Kernel):
            copies = math.ceil(cost.plane / most)
            found[BYTES] += copies * int(cost.before[-1]) * cost.each
        elif isinstance(cost, Stored):
            for limit, n in _least_words(cost).items():
                found[limit] += n
    return found


def _least_words(cost: Stored) -> dict[str, float]:
    """Return the least that a connection uses on Loihi 1, where it has any weight.

    One format, and once each: the axons of sources or pixels, and synapses, without what fills up
    their words. The axons go out of the layers before.
    """
    weight = cost.connection.synapses.weight
    if not np.count_nonzero(weight):
        return {}
    if cost.kernel is not None:
        axons, sources = cost.kernel.whole()
        stored = int(np.count_nonzero(weight)) if cost.sparse else weight.size
    else:
        assert cost.rows is not None
        _, heard = cost.rows
        axons, stored = np.unique(heard).size, heard.size
        sources = axons
    index = cost.least_index if cost.sparse or cost.kernel is not None else 0
    return {
        "axons_in": axons,
        "axons_out": sources if cost.axons else 0,
        "synapse_words": stored * (cost.bits + index) / WORD,
        "synapse_formats": 1,
    }


def _most_neurons(layer: Layer) -> int:
    """Return how many neurons of a layer a core holds at most, whichever they are."""
    most = min(layer.size, layer.limits["neurons"])
    if BYTES not in layer.limits:
        return most
    count = np.arange(1, most + 1)
    total = np.zeros(most)
    for cost in layer.costs:
        if isinstance(cost, State):
            total += cost.each * count
        elif isinstance(cost, Kernel):
            total += cost.each * np.diff(cost.before).min() * np.ceil(count / cost.plane)
        elif isinstance(cost, Rows):
            degree = np.sort(np.diff(cost.ends))[:most]
            synapses = np.cumsum(degree) if cost.sparse else count * cost.width
            total += cost.axon * degree + cost.each * synapses
    return max(1, int(np.searchsorted(total, layer.limits[BYTES], "right")))


def _state(layer: Layer) -> int:
    return sum(c.each for c in layer.costs if isinstance(c, State))


def _least_rows(cost: Rows, most: int) -> float:
    """Return the least bytes of a dense or sparse connection, whichever neurons are together."""
    size = cost.ends.size - 1
    degree = np.sort(np.diff(cost.ends))[:most]
    ratio = float((degree / np.arange(1, degree.size + 1)).min())
    axons = max(np.unique(cost.indices).size, size * ratio)
    synapses = cost.indices.size if cost.sparse else size * cost.width
    return axons * cost.axon + synapses * cost.each


def _least_in_order(layer: Layer, rows: Sequence[Rows], most: int) -> float:
    """Return the least bytes of neurons and connections, if neurons that are together are a run.

    The least for the first neurons, up to each, is that up to where their last run begins, and that
    run: all runs that fit a core are tried.
    """
    before = [_same_source_before(cost) for cost in rows]
    least = np.full(layer.size + 1, math.inf)
    least[0] = 0
    for start in range(layer.size):
        stop = min(start + most, layer.size)
        count = np.arange(1, stop - start + 1)
        total = _state(layer) * count
        for cost, last in zip(rows, before, strict=True):
            first, ends = int(cost.ends[start]), cost.ends[start + 1 : stop + 1]
            new = np.concatenate([[0], np.cumsum(last[first : int(ends[-1])] < start)])
            synapses = ends - first if cost.sparse else count * cost.width
            total = total + new[ends - first] * cost.axon + synapses * cost.each
        fits = total <= layer.limits[BYTES]
        reached = least[start + 1 : stop + 1]
        reached[fits] = np.minimum(reached[fits], least[start] + total[fits])
    return float(least[-1])


def _same_source_before(cost: Rows) -> NDArray[np.int64]:
    """Return for each synapse the neuron before that has one from the same source, or -1."""
    neuron = np.repeat(np.arange(cost.ends.size - 1), np.diff(cost.ends))
    order = np.lexsort((neuron, cost.indices))
    source = cost.indices[order]
    found = np.full(neuron.size, -1)
    same = np.flatnonzero(source[1:] == source[:-1])
    found[order[same + 1]] = neuron[order[same]]
    return found
