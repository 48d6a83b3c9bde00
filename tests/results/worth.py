"""What a teacher is worth: recipes with and without one, all else equal, chosen on validation data.

  python tests/results/worth.py --work DIR            # computes what is not there, writes the page
  python tests/results/worth.py --table               # only writes the page

A recipe's price on spikes is chosen on ``NAME@validation``, which never sees the test data: the
highest of ``COSTS`` with which its accuracy there is at most ``LOST`` below that of the plain
student. Then each chosen recipe, its twin without the teacher (the same in all else), and the best
recipe without a teacher are trained for three seeds, pruned too, and measured on the test data.
A second part compares students of the digits with and without a teacher on validation data, and the
demo's on the test data. Rows are kept in docs/results/worth.json.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grid
from distillation import MLP, SHORT, TEACHERS
from grid import Case

FILE = grid.RESULTS / "worth.json"
PAGE = grid.RESULTS / "worth.md"
COSTS = (0.0, 3.0, 10.0, 30.0, 100.0)
LOST = 0.003  # of the accuracy on validation data
PRUNED = 0.8
IF_SMOOTHED = {"neuron": "if", "smoothing": 0.1}

# name -> (with a teacher, options); each stands for a recipe whose price on spikes is chosen
RECIPES: dict[str, tuple[bool, dict[str, Any]]] = {
    "labels": (False, {"method": "none"}),
    "labels, IF, smoothed": (False, {"method": "none", **IF_SMOOTHED}),
    "sakd": (True, {"method": "sakd", "stages": 2}),
    "sakd+logits, IF, smoothed": (
        True,
        {"method": "sakd+logits", "stages": 2, "logit_weight": 0.3, **IF_SMOOTHED},
    ),
}
PLAIN = "labels"
TWINS = {"sakd": "labels", "sakd+logits, IF, smoothed": "labels, IF, smoothed"}


def case(recipe: str, data: str, cost: float) -> Case:
    """Return the training of a recipe at a price on spikes."""
    taught, own = RECIPES[recipe]
    options = {**SHORT, "time_steps": 4, **own, "spike_cost": cost}
    teacher, theirs = TEACHERS["same"] if taught else (None, {})
    return Case(f"{recipe}, cost {cost:g}", data, MLP, teacher, options, theirs)


def candidates(data: str) -> list[Case]:
    """Return what is tried on validation data."""
    return [case(r, f"{data}@validation", cost) for r in RECIPES for cost in COSTS]


def chosen(data: str) -> dict[str, float]:
    """Return the price on spikes that each recipe is given."""
    found = grid.rows(FILE)

    def accuracy(recipe: str, cost: float) -> float:
        return found[case(recipe, f"{data}@validation", cost).key(0)]["accuracy"]

    enough = accuracy(PLAIN, 0.0) - LOST
    return {r: max((c for c in COSTS if accuracy(r, c) >= enough), default=0.0) for r in RECIPES}


def compared(data: str) -> list[Case]:
    """Return what is trained for the table: chosen recipes, twins, and all of them pruned."""
    costs = chosen(data)
    wanted = dict.fromkeys((r, c) for r, c in costs.items())
    wanted |= dict.fromkeys((TWINS[r], costs[r]) for r in TWINS)
    wanted |= {(PLAIN, 0.0): None, ("sakd", 0.0): None}
    whole = [case(r, data, cost) for r, cost in wanted]
    return [*whole, *(_pruned(c) for c in whole if c.options["spike_cost"])]


def _pruned(whole: Case) -> Case:
    name = f"{whole.name}, {100 * PRUNED:g} % pruned"
    return replace(whole, name=name, prune=PRUNED, base=whole.name, pruner="upr")


# Students of the digits, with the options of `snn2hw distill`.
SMALL = ("cnn", "cnn-8-16-32", "cnn-8-32", "cnn-8-16", "mlp-64", "mlp-32")
SMALL_METHODS: dict[str, str | None] = {"none": None, "hetero": "cnn"}
SMALL_SEEDS = 8
DIGITS = "digits"
DEMO = "cnn"


def small(student: str, method: str, data: str) -> Case:
    """Return the training of a small student of the digits."""
    teacher = SMALL_METHODS[method]
    return Case(method, data, student, teacher, {"method": method}, precision="32-true")


HEAD = """# What a teacher is worth

    python tests/results/worth.py --work build/results

The student is `mlp-512-512` at T = 4 (6 epochs, 4 more where it is pruned), its teacher the same
network without spikes, trained for 12 epochs. Nothing here was chosen by test accuracy: how much a
spike costs in the loss (`spike_cost`) was chosen on `NAME@validation`, a tenth of the training data
([data.md](../data.md)), with one seed: the highest of {costs} that loses at most {lost} points
there against the plain student (labels only, LIF, no cost). Then each row was trained on the whole
training data with three seeds and measured once on the test data. *Twin* is the same recipe without
the teacher. *IF* neurons have no leak, *smoothed* spreads a tenth of each label over all classes;
`sakd` and `logits` are [methods](../methods/README.md).
"""


def page() -> str:
    """Return the page of the data sets that are there."""
    found = grid.rows(FILE)
    costs = ", ".join(f"{c:g}" for c in COSTS)
    parts = [HEAD.format(costs=costs, lost=f"{100 * LOST:g}")]
    for data in sorted({r["data"] for r in found.values() if "@" not in r["data"]}):
        if data != DIGITS:
            parts += [f"## {data}", *_choices(data, found), *_told(data, found)]
            parts += _table(data, found)
    parts += _small(found)
    return "\n".join(parts) + "\n"


SMALL_HEAD = """
## digits

