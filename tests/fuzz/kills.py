"""The kill trial: commands killed with SIGKILL at random times, and given again.

Afterwards every file must hold the bytes that a run without a kill leaves, and nothing else may be
there. ``runtime install`` works with a stand-in for Python 3.10 that makes small files slowly: the
real one takes minutes and the network.

    python tests/fuzz/kills.py 12        # that many kills
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path[:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
from fuzz.seeds import Files, contents, digits, packed  # noqa: E402
from fuzz.seeds.training import timeless  # noqa: E402

LONGEST = 600  # seconds; a command that takes longer hangs
STAND_IN = """#!/bin/sh
# Answers what snn2hw asks of Python 3.10, and writes what venv and pip would, slowly.
put() { for i in 1 2 3 4 5 6 7 8; do echo "$1 $i" > "$2/$1-$i"; sleep 0.05; done; }
case "$1 $2" in
"-m venv") mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; put venv "$4" ;;
"-m pip") put "pip$5" "$(dirname "$0")/.." ;;
*version_info*) echo "(3, 10)" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A command that is killed, and what it needs in its folder."""

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path], None]


def _data(folder: Path) -> None:
    many = {k: np.resize(v, (60, *v.shape[1:])) for k, v in digits().items()}
    (folder / "d.npz").write_bytes(packed(**many))


DISTILL = (
    "distill", "--data", "npz:d.npz", "--teacher", "mlp-8", "--student", "mlp-8", "--name", "a",
    "--time-steps", "4", "--epochs", "120", "--teacher-epochs", "60",
)  # fmt: skip


def _run(folder: Path) -> None:
    _data(folder)
    _finish(folder, (*DISTILL[:-3], "3", "--teacher-epochs", "2"))


def _build(folder: Path) -> None:
    _finish(folder, ("export", "digits-cnn"))
    r = np.random.default_rng(0)
    (folder / "x.npz").write_bytes(packed(x=r.integers(0, 17, (300, 8, 1, 8, 8))))


def _python310(folder: Path) -> None:
    path = folder / "python3.10"
    path.write_text(STAND_IN)
    path.chmod(0o755)


def _nothing(_folder: Path) -> None:
    pass


BUILD = "builds/digits-cnn-loihi2"
KINDS = (
    Kind("distill", DISTILL, _data),
    Kind("prune", ("prune", "a", "--epochs", "120", "--name", "b"), _run),
    Kind("export", ("export", "digits-cnn"), _nothing),
    Kind("simulate", ("simulate", BUILD, "--input", "x.npz", "--save", "s.npz", "--trace"), _build),
    Kind("energy report", ("energy", "report", BUILD, "--input", "x.npz", "--html", "p.html"),
         _build),
    Kind("runtime install", ("runtime", "install", "lava"), _python310),
)  # fmt: skip


@dataclass
class Count:
    """What became of one command's kills."""

    kills: int = 0
    different: int = 0
    left: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """How many kills did not end as they should."""
        return self.different + self.left + self.failed


@dataclass
class Killed:
    """A trial: counts by command."""

    counts: dict[str, Count]

    @property
    def bad(self) -> int:
        """How many kills did not end as they should."""
        return sum(c.bad for c in self.counts.values())

    def lines(self) -> list[str]:
        """Return the part of the page."""
        total = sum(c.kills for c in self.counts.values())
        rows = [
            f"| {name} | {c.kills} | {c.failed} | {c.different} | {c.left} |"
            for name, c in self.counts.items()
        ]
        examples = [f"* {name}: {e}" for name, c in self.counts.items() for e in c.examples[:3]]
        return [
            f"{total} times a command was killed (`kill -9`) while it ran, half of the times at",
            "random and half soon after its first file; then it was given again. `runtime install`",
            "has a stand-in for Python 3.10 and pip that writes small files slowly, not Lava.",
            "Seconds aside, files must be the bytes of a run that was not killed.",
            "",
            "| | kills | failed the second time | other bytes | files left behind |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
            *examples,
            *([""] if examples else []),
        ]


