"""How far long work is: the time left from recent speed, and a line at least every minute."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

RECENT = 60.0  # seconds over which speed is measured
SILENCE = 60.0  # seconds after which a line is due whatever happened


class Pace:
    """How fast a stage went lately."""

    def __init__(self) -> None:
        self._marks = deque[tuple[float, int]]()  # when, and how much was done then

    def note(self, now: float, done: int) -> None:
        """Note that so many steps are done; fewer than before are those of a new start."""
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RECENT:
            self._marks.popleft()

    def left(self, now: float, total: int) -> float | None:
        """Return the seconds until ``total`` steps are done; None while there is no speed yet.

        The speed is that of the last minute, or of the last step where that took longer.
        """
        if len(self._marks) < 2:
            return None
        (began, before), (at, done) = self._marks[0], self._marks[-1]
        if done == before or at <= began:
            return None
        seconds = (total - done) * (at - began) / (done - before)
        return max(0.0, seconds - (now - at))


@dataclass
class Stage:
    """A stage of the work, as far as it was told."""

    pace: Pace = field(default_factory=Pace)
    done: int = 0
    total: int = 0
    known: str = ""

    def told(self, name: str, now: float) -> str:
        """Return a line: how much is done, what is known, and how long it will still take."""
        left = self.pace.left(now, self.total) if self.done < self.total else None
        about = "" if left is None else f"about {duration(left)} left"
        more = ", ".join(part for part in (self.known, about) if part)
        return f"  {name}: {100 * self.done // max(self.total, 1)} % {more}".rstrip()


class Lines:
    """Decides when progress becomes a line: for logs, and wherever no bar is drawn.

    Args:
        work: what is done before any stage is told.
        clock: seconds.
    """

    def __init__(self, work: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.work, self.clock = work, clock
        self.stages: dict[str, Stage] = {}
        self._now = ""
        self._began = self._last = clock()
        self._spoken: dict[str, float] = {}

    def note(self, name: str, done: int, total: int, known: str) -> Stage:
        """Note how far a stage is."""
        stage = self.stages.setdefault(name, Stage())
        stage.done, stage.total, stage.known = done, total, known or stage.known
        stage.pace.note(self.clock(), done)
        self._now = name
        return stage

    def said(self) -> None:
        """Note that a line of any kind was printed."""
        self._last = self.clock()

    def due(self, name: str, *, whole: bool, every: bool) -> str | None:
        """Return the line that is due, if one is.

        Args:
            name: of the stage that was noted last.
            whole: this is the end of a part, such as an epoch: a line, but one in ten seconds.
            every: leave out none of these.
        """
        now, stage = self.clock(), self.stages[name]
        since = now - self._spoken.get(name, float("-inf"))
        if not (whole and (every or stage.done >= stage.total or since > 10)):
            return self.overdue()
        self._spoken[name] = now
        return stage.told(name, now)

    def overdue(self) -> str | None:
        """Return a line if there was none for a minute."""
        now = self.clock()
        if now - self._last < SILENCE:
            return None
        stage = self.stages.get(self._now)
        if stage is None or stage.done >= stage.total:
            return f"  {self.work}: at work for {duration(now - self._began)}"
        self._spoken[self._now] = now
        return stage.told(self._now, now)


class Heart:
    """Calls a function every second, in a thread, while work is done.

    Args:
        beat: the function.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat, self._over = beat, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            self._beat()


def duration(seconds: float) -> str:
    """Return a time in words: ``40 s``, ``3 min`` or ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
