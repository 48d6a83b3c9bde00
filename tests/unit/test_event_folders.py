"""Folders of recordings as data sets, and data sets that are named in part."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from recorded import some_events, write

from snn2hw import datasets
from snn2hw.datasets import event_folder, naming
from snn2hw.errors import InputError
from snn2hw.recordings import Events

WIDTH, HEIGHT = 12, 10


def clip(path, seed=0, microseconds=1000, size=(WIDTH, HEIGHT), width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    events = some_events(50, width, HEIGHT, microseconds, seed)
    t = np.concatenate([[0], events.t[1:-1], [microseconds - 1]])
    write(path, Events(t, *events[1:]), size)
    return Events(t, *events[1:])


@pytest.fixture
def folder(tmp_path):
    """Two classes of six recordings each, in three formats."""
    for name in ("left", "right"):
        for i, suffix in enumerate((".bin", ".dat", ".raw") * 2):
            clip(tmp_path / name / f"{i}{suffix}", seed=i)
    (tmp_path / "left" / "notes.txt").write_text("about them")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def only(folder, suffix):
    for path in folder.rglob("*.*"):
        if path.is_file() and path.suffix != suffix:
            path.unlink()


def test_the_last_of_each_class_are_for_test(folder):
    only(folder, ".dat")
    data = datasets.load(f"events:{folder}", time_steps=4)
    assert data.x_train.shape == (2, 4, 2, HEIGHT, WIDTH)
    assert data.x_train.dtype == np.uint8
    assert (data.y_train.tolist(), data.y_test.tolist(), data.classes) == ([0, 1], [0, 1], 2)
    assert int(data.x_train.sum()), int(data.x_test.sum()) == (100, 100)
    assert np.array_equal(data.x_test[0], data.x_test[1])
    assert "the last fifth of each class by name is for test, 2 of 4 recordings" in data.note
    assert "off events are channel 0, on events channel 1" in data.note
    assert datasets.load(f"events:{folder}").frames == 16


def test_folders_for_training_and_test(tmp_path):
    for part, count in (("Train", 3), ("Test", 1)):
        for label in "ab":
            for i in range(count):
                clip(tmp_path / part / label / f"{i}.bin", seed=i)
    data = datasets.load(f"events:{tmp_path}", time_steps=5)
    assert (len(data.x_train), len(data.x_test)) == (6, 2)
    assert "for test" not in data.note
    assert f"all events lie in {WIDTH} x {HEIGHT} pixels" in data.note
    clip(tmp_path / "Test" / "c" / "0.bin")
    with pytest.raises(InputError, match="classes that train lacks: c"):
        datasets.load(f"events:{tmp_path}")


def test_options_behind_the_name(folder):
    only(folder, ".dat")
    whole = datasets.load(f"events:{folder}", time_steps=4)
    merged = datasets.load(f"events:{folder},polarity=merged,downsample=2", time_steps=4)
    assert merged.shape == (1, HEIGHT // 2, WIDTH // 2)
    added = whole.x_train.sum(axis=2, keepdims=True)
    added = added.reshape(2, 4, 1, HEIGHT // 2, 2, WIDTH // 2, 2).sum((4, 6))
    assert np.array_equal(merged.x_train, added)
    cut = datasets.load(f"events:{folder},crop=2,3,4,5", time_steps=4)
    assert np.array_equal(cut.x_train, whole.x_train[..., 3:8, 2:6])
    assert "of 200 (" in cut.note
    assert "outside the crop" in cut.note


def test_a_window_gives_the_steps_of_the_longest(folder):
    only(folder, ".dat")
    clip(folder / "left" / "1.dat", microseconds=2500)
    name = f"events:{folder},window=0.5"
    assert datasets.default_time_steps(name) == 5
    data = datasets.load(name)
    assert data.frames == 5
    assert not data.x_train[1, 2:].any()  # 1 ms
    assert int(data.x_train.sum() + data.x_test.sum()) == 200
    short = datasets.load(name, time_steps=2)
    assert np.array_equal(short.x_train, data.x_train[:, :2])
    assert "events come after the last step" in short.note


def test_counts_stop_at_255_and_say_so(folder):
    only(folder, ".bin")
    many = Events(np.arange(300), *np.zeros((3, 300), int))
    write(folder / "left" / "0.bin", many)
    data = datasets.load(f"events:{folder}", time_steps=1)
    assert data.x_train.max() == 255
    assert "bins with events hold more than 255, and count as 255" in data.note


def test_sensors_of_several_sizes(folder):
    with pytest.raises(InputError, match=r"differ in size .*0\.bin does not say.*1\.dat has 12 x"):
        datasets.load(f"events:{folder}")
    data = datasets.load(f"events:{folder},crop=0,0,{WIDTH},{HEIGHT}", time_steps=2)
    assert len(data.x_train) + len(data.x_test) == 12
    assert int(data.x_train.sum() + data.x_test.sum()) == 600


def test_frames_of_a_network(folder):
    only(folder, ".bin")
    data = datasets.load(f"events:{folder}", shape=(1, 34, 34), time_steps=2)
    assert data.shape == (1, 34, 34)
    with pytest.raises(InputError, match=r"has events in 12 x 10 pixels.*takes 9 x 9"):
        datasets.load(f"events:{folder}", shape=(1, 9, 9))


def test_folders_that_are_no_data_set(folder, monkeypatch):
    with pytest.raises(InputError, match=r"no folder .*nowhere.*DIR/<class>/"):
        datasets.load(f"events:{folder}/nowhere")
    with pytest.raises(InputError, match=r"left holds no recordings in class folders.*\.aedat4"):
        datasets.load(f"events:{folder}/left")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="no recordings of empty to train on"):
        datasets.load(f"events:{folder}")
    (folder / "empty").rmdir()
    only(folder, ".bin")
    (folder / "left" / "0.bin").write_bytes(b"123")
    (folder / "right" / "3.bin").write_bytes(b"1234")
    with pytest.raises(InputError, match=r"left/0\.bin is not .*right/3\.bin is not"):
        datasets.load(f"events:{folder}")
    clip(folder / "left" / "0.bin")
    clip(folder / "right" / "3.bin")
    monkeypatch.setattr(event_folder, "LARGEST_ARRAY", 100)
    with pytest.raises(
        InputError, match=r"in 16 steps of 2 x 10 x 12 .*7\.7 kB.*fewer --time-steps"
    ):
        datasets.load(f"events:{folder}")


def test_one_recording_of_each_class(tmp_path):
    for label in "ab":
        clip(tmp_path / label / "0.bin")
    with pytest.raises(InputError, match="one recording of each class, and none is for test"):
        datasets.load(f"events:{tmp_path}")


def test_names_with_options():
    assert naming.split("events:a,b,window=5,crop=1,2,3,4") == (
        "events", "a,b", {"window": "5", "crop": "1,2,3,4"},
    )  # fmt: skip
    assert naming.split("npz:a,crop=1.npz") == ("npz", "a,crop=1.npz", {})
    assert naming.split("digits") == ("digits", "", {})
    told = naming.with_options("events:a,window=5", {"window": "2.5", "downsample": "2"})
    assert told == "events:a,window=2.5,downsample=2"
    assert naming.with_options("digits", {}) == "digits"
    with pytest.raises(InputError, match=r"--crop cannot be used with data 'digits'.*events:DIR"):
        naming.with_options("digits", {"crop": "1,2,3,4"})
    with pytest.raises(InputError, match=r"--resize cannot .*--data image-folder:DIR"):
        naming.with_options("events:a", {"resize": "3"})


def test_what_a_path_alone_is_meant_as(folder, tmp_path):
    (tmp_path / "pictures").mkdir()
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    for name, said in (
        (folder, f"is a folder. Write --data events:{folder}"),
        (tmp_path / "pictures", f"is a folder. Write --data image-folder:{tmp_path}/pictures"),
        (tmp_path / "a.npz", f"is a file. Write --data npz:{tmp_path}/a.npz"),
        (folder / "left" / "0.bin", "is a single recording. Write --input"),
        ("digit", "Did you mean 'digits'"),
    ):
        with pytest.raises(InputError) as caught:
            datasets.load(str(name))
        assert said in str(caught.value)


def test_images_of_mixed_sizes(tmp_path):
    sides = {"train/a/0": (8, 6), "train/b/0": (4, 4), "test/a/0": (8, 6), "test/b/0": (16, 3)}
    for i, (name, size) in enumerate(sides.items()):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("L", size, 40 * i + 10).save(path)
    with pytest.raises(InputError, match=r"8x6, .*4x4\. Give --resize 8,6 \(columns, rows\)"):
        datasets.load(f"image-folder:{tmp_path}")
    data = datasets.load(f"image-folder:{tmp_path},resize=5,7")
    assert data.shape == (1, 7, 5)
    assert [int(x.min()) for x in data.x_train] == [int(x.max()) for x in data.x_train] == [10, 50]
    assert datasets.load(f"image-folder:{tmp_path},resize=4").shape == (1, 4, 4)
    for wrong in ("0,3", "a", "1,2,3", "", "1.5"):
        with pytest.raises(InputError, match="not columns and rows"):
            datasets.load(f"image-folder:{tmp_path},resize={wrong}")
