"""Options of the Python interface: one that does not exist is named with the nearest."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from snn2hw.errors import InputError, listed, unknown_name

P = ParamSpec("P")
R = TypeVar("R")


def check(given: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse options that are not among those known.

    Raises:
        InputError: names the nearest.
    """
    for name in given:
        if name not in known:
            raise unknown_name("option", name, sorted(known))


def named(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse options that it does not have, with the nearest it has.

    A function that takes any options checks them itself.
    """
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    optional = [p.name for p in parameters if p.name in known and p.default is not p.empty]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check({k: v for k, v in kwargs.items() if k not in known}, optional)
        return function(*args, **kwargs)

    return checked


def options_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's options."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is not p.empty]


def fraction(value: Any) -> float:
    """Return a number, also of a text such as ``1/255``.

    Raises:
        ValueError, TypeError, ZeroDivisionError: it is none.
    """
    if isinstance(value, str):
        over, _, under = value.partition("/")
        return float(over) / float(under or 1)
    return float(value)


def _fractions(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        value = value.split(",")
    return tuple(fraction(v) for v in np.ravel(value).tolist())


def _count(value: Any) -> int:
    found = operator.index(value)
    if isinstance(value, bool) or found < 1:
        raise ValueError
    return found


def _seconds(value: Any) -> float:
    found = float(value)
    if isinstance(value, str) or not 0 < found < np.inf:
        raise ValueError
    return found


def _shape(value: Any) -> tuple[int, ...]:
    found = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not found:
        raise ValueError
    return tuple(_count(n) for n in found)


_KINDS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "time_steps": (_count, "a whole number from 1"),
    "input_max": (_count, "a whole number from 1"),
    "chips": (_count, "a whole number from 1"),
    "dt": (_seconds, "a positive number of seconds"),
    "v_min": (float, "a number"),
    "shape": (_shape, "positive whole numbers without batch and time, such as (C, H, W)"),
    "input_scale": (fraction, "a number such as 1/255"),
    "input_mean": (_fractions, "a number, or one for each channel"),
    "input_std": (_fractions, "a number, or one for each channel"),
}


def settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with their values as plain numbers and tuples; those that are None are left.

    Raises:
        InputError: names every value that is of another kind.
    """
    found, wrong = dict(given), list[str]()
    for name, (kind, what) in _KINDS.items():
        if given.get(name) is None:
            continue
        try:
            found[name] = kind(given[name])
        except (TypeError, ValueError, ZeroDivisionError, RuntimeError):
            wrong.append(f"{name} is {given[name]!r}, not {what}")
    if wrong:
        raise InputError(f"There are options that cannot be used: {listed(wrong, '; ')}.")
    return found
