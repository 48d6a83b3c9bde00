"""What was measured on chips and published: ``measured.toml``, checked, as values."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from snn2hw.fields import filled, flag, many, named, real, require, table, text, whole
from snn2hw.ir.target import KINDS, Figure

MEASURED = Path(__file__).parent / "measured.toml"

_CHECK = table(
    {
        "schema": whole(1, 1),
        "workload": many(
            table(
                {"name": filled, "chip": filled, "title": filled, "about": filled},
                {"file": filled, "sha256": filled, "data": filled, "stand_in": flag},
                closed=True,
            )
        ),
        "measurement": many(
            table(
                {
                    "workload": filled, "what": filled, "run": filled, "value": real(0),
                    "unit": text(), "fitted": flag, "source": filled,
                },
                closed=True,
            )
        ),
        "left_out": many(table({"what": filled, "why": filled}, closed=True)),
        "price": named(
            table(
                {
                    "value": real(0), "low": real(0), "high": real(0), "unit": filled,
                    "kind": text(*KINDS), "source": filled,
                },
                closed=True,
            )
        ),
    },
    closed=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workload:
    """A network that ran on a chip, and how it is rebuilt.

    ``file`` is looked for in the data folders, with the hash ``sha256``; empty where the network is
    made of its description. ``data`` is a data set that it is shown. A ``stand_in`` is so much
    unlike what was measured that its predictions are not counted.
    """

    name: str
    chip: str
    title: str
    about: str
    file: str = ""
    sha256: str = ""
    data: str = ""
    stand_in: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """A published number of one run of a workload; ``fitted`` if prices were fitted to it."""

    workload: str
    what: str
    run: str
    value: float
    unit: str
    fitted: bool
    source: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything in ``measured.toml``.

    ``left_out`` are measurements whose workloads cannot be rebuilt, with the reason; ``prices``
    are of chips that are no targets.
    """

    workloads: Mapping[str, Workload]
    measurements: tuple[Measurement, ...]
    left_out: tuple[tuple[str, str], ...]
    prices: Mapping[str, Figure]


@cache
def measured() -> Measured:
    """Read the measurements that come along.

    Raises:
        InputError: names what is wrong with the file.
    """
    data: dict[str, Any] = tomllib.loads(MEASURED.read_text(encoding="utf-8"))
    require(data, _CHECK, MEASURED)
    return Measured(
        {w["name"]: Workload(**w) for w in data["workload"]},
        tuple(Measurement(**m) for m in data["measurement"]),
        tuple((x["what"], x["why"]) for x in data["left_out"]),
        {k: Figure(name=k, **v) for k, v in data["price"].items()},
    )
