"""Chips as data: loading and checking ``targets/*.toml``.

Every figure in a target file is a table with ``value``, ``kind`` and ``source``; a figure
without a source is refused, so a number in a report can always be traced.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snn2hw.errors import InputError, unknown_name
from snn2hw.fields import Check, filled, flag, named, real, require, table, text, whole
from snn2hw.files import read_text, reading
from snn2hw.ir.integer import RANGES, Numbers
from snn2hw.ir.target import KINDS, Figure, Target

# What every file must hold, with the unit its figures are in; the estimator has an event for
# each price, so an extra or a missing one is an error, never a silent zero.
LIMITS = {
    "cores_per_chip": "cores",
    "chips": "chips",
    "neurons_per_core": "neurons",
    "memory_per_core": "bytes",
    "neuron_bytes": "bytes",
    "axon_bytes": "bytes",
    "synapse_bytes_dense": "bytes",
    "synapse_bytes_sparse": "bytes",
    "sparse_density": "fraction",
}
PRICES = {"synop": "pJ", "update": "pJ", "static": "W"}
TIMING = {"synop": "ns", "update": "ns", "step": "us", "io_value": "us"}
ABILITIES = ("graded_input", "graded_output", "reset_zero", "reset_subtract")

__all__ = ["KINDS", "Figure", "Target", "directory", "load", "names", "read"]

SCHEMA = 1
LARGEST = 1e12  # figure, in whatever unit
LARGEST_FILE = 1 << 16  # bytes: ten times the longest
LONGEST_LINE = 2000  # characters: a key with 30,000 dots takes its reader a minute


def _figure(low: float = 0, high: float = LARGEST, unit: str = "") -> Check:
    number = real(low, high)
    needed = {"value": number, "kind": text(*KINDS), "source": filled}
    known = {"low": number, "high": number, "unit": text(unit) if unit else filled}
    return table(needed, known, closed=True)


def _figures(units: Mapping[str, str]) -> Check:
    return table({k: _figure(unit=u) for k, u in units.items()}, closed=True)


def _limits() -> Check:
    # Of all but the density there is a whole number, and of what is divided by, more than none.
    checks = {k: _figure(1, 1 << 31, unit) for k, unit in LIMITS.items()}
    return table({**checks, "sparse_density": _figure(0, 1, "fraction")}, closed=True)


_FILE = table(
    {
        "schema": whole(SCHEMA, SCHEMA),
        "family": filled,
        "numbers": table({"source": filled, **{k: whole(*r) for k, r in RANGES.items()}},
                         closed=True),
        "limits": _limits(),
        "abilities": table(dict.fromkeys(ABILITIES, flag), closed=True),
        "prices": _figures(PRICES),
        "timing": _figures(TIMING),
    },
    {"title": filled, "about": text(), "calibration": named(_figure())},
    closed=True,
)  # fmt: skip


def directory() -> Path:
    """Return where the shipped target files are: beside the package, or inside a wheel."""
    inside = Path(__file__).parent / "_targets"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "targets"


def names() -> list[str]:
    """Return the shipped targets' names."""
    return sorted(p.stem for p in directory().glob("*.toml"))


def load(name: str) -> Target:
    """Load a shipped target by name, or any TOML file by a path that ends in ``.toml``.

    Raises:
        InputError: if there is no such target or the file misses or adds a key.
    """
    if name.endswith(".toml"):
        return read(Path(name))
    if name not in names():
        raise unknown_name("target", name, names())
    return _shipped(name)


@cache  # not of other files: those may change, or be others in another folder
def _shipped(name: str) -> Target:
    return read(directory() / f"{name}.toml")


def read(path: Path, name: str | None = None) -> Target:
    """Read a target file.

    Args:
        path: the file.
        name: of the target, if not that of the file.

    Raises:
        InputError: names what is wrong with it.
    """
    with reading(path, "a target"):
        content = read_text(path, "a target", LARGEST_FILE)
        if max(map(len, content.splitlines()), default=0) > LONGEST_LINE:
            raise InputError(f"{path} has a line of more than {LONGEST_LINE} characters.")
        data = tomllib.loads(content)
        require(data, _FILE, path)
        return _target(path, name or path.stem, data, content)


def _target(path: Path, name: str, data: Mapping[str, Any], content: str) -> Target:
    """Make a target of a file whose shape is right, or name what contradicts itself."""
    sections = {
        k: _ranges(data.get(k, {}), units)
        for k, units in (
            ("limits", LIMITS), ("prices", PRICES), ("timing", TIMING), ("calibration", {}),
        )
    }  # fmt: skip
    problems = [
        f"{section}.{f.name} is not between its low and its high"
        for section, figures in sections.items()
        for f in figures.values()
        if not f.low <= f.value <= f.high
    ]
    problems += [
        f"limits.{f.name} is {f.value:g}, not a whole number"
        for f in sections["limits"].values()
        if f.unit != "fraction" and f.value != int(f.value)
    ]
    try:
        numbers = Numbers(**{k: v for k, v in data["numbers"].items() if k != "source"})
    except ValueError as error:
        raise InputError(f"{path}: {'; '.join([*problems, str(error)])}.") from None
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}.")
    return Target(
        name=name,
        family=data["family"],
        title=data.get("title", name),
        about=data.get("about", "").strip(),
        numbers=numbers,
        abilities=MappingProxyType({k: data["abilities"][k] for k in ABILITIES}),
        **sections,
        text=content,
    )


def _ranges(entries: Mapping[str, Any], units: Mapping[str, str]) -> Mapping[str, Figure]:
    """Make figures; without a range, a value is its own low and high."""
    made: dict[str, Figure] = {}
    for name, entry in entries.items():
        value = float(entry["value"])
        low, high = (float(entry.get(k, value)) for k in ("low", "high"))
        unit = units.get(name, entry.get("unit", ""))
        made[name] = Figure(name, value, low, high, unit, entry["kind"], entry["source"])
    return MappingProxyType(made)
