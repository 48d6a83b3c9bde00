"""The energy counters of a processor (RAPL), as Linux shows them.

Source: the kernel's Documentation/power/powercap/powercap.rst. A zone is a folder ``intel-rapl:0``
with ``energy_uj``, which counts up to ``max_energy_range_uj`` and starts again at 0. Zones of the
first level are packages, or ``psys``, which holds them all; a zone inside, ``intel-rapl:0:1``, is
part of its package, but for ``dram``, which is beside it. AMD's processors have the same names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snn2hw.errors import listed
from snn2hw.ir.counts import Range

ROOT = Path("/sys/class/powercap")
LONGEST_TEXT = 64  # bytes of a file here
ROUNDS = 5
SECONDS = 1.0  # of idling, and of work, in each round


@dataclass(frozen=True, slots=True)
class Zone:
    """A counter.

    Args:
        path: its folder.
        name: what it counts, ``package-0`` or ``dram``.
        largest: uJ after which it starts again at 0.
    """

    path: Path
    name: str
    largest: int

    def read(self) -> int:
        """Return the counter in uJ.

        Raises:
            OSError, ValueError: it cannot be read, or is no number.
        """
        return _number(self.path / "energy_uj")

    def since(self, before: int, now: int) -> int:
        """Return the uJ between two readings, between which it started again once at most."""
        return now - before if now >= before else now - before + self.largest + 1


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters that can be read, and why there are none."""

    zones: tuple[Zone, ...]
    why_not: str = ""


def find(root: Path = ROOT) -> Counters:
    """Find the counters of all packages and of the memory beside them."""
    found: list[Zone] = []
    refused: list[str] = []
    for path in sorted(root.glob("intel-rapl:*")):
        try:
            name = _text(path / "name")
            if not (name.startswith("package") if path.name.count(":") == 1 else name == "dram"):
                continue
            zone = Zone(path, name, _number(path / "max_energy_range_uj"))
            zone.read()
        except (OSError, ValueError) as error:
            denied = isinstance(error, PermissionError)
            refused.append(f"{path} {'is readable by root only' if denied else f'({error})'}")
            continue
        found.append(zone)
    if refused:  # a part of the counters would say too little
        return Counters((), f"the energy counters cannot be read: {listed(refused, '; ')}")
    if not found:
        return Counters((), f"this machine shows no energy counters under {root}")
    return Counters(tuple(found))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LONGEST_TEXT).decode("ascii", "replace").strip()


def _number(path: Path) -> int:
    return int(_text(path))


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Args:
        uj: of one call, above idle: the middle, the least and the most of the rounds.
        idle_w: power of the idle machine, the middle of the rounds.
        calls: in all rounds.
        zones: what was counted.
    """

    uj: Range
    idle_w: float
    calls: int
    zones: tuple[str, ...]


def measure(
    zones: Sequence[Zone],
    call: Callable[[], object],
    *,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Measured:
    """Measure the energy of a call above that of the idle machine.

    In each round the machine idles and then calls, each for so many seconds. Whatever else runs
    meanwhile counts too.

    Args:
        zones: the counters.
        call: what is measured; once before, so that it is warm.
        seconds: of idling and of calling, in each round.
        rounds: how many.
        clock: returns seconds.
        sleep: idles.
    """
    call()
    each: list[float] = []
    idle: list[float] = []
    calls = 0
    for _ in range(rounds):
        spent, lasted = _spent(zones, lambda: sleep(seconds), clock)
        idle.append(spent / lasted)
        done = 0

        def work() -> None:
            nonlocal done
            end = clock() + seconds
            while done == 0 or clock() < end:
                call()
                done += 1

        spent, lasted = _spent(zones, work, clock)
        each.append(max(0.0, spent - idle[-1] * lasted) / done)
        calls += done
    each.sort()
    idle.sort()
    middle = rounds // 2
    uj = Range(each[middle], each[0], each[-1])
    return Measured(uj, idle[middle] * 1e-6, calls, tuple(z.name for z in zones))


def _spent(
    zones: Sequence[Zone], work: Callable[[], None], clock: Callable[[], float]
) -> tuple[float, float]:
    """Return the uJ and the seconds of some work."""
    before, start = [z.read() for z in zones], clock()
    work()
    lasted, now = clock() - start, [z.read() for z in zones]
    return float(sum(z.since(a, b) for z, a, b in zip(zones, before, now, strict=True))), lasted
