"""Accuracy against cost: a point for each run or build, and the line of the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from markupsafe import Markup

from snn2hw.report.pictures.svg import at, element, label, path, picture, powers, ticks
from snn2hw.report.text import number, percent, short

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 34, 24, 52
MOST_NAMED = 12  # points that have their names beside them
LONGEST = 24  # characters of a name
# Pixels of a letter and a line, on a telephone, where letters are largest beside the picture.
LETTER, LINE = 8.3, 16.0
# How far from its point a name may stand, up or down, the best first.
AWAY = (-11.0, 22.0, -28.0, 39.0, -45.0, 56.0, -62.0, 73.0)

# Left, top, right, bottom.
Box = tuple[float, float, float, float]
Place = tuple[float, float]
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
        *(at(x(c), TOP + tall + 18, f"{c:,g}", "middle") for c in _spaced(across, x)),
        *(at(LEFT - 6, y(a) + 4, f"{100 * a:g} %", "end") for a in up),
        at(LEFT + wide / 2, HEIGHT - 10, what, "middle"),
    ]
    front = best(spots)
    line: list[Place] = []
    for spot in front:  # a stair: from one of the best to the next, what the cheaper one reaches
        corner = [(x(spot[1]), line[-1][1])] if line else []
        line += [*corner, (x(spot[1]), y(spot[2]))]
    here = [(x(s[1]), y(s[2])) for s in spots]
    marks = [_mark(s, *place) for s, place in zip(spots, here, strict=True)]
    named = [
        (s[0], place)
        for s, place in zip(spots, here, strict=True)
        if len(spots) <= MOST_NAMED or s[3]
    ]
    told = "; ".join(
        f"{label(n)} {percent(a)} at {number(c)}" for n, c, a, *_ in front[:MOST_NAMED]
    )
    words = f"Accuracy against {what}, {len(spots)} points. Best for their cost: {told}."
    return picture(
        WIDTH, HEIGHT, words, *grid, path(line, "front"), *_names(named, here, line), *marks
    )


def _mark(spot: Spot, x: float, y: float) -> Markup:
    name, cost, accuracy, here, in_float = spot
    kind = "here" if here else "run" if in_float else "build"
    told = element("title", f"{label(name)}: {percent(accuracy)}, {number(cost)}")
    return element("circle", told, cx=x, cy=y, r=7.0 if here else 5.0, class_=f"dot {kind}")


def _spaced(across: Sequence[float], x: Callable[[float], float]) -> list[float]:
    """Return the numbers of an axis that have room beside each other."""
    found: list[float] = []
    end = 0.0
    for c in across:
        half = len(f"{c:,g}") * LETTER / 2
        if x(c) - half >= end:
            found.append(c)
            end = x(c) + half + LETTER
    return found


def _names(
    named: Sequence[tuple[str, Place]], points: Sequence[Place], line: Sequence[Place]
) -> list[Markup]:
    """Write names beside points, each where it meets no other, no point and not the line.

    A name that has no room is left out: the point says it when a pointer rests on it, and the table
    below the picture has it.
    """
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    taken += [(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b), (c, d) in pairwise(line)]
    found: list[Markup] = []
    for name, point in named:
        text = short(name, LONGEST)
        place = _room(len(text) * LETTER, point, taken)
        if place is None:
            continue
        box, y = place
        taken.append(box)
        before = box[2] < point[0]  # then it ends at the point, however wide its letters are
        if abs(y - point[1]) > 25:
            near = box[1] if y > point[1] else box[3]
            found.append(path([point, (min(max(point[0], box[0]), box[2]), near)], "leader"))
        found.append(at(box[2] if before else box[0], y, text, "end" if before else "start"))
    return found


def _room(wide: float, point: Place, taken: Sequence[Box]) -> tuple[Box, float] | None:
    """Return a free box for a text beside a point, and the line that the text stands on."""
    for away in AWAY:
        for left in (point[0] + 4, point[0] - 4 - wide, point[0] - wide / 2):
            y = point[1] + away
            box = (left, y - LINE + 4, left + wide, y + 4)
            inside = left >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(_meet(box, other) for other in taken):
                return box, y
    return None


def _meet(a: Box, b: Box) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
