"""What a simulation saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

SPIKES = "spikes"


@dataclass(frozen=True, slots=True, eq=False)
class LayerTrace:
    """What one population sent and held, each ``[N, T, *shape]``, in the sample's own steps.

    Args:
        spikes: what it sent.
        states: by their names, in the order in which a step computes them.
    """

    spikes: NDArray[np.int32]
    states: Mapping[str, NDArray[np.int32]]

    def __getitem__(self, name: str) -> NDArray[np.int32]:
        return self.spikes if name == SPIKES else self.states[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The states, and the spikes that came of them."""
        return (*self.states, SPIKES)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Spikes of N samples of T steps.

    Arrays are in the sample's own time: index ``t`` of a layer is its chip step ``t + phase``.

    Args:
        spikes: of the output population, ``[N, T, *out]``.
        events: for every input and population, how many events neuron i had at step t,
            ``[T, size]``; sums over samples, so counts are exact.
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

    def whole(layer: str, what: str) -> NDArray[np.int32]:
        return np.concatenate([p.layers[layer][what] for p in parts])

    layers = {
        name: LayerTrace(whole(name, SPIKES), {k: whole(name, k) for k in layer.states})
        for name, layer in first.layers.items()
    }
    return replace(
        first,
        spikes=np.concatenate([p.spikes for p in parts]),
        events={k: np.sum([p.events[k] for p in parts], axis=0) for k in first.events},
        layers=layers,
        seconds=seconds,
    )
