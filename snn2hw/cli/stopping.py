"""Ctrl-C, SIGTERM and a closed terminal end a command alike, whenever they come."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from snn2hw.leading import leads

TYPE_CHECKING = False  # as in snn2hw/__init__.py: until this is imported, nothing is caught
if TYPE_CHECKING:
    from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # by name: not every system has each
AGAIN = 1.0  # seconds in which a second signal is the same: `timeout` sends it twice
PATIENCE = 5.0  # seconds until a signal that Python could not take ends the process
MESSAGE, HINT = "Stopped.", "Give the same command again to go on."


class Stopped(KeyboardInterrupt):
    """Raised by a signal.

    For ``KeyboardInterrupt`` itself, Python remembers when it passes through ``exec``, and at the
    end kills the process with SIGINT whatever its exit code.
    """


class Stop:
    """What becomes of signals: while modules are imported the end, then ``Stopped``.

    Args:
        as_json: the command was asked for a JSON document.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.begun = False
        self.seen = False
        self.taken = False
        self._last = -AGAIN

    def watch(self) -> None:
        """Take over the signals that the process does not ignore."""
        for number in _known():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)
        sys.unraisablehook = self._lost
        if os.name != "nt":
            self._listen_aside()

    def over(self) -> None:
        """Ignore signals from now on: what is left to do takes no time."""
        for number in _known():
            signal.signal(number, signal.SIG_IGN)

    def _listen_aside(self) -> None:
        """Hear of signals in a thread, too.

        Python takes a signal between two lines. A library may wait within one, without end, for a
        process that the same signal has ended.
        """
        import threading

        read, write = _pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(read,), daemon=True).start()

    def _listen(self, read: int) -> None:
        while os.read(read, 1)[0] not in _known():
            pass
        _of_processes("watch_others_alone")
        until = time.monotonic() + PATIENCE
        while not self.taken and time.monotonic() < until:
            time.sleep(0.02)
        if not self.taken:
            _of_processes("end_others")
            self._end()

    def _end(self) -> None:
        """End at once; the first of several processes says so for all, and has failed for all."""
        if leads():
            self._tell()
        os._exit(int(leads()))

    def _take(self, number: int, _frame: Any) -> None:
        self.taken = True
        if not self.begun:
            # Interrupted imports leave modules in pieces; and there is nothing yet to clear up.
            self._end()
        now = time.monotonic()
        if now - self._last >= AGAIN:
            self.seen, self._last = True, now
            raise Stopped

    def _lost(self, told: Any) -> None:
        """Send the signal again if Python could not raise it where it came, as in a destructor."""
        if not issubclass(told.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(told)
            return
        import threading

        self._last = -AGAIN
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    def _tell(self) -> None:
        _write(2, f"error: {MESSAGE} {HINT}")
        if self.as_json:
            # By hand: a handler should not import what may just be being imported.
            parts = f'"kind": "interrupted", "message": "{MESSAGE}", "hint": "{HINT}"'
            _write(1, f'{{"error": {{{parts}}}}}')


def _of_processes(name: str) -> None:
    """Call a function of ``snn2hw.processes``, if that is imported, and whole."""
    function = getattr(sys.modules.get("snn2hw.processes"), name, None)
    if function is not None:
        function()


def _pipe() -> tuple[int, int]:
    """Make a pipe, apart from the standard streams, of which some may be closed."""
    low: list[int] = []
    while True:
        ends = os.pipe()
        if min(ends) > 2:
            break
        low += ends
    for number in low:
        os.close(number)
    return ends


def _write(to: int, text: str) -> None:
    with suppress(OSError):
        os.write(to, f"{text}\n".encode())


def _known() -> list[signal.Signals]:
    return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
