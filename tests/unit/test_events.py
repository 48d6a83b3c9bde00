"""Recordings as frames: every event is counted once, in its time and place."""

from __future__ import annotations

import sys
from importlib import import_module

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import packed_recordings, spoken_digits
from shared import DATA, needs_data

from snn2hw import datasets
from snn2hw.datasets.dataset import Request
from snn2hw.datasets.events import (
    SENSORS,
    Events,
    chosen_for_test,
    frames,
    load_from_tonic,
)
from snn2hw.errors import InputError

SIZE = (2, 3, 4)


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNN2HW_DATA", raising=False)


@st.composite
def recordings(draw):
    count = draw(st.integers(1, 40))
    r = np.random.default_rng(draw(st.integers(0, 999)))
    span = draw(st.sampled_from([1, 3, 1000, 10**9]))
    t = r.integers(0, span, count) + draw(st.sampled_from([0, 12345]))
    return Events(t, *(r.integers(0, n, count) for n in SIZE))


@given(recordings(), st.integers(1, 7))
@settings(max_examples=60)
def test_frames_count_every_event_in_its_time(recording, steps):
    found = frames(recording, SIZE, steps)
    first, last = int(recording.t.min()), int(recording.t.max())
    expected = np.zeros((steps, *SIZE), int)
    for t, p, y, x in zip(*recording, strict=True):
        step = next(s for s in range(steps) if (t - first) * steps < (s + 1) * (last - first + 1))
        expected[step, p, y, x] += 1
    assert np.array_equal(found, expected)
    fine = frames(recording, SIZE, 2 * steps).astype(int)
    assert np.array_equal(fine[::2] + fine[1::2], found)


def test_frames_at_the_limits():
    nothing = np.zeros(0, int)
    assert not frames(Events(nothing, nothing, nothing, nothing), SIZE, 3).any()
    many = np.zeros(300, int)
    found = frames(Events(many, many, many, many), SIZE, 2)
    assert (found[0, 0, 0, 0], found.sum()) == (255, 255)
    one = np.array([0])
    for outside in (Events(one, one + 2, one, one), Events(one, one, one - 1, one)):
        with pytest.raises(InputError, match="outside its sensor of 2 x 3 x 4"):
            frames(outside, SIZE, 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=200))
def test_test_part_is_the_published_one_filled_up(rows):
    labels, published = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    tested = chosen_for_test(labels, published)
    assert tested[published].all()
    for label in np.unique(labels):
        mine = labels == label
        count = int((mine & published).sum())
        assert (tested & mine).sum() == max(count, min(25, mine.sum()))
        left = np.flatnonzero(mine & ~published)
        assert (np.diff(tested[left].astype(int)) >= 0).all()  # the last ones


