# pyright: basic
"""Memory that stays with the process while it trains.

Each step asks for the same large arrays and gives them back. glibc's allocator returns them to the
operating system each time, which then clears every page again (docs/decisions/0024).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

# Numbers of options, from malloc.h, what they are while training, and the manual's defaults.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEPT = {TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 << 20, MMAP_MAX: 0}
USUAL = {TRIM_THRESHOLD: 128 << 10, TOP_PAD: 0, MMAP_MAX: 65536}


@contextmanager
def kept_memory() -> Generator[None, None, None]:
    """Keep freed memory until this ends; nothing changes with allocators that are not glibc's."""
    library = _glibc()
    if library is None:
        yield
        return
    _set(library, KEPT)
    try:
        yield
    finally:
        _set(library, USUAL)
        library.malloc_trim(0)


def _set(library: Any, options: dict[int, int]) -> None:
    for option, value in options.items():
        library.mallopt(option, value)


@functools.cache
def _glibc() -> Any:
    """Return the C library, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - raises where there is none
    except (AttributeError, OSError, TypeError):
        return None
    return library
