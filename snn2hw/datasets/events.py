"""Recordings of event sensors, cut into frames of event counts.

A recording is cut into T equal times from its first to its last event, and a frame counts the
events of each pixel and polarity in its time: every event is counted, and only counts above 255
are cut. Tonic (G. Lenz et al., 2021) downloads the published files, and decodes those that are not
HDF5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.archives import check_size, read_npz
from snn2hw.datasets.checks import LARGEST_ARRAY, checked, label_problems
from snn2hw.datasets.dataset import Dataset, Ints, Labels, Request
from snn2hw.datasets.search import folder_with, missing_package, search_path
from snn2hw.errors import InputError, Snn2hwError, sized
from snn2hw.files import cache_folder, first_line, reading, writable_cache
from snn2hw.hdf5 import Group, described, read_hdf5
from snn2hw.recordings import Events
from snn2hw.recordings.binning import counted, equal_parts

MOST_EVENTS = 255  # that a frame counts in one place
LATEST = 2.0**63  # a time, in whatever unit, beyond what 64 bits count


class Sensor(NamedTuple):
    """A published data set of recordings.

    Args:
        tonic: its class in ``tonic.datasets``, and the folder that Tonic keeps its files in.
        size: polarities, rows and columns of the sensor.
        shape: ``(C, H, W)`` of a frame, with as many values.
        classes: how many there are.
    """

    tonic: str
    size: tuple[int, int, int]
    shape: tuple[int, int, int]
    classes: int


SENSORS = {
    "nmnist": Sensor("NMNIST", (2, 34, 34), (2, 34, 34), 10),
    "dvs-gesture": Sensor("DVSGesture", (2, 128, 128), (2, 128, 128), 11),
    # A cochlea's channels have neighbours but no picture: each is a channel of its own.
    "shd": Sensor("SHD", (1, 1, 700), (700, 1, 1), 20),
}


def frames(recording: Events, size: Sequence[int], time_steps: int) -> NDArray[np.uint8]:
    """Count the events of a recording in ``time_steps`` equal times.

    An event at ``t`` is in frame ``(t - first) * T // (last - first + 1)``, with times as integers.

    Args:
        recording: the events, in any order.
        size: polarities, rows and columns of the sensor.
        time_steps: T.

    Returns:
        Counts ``[T, *size]``, at most 255.

    Raises:
        InputError: an event lies outside the sensor, or its time is no number or far too late.
    """
    if not all((np.abs(v) < LATEST).all() for v in recording):  # NaN is not less either
        raise InputError("A recording has events whose time or place is no number, or too large.")
    t, *where = (np.asarray(v).astype(np.int64) for v in recording)
    polarities, rows, columns = size
    shape = (time_steps, polarities, rows, columns)
    if not t.size:
        return np.zeros(shape, np.uint8)
    counts = counted(Events(equal_parts(t, time_steps), *where), shape)
    return np.minimum(counts, MOST_EVENTS).astype(np.uint8)


def load_nmnist(request: Request) -> Dataset:
    """Load N-MNIST: all of it through Tonic, or the recordings of ``nmnist_subset.npz``.

    In each folder of the search path the whole data set comes before a subset.
    """
    for folder in search_path(request.data_dir):
        if (folder / SENSORS["nmnist"].tonic).is_dir():
            break
        inside = (*(folder / name for name in SUBSET_FOLDERS), folder)
        for path in (place / SUBSET_FILE for place in inside):
            if path.is_file():
                with reading(path, "a file of packed recordings"):
                    return _nmnist_subset(path, request)
    return load_from_tonic(request)


def load_from_tonic(request: Request) -> Dataset:
    """Load one of ``SENSORS`` from Tonic's files, which are downloaded if they are not there."""
    sensor, parts = SENSORS[request.name], list[tuple[Ints, Labels]]()
    with _tonic(request) as published:
        for train in (True, False):
            held = published(train)
            recordings = (_of_tonic(sensor, *held[i]) for i in range(len(held)))
            parts.append(_counted(recordings, len(held), sensor, request))
    (x_train, y_train), (x_test, y_test) = parts
    return checked(request.name, x_train, y_train, x_test, y_test, classes=sensor.classes)


