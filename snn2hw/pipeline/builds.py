"""What can be done with a build: simulate it, verify it, price it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import estimator, families
from snn2hw.archives import npz_by_rows, write_npz
from snn2hw.errors import InputError, UnsupportedError, counted, sized, unknown_name
from snn2hw.ir.counts import Counts
from snn2hw.ir.trace import Trace
from snn2hw.ir.trace import join as joined
from snn2hw.pipeline import counting, proving
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.samples import sole
from snn2hw.simulate.inputs import check_inputs
from snn2hw.store import folders


def load_build(given: str | None, root: Path) -> folders.Build:
    """Open a build by path or name; None is the newest."""
    return folders.read_build(folders.find("builds", given, root))


def simulate(
    build: folders.Build,
    samples: Samples,
    on: str = "exact",
    *,
    states: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Run a build on our exact simulator or in the vendor's."""
    family = families.of(build.program.target)
    if on == "exact":
        return family.run(build.program, samples.inputs, states=states, progress=progress)
    simulators = families.simulators(build.program.target)
    if on in simulators:
        check_inputs(build.program, samples.inputs)
        vendor = simulators[on]
        return vendor.run(
            build.program, samples.inputs, program_file=build.program_file, vendor_file=None
        ).trace
    if on in families.vendors():
        vendor = family.vendors.get(on)
        why = vendor and vendor.why_not(build.program.target)
        raise UnsupportedError(
            f"{build.name} is built for {build.program.target.title}, which {on} does not "
            f"simulate{f': {why}' if why else ''}.",
            f"Use --on {' or '.join(['exact', *simulators])}.",
        )
    raise unknown_name("simulator", on, ("exact", *families.vendors(), "float"))


def accuracy(
    trace: Trace, labels: NDArray[np.int64] | None, output: str | None = None
) -> float | None:
    """Return the share of right predictions of an output; None is the only one.

    None without labels, and where several outputs could be meant and none is named.
    """
    meant = sole(trace.outputs, output)
    if labels is None or meant is None:
        return None
    return float((trace.outputs[meant].prediction == labels).mean())


def save_trace(
    path: Path, trace: Trace, labels: NDArray[np.int64] | None = None, *, layers: bool
) -> None:
    """Write spikes on chip time, predictions and labels, and with ``layers`` every state.

    Of several outputs, spikes and predictions are called ``<output>.spikes`` and so on.
    """
    write_npz(path, _arrays(trace, labels, layers=layers), make_folder=False)


def simulate_into(
    path: Path,
    build: folders.Build,
    samples: Samples,
    *,
    progress: Callable[[int, int], None] | None = None,
    memory: int = 1 << 28,
) -> Trace:
    """Run a build on our simulator and write everything that every layer does.

    Some samples at a time, so that what is written may be larger than the memory.

    Args:
        path: the npz file.
        build: the build.
        samples: what it is given.
        progress: called with (samples done, samples).
        memory: bytes that what is kept of some samples may take.

    Returns:
        The trace, without the layers.

    Raises:
        InputError: the disk has no room for it.
    """
    program = build.program
    count, steps = check_inputs(program, samples.inputs)
    # A spike takes up to 4 bytes, and so does each of two states.
    each = 12 * sum(p.size for p in program.network.populations) * program.chip_steps(steps)
    _check_room(path, count, each)
    run = families.of(program.target).run
    batch, traces = max(1, memory // each), list[Trace]()
    with npz_by_rows(path) as add:
        for start in range(0, count, batch):
            some = slice(start, start + batch)
            trace = run(
                program, {k: x[some] for k, x in samples.inputs.items()}, states=True,
                progress=progress and (lambda done, _, at=start: progress(at + done, count)),
            )  # fmt: skip
            labels = None if samples.labels is None else samples.labels[some]
            add(_arrays(trace, labels, layers=True))
            traces.append(replace(trace, layers={}))
    return joined(traces, sum(t.seconds for t in traces))


def _check_room(path: Path, count: int, each: int) -> None:
    """Refuse a trace that the disk has no room for, while it is not yet packed."""
    free = shutil.disk_usage(path.parent).free
    if count * each > free:
        fitting = free // each
        fewer = (
            f"Take at most {counted(fitting, 'sample')} (--samples)"
            if fitting
            else "Take samples of fewer steps, as not even one fits"
        )
        raise InputError(
            f"The trace of {counted(count, 'sample')} takes up to {sized(count * each)} before it "
            f"is packed, and {path.parent.resolve()} has {sized(free)} left.",
            f"{fewer}, leave out --trace, or save it on another disk.",
        )


def _arrays(
    trace: Trace, labels: NDArray[np.int64] | None, *, layers: bool
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name, answer in trace.outputs.items():
        of = f"{name}." if len(trace.outputs) > 1 else ""
        arrays[f"{of}spikes"] = trace.on_chip_time(answer.spikes, answer.phase)
        arrays[f"{of}prediction"] = answer.prediction
    if labels is not None:
        arrays["label"] = labels
    if layers:
        for name, layer in trace.layers.items():
            for what in layer.names:
                whole = trace.on_chip_time(layer[what], trace.phase[name])
                arrays[f"{name}.{what}"] = whole
    return arrays


def verify(
    build: folders.Build,
    samples: Samples,
    parts: Sequence[str] = (),
    neurons: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compare a build with the vendor's simulator.

    ``parts`` and ``neurons`` are as ``proving.compare_with_vendor`` takes them. The document names
    the program, by its hash; ``keeping.keep_proof`` keeps it.
    """
    found = proving.compare_with_vendor(
        build.program, samples.inputs, build.program_file, build.vendor_file, parts, neurons,
        progress,
    )  # fmt: skip
    return found | {"program": build.digest, "data": samples.source, **samples.told()}


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a build did on samples: its bill, what it sent, and every event that was counted."""

    report: estimator.EnergyReport
    trace: Trace
    counts: Counts
    samples: Samples

    def document(self, program: str) -> dict[str, Any]:
        """Return the document of ``energy.json``, of a program of this hash."""
        return {**self.report.json(), "program": program, **self.samples.told()}


def measure(
    build: folders.Build,
    samples: Samples,
    progress: Callable[[int, int], None] | None = None,
    output: str | None = None,
) -> Measured:
    """Run a build and price what was counted; ``keeping.keep_bill`` keeps it.

    ``output`` is the one whose accuracy is told; None is the only one.
    """
    trace, found = counting.run(build.program, samples.inputs, progress=progress)
    report = replace(
        counting.report(build.program, trace, found, build.program.target),
        data=samples.source, accuracy=accuracy(trace, samples.labels, output), output=output,
        trained_on=samples.trained_on, data_sha256=samples.sha256,
    )  # fmt: skip
    return Measured(report, trace, found, samples)
