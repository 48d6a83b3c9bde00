"""Put small faults into the compiler's arithmetic, and see whether a test fails.

    python tests/mutation/run.py                     # 250 faults, and the page
    python tests/mutation/run.py --module snn2hw/passes.py --faults 50
    python tests/mutation/run.py --again             # only those that survived the last time

The tests run once to find which of them run which lines (``covering.py``). Then each fault is put
into a copy of the project, and the tests that run its line are run there, the quickest first. A
fault that no test notices is a survivor: ``reasons.json`` says of some why no test can notice.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from random import Random

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:1] = [str(HERE.parent)]  # this folder holds no modules to import

from mutation.mutants import Mutant, mutants  # noqa: E402

PAGE = ROOT / "docs" / "results" / "mutation.md"
FOUND = PAGE.with_suffix(".json")
REASONS = HERE / "reasons.json"
MODULES = (
    "snn2hw/families/*/quantize/*.py", "snn2hw/families/loihi/exact.py",
    "snn2hw/families/*/place.py", "snn2hw/families/loihi/bound.py", "snn2hw/families/loihi/cut.py",
    "snn2hw/families/loihi/memory.py", "snn2hw/families/loihi/pack.py",
    "snn2hw/families/loihi/traffic.py", "snn2hw/families/*/schedule.py",
    "snn2hw/families/*/cost.py",
    "snn2hw/ir/counts.py", "snn2hw/simulate/loads.py", "snn2hw/passes.py", "snn2hw/estimator.py",
    "snn2hw/train/methods/losses.py", "snn2hw/train/pruning/*.py",
    "snn2hw/files.py",
)  # fmt: skip
COPIED = (
    "snn2hw", "tests", "targets", "models", "docs", "README.md", "pyproject.toml", "Makefile",
    "constraints.txt",
)  # fmt: skip
OPTIONS = ("-q", "-p", "no:cacheprovider", "-m", "not slow")
TESTS = ("unit", "property", "golden", "peers", "lava", "system")
FIRST = 30.0  # seconds that the quickest tests of a line may take before the others are run
LONGEST = 300.0  # seconds for all of them together; slower tests are left out


@dataclass(frozen=True, slots=True)
class Covered:
    """Which tests run which lines.

    Args:
        seconds: by test.
        lines: tests by module and line.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests of a fault's line, the quickest first.

        Of a line that only runs when the module is imported, or holds the middle of an expression,
        those of the lines around it.
        """
        lines = self.lines.get(mutant.module, {})
        near = [lines.get(n, []) for n in range(mutant.line, max(mutant.line - 8, 0), -1)]
        found: Iterable[str] = next((tests for tests in near if tests), [])
        # Lines of a class outside of functions, and defaults, run when the module is imported, too.
        in_class = mutant.where.split(".")[-1].strip("_")[:1].isupper()
        imported = not mutant.where or in_class or mutant.shown.startswith("def ")
        if not found or imported:
            found = {t for tests in lines.values() for t in tests}
        return sorted(found, key=lambda t: (self.seconds[t], t))


class Copy:
    """A copy of the project in which tests are run, beside the real data if there is some."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "main"
        self.folder.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                plain = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, self.folder / name, ignore=plain)
            else:
                shutil.copy2(ROOT / name, self.folder / name)
        if (ROOT.parent / "shared").is_dir():
            (folder / "shared").symlink_to(ROOT.parent / "shared")
        compileall.compile_dir(self.folder / "snn2hw", quiet=1)
        self.environment = {
            **os.environ, "NUMBA_CACHE_DIR": str(folder / "numba"),
            # As conftest.py has it; and pools of threads do not survive a fork.
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
            "PYTHONPATH": f"{self.folder}{os.pathsep}{self.folder / 'tests'}",
        }  # fmt: skip
        self.server: subprocess.Popen[str] | None = None

    def cover(self, processes: int, results: Path) -> None:
        """Run all tests once, following each.

        Raises:
            SystemExit: one failed.
        """
        tests = [f"tests/{t}" for t in TESTS]
        plan = ["-n", str(processes), "--dist", "worksteal", "-p", "mutation.covering"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, *plan, *tests],
            cwd=self.folder, env={**self.environment, "COVERING": str(results)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"The tests fail without any fault:\n{done.stdout[-3000:]}")

    def run(self, tests: Sequence[str], seconds: float) -> int | None:
        """Run tests until one fails; return the exit code, or None if they took longer."""
        if self.server is None:
            self.server = subprocess.Popen(
                [sys.executable, str(HERE / "server.py")], cwd=self.folder, text=True,
                env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        listed = self.folder.parent / "tests.txt"
        listed.write_text("\n".join(tests))
        asked = {"arguments": [*OPTIONS, "-x", f"@{listed}"], "seconds": seconds}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    @contextmanager
    def with_fault(self, mutant: Mutant) -> Iterator[None]:
        """Put a fault in, and take it out again."""
        place = self.folder / mutant.module
        source = place.read_bytes()
        # What was compiled before is told by size and second, which may be the same.
        for compiled in (place.parent / "__pycache__").glob(f"{place.stem}.*"):
            compiled.unlink()
        place.write_bytes(mutant.put(source))
        try:
            yield
        finally:
            place.write_bytes(source)

    def close(self) -> None:
        """End the process that runs tests."""
        if self.server is not None:
            self.server.communicate()


@contextmanager
def copies(count: int) -> Iterator[list[Copy]]:
    """Give copies of the project."""
    with ExitStack() as stack:
        made: list[Copy] = []
        for _ in range(count):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutation-"))
            made.append(Copy(Path(folder)))
            stack.callback(made[-1].close)
        yield made


def covering(copy: Copy, processes: int) -> Covered:
    """Find out which tests run which lines."""
    results = copy.folder.parent / "covering"
    results.mkdir()
    copy.cover(processes, results)
    seconds: dict[str, float] = {}
    lines: dict[str, dict[int, list[str]]] = {}
    for part in sorted(results.iterdir()):
        told = json.loads(part.read_text())
        seconds |= told["seconds"]
        for file, found in told["lines"].items():
            module = lines.setdefault(str(Path(file).relative_to(copy.folder)), {})
            for line, tests in found.items():
                module.setdefault(int(line), []).extend(tests)
    return Covered(seconds, lines)


@dataclass(slots=True)
class Checked:
    """Which tests pass without a fault where faults are tried, found out when they are wanted."""

    passing: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)

    def among(self, tests: Sequence[str], copy: Copy) -> list[str]:
        """Return those that pass."""
        new = [t for t in tests if t not in self.passing | self.failing]
        if new and copy.run(new, 1800) == 0:
            self.passing |= set(new)
        else:
            for test in new:
                passes = copy.run([test], 600) == 0
                (self.passing if passes else self.failing).add(test)
        return [t for t in tests if t in self.passing]


