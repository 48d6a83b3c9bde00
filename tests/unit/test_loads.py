"""How many synapses of each core an event meets, against the unrolled matrix."""

from __future__ import annotations

import itertools
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import _synapses, seeds
from scipy.sparse import csc_array

from snn2hw.ir.placement import Slice
from snn2hw.ir.synapses import Conv, matrix
from snn2hw.simulate.loads import SynapsesMet, loads, met


def tiles(r, shape):
    """Cut a layer of so many neurons into slices, in any order, some by rows of all channels."""
    size = int(np.prod(shape))
    if len(shape) == 3 and shape[0] > 1 and shape[1] > 1 and r.random() < 0.5:
        plane, row = shape[1] * shape[2], int(r.integers(1, shape[1])) * shape[2]
        parts = [(0, row), (row, plane)]
        made = [Slice("p", a, b, i, {}, shape[0], plane) for i, (a, b) in enumerate(parts)]
        return [made[i] for i in r.permutation(2)]
    cuts = np.unique(r.integers(1, size, 2)) if size > 1 else np.zeros(0, int)
    edges = [0, *cuts.tolist(), size]
    made = [Slice("p", a, b, i, {}) for i, (a, b) in enumerate(itertools.pairwise(edges))]
    return [made[i] for i in r.permutation(len(made))]


def by_matrix(synapses, slices, *, zeros):
    """Unroll, and count rows; with zeros, every place that the form holds."""
    weight = synapses.weight
    held = np.ones_like(weight) if zeros else (weight != 0).astype(weight.dtype)
    there = matrix(type(synapses)(**{**fields_of(synapses), "weight": held})).toarray()
    return np.stack([there[s.span.where].sum(axis=0) for s in slices])


def of_neurons(found):
    """Write out how many synapses each neuron meets: an event of each by itself."""
    size = found.table.shape[1]
    return loads(found, np.eye(size, dtype=int)[:, None])[:, :, 0]


def fields_of(synapses):
    return {k: getattr(synapses, k) for k in type(synapses).__dataclass_fields__}


@settings(max_examples=150)
@given(seeds, st.booleans(), st.sampled_from([0, 4]))
def test_synapses_met_are_those_of_the_unrolled_matrix(seed, zeros, few):
    r = np.random.default_rng(seed)
    pre = (int(r.integers(1, 4)), 5, 5) if r.random() < 0.7 else (int(r.integers(1, 9)),)
    synapses = _synapses(r, pre, None)
    conv = isinstance(synapses, Conv)
    slices = tiles(r, synapses.output_shape if conv else matrix(synapses).shape[:1])
    with patch("snn2hw.simulate.loads.FEW", few):
        found = of_neurons(met(synapses, slices, zeros=zeros))
    assert found.tolist() == by_matrix(synapses, slices, zeros=zeros).tolist()


def test_a_grouped_kernel_looks_at_its_own_channels():
    """Two channels a group, so that the second group starts at channel 2."""
    kernel = Conv(np.ones((4, 2, 1, 1), int), (4, 2, 2), groups=2)
    found = of_neurons(met(kernel, [Slice("p", 0, 8, 0, {}), Slice("p", 8, 16, 1, {})]))
    assert found.tolist() == [[2] * 8 + [0] * 8, [0] * 8 + [2] * 8]


def test_a_layer_on_many_cores_is_held_by_corners():
    """A core holds a channel and a half, so that each neuron is heard by all of them."""
    kernel = Conv(np.ones((12, 2, 3, 3), int), (2, 50, 70), padding=(1, 1))
    run = 50 * 70 * 3 // 2
    slices = [Slice("p", i * run, (i + 1) * run, i, {}) for i in range(8)]
    few, many = met(kernel, slices), met(kernel, slices, each=True)
    assert few.table.nnz < many.table.nnz // 20
    sent = np.random.default_rng(0).integers(0, 3, (2, 3, 7000))
    assert (loads(few, sent) == loads(many, sent)).all()


@pytest.mark.parametrize("largest", [1 << 10, (1 << 24) + 1])
def test_sums_are_exact_beyond_single_precision(largest):
    """Slices differ: one meets nothing, the other more than float32 tells apart."""
    table = csc_array(np.array([[0, 0], [largest, 0]]))
    found = loads(SynapsesMet(table), np.array([[[1, 3], [0, 1]]]))
    assert found.tolist() == [[[0, 0]], [[largest, 0]]]
