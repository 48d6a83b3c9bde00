"""Every pruner at growing sparsities, as tables in docs/results/pruning.md.

  python tests/results/pruning.py --work DIR            # computes what is not there, writes
  python tests/results/pruning.py --table               # only writes the page

Rows are kept in docs/results/pruning.json; a stopped command goes on where it was. Several may run
at once with one thread each (OMP_NUM_THREADS=1). All pruners begin with the same trained student,
one for each seed: with the --work of distillation.py, that of its row.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import distillation
import grid
from grid import Case

from snn2hw import train

FILE = grid.RESULTS / "pruning.json"
PAGE = grid.RESULTS / "pruning.md"

BASE = "kd, tau 4"
STEPS = 4
SHARES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.995)


def cases(data: str) -> list[Case]:
    """Return the whole student, and the cases of every pruner and share."""
    (base,) = (c for c in distillation.cases(data, STEPS) if c.name == BASE)
    pruned = [
        replace(base, name=f"{how}, {100 * share:g} %", prune=share, pruner=how, base=BASE)
        for share in SHARES
        for how in train.PRUNERS
    ]
    return [base, *pruned]


HEAD = """# What pruning costs

    python tests/results/pruning.py --work build/results

Each pruner takes the same student ({base}, {student}, T = {steps}; its row is the first), makes
the share above the column zero and fine-tunes for {epochs} epochs (`sbc` does not train). Mean
over seeds, with the standard deviation; [pruning.json](pruning.json) beside this page holds every
run with its recipe. Accuracy is that of the float student on the whole test part; synaptic
operations are those of the input and of all spikes over weights that are not zero, a sample. What
each pruner does: [pruning](../methods/pruning.md)."""


def page() -> str:
    """Return the page of all rows that are there."""
    tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in grid.rows(FILE).values():
        tables[row["data"]].append(row)
    found = next(iter(grid.rows(FILE).values()))
    epochs = found["recipe"]["prune_epochs"]
    parts = [HEAD.format(base=BASE, student=distillation.MLP, steps=STEPS, epochs=epochs)]
    for data, rows in sorted(tables.items()):
        parts += [f"## {data}", "Accuracy, %", _table(rows, _accuracy)]
        parts += ["Synaptic operations, thousands", _table(rows, _synops)]
        parts += ["Spikes", _table(rows, _spikes), _best(rows)]
    return "\n\n".join(parts) + "\n"


def _accuracy(found: Sequence[Mapping[str, Any]]) -> str:
    return grid.shown(found, "accuracy", ".2f", 100)


def _synops(found: Sequence[Mapping[str, Any]]) -> str:
    return f"{grid.mean(found, 'synops_per_sample')[0] / 1000:.1f}"


def _spikes(found: Sequence[Mapping[str, Any]]) -> str:
    return f"{grid.mean(found, 'spikes_per_sample')[0]:.0f}"


def _table(rows: Sequence[Mapping[str, Any]], show: Any) -> str:
    cells: dict[tuple[str, float], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["pruner"] if row["prune"] else "", row["prune"]].append(row)
    lines = [
        "| pruner | seeds | " + " | ".join(f"{100 * s:g} %" for s in SHARES) + " |",
        "| --- | --- |" + " --- |" * len(SHARES),
        f"| not pruned | {len(cells['', 0.0])} | {show(cells['', 0.0])} |" + " |" * 5,
    ]
    for how in train.PRUNERS:
        mine = [cells[how, share] for share in SHARES]
        if any(mine):
            seeds = min(len(m) for m in mine if m)
            texts = " | ".join(show(m) if m else "" for m in mine)
            lines.append(f"| {how} | {seeds} | {texts} |")
    return "\n".join(lines)


def _best(rows: Sequence[Mapping[str, Any]]) -> str:
    whole = grid.mean([r for r in rows if not r["prune"]], "accuracy")[0]
    at = {h: [r for r in rows if (r["pruner"], r["prune"]) == (h, 0.95)] for h in train.PRUNERS}
    lost = {h: 100 * (whole - grid.mean(f, "accuracy")[0]) for h, f in at.items() if f}
    if not lost:
        return ""
    told = ", ".join(f"{how} {points:.2f}" for how, points in sorted(lost.items(), key=_second))
    return f"Points lost with 5 % of the connections: {told}."


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/results"))
    parser.add_argument("--data", nargs="+", default=["fashion-mnist"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="pruners by name")
    parser.add_argument("--table", action="store_true", help="compute nothing")
    asked = parser.parse_args()
    if not asked.table:
        wanted = [c for d in asked.data for c in cases(d)]
        wanted = [c for c in wanted if not asked.only or not c.prune or c.pruner in asked.only]
        grid.run(FILE, wanted, asked.seeds, asked.work)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
