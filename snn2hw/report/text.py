"""Results as lines of plain text. Whoever prints them escapes what names may hold."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from unicodedata import east_asian_width

from snn2hw.errors import counted, listed, shortened, sized, visible

RANDOM = "random inputs"
COLUMNS = 80  # of a terminal
WIDEST = 400  # characters of a cell: a longer name would widen its column for all


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Align columns: the first ``left`` to the left, the others to the right."""
    cells = [[shortened(visible(c), WIDEST) for c in r] for r in (head, *rows)]
    widths = [max(columns(r[i]) for r in cells) for i in range(len(head))]
    lines: list[str] = []
    for row in cells:
        padded = [(c, " " * (w - columns(c))) for c, w in zip(row, widths, strict=True)]
        line = "  ".join(c + pad if i < left else pad + c for i, (c, pad) in enumerate(padded))
        lines.append(line.rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return lines


def wrapped(line: str, further: str = "") -> list[str]:
    """Break a line into lines of 80 columns; those after the first begin with ``further``."""
    start = line[: len(line) - len(line.lstrip())]
    shown = shortened(visible(line))
    return textwrap.wrap(shown, COLUMNS, subsequent_indent=further or start) or [""]


def number(value: float) -> str:
    """Write a quantity with three significant digits, and thousands with commas."""
    if value and abs(value) < 0.001:
        return f"{value:.2e}"
    if abs(value) >= 1e10:
        return f"{value:.2e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}"


def short(name: str, most: int = 60) -> str:
    """Return a name, or of a long one its beginning and its end, where layers' names differ."""
    name = visible(name)
    if columns(name) <= most:
        return name
    end = (most - 3) // 2
    return f"{_first(name, most - 3 - end)}...{_first(name[::-1], end)[::-1]}"


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian letters take two."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    return 2 if east_asian_width(letter) in "WF" else 1


def _first(text: str, most: int) -> str:
    """Return the beginning of a text that takes at most so many columns."""
    return text[: sum(end <= most for end in accumulate(map(_columns, text)))]


def percent(value: float | None) -> str:
    """Write a share as a percentage."""
    return "-" if value is None else f"{100 * value:.2f} %"


def verification(found: Mapping[str, Any], name: str) -> list[str]:
    """Write what ``verify`` found."""
    if found["against"] is None:
        return [f"{name}: not verified. {found['reason']}"]
    lines = [
        f"{name}: {counted(found['samples'], 'sample')} of "
        f"{counted(found['sample_steps'], 'step')}, "
        f"against {found['against']}",
        *(f"  {line}" for line in _parts(found)),
    ]
    for path in found["paths"]:
        processes = ", ".join(f"{n} {k}" for k, n in path["processes"].items())
        *states, last = path["values"]
        values = f"{', '.join(states)} and {last}" if states else last
        lines.append(
            f"  through {path['through']} ({processes}): {path['compared']:,} values of "
            f"{values} compared, {path['mismatches']:,} differ"
        )
    first = found["first"]
    if first:
        lines.append(
            f"  first difference: layer {first['layer']}, neuron {first['neuron']}, chip "
            f"step {first['step']} of sample {first['sample']}: {first['what']} is "
            f"{first['ours']} here and {first['theirs']} there"
        )
    else:
        lines.append(f"  all {found['compared']:,} values are equal")
    return lines


def _parts(found: Mapping[str, Any]) -> list[str]:
    """Write which parts were verified, if it was not the whole, and which were left out."""
    parts, left_out = found.get("parts", ()), found.get("left_out", ())
    lines = [f"part: {part(p)}" for p in parts]
    if len(parts) > 1:
        told = zip(lines, parts, strict=True)
        lines = [f"{x}: {p['compared']:,} values, {p['mismatches']:,} differ" for x, p in told]
    return lines + [
        f"left out: {p['part']}, which needs {sized(p['bytes'])} of memory" for p in left_out
    ]


def part(told: Mapping[str, Any]) -> str:
    """Name a part of a build, and what feeds it."""
    names = list(told["populations"])
    (first, last), sizes = (names[0], names[-1]), told["populations"].values()
    neurons, of = (sum(n[k] for n in sizes) for k in ("neurons", "of"))
    window = f" [{told['window']}]" if told["window"] else ""
    called = listed(names) if len(names) < MOST_NAMED else f"{first} to {last}"
    some = "" if neurons == of else f"{neurons:,} of "
    count = f"{some}{counted(of, 'neuron')}"
    fed = f", fed by {listed(told['sources'])}" if told["sources"] else ""
    return f"{called}{window}, {count}{fed}"


MOST_NAMED = 4  # populations that a line about a part tells one by one


MOST_HEARD = 3  # connections into a layer that a line tells


def _heard(into: Sequence[Mapping[str, Any]]) -> str:
    """Write who a layer hears, and how."""
    told = [
        f"{c['from']} ({c['kind']}"
        + (f", 2^{c['exponent']}" if c["exponent"] else "")
        + (f", delay {c['delay']}" if c["delay"] > 1 else "")
        + ")"
        for c in into
    ]
    if len(told) > MOST_HEARD:
        told[1:-1] = [f"{len(told) - 2} more"]
    return " + ".join(told)


def build(info: Mapping[str, Any]) -> list[str]:
    """Write what a build holds."""
    rows: list[list[str]] = []
    for layer in info["layers"]:
        into = layer["inputs"]
        rounding = layer.get("quantization", {})
        rows.append(
            [
                layer["name"], "x".join(map(str, layer["shape"])), str(layer["phase"]),
                _heard(into)
                or (f"{layer['driven_by']} (host)" if layer.get("driven_by") else "its own bias"),
                f"{sum(c['nonzero'] for c in into):,}", str(layer["cores"]),
                f"{100 * rounding['relative_error']:.2f} %" if rounding else "-",
            ]
        )  # fmt: skip
    head = ["layer", "shape", "phase", "from", "weights", "cores", "rounding"]
    vendor = info["vendor_file"]
    return [
        f"{info['name']}: {info['target']}, {counted(info['time_steps'], 'step')}, "
        f"depth {info['depth']}, {counted(info['cores'], 'core')} on "
        f"{counted(info['chips'], 'chip')}",
        *table(head, rows, left=4),
        *answers(info),
        *([f"{vendor['name']}: {_written(vendor)}"] if vendor else []),
        *_changes(info),
    ]


def answers(info: Mapping[str, Any]) -> list[str]:
    """Write which layer each of several outputs is of."""
    of = info.get("answers", {})
    return [f"outputs: {listed(f'{k} ({layer})' for k, layer in of.items())}"] if of else []


def _written(vendor: Mapping[str, Any]) -> str:
    if not vendor["written"]:
        return f"not written, {vendor['reason']}"
    return f"written; {vendor['use']}" if "use" in vendor else "written"


def _changes(info: Mapping[str, Any]) -> list[str]:
    """Say what passes removed and rewrites changed."""
    gone = {
        layer["name"]: layer["quantization"]["removed"]
        for layer in info["layers"]
        if layer.get("quantization", {}).get("removed")
    }
    lines = [f"removed: {counted(n, 'neuron')} of {k}, silent or unheard" for k, n in gone.items()]
    return [*lines, *changes(info.get("rewrites"))]


def changes(done: Mapping[str, Any] | None) -> list[str]:
    """Say which rewrites were applied and what they changed."""
    if not done:
        return []
    lines = [f"rewrite {name}: {about}" for name, about in done["applied"].items()]
    was, now = done["spikes_per_sample"]
    found = {"in float": {"spikes_per_sample": now, "same_predictions": done["same_predictions"]}}
    found["on the chip"] = done["on_chip"]
    lines.append(f"measured on {done['measured_on']}: {number(was)} spikes a sample before")
    for i, (where, after) in enumerate(found.items()):
        said = f"{number(after['spikes_per_sample'])} spikes a sample, "
        said += f"{percent(after['same_predictions'])} of the predictions stay"
        if "accuracy" in done:
            before, now = done["accuracy"][0], (done["accuracy"][1], done["on_chip"]["accuracy"])[i]
            said += f", accuracy {percent(before)} -> {percent(now)}"
        lines.append(f"  after, {where}: {said}")
    if done["measured_on"].endswith(RANDOM):
        lines.append(
            "  Random inputs say little of real ones: measure it on samples of your own (--data, "
            "--input; in Python x=, y=)."
        )
    return lines


def refusals(targets: Mapping[str, list[str]], rewrites: Mapping[str, list[str]]) -> list[str]:
    """Write for each target that a model fits, or every reason why not and what would help."""
    lines: list[str] = []
    for name, reasons in targets.items():
        lines.append(f"{name}: does not fit" if reasons else f"{name}: fits")
        lines += [f"  {reason}" for reason in reasons]
        if name in rewrites:
            lines.append(f"  It fits with: {' '.join(f'--rewrite {r}' for r in rewrites[name])}")
    return lines


def pairs(values: Mapping[str, Any]) -> list[str]:
    """Write names and values, one a line."""
    width = max((len(k) for k in values), default=0)
    return [f"{k:<{width}}  {_plain(v)}" for k, v in values.items()]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
