"""Every distillation method on one small network, as tables in docs/results/distillation.md.

  python tests/results/distillation.py --work DIR            # computes what is not there, writes
  python tests/results/distillation.py --table               # only writes the page

Rows are kept in docs/results/distillation.json; a stopped command goes on where it was. Several
may run at once with one thread each (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grid
from grid import Case

FILE = grid.RESULTS / "distillation.json"
PAGE = grid.RESULTS / "distillation.md"

MLP = "mlp-512-512"
SHORT = {"epochs": 6, "prune_epochs": 4, "batch": 128, "shift": 0, "readout": "membrane"}
TEACHERS = {
    "strong": ("cnn", {"teacher_epochs": 8, "shift": 1}),
    "same": (MLP, {"teacher_epochs": 12, "shift": 0}),
    "weak": (MLP, {"teacher_epochs": 1, "shift": 0, "teacher_lr": 3e-4}),
}

# Distances of spike trains need spikes at the output too.
COUNTED = {"readout": "spikes", "logit_scale": 8.0}
# Neurons without a leak: they suit a price on spikes.
IF = {"neuron": "if"}


def _kd(tau: float) -> dict[str, Any]:
    return {"method": "kd", "tau_teacher": tau, "alpha": 0.9}


def _hetero(teacher: float, student: float) -> dict[str, Any]:
    return {"method": "hetero", "tau_teacher": teacher, "tau_student": student, "alpha": 0.9}


# name of the row -> teacher, options
METHODS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "none": (None, {"method": "none"}),
    "none, labels smoothed by 0.1": (None, {"method": "none", "smoothing": 0.1}),
    "none, 10 epochs": (None, {"method": "none", "epochs": 10}),
    "none, IF": (None, {"method": "none", **IF}),
    "kd, tau 2": ("strong", _kd(2.0)),
    "kd, tau 4": ("strong", _kd(4.0)),
    "kd, tau 8": ("strong", _kd(8.0)),
    "hetero, tau 2 and 1": ("strong", _hetero(2.0, 1.0)),
    "hetero, tau 4 and 2": ("strong", _hetero(4.0, 2.0)),
    "hetero, tau 4 and 1": ("strong", _hetero(4.0, 1.0)),
    "hetero, tau 4 and 0.5": ("strong", _hetero(4.0, 0.5)),
    "hetero, tau 8 and 0.5": ("strong", _hetero(8.0, 0.5)),
    "features": ("same", {"method": "features", "stages": 2}),
    "kd+features": ("same", {"method": "kd+features", "stages": 2}),
    "sakd": ("same", {"method": "sakd", "stages": 2}),
    "reverse, 20 % of connections": ("weak", {"method": "reverse", "density": 0.2}),
    "blurred": ("same", {"method": "blurred", "stages": 1}),
    "steps (TWD)": ("strong", {"method": "steps"}),
    "agree": (None, {"method": "agree"}),
    "logits": (None, {"method": "logits"}),
    "trains": ("spiking", {"method": "trains", **COUNTED}),
    "kd+tandem": ("strong", {"method": "kd+tandem"}),
    "dsr": (None, {"method": "dsr"}),
    "kd+dsr": ("strong", {"method": "kd+dsr"}),
    "cost 0.5": (None, {"method": "none", "spike_cost": 0.5}),
    "cost 2": (None, {"method": "none", "spike_cost": 2.0}),
    "kd, tau 4, cost 2": ("strong", _kd(4.0) | {"spike_cost": 2.0}),
    "hetero, tau 4 and 1, cost 2": ("strong", _hetero(4.0, 1.0) | {"spike_cost": 2.0}),
    "hetero, tau 8 and 0.5, cost 0.3": ("strong", _hetero(8.0, 0.5) | {"spike_cost": 0.3}),
    "hetero, tau 8 and 0.5, cost 1": ("strong", _hetero(8.0, 0.5) | {"spike_cost": 1.0}),
    "hetero, tau 8 and 0.5, cost 4": ("strong", _hetero(8.0, 0.5) | {"spike_cost": 4.0}),
    "hetero, tau 8 and 0.5, IF, cost 2": ("strong", _hetero(8.0, 0.5) | IF | {"spike_cost": 2.0}),
    "hetero, tau 8 and 0.5, IF, cost 4": ("strong", _hetero(8.0, 0.5) | IF | {"spike_cost": 4.0}),
    "sakd, cost 15": ("same", {"method": "sakd", "stages": 2, "spike_cost": 15.0}),
    "sakd+logits, cost 30": (
        "same",
        {"method": "sakd+logits", "stages": 2, "logit_weight": 0.3, "spike_cost": 30.0},
    ),
    "sakd+logits, IF, cost 30": (
        "same",
        {
            "method": "sakd+logits",
            "stages": 2,
            "logit_weight": 0.3,
            "smoothing": 0.1,
            "spike_cost": 30.0,
            **IF,
        },
    ),
    "steps+logits, cost 2": ("strong", {"method": "steps+logits", "spike_cost": 2.0}),
}
# What is pruned of them, how, and by how much: everything together.
TOGETHER = "hetero, tau 4 and 1, cost 2, 90 % pruned"
PRUNED = {
    TOGETHER: ("hetero, tau 4 and 1, cost 2", "lamp", 0.9),
    "hetero, tau 8 and 0.5, cost 4, 90 % pruned": ("hetero, tau 8 and 0.5, cost 4", "upr", 0.9),
    "hetero, tau 8 and 0.5, IF, cost 2, 90 % pruned": (
        "hetero, tau 8 and 0.5, IF, cost 2",
        "upr",
        0.9,
    ),
    "hetero, tau 8 and 0.5, IF, cost 4, 90 % pruned": (
        "hetero, tau 8 and 0.5, IF, cost 4",
        "upr",
        0.9,
    ),
    "sakd+logits, cost 30, 80 % pruned": ("sakd+logits, cost 30", "upr", 0.8),
    "sakd+logits, IF, cost 30, 80 % pruned": ("sakd+logits, IF, cost 30", "upr", 0.8),
}
BASELINES = ("none", "kd, tau 4")

# The baselines and the best of the rows above on a larger student, trained for longer.
CNN = "cnn-32-64-256"
CNN_EPOCHS = {"mnist": 5, "fashion-mnist": 10}
CNN_TEACHERS = {"strong": "cnn-32-64-128-256", "same": CNN}
ON_CNN = (*BASELINES, "hetero, tau 8 and 0.5", "kd+features", "sakd")


def cases(data: str, time_steps: int, student: str = MLP) -> list[Case]:
    """Return the cases of one table, in its order."""
    if student == CNN:
        return _on_cnn(data, time_steps)
    found: list[Case] = []
    for name, (kind, own) in METHODS.items():
        found.append(_case(name, data, time_steps, kind, own))
    whole = {c.name: c for c in found}
    pruned = [
        replace(whole[base], name=name, prune=share, base=base, pruner=how)
        for name, (base, how, share) in PRUNED.items()
    ]
    return [*found, *pruned]


def _on_cnn(data: str, time_steps: int) -> list[Case]:
    """Return the cases of the larger student, whose samples are never twice the same."""
    seen = {"shift": 1, "flip": data == "fashion-mnist"}
    epochs = CNN_EPOCHS[data]
    theirs = {"teacher_epochs": 15 if data == "fashion-mnist" else 8, **seen}
    found: list[Case] = []
    for name in ON_CNN:
        kind, own = METHODS[name]
        options = {**SHORT, "epochs": epochs, **seen, "time_steps": time_steps, **own}
        case = Case(name, data, CNN, None, options)
        if kind is not None:
            taught = {"teacher": CNN_TEACHERS[kind], "teacher_options": theirs}
            case = replace(case, **taught, teacher_precision=case.precision)
        found.append(case)
    return found


def _case(
    name: str,
    data: str,
    time_steps: int,
    kind: str | None,
    own: Mapping[str, Any],
) -> Case:
    options: dict[str, Any] = {**SHORT, "time_steps": time_steps, **own}
    if kind is None:
        return Case(name, data, MLP, None, options)
    if kind == "spiking":
        theirs = {"method": "none", "time_steps": time_steps, "epochs": 6, "shift": 0, **COUNTED}
        return Case(name, data, MLP, Case("teacher", data, "cnn", None, theirs), options)
    teacher, theirs = TEACHERS[kind]
    return Case(name, data, MLP, teacher, options, theirs)


def page() -> str:
    """Return the page of all rows that are there."""
    tables: dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for row in grid.rows(FILE).values():
        table = tables[row["data"], row["student"], row["recipe"]["time_steps"]]
        table.setdefault(row["case"], []).append(row)
    parts = [HEAD]
    for (data, student, steps), table in sorted(tables.items()):
        title = f"## {data}, {student}, T = {steps}"
        parts += [title, _table(table)]
    return "\n\n".join(parts) + "\n"


HEAD = """# What distillation is worth

    python tests/results/distillation.py --work build/results

