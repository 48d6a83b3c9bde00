"""Loading ``model.net``: what lava-dl is given so that each sample of a chain starts afresh.

``lava.lib.dl.netx.hdf5.Network`` of lava-dl 0.6.0 makes neurons that are never reset, unless it is
given a ``reset_interval``; then it resets layer i at the steps ``reset_offset + i + 1`` modulo
the interval, which must be larger than that. What a late layer's bias did before the layer's first
input is wiped so (docs/decisions/0002-chip-time.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from snn2hw.families.family import Loading
from snn2hw.families.loihi.populations import Delta, Lif
from snn2hw.ir.program import Program


def begins(program: Program) -> dict[str, int]:
    """Return at which step each layer starts on the first sample, counted from its first input."""
    first = program.network.populations[0]
    late = _lag(program) - program.phase[first.name]
    return {p.name: program.phase[p.name] + late for p in program.network.populations}


def period(program: Program, steps: int) -> int:
    """Return the steps from one sample to the next, of samples of so many steps."""
    tail = max(begins(program).values())
    return max(steps, tail + 2) if program.streams else steps + tail


def arguments(program: Program, steps: int) -> dict[str, int]:
    """Return the arguments of the loader, for samples of so many steps.

    Where netx cannot reset the network, there is no interval.
    """
    port, first = program.network.inputs[0], program.network.populations[0]
    resets = {"reset_interval": period(program, steps), "reset_offset": _lag(program)}
    driven = isinstance(first, Lif | Delta) and first.driven_by is not None
    bits = port.message_bits if not driven else 0
    return (resets if program.streams else {}) | ({"input_message_bits": bits} if bits else {})


def loading(program: Program) -> Loading:
    """Return what the loader of ``model.net`` must be given."""
    steps = program.network.time_steps
    given = arguments(program, steps)
    call = f"load it with {_call(given)}"
    if not program.streams:
        why = "netx cannot clear what a sample leaves in this network"
        return Loading(given, f"{call}, anew for each sample: {why}")
    silent = given["reset_interval"] - steps
    rest = f", then {silent} without input" if silent else ""
    why = f"so that each layer is reset where a sample begins ({steps} steps{rest})"
    return Loading(given, f"{call}, {why}; without that, biases act before the input arrives")


def _call(given: Mapping[str, int]) -> str:
    values = "".join(f", {k}={v}" for k, v in given.items())
    return f'netx.hdf5.Network("model.net"{values})'


def _lag(program: Program) -> int:
    """Return how many steps after its input the first layer works on it.

    None where the host writes into it, and none in netx's own time, where each hop is a delay.
    """
    net = program.network
    into = [net.connections[i] for i in net.into(net.populations[0].name)]
    return int(bool(into) and into[0].delay == 0)
