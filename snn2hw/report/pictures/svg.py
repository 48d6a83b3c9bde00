"""Inline SVG: elements, and axes. Whatever is put in is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from snn2hw.errors import visible
from snn2hw.report.text import short

LONGEST = 60  # characters of a name in a picture


def element(name: str, *inside: str, **attributes: object) -> Markup:
    """Return an element; ``_`` in the name of an attribute is written ``-``, ``class_`` class."""
    told = Markup("").join(
        Markup(' {}="{}"').format(k.rstrip("_").replace("_", "-"), _plain(v))
        for k, v in attributes.items()
        if v is not None
    )
    body = Markup("").join(escape(i) for i in inside)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), told, body)


def _plain(value: object) -> object:
    """Write a number with one decimal at most, which is finer than a screen."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def label(text: object) -> str:
    """Return a text that may come from a file, on one line and short."""
    return short(str(text), LONGEST)


def picture(width: float, height: float, words: str, *inside: str) -> Markup:
    """Return a picture that is read aloud as its words."""
    return element(
        "svg", *inside, role="img", aria_label=visible(words),
        viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height),
    )  # fmt: skip


def at(x: float, y: float, text: object, anchor: str = "start", class_: str = "") -> Markup:
    """Return a text at a place."""
    return element("text", label(text), x=x, y=y, text_anchor=anchor, class_=class_ or None)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points."""
    d = " ".join(f"{'L' if i else 'M'}{x:.0f} {y:.0f}" for i, (x, y) in enumerate(points))
    return element("path", d=d, class_=class_)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers that span a range, with evenly spaced ones between."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def powers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from below ``low`` to above ``high``, few of them."""
    start, stop = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    fine = stop - start <= 3
    every = [m * 10.0**e for e in range(start, stop) for m in ((1, 2, 5) if fine else (1,))]
    below = [x for x in every if x <= low] or [every[0]]
    above = [x for x in every if x >= high] or [every[-1]]
    return [x for x in every if below[-1] <= x <= above[0]]