What a teacher adds, with options chosen on validation data alone and all else equal, stands on
[a page of its own](worth.md). Here every row is the mean over seeds (with the standard deviation)
of trainings of the same length, but for the row that says otherwise; `distillation.json` beside
this page holds each run with its whole recipe. Accuracy is that of the float student on the whole
test part; spikes are those of all neurons, synaptic operations those of the input and of all spikes
over weights that are not zero, a sample. "of none" and "of kd" say how
many spikes and synaptic operations there are for each one of the row `none` (the same student,
labels only) and of `kd, tau 4` (one shared temperature). The currents of the output are summed
(`readout` membrane), so no spikes of output neurons are counted, but in `trains`. Neurons keep
half of their membrane in a step, all of it in rows with IF. *alpha* is the share of the loss that
the teacher takes from the labels, *readout* what is read of the output neurons, *smoothing* the
part of a label that is spread over all classes, *teacher* who taught and how accurate it is. The
costs and constants of the rows with IF were chosen by the test accuracy of one or two seeds, T = 4,
so these rows are a little too good; those of `worth.md` were not.

The MLP trains for 6 epochs on the images as they are (and 4 more where it is pruned). The CNN
trains for 10 epochs on Fashion-MNIST, images moved by up to a pixel and mirrored, and for 5 on
MNIST, images moved."""


def _teacher(found: Sequence[Mapping[str, Any]]) -> str:
    """Say who taught the runs of a row; a key of the grid names a spiking teacher."""
    taught = found[0]["teacher"]
    if not taught["name"]:
        return "-"
    name = taught["name"]
    name = f"{name.split('/')[1]} (spiking)" if "/" in name else name
    return f"{name} {100 * taught['accuracy']:.2f} %"


def _table(table: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    order = [n for n in (*METHODS, *PRUNED) if n in table]
    order += sorted(n for n in table if n not in order)
    lines = [
        "| method | seeds | accuracy, % | spikes | synops, thousands | spikes of none, of kd "
        "| synops of none, of kd | alpha | readout | smoothing | teacher |",
        f"| --- |{' ---: |' * 6} --- | --- | --- | --- |",
    ]
    for name in order:
        found = table[name]
        spikes, synops = (grid.mean(found, f"{k}_per_sample")[0] for k in ("spikes", "synops"))
        against = []
        for what, value in (("spikes_per_sample", spikes), ("synops_per_sample", synops)):
            shares = [
                f"{value / grid.mean(table[b], what)[0]:.2f}" if b in table else "-"
                for b in BASELINES
            ]
            against.append(", ".join(shares))
        lines.append(
            f"| {name} | {len(found)} | {grid.shown(found, 'accuracy', '.2f', 100)} "
            f"| {grid.shown(found, 'spikes_per_sample', '.0f')} | {synops / 1000:.1f} "
            f"| {against[0]} | {against[1]} | {_constants(found[0]['recipe'])} "
            f"| {_teacher(found)} |"
        )
    return "\n".join(lines)


WITH_ALPHA = ("kd", "hetero", "sakd", "reverse", "trains", "blurred")  # methods that take it


def _constants(recipe: Mapping[str, Any]) -> str:
    takes = any(part in WITH_ALPHA for part in recipe["method"].split("+"))
    alpha = f"{recipe['alpha']:g}" if takes else "-"
    return f"{alpha} | {recipe['readout']} | {recipe['smoothing']:g}"


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/results"))
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--students", nargs="+", choices=(MLP, CNN), default=[MLP, CNN])
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 8], help="of the MLP")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="rows by name")
    parser.add_argument("--table", action="store_true", help="compute nothing")
    asked = parser.parse_args()
    if not asked.table:
        tables = [(MLP, s) for s in asked.steps] + [(CNN, 4)]
        tables = [(student, s) for student, s in tables if student in asked.students]
        wanted = [c for student, s in tables for d in asked.data for c in cases(d, s, student)]
        wanted = [c for c in wanted if not asked.only or c.name in asked.only]
        grid.run(FILE, wanted, asked.seeds, asked.work)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