def _start(folder: Path, command: tuple[str, ...]) -> subprocess.Popen[str]:
    told = {
        **os.environ, "SNN2HW_CACHE": str(folder / "cache"),
        "SNN2HW_PYTHON310": str(folder / "python3.10"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "snn2hw", *command, "-q"],
        cwd=folder, env=told, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _finish(folder: Path, command: tuple[str, ...]) -> None:
    """Run a command to its end; RuntimeError if it fails."""
    running = _start(folder, command)
    _, errors = running.communicate(timeout=LONGEST)
    if running.returncode:
        raise RuntimeError(errors.strip()[-500:])


def left_by(folder: Path) -> Files:
    """Return all files, without what a clock said in them."""
    return timeless(contents(folder))


def _changed(folder: Path, before: set[Path]) -> bool:
    return set(folder.rglob("*")) != before


def killed_once(kind: Kind, ready: Path, folder: Path, seconds: float, r: Random) -> bool:
    """Start a command in a copy of a folder and kill it; False if it was done before."""
    shutil.copytree(ready, folder)
    before = set(folder.rglob("*"))
    by_file, moment = r.random() < 0.5, r.random()
    running = _start(folder, kind.command)
    began = time.monotonic()
    if by_file:
        while running.poll() is None and not _changed(folder, before):
            time.sleep(0.002)
        # Most of what is written after the first file is written within a share of the time.
        time.sleep(moment**3 * seconds / 2)
    else:
        while running.poll() is None and time.monotonic() - began < moment * seconds:
            time.sleep(0.002)
    done = running.poll() is not None
    running.kill()
    running.communicate()
    return not done


def _examine(kind: Kind, wanted: int, seed: int, scratch: Path) -> Count:
    """Kill one command so many times and compare."""
    r, count = Random(f"{seed}/{kind.name}"), Count()
    ready, whole = scratch / "ready", scratch / "whole"
    ready.mkdir(parents=True)
    kind.prepare(ready)
    shutil.copytree(ready, whole)
    began = time.monotonic()
    _finish(whole, kind.command)
    seconds, expected = time.monotonic() - began, left_by(whole)
    for attempt in range(4 * wanted):
        folder = scratch / str(attempt)
        if count.kills < wanted and killed_once(kind, ready, folder, seconds, r):
            count.kills += 1
            _compare(kind, folder, expected, count)
        shutil.rmtree(folder, ignore_errors=True)
    return count


def _compare(kind: Kind, folder: Path, expected: Files, count: Count) -> None:
    """Give the command again and look at what is there then."""
    try:
        _finish(folder, kind.command)
    except RuntimeError as error:
        count.failed += 1
        count.examples.append(str(error))
        return
    time.sleep(0.5)  # a child of the killed process may still be at work
    found = left_by(folder)
    extra = sorted(set(found) - set(expected))
    other = [k for k, v in expected.items() if found.get(k) != v]
    # Folders may be left behind without a file in them.
    empty = [p.name for p in folder.rglob(".*") if p.is_dir()]
    if other:
        count.different += 1
        count.examples.append(f"{', '.join(other[:3])} differs")
    if extra or empty:
        count.left += 1
        count.examples.append(f"{', '.join([*extra[:3], *empty[:3]])} left behind")


def trial(kills: int, seed: int, processes: int = 2) -> Killed:
    """Kill each kind of command equally often."""
    share = {k: kills // len(KINDS) + (i < kills % len(KINDS)) for i, k in enumerate(KINDS)}
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:

        def one(kind: Kind) -> Count:
            return _examine(kind, share[kind], seed, Path(scratch) / kind.name)

        with ThreadPoolExecutor(processes) as pool:
            counts = list(pool.map(one, KINDS))
    return Killed({k.name: c for k, c in zip(KINDS, counts, strict=True)})


if __name__ == "__main__":
    killed = trial(int(sys.argv[1]) if len(sys.argv) > 1 else 12, seed=0)
    print("\n".join(killed.lines()))
    raise SystemExit(int(killed.bad > 0))
