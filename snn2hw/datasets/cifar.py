"""CIFAR-10 and CIFAR-100, in the binary version."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn2hw.archives import read_npy
from snn2hw.datasets.checks import checked
from snn2hw.datasets.dataset import Dataset, Ints, Labels, Request
from snn2hw.datasets.search import (
    Remote,
    candidates,
    find_or_download,
    folder_with,
    missing_package,
)
from snn2hw.errors import InputError


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
        parts = (
            *_cifar_records(files, files.train, read),
            *_cifar_records(files, files.test, read),
        )
        return checked(name, *parts, classes=files.classes, max_value=255)
    folder = find_or_download(name, data_dir, folders, {files.archive: files.remote})
    parts = _read_cifar_archive(folder / files.archive, files)
    return checked(name, *parts, classes=files.classes, max_value=255)


def _read_sheets(folder: Path, part: str) -> tuple[Ints, Labels]:
    """Read images stacked vertically in lossless WebP files, 32 pixels wide."""
    try:
        from PIL import Image
    except ImportError:
        raise missing_package("pillow", f"Reading {folder}") from None
    sheets: list[Ints] = []
    for path in sorted(folder.glob(f"{part}-*.webp")):
        with Image.open(path) as image:
            sheets.append(np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3))
    labels = read_npy(folder / f"{part}_labels.npy")
    return np.concatenate(sheets).transpose(0, 3, 1, 2), labels


def _read_cifar_archive(path: Path, files: CifarFiles) -> tuple[Ints, Labels, Ints, Labels]:
    try:
        with tarfile.open(path) as archive:

            def read(file: str) -> bytes:
                member = archive.extractfile(f"{files.inside}/{file}")
                return member.read() if member else b""

            x_train, y_train = _cifar_records(files, files.train, read)
            x_test, y_test = _cifar_records(files, files.test, read)
            return x_train, y_train, x_test, y_test
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is not the binary CIFAR archive: {error}.",
            "Remove it to download it again.",
        ) from None


def _cifar_records(
    files: CifarFiles, names: Sequence[str], read: Callable[[str], bytes]
) -> tuple[Ints, Labels]:
    data = b"".join(read(n) for n in names)
    size = files.label_bytes + 3072
    if not data or len(data) % size:
        raise InputError(f"{', '.join(names)}: {len(data)} bytes are not records of {size}.")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    images = records[:, files.label_bytes :].reshape(-1, 3, 32, 32)
    return images, records[:, files.label_bytes - 1].astype(np.int64)
