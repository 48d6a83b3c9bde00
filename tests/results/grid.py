"""Runs a grid of trainings, one result at a time, and keeps each as a row of a JSON file.

A result that is there is not computed again; whoever stops the command goes on with it later, in
the middle of a training too. Rows hold all that decides them (``recipe``), so a row whose recipe
was changed since is computed anew. Several processes may work on one grid: each takes what no
other has taken.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn2hw import datasets, train
from snn2hw.datasets import Dataset
from snn2hw.pipeline import finishing

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@dataclass(frozen=True)
class Case:
    """One training of a grid, for each seed.

    Args:
        name: of the row in the table.
        data: data set.
        student: a name in ``STUDENTS``.
        teacher: a name in ``TEACHERS``, a ``Case`` whose student teaches, or None.
        options: fields of ``Recipe``.
        teacher_options: fields of ``Recipe`` of the teacher's training.
        precision: as in ``Devices``.
        teacher_precision: of the teacher's training.
        prune: share of the weights that goes afterwards; 0 for none.
        pruner: a name in ``PRUNERS``.
        base: name of the row whose student is pruned; by default one of this row's own.
    """

    name: str
    data: str
    student: str
    teacher: str | Case | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    teacher_options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "bf16-mixed"
    teacher_precision: str = "32-true"
    prune: float = 0.0
    pruner: str = "lamp"
    base: str = ""

    @property
    def whole(self) -> Case:
        """The case of the student that is pruned."""
        return replace(self, name=self.base or f"{self.name}, before", prune=0.0)

    def recipe(self, seed: int) -> Any:
        """Return the recipe of one seed."""
        taught = self.teacher if isinstance(self.teacher, str) else "cnn"
        return train.defaults(self.student, self.data, taught, seed=seed, **self.options)

    def key(self, seed: int) -> str:
        """Name one training of the grid."""
        return f"{self.data}/{self.student}/T{self.recipe(seed).time_steps}/{self.name}/{seed}"


class Plain:
    """Prints what the training loop reports, a line an epoch."""

    def __init__(self, name: str) -> None:
        self.name = name

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Print the ends of epochs and warnings."""
        for doubt in info.get("doubts", ()):
            print(f"{self.name} {stage}: warning: {doubt}", flush=True)
        if "epoch" in info:
            shown = ", ".join(f"{k} {v:.4g}" for k, v in info.items() if isinstance(v, int | float))
            print(f"{self.name} {stage}: {shown}", flush=True)


@cache
def data(name: str) -> Dataset:
    """Load a data set once."""
    return datasets.load(name)


@cache
def teacher(
    name: str, data_name: str, options: tuple[tuple[str, Any], ...], precision: str, work: Path
) -> Any:
    """Train or find a teacher: one for all students and seeds."""
    recipe = train.defaults("cnn", data_name, name, **dict(options))
    words = [Path(name).stem, data_name, *(f"{k}-{v}" for k, v in options)]
    folder = work / "teachers" / "-".join(Path(str(w)).name for w in words)
    with locked(folder.with_suffix(".lock")):
        return train.train_teacher(
            recipe, data(data_name), folder, Plain(folder.name),
            devices=train.Devices(precision=precision),
        )  # fmt: skip


_spiking: dict[str, Any] = {}


def spiking_teacher(case: Case, work: Path) -> Any:
    """Train or find a student that teaches others, and its accuracy."""
    key = case.key(0)
    if key not in _spiking:
        folder = work / "teachers" / key.replace("/", "-")
        with locked(folder.with_suffix(".lock")):
            if not train.is_run(folder):
                where = train.Devices(precision=case.precision)
                train.distill_student(
                    case.recipe(0), data(case.data), None, folder, Plain(key), devices=where
                )
        found = train.load_student(folder)
        dataset = data(case.data)
        right = train.evaluate(found, dataset.x_test, dataset.y_test).accuracy
        _spiking[key] = found, right
    return _spiking[key]


def teaching(case: Case, work: Path) -> tuple[Any, float | None]:
    """Train or find a case's teacher: the network, and its accuracy."""
    if isinstance(case.teacher, Case):
        return spiking_teacher(case.teacher, work)
    if case.teacher is None:
        return None, None
    options = tuple(sorted(case.teacher_options.items()))
    return teacher(case.teacher, case.data, options, case.teacher_precision, work)


