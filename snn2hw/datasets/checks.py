"""What makes arrays a data set, and everything that keeps them from being one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

import numpy as np

from snn2hw.datasets.dataset import Dataset, Ints
from snn2hw.errors import InputError

LARGEST_ARRAY = 8 * 2**30  # bytes; a file that claims more is refused before it is read
LARGEST_VALUE = 65535


def checked(
    name: str,
    x_train: Ints,
    y_train: Ints,
    x_test: Ints,
    y_test: Ints,
    classes: int | None = None,
    max_value: int | None = None,
    note: str = "",
) -> Dataset:
    """Make a ``Dataset`` of arrays from elsewhere, or name everything that is wrong with them.

    Args:
        name: what to call it in messages.
        x_train: images ``[N, C, H, W]``, frames ``[N, T, C, H, W]`` or time series
            ``[N, T, features]``, which are frames of ``[features, 1, 1]``; whole numbers from 0 to
            65535.
        y_train: ``[N]``, whole numbers from 0.
        x_test: as ``x_train``; only ``N`` may differ.
        y_test: as ``y_train``.
        classes: how many classes; by default one more than the largest label, and then none of
            them may be without training samples.
        max_value: largest possible pixel; by default the largest there is.
        note: what the data set has to say of itself; classes without test samples are added.

    Raises:
        InputError: lists every problem.
    """
    x_train, x_test = (x[..., None, None] if x.ndim == 3 else x for x in (x_train, x_test))
    problems: list[str] = []
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        problems += _pixel_problems(f"x_{part}", x) + label_problems(f"y_{part}", y, classes)
        if x.ndim and y.ndim and x.shape[0] != y.shape[0]:
            problems.append(f"x_{part} has {x.shape[0]} samples, y_{part} has {y.shape[0]}")
    if x_train.shape[1:] != x_test.shape[1:]:
        problems.append(f"x_train holds {x_train.shape[1:]}, x_test {x_test.shape[1:]}")
    if not problems:
        problems += _class_problems(y_train, y_test, classes)
        if x_train.min() == x_train.max():
            problems.append(f"every pixel of x_train is {x_train.flat[0]}")
    if problems:
        _refuse(name, problems)
    classes = classes or 1 + int(y_train.max())
    untested = sorted(set(range(classes)) - set(y_test.tolist()))
    if untested:
        missing = f"no test sample of {len(untested)} of {classes} classes ({_few(untested)})"
        note = f"{note}; {missing}" if note else missing
    top = max_value or max(1, int(x_train.max()), int(x_test.max()))
    dtype = np.uint8 if top <= 255 else np.uint16
    return Dataset(
        name,
        np.ascontiguousarray(x_train, dtype),
        y_train.astype(np.int64),
        np.ascontiguousarray(x_test, dtype),
        y_test.astype(np.int64),
        classes,
        top,
        note,
    )


def _refuse(name: str, problems: Sequence[str]) -> NoReturn:
    raise InputError(
        f"Data set {name!r} cannot be used: {'; '.join(problems)}.",
        "Images are whole numbers [N, C, H, W] (or frames [N, T, C, H, W], or time series "
        "[N, T, features]), labels [N] from 0.",
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


def label_problems(name: str, y: Ints, classes: int | None = None) -> list[str]:
    """Say what keeps an array from being labels ``[N]`` of so many classes."""
    if y.ndim != 1 or not y.size:
        return [f"{name} has shape {y.shape}"]
    if y.dtype.kind not in "ui":
        return [f"{name} holds {y.dtype}, not integers"]
    if y.min() < 0 or y.max() >= (classes or 100_000):
        return [f"{name} runs from {y.min()} to {y.max()}"]
    return []


def _class_problems(y_train: Ints, y_test: Ints, classes: int | None) -> list[str]:
    trained, tested = set(y_train.tolist()), set(y_test.tolist())
    problems: list[str] = []
    if len(trained) < 2:
        problems.append(f"y_train holds the one class {y_train[0]}; there must be two or more")
    unseen = tested - trained
    if unseen:
        problems.append(f"y_test holds what y_train lacks: {_few(unseen)}")
    gaps = set(range(max(trained | tested))) - trained - unseen if classes is None else set[int]()
    if gaps:
        problems.append(
            f"y_train goes to {y_train.max()} without {_few(gaps)} (number the classes from 0, "
            "with no gaps)"
        )
    return problems


def _few(labels: Collection[int], most: int = 8) -> str:
    """Name labels, or the first few of many."""
    named = ", ".join(str(i) for i in sorted(labels)[:most])
    return named if len(labels) <= most else f"{named} and {len(labels) - most} more"
