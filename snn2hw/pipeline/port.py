"""What feeds a network: the input, and the samples for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.encoders import Encoder
from snn2hw.ir.arrays import Shape

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Inputs for a network, ``[N, T, *shape]`` by port, with labels if there are any.

    Those of a program are what the host sends it (``simulate/inputs.py``).

    ``notes`` are what a reader of the results must know: what a data set says of itself
    (``Dataset.note``), or how a recording was shown, for which ``recording`` has the figures.
    """

    inputs: Mapping[str, Ints]
    labels: NDArray[np.int64] | None
    source: str
    notes: tuple[str, ...] = ()
    recording: Mapping[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """Return what documents of results say of them beside ``source``."""
        found: dict[str, Any] = {"notes": list(self.notes)} if self.notes else {}
        return found if self.recording is None else {**found, "recording": dict(self.recording)}


class Port(NamedTuple):
    """The one input that a data set feeds.

    Args:
        owner: the network's name, for messages.
        name: of the input.
        shape: of one step.
        time_steps: of one sample; 0 if nobody says.
        max_value: the largest integer that it takes.
        encoder: how images were shown in training; None for directly.
    """

    owner: str
    name: str
    shape: Shape
    time_steps: int
    max_value: int
    encoder: Encoder | None = None
