"""Networks by name: rows of a table, and families whose sizes are part of the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from snn2hw.errors import InputError, unknown_name

if TYPE_CHECKING:
    from torch import nn

MOST_PARAMETERS = 1 << 30
Entry = TypeVar("Entry")
Network = TypeVar("Network", bound="nn.Module")


def built(what: str, name: str, build: Callable[[], Network]) -> Network:
    """Build a network, unless its name asks for one that no memory holds.

    Args:
        what: it is, for messages.
        name: of it.
        build: makes it; called on PyTorch's meta device first, where nothing is stored.

    Raises:
        InputError: it has too many parameters.
    """
    import torch

    with torch.device("meta"):
        size = sum(p.numel() for p in build().parameters())
    if size > MOST_PARAMETERS:
        raise InputError(
            f"{what.capitalize()} {name!r} has {size:,} parameters; more than {MOST_PARAMETERS:,} "
            "are not trained here.",
            "Take smaller layers, or a smaller width.",
        )
    return build()


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
        good = all(p.isascii() and p.isdigit() and len(p) < 8 and int(p) > 0 for p in parts)
        return tuple(map(int, parts)) if family in self.families and good else ()
