# pyright: basic
"""What a training is asked to do, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from snn2hw.train.methods import Objective
from snn2hw.train.showing import Show
from snn2hw.train.structure import Structure


class Progress(Protocol):
    """Told how far a stage is; ``info`` holds loss, accuracy and the like."""

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Report that ``done`` of ``total`` steps of a stage are over."""
        ...


class Silent:
    """A ``Progress`` that nobody watches."""

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Job:
    """What to train, and how long.

    Args:
        stage: name in the log, of the checkpoint, and part of the seed.
        epochs: passes over the training data.
        objective: the loss.
        batch: samples in a step, over all devices.
        lr: highest learning rate; falls by half a cosine.
        optimizer: ``adamw`` (Loshchilov and Hutter, 2019), or ``sgd`` with Nesterov's momentum 0.9.
        weight_decay: of weights; biases and batch norm have none.
        seed: of the order of the data and of the augmentation.
        shift: images are moved by up to this many pixels in both directions.
        flip: half of the images are mirrored, left to right.
        cutout: side of a square that is hidden in every image (DeVries and Taylor, 2017,
            arXiv:1708.04552); 0 for none.
        scale: logits of an output that spikes in every step.
        gradient: through all time steps, or through mean rates (``rates.py``).
        structure: what may change the network's connections.
        tensorboard: write TensorBoard events beside the log.
        show: how images are encoded for the student; the teacher sees them as they are.
        facts: whatever else decides the result (JSON); a checkpoint made with other facts is
            refused.
    """

    stage: str
    epochs: int
    objective: Objective = field(default_factory=Objective)
    batch: int = 64
    lr: float = 3e-3
    optimizer: str = "adamw"
    weight_decay: float = 1e-2
    seed: int = 0
    shift: int = 0
    flip: bool = False
    cutout: int = 0
    scale: float = 1.0
    gradient: Literal["time", "rate"] = "time"
    structure: Structure = field(default_factory=Structure)
    tensorboard: bool = False
    show: Show | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def still(self) -> bool:
        """The training samples are the same in every epoch."""
        return not self.shift and not self.flip and not self.cutout