def trained(case: Case, seed: int, work: Path) -> Any:
    """Train or find one student: the whole one first, then what is pruned of it."""
    folder = work / case.key(seed)
    with locked(folder / "lock"):
        recipe, told = case.recipe(seed), Plain(case.key(seed))
        if train.is_run(folder) and train.load_recipe(folder) == recipe:
            return train.load_student(folder)
        dataset, where = data(case.data), train.Devices(precision=case.precision)
        if not case.prune:
            taught, _ = teaching(case, work)
            return train.distill_student(recipe, dataset, taught, folder, told, devices=where)
        whole = trained(case.whole, seed, work)
        taught, _ = teaching(case, work)
        return train.prune_student(
            whole, taught, recipe, case.prune, None, dataset, folder, told,
            how=case.pruner, devices=where,
        )  # fmt: skip


def compute(case: Case, seed: int, work: Path) -> dict[str, Any]:
    """Train one student and measure it."""
    recipe, dataset = case.recipe(seed), data(case.data)
    _, right = teaching(case, work)
    started = time.process_time()
    measured = measure(trained(case, seed, work), dataset)
    log = train.read_log(work / case.key(seed) / "log.jsonl")
    return {
        "recipe": recipe.to_json(),
        "teacher": {
            "name": case.teacher.key(0) if isinstance(case.teacher, Case) else case.teacher,
            "accuracy": right,
            **case.teacher_options,
        },
        **measured,
        "seconds": round(sum(row["seconds"] for row in log), 1),
        "processor_seconds": round(time.process_time() - started, 1),
        "test_accuracy_by_epoch": [round(row["test_accuracy"], 4) for row in log],
    }


def measure(student: Any, dataset: Dataset) -> dict[str, float]:
    """Measure a student on the test part, in single precision."""
    found = train.evaluate(student, dataset.x_test, dataset.y_test)
    net = train.to_network(student)
    return {
        "accuracy": found.accuracy,
        "spikes_per_sample": round(found.spikes_per_sample, 2),
        "synops_per_sample": round(finishing.synops(net, found.spikes, dataset), 1),
        **finishing.size(net),
    }


def run(
    file: Path,
    cases: Sequence[Case],
    seeds: Sequence[int],
    work: Path,
    compute: Callable[[Case, int, Path], dict[str, Any]] = compute,
) -> None:
    """Compute what the file lacks, case by case within each seed."""
    for seed in seeds:
        for case in cases:
            key = case.key(seed)
            with claimed(work, key) as mine:
                if not mine or done(file, case, seed):
                    continue
                names = {"case": case.name, "data": case.data, "student": case.student}
                kind = {"prune": case.prune, "pruner": case.pruner, "precision": case.precision}
                row = names | kind | {"seed": seed} | compute(case, seed, work)
                put(file, key, row)
                print(f"{key}: {row}", flush=True)


def done(file: Path, case: Case, seed: int) -> bool:
    """Say whether the file has this result."""
    row = rows(file).get(case.key(seed))
    known = case.recipe(seed).to_json()
    # Constants that came later than a row have changed nothing in it.
    return (
        row is not None
        and row["prune"] == case.prune
        and all(known.get(k, v) == v for k, v in row["recipe"].items())
    )


def rows(file: Path) -> dict[str, dict[str, Any]]:
    """Return the results that are there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def put(file: Path, key: str, row: Mapping[str, Any]) -> None:
    """Add or replace one result."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock")):
        everything = rows(file) | {key: dict(row)}
        lines = ",\n".join(
            f"{json.dumps(k)}: {json.dumps(everything[k])}" for k in sorted(everything)
        )
        temporary = file.with_suffix(".new")
        temporary.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        temporary.replace(file)
    file.with_suffix(".lock").unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; it goes with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(work: Path, key: str) -> Iterator[bool]:
    """Yield whether nobody else is at this training."""
    path = work / "claims" / key.replace("/", "_")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def mean(found: Sequence[Mapping[str, Any]], what: str) -> tuple[float, float]:
    """Return mean and standard deviation over seeds (0 for one)."""
    values = np.array([row[what] for row in found], float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0


def shown(found: Sequence[Mapping[str, Any]], what: str, form: str, factor: float = 1.0) -> str:
    """Write a mean over seeds, and its deviation if there are several."""
    middle, spread = (format(factor * v, form) for v in mean(found, what))
    return f"{middle} ± {spread}" if len(found) > 1 else middle


def machine() -> str:
    """Describe what the figures were measured on."""
    return (f"{os.cpu_count()} processor cores, no GPU, PyTorch {torch.__version__.split('+')[0]}, "
            f"{torch.get_num_threads()} threads a run")  # fmt: skip
