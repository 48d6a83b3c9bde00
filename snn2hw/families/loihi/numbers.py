"""How the chips of the Loihi family count, and which integers they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from snn2hw.errors import listed
from snn2hw.families.loihi.populations import Delta, Lif, Population, Resonator
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.neuron import NeuronRules, Parts
from snn2hw.ir.populations import written_by
from snn2hw.ir.synapses import reach, with_weight
from snn2hw.ir.target import Target

# What the simulators, whose states and sums are of 32 bits, count exactly.
# A shift of 8 has no bias: quantized ones are shifted like weights, by an exponent of 3 bits.
RANGES: Mapping[str, tuple[int, int]] = {
    "state_bits": (2, 31), "state_shift": (0, 7), "decay_bits": (1, 12), "threshold_bits": (1, 31),
    "bias_bits": (3, 31), "weight_bits": (2, 15), "exponent_min": (-31, 0), "exponent_max": (0, 31),
    "delay_max": (0, 1 << 16), "message_bits": (0, 32), "sum_bits": (9, 32), "drive_bits": (9, 32),
    "keeps_top": (0, 1), "shifts_weights": (0, 1), "programmable": (0, 1),
}  # fmt: skip
# In these Loihi 1 differs; files without them are from before and of chips that count as Lava does.
LATER = ("sum_bits", "drive_bits", "keeps_top", "shifts_weights", "programmable")
# By these the same integers mean something else; the others say how far they reach.
MEANING = ("state_shift", "decay_bits")


@dataclass(frozen=True, slots=True, repr=False)
class Numbers:
    """How a chip of the Loihi family counts; the defaults are those of Lava's Loihi 2.

    Membrane ``v`` and current ``u`` are signed ``state_bits`` wide; weights are added to ``u``
    shifted left by ``state_shift``, thresholds likewise; decays are fractions of
    ``2**decay_bits``. ``u`` wraps around once, ``v`` saturates.

    Sources: Lava 0.10.0 (``proc/lif/models.py``, ``proc/dense/models.py``) for Loihi 2;
    nengo-loihi 1.1.0 (``emulator/interface.py``, ``builder/discretize.py``) and brian2-loihi
    0.5.2 (``loihi_neuron_group.py``, ``loihi_synapses.py``) for Loihi 1. Both chips truncate
    decays toward zero, lose ``(du + 1) / 4096`` of ``u``, add the bias after the decay, spike
    where ``v`` is above the threshold and reset to 0 at once. What differs is told below.

    Args:
        state_bits: of ``u`` and ``v``.
        state_shift: of weights and thresholds.
        decay_bits: of decays.
        threshold_bits: of a threshold's mantissa.
        bias_bits: of a bias's mantissa, signed.
        weight_bits: of the finest weights.
        exponent_min: smallest power of two that shifts weights.
        exponent_max: the largest.
        delay_max: steps that a spike may wait beyond the one that every connection takes.
        message_bits: of a graded spike, signed; 0 where there are only plain ones.
        sum_bits: signed bits in which what arrives in one step, shifted, wraps around. Lava adds
            it in the 32 bits of the state; Loihi 1 in 21 and a sign (``Q_BITS``, ``q0`` in
            ``CompartmentState.update``).
        drive_bits: signed bits in which ``u`` plus the bias wraps around before ``v`` takes it.
            Lava's have 32; Loihi 1's 23 and a sign (``U_BITS``, ``u2``).
        keeps_top: 1 where ``u`` wraps to ``-2**23 + 1 .. 2**23``, as Lava's (``> max``, ``<= -max``
            in ``subthr_dynamics``); 0 for two's complement, ``-2**23 .. 2**23 - 1``
            (``overflow_signed``).
        shifts_weights: 1 where a negative exponent cuts every weight, toward minus infinity, as on
            Loihi 1 (``discretize_weights``: "two-part weight shift"; ``calcActualWeights``: floor);
            0 where it cuts their sum, as in Lava (``proc/dense/models.py``).
        programmable: 1 where neurons have microcode; without it all are LIF (Davies et al. 2018).
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
    sum_bits: int = 32
    drive_bits: int = 32
    keeps_top: int = 1
    shifts_weights: int = 0
    programmable: int = 1

    def __post_init__(self) -> None:
        off = [f"{k} is {getattr(self, k)}" for k, (a, b) in RANGES.items()
               if not a <= getattr(self, k) <= b]  # fmt: skip
        if not off and self.state_shift > self.state_bits - 2:
            off = [f"state_shift {self.state_shift} leaves no weight in {self.state_bits} bits"]
        if self.message_bits == 1:
            off.append("message_bits is 1, which is a sign alone")
        if off:
            raise ValueError(f"no simulator counts so: {', '.join(off)}")

    def __repr__(self) -> str:
        """Leave out what is as in files from before, whose digests stay theirs."""
        told = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        shown = [f"{k}={v}" for k, (v, usual) in told.items() if k not in LATER or v != usual]
        return f"Numbers({', '.join(shown)})"

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
        """Largest ``u``, as a sum of weights, that cannot wrap by itself."""
        bits = min(self.state_bits, self.drive_bits)
        return (1 << (bits - 1 - self.state_shift)) - 1

    @property
    def sum_max(self) -> int:
        """Largest sum of weights in one step that cannot wrap before ``u`` takes it."""
        return (1 << (self.sum_bits - 1 - self.state_shift)) - 1

    def least_exponent(self, mixed: bool) -> int:
        """Return the smallest exponent with which weights of the grid lose nothing.

        Where the exponent cuts each weight, only the zeros that the grid leaves them can go.
        """
        _, _, step = self.weight_range(mixed)
        return max(self.exponent_min, 1 - step) if self.shifts_weights else self.exponent_min

    def weight_range(self, mixed: bool) -> tuple[int, int, int]:
        """Return the smallest and largest weight and the step between them.

        Weights of both signs share one bit for the sign, which leaves even numbers only.
        """
        top = 1 << self.weight_bits
        return (-top, top - 2, 2) if mixed else (-(top - 1), top - 1, 1)

    def waits(self, delay: int) -> bool:
        """Say whether a connection may take so many chip steps; each takes one at least."""
        return 1 <= delay <= self.delay_max + 1

    def differs(self, other: Any) -> Iterator[str]:
        """Name where integers that were made for other numbers mean something else here."""
        for name in MEANING:
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                yield f"its integers are made for a {name} of {there}, which is {here} here"

    def problems(self, net: IntNetwork) -> Iterator[str]:
        """Name every number of a network that does not fit its bits."""
        largest = {p.name: p.largest for p in net.inputs}
        for c in net.connections:
            yield from self._of_connection(c, net, largest.get(c.pre, 1))
        ports = {p.name: p for p in net.inputs}
        heard = {c.pre for c in net.connections}
        graded = [] if self.message_bits else [p for p in net.inputs if p.message_bits]
        yield from (
            f"{p.name} sends numbers up to {p.largest:,} by spikes, the chip's are plain"
            for p in graded
            if p.name in heard
        )
        for p in populations(net):
            if not isinstance(p, Lif):
                yield from self._of_other(p)
            else:
                yield from self._of_lif(p)
            port = ports.get(written_by(p) or "")
            if port is not None:
                yield from self._of_driven(p, port)

    def _of_connection(self, c: Connection, net: IntNetwork, largest: int) -> Iterator[str]:
        name, weight = f"connection {c.pre} -> {c.post}", c.synapses.weight
        low, high, step = self.weight_range(c.mixed)
        if weight.size and (weight.min() < low or weight.max() > high or (weight % step).any()):
            grid = f"{low} to {high}" + (" in steps of 2" if step == 2 else "")
            yield f"{name} has weights outside the chip's grid ({grid})"
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
        above = (self.threshold_max + 1) << self.state_shift
        most = self.threshold_max + (above >= 1 << (self.state_bits - 1))  # which none reaches
        low, high = int(p.bias.min()), int(p.bias.max())
        if p.vth > most or low < -self.bias_max - 1 or high > self.bias_max:
            yield f"{p.name}: threshold or bias does not fit its bits"
        one = 1 << self.decay_bits
        if p.du >= one or p.dv > one:
            yield f"{p.name}: decay {max(p.du, p.dv)} does not fit {self.decay_bits} bits"

    def _of_other(self, p: Population) -> Iterator[str]:
        if not self.programmable:
            yield f"{p.name} is of {type(p).__name__} neurons, the chip's are LIF"
        elif p.graded and not self.message_bits:
            yield f"{p.name} sends numbers, the chip's spikes are plain"
        if isinstance(p, Resonator) and max(abs(p.cos), abs(p.sin)) > 1 << self.decay_bits:
            yield f"{p.name}: its decays do not fit {self.decay_bits} bits"

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


