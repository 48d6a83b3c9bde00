# pyright: basic
"""What a teacher sees of a pixel: the data's integers, scaled as its training had them.

Files do not say how their pixels were scaled. Either the user does (``teacher_input``), or every
usual way is tried on training images and the one with most right answers is taken, aloud.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError

# Per channel on 0 to 1; torchvision's constants for ImageNet.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Scaling(NamedTuple):
    """``(x / top - mean) / std`` with ``mean`` and ``std`` for each channel, or one for all.

    ``name`` is what the user calls it: see ``find_scaling``.
    """

    name: str
    top: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


def unit(max_value: int) -> Scaling:
    """Return the scaling from 0 to 1."""
    return Scaling("unit", float(max_value), (0.0,), (1.0,))


def _standard(dataset: Dataset) -> Scaling:
    """Mean and standard deviation of each channel of the training part, to four digits."""
    top = dataset.max_value
    values = np.arange(top + 1) / top
    means: list[float] = []
    stds: list[float] = []
    for channel in range(dataset.shape[0]):
        counts = np.zeros(top + 1)
        for x in np.array_split(dataset.x_train, -(-len(dataset.x_train) // 1000)):
            counts += np.bincount(x[..., channel, :, :].reshape(-1), minlength=top + 1)
        share = counts / counts.sum()
        mean = float(values @ share)
        means.append(round(mean, 4))
        stds.append(round(math.sqrt(float((values - mean) ** 2 @ share)), 4) or 1.0)
    return Scaling("standard", float(top), tuple(means), tuple(stds))


# The usual scalings, the plainest first: among equals the first is taken.
SCALINGS: dict[str, Callable[[Dataset], Scaling]] = {
    "unit": lambda dataset: unit(dataset.max_value),
    "raw": lambda _dataset: Scaling("raw", 1.0, (0.0,), (1.0,)),
    "signed": lambda dataset: Scaling("signed", float(dataset.max_value), (0.5,), (0.5,)),
    "standard": _standard,
    "imagenet": lambda dataset: Scaling("imagenet", float(dataset.max_value), *IMAGENET),
}


def scalings(dataset: Dataset) -> list[Scaling]:
    """Return the usual scalings of a data set's pixels."""
    return [SCALINGS[name](dataset) for name in _names(dataset)]


def _names(dataset: Dataset) -> list[str]:
    return [n for n in SCALINGS if n != "imagenet" or dataset.shape[0] == 3]


def find_scaling(text: str, dataset: Dataset) -> Scaling:
    """Return a scaling by name, or from ``MEAN/STD``.

    Args:
        text: ``raw`` (the integers), ``unit`` (0 to 1), ``signed`` (-1 to 1), ``standard`` (mean
            and deviation of the training part), ``imagenet``, or numbers on 0 to 1 with commas
            for several channels: ``0.1307/0.3081``.
        dataset: what the pixels are from.

    Raises:
        InputError: it is none of these.
    """
    if text in _names(dataset):
        return SCALINGS[text](dataset)
    mean, slash, std = text.partition("/")
    channels = dataset.shape[0]
    try:
        parts = [tuple(float(v) for v in side.split(",")) for side in (mean, std)]
    except ValueError:
        parts = []
    right = slash and parts and all(len(p) in (1, channels) for p in parts)
    if not right or not np.isfinite(np.concatenate(parts)).all() or min(parts[1]) <= 0:
        raise InputError(
            f"{text!r} says no scaling of images with {channels} "
            f"{'channel' if channels == 1 else 'channels'}.",
            f"Known: {', '.join(_names(dataset))}; or MEAN/STD on 0 to 1, channels with commas.",
        )
    return Scaling(text, float(dataset.max_value), *parts)


class Scale(nn.Module):
    """Applies a scaling to integers ``[B, C, H, W]``; its numbers are in no state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0), persistent=False)
        self.register_buffer("std", torch.empty(0), persistent=False)
        self.set(scaling)

    def set(self, scaling: Scaling) -> None:
        """Replace the scaling."""
        self.scaling = scaling
        self.mean = _planes(scaling.mean).to(self.mean.device)
        self.std = _planes(scaling.std).to(self.std.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        return (x.float() / self.scaling.top - self.mean) / self.std


class Scaled(nn.Module):
    """A teacher: a network from integers to logits that scales its pixels first."""

    scale: Scale


def _planes(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
