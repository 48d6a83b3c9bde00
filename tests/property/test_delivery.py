"""Events bring the sums of the weight matrix, by single synapses and by runs of a kernel."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from snn2hw.ir.synapses import Conv, Dense, matrix, sizes, with_weight
from snn2hw.simulate import delivery

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


def delivered(synapses, r, exponent):
    """Deliver random events, from before the span too, and say what the matrix makes of them."""
    post, pre = sizes(synapses)
    sent = r.integers(-(1 << 20), 1 << 20, (2, 5, pre)) * (r.random((2, 5, pre)) < 0.5)
    way = delivery.way_of(synapses)
    found = r.integers(-9, 9, (2, 5, post))
    wanted = found.copy()
    sums = sent.reshape(10, pre) @ matrix(synapses).toarray().astype(np.int64).T
    shifted = sums << exponent if exponent > 0 else sums >> -exponent
    wanted[:, 2:4] += shifted.reshape(2, 5, post)[:, 1:3]
    delivery.deliver(sent.astype(np.int32), way, exponent, 1, (2, 4), found)
    assert (found == wanted).all()
    return type(way)


@given(st.one_of(convolutions(), st.tuples(sides, sides)), st.integers(-3, 3), st.integers(0, 99))
def test_both_ways_bring_the_sums_of_the_matrix(synapses, exponent, seed):
    r = np.random.default_rng(seed)
    if isinstance(synapses, tuple):
        synapses = Dense(np.zeros(synapses, np.int32))
    shape = synapses.weight.shape
    full = r.choice([-255, -1, 1, 254], shape)
    few = np.where(np.arange(full.size).reshape(shape) == 0, 7, 0) if full.size > 8 else full * 0
    for weight, way in ((full, delivery.Kernel), (few, delivery.Columns)):
        again = with_weight(synapses, weight.astype(np.int32))
        assert delivered(again, r, exponent) is way
