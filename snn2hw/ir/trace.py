"""What a simulation saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class LayerTrace:
    """Spikes and states of one population, each ``[N, T, *shape]``, in the sample's own steps."""

    spikes: NDArray[np.int32]
    v: NDArray[np.int32]
    u: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Spikes of N samples of T steps.

    Arrays are in the sample's own time: index ``t`` of a layer is its chip step ``t + phase``.

    Args:
        spikes: of the output population, ``[N, T, *out]``.
        events: for every input and population, how many samples had an event at step t in
            neuron i, ``[T, size]``; sums over samples, so counts are exact.
        layers: everything of every population, if asked for.
        phase: of every population.
        seconds: time spent simulating.
        on: which simulator.
    """

    spikes: NDArray[np.int32]
    events: Mapping[str, NDArray[np.int64]]
    layers: Mapping[str, LayerTrace]
    phase: Mapping[str, int]
    depth: int
    seconds: float
    on: str

    def __post_init__(self) -> None:
        for name in ("events", "layers", "phase"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.spikes.shape[0]

    @property
    def steps(self) -> int:
        """Steps of one sample."""
        return self.spikes.shape[1]

    @property
    def prediction(self) -> NDArray[np.int64]:
        """Class that sends most over all steps, ``[N]``; the first one where several tie.

        What counts is the sum of what the output sends: of spikes their number, of graded messages
        their signed values.
        """
        counts = self.spikes.reshape(self.samples, self.steps, -1).sum(axis=1)
        return counts.argmax(axis=1)

    def on_chip_time(self, array: NDArray[np.int32], phase: int) -> NDArray[np.int32]:
        """Place ``[N, T, ...]`` at chip steps ``phase ..`` of ``[N, T + depth, ...]``.

        What a layer does after the output's last step is left out.
        """
        out = np.zeros((self.samples, self.steps + self.depth, *array.shape[2:]), array.dtype)
        out[:, phase : phase + self.steps] = array[:, : out.shape[1] - phase]
        return out


def join(parts: Sequence[Trace], seconds: float) -> Trace:
    """Put traces of consecutive samples together."""
    first = parts[0]

    def cat(pick: Callable[[LayerTrace], NDArray[np.int32]], name: str) -> NDArray[np.int32]:
        return np.concatenate([pick(p.layers[name]) for p in parts])

    layers = {
        name: LayerTrace(
            cat(lambda x: x.spikes, name), cat(lambda x: x.v, name), cat(lambda x: x.u, name)
        )
        for name in first.layers
    }
    return replace(
        first,
        spikes=np.concatenate([p.spikes for p in parts]),
        events={k: np.sum([p.events[k] for p in parts], axis=0) for k in first.events},
        layers=layers,
        seconds=seconds,
    )
