"""Measuring in turns: what is compared runs one after the other, round after round.

The machine may do other things meanwhile, so a figure is the median over rounds of the ratio of two
times of one round, with the lowest and the highest beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

ROUNDS = 5


class Row(NamedTuple):
    """One line of a table.

    Args:
        what: is compared.
        ratio: of the two, median of the rounds.
        low: the lowest of a round.
        high: the highest.
        seconds: what each takes, medians, by name.
        aim: what was aimed at, in words, or "".
        checked: what was found equal before the clock ran, or "".
    """

    what: str
    ratio: float
    low: float
    high: float
    seconds: Mapping[str, float]
    aim: str = ""
    checked: str = ""


def clock(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(
    what: str,
    over: Callable[[], float],
    under: Callable[[], float],
    names: tuple[str, str],
    *,
    aim: str = "",
    checked: str = "",
    rounds: int = ROUNDS,
) -> Row:
    """Measure two ways, each of which returns its seconds, and divide the first by the second."""
    first, second = list[float](), list[float]()
    for _ in range(rounds):
        first.append(over())
        second.append(under())
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    seconds = dict(zip(names, map(statistics.median, (first, second)), strict=True))
    return Row(what, statistics.median(ratios), min(ratios), max(ratios), seconds, aim, checked)


def told(seconds: float) -> str:
    """Write a time with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError


def table(rows: Sequence[Row]) -> list[str]:
    """Write rows as a Markdown table."""
    lines = [
        "| what | ratio | of rounds | times | aim | checked |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    for r in rows:
        times = ", ".join(f"{name} {told(t)}" for name, t in r.seconds.items())
        rounds = f"{r.low:.3g} to {r.high:.3g}"
        cells = (r.what, f"{r.ratio:.3g}", rounds, times, r.aim, r.checked)
        lines.append(f"| {' | '.join(cells)} |")
    return lines
