"""Xylo: giving every layer its phase. A spike of an input acts at once, a neuron's a step later.

So a layer's phase is the number of hidden layers before it, and nothing waits: where branches meet,
they must be equally long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from snn2hw.errors import UnsupportedError, listed
from snn2hw.families.xylo.numbers import first_ids, hidden
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.program import Schedule
from snn2hw.ir.target import Target

Link = tuple[str, str, int]  # from, to, steps of the network's own


def schedule(net: IntNetwork, target: Target) -> Schedule:
    """Compute phases and delays.

    Raises:
        UnsupportedError: names every connection that would have to wait, or come before its time.
    """
    links = [(c.pre, c.post, c.delay) for c in net.connections]
    inputs = [p.name for p in net.inputs]
    phase = phases(links, inputs, [p.name for p in net.populations])
    found = [*untimely(links, inputs, phase), *_aliases(net, phase)]
    if found:
        raise UnsupportedError(
            f"{listed(found, '; ')}: on {target.title} a spike of an input arrives in the same "
            "step, one of a neuron in the next.",
            "Give all branches that meet the same number of layers, and each loop a delay of a "
            "step for each of its layers.",
        )
    delays = tuple(phase[b] - phase[a] + delay for a, b, delay in links)
    return Schedule(phase, delays)


def phases(
    links: Sequence[Link], inputs: Collection[str], names: Sequence[str]
) -> Mapping[str, int]:
    """Return the chip step at which each population starts, the longest branch deciding.

    Args:
        links: connections.
        inputs: their names.
        names: of the populations, sources before targets.
    """
    phase = dict.fromkeys(inputs, 0)
    into: dict[str, list[tuple[str, int]]] = {}
    for a, b, delay in links:
        into.setdefault(b, []).append((a, delay))

    def ready(a: str, delay: int) -> int:
        return phase[a] + (a not in inputs) - delay

    while len(phase) < len(inputs) + len(names):
        before = len(phase)
        for name in names:
            if name not in phase:
                at = [ready(a, d) for a, d in into.get(name, ()) if a in phase]
                if at:
                    phase[name] = max(at)
        if len(phase) == before:  # the rest hears nobody: a source follows from who hears it
            rest = [n for n in names if n not in phase]
            at = {a: phase[b] - 1 + d for a, b, d in links if a in rest and b in phase}
            phase |= dict([next(iter(at.items()), (rest[0], 0))])
    return phase


def untimely(links: Sequence[Link], inputs: Collection[str], phase: Mapping[str, int]) -> list[str]:
    """Name the connections that the chip is too fast or too slow for."""
    found = [
        f"{name} would have to start {-at} step{'s' * (at < -1)} before the sample"
        for name, at in phase.items()
        if at < 0
    ]
    for a, b, delay in links:
        early = phase[b] - phase[a] + delay - (a not in inputs)
        if early:
            when = "early" if early > 0 else "late"
            found.append(f"{a} -> {b} arrives {abs(early)} step{'s' * (abs(early) > 1)} too {when}")
    return found


def _aliases(net: IntNetwork, phase: Mapping[str, int]) -> list[str]:
    """Name the aliases between layers that do not work on the same step."""
    first, parts, found = first_ids(net), hidden(net), list[str]()
    for p in parts:
        for q in parts:
            into = (p.alias >= first[q.name]) & (p.alias < first[q.name] + q.size)
            off = phase[q.name] - phase[p.name]
            if into.any() and off:
                when = "later" if off > 0 else "earlier"
                found.append(
                    f"{p.name} has aliases in {q.name}, which works on the same step {abs(off)} "
                    f"chip step{'s' * (abs(off) > 1)} {when}"
                )
    return found