@contextmanager
def _tonic(request: Request) -> Generator[Callable[[bool], Any], None, None]:
    """Give what makes Tonic's training or test part of a data set, where its files are."""
    name, sensor = request.name, SENSORS[request.name]
    try:
        tonic = import_module("tonic.datasets")
    except ImportError:
        raise missing_package("tonic", f"Data set {name!r}", "events") from None
    folders = search_path(request.data_dir)
    there = next((f for f in folders if (f / sensor.tonic).is_dir()), None) or writable_cache()
    published: Any = getattr(tonic, sensor.tonic)
    try:
        yield lambda train: published(save_to=str(there), train=train)
    except Snn2hwError:
        raise
    except Exception as error:  # Tonic raises whatever its decoders stumble over
        looked = ", ".join(str(f / sensor.tonic) for f in folders)
        raise InputError(
            f"Data set {name!r} is in none of {looked}, and Tonic could not fetch or read it "
            f"({first_line(error)[:120]}).",
            "Put Tonic's folder in one of these places, or name its parent with --data-dir.",
        ) from error


def _of_tonic(sensor: Sensor, events: Any, label: Any) -> tuple[Events, int]:
    # Where a sensor has one row or one polarity, Tonic has no such field, or it is always 1.
    polarities, rows, _ = sensor.size
    nothing = np.zeros(len(events), np.int64)
    p = events["p"] if polarities > 1 else nothing
    y = events["y"] if rows > 1 else nothing
    return Events(events["t"], p, y, events["x"]), int(label)


SHD_FILES = ("shd_train.h5", "shd_test.h5")
SHD_PER_SECOND = 1e6  # frames count times as integers: microseconds, as Tonic has them


def load_shd(request: Request) -> Dataset:
    """Load the Spiking Heidelberg Digits, which Tonic downloads and our own reader opens.

    Tonic would open the HDF5 files in this process (docs/decisions/0010).
    """
    sensor = SENSORS[request.name]
    folders = [f / sensor.tonic for f in search_path(request.data_dir)]
    folder = folder_with(folders, SHD_FILES)
    if folder is None:
        begun = next((f for f in folders if f.is_dir()), cache_folder() / sensor.tonic)
        with _tonic(request) as published:
            for file, train in zip(SHD_FILES, (True, False), strict=True):
                if not (begun / file).is_file():
                    published(train)
        folder = begun
    (x_train, y_train), (x_test, y_test) = (_shd_part(folder / f, request) for f in SHD_FILES)
    return checked(request.name, x_train, y_train, x_test, y_test, classes=sensor.classes)


def _shd_part(path: Path, request: Request) -> tuple[Ints, Labels]:
    """Read one of ``SHD_FILES``: ``labels`` and, in ``spikes``, ``times`` (s) and ``units``."""
    held, sensor = read_hdf5(path, "a file of spoken digits", sequences=True), SENSORS[request.name]
    labels = held.get("labels")
    with reading(path, "a file of spoken digits"):
        times, units = (_sequences(held, k) for k in ("times", "units"))
        if not isinstance(labels, np.ndarray) or labels.ndim != 1:
            raise ValueError("it has no labels")
        sizes = [list(map(len, v)) for v in (times, units)]
        if sizes[0] != sizes[1] or len(labels) != len(times):
            raise ValueError("labels, times and units differ in number")
        problems = label_problems("labels", labels, sensor.classes)
        if problems:
            raise ValueError("; ".join(problems))
        frame = math.prod(sensor.shape) * request.time_steps
        # Less than 700 bytes a recording, or 175 events as they are published, are too few.
        check_size(path, frame * len(labels), ratio=request.time_steps)

        def recordings() -> Iterable[tuple[Events, int]]:
            for t, x, label in zip(times, units, labels, strict=True):
                nothing = np.zeros(len(x), np.int64)
                scaled = t.astype(np.float64) * SHD_PER_SECOND
                yield Events(scaled, nothing, nothing, x), int(label)

        return _counted(recordings(), len(labels), sensor, request)


def _sequences(held: Group, name: str) -> list[NDArray[Any]]:
    """Return the sequences of numbers in ``spikes``.

    Raises:
        ValueError: there are none.
    """
    spikes = held.get("spikes")
    found = spikes.get(name) if isinstance(spikes, Group) else None
    values, lengths = (
        (found.get(k) for k in ("values", "lengths")) if isinstance(found, Group) else (None, None)
    )
    if (
        not isinstance(values, np.ndarray)
        or values.dtype.kind not in "biuf"
        or not isinstance(lengths, np.ndarray)
    ):
        raise ValueError(f"spikes/{name} holds {described(found)}, not sequences of numbers")
    return np.split(values, np.cumsum(lengths)[:-1])


