import gzip
import io
import re
import struct
import sys
import tarfile
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest

from snn2hw import datasets
from snn2hw.datasets import images
from snn2hw.encoders import ENCODERS
from snn2hw.errors import InputError


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNN2HW_DATA", raising=False)


@pytest.fixture
def offline(monkeypatch):
    def retrieve(url, *_args, **_kwargs):
        raise OSError(f"no route to {url}")

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))


def test_digits():
    data = datasets.load("digits")
    assert data.x_train.shape == (1198, 1, 8, 8)
    assert data.x_test.shape == (599, 1, 8, 8)
    assert data.x_train.dtype == np.uint8
    assert data.y_train.dtype == np.int64
    assert (data.classes, data.max_value, data.frames) == (10, 16, None)
    assert data.x_train.max() == 16
    counts = np.bincount(data.y_test)
    assert counts.min() >= 58
    again = datasets.load("digits")
    assert np.array_equal(again.x_test, data.x_test)
    rows = {r.tobytes() for r in data.x_train}
    assert not any(r.tobytes() in rows for r in data.x_test)


def test_a_validation_part_is_of_the_training_data_alone():
    data, choice = datasets.load("digits"), datasets.load("digits@validation")
    tested = {x.tobytes() for x in data.x_test}
    trained = [x.tobytes() for x in data.x_train]
    parts = [x.tobytes() for x in (*choice.x_train, *choice.x_test)]
    assert sorted(parts) == sorted(trained)
    assert not tested & set(parts)
    assert not {x.tobytes() for x in choice.x_train} & {x.tobytes() for x in choice.x_test}
    each, held = np.bincount(data.y_train), np.bincount(choice.y_test)
    assert (held == each // 10).all()
    assert choice.name == "digits@validation"
    assert "116 of 1,198 training samples are held out" in choice.note
    again = datasets.load("digits@validation")
    assert np.array_equal(again.x_test, choice.x_test)
    assert np.array_equal(again.y_train, choice.y_train)


def test_a_class_of_one_sample_is_trained_on():
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    x = np.stack([image + i for i in range(6)])
    y = np.array([0, 0, 1, 2, 2, 2])
    data = datasets.Dataset("mine", x, y, x[:3], np.array([0, 1, 2]), 3, 9)
    choice = data.without_test("mine@validation")
    assert np.bincount(choice.y_test, minlength=3).tolist() == [1, 0, 1]
    assert np.bincount(choice.y_train).tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("digits@validation", ("digits", "", {})),
        ("events:clips,window=5@validation", ("events", "clips", {"window": "5"})),
        ("npz:a@b.npz@validation", ("npz", "a@b.npz", {})),
    ],
)
def test_a_validation_part_is_part_of_a_name(name, parts):
    assert datasets.split(name) == parts
    assert datasets.find(name) is datasets.find(datasets.whole(name))
    assert datasets.are_recordings(name) == datasets.are_recordings(datasets.whole(name))
    with pytest.raises(InputError, match="digitz"):
        datasets.find("digitz@validation")


def test_options_of_a_name_come_before_its_part():
    name = datasets.with_options("events:clips,window=5@validation", {"downsample": "2"})
    assert name == "events:clips,window=5,downsample=2@validation"


def write_idx(folder, count=20, test=8):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", count), ("t10k", test)):
        pixels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        images = struct.pack(">4I", 2051, n, 28, 28) + pixels.tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        packed = struct.pack(">2I", 2049, n) + labels.tobytes()
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(packed))


