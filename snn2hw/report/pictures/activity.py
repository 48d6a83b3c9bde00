"""What layers do over time: spikes by layer and step, a raster, membranes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from snn2hw.report.evidence import Recorded, SampleShown
from snn2hw.report.pictures.svg import at, element, label, path, picture
from snn2hw.report.text import number

WIDTH, LEFT = 480, 116  # so narrow that letters can be read on a telephone
MOST_STEPS = 64  # columns of a picture; of a longer sample, neighbouring steps share one
ROW, BAND, GAP = 18, 66, 16  # pixels: a layer's row, a layer's band of a raster, between two
LETTERS = 13  # of a layer's name
AXIS, SHARED = 22, 18  # pixels below a picture, and for the line that says how steps are shared


def binned(values: NDArray[np.float64], most: int = MOST_STEPS) -> tuple[NDArray[np.float64], int]:
    """Average neighbouring steps ``[T, ...]`` until ``most`` are left; returns how many share."""
    each = -(-len(values) // most)
    parts = [values[i : i + each].mean(axis=0) for i in range(0, len(values), each)]
    return np.array(parts), each


def by_step(
    spikes: Mapping[str, NDArray[np.float64]], sizes: Mapping[str, int], most_rows: int
) -> Markup:
    """Draw how much of each layer spikes at each step: a row each, the stronger the more.

    Args:
        spikes: of each layer at each step, ``[T]``.
        sizes: neurons of each layer.
        most_rows: layers that are drawn, the first ones.
    """
    names = list(spikes)[:most_rows]
    rates = np.array([spikes[k] / max(1, sizes[k]) for k in names])
    shown, each = binned(rates.T)
    steps, most = len(shown), max(float(shown.max()), 1e-12)
    wide = (WIDTH - LEFT) / steps
    height = len(names) * ROW + AXIS + SHARED * (each > 1)
    cells = [at(LEFT - 8, row * ROW + 13, _short(k), "end") for row, k in enumerate(names)]
    cells += [
        element("rect", x=LEFT, y=row * ROW, width=WIDTH - LEFT, height=ROW - 1, class_="band")
        for row in range(len(names))
    ]
    cells += _heat(shown.T / most, wide)
    cells += _axis(steps, wide, each, len(names) * ROW)
    words = (
        f"Spikes of {len(names)} layers over {rates.shape[1]} steps; the most "
        f"is {number(most)} spikes a neuron in one step. The table below has the numbers."
    )
    return picture(WIDTH, height, words, *cells)


def _heat(shares: NDArray[np.float64], wide: float) -> list[Markup]:
    """Draw a row of cells for each layer ``[layers, steps]``, in ten shades, one path for each.

    Where nothing spikes nothing is drawn.
    """
    levels = np.ceil(10 * shares).astype(int)
    drawn: dict[int, list[str]] = {}
    for row, own in enumerate(levels):
        for step, level in enumerate(own):
            if not level:
                continue
            side = f"M{LEFT + step * wide:.1f} {row * ROW}h{wide - 0.8:.1f}v{ROW - 1}H"
            drawn.setdefault(int(level), []).append(f"{side}{LEFT + step * wide:.1f}z")
    return [
        element("path", d="".join(cells), class_="heat", fill_opacity=f"{level / 10:g}")
        for level, cells in sorted(drawn.items())
    ]


def raster(sample: SampleShown, runs: int) -> Markup:
    """Draw the spikes of some neurons of some layers on one sample, as marks.

    Args:
        sample: what they sent.
        runs: marks of a layer at most, where neighbouring steps share one; of a layer that needs
            more, fewer neurons are drawn.
    """
    marks: list[Markup] = []
    steps, each = 1, 1
    for i, layer in enumerate(sample.layers):
        top = i * (BAND + GAP)
        sent, each = binned(layer.spikes.astype(np.float64))
        marked, rows = _marks(sent, runs)
        steps = len(sent)
        wide, tall = (WIDTH - LEFT) / steps, BAND / rows
        marks.append(at(LEFT - 8, top + 14, _short(layer.layer), "end"))
        some = "" if rows == layer.size else f" of {layer.size:,}"
        marks.append(at(LEFT - 8, top + 31, f"{rows}{some}", "end", "soft"))
        marks.append(element("rect", x=LEFT, y=top, width=WIDTH - LEFT, height=BAND, class_="band"))
        strokes = "".join(
            f"M{LEFT + start * wide:.1f} {top + (n + 0.5) * tall:.1f}h{length * wide - 0.8:.1f}"
            for n, start, length in marked
        )
        thick = f"{min(4.0, max(1.0, tall * 0.8)):.1f}"
        marks.append(element("path", d=strokes, class_="spikes", stroke_width=thick))
    height = len(sample.layers) * (BAND + GAP)
    marks += _axis(steps, (WIDTH - LEFT) / steps, each, height - GAP + 2)
    told = ", ".join(f"{label(x.layer)} {int(np.count_nonzero(x.spikes)):,}" for x in sample.layers)
    words = f"Raster of sample {sample.number}: spikes of the neurons that are shown: {told}."
    below = AXIS + SHARED * (each > 1)
    return picture(WIDTH, height - GAP + below, words, *marks)


def _marks(sent: NDArray[np.float64], most: int) -> tuple[list[tuple[int, int, int]], int]:
    """Return neuron, first step and length of each run of steps with spikes ``[T, n]``.

    Every second neuron is left out until there are no more than ``most``; returns how many are
    left, too.
    """
    while True:
        on = np.pad(sent.T > 0, ((0, 0), (1, 1))).astype(np.int8)
        change = np.diff(on, axis=1)
        neuron, start = np.nonzero(change == 1)
        _, stop = np.nonzero(change == -1)
        if len(neuron) <= most or sent.shape[1] == 1:
            found = zip(neuron.tolist(), start.tolist(), (stop - start).tolist(), strict=True)
            return list(found), sent.shape[1]
        sent = sent[:, ::2]


def membranes(layer: Recorded) -> Markup:
    """Draw the membrane potentials of some neurons of a layer, a line each, spikes as dots."""
    width, height, left, bottom = 320, 150, 80, 34
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
            element("g", element("title", f"neuron {neuron}"), path(points, f"line c{k % 12}"))
        )
    inside.append(at(left, height - 16, "step 1"))
    inside.append(at(width - 12, height - 16, f"step {steps}", "end"))
    words = (
        f"Membrane potential {layer.state} of {len(layer.watched)} neurons of {label(layer.layer)} "
        f"over {steps} steps, from {low:,.0f} to {high:,.0f}."
    )
    return picture(width, height, words, *inside)


def _short(name: str) -> str:
    """Return the end of a long name, where names of layers differ."""
    name = label(name)
    if sum(map(_room, name)) <= LETTERS:
        return name
    while sum(map(_room, name)) > LETTERS - 3:
        name = name[1:]
    return f"...{name}"


def _room(letter: str) -> float:
    """Return how much room a letter takes, of most others."""
    return 1.6 if letter in "mwMW@%" or not letter.isascii() else 1.0


def _axis(steps: int, wide: float, each: int, y: float) -> list[Markup]:
    """Number some of the columns below a picture."""
    every = max(1, -(-steps // 8))
    numbers = [
        at(LEFT + (i + 0.5) * wide, y + 14, i * each + 1, "middle") for i in range(0, steps, every)
    ]
    found = [*numbers, at(LEFT - 8, y + 14, "step", "end")]
    if each > 1:
        found.append(at(LEFT, y + 32, f"each column is {each} steps"))
    return found
