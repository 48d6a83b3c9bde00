"""Every error that snn2hw raises on purpose.

    Snn2hwError            shown as one sentence and a way out, exit code 1
    ├── InputError         a file, a name or an option that cannot be used
    ├── NetworkError       a network that contradicts itself; lists every problem at once
    ├── UnsupportedError   a sound network that asks for what the target cannot do
    ├── DoesNotFitError    a network that needs more than the target has
    ├── RuntimeMissingError  a vendor simulator that is not installed or did not run
    └── Interrupted        Ctrl-C at a safe point; the message says how to go on

Anything else that escapes is a bug of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class Snn2hwError(Exception):
    """Base of all errors a user can act on.

    ``message`` says who, needs what and has what; ``hint`` says the way out.
    """

    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message} {hint}")
        self.message = message
        self.hint = hint


class InputError(Snn2hwError):
    """A file, name or option that cannot be used."""

    kind = "input"


class NetworkError(Snn2hwError):
    """A network that contradicts itself."""

    kind = "network"


class UnsupportedError(Snn2hwError):
    """The target has no way to do what the network asks."""

    kind = "unsupported"


class DoesNotFitError(Snn2hwError):
    """The network needs more of a resource than the target has."""

    kind = "does-not-fit"


class RuntimeMissingError(Snn2hwError):
    """A vendor simulator is missing or failed."""

    kind = "runtime"


class Interrupted(Snn2hwError):
    """Stopped by the user at a safe point."""

    kind = "interrupted"


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not in ``known``, suggesting the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return InputError(f"There is no {what} {name!r}.", f"{hint}Known: {', '.join(names)}.")


SHOWN = 12  # of many names or problems in one message


def few(found: Sequence[str], separator: str = "; ", most: int = SHOWN) -> str:
    """Join what was found, or the first of many and how many more there are."""
    more = f"{separator}and {len(found) - most:,} more" if len(found) > most else ""
    return separator.join(found[:most]) + more
