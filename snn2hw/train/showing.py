# pyright: basic
"""How images reach a student that does not see them as they are: encoded, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snn2hw.datasets import Dataset
from snn2hw.encoders import Encoder
from snn2hw.train.recipe import Recipe


@dataclass(frozen=True)
class Show:
    """An encoder, and the images it is for.

    Args:
        encoder: how they are shown.
        pixels: the largest integer that a pixel can take.
    """

    encoder: Encoder
    pixels: int

    def __call__(self, x: Tensor, rows: Sequence[int] | Tensor, epoch: int = 0) -> Tensor:
        """Return what is shown of samples ``x [B, ...]``: integers ``[B, T, C, H, W]``.

        Args:
            x: integers.
            rows: which samples of their part of the data set these are.
            epoch: 0 for what tests see; every other one draws spikes of its own.
        """
        indices = rows.tolist() if isinstance(rows, Tensor) else rows
        shown = self.encoder.encode(x.cpu().numpy(), self.pixels, indices, epoch)
        return torch.from_numpy(shown).to(x.device)


def shown(show: Show | None, x: Tensor, rows: Sequence[int] | Tensor, epoch: int = 0) -> Tensor:
    """Return what a student is shown; images as they are without an encoder."""
    return x if show is None else show(x, rows, epoch)


def showing(recipe: Recipe, dataset: Dataset) -> Show | None:
    """Return how the recipe's student is shown a data set; None for as it is.

    Raises:
        InputError: the recipe's encoder does not take such data.
    """
    encoder = recipe.shown_by(dataset)
    if encoder.name == "direct":
        return None
    encoder.encode(dataset.x_train[:1], dataset.max_value)  # raises if it cannot
    return Show(encoder, dataset.max_value)
