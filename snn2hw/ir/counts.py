"""What happened on a chip, event by event, and what it cost: counts, ranges and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Synapses, fan_out
from snn2hw.ir.target import Figure

Floats = NDArray[np.float64]


def synops(events: NDArray[Any], synapses: Synapses) -> float:
    """Count synaptic operations: an event that meets a weight that is not zero is one.

    This is the only definition; a memory that holds zeros reads more (``Counts.work``).

    Args:
        events: of each source neuron ``[pre]``, in any unit (a total, a mean).
        synapses: what they meet.
    """
    return float(np.asarray(events, np.float64).reshape(-1) @ fan_out(synapses))


@dataclass(frozen=True, slots=True)
class Range:
    """A value and how low and high it may be."""

    typical: float
    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.typical + other.typical, self.low + other.low, self.high + other.high)

    def __mul__(self, other: Range) -> Range:
        """Multiply what is not negative."""
        return Range(self.typical * other.typical, self.low * other.low, self.high * other.high)

    def times(self, factor: float) -> Range:
        """Scale by a plain number."""
        return Range(self.typical * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        """Say the typical value and its range."""
        return f"{self.typical:.4g} ({self.low:.4g} to {self.high:.4g})"

    def json(self) -> dict[str, float]:
        """Return the three values by name, to six significant digits."""
        named = {"typical": self.typical, "low": self.low, "high": self.high}
        return {k: float(f"{v:.6g}") for k, v in named.items()}


NOTHING = Range(0.0, 0.0, 0.0)


def range_of(figure: Figure) -> Range:
    """Return a figure as a range."""
    return Range(figure.value, figure.low, figure.high)


@dataclass(frozen=True, slots=True)
class Times:
    """How long a sample takes on average, in microseconds.

    Args:
        latency_us: from its first input step until its last output step is over.
        period_us: from one sample to the next.
    """

    latency_us: Range
    period_us: Range


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """How often each event happened in N samples of T steps.

    Rows are the slices of the program's placement, in their order.

    Args:
        work: by event, how many in each of a sample's own steps, ``[slices, N, T]``.
        steady: by event, how many in every chip step, whatever arrives, ``[slices]``.
        host: by event, how many the host caused, ``[N]``.
    """

    work: Mapping[str, Floats]
    steady: Mapping[str, Floats]
    host: Mapping[str, Floats]

    def __post_init__(self) -> None:
        for name in ("work", "steady", "host"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return next(iter(self.work.values())).shape[1]

    @property
    def steps(self) -> int:
        """Steps of one sample."""
        return next(iter(self.work.values())).shape[2]

    @property
    def events(self) -> tuple[str, ...]:
        """Everything that is counted on the chip."""
        return tuple(dict.fromkeys((*self.work, *self.steady)))

    def per_sample(self, event: str, program: Program) -> Floats:
        """Return how many there are in each slice for one sample, on average: ``[slices]``."""
        found = np.zeros(len(program.placement.slices))
        if event in self.work:
            found += self.work[event].sum(axis=(1, 2)) / self.samples
        if event in self.steady:
            found += self.steady[event] * program.period(self.steps)
        return found

    def on_cores(self, program: Program, worth: Mapping[str, float]) -> Floats:
        """Add up events at the chip steps of all samples in a row: ``[cores, steps]``.

        Args:
            program: says when a layer works on which step, and what is on which core.
            worth: what one of each event adds; 0 where it is not named.
        """
        slices = program.placement.slices
        phases = np.array([program.phase[s.layer] for s in slices])[:, None]
        own = sum(w * worth.get(k, 0.0) for k, w in self.work.items())
        now = _in_a_row(np.asarray(own), phases, program)
        for event, each in self.steady.items():
            now += worth.get(event, 0.0) * each[:, None]
        first = np.searchsorted([s.core for s in slices], np.arange(program.placement.cores))
        return np.add.reduceat(now, first, axis=0)


def _in_a_row(own: Floats, phases: NDArray[Any], program: Program) -> Floats:
    """Put what slices do in samples' own steps ``[slices, N, T]`` at the chip steps of a stream.

    Where samples follow each other without a gap, layers work on different ones at a time, and
    what the last samples leave to do meets the first ones, as in a stream that goes on.
    """
    rows, samples, steps = own.shape
    if program.streams:
        at = (np.arange(samples * steps)[None] - phases) % (samples * steps)
        return np.take_along_axis(own.reshape(rows, -1), at, axis=1)
    period = program.period(steps)
    now = np.zeros((rows, samples, period))
    at = np.broadcast_to((np.arange(steps)[None] + phases)[:, None], own.shape)
    np.put_along_axis(now, at, own, axis=2)
    return now.reshape(rows, samples * period)


def join(parts: Sequence[Counts]) -> Counts:
    """Put the counts of consecutive samples together."""
    first = parts[0]
    return replace(
        first,
        work={k: np.concatenate([p.work[k] for p in parts], axis=1) for k in first.work},
        host={k: np.concatenate([p.host[k] for p in parts]) for k in first.host},
    )
