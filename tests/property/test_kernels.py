"""Convolutions joined, added and applied as kernels, against their matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snn2hw.ir import kernels
from snn2hw.ir.convolution import of_groups
from snn2hw.ir.synapses import Conv, columns, matrix, received, rows, sizes

seeds = st.integers(0, 1 << 16)
sides = st.tuples(st.integers(1, 3), st.integers(1, 3))


def kernel(r, out, image, groups, taps, stride, padding, dilation):
    """A kernel of small whole weights, whose sums are exact."""
    shape = (out, image[0] // groups, *taps)
    weight = r.integers(-3, 4, shape).astype(float)
    try:
        return Conv(weight, image, stride, padding, dilation, groups)
    except ValueError:
        assume(False)
        raise


@st.composite
def chains(draw, padded=True) -> tuple[Conv, Conv]:
    """Two convolutions, one behind the other."""
    r = np.random.default_rng(draw(seeds))
    image = (draw(st.sampled_from([2, 4])), *draw(st.tuples(st.integers(1, 9), st.integers(1, 9))))
    groups = st.sampled_from([1, 2])
    pads = st.tuples(st.integers(0, 2), st.integers(0, 2)) if padded else st.just((0, 0))
    first = kernel(r, 4, image, draw(groups), *(draw(s) for s in (sides, sides, pads, sides)))
    last = kernel(
        r, 2, first.output_shape, draw(groups), *(draw(s) for s in (sides, sides, pads, sides))
    )
    return last, first


def whole(conv):
    return matrix(conv).toarray()


@given(chains())
def test_two_kernels_behind_each_other_are_one(pair):
    outer, inner = pair
    both = whole(outer) @ whole(inner)
    made = kernels.joined(outer, inner)
    assert made.output_shape == outer.output_shape
    assert made.input_shape == inner.input_shape
    weights, products = kernels.joined_size(outer, inner)
    assert made.weight.size == weights
    assert products >= np.count_nonzero(outer.weight)
    if kernels.join(outer, inner):
        assert (whole(made) == both).all()


@given(chains(padded=False))
def test_without_padding_all_join(pair):
    assert kernels.join(*pair)


def test_the_pools_of_residual_networks():
    image = (3, 12, 12)
    behind = lambda pool: Conv(np.ones((5, 3, 3, 3)), pool.output_shape, padding=(1, 1))  # noqa: E731
    even = Conv(np.full((3, 1, 2, 2), 0.25), image, (2, 2), groups=3)
    over = Conv(np.full((3, 1, 3, 3), 1 / 9), image, (2, 2), (1, 1), groups=3)
    assert kernels.join(behind(even), even)
    assert not kernels.join(behind(over), over)  # its window at place 6 sees the last row
    assert kernels.joined(behind(even), even).weight.shape == (5, 3, 6, 6)


@st.composite
def beside(draw) -> tuple[Conv, Conv]:
    """Two convolutions of one image whose outputs have one shape, more often than by chance."""
    r = np.random.default_rng(draw(seeds))
    image = (2, *draw(st.tuples(st.integers(1, 9), st.integers(1, 9))))
    stride, dilation = draw(sides), draw(sides)
    pads = st.tuples(st.integers(0, 3), st.integers(0, 3))
    one, other = (
        kernel(
            r, 2, image, draw(st.sampled_from([1, 2])), draw(sides), stride, draw(pads),
            draw(st.sampled_from([dilation, (1, 1)])),
        )
        for _ in range(2)
    )  # fmt: skip
    assume(one.output_shape == other.output_shape)
    return one, other


@given(beside())
def test_two_kernels_beside_each_other_are_one(pair):
    made = kernels.added(*pair)
    if made is not None:
        assert made.output_shape == pair[0].output_shape
        assert (whole(made) == whole(pair[0]) + whole(pair[1])).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_and_its_shortcut_are_one_kernel(stride):
    image = (4, 8, 8)
    weight = np.random.default_rng(0).normal(size=(4, 4, 3, 3))
    block = Conv(weight, image, (stride, stride), (1, 1))
    past = Conv(np.ones((4, 1, 1, 1)), image, (stride, stride), groups=4)
    made = kernels.added(block, past)
    assert made is not None
    assert made.weight.shape == (4, 4, 3, 3)
    assert (whole(made) == whole(block) + whole(past)).all()
    shifted = Conv(np.ones((4, 4, 1, 1)), (4, 15, 15), (2, 2))
    assert kernels.added(block, shifted) is None


def test_an_image_is_connected_to_itself():
    made = kernels.one_to_one((3, 4, 5))
    assert made is not None
    assert (whole(made) == np.eye(60)).all()
    assert kernels.one_to_one((60,)) is None


@given(chains(), seeds)
def test_a_dense_layer_behind_a_kernel(pair, seed):
    conv = pair[0]
    dense = np.random.default_rng(seed).integers(-4, 5, (3, sizes(conv)[0])).astype(float)
    assert (kernels.gathered(dense, conv) == dense @ whole(conv)).all()


@given(chains(), seeds, st.booleans())
def test_what_arrives_where_channels_send_alike_or_not(pair, seed, alike):
    r, conv = np.random.default_rng(seed), pair[0]
    channels, height, width = conv.input_shape
    sent = r.integers(0, 4, (channels, 1, 1) if alike else (channels, height, width)).astype(float)
    sent = np.broadcast_to(sent, conv.input_shape).reshape(-1)
    assert (received(conv, sent) == whole(conv) @ sent).all()


@given(chains(), seeds, st.booleans())
def test_what_arrives_is_scaled_by_channel(pair, seed, alike):
    r, conv = np.random.default_rng(seed), pair[0]
    shape = conv.output_shape
    scale = r.integers(0, 3, (shape[0], 1, 1) if alike else shape).astype(float)
    scale = np.broadcast_to(scale, shape).reshape(-1)
    made = kernels.scaled(conv, scale)
    if alike:
        assert made is not None
    if made is not None:
        assert (whole(made) == scale[:, None] * whole(conv)).all()
    else:
        assert any(np.ptp(channel) for channel in scale.reshape(shape[0], -1))


@given(chains(), seeds)
def test_some_channels_of_any_groups_keep_their_kernel(pair, seed):
    conv, r = pair[1], np.random.default_rng(seed)
    full = whole(conv)
    for take, shape, some in (
        (rows, conv.output_shape, lambda keep: full[keep]),
        (columns, conv.input_shape, lambda keep: full[:, keep]),
    ):
        channels = np.flatnonzero(r.random(shape[0]) < 0.6)
        each = shape[1] * shape[2]
        keep = (channels[:, None] * each + np.arange(each)).reshape(-1)
        if channels.size:
            made = take(conv, keep)
            assert isinstance(made, Conv)
            assert (whole(made) == some(keep)).all()


@given(chains())
def test_zeros_between_groups(pair):
    conv = pair[1]
    for groups in {1, conv.groups}:
        wide = Conv(
            of_groups(conv, groups), conv.input_shape, conv.stride, conv.padding, conv.dilation,
            groups,
        )  # fmt: skip
        assert (whole(wide) == whole(conv)).all()
