"""How the chips of the Xylo family count, and which integers they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from snn2hw.errors import listed
from snn2hw.families.xylo.populations import NO_ALIAS, Hidden, Population, Readout
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.neuron import NeuronRules, Shifts
from snn2hw.ir.synapses import Conv, matrix
from snn2hw.ir.target import Target

# What the simulators count exactly; a count of spikes is a byte in the vendor's.
RANGES: Mapping[str, tuple[int, int]] = {
    "weight_bits": (2, 8), "state_bits": (8, 16), "dash_bits": (1, 4), "shift_max": (0, 7),
    "input_spikes": (1, 127), "hidden_spikes": (1, 127), "readout_spikes": (1, 127),
    "synapses": (1, 2),
}  # fmt: skip
PARTS = ("isyn", "isyn2")  # the currents of a neuron, which a connection's ``part`` names

Group = Literal["input", "recurrent", "readout"]


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a chip of the Xylo family counts (xylosim 0.1.3, ``src/v2/cpp``).

    Weights are signed ``weight_bits`` wide and shifted left when a spike is delivered, by one
    number for all weights from the inputs, one for those between hidden neurons and one for those
    to the readout (``Connection.exponent``). Currents, membranes, thresholds and biases are signed
    ``state_bits`` wide and saturate. A decay is a shift to the right of ``dash_bits``.

    Args:
        weight_bits: of a weight.
        state_bits: of a state, a threshold and a bias.
        dash_bits: of a decay.
        shift_max: largest shift of a group of weights.
        input_spikes: most of an input channel in a step.
        hidden_spikes: most of a hidden neuron in a step.
        readout_spikes: most of a readout neuron in a step.
        synapses: currents of a hidden neuron.
    """

    weight_bits: int = 8
    state_bits: int = 16
    dash_bits: int = 4
    shift_max: int = 7
    input_spikes: int = 15
    hidden_spikes: int = 31
    readout_spikes: int = 1
    synapses: int = 2

    def __post_init__(self) -> None:
        off = [f"{k} is {getattr(self, k)}" for k, (a, b) in RANGES.items()
               if not a <= getattr(self, k) <= b]  # fmt: skip
        if not off and self.weight_bits + self.shift_max >= self.state_bits:
            off = [f"a weight shifted by {self.shift_max} does not fit {self.state_bits} bits"]
        if off:
            raise ValueError(f"no simulator counts so: {', '.join(off)}")

    @property
    def weight_max(self) -> int:
        """Largest weight; the smallest is ``-weight_max - 1``."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def state_max(self) -> int:
        """Largest state, threshold and bias; the smallest is ``-state_max - 1``."""
        return (1 << (self.state_bits - 1)) - 1

    @property
    def dash_max(self) -> int:
        """Slowest decay."""
        return (1 << self.dash_bits) - 1

    def waits(self, delay: int) -> bool:
        """Say whether a connection may take so many chip steps: an input's 0, a neuron's 1."""
        return 0 <= delay <= 1

    def differs(self, other: Any) -> Iterator[str]:
        """Name where integers that were made for other numbers mean something else here."""
        for name in ("state_bits", "input_spikes", "hidden_spikes", "readout_spikes"):
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                yield f"its integers are made for a {name} of {there}, which is {here} here"

    def problems(self, net: IntNetwork) -> Iterator[str]:
        """Name everything in a network that these chips do not hold."""
        yield from self._of_inputs(net)
        yield from self._of_readout(net)
        count = sum(p.size for p in hidden(net))
        for p in populations(net):
            yield from self._of_population(p, count)
        taken: set[tuple[str, str, str]] = set()
        for c in net.connections:
            yield from self._of_connection(c, net)
            key = (c.pre, c.post, c.part)
            if key in taken:
                yield f"{c.pre} -> {c.post} has two weights for one pair of neurons"
            taken.add(key)
        yield from self._of_shifts(net)

    def _of_inputs(self, net: IntNetwork) -> Iterator[str]:
        if len(net.inputs) != 1:
            yield f"it has {len(net.inputs)} inputs ({listed(p.name for p in net.inputs)}), not one"
        for p in net.inputs:
            if p.min_value < 0 or p.max_value > self.input_spikes:
                yield (
                    f"{p.name} sends {p.min_value} to {p.max_value} spikes a step, an input "
                    f"channel 0 to {self.input_spikes}"
                )

    def _of_readout(self, net: IntNetwork) -> Iterator[str]:
        first = len(hidden(net))
        for name, p in net.outputs.items():
            if not isinstance(net.population(p), Readout):
                yield f"output {name} is of {p}, which is no readout"
        for p in net.populations[:first]:
            if isinstance(p, Readout):
                yield f"{p.name} is a readout among the hidden neurons"
        for p in readouts(net):
            if p.name not in net.outputs.values():
                yield f"{p.name} is a readout, but no output's"

    def _of_population(self, p: Population, hidden_neurons: int) -> Iterator[str]:
        top, slow = self.state_max, self.dash_max
        allowed = {
            "threshold": (0, top), "bias": (-top - 1, top), "dash_mem": (0, slow),
            "dash_syn": (0, slow), "dash_syn2": (0, slow if self.synapses > 1 else 0),
            "alias": (NO_ALIAS, hidden_neurons - 1),
        }  # fmt: skip
        for name, (low, high) in allowed.items():
            values = getattr(p, name, None)
            if values is not None and not low <= values.min() <= values.max() <= high:
                yield f"{p.name}: {name} is not in {low} to {high}"

    def _of_connection(self, c: Connection, net: IntNetwork) -> Iterator[str]:
        name = f"connection {c.pre} -> {c.post}"
        from_input = c.pre in {p.name for p in net.inputs}
        post = net.population(c.post)
        if not from_input and isinstance(net.population(c.pre), Readout):
            yield f"{name} begins at the readout, which nobody hears"
        elif from_input and isinstance(post, Readout):
            yield f"{name} leaves out the hidden neurons"
        there = PARTS[: self.synapses if isinstance(post, Hidden) else 1]
        if c.part not in there:
            yield f"{name} ends in {c.part!r}, the neurons have {listed(there, ' and ')}"
        if isinstance(c.synapses, Conv):
            yield f"{name} is a convolution, the chip holds each weight by itself"
            return
        weight = c.synapses.weight
        if weight.size and not -self.weight_max - 1 <= weight.min() <= weight.max() <= (
            self.weight_max
        ):
            yield f"{name} has weights of more than {self.weight_bits} bits"
        if not matrix(c.synapses).has_canonical_format:
            yield f"{name} has two weights for one pair of neurons"

    def _of_shifts(self, net: IntNetwork) -> Iterator[str]:
        shifts: dict[Group, set[int]] = {}
        for c in net.connections:
            shifts.setdefault(group(net, c), set()).add(c.exponent)
        for name, found in shifts.items():
            several = listed(map(str, sorted(found)), " and ")
            if len(found) > 1:
                yield f"{name} weights are shifted by {several}, the chip shifts all alike"
            elif not 0 <= found.pop() <= self.shift_max:
                yield f"{name} weights are shifted by {several}, the chip 0 to {self.shift_max}"


def group(net: IntNetwork, connection: Connection) -> Group:
    """Return the weights that a connection belongs to, which one number shifts."""
    if any(p.name == connection.pre for p in net.inputs):
        return "input"
    return "readout" if isinstance(net.population(connection.post), Readout) else "recurrent"


def shift(net: IntNetwork, of: Group) -> int:
    """Return by how much a group's weights are shifted."""
    return next((c.exponent for c in net.connections if group(net, c) == of), 0)


