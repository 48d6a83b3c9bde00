"""Encoders against snnTorch's, and what a chip needs of them: the same spikes for a sample."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import spikegen

from snn2hw import encoders
from snn2hw.encoders import ENCODERS, Encoder
from snn2hw.errors import InputError


def values(top):
    """Every value that a pixel can have, as one image."""
    return np.arange(top + 1).astype(np.uint16).reshape(1, 1, 1, -1)


@pytest.mark.parametrize("top", [1, 16, 255, 1000])
@pytest.mark.parametrize("threshold", [0.01, 0.2])
@pytest.mark.parametrize("clip", [0, 1])
def test_latency_is_snntorchs(top, threshold, clip):
    x = values(top)
    a = torch.from_numpy(x.astype(float)) / top
    for name, linear in (("latency", True), ("latency-log", False)):
        for steps in (2, 3, 4, 8, 9, 25, 100):
            theirs = spikegen.latency(
                a, num_steps=steps, threshold=threshold, normalize=True, linear=linear,
                clip=bool(clip),
            )  # fmt: skip
            encoder = Encoder(name, steps, constants={"threshold": threshold, "clip": clip})
            ours = encoder.encode(x, top)
            assert np.array_equal(ours, theirs.numpy().swapaxes(0, 1)), (name, steps)


@pytest.mark.parametrize("top", [16, 255])
def test_latency_in_single_precision(top):
    """As most call snnTorch: the linear code is the same, the logarithmic within a step."""
    x = values(top)
    a = torch.from_numpy(x.astype(np.float32)) / top
    for steps in (2, 4, 9, 25):
        for name in ("latency", "latency-log"):
            linear = name == "latency"
            theirs = spikegen.latency(a, num_steps=steps, normalize=True, linear=linear).numpy()
            ours = Encoder(name, steps, constants={"clip": 0}).encode(x, top)
            apart = abs(theirs.argmax(0) - ours.argmax(1))
            assert apart.max() <= (0 if linear else 1)
            assert (apart > 0).mean() < 0.1


@given(st.data())
@settings(max_examples=25)
def test_delta_is_snntorchs(data):
    top, shape = data.draw(st.sampled_from([1, 7, 255])), (2, 5, 2, 3, 4)
    threshold = data.draw(st.sampled_from([0.1, 0.333, 0.75]))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, top + 1, shape)
    frames = torch.from_numpy(x.astype(float) / top).swapaxes(0, 1)
    theirs = spikegen.delta(frames, threshold=threshold, off_spike=True).numpy().swapaxes(0, 1)
    encoder = Encoder("delta", 5, constants={"threshold": threshold})
    ours = encoder.encode(x.astype(np.uint8), top)
    assert np.array_equal(ours[:, :, :2], theirs > 0)
    assert np.array_equal(ours[:, :, 2:], theirs < 0)
    assert encoder.shape((2, 3, 4)) == (4, 3, 4)


def naive_grid(x, rows, columns, margin, most):
    """Count pixel by pixel, in the cell whose bounds it lies between."""
    samples, steps, channels, height, width = x.shape
    height, width = height - 2 * margin, width - 2 * margin
    counted = np.zeros((samples, steps, channels, rows, columns), int)
    for *where, h, w in np.ndindex(samples, steps, channels, height, width):
        (i,) = (i for i in range(rows) if i * height // rows <= h < (i + 1) * height // rows)
        (j,) = (j for j in range(columns) if j * width // columns <= w < (j + 1) * width // columns)
        counted[(*where, i, j)] += x[(*where, h + margin, w + margin)]
    return np.where(counted > most, most, counted)


@pytest.mark.parametrize(
    ("rows", "columns", "margin", "most"),
    [(1, 1, 0, 65535), (3, 2, 0, 15), (7, 9, 0, 1), (2, 4, 1, 15), (1, 3, 3, 300), (5, 7, 1, 9)],
)
def test_grid_adds_up_cells(rows, columns, margin, most):
    x = np.random.default_rng(rows).integers(0, 256, (2, 3, 2, 7, 9), dtype=np.uint8)
    x //= 1 + np.arange(2, dtype=np.uint8)[:, None, None, None, None] * 60  # few events, too
    constants = {"rows": rows, "columns": columns, "margin": margin, "most": most}
    encoder = Encoder("grid", 3, constants=constants)
    shown = encoder.encode(x, 255)
    assert np.array_equal(shown, naive_grid(x, rows, columns, margin, most))
    assert shown.dtype == np.min_scalar_type(most)
    assert encoder.shape((2, 7, 9)) == shown.shape[2:]
    assert encoder.max_value(255) == most


def test_grid_counts_what_no_integer_of_32_bits_holds():
    x = np.full((1, 1, 1, 300, 300), 65535, np.uint16)
    assert (Encoder("grid", 1, constants={"most": 65535}).encode(x, 65535) == 65535).all()


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        ({"rows": 8}, "8 x 2 cells and a margin of 0 do not fit into frames of 7 x 9 pixels"),
        ({"columns": 10}, "2 x 10 cells"),
        ({"margin": 3}, "2 x 2 cells and a margin of 3"),
        ({"margin": 60000}, "a margin of 60000"),
    ],
)
def test_grid_of_more_cells_than_pixels(constants, said):
    with pytest.raises(InputError, match=said):
        Encoder("grid", 3, constants=constants).encode(np.zeros((1, 3, 2, 7, 9), np.uint8), 9)


def test_rate_has_the_statistics_of_fair_draws():
    top, steps, samples = 16, 50, 400
    x = np.broadcast_to(values(top), (samples, 1, 1, top + 1))
    spikes = Encoder("rate", steps, seed=3).encode(x, top)
    a = np.arange(top + 1) / top
    count = samples * steps
    # Mean, and correlation of a step with the next, within five standard errors.
    error = np.sqrt(a * (1 - a) / count)
    assert (abs(spikes.mean((0, 1, 2, 3)) - a) <= 5 * error).all()
    centred = (spikes - a)[..., 1:-1] / np.sqrt(a * (1 - a))[1:-1]
    assert abs((centred[:, 1:] * centred[:, :-1]).mean()) < 5 / np.sqrt(count * (top - 1))
    assert abs((centred[1:] * centred[:-1]).mean()) < 5 / np.sqrt(count * (top - 1))
    assert not spikes[..., 0].any()
    assert spikes[..., -1].all()


def test_rate_of_frames_follows_them():
    x = np.random.default_rng(0).integers(0, 2, (3, 6, 2, 4, 4), dtype=np.uint8)
    assert np.array_equal(Encoder("rate", 6).encode(x, 1), x)


def test_rate_draws_never_change():
    """Trained students depend on them: Philox with seed and epoch as key, index as counter."""
    x = np.full((2, 1, 2, 4), 8, np.uint8)
    drawn = Encoder("rate", 2, seed=5).encode(x, 16, [0, 7], epoch=2)
    assert np.packbits(drawn).tobytes().hex() == "07b97649"


IMAGES = np.random.default_rng(1).integers(0, 17, (12, 1, 3, 5), dtype=np.uint8)


@given(st.lists(st.integers(0, 11), min_size=1, max_size=12), st.integers(0, 2**64), st.integers())
@settings(max_examples=40)
def test_any_part_is_encoded_like_the_whole(chosen, epoch, seed):
    for name in ("direct", "rate", "latency", "latency-log"):
        encoder = Encoder(name, 4, seed)
        whole = encoder.encode(IMAGES, 16, epoch=epoch)
        assert np.array_equal(encoder.encode(IMAGES[chosen], 16, chosen, epoch), whole[chosen])


def test_draws_differ_between_samples_epochs_and_seeds():
    x = np.full((2, 1, 8, 8), 8, np.uint8)
    first = Encoder("rate", 8).encode(x, 16)
    others = [
        first[::-1], Encoder("rate", 8).encode(x, 16, epoch=1),
        Encoder("rate", 8, seed=1).encode(x, 16), Encoder("rate", 8).encode(x, 16, [2, 3]),
    ]  # fmt: skip
    for other in others:
        assert 0.4 < (first == other).mean() < 0.6


@pytest.mark.parametrize("name", list(ENCODERS))
def test_every_encoder_keeps_its_word(name):
    entry, encoder = ENCODERS[name], Encoder(name, 5)
    assert entry.description
    assert entry.source
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    for kind in entry.takes:
        x = IMAGES if kind == "images" else np.repeat(IMAGES[:, None], 5, axis=1)
        shown = encoder.encode(x, 16)
        assert shown.shape == (12, 5, *encoder.shape((1, 3, 5)))
        assert shown.dtype == np.uint8
        assert shown.max() == encoder.max_value(16)
        assert encoder.encode(x[:0], 16).shape == (0, *shown.shape[1:])
        with pytest.raises(InputError, match="go from 0 to 15"):
            encoder.encode(x, 15)
    for kind in {"images", "frames"} - set(entry.takes):
        x = IMAGES if kind == "images" else np.repeat(IMAGES[:, None], 5, axis=1)
        with pytest.raises(InputError, match=f"not {kind}. For {kind} there are direct, rate"):
            encoder.encode(x, 16)
    with pytest.raises(InputError, match="arrays of 2 dimensions"):
        encoder.encode(IMAGES[0, 0], 16)


def test_direct_is_a_view():
    shown = Encoder("direct", 100).encode(IMAGES, 16)
    assert np.shares_memory(shown, IMAGES)
    assert (shown == IMAGES[:, None]).all()


def test_text_says_constants():
    told = encoders.parse("latency:threshold=0.1,clip=0", 8, 3)
    assert told == Encoder("latency", 8, 3, {"threshold": 0.1, "clip": 0})
    assert encoders.parse("latency", 8).constants == {"threshold": 0.01, "clip": 1}
    assert encoders.parse("rate", 8, -1).encode(IMAGES, 16).any()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rates", "Did you mean 'rate'"),
        ("", "no encoder ''"),
        ("rate:gain=2", "has no gain"),
        ("latency:threshold=0", "threshold 0 is not between"),
        ("latency:threshold=nan", "not NAME=NUMBER"),
        ("latency:threshold", "not NAME=NUMBER"),
        ("latency:threshold=x", "not NAME=NUMBER"),
        ("latency:clip=2", "clip 2 is neither"),
        ("latency:tau=1,threshold=7", "has no tau; threshold 7"),
        ("rows:levels=-1", "levels -1 is not a whole number from 0 to 65535"),
        ("grid:most=0", "most 0 is not a whole number from 1 to 65535"),
        ("grid:rows=1.5,columns=0", "rows 1.5 is not a whole .*; columns 0 is not a whole"),
        ("grid:margin=65536", "margin 65536 is not a whole number from 0"),
        ("grid:levels=15", "has no levels"),
    ],
)
def test_bad_texts(text, said):
    with pytest.raises(InputError, match=said):
        encoders.parse(text, 4)


@pytest.mark.parametrize(
    "value",
    [None, "rate", [], {}, {"name": "rate"}, {"name": "rate", "time_steps": "many"},
     {"name": "rate", "time_steps": 4, "constants": 3}, {"name": "rate", "time_steps": 0},
     {"name": "latency", "time_steps": 4, "constants": {"threshold": float("nan")}}],
)  # fmt: skip
def test_bad_json(value):
    with pytest.raises(InputError):
        Encoder.from_json(value)
