"""Accuracy against cost: a point for each run or build, and the line of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from snn2hw.report.pictures.svg import at, element, label, path, picture, powers, ticks
from snn2hw.report.text import number, percent

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 36, 16, 46
MOST_NAMED = 12  # points that have their names beside them

# Name, cost, accuracy, whether it is this report's, and whether it is a run in float.
Spot = tuple[str, float, float, bool, bool]


def best(spots: Sequence[Spot]) -> list[Spot]:
    """Return the spots of which none other costs no more and is no less right, by their cost."""
    front: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s[1], -s[2])):
        if not front or spot[2] > front[-1][2]:
            front.append(spot)
    return front


def scatter(spots: Sequence[Spot], what: str) -> Markup:
    """Draw accuracy (up) against a cost (right, in powers of ten).

    Args:
        spots: with costs above 0.
        what: the cost is, with its unit.
    """
    across = powers(min(s[1] for s in spots), max(s[1] for s in spots))
    lowest, highest = min(s[2] for s in spots), max(s[2] for s in spots)
    room = max(0.005, (highest - lowest) * 0.15)
    up = ticks(max(0.0, lowest - room), min(1.0, highest + room))
    first, last = math.log10(across[0]), math.log10(across[-1])
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(cost: float) -> float:
        return LEFT + wide * ((math.log10(cost) - first) / (last - first) if last > first else 0.5)

    def y(accuracy: float) -> float:
        span = up[-1] - up[0]
        return TOP + tall * (1 - ((accuracy - up[0]) / span if span else 0.5))

    grid = [
        *(element("line", x1=x(c), x2=x(c), y1=TOP, y2=TOP + tall, class_="grid") for c in across),
        *(element("line", x1=LEFT, x2=LEFT + wide, y1=y(a), y2=y(a), class_="grid") for a in up),
        *(at(x(c), TOP + tall + 16, f"{c:,g}", "middle") for c in across),
        *(at(LEFT - 6, y(a) + 4, f"{100 * a:g} %", "end") for a in up),
        at(LEFT + wide / 2, HEIGHT - 8, what, "middle"),
    ]
    front = best(spots)
    line: list[tuple[float, float]] = []
    for spot in front:  # a stair: from one of the best to the next, what the cheaper one reaches
        corner = [(x(spot[1]), line[-1][1])] if line else []
        line += [*corner, (x(spot[1]), y(spot[2]))]
    marks = [  # names above and below in turn, so that neighbours' do not meet
        _mark(s, x(s[1]), y(s[2]), named=len(spots) <= MOST_NAMED or s[3], above=i % 2 == 0)
        for i, s in enumerate(sorted(spots, key=lambda s: s[1]))
    ]
    told = "; ".join(
        f"{label(n)} {percent(a)} at {number(c)}" for n, c, a, *_ in front[:MOST_NAMED]
    )
    words = f"Accuracy against {what}, {len(spots)} points. Best for their cost: {told}."
    return picture(WIDTH, HEIGHT, words, *grid, path(line, "front"), *marks)


def _mark(spot: Spot, x: float, y: float, *, named: bool, above: bool) -> Markup:
    name, cost, accuracy, here, in_float = spot
    kind = "here" if here else "run" if in_float else "build"
    right = x > WIDTH * 0.62
    told = element("title", f"{label(name)}: {percent(accuracy)}, {number(cost)}")
    dot = element("circle", told, cx=x, cy=y, r=7.0 if here else 5.0, class_=f"dot {kind}")
    if not named:
        return dot
    beside = y - 9 if above else y + 18
    return dot + at(x - 4 if right else x + 4, beside, name, "end" if right else "start")
