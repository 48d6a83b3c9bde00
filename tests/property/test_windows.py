"""Synapses into some neurons are those of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn2hw.ir.synapses import Conv, Dense, from_matrix, matrix, sizes
from snn2hw.ir.windows import between, heard, most_synapses


def synapses(kind, r):
    if kind == "dense":
        return Dense(r.integers(-4, 5, (7, 9)))
    if kind == "sparse":
        return from_matrix(r.integers(-4, 5, (7, 9)) * (r.random((7, 9)) < 0.3))
    groups = 1 if kind == "conv" else int(r.choice([2, 3]))
    into, out = int(r.integers(1, 3)), int(r.integers(1, 3))
    taps = r.integers(1, 4, 2)
    return Conv(
        r.integers(-4, 5, (groups * out, into, *taps)), (groups * into, 7, 6),
        tuple(r.integers(1, 3, 2).tolist()), tuple(r.integers(0, 3, 2).tolist()),
        tuple(r.integers(1, 3, 2).tolist()), groups,
    )  # fmt: skip


def rectangle(shape, r):
    ranges = [np.sort(r.choice(n + 1, 2, replace=False)) for n in shape]
    inside = tuple(slice(a, b) for a, b in ranges)
    return np.arange(np.prod(shape)).reshape(shape)[inside].reshape(-1)


@pytest.mark.parametrize("kind", ["dense", "sparse", "conv", "grouped"])
@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_some_synapses_are_those_of_the_matrix(kind, seed):
    r = np.random.default_rng(seed)
    whole = synapses(kind, r)
    post_size, pre_size = sizes(whole)
    post = np.sort(r.choice(post_size, r.integers(1, post_size + 1), replace=False))
    if isinstance(whole, Conv) and r.random() < 0.7:
        post = rectangle(whole.output_shape, r)
    rows = matrix(whole).toarray()[post]
    need = heard(whole, post)
    assert set(np.flatnonzero(rows.any(axis=0))) <= set(need)
    pre = np.union1d(need, r.choice(pre_size, r.integers(0, pre_size), replace=False))
    for some in (need, pre):
        if some.size:
            assert (matrix(between(whole, post, some)).toarray() == rows[:, some]).all()
    assert np.count_nonzero(rows) <= most_synapses(whole, post)


@given(st.integers(0, 10**6))
def test_a_convolution_hears_exactly_its_receptive_field(seed):
    r = np.random.default_rng(seed)
    conv = synapses("grouped", r)
    ones = Conv(np.ones_like(conv.weight), conv.input_shape, conv.stride, conv.padding,
                groups=conv.groups)  # fmt: skip
    post = rectangle(ones.output_shape, r)
    seen = np.flatnonzero(matrix(ones).toarray()[post].any(axis=0))
    need = heard(ones, post)
    assert set(seen) <= set(need)
    if ones.stride[0] <= ones.weight.shape[2] and ones.stride[1] <= ones.weight.shape[3]:
        assert need.tolist() == seen.tolist()  # else it steps over rows and columns, which come too


def test_inside_the_image_a_kernel_stays_a_kernel():
    conv = Conv(np.arange(54).reshape(3, 2, 3, 3), (2, 8, 8), padding=(1, 1))
    image = np.arange(3 * 8 * 8).reshape(3, 8, 8)
    inner, corner = image[:2, 2:5, 3:5].reshape(-1), image[:, :2, :2].reshape(-1)
    made = between(conv, inner, heard(conv, inner))
    assert isinstance(made, Conv)
    assert (made.weight == conv.weight[:2]).all()
    assert (made.input_shape, made.padding) == ((2, 5, 4), (0, 0))
    assert between(conv, corner, heard(conv, corner)).kind == "sparse"
    everything = np.arange(image.size)
    assert between(conv, everything, heard(conv, everything)) is conv
