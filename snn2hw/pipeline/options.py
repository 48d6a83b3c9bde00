"""The options that a build was made with, as ``build.json`` keeps them and people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snn2hw import nir_io

FLAG = "--{}"  # how the command line writes the name of an option


def recorded(
    choice: nir_io.Choice,
    time_steps: int | None,
    allowed: Sequence[str],
    name: str | None,
    chips: int | None,
) -> dict[str, Any]:
    """Return every option that was given to an export, as JSON holds it.

    Args:
        choice: what was said about the model's file.
        time_steps: steps of one sample.
        allowed: rewrites.
        name: of the build.
        chips: how many may be used.
    """
    more = {"time_steps": time_steps, "rewrite": list(allowed), "name": name, "chips": chips}
    return choice.given() | {k: v for k, v in more.items() if v}


def told(options: Mapping[str, Any]) -> list[str]:
    """Write options as they are given on the command line."""
    said = {k: v for k, v in options.items() if v not in (None, [])}
    return [f"{_flag(name)} {_value(value)}" for name, value in said.items()]


def differing(
    there: Mapping[str, Any], now: Mapping[str, Any], steps: tuple[int, int], flag: str = FLAG
) -> list[str]:
    """Say which options differ, with both values; a name makes no other build.

    Args:
        there: the options of the build that is there.
        now: those that are given now.
        steps: that a sample lasts there, and now, whoever said so.
        flag: how options are written, ``{}`` for the name.
    """
    before = {**there, "time_steps": steps[0]}
    after = {**now, "time_steps": steps[1]}
    names = [k for k in dict.fromkeys([*before, *after]) if k != "name"]
    pairs = [(k, _value(before.get(k)), _value(after.get(k))) for k in names]
    return [f"{_flag(k, flag)} is {b} now and was {a}" for k, a, b in pairs if a != b]


def _flag(name: str, flag: str = FLAG) -> str:
    return flag.format(name.replace("_", "-") if flag == FLAG else name)


def _value(value: Any) -> str:
    if value in (None, []):
        return "not given"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