def verdict(mutant: Mutant, copy: Copy, covered: Covered, checked: Checked) -> str:
    """Return what became of a fault: "killed", "hung", "survived" or "not run"."""
    tests = covered.tests(mutant)
    quick: list[str] = []
    slow: list[str] = []
    total = 0.0
    for test in tests:
        total += covered.seconds[test]
        if total < FIRST or not quick:
            quick.append(test)
        elif total < LONGEST:
            slow.append(test)
    for part in (quick, slow):
        if sure := checked.among(part, copy):
            with copy.with_fault(mutant):
                code = copy.run(sure, 60 + 2 * sum(covered.seconds[t] for t in sure))
            if code != 0:
                return "hung" if code is None else "killed"
    return "survived" if tests else "not run"


@cache
def every(patterns: tuple[str, ...]) -> list[Mutant]:
    """Return all faults of the modules of these names."""
    names = sorted({str(p.relative_to(ROOT)) for m in patterns for p in ROOT.glob(m)})
    return [m for name in names for m in mutants(ROOT, name)]


def chosen(told: argparse.Namespace) -> list[Mutant]:
    """Return the faults to try, in an order that mixes modules.

    Each has its place by its own name, so that a change elsewhere leaves the choice alone.
    """
    possible = every(tuple(told.module))
    if told.again:
        before = json.loads(FOUND.read_text())["faults"]
        return [m for m in possible if before.get(m.key) in ("survived", "not run")]
    return sorted(possible, key=lambda m: Random(f"{told.seed}/{m.key}").random())[: told.faults]


