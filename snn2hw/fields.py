"""What a document from elsewhere (JSON, TOML) must hold: types, ranges and names, as a table.

A ``Check`` takes a value and tells what is wrong with it, each as the end of a sentence that
starts with the value's name; nothing, if it is right:

    RUN = table({"accuracy": real(0, 1), "data": text()}, {"note": text()})
    list(RUN({"accuracy": 2}))  # ["data is missing", "accuracy is 2, not a number from 0 to 1"]
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from snn2hw.errors import InputError

Check = Callable[[Any], Iterator[str]]

LARGEST = (1 << 63) - 1
MOST_NAMED = 8  # problems of one document


def whole(low: int = -LARGEST, high: int = LARGEST) -> Check:
    """Take whole numbers in a range; truth values are none."""

    def check(value: Any) -> Iterator[str]:
        if not _is_whole(value) or not low <= value <= high:
            yield f" is {shown(value)}, not a whole number{_range(low, high)}"

    return check


def real(low: float = -math.inf, high: float = math.inf) -> Check:
    """Take finite numbers in a range, whole ones too."""

    def check(value: Any) -> Iterator[str]:
        # An integer of many digits is larger than any float.
        number = isinstance(value, float) or (_is_whole(value) and abs(value) <= LARGEST)
        if not number or not math.isfinite(value) or not low <= value <= high:
            yield f" is {shown(value)}, not a number{_range(low, high)}"

    return check


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def text(*among: str) -> Check:
    """Take any text, or one of a few."""

    def check(value: Any) -> Iterator[str]:
        if not isinstance(value, str) or (among and value not in among):
            yield f" is {shown(value)}, not {' or '.join(map(repr, among)) or 'a text'}"

    return check


def filled(value: Any) -> Iterator[str]:
    """Take a text that says something."""
    if not isinstance(value, str) or not value.strip():
        yield f" is {shown(value)}, not a text that says something"


def flag(value: Any) -> Iterator[str]:
    """Take true or false."""
    if not isinstance(value, bool):
        yield f" is {shown(value)}, not true or false"


def anything(value: Any) -> Iterator[str]:
    """Take whatever there is."""
    del value
    return iter(())


def maybe(check: Check) -> Check:
    """Take null too."""
    return lambda value: iter(()) if value is None else check(value)


def many(check: Check, count: int | None = None) -> Check:
    """Take a list of values that are right, of a length if one is given."""

    def problems(value: Any) -> Iterator[str]:
        if not isinstance(value, list) or count not in (None, len(value)):
            yield f" is {shown(value)}, not a list{'' if count is None else f' of {count}'}"
            return
        for i, item in enumerate(value):
            yield from (f"[{i}]{_after(p)}" for p in check(item))

    return problems


def named(check: Check) -> Check:
    """Take an object whose values are right, whatever their names."""

    def problems(value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f" is {shown(value)}, not an object"
            return
        for name, item in value.items():
            yield from (f"{name}{_after(p)}" for p in check(item))

    return problems


def table(
    needed: Mapping[str, Check], known: Mapping[str, Check] | None = None, *, closed: bool = False
) -> Check:
    """Take an object with fields of given names.

    Args:
        needed: what must be there.
        known: what may be.
        closed: whether anything else is a problem.
    """
    fields = {**needed, **(known or {})}

    def problems(value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f" is {shown(value)}, not an object"
            return
        yield from (f"{k} is missing" for k in needed if k not in value)
        if closed:
            yield from (f"{k} is unknown" for k in value if k not in fields)
        for name, check in fields.items():
            if name in value:
                yield from (f"{name}{_after(p)}" for p in check(value[name]))

    return problems


def require(value: Any, check: Check, where: object, hint: str = "") -> None:
    """Refuse a value that is not right.

    Args:
        value: the whole document.
        check: what it must be.
        where: the file or the part of it, for the message.
        hint: the way out.

    Raises:
        InputError: names the problems, or the first of many.
    """
    problems = listed(check(value))
    if problems:
        raise InputError(f"{where}: {problems}.", hint)


def listed(problems: Iterable[str]) -> str:
    """Write problems in one line, the first of many."""
    first = [p.strip() for p in islice(problems, MOST_NAMED + 1)]
    if len(first) > MOST_NAMED:
        first[-1] = "and more"
    return "; ".join(first)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlist = self.maxdict = self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out numbers of thousands of digits.
        return str(x) if abs(x) <= LARGEST else f"a number of {x.bit_length()} bits"


def shown(value: Any) -> str:
    """Write a value of any size in a few words."""
    return _Short().repr(value)


def _after(problem: str) -> str:
    """Join a problem to the name before it."""
    return problem if problem[0] in " [" else f".{problem}"


def _range(low: float, high: float) -> str:
    if abs(low) < LARGEST and high < LARGEST:
        return f" from {low} to {high}"
    if abs(low) < LARGEST:
        return f" from {low}"
    return f" up to {high}" if high < LARGEST else ""
