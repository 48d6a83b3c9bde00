"""Every shipped student on every chip: docs/results/chips.md, by the command line.

  python tests/results/chips.py --work DIR                   # computes what is not there, writes
  python tests/results/chips.py --table                      # only writes the page

SNN2HW_DATA must name a folder with the students' data sets. What the commands printed is kept in
docs/results/chips.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grid

from snn2hw.pipeline.loading import model_names, model_recipe

FILE = grid.RESULTS / "chips.json"
PAGE = FILE.with_suffix(".md")
VERIFIED = 20  # samples in the vendor's simulator
TEXT = f"""# The shipped students on every chip

    python tests/results/chips.py --work build/results/chips

which runs, for each student,

    snn2hw energy compare NAME
    snn2hw export NAME --target TARGET
    snn2hw verify NAME-TARGET --samples {VERIFIED}

and keeps what they printed in [chips.json](chips.json). Accuracies are of the whole test part of
each data set (of `nmnist` the subset, see [data](../data.md)); energy is that of the chip for one
inference, static and dynamic, with the range that its prices leave. The last column counts values
of every state and spike that were compared with the vendor's simulator, and how many differ."""


def printed(words: Iterable[str], work: Path) -> Any:
    """Run a command and return its JSON document."""
    command = [sys.executable, "-m", "snn2hw", *words, "--json", "-q"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    print(" ".join(words), flush=True)
    return json.loads(done.stdout)


def compute(model: str, work: Path) -> dict[str, Any]:
    """Run one student on all targets that it fits."""
    work.mkdir(parents=True, exist_ok=True)
    rows = printed(["energy", "compare", model], work)["targets"]
    for row in rows:
        for long in ("constants", "layers"):
            row.pop(long, None)
        if row["fits"]:
            printed(["export", model, "--target", row["target"]], work)
            proof = printed(
                ["verify", f"{model}-{row['target']}", "--samples", str(VERIFIED)], work
            )
            row["proof"] = {k: proof[k] for k in ("against", "compared", "mismatches")}
    told = model_recipe(model)
    return {"float_accuracy": told["accuracy"], "data": told["data"], "targets": rows}


def lines_of(model: str, found: Mapping[str, Any]) -> list[str]:
    """Return the section of one student."""
    fitting = [row for row in found["targets"] if row["fits"]]
    lines = [
        "",
        f"## {model}",
        "",
        f"Float, on `{found['data']}`: {100 * found['float_accuracy']:.2f} %.",
        "",
        "| chip | accuracy | synops | energy, uJ | range | latency, us | compared with |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in fitting:
        proof, energy = row["proof"], row["chip"]["total_uj"]
        lines.append(
            f"| {row['target']} | {100 * row['accuracy']:.2f} % | {row['synops']:,.0f} "
            f"| {energy['typical']:.3g} | {energy['low']:.3g} to {energy['high']:.3g} "
            f"| {row['latency_us']:,.0f} | {proof['against']}: {proof['compared']:,} values, "
            f"{proof['mismatches']} differ |"
        )
    for row in found["targets"]:
        if not row["fits"]:
            more = len(row["reasons"]) - 1
            rest = f" (and {more} more)" if more else ""
            lines.append(f"| {row['target']} | refused: {row['reasons'][0]}{rest} | | | | | |")
    return lines


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/results/chips"))
    parser.add_argument("--table", action="store_true", help="compute nothing")
    asked = parser.parse_args()
    for model in () if asked.table else model_names():
        if model not in grid.rows(FILE):
            grid.put(FILE, model, compute(model, asked.work))
    lines = [TEXT]
    for model, found in grid.rows(FILE).items():
        lines += lines_of(model, found)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