@pytest.mark.parametrize("place", ["option/mnist", "option", "environment/mnist", "cache/mnist"])
def test_idx_is_found_where_promised(tmp_path, monkeypatch, place):
    write_idx(tmp_path / place)
    monkeypatch.setenv("SNN2HW_DATA", str(tmp_path / "environment"))
    data = datasets.load("mnist", tmp_path / "option")
    assert data.x_train.shape == (20, 1, 28, 28)
    assert data.max_value == 255
    assert data.y_test.tolist() == list(range(8))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"plain text",
        lambda raw: gzip.compress(b"\0\0\x0d\x03" + bytes(12)),
        lambda raw: gzip.compress(struct.pack(">4I", 2051, 2**31, 2**15, 2**15)),
        lambda raw: gzip.compress(gzip.decompress(raw)[:-1]),
        lambda raw: gzip.compress(gzip.decompress(raw) + b"x"),
        lambda raw: raw[:-30],
        lambda raw: b"",
    ],
)
def test_broken_idx_is_named(tmp_path, spoil):
    write_idx(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        datasets.load("mnist", tmp_path)


def test_missing_files_name_the_folders(tmp_path, offline):
    for name in ("mnist", "cifar100"):
        with pytest.raises(InputError) as caught:
            datasets.load(name, tmp_path / "mine")
        assert str(tmp_path / "mine" / name) in caught.value.message
        assert str(tmp_path / "cache") in caught.value.message
        assert "no route" in caught.value.message
        assert "SNN2HW_DATA" in caught.value.hint


@pytest.mark.parametrize(
    ("package", "name"), [("sklearn", "digits"), ("pooch", "mnist"), ("PIL", "image-folder:.")]
)
def test_missing_package_names_the_extra(tmp_path, monkeypatch, package, name):
    for part in ("train", "test"):
        folder = tmp_path / part / "a"
        folder.mkdir(parents=True)
        (folder / "x.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"snn2hw\[data\]"):
        datasets.load(name)


@pytest.mark.parametrize("name", ["mnits", "mnist:x", "npz", "image-folder:", ""])
def test_bad_names(name):
    with pytest.raises(InputError):
        datasets.load(name)
    with pytest.raises(InputError, match="Did you mean 'mnist'"):
        datasets.load("mnits")


def cifar_records(n, label_bytes):
    rng = np.random.default_rng(1)
    records = rng.integers(0, 256, (n, label_bytes + 3072), dtype=np.uint8)
    records[:, :label_bytes] = 0
    records[:, label_bytes - 1] = np.arange(n) % 10
    return records


def test_cifar_archive_and_batches(tmp_path):
    records = cifar_records(6, 1)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    archive = tmp_path / "a" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            tar.addfile(info, io.BytesIO(records.tobytes()))
    packed = datasets.load("cifar10", tmp_path / "a")
    folder = tmp_path / "b" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(records.tobytes())
    loose = datasets.load("cifar10", tmp_path / "b")
    for data in (packed, loose):
        assert data.x_train.shape == (30, 3, 32, 32)
        assert np.array_equal(data.x_test.reshape(6, -1), records[:, 1:])
        assert data.y_test.tolist() == list(range(6))
    (folder / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(InputError, match="records of 3073"):
        datasets.load("cifar10", tmp_path / "b")
    archive.write_bytes(b"not a tar")
    with pytest.raises(InputError, match="download it again"):
        datasets.load("cifar10", tmp_path / "a")


def test_cifar100_has_fine_labels(tmp_path):
    folder = tmp_path / "cifar100" / "cifar-100-binary"
    folder.mkdir(parents=True)
    records = cifar_records(4, 2)
    records[:, 1] = [7, 99, 0, 3]
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(records.tobytes())
    data = datasets.load("cifar100", tmp_path)
    assert data.y_train.tolist() == [7, 99, 0, 3]
    assert data.classes == 100


def test_cifar_sheets(tmp_path):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "cifar-10"
    folder.mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    for part in ("train", "test"):
        sheet = image.fromarray(pixels.reshape(-1, 32, 3))
        sheet.save(folder / f"{part}-000.webp", lossless=True)
        np.save(folder / f"{part}_labels.npy", np.arange(5, dtype=np.uint8))
    data = datasets.load("cifar10", tmp_path)
    assert np.array_equal(data.x_train, pixels.transpose(0, 3, 1, 2))


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for part, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = np.full((4, 6), 100 * label + n, np.uint8)
                image.fromarray(pixels).save(tmp_path / part / name / f"{n}.png")
    return tmp_path


def test_image_folder(folder):
    data = datasets.load(f"image-folder:{folder}")
    assert data.x_train.shape == (6, 1, 4, 6)
    assert data.y_train.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.x_train[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]
    assert data.max_value == 255


def test_a_damaged_image_does_not_decide_on_memory(tmp_path):
    """Pillow asks for as many bytes as a chunk says that it has."""
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.png"
    image.new("RGB", (5, 5)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + struct.pack(">I", 0x7FFFFFF0) + b"iCCP" + whole[33:])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.png"):
            images.pixels(path, "RGB")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 << 20
    with path.open("wb") as file:
        file.truncate(images.MOST_BYTES + 1)
    with pytest.raises(InputError, match="takes 536870913 bytes"):
        images.pixels(path, "RGB")


def test_image_folder_refusals(folder):
    image = pytest.importorskip("PIL.Image")
    odd = folder / "train" / "dog" / "odd.png"
    image.new("RGB", (5, 5)).save(odd)
    with pytest.raises(InputError, match="differ in size"):
        datasets.load(f"image-folder:{folder}")
    odd.write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"odd\.png"):
        datasets.load(f"image-folder:{folder}")
    odd.unlink()
    (folder / "train" / "emu").mkdir()
    with pytest.raises(InputError, match="holds no images of emu"):
        datasets.load(f"image-folder:{folder}")
    (folder / "train" / "emu").rmdir()
    (folder / "test" / "bird").mkdir()
    with pytest.raises(InputError, match="bird"):
        datasets.load(f"image-folder:{folder}")
    with pytest.raises(InputError, match="DIR/train"):
        datasets.load(f"image-folder:{folder}/nowhere")


X = np.arange(6 * 12, dtype=np.uint8).reshape(6, 1, 3, 4)
Y = np.array([0, 1, 2, 0, 1, 2])
GOOD = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", **GOOD)
    data = datasets.load(f"npz:{tmp_path / 'a.npz'}")
    assert data.x_train.dtype == np.uint8
    assert (data.classes, data.max_value, data.shape) == (3, 71, (1, 3, 4))
    frames = np.repeat(X[:, None], 5, 1).astype(float)
    np.savez(tmp_path / "b.npz", **{**GOOD, "x_train": frames, "x_test": frames[:2]})
    data = datasets.load(f"npz:{tmp_path / 'b.npz'}")
    assert (data.frames, data.shape, data.x_train.dtype) == (5, (1, 3, 4), np.uint8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x_train": X[0, 0]}, r"x_train has shape \(3, 4\)"),
        ({"x_train": X[:0]}, "x_train has shape"),
        ({"x_train": X * 0.5}, "fractions"),
        ({"x_train": np.where(X > 3, np.nan, X)}, "68 values that are NaN"),
        ({"x_train": X.astype(int) - 1}, "from -1 to 70"),
        ({"x_train": X.astype(int) * 10**6}, "outside 0 to 65535"),
        ({"x_test": X[:2, :, :2]}, "x_test"),
        ({"x_train": X.astype("U3")}, "<U3, not plain numbers"),
        ({"y_train": Y[:4]}, "x_train has 6 samples, y_train has 4"),
        ({"y_train": Y * 1.0}, "float64, not integers"),
        ({"y_train": Y - 1}, "from -1 to 1"),
        ({"y_test": np.array([0, 10**9])}, "y_test runs from 0"),
        ({"y_train": Y * 0}, "one class"),
        ({"y_train": Y[:, None]}, r"y_train has shape \(6, 1\)"),
        ({"y_test": Y[:0], "x_test": X[:0]}, r"x_test has shape.*y_test has shape \(0,\)"),
        ({"y_test": Y[:2] + 3}, "y_test holds what y_train lacks: 3, 4"),
        ({"y_train": Y * 2, "y_test": Y[:2] * 2}, "y_train goes to 4 without 1, 3"),
        ({"x_train": X * 0 + 7}, "every pixel of x_train is 7"),
        ({"x_train": X.astype(complex)}, "complex128, not plain numbers"),
        ({"y_train": Y.astype(bool)}, "bool, not integers"),
        ({"x_train": X[:, None, None]}, "x_train has shape"),
        ({"x_train": np.where(X > 3, np.inf, X)}, "68 values that are NaN or infinite"),
    ],
)
def test_npz_refusals(tmp_path, change, said):
    path = tmp_path / "bad.npz"
    np.savez(path, **{**GOOD, **change})
    with pytest.raises(InputError, match=said):
        datasets.load(f"npz:{path}")


def test_npz_lists_every_problem(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, **{**GOOD, "x_train": X * 0.5, "y_test": Y[:1]})
    with pytest.raises(InputError, match=r"fractions.*y_test has 1"):
        datasets.load(f"npz:{path}")


def test_classes_without_test_samples_are_noted():
    data = datasets.checked("few", X, Y, X[:2], Y[:2])
    assert data.classes == 3
    assert data.note == "no test sample of 1 of 3 classes (2)"
    assert data.subset(1, 1).note == data.note
    data = datasets.checked("all", X, Y, X, Y, note="said")
    assert data.note == "said"
    many = datasets.checked("many", X, Y, X[:2], Y[:2], classes=100, note="said")
    assert many.note == (
        "said; no test sample of 98 of 100 classes (2, 3, 4, 5, 6, 7, 8, 9 and 90 more)"
    )


class Payload:
    def __reduce__(self):
        return (print, ("code from a file ran",))


def test_npz_of_other_kinds(tmp_path, capsys):
    np.savez(tmp_path / "pickle.npz", **{**GOOD, "x_train": np.array([Payload()], dtype=object)})
    np.savez(tmp_path / "short.npz", x_train=X, y_train=Y)
    (tmp_path / "text.npz").write_text("no zip")
    for name, said in (
        ("pickle", "objects, not plain numbers"),
        ("short", "lacks x_test, y_test"),
        ("text", "is not an npz file"),
        ("none", "There is no file"),
    ):
        with pytest.raises(InputError, match=said):
            datasets.load(f"npz:{tmp_path / name}.npz")
    assert "ran" not in capsys.readouterr().out


def test_npz_too_large_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", **GOOD)
    monkeypatch.setattr("snn2hw.archives.LARGEST", 100)
    with pytest.raises(InputError, match="unpacks to 160 bytes"):
        datasets.load(f"npz:{tmp_path / 'bomb.npz'}")


def test_every_row_says_where_it_is_from():
    for entry in datasets.DATASETS.values():
        assert entry.description
        assert entry.source
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for name in [*datasets.DATASETS, *ENCODERS]:
        assert f"`{name}" in page
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found = {}
    exec(example, found)
    assert found["shown"].shape == (5, 8, 1, 8, 8)
    for remotes in datasets.IDX_REMOTES.values():
        for remote in remotes.values():
            assert len(remote.sha256) == 64
            assert remote.urls


def test_no_torch():
    import subprocess

    code = "import sys, snn2hw.datasets, snn2hw.pipeline.samples; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_time_series_are_frames_of_features(tmp_path):
    r = np.random.default_rng(0)
    x, y = r.integers(0, 9, (30, 12, 5)), np.arange(30) % 3
    np.savez(tmp_path / "series.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    found = datasets.load(f"npz:{tmp_path / 'series.npz'}")
    assert (found.shape, found.frames) == ((5, 1, 1), 12)
    assert (found.x_test[..., 0, 0] == x[20:]).all()