def test_packed_recordings(tmp_path, monkeypatch):
    folder = tmp_path / "events" / "n-mnist"
    folder.mkdir(parents=True)
    packed = packed_recordings(folder / "nmnist_subset.npz")
    data = datasets.load("nmnist", tmp_path)
    assert data.x_train.shape == (28, 10, 2, 34, 34)
    assert data.x_test.shape == (50, 10, 2, 34, 34)
    assert (data.classes, data.x_train.dtype) == (10, np.uint8)
    assert int(data.x_train.sum() + data.x_test.sum()) == len(packed["x"])
    assert data.note.startswith("a subset of N-MNIST: 28 training and 50 test recordings, of these")
    assert "8 of the published test part and 42 of its" in data.note
    assert data.note.endswith("no test sample of 8 of 10 classes (0, 1, 2, 3, 4, 5, 6, 7)")
    short = datasets.load("nmnist", tmp_path, time_steps=5)
    assert np.array_equal(short.x_test, data.x_test[:, ::2] + data.x_test[:, 1::2])
    monkeypatch.setattr("snn2hw.datasets.events.LARGEST_ARRAY", 100)
    with pytest.raises(InputError, match=r"in 10 steps takes .* kB.*fewer --time-steps"):
        datasets.load("nmnist", tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        {"start": np.array([0, 1])},
        {"label": np.zeros(3, int)},
        {"dt": np.zeros(7, np.uint32)},
        {"p": np.zeros((2, 2), np.uint8)},
        {"x": "half"},
        {"start": "down"},
        {"start": np.zeros(0, int)},
        {"start": np.array(0)},
        {"start": "unsigned"},
        {"dt": "negative"},
        {"dt": "endless"},
        {"label": "texts"},
        {"label": "beyond"},
        {"label": np.array([-1, 2, 2])},
        {"is_test": np.array(1)},
    ],
)
def test_broken_packed_recordings(tmp_path, spoil):
    path = tmp_path / "nmnist_subset.npz"
    packed = packed_recordings(path)
    ((key, value),) = spoil.items()
    if isinstance(value, str):
        old = packed[key]
        value = {
            "half": old * 0.5,
            "down": old[::-1],
            "unsigned": old[::-1].astype(np.uint64),
            "negative": -old.astype(int) - 1,
            "endless": old.astype(np.uint64) + 2**63,
            "texts": old.astype(str),
            "beyond": old.astype(int) + 10,
        }[value]
    np.savez(path, **(packed | {key: value}))
    with pytest.raises(InputError, match=r"nmnist_subset\.npz.*(does not hold packed|not plain)"):
        datasets.load("nmnist", tmp_path)
    np.savez(path, x=packed["x"])
    with pytest.raises(InputError, match="lacks y, p, dt, start, label, is_test"):
        datasets.load("nmnist", tmp_path)


def test_recordings_whose_times_cannot_be_counted():
    zero = np.zeros(2, int)
    for t, said in (
        (np.array([0, np.nan]), "no number, or too large"),
        (np.array([0, 1e20]), "no number, or too large"),
        (np.array([-(2**62), 2**62]), "lasts 9223372036854775809 units of time"),
    ):
        with pytest.raises(InputError, match=said):
            frames(Events(t, zero, zero, zero), SIZE, 2)


def test_more_frames_than_a_file_has_recordings_for_are_not_made(tmp_path, monkeypatch):
    packed_recordings(tmp_path / "nmnist_subset.npz", events=4)
    monkeypatch.setattr("snn2hw.archives.ALLOWANCE", 0)
    with pytest.raises(InputError, match=r"nmnist_subset\.npz unpacks to"):
        datasets.load("nmnist", tmp_path)


@needs_data
def test_real_recordings():
    data = datasets.load("nmnist", DATA, time_steps=5)
    assert data.x_train.shape == (600, 5, 2, 34, 34)
    assert np.bincount(data.y_test).tolist() == [25] * 10
    assert int(data.x_train.sum(dtype=int) + data.x_test.sum(dtype=int)) == 3_464_177
    assert "50 of the published test part and 200 of its training part" in data.note
    assert datasets.default_time_steps("nmnist") == 10
    assert datasets.default_time_steps("digits") is None


@pytest.mark.parametrize("name", list(SENSORS))
def test_without_tonic(monkeypatch, name):
    for module in ("tonic", "tonic.datasets"):  # the second may have been imported before
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"needs the package 'tonic'.*snn2hw\[events\]"):
        datasets.load(name)


def test_tonic_cannot_download(tmp_path, monkeypatch):
    pytest.importorskip("tonic")

    def unreachable(*_args, **_kwargs):
        raise OSError("no route")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    for name, sensor in SENSORS.items():
        with pytest.raises(InputError, match="no route") as caught:
            datasets.load(name, tmp_path / "mine")
        assert str(tmp_path / "mine" / sensor.tonic) in caught.value.message


def test_shd(tmp_path):
    written = spoken_digits(tmp_path / "SHD", np.random.default_rng(0))
    data = datasets.load("shd", tmp_path)
    assert data.x_train.shape == (4, 100, 700, 1, 1)
    labels = (data.y_train.tolist(), data.y_test.tolist(), data.classes)
    assert labels == ([0, 1, 19, 3], [3, 0], 20)
    assert np.array_equal(data.x_train.sum(1)[..., 0, 0], written["train"])
    assert np.array_equal(data.x_test.sum(1)[..., 0, 0], written["test"])


