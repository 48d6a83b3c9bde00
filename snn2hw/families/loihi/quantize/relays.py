"""Populations that add up what arrives in a step and send the sum on, for layers that follow.

A pool in front of a dense layer folds into its weights, which multiplies the inputs of each neuron
by the size of a window. Where those are more than a core's memory takes, neurons of the chip add up
the windows and send the sums as graded spikes: exact, for a step and a message more.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.numbers import Numbers, numbers_of
from snn2hw.families.loihi.place import most_inputs
from snn2hw.families.loihi.quantize.drive import Drive
from snn2hw.families.loihi.quantize.scale import common_unit, reach, rounded_at
from snn2hw.ir.arrays import size_of
from snn2hw.ir.integer import Connection
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Leaky
from snn2hw.ir.target import Target
from snn2hw.passes import adds_up, with_sums_held


def relayed(net: Network, target: Target) -> Network:
    """Let neurons add up pools in front of dense layers that would hear too many others."""
    if not sends_sums(target):
        return net
    most = most_inputs(target)
    return with_sums_held(
        net,
        [
            name
            for name, node in net.nodes.items()
            if isinstance(node, Conv2d)
            and adds_up(node)
            and size_of(node.kernel.input_shape) > most
            and _before_dense(net, name)
        ],
    )


def sends_sums(target: Target) -> bool:
    """Say whether a neuron of the chip can send the sum of a step, to others as to the host."""
    numbers = numbers_of(target)
    return bool(target.abilities["graded_output"] and numbers.message_bits and numbers.programmable)


def _before_dense(net: Network, name: str) -> bool:
    """Say whether only dense layers hear a node."""
    after = [b for a, b in net.edges if a == name]
    return bool(after) and all(
        isinstance(net.nodes[b], Affine)
        or (isinstance(net.nodes[b], Flatten) and _before_dense(net, b))
        for b in after
    )


class Relay(NamedTuple):
    """A relay in integers: what it sends is its sum times ``scale``, at most ``largest``."""

    population: chip.Graded
    connections: list[Connection]
    scale: float
    largest: int


def relay_of(name: str, cell: Leaky, drive: Drive, numbers: Numbers) -> Relay | str:
    """Round a relay without a loss, or say why that cannot be.

    Its weights are multiples of one unit, so that integers stand for them exactly.
    """
    weights = [s.source.synapses.weight for s in drive.sources]
    if any((w < 0).any() for w in weights) or drive.held.any() or drive.bias.any():
        return f"{name} sends sums with negative weights or a bias to other cells"
    _, top, _ = numbers.weight_range(mixed=False)
    unit = common_unit(weights, max(drive.peaks, default=0.0) / top)
    if unit is None:
        return f"{name} sends sums to other cells whose weights are not multiples of one number"
    scale = 1.0 / unit
    largest = math.ceil(reach(drive) * scale - 0.5)
    if largest >= 1 << (numbers.message_bits - 1):
        return f"{name} sends sums up to {largest:,}, more than a message holds"
    made = [rounded_at(s, name, scale, numbers) for s in drive.sources]
    return Relay(chip.Graded(name, cell.shape), made, scale, largest)
