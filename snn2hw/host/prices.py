"""Published prices of a processor's work, from ``prices.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snn2hw.fields import filled, named, real, require, table, text
from snn2hw.ir.target import KINDS, Figure

FILE = Path(__file__).with_name("prices.toml")
_number = real(0, 1e6)
_FIGURE = table(
    {"value": _number, "kind": text(*KINDS), "source": filled},
    {"low": _number, "high": _number, "unit": filled},
    closed=True,
)
_FILE = table(
    {"title": filled, "prices": named(_FIGURE), "work": named(_FIGURE)},
    closed=True,
)


@dataclass(frozen=True, slots=True)
class Prices:
    """What a processor's work costs.

    Args:
        title: whose prices they are.
        pj: energies in pJ, by event.
        work: how many instructions and operands an operation takes, by name.
    """

    title: str
    pj: Mapping[str, Figure]
    work: Mapping[str, Figure]


@cache
def load() -> Prices:
    """Read the prices; a figure without a source is refused."""
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    require(data, _FILE, FILE)

    def figures(section: str, unit: str) -> dict[str, Figure]:
        return {
            name: Figure(
                name,
                f["value"],
                f.get("low", f["value"]),
                f.get("high", f["value"]),
                f.get("unit", unit),
                f["kind"],
                f["source"],
            )
            for name, f in data[section].items()
        }

    return Prices(data["title"], figures("prices", "pJ"), figures("work", ""))
