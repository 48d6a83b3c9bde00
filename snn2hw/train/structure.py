# pyright: basic
"""What may change a network's connections while it is trained: pruning, growing, masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Structure:
    """Told by the training loop where it is; this one changes nothing.

    In an epoch the loop calls ``before_epoch``, then for each step ``penalty`` (with the loss),
    ``after_backward`` (gradients are there) and ``after_step`` (weights have moved). What does not
    follow from weights, epoch and step belongs in ``state``: a run that is resumed ends with the
    same weights, bit for bit.
    """

    def before_epoch(self, epoch: int) -> None:
        """Prepare epoch ``epoch``, counted from 0."""

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss of this step, if anything."""
        return None

    def after_backward(self, step: int, steps: int) -> None:
        """Look at, or change, the gradients of step ``step`` of ``steps`` in the whole job."""

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Put right what the optimizer moved; its state is there to be cleared."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned."""

    def finish(self) -> None:
        """Leave a plain network behind, its pruned weights exactly zero; training is over."""
