"""Loihi: giving every layer its phase and every connection its delay.

On Loihi (and in Lava) a spike sent at step t arrives at step t + 1 at the earliest. A layer's
phase is the longest such path from an input; a connection from a layer that is ready earlier
waits in the synaptic delay. Then all that reaches a neuron at one chip step belongs to the same
step of the float network (docs/decisions/0002-chip-time.md).
"""

from __future__ import annotations

from snn2hw.errors import UnsupportedError
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.placement import Placement
from snn2hw.ir.program import Program
from snn2hw.target import Target


def lower(net: IntNetwork, placement: Placement, target: Target) -> Program:
    """Compute phases and delays.

    Raises:
        UnsupportedError: if branches differ by more steps than the chip's delay holds.
    """
    phase = {p.name: 0 for p in net.inputs}
    for population in net.populations:
        before = [net.connections[i].pre for i in net.into(population.name)]
        missing = [b for b in before if b not in phase]
        if missing:
            raise UnsupportedError(
                f"{population.name} takes spikes from {', '.join(missing)} in a loop.",
                "Recurrent networks are not compiled yet: unroll the loop or remove it.",
            )
        phase[population.name] = 1 + max((phase[b] for b in before), default=0)
    delays = tuple(phase[c.post] - phase[c.pre] for c in net.connections)
    longest = target.numbers.delay_max + 1
    late = [
        f"{c.pre} -> {c.post} waits {d} steps"
        for c, d in zip(net.connections, delays, strict=True)
        if d > longest
    ]
    if late:
        raise UnsupportedError(
            f"{'; '.join(late)}, but {target.title} delays a spike by at most {longest} steps.",
            "Shorten the longer branch.",
        )
    return Program(net, phase, delays, placement, target.name)
