"""Standard output and error, which may be closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any

OUTPUT, ERROR = "standard output", "standard error"


class Stream(io.RawIOBase):
    """What lies below the text of a standard stream, and takes everything once it is broken.

    Args:
        raw: the stream as Python opened it.
        name: for messages.
        strict: raise the first error, else only keep it.
    """

    def __init__(self, raw: Any, name: str, *, strict: bool) -> None:
        self.raw, self.told_as, self.strict = raw, name, strict
        self.broken: OSError | None = None

    def write(self, data: Any) -> int | None:
        """Write bytes, or drop them if the stream is broken."""
        if self.broken is not None:
            return len(data)
        try:
            return self.raw.write(data)
        except OSError as error:
            self.broken, error.filename = error, self.told_as
            if self.strict:
                raise
            return len(data)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the number that the system knows it by."""
        return self.raw.fileno()

    def isatty(self) -> bool:
        """Say whether somebody sits there."""
        return self.raw.isatty()


class Streams:
    """The standard streams of a process that is a command."""

    def __init__(self) -> None:
        self.error: Stream | None = None

    def mend(self) -> None:
        """Let nothing but a result that cannot be written be an error.

        A result that nobody gets is one. Progress and messages are lost without stopping the work.
        """
        _open_closed()
        sys.stdout, _ = _text(sys.stdout, 1, OUTPUT, strict=True)
        sys.stderr, self.error = _text(sys.stderr, 2, ERROR, strict=False)

    def code(self) -> int:
        """Return 1 if messages were lost, unless whoever read them went away."""
        sys.stderr.flush()
        broken = self.error.broken if self.error is not None else None
        return int(broken is not None and broken.errno != errno.EPIPE)


def _open_closed() -> None:
    """Give closed streams the null device: else the next file that is opened becomes one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _text(now: Any, number: int, name: str, *, strict: bool) -> tuple[Any, Stream]:
    """Put a ``Stream`` below a text stream, or below a new one if it was closed."""
    buffer = io.FileIO(number, "w", closefd=False) if now is None else now.buffer
    stream = Stream(getattr(buffer, "raw", buffer), name, strict=strict)
    text = io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding=getattr(now, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(now, "line_buffering", True) or not strict,
    )
    return text, stream
