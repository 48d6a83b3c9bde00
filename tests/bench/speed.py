"""Everything about speed that is a ratio, measured, and the page of it.

python tests/bench/speed.py           # writes docs/results/speed.md and speed.json
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import answers
import simulators
from turns import ROUNDS, Row, table

RESULTS = Path(__file__).parents[2] / "docs" / "results"
TEXT = """# Speed

    python tests/bench/speed.py

measured this page on {cores} cores ({processor}, Python {python}) in {minutes:.0f} minutes. Each
line compares two things that ran in turn, in {rounds} rounds: the ratio is the median of the
rounds, and beside it stand the lowest and the highest. The times are medians of what each took; of
one sample, where samples are simulated. Start-up is left out of both, but for the last table. What
is compared has been found equal bit for bit before the clock ran.

How the engine works is told in [decision 21](../decisions/0021-engine.md); where the time goes, in
[performance](../performance.md).
"""


def processor() -> str:
    """Return what the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    began = time.time()
    sections = {
        "Against the vendors' simulators": [
            *simulators.against_lava(),
            *simulators.large_against_lava(),
            *simulators.against_others(),
        ],
        "Against itself": list(simulators.against_itself()),
        "Answers": list(answers.rows()),
    }
    memory = simulators.memory()
    head = TEXT.format(
        cores=len(os.sched_getaffinity(0)), processor=processor(),
        python=platform.python_version(), minutes=(time.time() - began) / 60, rounds=ROUNDS,
    )  # fmt: skip
    lines = [head]
    for title, rows in sections.items():
        lines += [f"## {title}", "", *table(rows), ""]
    lines += ["## Memory", "", *memory]
    (RESULTS / "speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = {k: [Row._asdict(r) for r in rows] for k, rows in sections.items()}
    (RESULTS / "speed.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
