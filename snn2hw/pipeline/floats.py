"""Running a float network as its authors' tool would, without any chip."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.archives import write_npz
from snn2hw.errors import InputError
from snn2hw.files import reading
from snn2hw.ir.arrays import size_of
from snn2hw.ir.network import Network
from snn2hw.pipeline.given import moved
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Port, Samples, fingerprint
from snn2hw.pipeline.recorded import from_recording
from snn2hw.pipeline.samples import (
    PLAIN,
    data_for,
    held_out,
    one_input_only,
    recorded,
    remembered,
    sole,
    stored_arrays,
    told_encoder,
    trained_data,
)
from snn2hw.pipeline.shapes import fitted
from snn2hw.recordings import Binning
from snn2hw.simulate import floating
from snn2hw.simulate.inputs import outside


def samples_for(
    model: Model,
    *,
    data: str | None = None,
    file: Path | None = None,
    limit: int | None = None,
    data_dir: Path | None = None,
    output: str | None = None,
    binning: Binning = PLAIN,
    resize: str | None = None,
) -> Samples:
    """Take test samples of a data set, numbers ``x [N, T, *in]`` of an npz file, or a recording.

    Labels are for ``output``; None is the only one.
    """
    net = _float(model)
    labelled = sole(net.outputs(), output)
    if file is not None and not recorded(file, binning, resize):
        classes = None if labelled is None else size_of(net.outputs()[labelled].shape)
        inputs, labels = stored_arrays(file, limit, list(net.inputs()), classes)
        with reading(file, "a file of samples"):
            for name, port in net.inputs().items():
                inputs[name] = fitted(name, port.shape, inputs[name], net.time_steps)
            floating.check_inputs(net, inputs)
        notes, told = list[str](), fingerprint(inputs, labels)
        for name, port in net.inputs().items():
            notes += moved(name, port, inputs[name])
            inputs[name] = port.taken(inputs[name])
        return Samples(inputs, labels, file.name, tuple(notes), sha256=told)
    if len(net.inputs()) != 1:
        raise one_input_only(model.name, len(net.inputs()))
    ((name, node),) = net.inputs().items()
    steps, encoder = net.time_steps or 0, told_encoder(model.metrics)
    port = Port(model.name, name, node.shape, steps, node.max_value, encoder)
    if file is not None:
        return from_recording(file, port, binning)
    name, port = data_for(data or remembered(model.name, model.data), port, binning, resize)
    if not port.time_steps:
        raise InputError(
            f"{model.name} does not say how long a sample lasts.", "Give --time-steps."
        )
    return held_out(name, port, limit, data_dir, trained_data(model.metrics))


def simulate(
    model: Model,
    samples: Samples,
    *,
    record: bool = False,
    progress: Callable[[int, int], None] | None = None,
    output: str | None = None,
) -> tuple[dict[str, Any], floating.FloatTrace]:
    """Run a network; returns the document of ``snn2hw simulate --json`` and the trace.

    ``output`` is the one whose accuracy is told; None is the only one.
    """
    net = _float(model)
    began = time.perf_counter()
    trace = floating.run(
        net, samples.inputs, record=net.cells() if record else (), progress=progress
    )
    seconds = time.perf_counter() - began
    document: dict[str, Any] = {
        "model": model.name, "on": "float", "data": samples.source, "samples": trace.samples,
        "steps": trace.steps, "seconds": round(seconds, 6),
        "spikes_per_sample": sum(float(trace.events[n].sum()) for n in net.neurons())
        / trace.samples,
        "synops_per_sample": sum(floating.synops(net, trace.events).values()) / trace.samples,
        **samples.told(),
        "notes": [*model.notes, *_outside(net, samples), *samples.notes],
    }  # fmt: skip
    meant = sole(trace.outputs, output)
    if samples.labels is not None and meant is not None:
        document["accuracy"] = float((trace.predictions[meant] == samples.labels).mean())
    return document, trace


def _outside(net: Network, samples: Samples) -> list[str]:
    """Say which values a chip's inputs would not take."""
    ports = net.inputs()
    return [note for k, x in samples.inputs.items() for note in outside(ports[k], k, x)]


def save(path: Path, trace: floating.FloatTrace, labels: NDArray[np.int64] | None = None) -> None:
    """Write what the outputs received and, where recorded, every cell's output and membrane."""
    arrays: dict[str, Any] = {f"{k}.output": v for k, v in trace.outputs.items()}
    for name, received in trace.outputs.items():
        of = f"{name}." if len(trace.outputs) > 1 else ""
        arrays |= {f"{of}spikes": received, f"{of}prediction": trace.predictions[name]}
    arrays |= {f"{k}.spikes": v for k, v in trace.recorded.items()}
    arrays |= {f"{k}.v": v for k, v in trace.membranes.items()}
    arrays |= {} if labels is None else {"label": labels}
    write_npz(path, arrays, make_folder=False)


def _float(model: Model) -> Network:
    if not isinstance(model.network, Network):
        raise InputError(
            f"{model.name} holds a chip's integers, not a float network.",
            "Export it, then simulate the build.",
        )
    return model.network
