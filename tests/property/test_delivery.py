"""Events bring the sums of the weight matrix: by single synapses, scattered and gathered rows."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csc_array

from snn2hw.ir.placement import Slice
from snn2hw.ir.synapses import Conv, Dense, matrix, sizes, with_weight
from snn2hw.simulate import delivery, layout
from snn2hw.simulate.batches import Workspace
from snn2hw.simulate.events import counted, listed, weighed
from snn2hw.simulate.loads import SynapsesMet, loads, met

sides = st.integers(1, 4)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw):
    groups, kernel = draw(st.integers(1, 3)), draw(st.tuples(sides, sides))
    dilation, padding = draw(pairs), draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    image = [
        max(1, s - 2 * p) + draw(st.integers(0, 5)) for s, p in zip(spans, padding, strict=True)
    ]
    weight = np.zeros((groups * draw(sides), draw(sides), *kernel), np.int32)
    shape = (groups * weight.shape[1], *image)
    return Conv(weight, shape, draw(pairs), padding, dilation, groups)


@st.composite
def dense(draw):
    """A dense layer between images: their channels, before and behind."""
    (before, behind), sizes_ = draw(pairs), draw(st.tuples(sides, sides))
    shape = (behind * sizes_[0], before * sizes_[1] * draw(st.sampled_from((1, 8))))
    return Dense(np.zeros(shape, np.int32)), before, behind


def delivered(case, r, exponent, *, plain, store, gather, dtype):
    """Deliver random events of some steps; say what the matrix makes of them, and by which way."""
    synapses, before, behind = case
    post, pre = sizes(synapses)
    sent = (r.random((2, 5, pre)) < 0.5).astype(np.int64)
    if not plain:
        sent *= r.integers(-(1 << 20), 1 << 20, sent.shape) if dtype == np.int64 else 255
    way = delivery.way_of(synapses, before, behind)
    found = r.integers(-9, 9, (2, 5, post)).astype(dtype)
    wanted = found.astype(np.int64)
    sums = sent.reshape(10, pre) @ matrix(synapses).toarray().astype(np.int64).T
    shifted = (sums << exponent if exponent > 0 else sums >> -exponent).reshape(2, 5, post)
    shifted = layout.inward(shifted, behind, np.int64)
    wanted[:, 2:4] = shifted[:, 1:3] + (0 if store else wanted[:, 2:4])
    space = Workspace()
    kind = np.int8 if plain else np.int32
    events = listed(layout.inward(sent, before, kind), before, plain, (1, 3), space, "x")
    with patch.object(delivery, "A_PLACE", -1.0 if gather else np.inf):
        delivery.deliver(events, way, exponent, found, 2, store, space)
    assert (found == wanted).all()
    return type(way)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("gather", [False, True])
@given(
    case=st.one_of(
        convolutions().map(lambda c: (c, c.input_shape[0], len(c.weight))),
        convolutions().map(lambda c: (c, 1, 1)),  # seen as another image
        dense(),
    ),
    exponent=st.integers(-3, 3),
    plain=st.booleans(),
    store=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_ways_bring_the_sums_of_the_matrix(dtype, gather, case, exponent, plain, store, seed):
    r = np.random.default_rng(seed)
    synapses, *channels = case
    shape = synapses.weight.shape
    how = {"plain": plain, "store": store, "gather": gather, "dtype": dtype}
    for values in ((-255, -1, 1, 254), (-5000, 4000)):  # rows of 16 bits, and of 32
        full = with_weight(synapses, r.choice(values, shape).astype(np.int32))
        delivered((full, *channels), r, exponent, **how)
    few = np.where(np.arange(np.prod(shape)).reshape(shape) == 0, 7, 0).astype(np.int32)
    way = delivered((with_weight(synapses, few), *channels), r, exponent, **how)
    assert way is delivery.Columns or few.size <= delivery.RUN_COSTS


@given(st.integers(1, 3), st.sampled_from([1, 3, 8, 24, 128]), st.booleans(), st.integers(0, 99))
def test_events_are_listed_in_their_places(places, channels, plain, seed):
    r = np.random.default_rng(seed)
    rates = r.choice([0.0, 0.01, 0.3, 1.0], (2, 4, 1))  # words may be passed over, or not
    sent = (r.random((2, 4, places * channels)) < rates).astype(np.int8 if plain else np.int32)
    sent *= 1 if plain else 7
    events = listed(sent, channels, plain, (1, 4), Workspace(), "x")
    for n in range(2):
        for t in range(3):
            row = sent[n, t + 1]
            end = events.ends[n, t]
            at = slice(end[0], end[-1])
            assert (events.element[at] == np.flatnonzero(row)).all()
            assert (np.diff(end) == np.count_nonzero(row.reshape(places, -1), axis=1)).all()
            assert plain or (events.value[at] == row[row != 0]).all()
    total = np.zeros((3, places * channels), np.int32)
    counted(events, total)
    assert (total == np.count_nonzero(sent[:, 1:], axis=0)).all()
    ways = r.integers(0, 99, (3, places * channels), np.int32)
    ways *= r.integers(0, 2, ways.shape, np.int32)
    found = weighed(events, [SynapsesMet(csc_array(x)) for x in (ways[:1], ways[1:])], Workspace())
    assert (found[..., :-1] == (sent[:, 1:] != 0) @ ways.T).all()
    assert (found[..., -1] == np.count_nonzero(sent[:, 1:], axis=2)).all()


@given(convolutions(), st.integers(0, 99))
def test_events_are_weighed_by_sums_over_an_image_as_one_by_one(conv, seed):
    r = np.random.default_rng(seed)
    conv = with_weight(conv, r.integers(0, 2, conv.weight.shape, np.int32))
    post, pre = sizes(conv)
    slices = [Slice("p", i, min(i + 3, post), i, {}) for i in range(0, post, 3)]
    sent = (r.random((2, 4, pre)) < 0.3).astype(np.int8)
    with patch("snn2hw.simulate.loads.FEW", 0):
        found = met(conv, slices)
    assert found.image is not None
    channels = conv.input_shape[0]
    order = layout.outer(pre, channels)
    inner = np.ascontiguousarray(sent[..., order])
    events = listed(inner, channels, True, (0, 4), Workspace(), "x")
    sums = weighed(events, [found.ordered(order)], Workspace())
    assert (np.moveaxis(sums[..., :-1], 2, 0) == loads(met(conv, slices, each=True), sent)).all()


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_inner_order_is_undone(channels, height, width, seed):
    x = np.random.default_rng(seed).integers(0, 99, (2, 3, channels, height, width))
    inner = layout.inward(x, channels, np.int64)
    assert (inner == x.reshape(2, 3, -1)[..., layout.outer(x[0, 0].size, channels)]).all()
    assert (layout.outward(inner, channels, x.shape[2:]) == x).all()


def filled(count, channels=64, places=16, *, plain=True):
    """So many events of two samples of three steps."""
    sent = np.zeros((2, 3, channels * places), np.int8 if plain else np.int32)
    sent.reshape(-1)[:count] = 1
    return listed(sent, channels, plain, (0, 3), Workspace(), "x")


def test_many_events_are_gathered_and_few_are_scattered():
    conv = Conv(np.ones((32, 64, 3, 3), np.int32), (64, 4, 4), (1, 1), (1, 1))
    dense_, wide = Dense(np.ones((32, 1024), np.int32)), np.full((32, 1024), 5000, np.int32)
    for synapses, channels in ((conv, 32), (dense_, 1)):
        way = delivery.way_of(synapses, 64, channels)
        assert delivery._crowded(filled(3000), way)
        assert not delivery._crowded(filled(6), way)
        assert not delivery._crowded(filled(3000, plain=False), way)  # payloads
    assert not delivery._crowded(filled(3000), delivery.way_of(Dense(wide), 64, 1))  # 32 bits
    grouped = Conv(np.ones((32, 32, 3, 3), np.int32), (64, 4, 4), (1, 1), (1, 1), groups=2)
    assert not delivery._crowded(filled(3000), delivery.way_of(grouped, 64, 32))


@pytest.mark.parametrize("width", [10, 512])
def test_rows_are_gathered_as_soon_as_they_save_what_the_places_cost(width):
    """Six steps, of events from 16 places of which each reaches places behind it by some rows."""
    conv = Conv(np.ones((width, 64, 3, 3), np.int32), (64, 4, 4), (1, 1), (1, 1))
    each = delivery.SAVED_BY_ROW + delivery.SAVED_BY_WEIGHT * width
    # A 3x3 kernel joins the 4 corners to 4 places, 8 sides to 6, and the 4 in the middle to 9.
    for synapses, rows, places in (
        (Dense(np.ones((width, 1024), np.int32)), 1, 1),
        (conv, (4 * 4 + 8 * 6 + 4 * 9) / 16, 16),
    ):
        way = delivery.way_of(synapses, 64, width)
        enough = int(np.ceil(6 * places * delivery.A_PLACE / (rows * each)))
        assert delivery._crowded(filled(enough), way)
        assert not delivery._crowded(filled(enough - 1), way)
