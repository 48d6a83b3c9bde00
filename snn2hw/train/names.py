"""Networks by name: rows of a table, and families whose sizes are part of the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from snn2hw.errors import unknown_name

Entry = TypeVar("Entry")


class Names(dict[str, Entry], Generic[Entry]):
    """A table of networks that understands names such as ``mlp-512-512`` too.

    Args:
        rows: what is listed.
        families: by the word before the sizes, what makes a row of them.
    """

    def __init__(
        self,
        rows: Mapping[str, Entry],
        families: Mapping[str, Callable[[tuple[int, ...]], Entry]],
    ) -> None:
        super().__init__(rows)
        self.families = families

    def __contains__(self, name: object) -> bool:
        """Say whether a name is listed or of a family."""
        return super().__contains__(name) or (isinstance(name, str) and self._sizes(name) != ())

    def __missing__(self, name: str) -> Entry:
        """Make the row of a name with sizes."""
        sizes = self._sizes(name)
        if not sizes:
            raise KeyError(name)
        return self.families[name.partition("-")[0]](sizes)

    def find(self, what: str, name: str) -> Entry:
        """Return a row.

        Raises:
            InputError: there is no such name; ``what`` says of what.
        """
        if name not in self:
            raise unknown_name(what, name, self)
        return self[name]

    def _sizes(self, name: str) -> tuple[int, ...]:
        family, _, rest = name.partition("-")
        parts = rest.split("-")
        good = all(p.isascii() and p.isdigit() and 0 < int(p) <= 1 << 20 for p in parts)
        return tuple(map(int, parts)) if family in self.families and good else ()
