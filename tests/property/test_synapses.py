"""Sums over a map without its matrix, against the matrix, and that against loops."""

from __future__ import annotations

import itertools
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snn2hw.ir.synapses import (
    Conv,
    Dense,
    Sparse,
    fan_in,
    fan_out,
    from_matrix,
    matrix,
    pattern,
    received,
    row_sums,
    sizes,
    synapse_count,
)
from snn2hw.simulate import float_synapses

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def convolutions(draw) -> Conv:
    groups, per_group, into = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(pairs)[0]
    image = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    padding = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    r = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    shape = (groups * per_group, into, *kernel)
    weight = r.normal(size=shape) * (r.random(shape) < 0.7)
    try:
        return Conv(weight, (into * groups, *image), stride, padding, dilation, groups)
    except ValueError:
        assume(False)
        raise


def by_loops(conv: Conv) -> np.ndarray:
    channels, height, width = conv.output_shape
    full = np.zeros(sizes(conv))
    _, into, kh, kw = conv.weight.shape
    per_group = channels // conv.groups
    for o, i, ky, kx, oy, ox in itertools.product(
        *map(range, (channels, into, kh, kw, height, width))
    ):
        y = oy * conv.stride[0] - conv.padding[0] + ky * conv.dilation[0]
        x = ox * conv.stride[1] - conv.padding[1] + kx * conv.dilation[1]
        if 0 <= y < conv.input_shape[1] and 0 <= x < conv.input_shape[2]:
            source = ((o // per_group) * into + i) * conv.input_shape[1] + y
            row = (o * height + oy) * width + ox
            full[row, source * conv.input_shape[2] + x] += conv.weight[o, i, ky, kx]
    return full


@given(convolutions())
def test_a_convolution_is_unrolled_as_it_is_defined(conv):
    whole = by_loops(conv)
    assert (matrix(conv).toarray() == whole).all()
    assert synapse_count(conv) == np.count_nonzero(whole)


def test_a_kernel_is_unrolled_in_parts(monkeypatch):
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    conv = Conv(weight, (2, 9, 7), (2, 1), (1, 2))
    monkeypatch.setattr("snn2hw.ir.convolution.ENTRIES_AT_ONCE", 20)
    assert (matrix(conv).toarray() == by_loops(conv)).all()


@given(convolutions(), st.sampled_from(["conv", "dense", "sparse"]), st.integers(0, 1 << 16))
def test_sums_over_rows_and_columns_are_those_of_the_matrix(conv, form, seed):
    whole = matrix(conv)
    synapses = {"conv": conv, "dense": Dense(whole.toarray()), "sparse": from_matrix(whole)}[form]
    full = whole.toarray()
    for sign, part in ((1, np.maximum(full, 0)), (-1, np.minimum(full, 0))):
        assert row_sums(synapses, sign) == pytest.approx(part.sum(axis=1))
        # Scales of populations hang on these sums, so every form has to give the same bits.
        assert (row_sums(synapses, sign) == row_sums(from_matrix(whole), sign)).all()
    assert (fan_in(synapses) == np.count_nonzero(full, axis=1)).all()
    assert (fan_out(synapses) == np.count_nonzero(full, axis=0)).all()
    for found, wanted in zip(pattern(synapses), (whole.indptr, whole.indices), strict=True):
        assert (found == wanted).all()
    sent = np.random.default_rng(seed).integers(0, 4, full.shape[1]).astype(float)
    assert received(synapses, sent) == pytest.approx(full @ sent)


def test_a_weight_of_zero_is_no_synapse():
    stored = Sparse(np.array([1, 0, 2]), np.array([0, 1, 2]), np.array([0, 2, 2, 3]), 4)
    ends, indices = pattern(stored)
    assert (ends.tolist(), indices.tolist()) == ([0, 1, 1, 2], [0, 2])
    assert fan_out(stored).tolist() == [1, 0, 1, 0]


def test_rows_without_weights_sum_to_nothing():
    empty = Sparse(np.zeros(0), np.zeros(0, np.int32), np.zeros(4, np.int32), 5)
    assert row_sums(empty, 1).tolist() == [0, 0, 0]
    assert fan_in(empty).tolist() == [0, 0, 0]


@given(convolutions(), st.booleans(), st.integers(0, 99))
def test_float_spikes_add_up_in_the_order_of_who_sends(conv, many, seed):
    r = np.random.default_rng(seed)
    conv = replace(conv, weight=r.normal(size=conv.weight.shape))
    post, pre = sizes(conv)
    sent = r.normal(size=(3, pre)) * (r.random((3, pre)) < 0.5)
    total = r.normal(size=(3, post))
    wanted, whole = total.copy(), matrix(conv).toarray()
    for n, j in itertools.product(range(3), range(pre)):
        wanted[n] += sent[n, j] * whole[:, j]
    few = np.where(r.random(conv.weight.shape) < 0.02, conv.weight, 0.0)
    with patch.object(float_synapses, "SPREAD", 0 if many else 1 << 30):
        for synapses in (conv, replace(conv, weight=few)):
            way, found = float_synapses.way_of(synapses), total.copy()
            assert isinstance(way, float_synapses.Kernel) == (
                np.count_nonzero(synapses.weight) * 16 >= conv.weight.size
            )
            float_synapses.deliver(sent, way, found)
            if synapses is conv:
                assert (found == wanted).all()
            else:
                np.testing.assert_allclose(found, total + sent @ matrix(synapses).toarray().T)


def test_a_large_kernel_stays_one_however_many_zeros_it_has():
    weight = np.zeros((64, 64, 3, 3))
    weight[:2] = 1.0
    conv = Conv(weight, (64, 112, 112), padding=(1, 1))
    assert np.count_nonzero(weight) * 16 < weight.size
    assert isinstance(float_synapses.way_of(conv), float_synapses.Kernel)
