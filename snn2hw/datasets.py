"""Classified images and event frames as integers: find them, download them, check them.

Pixels stay the integers of the file: a chip reads integers, and what it reads should be what
training saw. Nothing here needs PyTorch, and nothing reads a pickle.

Folders are searched in this order: ``data_dir``, ``$SNN2HW_DATA``, the user cache
(``$SNN2HW_CACHE`` or ``~/.cache/snn2hw``); in each, ``<folder>/<name>/`` before ``<folder>/``.
What is in none of them is downloaded to the cache and checked by SHA-256.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, unknown_name
from snn2hw.files import cache_folder

Ints = NDArray[Any]
Labels = NDArray[np.int64]
Loader = Callable[[str, Path | None], "Dataset"]

LARGEST_ARRAY = 8 * 2**30  # bytes; a file that claims more is refused before it is read
LARGEST_VALUE = 65535


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images to classify, split for training and test.

    Args:
        name: what ``load`` was asked for.
        x_train: integers ``[N, C, H, W]``, or event frames ``[N, T, C, H, W]``.
        y_train: class of each sample, ``int64 [N]``, from 0.
        x_test: as ``x_train``, samples that training never sees.
        y_test: as ``y_train``.
        classes: how many classes there are.
        max_value: the largest integer that a pixel can take.
    """

    name: str
    x_train: Ints
    y_train: Labels
    x_test: Ints
    y_test: Labels
    classes: int
    max_value: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of one image or frame."""
        channels, height, width = self.x_train.shape[-3:]
        return channels, height, width

    @property
    def frames(self) -> int | None:
        """Time steps of one sample of event frames; None for images."""
        return self.x_train.shape[1] if self.x_train.ndim == 5 else None

    def subset(self, train: int, test: int) -> Dataset:
        """Return the first ``train`` and ``test`` samples."""
        return Dataset(
            self.name,
            self.x_train[:train],
            self.y_train[:train],
            self.x_test[:test],
            self.y_test[:test],
            self.classes,
            self.max_value,
        )


class Entry(NamedTuple):
    """One row of ``DATASETS``."""

    loader: Loader
    description: str
    source: str


class Remote(NamedTuple):
    """One file that can be downloaded: SHA-256 and mirrors, tried in order."""

    sha256: str
    urls: tuple[str, ...]


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a data set by name, or ``image-folder:DIR``, or ``npz:FILE``.

    Args:
        name: a key of ``DATASETS``; the last two take a path after a colon.
        data_dir: the folder to search first.

    Raises:
        InputError: there is no such data set, its files are missing or not what they should
            be, or a package that reads them is not installed.
    """
    kind, colon, argument = name.partition(":")
    entry = DATASETS.get(kind)
    takes_path = kind in ("image-folder", "npz")
    if entry is None or (colon and not takes_path):
        raise unknown_name("data set", name, DATASETS)
    if takes_path and not argument:
        raise InputError(f"Data set {kind!r} needs a path.", f"Write {kind}:PATH.")
    return entry.loader(argument or kind, data_dir)


def search_path(data_dir: Path | None) -> list[Path]:
    """Return the folders that data are looked for in, first to last."""
    named = os.environ.get("SNN2HW_DATA")
    folders = [data_dir, Path(named) if named else None, cache_folder()]
    return [f for f in folders if f is not None]


def _candidates(data_dir: Path | None, names: Sequence[str]) -> list[Path]:
    return [p for f in search_path(data_dir) for p in (*(f / n for n in names), f)]


def _folder_with(folders: Sequence[Path], files: Sequence[str]) -> Path | None:
    return next((f for f in folders if all((f / n).is_file() for n in files)), None)


def _missing_package(package: str, why: str) -> InputError:
    return InputError(
        f"{why} needs the package {package!r}, which is not installed.",
        'Run: pip install "snn2hw[data]"',
    )


def _find_or_download(
    name: str, data_dir: Path | None, folders: Sequence[str], remotes: dict[str, Remote]
) -> Path:
    """Return the folder that holds all of ``remotes``, downloading them if need be."""
    tried = _candidates(data_dir, folders)
    found = _folder_with(tried, list(remotes))
    if found is not None:
        return found
    target = cache_folder() / folders[0]
    for file, remote in remotes.items():
        _download(name, file, remote, target, tried)
    return target


