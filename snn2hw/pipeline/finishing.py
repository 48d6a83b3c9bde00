"""What a finished run holds: the network for others, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import families, nir_io
from snn2hw.datasets import Dataset
from snn2hw.encoders import Encoder
from snn2hw.files import write_json
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d
from snn2hw.leading import leads
from snn2hw.passes import unit_resistance
from snn2hw.store import folders
from snn2hw.store.folders import Run

if TYPE_CHECKING:
    from snn2hw.train import Recipe, Spiking


def finish(
    path: Path, made: Spiking, dataset: Dataset, recipe: Recipe, facts: Mapping[str, Any]
) -> Run:
    """Write ``student.nir`` and ``metrics.json`` of a trained student; the run is the newest.

    Args:
        path: the run's folder.
        made: the student.
        dataset: what it was trained on; its test part is measured.
        recipe: what it was trained by.
        facts: more to tell; ``teacher_accuracy`` at least, a share or None.
    """
    if not leads():
        raise SystemExit(0)  # of several processes, the first one writes and reports
    from snn2hw import train

    net, metrics = measured(made, dataset, recipe, facts)
    nir_io.write(path / "student.nir", unit_resistance(net))
    seconds = sum(float(row.get("seconds", 0)) for row in train.read_log(path / "log.jsonl"))
    write_json(path / "metrics.json", metrics | {"seconds": round(seconds, 3)})
    return finished(path)


def measured(
    made: Spiking, dataset: Dataset, recipe: Recipe, facts: Mapping[str, Any]
) -> tuple[Network, dict[str, Any]]:
    """Return a trained student as a network, and ``metrics.json`` of it, without its seconds.

    Args:
        made: as in ``finish``, and so are the others.
        dataset: its test part is measured.
        recipe: what it was trained by.
        facts: more to tell.
    """
    from snn2hw import train
    from snn2hw.train.showing import showing

    show, encoder = showing(recipe, dataset), recipe.shown_by(dataset)
    found = train.evaluate(made, dataset.x_test, dataset.y_test, show=show)
    net = train.to_network(made)
    metrics: dict[str, Any] = {
        "accuracy": found.accuracy,
        "samples": len(dataset.x_test),
        "teacher_accuracy": facts["teacher_accuracy"],
        "spikes_per_sample": found.spikes_per_sample,
        "synops_per_sample": synops(net, found.spikes, dataset, encoder),
        **size(net),
        "time_steps": net.time_steps,
        "method": recipe.method,
        "data": recipe.data,
        **({"encoder": encoder.to_json()} if show is not None else {}),
        **({"data_note": dataset.note} if dataset.note else {}),
        "seed": recipe.seed,
        "seconds": 0.0,
        **({"teacher": recipe.teacher} if recipe.plan.needs_teacher else {}),
        "student": recipe.student,
        **({"target": recipe.target} if recipe.target != families.DEFAULT_TARGET else {}),
        **{k: v for k, v in facts.items() if k != "teacher_accuracy"},
    }
    return net, metrics


def finished(path: Path) -> Run:
    """Read a run that is finished, and make it the newest."""
    run = folders.read_run(path)
    folders.set_latest(run.path)
    return run


COUNTED_AT_ONCE = 500  # samples, whose inputs over time are in memory


def size(net: Network) -> dict[str, int]:
    """Count parameters (weights and biases) and connections (non-zero weights)."""
    weights: list[NDArray[Any]] = []
    biases = 0
    for node in net.nodes.values():
        if isinstance(node, Affine | Conv2d):
            weights.append(node.weight if isinstance(node, Affine) else node.kernel.weight)
            biases += node.bias.size
    return {
        "parameters": sum(w.size for w in weights) + biases,
        "connections": sum(int(np.count_nonzero(w)) for w in weights),
    }


def synops(
    net: Network,
    spikes: Mapping[str, NDArray[np.float64]],
    dataset: Dataset,
    encoder: Encoder | None = None,
) -> float:
    """Count delivered (event, non-zero weight) pairs per test sample, input values included.

    Where neurons send several spikes a step, a value counts as that many events.

    Args:
        net: the float student.
        spikes: mean spikes per sample of each neuron, by population.
        dataset: for the inputs, which count where they are not zero.
        encoder: how they are shown; None for directly.
    """
    from snn2hw.simulate import floating  # here, as its compiler takes long to import

    x, shown = dataset.x_test, encoder or Encoder(time_steps=net.time_steps or 1)
    active = np.zeros(shown.shape(dataset.shape), np.int64)
    for start in range(0, len(x), COUNTED_AT_ONCE):
        rows = range(start, min(start + COUNTED_AT_ONCE, len(x)))
        encoded = shown.encode(x[start : rows.stop], dataset.max_value, rows)
        counted = encoded if net.rules.spikes == "many" else encoded != 0
        active += counted.sum(axis=(0, 1), dtype=np.int64)
    events = {name: active.reshape(-1) / len(x) for name in net.inputs()} | dict(spikes)
    return sum(floating.synops(net, events).values())
