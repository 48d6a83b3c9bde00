"""What a chip is compared with: the teacher and the student on this machine's processor.

The teacher runs on ONNX Runtime, in float32 and in int8. The student runs in our exact simulator,
which computes what the chip computes and goes from event to event, as a program for a processor
would; ONNX has no spikes, and a graph of T dense steps would compute the zeros too. Why: see
docs/decisions/0026-against-what-it-replaces.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, families, onnx_io
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError, Snn2hwError, UnsupportedError
from snn2hw.estimator import EnergyReport
from snn2hw.files import scratch
from snn2hw.host import prices as published
from snn2hw.host import rapl
from snn2hw.host.prices import Prices
from snn2hw.host.timing import Timed, processor, timed
from snn2hw.host.work import Work, estimated, of_events, of_layers
from snn2hw.ir.counts import Range
from snn2hw.ir.program import Program
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.run_folders import teacher_folder
from snn2hw.pipeline.training import need_training
from snn2hw.store import folders
from snn2hw.train.catalogue import is_file

BATCH = 32  # samples of a batch that is timed
CALIBRATION = 300  # training samples, evenly from all of them
STATES = 2  # numbers that a neuron keeps from step to step: a current and a membrane


@dataclass(frozen=True, slots=True)
class Row:
    """A network on something, or why it is not there.

    Args:
        who: ``teacher`` or ``student``, with its numbers.
        runs_on: what computes it.
        accuracy: on the same samples as the chip's; None without labels.
        latency_us: of one sample, measured here; None where nothing ran, or of a chip, estimated.
        energy_uj: of an inference; None where nobody can tell.
        how: how each of the numbers came about.
        more: what else is known, for documents.
    """

    who: str
    runs_on: str
    accuracy: float | None
    latency_us: float | None
    energy_uj: Range | None
    how: str
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def json(self) -> dict[str, Any]:
        """Return the row of ``energy.json``."""
        return {
            "who": self.who,
            "runs_on": self.runs_on,
            "accuracy": self.accuracy,
            "latency_us": None if self.latency_us is None else float(f"{self.latency_us:.4g}"),
            "energy_uj": None if self.energy_uj is None else self.energy_uj.json(),
            "how": self.how,
            **self.more,
        }


def of_chip(bill: EnergyReport) -> list[Row]:
    """Return the rows of the chip that a bill is of: all of its energy, and its work alone."""
    priced = "latency and energy estimated: counted events times the prices of the target file; "
    total = bill.boundaries()["chip"]["total_uj"]
    right, us = bill.accuracy, bill.latency_us.typical
    alone = "the chip's static power is not in it, as it is not in the rows of this machine"
    kind = {"energy_kind": "estimated"}
    return [
        Row("student", bill.title, right, us, total, f"{priced}with static power, no I/O", kind),
        Row("student, dynamic", bill.title, right, us, bill.dynamic_uj, f"{priced}{alone}", kind),
    ]


def rows(
    build: folders.Build, samples: Samples, bill: EnergyReport, data_dir: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> list[Row]:  # fmt: skip
    """Compare a build with its teacher and its student on this processor.

    Args:
        build: of a student.
        samples: that the bill is of.
        bill: of the build.
        data_dir: where to look for the teacher's data first.
        told: called with what is being done.

    Returns:
        The chip's rows, and those of this machine; what cannot run is a row that says why.
    """
    told("the teacher on this processor")
    found = teacher(build, samples, build.path.parent.parent, data_dir)
    told("the student on this processor")
    return [*of_chip(bill), *found, student(build.program, samples, bill)]


def student(program: Program, samples: Samples, bill: EnergyReport) -> Row:
    """Run the student in our exact simulator.

    Where energy is estimated, it is that of the events' own work; what the simulator does around it
    is in the latency only.
    """
    from snn2hw.compiled import threads_there  # here, as Numba takes long to import

    prices = published.load()
    run = families.of(program.target).run
    count = len(next(iter(samples.inputs.values())))
    one, some = ({k: x[:n] for k, x in samples.inputs.items()} for n in (1, BATCH))
    batch = min(BATCH, count)

    def call() -> object:
        return run(program, one)

    threads = min(batch, threads_there())
    taken = timed(call)
    together = timed(lambda: run(program, some))
    energy, how, more = _energy(call, _events(program, bill, prices), prices)
    return Row(
        "student, the chip's integers", here("snn2hw's exact simulator"), bill.accuracy, taken.us,
        energy, f"{_timed(taken)}; {how}",
        {"samples": count, **_batched(together, batch, threads), **more},
    )  # fmt: skip


def _events(program: Program, bill: EnergyReport, prices: Prices) -> Work:
    """Return the work of a program on a processor, from what was counted of the chip's."""
    net = program.network
    weights = [c.synapses.weight for c in net.connections]
    largest = max((int(np.abs(w.astype(np.int64)).max(initial=0)) for w in weights), default=0)
    neurons = sum(p.size for p in net.populations)
    return of_events(
        prices, bill.synops, neurons * bill.time_steps, sum(w.size for w in weights),
        1 if largest < 1 << 7 else 2 if largest < 1 << 15 else 4, STATES * neurons, bill.time_steps,
    )  # fmt: skip


