"""What layers do over time: spikes by layer and step, a raster, membranes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from snn2hw.report.evidence import Recorded, SampleShown
from snn2hw.report.pictures.svg import at, element, label, path, picture
from snn2hw.report.text import number

WIDTH, LEFT = 640, 150
MOST_STEPS = 96  # columns of a picture; of a longer sample, neighbouring steps share one
MOST_ROWS = 40  # layers that are drawn
ROW, BAND, GAP = 18, 66, 16  # pixels: a layer's row, a layer's band of a raster, between two


def binned(values: NDArray[np.float64], most: int = MOST_STEPS) -> tuple[NDArray[np.float64], int]:
    """Average neighbouring steps ``[T, ...]`` until ``most`` are left; returns how many share."""
    each = -(-len(values) // most)
    parts = [values[i : i + each].mean(axis=0) for i in range(0, len(values), each)]
    return np.array(parts), each


def by_step(spikes: Mapping[str, NDArray[np.float64]], sizes: Mapping[str, int]) -> Markup:
    """Draw how much of each layer spikes at each step: a row each, the darker the more."""
    names = list(spikes)[:MOST_ROWS]
    rates = np.array([spikes[k] / max(1, sizes[k]) for k in names])
    shown, each = binned(rates.T)
    steps, most = len(shown), max(float(shown.max()), 1e-12)
    wide = (WIDTH - LEFT) / steps
    height = len(names) * ROW + 34
    cells: list[Markup] = []
    for row, name in enumerate(names):
        y = row * ROW
        cells.append(at(LEFT - 8, y + 13, _short(name), "end"))
        for step in range(steps):
            share = float(shown[step, row]) / most
            cells.append(
                element(
                    "rect", element("title", f"{label(name)}, {_steps(step, each)}: "
                                    f"{number(float(shown[step, row]))} spikes a neuron"),
                    x=LEFT + step * wide, y=float(y), width=max(0.5, wide - 1), height=ROW - 1.0,
                    class_="heat", fill_opacity=f"{max(0.04, share):.2f}",
                )
            )  # fmt: skip
    cells += _axis(steps, wide, each, len(names) * ROW)
    words = (
        f"Spikes of {len(names)} layers over {steps * each if each > 1 else steps} steps; the most "
        f"is {number(most)} spikes a neuron in one step. The table below has the numbers."
    )
    return picture(WIDTH, height, words, *cells)


def raster(sample: SampleShown) -> Markup:
    """Draw the spikes of some neurons of some layers on one sample: a mark for each."""
    marks: list[Markup] = []
    steps, each = 1, 1
    for i, layer in enumerate(sample.layers):
        top = i * (BAND + GAP)
        sent, each = binned(layer.spikes.astype(np.float64))
        steps, rows = sent.shape
        wide, tall = (WIDTH - LEFT) / steps, BAND / rows
        marks.append(at(LEFT - 8, top + 14, _short(layer.layer), "end"))
        some = "" if rows == layer.size else f" of {layer.size:,}"
        marks.append(at(LEFT - 8, top + 30, f"{rows}{some} neurons", "end", "soft"))
        marks.append(element("rect", x=LEFT, y=top, width=WIDTH - LEFT, height=BAND, class_="band"))
        strokes = [
            f"M{LEFT + t * wide + wide * 0.15:.1f} {top + (n + 0.5) * tall:.1f}h{wide * 0.7:.1f}"
            for t, n in zip(*np.nonzero(sent), strict=True)
        ]
        marks.append(
            element("path", d="".join(strokes), class_="spikes",
                    stroke_width=f"{min(4.0, max(1.0, tall * 0.8)):.1f}")
        )  # fmt: skip
    height = len(sample.layers) * (BAND + GAP)
    marks += _axis(steps, (WIDTH - LEFT) / steps, each, height - GAP + 2)
    told = ", ".join(f"{label(x.layer)} {int(np.count_nonzero(x.spikes)):,}" for x in sample.layers)
    words = f"Raster of sample {sample.number}: spikes of the neurons that are shown: {told}."
    return picture(WIDTH, height + 26, words, *marks)


def membranes(layer: Recorded) -> Markup:
    """Draw the membrane potentials of some neurons of a layer, a line each, spikes as dots."""
    width, height, left, bottom = 310, 150, 64, 34
    low, high = (float(f(layer.membranes)) for f in (np.min, np.max))
    low, high = min(low, 0.0), max(high, 0.0)
    span = high - low or 1.0
    steps = len(layer.membranes)

    def place(step: int, value: float) -> tuple[float, float]:
        across = step / max(1, steps - 1)
        x, room = left + (width - left - 12) * across, height - bottom - 12
        return x, 8 + room * (1 - (value - low) / span)

    levels = [v for v in sorted({low, high}) if abs(v) > 0.15 * span] + [0.0]
    inside = [
        element("line", x1=left, x2=width - 12, y1=place(0, v)[1], y2=place(0, v)[1], class_="grid")
        for v in levels
    ]
    inside += [at(left - 6, place(0, v)[1] + 4, f"{v:,.0f}", "end") for v in levels]
    which = np.unique(np.linspace(0, steps - 1, min(steps, MOST_STEPS)).round().astype(int))
    for k, neuron in enumerate(layer.watched):
        points = [place(int(t), float(layer.membranes[t, k])) for t in which]
        inside.append(
            element("g", element("title", f"neuron {neuron}"), path(points, f"line c{k % 8}"))
        )
    inside.append(at(left, height - 16, "step 1"))
    inside.append(at(width - 12, height - 16, f"step {steps}", "end"))
    words = (
        f"Membrane potential {layer.state} of {len(layer.watched)} neurons of {label(layer.layer)} "
        f"over {steps} steps, from {low:,.0f} to {high:,.0f}."
    )
    return picture(width, height, words, *inside)


def _steps(column: int, each: int) -> str:
    if each == 1:
        return f"step {column + 1}"
    return f"steps {column * each + 1} to {(column + 1) * each}"


def _short(name: str) -> str:
    """Return the end of a long name, where names of layers differ."""
    name = label(name)
    return name if len(name) <= 18 else f"...{name[-15:]}"


def _axis(steps: int, wide: float, each: int, y: float) -> list[Markup]:
    """Number some of the columns below a picture."""
    every = max(1, -(-steps // 16))
    numbers = [
        at(LEFT + (i + 0.5) * wide, y + 14, i * each + 1, "middle") for i in range(0, steps, every)
    ]
    what = "step" if each == 1 else f"step ({each} steps a column)"
    return [*numbers, at(LEFT - 8, y + 14, what, "end")]
