"""Classified images and event frames as integers: find them, download them, check them.

Pixels stay the integers of the file: a chip reads integers, and what it reads should be what
training saw. Nothing here needs PyTorch, and nothing reads a pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from snn2hw.datasets.checks import LARGEST_ARRAY, checked, label_problems
from snn2hw.datasets.cifar import load_cifar
from snn2hw.datasets.dataset import Dataset, Ints, Labels, Request
from snn2hw.datasets.digits import load_digits
from snn2hw.datasets.event_folder import holds_recordings, load_event_folder, steps_of
from snn2hw.datasets.events import load_from_tonic, load_nmnist, load_shd
from snn2hw.datasets.folders import load_image_folder
from snn2hw.datasets.idx import IDX_REMOTES, load_idx, read_idx
from snn2hw.datasets.naming import in_training, split, whole, with_options
from snn2hw.datasets.npz import load_npz
from snn2hw.datasets.search import Remote, search_path
from snn2hw.errors import InputError, unknown_name
from snn2hw.files import expanded
from snn2hw.recordings import is_recording

__all__ = [
    "DATASETS",
    "IDX_REMOTES",
    "LARGEST_ARRAY",
    "Dataset",
    "Entry",
    "Ints",
    "Labels",
    "Remote",
    "are_recordings",
    "checked",
    "default_time_steps",
    "find",
    "in_training",
    "is_folder",
    "label_problems",
    "load",
    "read_idx",
    "search_path",
    "split",
    "whole",
    "with_options",
]


class Entry(NamedTuple):
    """One row of ``DATASETS``; ``time_steps`` is what a recording is cut into by default."""

    loader: Callable[[Request], Dataset]
    description: str
    source: str
    time_steps: int | None = None


KRIZHEVSKY = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

DATASETS: dict[str, Entry] = {
    "digits": Entry(
        load_digits,
        "1,797 handwritten digits, 8x8, grey levels 0 to 16; a third held out (offline)",
        "scikit-learn's load_digits: E. Alpaydin, C. Kaynak, UCI, 1998; CC BY 4.0",
    ),
    "mnist": Entry(
        load_idx,
        "70,000 handwritten digits, 28x28",
        "Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0",
    ),
    "fashion-mnist": Entry(
        load_idx,
        "70,000 pictures of clothes in 10 classes, 28x28",
        "H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747; MIT",
    ),
    "cifar10": Entry(
        load_cifar,
        "60,000 colour photographs in 10 classes, 32x32",
        f"{KRIZHEVSKY}; no licence stated",
    ),
    "cifar100": Entry(
        load_cifar,
        "60,000 colour photographs in 100 classes, 32x32",
        f"{KRIZHEVSKY}; no licence stated",
    ),
    "nmnist": Entry(
        load_nmnist,
        "N-MNIST: 70,000 digits seen by a moving event camera, 2x34x34, by default 10 frames; or "
        "nmnist_subset.npz",
        "G. Orchard et al., Frontiers in Neuroscience 9:437, 2015; CC BY-SA 4.0; through Tonic",
        10,
    ),
    "dvs-gesture": Entry(
        load_from_tonic,
        "DVS128 Gesture: about 1,340 recordings of 11 gestures, 2x128x128, by default 16 frames",
        "A. Amir et al., CVPR 2017; CC BY 4.0; through Tonic",
        16,
    ),
    "shd": Entry(
        load_shd,
        "Spiking Heidelberg Digits: 10,420 spoken digits in 20 classes as 700 channels of a "
        "model cochlea, by default 100 frames",
        "B. Cramer et al., IEEE TNNLS 33:2744, 2022; CC BY 4.0; through Tonic",
        100,
    ),
    "image-folder": Entry(
        load_image_folder,
        "image-folder:DIR, your images in DIR/train/<class>/ and DIR/test/<class>/",
        "your own files",
    ),
    "events": Entry(
        load_event_folder,
        "events:DIR, your recordings (.aedat4, .bin, .dat, .es, .raw) in DIR/<class>/, or in "
        "DIR/train/<class>/ and DIR/test/<class>/, by default 16 frames",
        "your own files",
        16,
    ),
    "npz": Entry(
        load_npz,
        "npz:FILE, your arrays x_train, y_train, x_test, y_test: images, event frames or time "
        "series",
        "your own file",
    ),
}


TAKE_PATH = ("image-folder", "events", "npz")


def load(
    name: str,
    data_dir: Path | None = None,
    *,
    time_steps: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> Dataset:
    """Load a data set by name, or ``image-folder:DIR``, ``events:DIR`` or ``npz:FILE``.

    With ``@validation`` behind it, a tenth of its training data is held out in place of its test
    data.

    Args:
        name: a key of ``DATASETS``; the last three take a path after a colon, and the first two of
            them options after it (``naming.py``).
        data_dir: the folder to search first.
        time_steps: frames that a recording of events is cut into, by default ``DATASETS``';
            images have none, and frames in a file are what they are.
        shape: of a step of the network that recordings of the user's own are for; None for theirs.

    Raises:
        InputError: there is no such data set, its files are missing or not what they should
            be, or a package that reads them is not installed.
    """
    entry = find(name)
    kind, _, argument = whole(name).partition(":")
    steps = time_steps or default_time_steps(name) or 1
    found = entry.loader(Request(kind, argument, data_dir, steps, shape))
    return found.without_test(name) if name != whole(name) else found


def find(name: str) -> Entry:
    """Return the row of a data set's name, in which a path is not looked at.

    Raises:
        InputError: there is no such data set.
    """
    kind, colon, argument = whole(name).partition(":")
    entry = DATASETS.get(kind)
    takes_path = kind in TAKE_PATH
    if entry is None or (colon and not takes_path):
        raise _unknown(name)
    if takes_path and not argument:
        raise InputError(f"Data set {kind!r} needs a path.", f"Write {kind}:PATH.")
    return entry


def _unknown(name: str) -> InputError:
    """Return the error for a name that is no data set's, but may be a file's or a folder's."""
    path = expanded(name)
    if path.is_dir():
        return is_folder(path)
    if path.is_file() and path.suffix == ".npz":
        return InputError(f"{name} is a file.", f"Write --data npz:{name}.")
    if path.is_file() and is_recording(path):
        return InputError(
            f"{name} is a single recording.",
            f"Write --input {name}, or --data events:DIR for a folder of them.",
        )
    return unknown_name("data set", name, DATASETS)


def is_folder(path: Path) -> InputError:
    """Return the error for a folder that is given where it is no data set's name."""
    kind = "events" if holds_recordings(path) else "image-folder"
    return InputError(
        f"{path} is a folder.", f"Write --data {kind}:{path}, if it has a folder for each class."
    )


def are_recordings(name: str) -> bool:
    """Say whether a data set holds recordings, which are cut into any number of steps."""
    entry = DATASETS.get(whole(name).partition(":")[0])
    return entry is not None and entry.time_steps is not None


def default_time_steps(name: str) -> int | None:
    """Return what a recording of this data set is cut into by default; None for all others.

    Where the name of a folder says how long a step is, that is as many as its longest recording
    takes, which is read.
    """
    kind, _, argument = whole(name).partition(":")
    if kind == "events" and argument:
        return steps_of(argument) or DATASETS[kind].time_steps
    return None if kind not in DATASETS else DATASETS[kind].time_steps