def try_all(faults: Sequence[Mutant], covered: Covered, places: Sequence[Copy]) -> dict[str, str]:
    """Try faults in as many copies as there are; say what survives."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for place in places:
        free.put(place)
    found: dict[str, str] = {}
    checked = Checked()

    def one(mutant: Mutant) -> None:
        copy = free.get()
        try:
            found[mutant.key] = verdict(mutant, copy, covered, checked)
        finally:
            free.put(copy)
        if found[mutant.key] != "killed":
            print(f"{found[mutant.key]}: {mutant.module}:{mutant.line} {mutant.key}", flush=True)
        if len(found) % 20 == 0:
            print(f"{len(found)} of {len(faults)}", flush=True)

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(one, faults))
    if checked.failing:
        print(f"left out, as they fail here without a fault: {', '.join(sorted(checked.failing))}")
    return {m.key: found[m.key] for m in sorted(faults)}


def page(faults: dict[str, str], of: int, seed: int) -> str:
    """Return the page: counts by module, survivors, and why some are none."""
    reasons: dict[str, str] = json.loads(REASONS.read_text(encoding="utf-8"))
    alive = [k for k, v in faults.items() if v in ("survived", "not run")]
    modules = sorted({k.split(":")[0] for k in faults})
    counts = {m: Counter(v for k, v in faults.items() if k.startswith(f"{m}:")) for m in modules}
    excused = Counter(k.split(":")[0] for k in alive if k in reasons)
    rows = [
        f"| {m} | {c.total()} | {c['killed'] + c['hung']} | {excused[m]} | "
        f"{c['survived'] + c['not run'] - excused[m]} |"
        for m, c in counts.items()
    ]
    of_all = Counter(faults.values())
    rows.append(
        f"| all | {len(faults)} | {of_all['killed'] + of_all['hung']} | {excused.total()} | "
        f"{len(alive) - excused.total()} |"
    )
    open_ = [f"* `{k}`" for k in alive if k not in reasons]
    same = [f"| `{k.replace('|', chr(92) + '|')}` | {reasons[k]} |" for k in alive if k in reasons]
    return "\n".join(
        [
            "# Faults put in on purpose",
            "",
            f"Made by `make mutation`. {len(faults)} faults (one operator, number, condition or",
            f"function changed), drawn with seed {seed} from {of} possible ones, were put into the",
            "project one at a time. A fault counts as noticed if a test fails, or hangs: the",
            f"quickest of those that run its line, up to {LONGEST:.0f} seconds of them.",
            "",
            "| module | faults | noticed | change nothing that counts | survivors |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
            "## Survivors",
            "",
            *(open_ or ["None."]),
            "",
            "## Faults that change nothing that counts",
            "",
            "They change no result, or only a choice that is free: `tests/mutation/reasons.json`.",
            "",
            "| fault | why no test can or should notice |",
            "| --- | --- |",
            *same,
            "",
        ]
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; what is wrong with it ends with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=_positive, default=250, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="a whole number")
    parser.add_argument("--module", action="append", help="a pattern; may be given several times")
    parser.add_argument("--processes", type=_positive, default=2)
    parser.add_argument("--covering", type=Path, help="keep what tests run which lines there")
    parser.add_argument("--again", action="store_true", help="only those that survived last time")
    told = parser.parse_args(given)
    if told.module and not every(tuple(told.module)):
        parser.error("--module: no module of that name has anything to change")
    if told.covering and not told.covering.parent.is_dir():
        parser.error(f"--covering: there is no folder {told.covering.parent}")
    if told.again and not FOUND.exists():
        parser.error(f"--again: there is no {FOUND}, which a run without it writes")
    return told


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def main(given: list[str] | None = None) -> int:
    """Try faults and write the page; 1 if one survived without a reason."""
    told = arguments(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that copies are removed
    whole = not told.module and not told.again
    told.module = told.module or list(MODULES)
    began = time.monotonic()
    faults = chosen(told)
    with copies(told.processes) as places:
        if told.covering and told.covering.exists():
            kept = json.loads(told.covering.read_text())
            lines = {m: {int(n): t for n, t in x.items()} for m, x in kept["lines"].items()}
            covered = Covered(kept["seconds"], lines)
        else:
            covered = covering(places[0], told.processes)
            if told.covering:
                kept = {"seconds": covered.seconds, "lines": covered.lines}
                told.covering.write_text(json.dumps(kept))
        print(f"{len(covered.seconds)} tests, {time.monotonic() - began:.0f} s", flush=True)
        found = try_all(faults, covered, places)
    of, seed = len(every(MODULES)), told.seed
    if told.again:
        before, there = json.loads(FOUND.read_text()), {m.key for m in every(MODULES)}
        kept = {k: v for k, v in before["faults"].items() if k in there}  # others were rewritten
        found, seed = kept | found, before["seed"]
    text = page(found, of, seed)
    if whole or told.again:
        FOUND.write_text(json.dumps({"of": of, "seed": seed, "faults": found}, indent=1) + "\n")
        PAGE.write_text(text, encoding="utf-8")
        print(f"written: {PAGE}")
    else:
        print(text)
    reasons = json.loads(REASONS.read_text(encoding="utf-8"))
    return int(any(v in ("survived", "not run") and k not in reasons for k, v in found.items()))


if __name__ == "__main__":
    raise SystemExit(main())