def populations(net: IntNetwork) -> tuple[Population, ...]:
    """Return the populations of a network of this family."""
    return cast("tuple[Population, ...]", net.populations)


def hidden(net: IntNetwork) -> tuple[Hidden, ...]:
    """Return the populations of hidden neurons, in the order of their ids."""
    return tuple(p for p in populations(net) if isinstance(p, Hidden))


def readouts(net: IntNetwork) -> tuple[Readout, ...]:
    """Return the populations of the readout, in the order of their neurons' ids."""
    return tuple(p for p in populations(net) if isinstance(p, Readout))


def first_ids(net: IntNetwork) -> dict[str, int]:
    """Return the id of each population's first neuron.

    Hidden neurons are counted on their own, those of the readout too. An input's ids are those of
    its channels.
    """
    found = {p.name: 0 for p in net.inputs}
    for pool in (hidden(net), readouts(net)):
        count = 0
        for p in pool:
            found[p.name] = count
            count += p.size
    return found


def joined(parts: tuple[Population, ...], name: str) -> np.ndarray:
    """Return an array of numbers of several populations, one after another."""
    return np.concatenate([np.zeros(0, np.int32), *(getattr(p, name) for p in parts)])


def numbers_of(of: IntNetwork | Target) -> Numbers:
    """Return the arithmetic of a network or a chip of this family."""
    return cast("Numbers", of.numbers)


def contradictions(numbers: Numbers, abilities: Mapping[str, bool]) -> Iterator[str]:
    """Name what a target file says of its inputs in two ways."""
    said, most = abilities["graded_input"], numbers.input_spikes
    if said != (most > 1):
        told = "true" if said else "false"
        yield f"abilities.graded_input is {told}, but numbers.input_spikes is {most}"


def trains(target: Target) -> NeuronRules:
    """Return what the neurons of a chip of this family compute, for those who train them."""
    n = numbers_of(target)
    sizes = ("input_expansion", "readout_expansion", "hidden_neurons", "fan_out")
    return NeuronRules(
        fires="at",
        resets=("subtract",),
        most=n.hidden_spikes,
        most_out=n.readout_spikes,
        most_in=n.input_spikes,
        membrane=Shifts(0, n.dash_max),
        # A current that loses everything in a step would take no weights (see ``quantize``).
        current=Shifts(1, n.dash_max),
        needs_current=True,
        bias="membrane",
        readouts=("spikes",),
        channels=target.limit("inputs"),
        classes=target.limit("readout_neurons"),
        loop=min(target.limit(k) for k in sizes),
    )
