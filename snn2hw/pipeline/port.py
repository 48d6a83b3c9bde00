"""What feeds a network: the input, and the samples for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    ``trained_on`` says that the model was trained on these samples. ``sha256`` is a hash of samples
    from a file or an array, which their name does not tell apart; None of a data set, and of arrays
    until something is told of them (``labelled``), as a hash takes a fifth of a simulation's time.
    """

    inputs: Mapping[str, Ints]
    labels: NDArray[np.int64] | None
    source: str
    notes: tuple[str, ...] = ()
    recording: Mapping[str, Any] | None = None
    trained_on: bool = False
    sha256: str | None = None

    @property
    def silent(self) -> bool:
        """Whether all inputs are zero."""
        return not any(x.any() for x in self.inputs.values())

    def labelled(self, labels: NDArray[Any] | None) -> Samples:
        """Return samples from a file or an array with these labels, and their hash with them."""
        if self.sha256 is not None and (labels is None or labels is self.labels):
            return replace(self, labels=labels)
        known = None if labels is None else np.asarray(labels)
        return replace(self, labels=known, sha256=fingerprint(self.inputs, known))

    def told(self) -> dict[str, Any]:
        """Return what documents of results say of them beside ``source``."""
        found: dict[str, Any] = {"notes": list(self.notes)} if self.notes else {}
        found |= {"trained_on": True} if self.trained_on else {}
        found |= {"data_sha256": self.sha256} if self.sha256 else {}
        found |= {"silent": True} if self.silent else {}
        return found if self.recording is None else {**found, "recording": dict(self.recording)}


def fingerprint(inputs: Mapping[str, NDArray[Any]], labels: NDArray[Any] | None = None) -> str:
    """Return a hash of samples as they were given, by which two of one name are told apart.

    Whole numbers count by their values, whatever the type that holds them.

    Args:
        inputs: samples by input, ``[N, ...]``.
        labels: ``[N]``, if they are known.
    """
    hashed = hashlib.sha256()
    for name, array in [*sorted(inputs.items()), *([] if labels is None else [("y", labels)])]:
        kind = _narrowest(array) if array.dtype.kind in "bui" else np.dtype("<f8")
        hashed.update(f"{name} {kind.str} {array.shape} ".encode("utf-8", "surrogatepass"))
        for start in range(0, len(array), 256):  # a copy of all might be too large
            hashed.update(np.ascontiguousarray(array[start : start + 256], kind).data)
    return hashed.hexdigest()


def _narrowest(array: NDArray[Any]) -> np.dtype[Any]:
    """Return the smallest integers that hold all values: few bytes, and the same for all types."""
    ends = (int(array.min(initial=0)), int(array.max(initial=0)))
    return np.result_type(*map(np.min_scalar_type, ends)).newbyteorder("<")


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
