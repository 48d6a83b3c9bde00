"""Samples in the shape of an input: what was trained on is taken, the rest is told the way."""

from __future__ import annotations

import numpy as np
import pytest

from snn2hw.errors import InputError
from snn2hw.pipeline.shapes import fitted


def sides(*shape):
    return np.arange(np.prod(shape)).reshape(shape)


def test_values_in_a_row_are_taken():
    series = sides(3, 5, 12)
    for shape in ((12,), (12, 1, 1), (3, 2, 2), (1, 3, 4), (12, 1)):
        assert np.array_equal(fitted("input", shape, series), series.reshape(3, 5, *shape))
    assert np.array_equal(fitted("input", (12, 1, 1), series[..., None]), series[..., None, None])
    images = sides(3, 5, 1, 4, 4)
    assert fitted("input", (1, 4, 4), images) is images


@pytest.mark.parametrize(
    ("shape", "given", "steps", "images"),
    [
        ((1, 4, 4), (3, 1, 4, 4), 5, True),
        ((1, 4, 4), (3, 4, 4), 5, True),
        ((2, 4, 5), (3, 4, 5, 2), 5, True),
        ((2, 4, 5), (3, 6, 4, 5, 2), 5, False),
        ((16,), (3, 16), 7, True),
        ((16,), (3, 4, 4), 7, True),
        ((16,), (3, 5, 4, 4), 7, False),
        ((12, 1, 1), (3, 12), 7, True),
    ],
)
def test_the_way_out_works(shape, given, steps, images):
    """The code of the hint, as it is printed."""
    x = sides(*given)
    with pytest.raises(InputError) as caught:
        fitted("pixels", shape, x, steps)
    wanted = ", ".join(map(str, shape))
    assert f"Input pixels must be [samples, steps, {wanted}], got {list(given)}." in str(
        caught.value
    )
    assert ("at every step" in caught.value.hint) == images
    known = {"x": x, "numpy": np}
    exec(caught.value.hint.partition(": ")[2].rstrip("."), known)
    found = fitted("pixels", shape, known["x"])
    assert found.shape == (3, steps if images else given[1], *shape)
    if images:
        assert (found == found[:, :1]).all()
    last = given[-3:] == (*shape[1:], shape[0])
    assert np.array_equal(np.unique(found), np.arange(x.size))
    assert (found[0, 0].reshape(-1)[1] == 1) != last  # channels first


def test_nothing_is_guessed_of_other_sizes():
    for given in ((3, 5, 17), (3,), (), (0, 5, 16), (3, 0, 16), (3, 5, 2, 8, 2)):
        with pytest.raises(InputError, match="must be") as caught:
            fitted("input", (16,), np.zeros(given))
        assert not caught.value.hint
    with pytest.raises(InputError, match=r"stack\(\[x\] \* T"):
        fitted("input", (16,), np.zeros((3, 16)))