def teacher(
    build: folders.Build, samples: Samples, root: Path, data_dir: Path | None = None
) -> list[Row]:
    """Run the teacher of a build's run in float32 and int8, or say why not.

    Args:
        build: of the student.
        samples: that the rows are of.
        root: the working directory, which has the run.
        data_dir: where to look for the teacher's data first.
    """
    try:
        run = folders.read_run(folders.find("runs", str(build.path), root))
        if run.metrics.get("data") != samples.source:
            raise UnsupportedError(
                f"the samples are of {samples.source}, the teacher was trained on "
                f"{run.metrics.get('data')}"
            )
        need_training()
        from snn2hw import train

        taught_by = train.load_teacher(teacher_folder(run))
        dataset = datasets.load(samples.source, data_dir)
        model = train.as_onnx(taught_by, dataset.shape)
        return _both(model, dataset, samples, str(run.metrics.get("teacher") or "teacher"))
    except Snn2hwError as error:
        return [_absent("teacher", str(error))]


def _absent(who: str, why: str) -> Row:
    return Row(who, here("ONNX Runtime"), None, None, None, f"not run: {why.rstrip('.')}")


def _both(model: Any, dataset: Dataset, samples: Samples, name: str) -> list[Row]:
    """Run a teacher in float32 and in int8."""
    count = len(next(iter(samples.inputs.values())))
    x, y = model.shown(dataset.x_test[:count]), dataset.y_test[:count]
    picked = np.linspace(0, len(dataset.x_train) - 1, min(CALIBRATION, len(dataset.x_train)))
    calibration = model.shown(dataset.x_train[picked.astype(np.int64)])
    found: list[Row] = []
    for numbers in ("float32", "int8"):
        who = f"teacher {Path(name).name if is_file(name) else name}, {numbers}"
        try:
            with scratch(Path(tempfile.gettempdir())) as folder:
                content = model.content
                if numbers == "int8":
                    content = onnx_io.quantized(content, calibration, folder)
            found.append(_ran(who, numbers, content, model.content, x, y))
        except InputError as error:
            found.append(_absent(who, str(error)))
    return found


def _ran(
    who: str, numbers: Any, content: bytes, plain: bytes, x: NDArray[Any], y: NDArray[Any]
) -> Row:  # fmt: skip
    """Run a model and say what it takes; its operations are those of the ``plain`` one."""
    prices = published.load()
    session = onnx_io.Session(content)
    right = np.concatenate(
        [session(x[i : i + BATCH]).argmax(axis=1) for i in range(0, len(x), BATCH)]
    )

    def call() -> object:
        return session(x[:1])

    taken, batch = timed(call), min(BATCH, len(x))
    together = timed(lambda: session(x[:batch]))
    work: Work | None
    try:
        n = onnx_io.operations(plain, (1, *x.shape[1:]))
        work = of_layers(prices, numbers, n.products, n.additions, n.weights, n.values)
    except InputError as error:
        energy, how, more = _energy(call, None, prices, str(error))
    else:
        energy, how, more = _energy(call, work, prices)
    return Row(
        who, here(f"ONNX Runtime {session.version}"), float((right == y).mean()), taken.us, energy,
        f"{_timed(taken)}; {how}",
        {"samples": len(x), **_batched(together, batch, 1), **more},
    )  # fmt: skip


def here(what: str) -> str:
    """Name what runs on this machine's processor."""
    return f"{processor()}, {what}"


def _timed(taken: Timed) -> str:
    return f"latency measured, the median of {taken.calls} calls with one sample, warm, one thread"


def _batched(taken: Timed, batch: int, threads: int) -> dict[str, Any]:
    """Return what a batch took."""
    each = float(f"{taken.us / batch:.4g}")
    return {"batch": {"samples": batch, "threads": threads, "each_us": each, "calls": taken.calls}}


def _energy(
    call: Callable[[], object], work: Work | None, prices: Prices, why_not: str = ""
) -> tuple[Range | None, str, dict[str, Any]]:
    """Return the energy of a call, how it came about, and what else is known of it."""
    counters = rapl.find()
    if counters.zones:
        found = rapl.measure(counters.zones, call)
        how = (
            f"energy measured by the processor's counters ({', '.join(found.zones)}) above the "
            f"{found.idle_w:.3g} W of the idle machine; low and high are the least and the most of "
            f"{rapl.ROUNDS} rounds"
        )
        return found.uj, how, {"energy_kind": "measured", "idle_w": float(f"{found.idle_w:.4g}")}
    if work is None:
        return None, f"no energy: {counters.why_not}, and it cannot be estimated: {why_not}", {}
    energy = estimated(work, prices)
    how = (
        f"energy estimated, as {counters.why_not}: operations, instructions and bytes moved at the "
        f"prices of a {prices.title}, low and high with all of the terms low or high; a newer "
        "processor takes less. Power of the idle machine and work around these operations are not "
        "in it"
    )
    parts = {
        f"{k}_uj": v.json()
        for k, v in (
            ("arithmetic", energy.arithmetic), ("instructions", energy.instructions),
            ("memory", energy.memory),
        )
    }  # fmt: skip
    counts = {
        "products": work.products, "additions": work.additions, "bytes": work.far.typical,
        "size_bytes": work.size,
    }  # fmt: skip
    short = {k: float(f"{v:.6g}") for k, v in counts.items()}
    return energy.total, how, {"energy_kind": "estimated", "work": short, "parts": parts}