def _download(name: str, file: str, remote: Remote, target: Path, tried: Sequence[Path]) -> None:
    try:
        import pooch
    except ImportError:
        raise _missing_package("pooch", f"Downloading data set {name!r}") from None
    reasons: list[str] = []
    for url in remote.urls:
        try:
            pooch.retrieve(url, f"sha256:{remote.sha256}", fname=file, path=target)
        except (OSError, ValueError) as error:  # requests' errors are OSError
            reasons.append(f"{url}: {str(error).splitlines()[0][:120]}")
        else:
            return
    looked = ", ".join(str(p) for p in tried)
    raise InputError(
        f"Data set {name!r}: {file} is in none of {looked}, and could not be downloaded "
        f"({'; '.join(reasons)}).",
        "Put the files in one of these, or name their folder with --data-dir or $SNN2HW_DATA.",
    )


def _digits(name: str, _data_dir: Path | None) -> Dataset:
    try:
        from sklearn import datasets, model_selection
    except ImportError:
        raise _missing_package("scikit-learn", f"Data set {name!r}") from None
    bunch: Any = datasets.load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    split: Any = model_selection.train_test_split(
        images, labels, test_size=1 / 3, random_state=0, stratify=labels
    )
    x_train, x_test, y_train, y_test = split
    return Dataset(name, x_train, y_train, x_test, y_test, 10, 16)


IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_remotes(hashes: Sequence[str], mirrors: Sequence[str]) -> dict[str, Remote]:
    return {
        file: Remote(sha256, tuple(f"{mirror}/{file}" for mirror in mirrors))
        for file, sha256 in zip(IDX_FILES, hashes, strict=True)
    }


IDX_REMOTES = {
    "mnist": _idx_remotes(
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
    ),
    "fashion-mnist": _idx_remotes(
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
    ),
}


def _idx(name: str, data_dir: Path | None) -> Dataset:
    folder = _find_or_download(name, data_dir, (name,), IDX_REMOTES[name])
    x_train, y_train, x_test, y_test = (read_idx(folder / file) for file in IDX_FILES)
    return checked(
        name, x_train[:, None], y_train, x_test[:, None], y_test, classes=10, max_value=255
    )


def read_idx(path: Path) -> Ints:
    """Read a gzip-packed IDX file of bytes (LeCun's MNIST page); shape as in its header."""
    try:
        with gzip.open(path) as file:
            magic = file.read(4)
            if magic[:3] != b"\0\0\x08" or magic[3] not in (1, 3):
                raise InputError(f"{path} is not an IDX file of bytes (it starts {magic!r}).")
            rank = magic[3]
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            count = math.prod(shape)
            if count > LARGEST_ARRAY:
                raise InputError(f"{path} claims {count} bytes of pixels, which is too much.")
            data = file.read(count + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as gzip-packed IDX: {error}.") from None
    if len(data) != count:
        raise InputError(f"{path} holds {len(data)} bytes or more, its header says {count}.")
    return np.frombuffer(data, np.uint8).reshape(shape)


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


def _cifar(name: str, data_dir: Path | None) -> Dataset:
    files = CIFAR[name]
    folders = (name, name.replace("cifar", "cifar-"))
    sheets = ["train_labels.npy", "test_labels.npy", "train-000.webp", "test-000.webp"]
    found = _folder_with(_candidates(data_dir, folders), sheets) if name == "cifar10" else None
    if found is not None:
        parts = (*_read_sheets(found, "train"), *_read_sheets(found, "test"))
        return checked(name, *parts, classes=files.classes, max_value=255)
    inside = (*(f"{f}/{files.inside}" for f in folders), files.inside)
    batches = _folder_with(_candidates(data_dir, inside), (*files.train, *files.test))
    if batches is not None:
        read: Callable[[str], bytes] = lambda file: (batches / file).read_bytes()  # noqa: E731
        parts = (
            *_cifar_records(files, files.train, read),
            *_cifar_records(files, files.test, read),
        )
        return checked(name, *parts, classes=files.classes, max_value=255)
    folder = _find_or_download(name, data_dir, folders, {files.archive: files.remote})
    parts = _read_cifar_archive(folder / files.archive, files)
    return checked(name, *parts, classes=files.classes, max_value=255)


def _read_sheets(folder: Path, part: str) -> tuple[Ints, Labels]:
    """Read images stacked vertically in lossless WebP files, 32 pixels wide."""
    try:
        from PIL import Image
    except ImportError:
        raise _missing_package("pillow", f"Reading {folder}") from None
    sheets: list[Ints] = []
    for path in sorted(folder.glob(f"{part}-*.webp")):
        with Image.open(path) as image:
            sheets.append(np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3))
    labels = np.load(folder / f"{part}_labels.npy", allow_pickle=False)
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