def _counted(
    recordings: Iterable[tuple[Events, int]], count: int, sensor: Sensor, request: Request
) -> tuple[NDArray[np.uint8], Labels]:
    """Return frames ``[count, T, C, H, W]`` and labels ``[count]``."""
    shape = (count, request.time_steps, *sensor.shape)
    size = int(np.prod(shape, dtype=np.int64))
    if size > LARGEST_ARRAY:
        raise InputError(
            f"Data set {request.name!r} in {request.time_steps} steps takes "
            f"{sized(size)} of memory; at most {sized(LARGEST_ARRAY)} are used.",
            "Use fewer --time-steps.",
        )
    x, y = np.zeros(shape, np.uint8), np.zeros(count, np.int64)
    for i, (recording, label) in enumerate(recordings):
        x[i] = frames(recording, sensor.size, request.time_steps).reshape(shape[1:])
        y[i] = label
    return x, y


SUBSET_FILE = "nmnist_subset.npz"
SUBSET_FOLDERS = ("nmnist", "n-mnist", "events/n-mnist")
SUBSET_KEYS = ("x", "y", "p", "dt", "start", "label", "is_test")
TESTED = 25  # recordings of each class


def _nmnist_subset(path: Path, request: Request) -> Dataset:
    """Load N-MNIST recordings that are packed in one file.

    ``x``, ``y``, ``p`` and ``dt`` (microseconds since the event before) of all events; recording
    i has those from ``start[i]`` to ``start[i + 1]``, class ``label[i]``, and ``is_test[i]`` if it
    is of the published test part.
    """
    sensor, packed = SENSORS[request.name], read_npz(path, SUBSET_KEYS)
    problems = _packing_problems(packed, sensor.classes)
    if problems:
        raise InputError(f"{path} does not hold packed recordings: {'; '.join(problems)}.")
    frame = math.prod(sensor.shape) * request.time_steps
    # A recording of a published file takes four times the size of a frame.
    check_size(path, frame * len(packed["label"]), ratio=16 * request.time_steps)
    start, labels = packed["start"].astype(np.int64), packed["label"]
    published, events = packed["is_test"] != 0, [packed[k] for k in ("dt", "p", "y", "x")]

    def recordings(chosen: Ints) -> Iterable[tuple[Events, int]]:
        for i in chosen:
            dt, p, y, x = (v[start[i] : start[i + 1]] for v in events)
            yield Events(np.cumsum(dt.astype(np.int64)), p, y, x), int(labels[i])

    tested = chosen_for_test(labels, published)

    def part(chosen: NDArray[np.bool_]) -> tuple[Ints, Labels]:
        return _counted(recordings(np.flatnonzero(chosen)), int(chosen.sum()), sensor, request)

    note = (
        f"a subset of N-MNIST: {(~tested).sum()} training and {tested.sum()} test recordings, "
        f"of these {(tested & published).sum()} of the published test part and "
        f"{(tested & ~published).sum()} of its training part; not comparable with figures on all "
        "70,000"
    )
    return checked(request.name, *part(~tested), *part(tested), classes=sensor.classes, note=note)


def _packing_problems(packed: Mapping[str, Ints], classes: int) -> list[str]:
    """Say what keeps arrays from being recordings one after another."""
    problems = [
        f"{k} is {v.dtype} {list(v.shape)}, not [n] of integers"
        for k, v in packed.items()
        if v.ndim != 1 or v.dtype.kind not in "bui"
    ]
    if problems:
        return problems
    start, events = packed["start"], len(packed["dt"])
    many = {k: len(packed[k]) for k in ("dt", "p", "y", "x")}
    if len(set(many.values())) > 1:
        problems.append(f"events differ in number, {many}")
    each = {k: len(packed[k]) for k in ("start", "label", "is_test")}
    if each["start"] - 1 != each["label"] or each["label"] != each["is_test"]:
        problems.append(f"start must have one more than label and is_test, {each}")
    elif start[0] != 0 or start[-1] != events or (start[1:] < start[:-1]).any():
        problems.append(f"start does not rise from 0 to {events}, the number of events")
    dt = packed["dt"]
    if dt.size and (dt.min() < 0 or dt.max() >= 1 << 32):
        problems.append(f"dt runs from {dt.min()} to {dt.max()}, not from 0 to 2^32 microseconds")
    return problems + label_problems("label", packed["label"], classes)


def chosen_for_test(labels: Ints, published: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose the test part of a few recordings: those of the published one, and more.

    A class with fewer than 25 is filled up with its last training recordings, so that a class
    counts like another and a wrong answer is 0.4 points for ten classes.

    Args:
        labels: class of each recording, ``[N]``.
        published: whether it is of the published test part, ``[N]``.

    Returns:
        Whether it is for test, ``[N]``.
    """
    tested = published.copy()
    for label in np.unique(labels):
        mine = labels == label
        more = TESTED - int((mine & published).sum())
        if more > 0:
            tested[np.flatnonzero(mine & ~published)[-more:]] = True
    return tested
