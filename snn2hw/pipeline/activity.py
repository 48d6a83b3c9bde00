"""What a build did on samples, reduced to what a page can show of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snn2hw import families
from snn2hw.ir.program import Program
from snn2hw.ir.trace import SPIKES, LayerTrace
from snn2hw.pipeline.builds import Measured
from snn2hw.pipeline.samples import sole
from snn2hw.report.evidence import Activity, Floats, Recorded, SampleShown

SHOWN = 4  # samples that are shown one by one
LAYERS = 6  # populations of each, the first, the last and some between
NEURONS = 48  # of each population in a raster
MEMBRANES = 3  # of each population; of an output more
CLASSES = 10  # membranes of an output


def activity(program: Program, measured: Measured, shown: int = SHOWN) -> Activity:
    """Reduce what a build did, and run a few samples again to see inside.

    Args:
        program: what ran.
        measured: what was counted and sent.
        shown: how many samples to look into.
    """
    trace, labels = measured.trace, measured.samples.labels
    output = sole(trace.outputs, measured.report.output)
    predicted = None if output is None else trace.outputs[output].prediction
    names = _some([p.name for p in program.network.populations], LAYERS)
    picked = _picked(trace.samples, predicted, labels, shown)
    confusion = None
    if predicted is not None and labels is not None:
        answer = trace.outputs[str(output)].spikes
        confusion = _confusion(labels, predicted, int(np.prod(answer.shape[2:])))
    return Activity(
        spikes={
            p.name: trace.events[p.name].sum(axis=1) / trace.samples
            for p in program.network.populations
        },
        confusion=confusion,
        core_uj=_by_core(program, _slice_uj(program, measured)),
        core_sent=_by_core(program, _slice_sent(program, measured)),
        samples=tuple(
            SampleShown(
                i, None if labels is None else int(labels[i]),
                None if predicted is None else int(predicted[i]),
                _recorded(program, measured, i, names),
            )
            for i in picked
        ),
        left_out=len(program.network.populations) - len(names),
    )  # fmt: skip


def _some(names: Sequence[str], most: int) -> list[str]:
    """Return the first, the last, and evenly between them as many as may be."""
    if len(names) <= most:
        return list(names)
    return [names[int(i)] for i in np.linspace(0, len(names) - 1, most).round()]


def _picked(
    samples: int,
    predicted: NDArray[np.int64] | None,
    labels: NDArray[np.int64] | None,
    shown: int,
) -> list[int]:
    """Choose the first samples, of which half are wrong predictions where there are such."""
    first = list(range(samples))
    if predicted is None or labels is None:
        return first[:shown]
    wrong = np.flatnonzero(predicted != labels)[: shown // 2].tolist()
    rest = [i for i in first[: shown * 2] if i not in wrong]
    return sorted([*wrong, *rest[: shown - len(wrong)]])


def _confusion(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count samples by class (rows) and prediction (columns)."""
    size = max(classes, int(labels.max()) + 1)
    found = np.zeros((size, size), np.int64)
    np.add.at(found, (labels, predicted), 1)
    return found


def _slice_uj(program: Program, measured: Measured) -> Floats:
    """Return the dynamic energy per inference of each slice, in microjoules."""
    prices, counts = program.target.prices, measured.counts
    found = np.zeros(len(program.placement.slices))
    for event in counts.events:
        found += counts.per_sample(event, program) * prices[event].value * 1e-6
    return found


def _slice_sent(program: Program, measured: Measured) -> Floats:
    """Return the spikes per inference that the neurons of each slice send."""
    each = {k: e.sum(axis=0) / measured.trace.samples for k, e in measured.trace.events.items()}
    return np.array([each[s.layer][s.span.where].sum() for s in program.placement.slices])


def _by_core(program: Program, of_slices: Floats) -> Floats:
    found = np.zeros(program.placement.cores)
    np.add.at(found, [s.core for s in program.placement.slices], of_slices)
    return found


def _recorded(
    program: Program, measured: Measured, sample: int, names: Sequence[str]
) -> tuple[Recorded, ...]:
    """Run one sample, and keep some neurons of some populations."""
    inputs = {k: x[sample : sample + 1] for k, x in measured.samples.inputs.items()}
    run = families.of(program.target).run
    trace = run(program, inputs, states=True, layers=set(names))
    outputs = set(program.network.outputs.values())
    return tuple(
        _of_layer(name, trace.layers[name], CLASSES if name in outputs else MEMBRANES)
        for name in names
    )


def _of_layer(name: str, layer: LayerTrace, watched: int) -> Recorded:
    sent = np.abs(layer[SPIKES][0].reshape(layer[SPIKES].shape[1], -1)).astype(np.int64)
    size = sent.shape[1]
    neurons = np.unique(np.linspace(0, size - 1, min(size, NEURONS)).round().astype(np.int64))
    if not layer.states:
        return Recorded(name, size, neurons, sent[:, neurons], "", neurons[:0], sent[:, :0])
    state = list(layer.states)[-1]  # the membrane, as a step computes it last
    held = layer[state][0].reshape(len(sent), -1).astype(np.int64)
    moving = np.sort(np.argsort(-held.std(axis=0), kind="stable")[:watched])
    return Recorded(name, size, neurons, sent[:, neurons], state, moving, held[:, moving])
