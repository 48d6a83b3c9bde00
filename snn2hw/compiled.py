# pyright: basic
"""Compiled functions, kept between runs where there is a place for them.

Numba refuses a function whose cache it cannot write, and stops at a cache that is damaged. Here
the one is read where somebody has filled it before, and else both only cost the time to compile
again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from snn2hw.errors import InputError
from snn2hw.files import expanded


def _places() -> list[Any]:
    """Return where Numba may look for a folder; without a home it would make one named ``~``."""
    places: list[Any] = list(CompileResultCacheImpl._locator_classes)
    try:
        expanded("~")
    except InputError:
        places = [p for p in places if "UserWide" not in p.__name__]
    return [*places, *map(_filled, places)]


def _filled(place: Any) -> Any:
    """Return a place that need not be writable, if it holds something."""

    class Filled(place):
        def ensure_cache_path(self) -> None:
            folder = self.get_cache_path()
            if not any(Path(folder).glob("*.nbi")):
                raise FileNotFoundError(folder)

    return Filled


class _Kept(FunctionCache):
    class _impl_class(CompileResultCacheImpl):  # noqa: N801
        _locator_classes = _places()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever the damage makes pickle stumble over
            with suppress(OSError):
                self.flush()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # such as a full disk
            super().save_overload(sig, data)


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Compile a function with ``numba.njit`` and these options, and keep it if that is possible."""

    def decorate(function: Any) -> Any:
        made: Any = numba.njit(**options)(function)
        with suppress(RuntimeError):  # there is no folder that can be written
            made._cache = _Kept(function)
        return made

    return decorate


def threads_there() -> int:
    """Return in how many threads compiled functions may run."""
    return numba.get_num_threads()
