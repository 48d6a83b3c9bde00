# pyright: basic
"""The loss of a training: labels, what the methods add, and what spikes cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.catalogue.methods import Plan, plan
from snn2hw.train.methods.cost import GROWTH, Cost
from snn2hw.train.methods.heads import make_heads
from snn2hw.train.methods.losses import Weights, labels
from snn2hw.train.methods.outputs import Outputs


class Objective(nn.Module):
    """Sums the losses of several methods; its own weights are those of their heads.

    Args:
        methods: what is learned from.
        weights: the constants of the losses.
        cost: what spikes cost, if anything.
    """

    pressure: Tensor

    def __init__(
        self, methods: Plan | None = None, weights: Weights | None = None, cost: Cost | None = None
    ) -> None:
        super().__init__()
        self.methods, self.weights = methods or plan("none"), weights or Weights()
        self.cost = cost
        self.heads = nn.ModuleDict()
        # How much more than at first a budget's excess weighs; kept in checkpoints.
        self.register_buffer("pressure", torch.ones(()))

    @property
    def stages(self) -> int:
        """How many of the last stages' features the losses look at."""
        return int(self.weights.stages) if self.methods.heads else 0

    def looks_at(self, stages: Sequence[str], populations: Iterable[str]) -> frozenset[str]:
        """Return the populations of a student whose spikes or features go into the loss.

        Args:
            stages: the student's, first to last.
            populations: all of the student's.
        """
        last = stages[len(stages) - self.stages :]
        return frozenset(last).union(populations if self.cost is not None else ())

    def prepare(self, student: Outputs, teacher: Outputs | None) -> None:
        """Build the heads for one batch's outputs, from torch's random state.

        Raises:
            InputError: there is no teacher, or what it gives does not suit a loss.
        """
        if teacher is None:
            if self.methods.needs_teacher:
                raise InputError(
                    f"Method {'+'.join(self.methods.names)!r} needs a teacher.",
                    "Use --method none.",
                )
            return
        if teacher.logits.shape != student.logits.shape:
            raise InputError(
                f"The teacher gives {teacher.logits.shape[-1]} classes, the student "
                f"{student.logits.shape[-1]}.",
                "Take a teacher of this data set's classes.",
            )
        self.heads = make_heads(self.methods.heads, student, teacher, self.stages)

    def forward(
        self, student: Outputs, teacher: Outputs | None, targets: Tensor
    ) -> dict[str, Tensor]:
        """Return the parts of the loss by name; the loss is their sum."""
        w = self.weights
        share = 1.0 - w.alpha if self.methods.has("shares") else 1.0
        heads: Any = self.heads
        if self.methods.has("each_step"):
            steps = student.steps
            every = targets.expand(len(steps), -1).flatten()
            hard = labels(steps.flatten(0, 1), every, w.smoothing)
        else:
            hard = labels(student.logits, targets, w.smoothing)
        parts = {"labels": share * hard}
        for loss in self.methods.losses:
            against = student if teacher is None else teacher
            parts[loss.__name__] = loss(student, against, targets, w, heads)
        if self.cost is not None:
            parts["cost"] = self.pressure * self.cost(student.spikes)
        return parts

    def after_epoch(self, means: Mapping[str, float]) -> None:
        """Weigh a budget that is still exceeded more, from the epoch's means of the parts."""
        if self.cost is None or not self.cost.budget:
            return
        excess = means["cost"] / max(self.cost.weight * float(self.pressure), 1e-12)
        self.pressure *= GROWTH if excess > 0 else 1.0
