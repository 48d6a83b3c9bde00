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

try:
    import resource
except ImportError:  # on Windows
    resource = None

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


FEW_NAMES = 300  # characters of names that are all told


def named(names: Iterable[str], what: str) -> str:
    """Name things that one reason holds for: of many, how many, the first two and the last.

    Args:
        names: of the things.
        what: they are, as a plural.
    """
    names = list(names)
    if len(names) <= 3 or sum(map(len, names)) + 2 * len(names) <= FEW_NAMES:
        return listed(names)
    return f"{len(names):,} {what} ({names[0]}, {names[1]}, ... {names[-1]})"


def counted(count: int, what: str) -> str:
    """Write a number of things: ``1 core``, ``2,000 cores``."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def sized(count: float) -> str:
    """Write a number of bytes in the unit that shows it: ``0 bytes``, ``41.5 MB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return counted(round(count), "byte")


def memory_limit() -> int | None:
    """Return the bytes of address space that this process may take; None is any number."""
    if resource is None:
        return None
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if allowed == resource.RLIM_INFINITY else allowed


def limit_told() -> str:
    """Say that memory is limited here, as a hint; nothing where it is not."""
    limit = memory_limit()
    return "" if limit is None else f"Or raise the memory limit (ulimit -v), {sized(limit)} here."


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

    Packages are imported when they are needed, which may be in the middle of anything, and they
    load compiled code while they run.
    """
    if isinstance(error, ImportError) and _lacks_memory(error):
        return start_error(error)
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        ours = name == "__main__" or name.partition(".")[0] == "snn2hw"
        if trace.tb_frame.f_code.co_name == "<module>" and not ours:
            return start_error(error)
        trace = trace.tb_next
    return None


# In what Python and the system's loader say where there is no memory for a package.
_NO_MEMORY = ("failed to map segment", "allocate memory", "start new thread")


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY)


def start_error(error: BaseException) -> StartError:
    """Return what to say of an error that keeps a package from being imported."""
    why = " ".join(str(error).split())[:300].rstrip(".")
    hint = "An environment variable or a package is not what it should be."
    if _lacks_memory(error):
        limit = memory_limit()
        here = "" if limit is None else f": it is limited to {sized(limit)} here (ulimit -v)"
        hint = f"There is too little memory for the packages{here}."
    told = ": ".join(filter(None, (type(error).__name__, why)))
    return StartError(f"snn2hw cannot start: {told}.", hint)


class InputError(Snn2hwError):
    """A file, name or option that cannot be used."""

    kind = "input"


def beyond_limit(path: object, limit: int) -> InputError:
    """Return what to say of a file for which a limit of this process leaves no memory.

    Args:
        path: of the file.
        limit: bytes of address space.
    """
    return InputError(
        f"{path} cannot be read: memory is limited to {sized(limit)} here (ulimit -v), and it "
        "needs more.",
        "Raise the limit.",
    )


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
