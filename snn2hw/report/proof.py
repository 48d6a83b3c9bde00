"""What was proved of a program, in a sentence for pages and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from snn2hw.errors import listed
from snn2hw.report.text import counted, part

State = Literal["equal", "part", "differs", "other", "none"]


@dataclass(frozen=True, slots=True)
class Proved:
    """What counts of a proof, and the same in words.

    ``equal``: every value of the whole program; ``part``: of some of its populations; ``differs``:
    some value does; ``other``: the proof is of another program, so it does not count; ``none``.
    """

    state: State
    words: str
    details: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether anything was proved of this program."""
        return self.state in ("equal", "part")


def proved(found: Mapping[str, Any] | str | None, program: str) -> Proved:
    """Say what a proof is worth for a program.

    Args:
        found: ``verify.json``; None if there is none, or why it cannot be read.
        program: the hash of the program that the reader sees.
    """
    again = "Run snn2hw verify (in Python build.verify)."
    if found is None:
        said = "Not proved: nothing was compared with a vendor's simulator."
        return Proved("none", f"{said} {again}")
    if isinstance(found, str):
        return Proved("none", f"Not proved: {found} {again}")
    if found.get("program") != program:
        of = "is of another program" if "program" in found else "names no program"
        return Proved("other", f"Not proved: the last proof {of}, so it does not count. {again}")
    values = listed(dict.fromkeys(v for path in found["paths"] for v in path["values"]))
    steps = f"each of the {n:,} steps of " if (n := found.get("sample_steps", 1)) > 1 else ""
    data = f" of {found['data']}" if found.get("data") else ""
    data += " (all zeros)" if found.get("silent") else ""
    where = f" {found['against']}'s in {steps}{counted(found['samples'], 'sample')}{data}"
    parts = found.get("parts", ())
    of = f" for {_populations(parts)}" if parts else ""
    told = f"{found['compared']:,} values ({values})"
    left = len(found.get("left_out", ()))
    rest = f"; {counted(left, 'part')} left out for want of memory" if left else ""
    state: State = "part" if parts else "equal"
    said = f"Proved{of}: all {told} are equal to{where}{rest}."
    if found["mismatches"]:
        state = "differs"
        said = f"Disproved{of}: {found['mismatches']:,} of {told} differ from{where}."
    return Proved(state, said, _details(found))


def _details(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what was compared through which file, and of which parts."""
    rows = [(f"through {path['through']}", path) for path in found["paths"]]
    rows += [(part(p), p) for p in found.get("parts", ())]
    lines = [f"{x}: {n['compared']:,} compared, {n['mismatches']:,} differ" for x, n in rows]
    return (*lines, *(f"left out: {p['part']}" for p in found.get("left_out", ())))


def _populations(parts: Sequence[Mapping[str, Any]]) -> str:
    """Name the populations of all parts, and say where it was some of their neurons."""
    neurons: dict[str, tuple[int, int]] = {}
    for one in parts:
        for name, n in one["populations"].items():
            neurons[name] = (neurons.get(name, (0, 0))[0] + n["neurons"], n["of"])
    some = (f"{n:,} of {of:,} neurons of {k}" if n < of else k for k, (n, of) in neurons.items())
    return listed(some, most=120)
