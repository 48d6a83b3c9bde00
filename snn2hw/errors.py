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
from collections.abc import Iterable
from itertools import accumulate

LONGEST = 2000  # characters of anything that is told


def visible(text: str) -> str:
    r"""Return a text on one line, with what a terminal would obey instead of show as ``\x1b``.

    Names come from other people's files: they may hold line breaks, escape sequences, marks that
    turn the direction of writing, and bytes that are no text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, most: int = LONGEST) -> str:
    """Return a text of at most ``most`` characters that says how many are left out."""
    if len(text) <= most:
        return text
    room = most - len(f"... ({len(text)} more characters)")
    return f"{text[:room]}... ({len(text) - room} more characters)"


def listed(items: Iterable[str], separator: str = ", ", most: int = 1500) -> str:
    """Join items, the first that fit into ``most`` characters, and say how many more there are."""
    items = list(items)
    ends = accumulate(len(i) + len(separator) for i in items)
    shown = max(1, sum(end <= most for end in ends))
    left = len(items) - shown
    return separator.join([*items[:shown], *([f"... and {left:,} more"] if left > 0 else [])])


class Snn2hwError(Exception):
    """Base of all errors a user can act on.

    ``message`` says who, needs what and has what; ``hint`` says the way out. Both are fit to be
    shown: on one line, without control characters, and together no longer than ``LONGEST``.
    ``reasons`` are the parts of a message that names several.
    """

    kind = "error"

    def __init__(self, message: str, hint: str = "", reasons: Iterable[str] = ()) -> None:
        self.reasons = tuple(shortened(visible(r), LONGEST) for r in reasons)
        self.hint = shortened(visible(hint), LONGEST // 2)
        # With a space between the two, behind "error: ".
        self.message = shortened(visible(message), LONGEST - len(self.hint) - len("error:  "))
        super().__init__(f"{self.message} {self.hint}" if hint else self.message)


class StartError(Snn2hwError):
    """A package cannot be imported as things are on this machine."""

    kind = "start"


def of_import(error: BaseException) -> StartError | None:
    """Return what to say of an error that a package raised while it was imported.

    Packages are imported when they are needed, which may be in the middle of anything.
    """
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        ours = name == "__main__" or name.partition(".")[0] == "snn2hw"
        if trace.tb_frame.f_code.co_name == "<module>" and not ours:
            why = " ".join(str(error).split()).rstrip(".")
            return StartError(
                f"snn2hw cannot start: {type(error).__name__}: {why}.",
                "An environment variable or a package is not what it should be.",
            )
        trace = trace.tb_next
    return None


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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another, in any case of letters, if one is.

    One that another ends with, behind an underscore, comes first: shape for input_shape.
    """
    lowered = {k.lower(): k for k in known}
    ends = [k for k in lowered if name.lower().endswith(f"_{k}")]
    if ends:
        return lowered[max(ends, key=len)]
    near = difflib.get_close_matches(name[:100].lower(), lowered, n=1, cutoff=0.4)
    return lowered[near[0]] if near else None


def unknown_name(what: str, name: str, known: Iterable[str], hint: str = "") -> InputError:
    """Build the error for a name that is not in ``known``, suggesting the nearest one.

    Args:
        what: it should be the name of.
        name: what was given.
        known: the names that there are; none may be.
        hint: the way out if none of them is meant.
    """
    names = sorted(known)
    near = nearest(name, names)
    ways = [
        f"Did you mean {near!r}?" if near else "",
        f"Known: {listed(names, most=LONGEST // 3)}." if names else "",
        hint,
    ]
    return InputError(f"There is no {what} {name!r}.", " ".join(filter(None, ways)))