def test_shd_has_the_frames_of_tonic(tmp_path):
    pytest.importorskip("tonic")
    spoken_digits(tmp_path / "SHD", np.random.default_rng(1))
    for part in ("train", "test"):  # Tonic looks for what it would have fetched
        (tmp_path / "SHD" / f"shd_{part}.h5.zip").touch()
    ours = datasets.load("shd", tmp_path, time_steps=7)
    theirs = load_from_tonic(Request("shd", data_dir=tmp_path, time_steps=7))
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(ours, part), getattr(theirs, part))


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"labels": np.array([20, 0])}, "labels runs from 0 to 20"),
        ({"labels": np.array([1])}, "labels, times and units differ in number"),
        ({"labels": np.array([0.5, 1])}, "labels holds float64, not integers"),
        ({"labels": "zero"}, "it has no labels"),
        ({"units": [np.arange(3), np.arange(2)]}, "labels, times and units differ in number"),
        ({"units": [np.full(2, 700)] * 2}, "events outside its sensor"),
        ({"times": [np.full(2, np.nan)] * 2}, "no number, or too large"),
        ({"times": [np.full(2, np.inf)] * 2}, "no number, or too large"),
    ],
)
def test_shd_that_is_none(tmp_path, changed, part):
    two = {"times": [np.ones(2)] * 2, "units": [np.ones(2, int)] * 2, "labels": np.array([0, 1])}
    spoken_digits(tmp_path / "SHD", np.random.default_rng(0), **two | changed)
    with pytest.raises(InputError, match=r"shd_train\.h5") as caught:
        datasets.load("shd", tmp_path)
    assert part in caught.value.message


def test_a_long_sequence_that_is_given_often_is_refused(tmp_path):
    # The references of all sequences are made to lead to one.
    path, long = tmp_path / "SHD" / "shd_train.h5", np.arange(200_000) % 700
    spoken_digits(path.parent, np.random.default_rng(0))
    with h5py.File(path, "w") as file:
        for name in ("times", "units"):
            made = file.create_dataset(f"spikes/{name}", (1000,), h5py.vlen_dtype(np.uint16))
            made[0] = long
            file.flush()
            at = made.id.get_offset()
        file["labels"] = np.zeros(1000, int)
    content = bytearray(path.read_bytes())
    content[at : at + 16_000] = content[at : at + 16] * 1000
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"spikes/units|more memory than") as caught:
        datasets.load("shd", tmp_path)
    assert "shd_train.h5" in caught.value.message


def test_nmnist_through_tonic(tmp_path, monkeypatch):
    pytest.importorskip("tonic")
    # Files of 40-bit events as published, though only two of each part.
    monkeypatch.setattr(import_module("tonic.datasets").NMNIST, "_check_exists", lambda _self: True)
    packed_recordings(tmp_path / "nmnist_subset.npz")  # the whole data set comes first
    for part in ("Train", "Test"):
        for label in (2, 7):
            folder = tmp_path / "NMNIST" / part / str(label)
            folder.mkdir(parents=True)
            x, y, p, t = [1, 33, 5], [label, 0, 33], [0, 1, 1], [10, 2000, 300_000]
            rows = [
                (x[i], y[i], p[i] << 7 | t[i] >> 16, t[i] >> 8 & 255, t[i] & 255) for i in range(3)
            ]
            (folder / "00001.bin").write_bytes(np.array(rows, np.uint8).tobytes())
    data = datasets.load("nmnist", tmp_path, time_steps=3)
    assert data.y_train.tolist() == [2, 7]
    for x, label in zip(data.x_train, data.y_train, strict=True):
        assert np.argwhere(x).tolist() == [[0, 0, label, 1], [0, 1, 0, 33], [2, 1, 33, 5]]
    assert "subset" not in data.note
