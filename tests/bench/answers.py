"""How soon a command answers: in units of starting Python and importing NumPy.

python tests/bench/answers.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from turns import Row, clock, in_turn, table

HERE = Path(__file__).parents[2]
UNIT = [sys.executable, "-c", "import numpy"]
COMMANDS = {
    "--help": (["--help"], "<= 2.5"),
    "models": (["models"], "< 1 s"),
    "methods": (["methods"], "< 1 s"),
    "distill with a typo": (["distill", "--methd", "kd"], "< 1 s"),
}
# The work itself is done twice in one process: what the first time takes more is the kernels.
SIMULATE = """
import sys, time
began = time.perf_counter()
sys.path[:0] = {paths!r}
from snn2hw.families.loihi import engine
import programs
net = programs.mlp()
x = programs.spikes(net, 1, 0.2)
program = net.program([200, 200, 200])
ready = time.perf_counter()
engine.run(program, {{"input": x}})
first = time.perf_counter()
engine.run(program, {{"input": x}})
print((first - ready) - (time.perf_counter() - first))
"""


def command(words: Sequence[str], folder: str) -> float:
    """Return the seconds of a command, whatever its exit code."""
    run = [sys.executable, "-m", "snn2hw", *words]
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    return clock(lambda: subprocess.run(run, capture_output=True, cwd=folder, env=env, check=False))


def first_simulation(cache: Path) -> float:
    """Return how much longer the first simulation of a process takes than the second."""
    script = SIMULATE.format(paths=[str(Path(__file__).parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )  # fmt: skip
    return float(done.stdout)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for name, (words, aim) in COMMANDS.items():
            yield in_turn(
                f"snn2hw {name} / import numpy",
                lambda w=words: command(w, folder),
                lambda: clock(lambda: subprocess.run(UNIT, check=True)),
                ("command", "numpy"), aim=aim,
            )  # fmt: skip
        caches = iter(Path(folder) / f"cache{i}" for i in range(99))
        kept = next(caches)
        first_simulation(kept)
        yield in_turn(
            "first simulation of a machine / of a process",
            lambda: first_simulation(next(caches)),
            lambda: first_simulation(kept),
            ("machine", "process"), aim="< 20 s, < 1.5 s",
        )  # fmt: skip


def main() -> None:
    sys.stdout.write("\n".join(table(list(rows()))) + "\n")


if __name__ == "__main__":
    main()
