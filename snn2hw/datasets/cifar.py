"""CIFAR-10 and CIFAR-100, in the binary version."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn2hw.archives import gunzip, read_npy
from snn2hw.datasets.checks import checked
from snn2hw.datasets.dataset import Dataset, Ints, Labels, Request
from snn2hw.datasets.images import pixels
from snn2hw.datasets.search import (
    Remote,
    candidates,
    find_or_download,
    folder_with,
)
from snn2hw.errors import InputError
from snn2hw.files import reading


class CifarFiles(NamedTuple):
    """Where one CIFAR lies: the archive, its batches, and bytes of labels before each image."""

    archive: str
    remote: Remote
    inside: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int
    classes: int


CIFAR = {
    "cifar10": CifarFiles(
        "cifar-10-binary.tar.gz",
        Remote(
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        ),
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        ("test_batch.bin",),
        1,
        10,
    ),
    "cifar100": CifarFiles(
        "cifar-100-binary.tar.gz",
        Remote(
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
        ),
        "cifar-100-binary",
        ("train.bin",),
        ("test.bin",),
        2,
        100,
    ),
}


def load_cifar(request: Request) -> Dataset:
    """Load one of ``CIFAR``: the archive, its unpacked batches, or sheets of WebP images."""
    name, data_dir = request.name, request.data_dir
    files = CIFAR[name]
    folders = (name, name.replace("cifar", "cifar-"))
    sheets = ["train_labels.npy", "test_labels.npy", "train-000.webp", "test-000.webp"]
    found = folder_with(candidates(data_dir, folders), sheets) if name == "cifar10" else None
    if found is not None:
        parts = (*_read_sheets(found, "train"), *_read_sheets(found, "test"))
        return checked(name, *parts, classes=files.classes, max_value=255)
    inside = (*(f"{f}/{files.inside}" for f in folders), files.inside)
    batches = folder_with(candidates(data_dir, inside), (*files.train, *files.test))
    if batches is not None:
        read: Callable[[str], bytes] = lambda file: (batches / file).read_bytes()  # noqa: E731
        parts = _cifar_parts(files, read, batches)
        return checked(name, *parts, classes=files.classes, max_value=255)
    folder = find_or_download(name, data_dir, folders, {files.archive: files.remote})
    parts = _read_cifar_archive(folder / files.archive, files)
    return checked(name, *parts, classes=files.classes, max_value=255)


def _read_sheets(folder: Path, part: str) -> tuple[Ints, Labels]:
    """Read images stacked vertically in lossless WebP files, 32 pixels wide."""
    sheets: list[Ints] = []
    for path in sorted(folder.glob(f"{part}-*.webp")):
        sheet = pixels(path, "RGB")
        if sheet.shape[1] != 32 or len(sheet) % 32:
            height, width, _ = sheet.shape
            raise InputError(f"{path} has {width} x {height} pixels, not 32 x a multiple of 32.")
        sheets.append(sheet.reshape(-1, 32, 32, 3))
    labels = read_npy(folder / f"{part}_labels.npy")
    return np.concatenate(sheets).transpose(0, 3, 1, 2), labels


def _read_cifar_archive(path: Path, files: CifarFiles) -> tuple[Ints, Labels, Ints, Labels]:
    hint = "Remove it to download it again."
    with reading(path, "the binary CIFAR archive", hint):
        members = _tar_members(gunzip(path, hint))
        missing = [n for n in (*files.train, *files.test) if f"{files.inside}/{n}" not in members]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)} in {files.inside}.", hint)
        read: Callable[[str], bytes] = lambda n: members[f"{files.inside}/{n}"]  # noqa: E731
        return _cifar_parts(files, read, path)


MOST_MEMBERS = 100


def _tar_members(content: bytearray) -> dict[str, bytes]:
    """Return the plain files of a tar archive, the first ones; nothing else in it is followed."""
    members: dict[str, bytes] = {}
    at = 0
    for _ in range(MOST_MEMBERS):
        header = content[at : at + tarfile.BLOCKSIZE]
        if not header.strip(b"\0"):
            break
        info = tarfile.TarInfo.frombuf(bytes(header), "utf-8", "surrogateescape")
        start = at + tarfile.BLOCKSIZE
        if not 0 <= info.size <= len(content) - start:
            raise ValueError(f"{info.name} has {info.size} bytes")
        if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            members[info.name] = bytes(content[start : start + info.size])
        at = start + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return members


def _cifar_parts(
    files: CifarFiles, read: Callable[[str], bytes], where: Path
) -> tuple[Ints, Labels, Ints, Labels]:
    x_train, y_train = _cifar_records(files, files.train, read, where)
    x_test, y_test = _cifar_records(files, files.test, read, where)
    return x_train, y_train, x_test, y_test


def _cifar_records(
    files: CifarFiles, names: Sequence[str], read: Callable[[str], bytes], where: Path
) -> tuple[Ints, Labels]:
    size, parts = files.label_bytes + 3072, [read(n) for n in names]
    wrong = [
        f"{name} has {len(part)} bytes, not records of {size}"
        for name, part in zip(names, parts, strict=True)
        if not part or len(part) % size
    ]
    if wrong:
        raise InputError(f"{where}: {'; '.join(wrong)}.")
    records = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, size)
    images = records[:, files.label_bytes :].reshape(-1, 3, 32, 32)
    return images, records[:, files.label_bytes - 1].astype(np.int64)
