"""Recordings of the user's own, in a folder for each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.datasets.checks import LARGEST_ARRAY, checked
from snn2hw.datasets.dataset import Dataset, Labels, Request
from snn2hw.datasets.naming import split
from snn2hw.errors import InputError, counted, listed, sized
from snn2hw.files import about, expanded
from snn2hw.recordings import (
    READERS,
    Binning,
    Fit,
    Tally,
    fit,
    is_recording,
    read_recording,
    show,
    told,
)

MOST = 255  # that a frame counts in one place
PARTS = 5  # of a class, of which the last is for test where nothing else says
LAYOUT = "Put recordings in DIR/<class>/, or in DIR/train/<class>/ and DIR/test/<class>/."

Files = list[tuple[Path, int]]


class Found(NamedTuple):
    """The files of a folder, with their classes; ``note`` says how they were divided."""

    train: Files
    test: Files
    classes: int
    note: str


class Facts(NamedTuple):
    """What all recordings of a folder have in common.

    Args:
        size: columns and rows of the sensor; None if no file says.
        reach: columns and rows that hold all events.
        longest: microseconds.
    """

    size: tuple[int, int] | None
    reach: tuple[int, int]
    longest: int


def load_event_folder(request: Request) -> Dataset:
    """Load ``DIR/<class>/``, or ``DIR/train/<class>/`` and ``DIR/test/<class>/``, as frames.

    Options follow the folder's name (``naming.py``).

    Raises:
        InputError: files are missing, damaged, or of sensors that differ in size; or the frames
            would take too much memory.
    """
    name = f"events:{request.argument}"
    _, path, options = split(name)
    root, binning = expanded(path), Binning.of(options)
    found = _files(root)
    facts = _facts([p for p, _ in (*found.train, *found.test)], binning)
    with about(root):
        place = fit(facts.size, facts.reach, binning, request.shape)
    tally = Tally(MOST)
    x_train, y_train = _frames(found.train, place, binning, request.time_steps, tally)
    x_test, y_test = _frames(found.test, place, binning, request.time_steps, tally)
    notes = [found.note, *told(place, binning, facts.size, facts.reach), *tally.notes()]
    note = "; ".join(n for n in notes if n)
    return checked(name, x_train, y_train, x_test, y_test, found.classes, note=note)


def steps_of(argument: str) -> int | None:
    """Return the steps of the longest recording, where a folder's name says how long a step is."""
    _, path, options = split(f"events:{argument}")
    binning = Binning.of(options)
    if binning.window is None:
        return None
    found = _files(expanded(path))
    return binning.steps(_facts([p for p, _ in (*found.train, *found.test)], binning).longest)


def holds_recordings(folder: Path) -> bool:
    """Say whether a folder, or one up to two levels below it, holds a recording."""
    levels = (folder.glob(pattern) for pattern in ("*", "*/*", "*/*/*"))
    return any(is_recording(p) for level in levels for p in level)


def _files(root: Path) -> Found:
    """Find recordings and their classes.

    Raises:
        InputError: there are none, or classes differ between the parts.
    """
    if not root.is_dir():
        raise InputError(f"There is no folder {root}.", LAYOUT)
    parts = {p.name.lower(): p for p in _folders(root)}  # N-MNIST has Train and Test
    if "train" in parts and "test" in parts:
        names = [p.name for p in _folders(parts["train"])]
        others = sorted({p.name for p in _folders(parts["test"])} - set(names))
        if others:
            raise InputError(f"{parts['test']} has classes that train lacks: {listed(others)}.")
        train, test = (_recordings(parts[k], names) for k in ("train", "test"))
        _refuse_empty(root, names, train)
        if not test:
            raise InputError(f"{parts['test']} holds no recordings in class folders.", LAYOUT)
        return Found(train, test, len(names), "")
    names = [p.name for p in _folders(root)]
    everything = _recordings(root, names)
    _refuse_empty(root, names, everything)
    train: Files = []
    test: Files = []
    for label in range(len(names)):
        mine = [f for f in everything if f[1] == label]
        tested = max(1, len(mine) // PARTS) if len(mine) > 1 else 0
        train += mine[: len(mine) - tested]
        test += mine[len(mine) - tested :]
    if not test:
        raise InputError(f"{root} holds one recording of each class, and none is for test.", LAYOUT)
    note = (
        "there are no folders train and test: the last fifth of each class by name is for test, "
        f"{len(test)} of {len(everything)} recordings"
    )
    return Found(train, test, len(names), note)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _recordings(folder: Path, names: Sequence[str]) -> Files:
    return [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).glob("*"))
        if is_recording(path)
    ]


def _refuse_empty(root: Path, names: Sequence[str], train: Files) -> None:
    known = f"Recordings end with {listed(READERS)}. {LAYOUT}"
    if not train:
        raise InputError(f"{root} holds no recordings in class folders.", known)
    empty = sorted(set(range(len(names))) - {label for _, label in train})
    if empty:
        raise InputError(
            f"{root} holds no recordings of {listed(names[i] for i in empty)} to train on.",
            f"Put recordings there, or remove the folders. {known}",
        )


def _facts(paths: Sequence[Path], binning: Binning) -> Facts:
    """Read all recordings once, for what their frames depend on.

    Raises:
        InputError: names every file that cannot be read, or two sensors that differ in size.
    """
    sizes: dict[tuple[int, int] | None, Path] = {}
    reach, longest = (0, 0), 0
    problems: list[InputError] = []
    for path in paths:
        try:
            recording = read_recording(path)
        except InputError as error:
            problems.append(error)
            continue
        sizes.setdefault(recording.size, path)
        reach = (max(reach[0], recording.reach[0]), max(reach[1], recording.reach[1]))
        longest = max(longest, recording.microseconds)
    if problems:
        raise InputError(listed((p.message for p in problems), " "), problems[0].hint)
    if len(sizes) > 1 and binning.crop is None:
        both = [f"{p} {'does not say' if s is None else f'has {s[0]} x {s[1]}'}"
                for s, p in list(sizes.items())[:2]]  # fmt: skip
        raise InputError(
            f"Recordings are of sensors that differ in size (columns x rows): {', '.join(both)}.",
            "Give --crop X,Y,W,H, or sort them into folders.",
        )
    return Facts(next(iter(sizes)) if len(sizes) == 1 else None, reach, longest)


def _frames(
    files: Files, place: Fit, binning: Binning, steps: int, tally: Tally
) -> tuple[NDArray[np.uint8], Labels]:
    """Return frames ``[N, T, C, H, W]`` and labels ``[N]``."""
    shape = (len(files), steps, *place.shape)
    size = math.prod(shape)
    if size > LARGEST_ARRAY:
        raise InputError(
            f"Recordings in {counted(steps, 'step')} of {' x '.join(map(str, place.shape))} "
            f"(polarities, rows, columns) take {sized(size)} of memory; at most "
            f"{sized(LARGEST_ARRAY)} are used.",
            "Use fewer --time-steps, or --crop or --downsample.",
        )
    x = np.zeros(shape, np.uint8)
    for i, (path, _) in enumerate(files):
        recording = read_recording(path)
        with about(path):
            x[i] = tally.cut(recording, show(recording, place, binning, steps), str(path))
    return x, np.array([label for _, label in files], np.int64)
