"""The whole story in one command: teacher, student, pruning, chip, proof, bill, page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn2hw import datasets, families
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.estimator import EnergyReport
from snn2hw.pipeline import against, builds, page, runs
from snn2hw.pipeline.comparing import compare_targets, row
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.keeping import keep_bill, keep_proof, last_proof
from snn2hw.pipeline.loading import load_model
from snn2hw.pipeline.samples import samples_for
from snn2hw.store.folders import Build, Run

if TYPE_CHECKING:
    from snn2hw.train import Progress

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """Who teaches whom, and the fields of ``train.Recipe`` that differ from the defaults."""

    teacher: str = "cnn"
    student: str = "cnn"
    options: Mapping[str, Any] = field(default_factory=dict)


# Fashion-MNIST has the recipe that docs/results/worth.md chose on validation data.
SETTINGS: Mapping[str, Setting] = {
    "fashion-mnist": Setting(
        "mlp-512-512", "mlp-512-512",
        {
            "method": "sakd+logits", "stages": 2, "logit_weight": 0.3, "neuron": "if",
            "smoothing": 0.1, "spike_cost": 30.0, "readout": "membrane", "time_steps": 4,
            "epochs": 6, "teacher_epochs": 12, "prune_epochs": 4, "batch": 128, "shift": 0,
        },
    )
}  # fmt: skip
# Who, accuracy, spikes and synops per sample.
Row = tuple[str, float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo made and found."""

    alone: Run
    student: Run
    pruned: Run
    build: Build
    accuracy: float
    samples: int
    report: EnergyReport
    verification: dict[str, Any]
    page: Path
    rows: list[Row]
    gained: str


def run(
    root: Path,
    data: str,
    *,
    seed: int,
    data_dir: Path | None,
    progress: Progress,
    say: Say,
    sparsity: float = 0.75,
    verify_samples: int = 20,
) -> Story:
    """Run the demo; what an earlier demo finished in this folder is not done again."""
    datasets.load(data, data_dir)  # a wrong name should not cost the time of an installation
    target = targets.load(families.DEFAULT_TARGET)
    vendors = [v.environment for v in families.simulators(target).values()]
    say("Installing the vendor's simulator, if it is not there")
    for vendor in vendors:
        vendor.install(say)
    say(f"Training a student on the labels of {data} alone, to see what a teacher adds")
    setting = SETTINGS.get(data, Setting())
    options = {**setting.options, "seed": seed}
    alone = runs.distill(
        root, teacher=setting.teacher, student=setting.student, data=data, ending="-labels",
        data_dir=data_dir, progress=progress, options={**options, "method": "none"},
    )  # fmt: skip
    say("Training a teacher, and the same student with it")
    student = runs.distill(
        root, teacher=setting.teacher, student=setting.student, data=data, data_dir=data_dir,
        progress=progress, options=options,
    )  # fmt: skip
    steps = int(student.metrics["time_steps"])
    told = _compared(alone, student, datasets.load(data, data_dir, time_steps=steps))
    say(f"Pruning {student.name} to {100 * sparsity:.0f} % zeros")
    pruned = runs.prune(
        root, str(student.path), sparsity=sparsity, data_dir=data_dir, progress=progress
    )
    say(f"Compiling for {target.title}: integers, cores, chip time")
    model = load_model(str(pruned.path), root)
    build = export(model, target, root, name=f"{model.name}-{target.name}")
    if build.replaced:
        say(f"note: {build.path} held another program, which is gone")
    everything = samples_for(build, data_dir=data_dir)
    say("Simulating the whole test set, bit for bit")
    measured = builds.measure(build, everything, lambda a, b: progress.update("simulate", a, b))
    report, trace = measured.report, measured.trace
    keep_bill(build.path, measured.document(build.digest), replace=True)
    names = " and ".join(v.title for v in vendors)
    say(f"Running {verify_samples} of them in {names} and comparing every spike and state")
    few = samples_for(build, limit=verify_samples, data_dir=data_dir)
    verification = builds.verify(build, few)
    note = keep_proof(build.path, verification)
    if note:
        say(f"note: {note}")
    right = report.accuracy or 0.0
    rows = story_rows(alone, student, pruned, right, report)
    say("Building and running it for the other targets, where it fits, for the page")
    others = compare_targets(
        model, [n for n in targets.names() if n != target.name],
        lambda b: samples_for(b, data_dir=data_dir),
        progress=lambda a, b: progress.update("targets", a, b),
    )  # fmt: skip
    say("Timing the teacher and the student on this processor, for the page")
    on_cpu = [
        *against.teacher(build, everything, root, data_dir),
        against.student(build.program, everything, report),
    ]
    evidence = page.of_build(
        build, measured, last_proof(build.path), command=f"snn2hw demo --data {data} --seed {seed}",
        root=root, targets=[row(build, measured), *others], others=[x.json() for x in on_cpu],
    )  # fmt: skip
    path = page.write(build.path / "report.html", evidence)
    return Story(
        alone,
        student,
        pruned,
        build,
        right,
        trace.samples,
        report,
        verification,
        path,
        rows,
        told,
    )


def story_rows(
    alone: Run, student: Run, pruned: Run, right: float, report: EnergyReport
) -> list[Row]:
    """Rows of the closing table: teacher, student without it and with it, pruned, on chip."""
    first, zeros = student.metrics, 100 * pruned.metrics.get("sparsity", 0)
    return [
        (f"teacher ({first.get('teacher', 'none')})", first["teacher_accuracy"], None, None),
        _row("student without the teacher, float", alone),
        _row("student, float", student),
        _row(f"pruned ({zeros:.0f} % zeros)", pruned),
        (f"on chip ({report.target} integers)", right, report.spikes, report.synops),
    ]


def _row(who: str, run: Run) -> Row:
    m = run.metrics
    return who, m["accuracy"], m["spikes_per_sample"], m["synops_per_sample"]


def gained(won: int, lost: int, samples: int) -> str:
    """Say what the teacher added to this one student, and whether chance can do as much.

    It can, if the difference is at most two standard errors (McNemar 1947, Psychometrika 12(2)):
    what only one of the two students gets right would fall to either like a coin.

    Args:
        won: samples that the student gets right with its teacher only.
        lost: samples that it gets right without it only.
        samples: of the test.
    """
    more = won - lost
    if not more:
        return f"The student gets as many of {samples:,} right with its teacher as without."
    chance = abs(more) <= 2 * math.sqrt(won + lost)
    return (
        f"The student gets {abs(more):,} {'more' if more > 0 else 'fewer'} of {samples:,} right "
        f"with its teacher{', which may be chance' if chance else ''}."
    )


def _compared(alone: Run, taught: Run, dataset: Dataset) -> str:
    """Run a student of each kind on the test samples and say what the teacher added."""
    from snn2hw import train

    x, y = dataset.x_test, dataset.y_test
    students = (train.load_student(run.path) for run in (alone, taught))
    without, with_it = (train.evaluate(s, x, y).predictions == y for s in students)
    return gained(int((with_it & ~without).sum()), int((without & ~with_it).sum()), len(y))
