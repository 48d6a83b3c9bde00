"""What a simulation saw."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, listed, unknown_name
from snn2hw.ir.program import Program

SPIKES = "spikes"


class OnDemand(Mapping[str, NDArray[Any]]):
    """Arrays that are computed when they are asked for, as they may never be."""

    def __init__(self, made: Mapping[str, Callable[[], NDArray[Any]]]) -> None:
        self._made, self._known = made, dict[str, NDArray[Any]]()

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._known:
            self._known[name] = self._made[name]()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


@dataclass(frozen=True, slots=True, eq=False)
class LayerTrace:
    """What one population sent and held, each ``[N, T, *shape]``, in the sample's own steps.

    Args:
        spikes: what it sent, in 8 bits where that is enough.
        states: by their names, in the order in which a step computes them.
    """

    spikes: NDArray[np.integer[Any]]
    states: Mapping[str, NDArray[np.integer[Any]]]

    def __getitem__(self, name: str) -> NDArray[np.integer[Any]]:
        return self.spikes if name == SPIKES else self.states[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The states, and the spikes that came of them."""
        return (*self.states, SPIKES)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one output sent.

    Args:
        spikes: of its population, spikes or graded messages, ``[N, T, *out]``.
        phase: of its population.
    """

    spikes: NDArray[np.int32]
    phase: int

    @property
    def prediction(self) -> NDArray[np.int64]:
        """Class that sends most over all steps, ``[N]``; the first one where several tie."""
        return predicted(self.spikes)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Spikes of N samples of T steps.

    Arrays are in the sample's own time: index ``t`` of a layer is its chip step ``t + phase``.

    Args:
        outputs: the answer of each output, in the network's order.
        events: for every input and population, how many events neuron i had at step t,
            ``[T, size]``; sums over samples, so counts are exact.
        layers: everything of every population, if asked for.
        phase: of every population.
        depth: the largest phase of an output.
        seconds: time spent simulating.
        on: which simulator.
        weighed: for some inputs and populations, the sums of what their events are worth, in
            several ways, and last how many there were, ``[N, T, ways + 1]``, where a simulator was
            asked for it.
        active: of inputs and populations that may send several spikes in a step, in how many
            samples neuron i sent any at step t, ``[T, size]``; of the others, that is ``events``.
    """

    outputs: Mapping[str, Answer]
    events: Mapping[str, NDArray[np.int64]]
    layers: Mapping[str, LayerTrace]
    phase: Mapping[str, int]
    depth: int
    seconds: float
    on: str
    weighed: Mapping[str, NDArray[np.int64]] = field(default_factory=dict[str, NDArray[np.int64]])
    active: Mapping[str, NDArray[np.int64]] = field(default_factory=dict[str, NDArray[np.int64]])

    def __post_init__(self) -> None:
        for name in ("outputs", "events", "layers", "phase", "weighed", "active"):
            given = getattr(self, name)
            if not isinstance(given, OnDemand):
                object.__setattr__(self, name, MappingProxyType(dict(given)))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return next(iter(self.outputs.values())).spikes.shape[0]

    @property
    def steps(self) -> int:
        """Steps of one sample."""
        return next(iter(self.outputs.values())).spikes.shape[1]

    def answer(self, output: str | None = None) -> Answer:
        """Return the answer of an output; None is the only one.

        Raises:
            InputError: there is no such output, or there are several and none is named.
        """
        return self.outputs[chosen(self.outputs, output)]

    @property
    def predictions(self) -> dict[str, NDArray[np.int64]]:
        """For each output, the class that it sends most, ``[N]``."""
        return {name: answer.prediction for name, answer in self.outputs.items()}

    @property
    def spikes(self) -> NDArray[np.int32]:
        """What the only output sent, ``[N, T, *out]``; several raise InputError."""
        return self.answer().spikes

    @property
    def prediction(self) -> NDArray[np.int64]:
        """Class that the only output sends most, ``[N]``; several raise InputError."""
        return self.answer().prediction

    def on_chip_time(self, array: NDArray[Any], phase: int) -> NDArray[Any]:
        """Place ``[N, T, ...]`` at chip steps ``phase ..`` of ``[N, T + depth, ...]``.

        What a layer does after the last step of the last output is left out.
        """
        out = np.zeros((self.samples, self.steps + self.depth, *array.shape[2:]), array.dtype)
        out[:, phase : phase + self.steps] = array[:, : out.shape[1] - phase]
        return out


def answers(program: Program, sent: Mapping[str, NDArray[np.integer[Any]]]) -> dict[str, Answer]:
    """Return the answer of each output of a program.

    Args:
        program: what ran.
        sent: what each population sent, ``[N, T, ...]``.
    """
    net = program.network
    whole = {
        p: sent[p].reshape(*sent[p].shape[:2], *net.shape(p)).astype(np.int32)
        for p in net.outputs.values()
    }
    return {name: Answer(whole[p], program.phase[p]) for name, p in net.outputs.items()}


def predicted(sent: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class that sends most over all steps of ``[N, T, *out]``; the first of equals.

    What counts is the sum of what is sent: of spikes their number, of graded messages and membrane
    potentials their signed values.
    """
    return sent.reshape(*sent.shape[:2], -1).sum(axis=1).argmax(axis=1)


def chosen(outputs: Collection[str], name: str | None) -> str:
    """Return the name of the output that is meant: the one that is named, or the only one.

    Raises:
        InputError: there is no such output, or there are several and none is named.
    """
    if name is not None and name not in outputs:
        raise unknown_name("output", name, outputs)
    if name is None and len(outputs) > 1:
        raise InputError(
            f"The network has {len(outputs)} outputs ({listed(outputs)}), and each has an answer "
            "of its own.",
            "Say which one is meant: --output NAME; in Python output=NAME, or outputs[NAME] of a "
            "trace.",
        )
    return name or next(iter(outputs))


def join(parts: Sequence[Trace], seconds: float) -> Trace:
    """Put traces of consecutive samples together."""
    first = parts[0]
    if len(parts) == 1:
        return replace(first, seconds=seconds)

    def whole(layer: str, what: str) -> NDArray[np.integer[Any]]:
        return np.concatenate([p.layers[layer][what] for p in parts])

    layers = {
        name: LayerTrace(whole(name, SPIKES), {k: whole(name, k) for k in layer.states})
        for name, layer in first.layers.items()
    }
    outputs = {
        name: replace(answer, spikes=np.concatenate([p.outputs[name].spikes for p in parts]))
        for name, answer in first.outputs.items()
    }
    return replace(
        first,
        outputs=outputs,
        events={k: np.sum([p.events[k] for p in parts], axis=0) for k in first.events},
        layers=layers,
        seconds=seconds,
        weighed={k: np.concatenate([p.weighed[k] for p in parts]) for k in first.weighed},
        active={k: np.sum([p.active[k] for p in parts], axis=0) for k in first.active},
    )