Students with the options of `snn2hw distill` (T = 8), by labels alone (`--method none`) and with
the teacher `cnn` (`hetero`), accuracy in % on `digits@validation`, mean of {seeds} seeds:

| student | labels | with the teacher | difference | standard error |
| --- | ---: | ---: | ---: | ---: |"""
SMALL_END = """
So the digits do not show what a teacher is for: no student, large or small, is better with one by
more than chance. On the test data, mean of {seeds} seeds, `{student}`, the student of the demo,
gets {labels} % by labels and {taught} % with the teacher ({more}, standard error {error}).
`snn2hw demo --data fashion-mnist` shows it, with the recipe above that sends the fewest spikes."""


def _small(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Write the part on the digits."""
    yield SMALL_HEAD.format(seeds=SMALL_SEEDS)
    for student in SMALL:
        cells = _beside(student, f"{DIGITS}@validation", found)
        if float(cells[2]) > 2 * float(cells[3]):
            raise SystemExit(f"{student} is better with a teacher: SMALL_END says that none is")
        yield f"| {student} | " + " | ".join(cells) + " |"
    cells = _beside(DEMO, DIGITS, found)
    yield SMALL_END.format(
        student=DEMO, seeds=SMALL_SEEDS, labels=cells[0], taught=cells[1], more=cells[2],
        error=cells[3],
    )  # fmt: skip


def _beside(student: str, data: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    labels, taught = (_of(small(student, m, data), found) for m in SMALL_METHODS)
    means = [grid.mean(rows, "accuracy") for rows in (labels, taught)]
    error = math.hypot(*(s / math.sqrt(SMALL_SEEDS) for _, s in means))
    return [
        *(grid.shown(rows, "accuracy", ".2f", 100) for rows in (labels, taught)),
        f"{100 * (means[1][0] - means[0][0]):+.2f}", f"{100 * error:.2f}",
    ]  # fmt: skip


def _choices(data: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    best = chosen(data)
    yield "\nAccuracy on validation data in %, and spikes a sample; the chosen cost is bold.\n"
    yield "| recipe | " + " | ".join(f"cost {c:g}" for c in COSTS) + " |"
    yield "| --- |" + " ---: |" * len(COSTS)
    for recipe in RECIPES:
        cells: list[str] = []
        for cost in COSTS:
            row = found[case(recipe, f"{data}@validation", cost).key(0)]
            text = f"{100 * row['accuracy']:.2f}, {row['spikes_per_sample']:.0f}"
            cells.append(f"**{text}**" if cost == best[recipe] else text)
        yield f"| {recipe} | " + " | ".join(cells) + " |"


def _told(data: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say what the chosen recipes with and without a teacher come to on the test data."""
    costs = chosen(data)
    best: dict[bool, tuple[float, str, Sequence[Mapping[str, Any]]]] = {}
    for recipe, (taught, _) in RECIPES.items():
        rows = _of(case(recipe, data, costs[recipe]), found)
        spikes = grid.mean(rows, "spikes_per_sample")[0]
        best[taught] = min(best.get(taught, (math.inf, "", rows)), (spikes, recipe, rows))
    told = [
        f"with{'' if taught else 'out'} a teacher {best[taught][0]:.0f} spikes a sample at "
        f"{grid.shown(best[taught][2], 'accuracy', '.2f', 100)} % ({best[taught][1]})"
        for taught in (True, False)
    ]
    yield f"\nThe fewest spikes of the chosen recipes, on the test data: {' and '.join(told)}."


def _table(data: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "\nOn the test data, mean of three seeds (± standard deviation):\n"
    yield "| recipe | accuracy, % | spikes | synops, thousands | the twin's accuracy | its spikes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for c in compared(data):
        rows = _of(c, found)
        if not rows:
            continue
        recipe = c.name.rsplit(", cost", 1)[0]
        twin = _of(_twin(c, recipe, data), found) if recipe in TWINS else []
        yield (
            f"| {c.name} | {grid.shown(rows, 'accuracy', '.2f', 100)} | "
            f"{grid.shown(rows, 'spikes_per_sample', '.0f')} | "
            f"{grid.mean(rows, 'synops_per_sample')[0] / 1000:.1f} | "
            f"{grid.shown(twin, 'accuracy', '.2f', 100) if twin else ''} | "
            f"{grid.shown(twin, 'spikes_per_sample', '.0f') if twin else ''} |"
        )


def _twin(taught: Case, recipe: str, data: str) -> Case:
    whole = case(TWINS[recipe], data, taught.options["spike_cost"])
    return _pruned(whole) if taught.prune else whole


def _of(c: Case, found: Mapping[str, Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    start = c.key(0).removesuffix("0")
    return [row for key, row in found.items() if key.startswith(start) and key != start]


def main() -> None:
    """Choose, compute and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/results"))
    parser.add_argument("--data", nargs="+", default=["fashion-mnist"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="compute nothing")
    asked = parser.parse_args()
    if not asked.table:
        for data in asked.data:
            grid.run(FILE, candidates(data), [0], asked.work)
            grid.run(FILE, compared(data), asked.seeds, asked.work)
        tried = [small(s, m, f"{DIGITS}@validation") for s in SMALL for m in SMALL_METHODS]
        shown = [small(DEMO, m, DIGITS) for m in SMALL_METHODS]
        grid.run(FILE, [*tried, *shown], range(SMALL_SEEDS), asked.work)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
