"""Chips as data: loading and checking ``targets/*.toml``.

Every figure in a target file is a table with ``value``, ``kind`` and ``source``; a figure
without a source is refused, so a number in a report can always be traced.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snn2hw.errors import InputError, unknown_name
from snn2hw.families import FAMILIES
from snn2hw.fields import Check, filled, flag, many, named, real, require, table, text, whole
from snn2hw.files import expanded, read_text, reading
from snn2hw.ir.target import KINDS, Figure, Target

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


@cache
def _file(family: str | None, chosen: int = 0) -> Check:
    """Return what a file must hold; a missing price is an error, never a zero.

    Args:
        family: its family; None if that is none, which leaves its sections open.
        chosen: which of the family's variants it is of.
    """
    sections = ("numbers", "limits", "abilities", "prices", "timing")
    needed: dict[str, Check] = dict.fromkeys(sections, table({}))
    if family is not None:
        schema = FAMILIES[family].schema
        variant = schema.variants[chosen]
        # Of all but fractions there is a whole number, and of what is divided by, more than none.
        limits = {
            k: _figure(*((0, 1) if unit == "fraction" else (1, 1 << 31)), unit)
            for k, unit in schema.units(variant, "limits").items()
        }
        numbers = {k: whole(*r) for k, r in schema.ranges.items()}
        later = {k: numbers.pop(k) for k in schema.later}
        needed = {
            "numbers": table({"source": filled, **numbers}, later, closed=True),
            "limits": table(limits, closed=True),
            "abilities": table(dict.fromkeys(schema.abilities, flag), closed=True),
            "prices": _figures(schema.units(variant, "prices")),
            "timing": _figures(schema.units(variant, "timing")),
        }
    known = {
        "title": filled, "about": text(), "open_questions": many(filled),
        "calibration": named(_figure()), "boards": named(_figure(1, 1 << 31, "chips")),
    }  # fmt: skip
    about = {"schema": whole(SCHEMA, SCHEMA), "family": text(*FAMILIES)}
    return table({**about, **needed}, known, closed=True)


SECTIONS = ("limits", "prices", "timing")


def _variant(family: Any, data: Mapping[str, Any]) -> int:
    """Return which variant of a family most of a file's figures are of."""
    variants = FAMILIES[family].schema.variants

    def shared(i: int) -> int:
        return sum(
            len(set(getattr(variants[i], k)) & set(data[k]))
            for k in SECTIONS
            if isinstance(data.get(k), dict)
        )

    return max(range(len(variants)), key=shared)


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
        return read(expanded(name))
    if name not in names():
        raise unknown_name("target", name, names())
    return _shipped(name)


@cache  # not of other files: those may change, or be others in another folder
def _shipped(name: str) -> Target:
    return read(directory() / f"{name}.toml")


def with_chips(target: Target, chips: int | None, *, option: str = "--chips") -> Target:
    """Return a target that may use so many chips; None leaves what its file says.

    ``option`` is what says the number, for the way out of an error.

    Raises:
        InputError: the target is a single chip, or no board has so many.
    """
    if chips is None:
        return target
    if "chips" not in target.limits:
        raise InputError(
            f"{target.title} is a single chip, on which {chips:,} cannot be used.",
            f"Leave {option} out.",
        )
    usual, largest = target.limits["chips"], _largest_board(target)
    if not 1 <= chips <= largest.value:
        name = f"{largest.name}, " if largest.name in target.boards else ""
        raise InputError(
            f"{chips:,} chips were asked for. The largest board of {target.title}, {name}has "
            f"{largest.value:,.0f}.",
            f"Give {option} a number from 1 to {largest.value:,.0f}.",
        )
    allowed = replace(usual, value=float(chips), low=float(chips), high=float(chips))
    return replace(target, limits=MappingProxyType({**target.limits, "chips": allowed}))


def at_most(target: Target, chips: int | None) -> int | None:
    """Return so many chips, or as many as there are where the largest board has fewer.

    None where none were said, or the target is a single chip: what ``with_chips`` takes.
    """
    if chips is None or "chips" not in target.limits:
        return None
    return min(chips, int(_largest_board(target).value))


def _largest_board(target: Target) -> Figure:
    figures = (*target.boards.values(), target.limits["chips"])
    return max(figures, key=lambda figure: figure.value)


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
        family = data.get("family")
        known = isinstance(family, str) and family in FAMILIES
        require(data, _file(family, _variant(family, data)) if known else _file(None), path)
        return _target(path, name or path.stem, data, content)


def _target(path: Path, name: str, data: Mapping[str, Any], content: str) -> Target:
    """Make a target of a file whose shape is right, or name what contradicts itself."""
    schema = FAMILIES[data["family"]].schema
    variant = schema.variants[_variant(data["family"], data)]
    units = {k: schema.units(variant, k) for k in SECTIONS}
    sections = {
        k: _ranges(data.get(k, {}), known)
        for k, known in {**units, "calibration": {}, "boards": {}}.items()
    }
    problems = [
        f"{section}.{f.name} is not between its low and its high"
        for section, figures in sections.items()
        for f in figures.values()
        if not f.low <= f.value <= f.high
    ]
    problems += [
        f"{section}.{f.name} is {f.value:g}, not a whole number"
        for section in ("limits", "boards")
        for f in sections[section].values()
        if f.unit != "fraction" and f.value != int(f.value)
    ]
    if sections["boards"] and "chips" not in sections["limits"]:
        problems.append("boards are listed, but limits.chips is not a limit of its family")
    problems += [
        f"abilities.{k} is true, which no neuron of family {data['family']} does"
        for k in schema.never
        if data["abilities"][k]
    ]
    try:
        numbers = schema.numbers(**{k: v for k, v in data["numbers"].items() if k != "source"})
    except ValueError as error:
        raise InputError(f"{path}: {'; '.join([*problems, str(error)])}.") from None
    problems += schema.contradictions(numbers, data["abilities"])
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}.")
    return Target(
        name=name,
        family=data["family"],
        title=data.get("title", name),
        about=data.get("about", "").strip(),
        numbers=numbers,
        abilities=MappingProxyType({k: data["abilities"][k] for k in schema.abilities}),
        **sections,
        text=content,
        open_questions=tuple(data.get("open_questions", ())),
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
