"""The project's own fuzzer: damaged files of every kind, and what the command line does with them.

    python tests/fuzz/run.py                              # 20,000 files; writes the page
    python tests/fuzz/run.py --family nir --files 500     # some, to look at
    python tests/fuzz/run.py --family nir --only 1234     # one again, and where its files are

File i of a family is the same in every run of the same seed. Exit code 1 if a file led to
anything but an answer or an error that a person understands.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:1] = [str(HERE.parent), str(HERE.parents[1])]  # this folder holds no modules to import

from fuzz import kills, page  # noqa: E402
from fuzz.families import FAMILIES  # noqa: E402
from fuzz.process import LIMITS, Limits  # noqa: E402
from fuzz.verdicts import BAD, Result  # noqa: E402
from fuzz.worker import OFFLINE, examined, made, prepare, put  # noqa: E402

FULL = 20_000  # files from which on the page is written
PAGE = HERE.parents[1] / "docs" / "results" / "robustness.md"


def shares(files: int, families: list[str]) -> dict[str, int]:
    """Return how many of the files are of each family."""
    whole = sum(FAMILIES[f].share for f in families)
    counts = {f: files * FAMILIES[f].share // whole for f in families}
    counts[families[0]] += files - sum(counts.values())
    return counts


def schedule(counts: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Give families and indices so that every part of the run holds all families."""
    places = [((i + 0.5) / n, family, i) for family, n in counts.items() for i in range(n)]
    return ((family, i) for _, family, i in sorted(places))


@contextmanager
def workers(count: int) -> Iterator[list[Executor]]:
    """Start that many processes, each behind an executor of its own."""
    context = multiprocessing.get_context("spawn")
    # Numba would not take back a number of threads, where this is called in another process.
    os.environ.update(
        {k: v for k, v in OFFLINE.items() if not k.startswith("NUMBA")}
    )  # read by libraries when a worker imports them
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-"))
        made = [ProcessPoolExecutor(1, context, prepare, (scratch,)) for _ in range(count)]
        yield [stack.enter_context(m) for m in made]


def examine_all(
    executors: Sequence[Executor],
    cases: Iterator[tuple[str, int]],
    seed: int,
    limits: Limits = LIMITS,
    seconds: float | None = None,
) -> Iterator[Result]:
    """Examine cases in workers until all are done, or the time is over."""
    began = time.monotonic()
    idle = [e for e in executors for _ in range(2)]
    running: dict[Future[Result], Executor] = {}
    while True:
        in_time = seconds is None or time.monotonic() - began < seconds
        for family, index in islice(cases, len(idle) if in_time else 0):
            executor = idle.pop()
            running[executor.submit(examined, family, seed, index, limits)] = executor
        if not running:
            return
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            idle.append(running.pop(done))
            yield done.result()


def keep(family: str, seed: int, index: int, folder: Path) -> Path:
    """Write a case's files and commands, to look at."""
    case = made(family, seed, index)
    where = folder / f"{family}-{seed}-{index}"
    put(case, where)
    lines = [f"# {case.said}", *("snn2hw " + " ".join(c) for c in case.commands)]
    (where / "commands.txt").write_text("\n".join(lines) + "\n")
    return where


def one(family: str, seed: int, index: int, folder: Path) -> int:
    """Examine one case and tell all about it."""
    with workers(1) as (executor,):
        result = executor.submit(examined, family, seed, index).result()
        where = executor.submit(keep, family, seed, index, folder.resolve()).result()
    print(f"{result.file}, {result.said}")
    for o in result.outcomes:
        print(f"\n{o.verdict}: snn2hw {' '.join(o.command)}")
        print(f"  {o.seconds:.2f} s of processor time, {o.memory >> 20} MiB; {o.kind} {o.place}")
        print(f"  {o.message}")
    print(f"\nfiles: {where}")
    return int(result.worst.verdict in BAD)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; what is wrong with it ends with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=_positive, default=FULL, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="a whole number")
    parser.add_argument(
        "--family", action="append", choices=list(FAMILIES), help="may be given several times"
    )
    parser.add_argument("--only", type=int, metavar="INDEX", help="one file of one --family")
    parser.add_argument("--processes", type=_positive, default=2)
    parser.add_argument(
        "--cpu", type=float, default=LIMITS.cpu, help="seconds of processor time for a command"
    )
    parser.add_argument("--seconds", type=float, help="stop after that long")
    parser.add_argument(
        "--kills", type=int, help="kills of running commands; by default 48 in a full run, else 0"
    )
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="for bad files")
    read = parser.parse_args(given)
    if read.only is not None and len(read.family or ()) != 1:
        parser.error("--only needs one --family")
    if read.only is not None and read.only < 0:
        parser.error("--only counts from 0")
    return read


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def main(given: list[str] | None = None) -> int:
    """Examine files, say what was found, and write the page after a full run."""
    told = arguments(given)
    if told.only is not None:
        return one(told.family[0], told.seed, told.only, told.keep)
    families = told.family or list(FAMILIES)
    counts = shares(told.files, families)
    began = time.monotonic()
    results: list[Result] = []
    limits = Limits(cpu=told.cpu)
    with workers(told.processes) as executors:
        cases = schedule(counts)
        for result in examine_all(executors, cases, told.seed, limits, told.seconds):
            results.append(result)
            if result.worst.verdict in BAD:
                print(page.line(result), flush=True)
                executors[0].submit(keep, result.family, told.seed, result.index, told.keep)
            if len(results) % 500 == 0:
                print(f"{len(results)} files, {time.monotonic() - began:.0f} s", flush=True)
    whole = len(results) >= FULL and not told.family and limits == LIMITS
    wanted = told.kills if told.kills is not None else 48 * whole
    killed = kills.trial(wanted, told.seed) if wanted else None
    seconds = time.monotonic() - began
    text = page.page(results, killed, told.seed, told.processes, seconds)
    print(text)
    if whole:
        PAGE.write_text(text, encoding="utf-8")
        print(f"written: {PAGE}")
    bad = any(r.worst.verdict in BAD for r in results)
    return int(bad or (killed is not None and killed.bad > 0))


if __name__ == "__main__":
    raise SystemExit(main())
