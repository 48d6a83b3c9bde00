"""What an HDF5 file holds, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something that is neither numbers nor text; ``what`` says what it is."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True, eq=False)
class Group(Mapping[str, "Item"]):
    """Items and attributes by name.

    Numbers are arrays (of no dimensions where there is one number), a text is a ``str``, several
    texts are an array of ``str`` objects.
    """

    items_by_name: Mapping[str, Item]
    attrs: Mapping[str, Item]

    def __getitem__(self, name: str) -> Item:
        return self.items_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_by_name)

    def __len__(self) -> int:
        return len(self.items_by_name)


Item = Group | NDArray[Any] | str | Foreign


def numbers(item: object) -> NDArray[np.float64]:
    """Return real numbers as they are, in 64 bits.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(item, bool | int | float):
        return np.asarray(item, np.float64)
    if not isinstance(item, np.ndarray):
        raise ValueError(f"holds {described(item)} where numbers belong")
    if item.dtype.kind not in "biuf":
        raise ValueError(f"holds {described(item)} where real numbers belong")
    return item.astype(np.float64, copy=False)


def described(item: object) -> str:
    """Say what an item is, in a few words."""
    match item:
        case str():
            return f"the text {item[:40]!r}"
        case np.ndarray() if item.dtype.kind == "O":
            return f"{item.size} texts"
        case np.ndarray():
            return f"numbers of type {item.dtype}"
        case Mapping():
            return "a group"
        case None:
            return "nothing"
        case _:
            return str(item)
