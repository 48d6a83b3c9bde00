# pyright: basic
"""Small networks that a loss trains beside the student, and that end with the training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.methods.losses import pairs
from snn2hw.train.methods.outputs import Outputs


class Align(nn.Module):
    """R: from the student's channels to the teacher's, a 1x1 convolution (or a dense layer)."""

    def __init__(self, mine: Tensor, theirs: Tensor) -> None:
        super().__init__()
        self.map = _linear(mine.shape[1], theirs.shape[1], flat=mine.ndim == 2)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, C, ...]`` to ``[B, C', ...]``."""
        return self.map(features)


class Restore(nn.Module):
    """Two layers that guess hidden channels: 3x3 convolutions, or dense layers."""

    def __init__(self, mine: Tensor, theirs: Tensor) -> None:
        super().__init__()
        flat, wide = mine.ndim == 2, theirs.shape[1]
        self.align = _linear(mine.shape[1], wide, flat=flat)
        side = 1 if flat else 3
        self.first, self.second = (_linear(wide, wide, flat=flat, side=side) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, C, ...]`` to ``[B, C', ...]``."""
        return self.second(torch.relu(self.first(self.align(features))))


def _linear(into: int, out: int, *, flat: bool, side: int = 1) -> nn.Module:
    if flat:
        return nn.Linear(into, out)
    return nn.Conv2d(into, out, side, padding=side // 2)


HEADS: dict[str, type[Align] | type[Restore]] = {"align": Align, "restore": Restore}


def make_heads(
    kinds: tuple[str, ...], student: Outputs, teacher: Outputs, stages: int
) -> nn.ModuleDict:
    """Build the heads for one batch's outputs; channels and ranks are read from them.

    Raises:
        InputError: the student or the teacher has no such stages, or they cannot be compared.
    """
    found = nn.ModuleDict()
    if not kinds:
        return found
    for who, outputs in (("student", student), ("teacher", teacher)):
        if stages > len(outputs.features):
            raise InputError(
                f"Features of {stages} stages are asked for; the {who} has "
                f"{len(outputs.features)} that can be read.",
                "Ask for fewer (stages), take a teacher of ours, or a method that uses its logits.",
            )
    for at, (mine, theirs) in enumerate(pairs(student, teacher, stages)):
        if mine.ndim == 4 and theirs.ndim == 2:
            raise InputError(
                f"A stage of the student has shape {tuple(mine.shape[1:])}, the teacher's is flat: "
                f"{tuple(theirs.shape[1:])}.",
                "Ask for fewer stages, or a student of the teacher's kind.",
            )
        for kind in kinds:
            found[f"{kind}{at}"] = HEADS[kind](mine, theirs)
    return found
