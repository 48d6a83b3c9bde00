"""What a page shows of one build: its documents, its bill, and what it did on samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.estimator import EnergyReport
from snn2hw.report.proof import Proved

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Some neurons of one population on one sample.

    Args:
        layer: the population.
        size: its neurons, all of them.
        neurons: which are shown in the raster, ``[n]``.
        spikes: how many each of these sent at each step, ``[T, n]``; of a graded neuron, how large
            a value.
        state: name of the membrane potential, as its vendor calls it; "" if there is none.
        watched: neurons whose membrane is shown, ``[k]``.
        membranes: theirs after each step, in the chip's integers, ``[T, k]``.
    """

    layer: str
    size: int
    neurons: NDArray[np.int64]
    spikes: NDArray[np.int64]
    state: str
    watched: NDArray[np.int64]
    membranes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SampleShown:
    """One sample: its number among the samples, its class if known, and what the build said."""

    number: int
    label: int | None
    predicted: int | None
    layers: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """What a build did on samples, on average or on a few of them.

    Args:
        spikes: of each population, how many at each step of a sample, ``[T]``, on average.
        confusion: samples by class and prediction, ``[classes, classes]``; None without labels.
        core_uj: dynamic energy of each core per inference.
        core_sent: spikes that the neurons of each core send per inference.
        samples: those that are shown one by one.
        left_out: populations that these leave out.
    """

    spikes: Mapping[str, Floats]
    confusion: NDArray[np.int64] | None
    core_uj: Floats
    core_sent: Floats
    samples: tuple[SampleShown, ...]
    left_out: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Subject:
    """One build.

    Args:
        name: of the build.
        info: ``build.json``.
        placement: ``placement.json``.
        report: its bill.
        proof: what was proved of its program.
        activity: what it did.
        notes: what a reader must know of the samples.
    """

    name: str
    info: Mapping[str, Any]
    placement: Mapping[str, Any]
    report: EnergyReport
    proof: Proved
    activity: Activity
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Of:
    """What an accuracy is of.

    ``samples`` is their number and ``data`` their name; None if nobody wrote it down. ``sha256`` is
    a hash of those whose name does not tell them apart, and ``trained_on`` says that who is
    measured was trained on them.
    """

    samples: int | None
    data: str | None
    trained_on: bool = False
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step from the teacher to the chip: who, and what it scores and sends.

    ``accuracy`` is of ``of``.
    """

    who: str
    accuracy: float | None
    of: Of
    spikes: float | None = None
    synops: float | None = None
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A run or build of the folder: accuracy on some samples, and what an inference takes.

    ``uj`` is the chip's energy in microjoules; None of a run, which has no chip. ``sha256`` is as
    in ``Of``.
    """

    name: str
    kind: str
    data: str
    samples: int
    accuracy: float
    synops: float
    uj: float | None = None
    here: bool = False
    sha256: str | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """Everything that a page shows.

    Args:
        title: of the page.
        subjects: builds, at least one, or none where no target takes the model.
        chain: from the teacher to the chip.
        chain_notes: what is left out of it, and why.
        targets: rows of ``snn2hw energy compare --json``; empty if it was not asked for.
        others: rows of what else runs the model, such as a processor: ``who``, ``runs_on``,
            ``accuracy``, ``latency_us``, ``energy_uj`` (low, typical, high, without idle power;
            None where nobody knows), ``how`` and, if known, ``samples``.
        points: accuracy against energy of what is in the folder.
        left_out: what is not among the points, and why.
        made: when, by which command and with which versions: pairs of words.
    """

    title: str
    subjects: tuple[Subject, ...]
    chain: tuple[Step, ...] = ()
    chain_notes: tuple[str, ...] = ()
    targets: tuple[Mapping[str, Any], ...] = ()
    others: tuple[Mapping[str, Any], ...] = ()
    points: tuple[Point, ...] = ()
    left_out: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict[str, str])
