"""The noun: labelled samples of integers, split for training and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]
Labels = NDArray[np.int64]


TENTH = 10  # one in so many training samples is held out for choices


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples to classify, split for training and test.

    Args:
        name: what ``load`` was asked for.
        x_train: integers ``[N, C, H, W]``, or event frames ``[N, T, C, H, W]``.
        y_train: class of each sample, ``int64 [N]``, from 0.
        x_test: as ``x_train``, samples that training never sees.
        y_test: as ``y_train``.
        classes: how many classes there are.
        max_value: the largest integer that a pixel can take.
        note: what a reader of its accuracies must know, such as that these are only a part of
            the published samples; empty for none.
    """

    name: str
    x_train: Ints
    y_train: Labels
    x_test: Ints
    y_test: Labels
    classes: int
    max_value: int
    note: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of one image or frame."""
        channels, height, width = self.x_train.shape[-3:]
        return channels, height, width

    @property
    def frames(self) -> int | None:
        """Time steps of one sample of event frames; None for images."""
        return self.x_train.shape[1] if self.x_train.ndim == 5 else None

    def sha256(self) -> str:
        """Return a hash of all samples and labels."""
        hashed = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            hashed.update(f"{array.dtype.str} {array.shape} ".encode())
            hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()

    def without_test(self, name: str) -> Dataset:
        """Return the training data, of which a tenth of each class is held out for choices.

        Which samples they are is fixed; the test data is left alone. Of a class with a single
        sample none is held out.

        Args:
            name: of what is returned.
        """
        order = np.random.default_rng(0).permutation(len(self.y_train))
        out = np.zeros(len(self.y_train), np.bool_)
        for label in np.unique(self.y_train):
            of_it = order[self.y_train[order] == label]
            out[of_it[: max(len(of_it) // TENTH, int(len(of_it) > 1))]] = True
        note = (
            f"validation: {int(out.sum()):,} of {len(out):,} training samples are held out in "
            "place of the test data, which is not looked at"
        )
        return replace(
            self,
            name=name,
            x_train=self.x_train[~out],
            y_train=self.y_train[~out],
            x_test=self.x_train[out],
            y_test=self.y_train[out],
            note="; ".join(filter(None, (self.note, note))),
        )

    def subset(self, train: int, test: int) -> Dataset:
        """Return the first ``train`` and ``test`` samples."""
        return replace(
            self,
            x_train=self.x_train[:train],
            y_train=self.y_train[:train],
            x_test=self.x_test[:test],
            y_test=self.y_test[:test],
        )


class Request(NamedTuple):
    """What a loader is asked for.

    Args:
        name: a key of ``DATASETS``.
        argument: what followed its colon.
        data_dir: the folder to search first.
        time_steps: frames a recording is cut into; images and stored frames do without.
        shape: ``(C, H, W)`` or another shape of a step that recordings are for; None for theirs.
    """

    name: str
    argument: str = ""
    data_dir: Path | None = None
    time_steps: int = 1
    shape: tuple[int, ...] | None = None
