"""What in a network a target's neurons and ports cannot do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snn2hw.errors import NetworkError, named
from snn2hw.families.loihi.numbers import MOST_PARTS, numbers_of
from snn2hw.families.loihi.place import crowded
from snn2hw.families.loihi.quantize.drive import as_spiking, decay, fires_at, forgets, whole
from snn2hw.families.loihi.quantize.parts import count_parts
from snn2hw.families.loihi.quantize.relays import sends_sums
from snn2hw.ir.discrete import Coefficients
from snn2hw.ir.graph import Incoming, Wiring, output_populations
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import RESETS, Cell, Input, Leaky, Lif
from snn2hw.ir.target import Target


def refusals(net: Network, wires: Wiring, target: Target) -> list[str]:
    """List everything in a network that the target's neurons and ports cannot do."""
    found: list[str] = []
    try:
        output_populations(net)
    except NetworkError as error:
        found.append(str(error).rstrip("."))
    rules = net.rules
    if early := _at_threshold(net, target):
        found.append(
            f"{named(early, 'populations')}: neurons that leak spike at the threshold "
            "already, the chip's above it"
        )
    if not target.abilities[f"spikes_{rules.spikes}"]:
        found.append("its neurons send several spikes a step, the chip's one")
    if rules.v_min is not None:
        found.append(f"its membranes stay above {rules.v_min:g}, the chip's do not")
    found += crowded(len(wires.order), target)
    cells, inputs = net.cells(), net.inputs()
    heard = {s.name for n in wires.order for s in wires.into[n].sources}
    for name in wires.order:
        cell = cells[name]
        if isinstance(cell, Leaky):
            found += _readout_refusals(name, cell, net, name in heard, target)
        found += _refusals(name, cell, wires.into[name], net, inputs, target)
    return found


def _at_threshold(net: Network, target: Target) -> list[str]:
    """Name the neurons whose ties the chip's integers cannot keep."""
    if target.abilities["fires_at"]:
        return []
    return [
        name
        for name, node in net.neurons().items()
        if fires_at(node, net) and not whole(as_spiking(node, net)[1], numbers_of(target))
    ]


def _refusals(
    name: str, cell: Cell, into: Incoming, net: Network, inputs: Mapping[str, Input], target: Target
) -> list[str]:
    node, step = as_spiking(cell, net)
    found: list[str] = []
    if not isinstance(cell, Leaky):
        found += _reset_refusals(name, node, target)
        found += _decay_refusals(name, cell, node, step, net, target)
    if into.late:
        found.append(f"{name} has a bias that a Delay holds back, which the chip cannot")
    most = (2 << numbers_of(target).exponent_max) - 1
    heard = {s.name for s in into.sources if s.name in inputs}
    found += [
        f"{name} takes graded values up to {node.max_value:,} from {given}, which the chip gets "
        f"digit by digit, up to {most:,} (train with --encoder rate or latency, which show spikes)"
        for given, node in ((given, inputs[given]) for given in sorted(heard))
        if digits(node, target) > 1 and node.max_value > most
    ]
    return found


def digits(node: Input, target: Target) -> int:
    """Return how many spikes stand for a value of an input: 1, or one for each binary digit."""
    graded = target.abilities["graded_input"] and numbers_of(target).message_bits
    return 1 if graded else node.max_value.bit_length()


def _reset_refusals(name: str, node: Lif, target: Target) -> list[str]:
    found: list[str] = []
    if not target.abilities.get(f"reset_{node.reset}"):
        found.append(f"{name}: a spike {RESETS[node.reset]}, which the chip's neuron does not do")
    if node.reset == "zero" and np.any(node.v_reset != 0):
        found.append(f"{name} resets to {float(np.max(node.v_reset)):g}, the chip to 0")
    if (node.v_threshold <= 0).any():
        found.append(f"{name} has a threshold that is not positive")
    return found


def _decay_refusals(
    name: str, cell: Cell, node: Lif, step: Coefficients, net: Network, target: Target
) -> list[str]:
    found: list[str] = []
    numbers = numbers_of(target)
    parts = count_parts(cell, net, numbers)
    if parts > MOST_PARTS:
        found.append(
            f"{name} has {parts:,} time constants, the chip one a population, which can be divided "
            f"into {MOST_PARTS} at most"
        )
    slowest = step.keep_current.max()
    if node.tau_synapse is not None and decay(np.asarray(slowest), numbers) == 0:
        found.append(f"{name} has a synapse time constant too long for {net.dt:g} s steps")
    return found


def _readout_refusals(
    name: str, cell: Leaky, net: Network, heard: bool, target: Target
) -> list[str]:
    _, step = as_spiking(cell, net)
    if not sends_sums(target):
        return [
            f"{name} gives its membrane potential and never spikes (end the network with spiking "
            "neurons)"
        ]
    found: list[str] = []
    kept = forgets(step, numbers_of(target))
    if heard and kept is not True:
        found.append(
            f"{name} gives its membrane potential to other cells, the chip's neurons only the sum "
            "of a step (LI with tau = dt)"
        )
    elif kept is None:
        found.append(
            f"{name} keeps a part of its membrane or current in each step, the chip's outputs all "
            "or nothing of the membrane (I or tau = inf; tau = dt with euler integration, as with "
            "--rewrite summed-readout)"
        )
    return found
