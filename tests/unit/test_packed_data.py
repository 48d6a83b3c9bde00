"""Data sets in files of other people: damaged, lying or odd ones are named, and never unpacked."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zlib

import numpy as np
import pytest

from snn2hw import datasets
from snn2hw.archives import ALLOWANCE, gunzip
from snn2hw.datasets.cifar import MOST_MEMBERS
from snn2hw.errors import InputError

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNN2HW_DATA", raising=False)


def chunk(kind, content):
    packed = struct.pack(">I", len(content)) + kind + content
    return packed + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, lines=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts)


def saved(image, kind="PNG", **options):
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


grey = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
coloured = Image.fromarray(noise)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n%%EOF\n"

BAD_IMAGES = {
    "text": b"no image",
    "empty": b"",
    "cut short": saved(grey)[:-30],
    "cut short.jpg": saved(coloured, "JPEG")[:-20],
    "cut short.gif": saved(grey, "GIF")[:-9],
    "cut short.tif": saved(coloured, "TIFF")[:-9],
    "cut short.webp": saved(coloured, "WEBP", lossless=True)[:-9],
    "cut short.bmp": saved(coloured, "BMP")[:-9],
    "cut short.ppm": saved(coloured, "PPM")[:-9],
    "bomb": png(30_000, 30_000, bytes(30_001)),
    "bomb that Pillow only warns of": png(10_000, 10_000, bytes(10_001)),
    "beyond any size": png(2**31 - 1, 2**31 - 1),
    "no width": png(0, 4),
    "wrong size": png(6, 4, bytes(3)),
    "16 bits": saved(Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6))),
    "16 bits.pgm": b"P5 6 4 65535\n" + bytes(48),
    "pixels as text.pgm": b"P2 6 4 255 " + b"7 " * 24,
    "pixels as text.ppm": b"P3\n#\n6 4 255 " + b"7 " * 72,
    "32 bits.tif": saved(Image.fromarray(np.arange(24, dtype=np.int32).reshape(4, 6)), "TIFF"),
    "fractions.tif": saved(Image.fromarray(np.ones((4, 6), np.float32)), "TIFF"),
    "moves.gif": saved(grey, "GIF", save_all=True, append_images=[grey.rotate(180)]),
    "moves": saved(coloured, save_all=True, append_images=[coloured.rotate(180)]),
    "moves.webp": saved(coloured, "WEBP", save_all=True, append_images=[coloured.rotate(180)]),
    "pages.tif": saved(coloured, "TIFF", save_all=True, append_images=[coloured]),
    "a program for a printer": EPS,
    "another size": saved(Image.new("L", (3, 3), 5)),
}


def folder_with(tmp_path, name, content):
    for part in ("train", "test"):
        for n, label in enumerate("ab"):
            place = tmp_path / part / label
            place.mkdir(parents=True)
            Image.fromarray(np.full((4, 6), 9 * n, np.uint8)).save(place / "0.png")
    name = name if "." in name else f"{name}.png"
    (tmp_path / "train" / "a" / name.replace(" ", "-")).write_bytes(content)
    return f"image-folder:{tmp_path}"


@pytest.mark.parametrize(("name", "content"), BAD_IMAGES.items(), ids=BAD_IMAGES)
def test_a_file_that_is_no_plain_image_is_named(tmp_path, name, content):
    with pytest.raises(InputError, match=name.replace(" ", "-")) as caught:
        datasets.load(folder_with(tmp_path, name, content))
    assert "0x" not in str(caught.value)  # of some object in memory


ODD_IMAGES = {
    "palette": saved(coloured.convert("P")),
    "transparent palette": saved(coloured.convert("P"), transparency=bytes(range(99))),
    "one bit": saved(coloured.convert("1")),
    "alpha": saved(coloured.convert("RGBA")),
    "grey alpha": saved(grey.convert("LA")),
    "ink.jpg": saved(coloured.convert("CMYK"), "JPEG"),
    "no png": saved(coloured, "JPEG"),
    "exif.jpg": saved(coloured, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\xff"),
    "one frame.gif": saved(grey, "GIF"),
    "one page.tif": saved(coloured, "TIFF", compression="tiff_deflate"),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, in the line that it is compared with
@pytest.mark.parametrize(("name", "content"), ODD_IMAGES.items(), ids=ODD_IMAGES)
def test_odd_images_are_read_as_pillow_has_them(tmp_path, name, content):
    data = datasets.load(folder_with(tmp_path, name, content))
    (mine,) = data.x_train[data.y_train == 0][[data.x_train[:, 0].any((1, 2)).argmax()]]
    expected = Image.open(io.BytesIO(content)).convert("L" if len(mine) == 1 else "RGB")
    assert np.array_equal(mine.transpose(1, 2, 0), np.asarray(expected).reshape(4, 6, -1))


def test_what_is_no_file_is_named_and_so_is_every_problem(tmp_path):
    where = folder_with(tmp_path, "text", b"no image")
    (tmp_path / "test" / "a" / "1.png").mkdir()
    os.mkfifo(tmp_path / "test" / "b" / "pipe.png")
    with pytest.raises(InputError, match=r"text\.png .*1\.png is a folder.*pipe\.png is a pipe"):
        datasets.load(where)


def test_images_that_unpack_to_far_more_are_not_unpacked(tmp_path, monkeypatch):
    where = folder_with(tmp_path, "0", saved(Image.new("L", (6, 4))))
    monkeypatch.setattr("snn2hw.archives._most", lambda *_: 4 * 24 - 1)
    with pytest.raises(InputError, match="unpacks to 96 bytes"):
        datasets.load(where)


def idx(count=2, side=28, body=None, magic=2051):
    pixels = bytes(count * side * side) if body is None else body
    return struct.pack(">4I", magic, count, side, side) + pixels


BAD_IDX = {
    "text": b"no gzip",
    "empty": b"",
    "no IDX": gzip.compress(b"text"),
    "nothing in it": gzip.compress(b""),
    "half a header": gzip.compress(idx()[:9]),
    "floats": gzip.compress(idx(magic=0x0D03)),
    "rank 9": gzip.compress(idx(magic=0x0809)),
    "claims more": gzip.compress(idx(body=b"")),
    "claims 2^90": gzip.compress(idx(2**30, 2**30, body=bytes(99))),
    "claims less": gzip.compress(idx() + b"x"),
    "cut short": gzip.compress(idx())[:-4],
    "wrong checksum": gzip.compress(idx())[:-8] + bytes(8),
    "two members": gzip.compress(idx()) + gzip.compress(b"x"),
    "text after it": gzip.compress(idx()) + b"text",
    "a name without end": b"\x1f\x8b\x08\x08" + b"a" * 99_999,
}


@pytest.mark.parametrize("content", BAD_IDX.values(), ids=BAD_IDX)
def test_an_idx_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.gz"):
        datasets.read_idx(tmp_path / "a.gz")


def test_gzip_is_unpacked_only_so_far(tmp_path, monkeypatch):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(100_000)) + bytes(9))
    assert gunzip(tmp_path / "a.gz") == bytes(100_000)
    assert ALLOWANCE > 100_000
    monkeypatch.setattr("snn2hw.archives.ALLOWANCE", 10)
    with pytest.raises(InputError, match=r"a\.gz unpacks to [\d,]{5} bytes"):
        gunzip(tmp_path / "a.gz")


FOLDER = "cifar-10-batches-bin"
BATCHES = [f"{FOLDER}/data_batch_{i}.bin" for i in range(1, 6)] + [f"{FOLDER}/test_batch.bin"]
RECORDS = np.random.default_rng(0).integers(0, 10, (3, 3073), np.uint8).tobytes()


def tar(**changes):
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in (*(["x"] * changes.pop("before", 0)), *BATCHES):
            info = tarfile.TarInfo(name)
            info.size = len(RECORDS)
            if name == BATCHES[2]:
                for key, value in changes.items():
                    setattr(info, key, value)
            archive.addfile(info, io.BytesIO(RECORDS + bytes(changes.get("size", 0))))
    return memory.getvalue()


BAD_TARS = {
    "no gzip": tar(),
    "text": gzip.compress(b"text" * 999),
    "cut short": gzip.compress(tar())[:-20],
    "cut inside": gzip.compress(tar()[:9000]),
    "a link": gzip.compress(tar(type=tarfile.SYMTYPE, linkname=BATCHES[2], size=0)),
    "a hard link": gzip.compress(tar(type=tarfile.LNKTYPE, linkname=BATCHES[1], size=0)),
    "a device": gzip.compress(tar(type=tarfile.CHRTYPE, size=0)),
    "sparse": gzip.compress(tar(type=tarfile.GNUTYPE_SPARSE)),
    "another name": gzip.compress(tar(name=f"{FOLDER}/../{FOLDER}/data_batch_3.bin")),
    "not of records": gzip.compress(tar(size=3074)),
    "one byte more than a record": gzip.compress(tar(size=len(RECORDS) + 1)),
    "wrong checksum": gzip.compress(tar().replace(b"data_batch_3", b"data_batch_4")),
    "after a hundred others": gzip.compress(tar(before=MOST_MEMBERS)),
    "a huge member": gzip.compress(tar()[:156] + b"L" + tar()[157:]),
}


@pytest.mark.parametrize("content", BAD_TARS.values(), ids=BAD_TARS)
def test_an_archive_of_cifar_that_is_none_is_named(tmp_path, content):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"cifar-10-binary\.tar\.gz"):
        datasets.load("cifar10", tmp_path)


def sheets(folder, **files):
    good = saved(Image.new("RGB", (32, 64), (1, 2, 3)), "WEBP", lossless=True)
    labels = io.BytesIO()
    np.save(labels, np.arange(2))
    for part in ("train", "test"):
        (folder / f"{part}-000.webp").write_bytes(files.get("sheet", good))
        (folder / f"{part}_labels.npy").write_bytes(files.get("labels", labels.getvalue()))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"sheet": b"text"}, r"train-000\.webp"),
        ({"sheet": saved(Image.new("RGB", (64, 32)), "WEBP")}, r"train-000\.webp has 64 x 32"),
        ({"sheet": saved(Image.new("RGB", (32, 33)), "WEBP")}, r"train-000\.webp has 32 x 33"),
        ({"labels": b"text"}, r"train_labels\.npy"),
        ({"labels": b""}, r"train_labels\.npy"),
    ],
)
def test_sheets_of_cifar_that_are_none_are_named(tmp_path, files, said):
    sheets(tmp_path, **files)
    with pytest.raises(InputError, match=said):
        datasets.load("cifar10", tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(3),
        np.array(1),
        np.array([0, 10]),
        np.array([0.0, 1.0]),
        np.array(["a", "b"]),
        np.array([[0, 1]]),
        np.array([0, None]),
    ],
)
def test_labels_of_cifar_that_are_none_are_named(tmp_path, labels):
    memory = io.BytesIO()
    np.save(memory, labels)
    sheets(tmp_path, labels=memory.getvalue())
    with pytest.raises(InputError, match=r"train_labels\.npy|y_train"):
        datasets.load("cifar10", tmp_path)