IMAGE_SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".webp",
    ".gif",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
}


def _image_folder(argument: str, _data_dir: Path | None) -> Dataset:
    root = Path(argument).expanduser()
    missing = [str(root / p) for p in ("train", "test") if not (root / p).is_dir()]
    if missing:
        raise InputError(
            f"There is no folder {' and no folder '.join(missing)}.",
            "Put images in DIR/train/<class>/ and DIR/test/<class>/.",
        )
    names = sorted(p.name for p in (root / "train").iterdir() if p.is_dir())
    others = {p.name for p in (root / "test").iterdir() if p.is_dir()} - set(names)
    if others:
        raise InputError(
            f"{root / 'test'} has classes that train lacks: {', '.join(sorted(others))}."
        )
    files = {part: _image_files(root / part, names) for part in ("train", "test")}
    for part, found in files.items():
        if not found:
            raise InputError(f"{root / part} holds no images in class folders.")
    x_train, x_test = _read_images(files["train"], files["test"])
    y_train, y_test = (np.array([y for _, y in files[p]]) for p in ("train", "test"))
    return checked(
        f"image-folder:{argument}", x_train, y_train, x_test, y_test, len(names), max_value=255
    )


def _image_files(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    return [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]


def _read_images(*parts: list[tuple[Path, int]]) -> list[Ints]:
    """Read every file as RGB, or as grey if all of them are grey; one size is demanded."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise _missing_package("pillow", "An image folder") from None
    sizes: dict[tuple[int, int], Path] = {}
    modes: set[str] = set()
    for path, _ in (f for part in parts for f in part):
        try:
            with Image.open(path) as image:
                sizes.setdefault(image.size, path)
                modes.add(image.mode)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not an image that can be read: {error}.") from None
    if len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"Images differ in size: {first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}.",
            "Resize them all to one size first.",
        )
    mode = "L" if modes <= {"L", "1"} else "RGB"

    def pixels(path: Path) -> Ints:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode)).reshape(*image.size[::-1], -1)

    return [np.stack([pixels(p) for p, _ in part]).transpose(0, 3, 1, 2) for part in parts]


NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


def _npz(argument: str, _data_dir: Path | None) -> Dataset:
    path = Path(argument).expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()}
        missing = [k for k in NPZ_KEYS if k not in sizes]
        if missing:
            raise InputError(
                f"{path} lacks {', '.join(missing)}; it has {', '.join(sizes) or 'none'}.",
                "Use numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...).",
            )
        if max(sizes.values()) > LARGEST_ARRAY:
            raise InputError(
                f"{path} unpacks to an array of {max(sizes.values())} bytes: too much."
            )
        with np.load(path, allow_pickle=False) as arrays:
            x_train, y_train, x_test, y_test = (np.asarray(arrays[k]) for k in NPZ_KEYS)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as plain NumPy arrays: {error}.") from None
    return checked(f"npz:{argument}", x_train, y_train, x_test, y_test)


def checked(
    name: str,
    x_train: Ints,
    y_train: Ints,
    x_test: Ints,
    y_test: Ints,
    classes: int | None = None,
    max_value: int | None = None,
) -> Dataset:
    """Make a ``Dataset`` of arrays from elsewhere, or name everything that is wrong with them.

    Args:
        name: what to call it in messages.
        x_train: ``[N, C, H, W]`` or ``[N, T, C, H, W]``, whole numbers from 0 to 65535.
        y_train: ``[N]``, whole numbers from 0.
        x_test: as ``x_train``; only ``N`` may differ.
        y_test: as ``y_train``.
        classes: how many classes; by default one more than the largest label.
        max_value: largest possible pixel; by default the largest there is.

    Raises:
        InputError: lists every problem.
    """
    problems: list[str] = []
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        problems += _pixel_problems(f"x_{part}", x) + _label_problems(f"y_{part}", y, classes)
        if x.ndim and y.ndim and x.shape[0] != y.shape[0]:
            problems.append(f"x_{part} has {x.shape[0]} samples, y_{part} has {y.shape[0]}")
    if x_train.shape[1:] != x_test.shape[1:]:
        problems.append(f"x_train holds {x_train.shape[1:]}, x_test {x_test.shape[1:]}")
    if not problems and np.unique(y_train).size < 2:
        problems.append(f"y_train holds the one class {y_train[0]}; there must be two or more")
    if problems:
        _refuse(name, problems)
    top = max_value or max(1, int(x_train.max()), int(x_test.max()))
    dtype = np.uint8 if top <= 255 else np.uint16
    return Dataset(
        name,
        np.ascontiguousarray(x_train, dtype),
        y_train.astype(np.int64),
        np.ascontiguousarray(x_test, dtype),
        y_test.astype(np.int64),
        classes or 1 + max(int(y_train.max()), int(y_test.max())),
        top,
    )


def _refuse(name: str, problems: Sequence[str]) -> NoReturn:
    raise InputError(
        f"Data set {name!r} cannot be used: {'; '.join(problems)}.",
        "Images are whole numbers [N, C, H, W] (or frames [N, T, C, H, W]), labels [N] from 0.",
    )


def _pixel_problems(name: str, x: Ints) -> list[str]:
    if x.ndim not in (4, 5) or 0 in x.shape:
        return [f"{name} has shape {x.shape}"]
    if x.dtype.kind not in "buif":
        return [f"{name} holds {x.dtype}, not numbers"]
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        return [f"{name} holds {int((~np.isfinite(x)).sum())} values that are NaN or infinite"]
    if x.dtype.kind == "f" and (x != np.round(x)).any():
        return [f"{name} holds fractions (scale and round it to integers, such as 0 to 255)"]
    low, high = x.min(), x.max()
    if low < 0 or high > LARGEST_VALUE:
        return [f"{name} runs from {low} to {high}, outside 0 to {LARGEST_VALUE}"]
    return []


def _label_problems(name: str, y: Ints, classes: int | None) -> list[str]:
    if y.ndim != 1 or not y.size:
        return [f"{name} has shape {y.shape}"]
    if y.dtype.kind not in "ui":
        return [f"{name} holds {y.dtype}, not integers"]
    if y.min() < 0 or y.max() >= (classes or 100_000):
        return [f"{name} runs from {y.min()} to {y.max()}"]
    return []


KRIZHEVSKY = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

DATASETS: dict[str, Entry] = {
    "digits": Entry(
        _digits,
        "1,797 handwritten digits, 8x8, grey levels 0 to 16; a third held out (offline)",
        "scikit-learn's load_digits: E. Alpaydin, C. Kaynak, UCI, 1998; CC BY 4.0",
    ),
    "mnist": Entry(
        _idx,
        "70,000 handwritten digits, 28x28",
        "Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0",
    ),
    "fashion-mnist": Entry(
        _idx,
        "70,000 pictures of clothes in 10 classes, 28x28",
        "H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747; MIT",
    ),
    "cifar10": Entry(
        _cifar,
        "60,000 colour photographs in 10 classes, 32x32",
        f"{KRIZHEVSKY}; no licence stated",
    ),
    "cifar100": Entry(
        _cifar,
        "60,000 colour photographs in 100 classes, 32x32",
        f"{KRIZHEVSKY}; no licence stated",
    ),
    "image-folder": Entry(
        _image_folder,
        "image-folder:DIR, your images in DIR/train/<class>/ and DIR/test/<class>/",
        "your own files",
    ),
    "npz": Entry(
        _npz,
        "npz:FILE, your arrays x_train, y_train, x_test, y_test (images or event frames)",
        "your own file",
    ),
}
