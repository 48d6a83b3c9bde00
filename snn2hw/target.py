"""Chips as data: loading and checking ``targets/*.toml``.

Every figure in a target file is a table with ``value``, ``kind`` and ``source``; a figure
without a source is refused, so a number in a report can always be traced.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from snn2hw.errors import InputError, unknown_name
from snn2hw.ir.integer import Numbers

Kind = Literal["measured", "published", "fitted", "assumed"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number about a chip: value, how low and high it may be, and who says so."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    kind: Kind
    source: str


@dataclass(frozen=True, slots=True)
class Target:
    """A chip: limits of a core, arithmetic, abilities and prices."""

    name: str
    family: str
    title: str
    about: str
    numbers: Numbers
    limits: Mapping[str, Figure]
    abilities: Mapping[str, bool]
    prices: Mapping[str, Figure]
    timing: Mapping[str, Figure]
    calibration: Mapping[str, Figure]

    def limit(self, name: str) -> int:
        """Return a limit as an integer."""
        return int(self.limits[name].value)


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
        return _read(Path(name))
    if name not in names():
        raise unknown_name("target", name, names())
    return _shipped(name)


@cache  # not of other files: those may change, or be others in another folder
def _shipped(name: str) -> Target:
    return _read(directory() / f"{name}.toml")


def _read(path: Path) -> Target:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no target file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}.") from None
    return _Reader(path, data).target()


class _Reader:
    """Walks one file, collecting every problem before it refuses."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data, self.problems = path, data, list[str]()

    def target(self) -> Target:
        known = {"schema", "family", "title", "about", "numbers", "limits", "abilities"}
        known |= {"prices", "timing", "calibration"}
        self.problems += [f"unknown key {k}" for k in self.data if k not in known]
        if self.data.get("schema") != 1:
            self.problems.append("schema must be 1")
        made = Target(
            name=self.path.stem,
            family=str(self.data.get("family", "")),
            title=str(self.data.get("title", self.path.stem)),
            about=str(self.data.get("about", "")).strip(),
            numbers=self.numbers(),
            limits=self.figures("limits", LIMITS),
            abilities=self.abilities(),
            prices=self.figures("prices", PRICES),
            timing=self.figures("timing", TIMING),
            calibration=self.figures("calibration", None),
        )
        if self.problems:
            raise InputError(f"{self.path}: {'; '.join(self.problems)}.")
        return made

    def table(self, name: str) -> dict[str, Any]:
        value = self.data.get(name, {})
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        self.problems.append(f"{name} must be a table")
        return {}

    def numbers(self) -> Numbers:
        table = self.table("numbers")
        source = table.pop("source", None)
        known = {f.name for f in fields(Numbers)}
        if not source:
            self.problems.append("numbers has no source")
        self.problems += [f"numbers.{k} is unknown" for k in table if k not in known]
        self.problems += [f"numbers.{k} is missing" for k in known if k not in table]
        return Numbers(**{k: int(v) for k, v in table.items() if k in known})

    def abilities(self) -> Mapping[str, bool]:
        table = self.table("abilities")
        self.problems += [f"abilities.{k} is missing" for k in ABILITIES if k not in table]
        return MappingProxyType({k: bool(table.get(k, False)) for k in ABILITIES})

    def figures(self, section: str, units: Mapping[str, str] | None) -> Mapping[str, Figure]:
        table = self.table(section)
        if units is not None:
            self.problems += [f"{section}.{k} is unknown" for k in table if k not in units]
            self.problems += [f"{section}.{k} is missing" for k in units if k not in table]
        made = {
            key: self.figure(f"{section}.{key}", raw, (units or {}).get(key, ""))
            for key, raw in table.items()
        }
        return MappingProxyType(made)

    def figure(self, name: str, raw: Any, unit: str) -> Figure:
        entry: dict[str, Any] = raw if isinstance(raw, dict) else {}
        value = entry.get("value", math.nan)
        low, high = entry.get("low", value), entry.get("high", value)
        kind, source = entry.get("kind", ""), str(entry.get("source", ""))
        if not (isinstance(value, int | float) and 0 <= low <= value <= high < math.inf):
            self.problems.append(f"{name} needs 0 <= low <= value <= high")
            value = low = high = 0.0
        if kind not in KINDS:
            self.problems.append(f"{name} needs kind = one of {', '.join(KINDS)}")
        if not source:
            self.problems.append(f"{name} has no source")
        if entry.get("unit", unit) != unit and unit:
            self.problems.append(f"{name} is in {entry.get('unit')}, not in {unit}")
        unit = unit or str(entry.get("unit", ""))
        short = name.split(".", 1)[1]
        return Figure(short, float(value), float(low), float(high), unit, kind, source)
