"""What a chip's neurons compute in a step: what training has to know to train them.

A family says it for a target; nothing here knows of a chip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from snn2hw.ir.network import Rules
from snn2hw.ir.nodes import Reset


@dataclass(frozen=True, slots=True)
class Parts:
    """What a step may leave of a state: a multiple of ``1 / count``, from 0 (nothing) to 1."""

    count: int

    def nearest(self, share: float) -> float:
        """Return the nearest share that there is."""
        return min(max(round(share * self.count), 0), self.count) / self.count

    def inner(self, share: float) -> float:
        """Return the nearest one that is neither 0 nor 1."""
        return min(max(round(share * self.count), 1), self.count - 1) / self.count

    def __str__(self) -> str:
        """Say it in a message."""
        return f"a multiple of 1/{self.count} from 0 to 1"


@dataclass(frozen=True, slots=True)
class Shifts:
    """What a step may leave of a state: ``1 - 2**-shift``, of the shifts ``least`` to ``most``."""

    least: int
    most: int

    def nearest(self, share: float) -> float:
        """Return the share whose loss is nearest as a power of two."""
        return self._nearest(share, self.least)

    def inner(self, share: float) -> float:
        """Return the nearest one that is neither 0 nor 1."""
        return self._nearest(share, max(self.least, 1))

    def _nearest(self, share: float, least: int) -> float:
        shift = -math.log2(1.0 - share) if share < 1.0 else math.inf
        return 1.0 - 2.0 ** -min(max(round(min(shift, self.most)), least), self.most)

    def __str__(self) -> str:
        """Say it in a message."""
        return f"1 - 1/2^k with k from {self.least} to {self.most}"


Decays = Parts | Shifts


@dataclass(frozen=True, slots=True)
class NeuronRules:
    """The neurons of a chip.

    Args:
        fires: a spike where the membrane is ``above`` the threshold, or already ``at`` it.
        resets: what may follow a spike.
        most: spikes that a hidden neuron sends in a step at most: one for each threshold that its
            membrane holds.
        most_out: the same of an output neuron.
        most_in: the largest number that an input sends in a step; None for any.
        membrane: what a step may leave of a membrane potential.
        current: what it may leave of a synaptic current.
        needs_current: every neuron has a synaptic current with a memory.
        time_constants: how many the neurons of one population may have; None for any number.
        bias: what a constant input is added to, the ``current`` or the ``membrane``.
        readouts: what may be read: ``spikes``, or the ``membrane`` of outputs that never spike.
        channels: values of an input in a step at most; None for any number.
        classes: output neurons at most; None for any number.
        loop: the largest population that may be connected to itself and hear all inputs, where the
            chip is so small that a student has to be made for it; None where it is not.
    """

    fires: Literal["above", "at"] = "above"
    resets: tuple[Reset, ...] = ("zero", "subtract")
    most: int = 1
    most_out: int = 1
    most_in: int | None = None
    membrane: Decays = Parts(4096)
    current: Decays = Parts(4096)
    needs_current: bool = False
    time_constants: int | None = None
    bias: Literal["current", "membrane"] = "current"
    readouts: tuple[Literal["spikes", "membrane"], ...] = ("spikes", "membrane")
    channels: int | None = None
    classes: int | None = None
    loop: int | None = None

    @property
    def several(self) -> bool:
        """Say whether some neuron may send several spikes in a step."""
        return max(self.most, self.most_out) > 1

    @property
    def of_network(self) -> Rules:
        """The rules of a network that is trained by these."""
        if not self.several:
            return Rules(fires=self.fires)
        return Rules(fires=self.fires, spikes="many", most=self.most, most_out=self.most_out)
