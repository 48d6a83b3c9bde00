"""Options of the Python interface: one that does not exist is named with the nearest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from snn2hw.errors import unknown_name

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

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check(kwargs, [name for name in known if name != "self"])
        return function(*args, **kwargs)

    return checked