MOST_PARTS = 16  # into which a population is divided by time constants; each takes a core at least


def numbers_of(of: IntNetwork | Target) -> Numbers:
    """Return the arithmetic of a network or a chip of this family."""
    return cast("Numbers", of.numbers)


def counts_otherwise(target: Target, counts: Mapping[str, int]) -> str | None:
    """Say why a simulator does not count as a target does; None if it does.

    Args:
        target: the chip.
        counts: what the simulator's arithmetic is fixed to, by the names of ``Numbers``; of
            ``weight_bits`` it is the most.
    """
    numbers = numbers_of(target)
    found = [
        f"{name} is {held} instead of {there}"
        for name, there in counts.items()
        if (held := getattr(numbers, name)) != there
        and not (name == "weight_bits" and held < there)
    ]
    return listed(found) if found else None


def as_added(c: Connection, n: Numbers) -> Connection:
    """Return a connection whose exponent shifts the sum of its weights, as one that shifts each."""
    if not n.shifts_weights or c.exponent >= 0:
        return c
    return replace(
        c, synapses=with_weight(c.synapses, c.synapses.weight >> -c.exponent), exponent=0
    )


def contradictions(numbers: Numbers, abilities: Mapping[str, bool]) -> Iterator[str]:
    """Name what a target file says of graded spikes in two ways."""
    graded = [k for k in ("graded_input", "graded_output") if abilities[k]]
    if not numbers.message_bits:
        yield from (f"abilities.{k} is true, but numbers.message_bits is 0" for k in graded)
    elif not graded:
        yield f"numbers.message_bits is {numbers.message_bits}, but no ability is graded"


def trains(target: Target) -> NeuronRules:
    """Return what the neurons of a chip of this family compute, for those who train them.

    How they reset is left to the recipe: what a chip cannot do, a rewrite replaces later.
    """
    n = numbers_of(target)
    parts = Parts(1 << n.decay_bits)
    graded = target.abilities["graded_output"] and n.message_bits and n.programmable
    usual = NeuronRules(membrane=parts, current=parts, time_constants=MOST_PARTS)
    return usual if graded else replace(usual, readouts=("spikes",))
