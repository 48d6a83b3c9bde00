"""Loihi: giving every layer its phase and every connection its delay.

On Loihi (and in Lava) a spike sent at step t arrives at step t + 1 at the earliest. A layer's
phase is the longest such path from an input, where a delay of the network's own shortens its
connection; what is ready earlier waits in the synaptic delay. Then all that reaches a neuron at
one chip step belongs to the same step of the float network (docs/decisions/0002-chip-time.md).
A layer that hears nobody has no such path; it starts just before the first of those who hear it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snn2hw.errors import UnsupportedError, listed
from snn2hw.families.loihi.numbers import numbers_of
from snn2hw.families.loihi.populations import Delta, Lif
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.program import Schedule
from snn2hw.ir.target import Target


def schedule(net: IntNetwork, target: Target) -> Schedule:
    """Compute phases and delays.

    Raises:
        UnsupportedError: if a loop is faster than the chip's connections, or branches differ by
            more steps than the chip's delay holds.
    """
    phase, delays = timed(net, target)
    longest = numbers_of(target).delay_max + 1
    slow = [
        f"{c.pre} -> {c.post} waits {d} steps"
        for c, d in zip(net.connections, delays, strict=True)
        if d > longest
    ]
    if slow:
        raise UnsupportedError(
            f"{listed(slow, '; ')}, but {target.title} delays a spike by at most {longest} steps.",
            "Shorten the longer branch, or the delay.",
        )
    return Schedule(phase, delays)


def timed(net: IntNetwork, target: Target) -> tuple[dict[str, int], tuple[int, ...]]:
    """Return the smallest phases with which everything arrives in time, and the delays.

    Raises:
        UnsupportedError: if a loop is faster than the chip's connections.
    """
    parts = net.components()
    part_of = {name: i for i, names in enumerate(parts) for name in names}
    inside: dict[int, list[Connection]] = {}
    for c in net.connections:
        if c.pre in part_of and part_of[c.pre] == part_of[c.post]:
            inside.setdefault(part_of[c.post], []).append(c)
    loops = [found for i, some in inside.items() if (found := _too_fast(parts[i], some))]
    if loops:
        raise UnsupportedError(
            f"{listed(loops, '. ')}: on {target.title} each connection takes one.",
            "Add a delay to the loop, or remove a layer from it.",
        )
    free = _free(net)
    phase = {p.name: 0 for p in net.inputs}
    phase |= {p.name: int(p.name not in free) for p in net.populations}
    place = {p.name: i for i, p in enumerate(net.populations)}
    along = sorted(net.connections, key=lambda c: place.get(c.pre, -1))
    while _moved(along, phase):
        pass
    phase |= _just_before(free, net, phase)
    return phase, tuple(phase[c.post] - phase[c.pre] + c.delay for c in net.connections)


def _moved(connections: Sequence[Connection], phase: dict[str, int]) -> bool:
    """Move phases back to when everything has arrived (Bellman and Ford); say if any moved.

    Connections in the order of their sources need few rounds: without loops, two.
    """
    moved = False
    for c in connections:
        ready = phase[c.pre] + 1 - c.delay
        if ready > phase[c.post]:
            phase[c.post], moved = ready, True
    return moved


def _free(net: IntNetwork) -> set[str]:
    """Return the populations that hear nobody: only their own bias drives them."""
    driven = {p.name for p in net.populations if isinstance(p, Lif | Delta) and p.driven_by}
    return {p.name for p in net.populations} - driven - {c.post for c in net.connections}


def _just_before(free: set[str], net: IntNetwork, phase: Mapping[str, int]) -> dict[str, int]:
    """Return the phases one step before the first population that hears each of these."""
    found: dict[str, int] = {}
    for c in net.connections:
        if c.pre in free:
            before = phase[c.post] - 1
            found[c.pre] = min(before, found.get(c.pre, before))
    return found


def _too_fast(names: list[str], inside: Sequence[Connection]) -> str:
    """Describe a loop among populations whose delays are fewer than its connections."""
    phase, reason, last = dict.fromkeys(names, 0), dict[str, Connection](), ""
    for _ in names:  # without such a loop, nothing moves in the last of these rounds
        last = ""
        for c in inside:
            if phase[c.pre] + 1 - c.delay > phase[c.post]:
                phase[c.post], reason[c.post], last = phase[c.pre] + 1 - c.delay, c, c.post
    if not last:
        return ""
    for _ in names:  # back along the reasons, until certainly inside the loop
        last = reason[last].pre
    loop = [reason[last]]
    while loop[-1].pre != last:
        loop.append(reason[loop[-1].pre])
    path = listed([last, *(c.post for c in reversed(loop))], " -> ")
    gives = sum(c.delay for c in loop)
    return f"The loop {path} takes {len(loop)} steps on the chip, but the network gives it {gives}"
