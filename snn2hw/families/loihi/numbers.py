"""How the chips of the Loihi family count, and which integers they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from snn2hw.families.loihi.populations import Delta, Lif, Population, Resonator
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.neuron import NeuronRules, Parts
from snn2hw.ir.populations import written_by
from snn2hw.ir.synapses import reach
from snn2hw.ir.target import Target

# What the simulators, whose states are of 32 bits and whose sums are of 64, count exactly.
RANGES: Mapping[str, tuple[int, int]] = {
    "state_bits": (2, 32), "state_shift": (0, 7), "decay_bits": (1, 12), "threshold_bits": (1, 31),
    "bias_bits": (3, 31), "weight_bits": (2, 15), "exponent_min": (-31, 0), "exponent_max": (0, 31),
    "delay_max": (0, 1 << 16), "message_bits": (2, 32),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a chip of the Loihi family counts (Lava 0.10, ``proc/lif/models.py``).

    Membrane ``v`` and current ``u`` are signed ``state_bits`` wide; weights are added to ``u``
    shifted left by ``state_shift``, thresholds likewise; decays are fractions of
    ``2**decay_bits``. ``u`` wraps around once, ``v`` saturates.
    """

    state_bits: int = 24
    state_shift: int = 6
    decay_bits: int = 12
    threshold_bits: int = 17
    bias_bits: int = 13
    weight_bits: int = 8
    exponent_min: int = -8
    exponent_max: int = 7
    delay_max: int = 62
    message_bits: int = 24

    def __post_init__(self) -> None:
        off = [f"{k} is {getattr(self, k)}" for k, (a, b) in RANGES.items()
               if not a <= getattr(self, k) <= b]  # fmt: skip
        if not off and self.state_shift > self.state_bits - 2:
            off = [f"state_shift {self.state_shift} leaves no weight in {self.state_bits} bits"]
        if off:
            raise ValueError(f"no simulator counts so: {', '.join(off)}")

    @property
    def threshold_max(self) -> int:
        """Largest threshold mantissa."""
        return (1 << self.threshold_bits) - 1

    @property
    def bias_max(self) -> int:
        """Largest bias mantissa; the smallest is ``-bias_max - 1``."""
        return (1 << (self.bias_bits - 1)) - 1

    @property
    def current_max(self) -> int:
        """Largest input of one step that cannot wrap ``u`` by itself."""
        return (1 << (self.state_bits - 1 - self.state_shift)) - 1

    def weight_range(self, mixed: bool) -> tuple[int, int, int]:
        """Return the smallest and largest weight and the step between them.

        Weights of both signs share one bit for the sign, which leaves even numbers only.
        """
        top = 1 << self.weight_bits
        return (-top, top - 2, 2) if mixed else (-(top - 1), top - 1, 1)

    def waits(self, delay: int) -> bool:
        """Say whether a connection may take so many chip steps; each takes one at least."""
        return 1 <= delay <= self.delay_max + 1

    def problems(self, net: IntNetwork) -> Iterator[str]:
        """Name every number of a network that does not fit its bits."""
        largest = {p.name: p.largest for p in net.inputs}
        for c in net.connections:
            yield from self._of_connection(c, net, largest.get(c.pre, 1))
        ports = {p.name: p for p in net.inputs}
        for p in populations(net):
            if isinstance(p, Lif):
                yield from self._of_lif(p)
            port = ports.get(written_by(p) or "")
            if port is not None:
                yield from self._of_driven(p, port)

    def _of_connection(self, c: Connection, net: IntNetwork, largest: int) -> Iterator[str]:
        name, weight = f"connection {c.pre} -> {c.post}", c.synapses.weight
        low, high, step = self.weight_range(c.mixed)
        if weight.size and (weight.min() < low or weight.max() > high or (weight % step).any()):
            yield f"{name} has weights outside the chip's grid"
        if not self.exponent_min <= c.exponent <= self.exponent_max:
            yield f"{name}: exponent {c.exponent} is off"
        # Lava adds one connection in 32 bits here and in 64 there: beyond, it has no one answer.
        if reach(c.synapses) * largest >= 1 << 31:
            yield f"{name} can sum up to more than 32 bits"
        if c.part not in ("real", "imag"):
            yield f"{name} ends in {c.part!r}, which is no part of a state"
        elif c.part == "imag" and not isinstance(net.population(c.post), Resonator):
            yield f"{c.post} has no imaginary part for {c.pre}"

    def _of_lif(self, p: Lif) -> Iterator[str]:
        never = self.threshold_max + 1
        if p.vth > never or p.bias.min() < -self.bias_max - 1 or p.bias.max() > self.bias_max:
            yield f"{p.name}: threshold or bias does not fit its bits"

    def _of_driven(self, p: Population, port: InputPort) -> Iterator[str]:
        if isinstance(p, Lif):
            low = port.min_value + int(p.bias.min())
            high = port.max_value + int(p.bias.max())
            if low < -self.bias_max - 1 or high > self.bias_max:
                yield f"{p.name}: {port.name} does not fit the bits of a bias"
        elif isinstance(p, Delta) and port.largest << (p.spike_exp + self.state_shift) >= 1 << 31:
            yield f"{p.name}: {port.name} does not fit the state"


def populations(net: IntNetwork) -> tuple[Population, ...]:
    """Return the populations of a network of this family."""
    return cast("tuple[Population, ...]", net.populations)


def population(net: IntNetwork, name: str) -> Population:
    """Return a population of a network of this family."""
    return cast("Population", net.population(name))


def numbers_of(of: IntNetwork | Target) -> Numbers:
    """Return the arithmetic of a network or a chip of this family."""
    return cast("Numbers", of.numbers)


def trains(target: Target) -> NeuronRules:
    """Return what the neurons of a chip of this family compute, for those who train them.

    How they reset and what is read is left to the recipe; a chip that cannot refuses it later.
    """
    parts = Parts(1 << numbers_of(target).decay_bits)
    return NeuronRules(membrane=parts, current=parts)
