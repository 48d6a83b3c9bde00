"""The network in a chip's integers, one step at a time, before it knows about cores or delays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal

import numpy as np

from snn2hw.ir.arrays import Shape, digest, size_of
from snn2hw.ir.populations import Delta, Lif, Population, Resonator, sends_graded
from snn2hw.ir.synapses import Conv, Synapses, reach, sizes

Part = Literal["real", "imag"]

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


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """Integer synapses: ``(weight @ spikes) << exponent`` (an arithmetic ``>>`` when negative).

    ``delay`` is in the sample's own time: what ``pre`` sends in step ``t`` counts in ``post`` in
    step ``t + delay``. ``part`` says which part of a complex state takes it.
    """

    pre: str
    post: str
    synapses: Synapses
    exponent: int = 0
    delay: int = 0
    part: Part = "real"

    @property
    def mixed(self) -> bool:
        """Whether the weights have both signs, as Lava's ``determine_sign_mode`` decides."""
        weight = self.synapses.weight
        return bool(weight.size and weight.min() < 0 < weight.max())


@dataclass(frozen=True, slots=True)
class InputPort:
    """Integers that the host sends each step, ``min_value`` to ``max_value`` (0 to 1: spikes).

    ``gain`` and ``offset`` are what the network's authors made them with, from data on a scale of
    their own: ``int(gain * x + offset)``. Simulators take the integers.
    """

    name: str
    shape: Shape
    max_value: int = 1
    min_value: int = 0
    gain: int = 1
    offset: int = 0

    @property
    def largest(self) -> int:
        """Largest size of a value."""
        return max(self.max_value, -self.min_value)

    @property
    def message_bits(self) -> int:
        """Payload bits of a graded spike, 0 for a plain one."""
        signed = self.min_value < 0
        return self.largest.bit_length() + signed if signed or self.max_value > 1 else 0

    @property
    def size(self) -> int:
        """Number of values."""
        return size_of(self.shape)


@dataclass(frozen=True, slots=True)
class Rounding:
    """What quantization did to one population and the synapses into it.

    ``scale`` is integer units per unit of threshold (of membrane, where that is read out),
    ``relative_error`` the weights' root-mean-square error over their size, ``zeroed`` how many
    non-zero weights became zero, ``removed`` how many neurons went because they could not spike or
    nobody heard them.
    """

    scale: float
    limited_by: str
    relative_error: float
    zeroed: int
    removed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class IntNetwork:
    """Populations in topological order, integer connections, and what one sample is.

    Args:
        inputs: where values enter.
        populations: connections without delay go from earlier to later ones; those with a delay
            may go anywhere, so every loop holds a delay.
        connections: several into one population are summed before the neuron sees them.
        output: name of the population whose spikes or graded messages are the answer.
        dt: time step in seconds of the float network.
        time_steps: steps one sample lasts.
        numbers: the arithmetic.
        rounding: quantization report by population (empty if read from a vendor's file).
    """

    inputs: tuple[InputPort, ...]
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    output: str
    dt: float
    time_steps: int
    numbers: Numbers
    rounding: Mapping[str, Rounding]
    _place: Mapping[str, int] = field(init=False, repr=False)  # of a population
    _into: Mapping[str, tuple[int, ...]] = field(init=False, repr=False)  # its connections

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounding", MappingProxyType(dict(self.rounding)))
        object.__setattr__(self, "_place", {p.name: i for i, p in enumerate(self.populations)})
        into: dict[str, list[int]] = {}
        for i, c in enumerate(self.connections):
            into.setdefault(c.post, []).append(i)
        object.__setattr__(self, "_into", {k: tuple(v) for k, v in into.items()})
        size = {p.name: p.size for p in (*self.inputs, *self.populations)}
        if len(size) != len(self.inputs) + len(self.populations):
            raise ValueError("two populations share a name")
        if self.output not in self._place:
            raise ValueError(f"output {self.output} is not a population")
        for c in self.connections:
            if (size.get(c.post), size.get(c.pre)) != sizes(c.synapses):
                raise ValueError(f"connection {c.pre} -> {c.post} does not match its ends")
            _check_weights(c, self.numbers)
            self._check_order(c)
            self._check_sum(c)
            if c.part == "imag" and not isinstance(self.population(c.post), Resonator):
                raise ValueError(f"{c.post} has no imaginary part for {c.pre}")
        for p in self.populations:
            if isinstance(p, Lif):
                self._check_lif(p)
            if isinstance(p, Lif | Delta) and p.driven_by is not None:
                self._check_driven(p, p.driven_by)

    def _check_lif(self, p: Lif) -> None:
        low, high = -self.numbers.bias_max - 1, self.numbers.bias_max
        never = self.numbers.threshold_max + 1
        if p.vth > never or p.bias.min() < low or p.bias.max() > high:
            raise ValueError(f"{p.name}: threshold or bias does not fit its bits")

    def _check_driven(self, p: Lif | Delta, port: str) -> None:
        found = [x for x in self.inputs if x.name == port]
        if not found or found[0].shape != p.shape:
            raise ValueError(f"{p.name} is driven by {port}, which is no input of its shape")
        if isinstance(p, Lif):
            low, high = (
                found[0].min_value + int(p.bias.min()),
                found[0].max_value + int(p.bias.max()),
            )
            if low < -self.numbers.bias_max - 1 or high > self.numbers.bias_max:
                raise ValueError(f"{p.name}: {port} does not fit the bits of a bias")
        elif found[0].largest << (p.spike_exp + self.numbers.state_shift) >= 1 << 31:
            raise ValueError(f"{p.name}: {port} does not fit the state")

    def _check_order(self, c: Connection) -> None:
        place = self._place
        if c.post not in place:
            raise ValueError(f"connection {c.pre} -> {c.post} ends in an input")
        if c.delay < 0:
            raise ValueError(f"connection {c.pre} -> {c.post} has delay {c.delay}")
        if c.delay == 0 and place.get(c.pre, -1) >= place[c.post]:
            raise ValueError(f"connection {c.pre} -> {c.post} goes back without a delay")

    def _check_sum(self, c: Connection) -> None:
        # Lava adds one connection in 32 bits here and in 64 there: beyond, it has no one answer.
        largest = max((p.largest for p in self.inputs if p.name == c.pre), default=1)
        if reach(c.synapses) * largest >= 1 << 31:
            raise ValueError(f"connection {c.pre} -> {c.post} can sum up to more than 32 bits")

    def into(self, name: str) -> tuple[int, ...]:
        """Return the indices of the connections into a population."""
        return self._into.get(name, ())

    def population(self, name: str) -> Population:
        """Return a population by name."""
        return self.populations[self._place[name]]

    def sends_graded(self, name: str) -> bool:
        """Say whether a population sends signed integers; inputs say it themselves."""
        return name in self._place and sends_graded(self.population(name))

    def shape(self, name: str) -> Shape:
        """Return the shape of an input or a population."""
        return next(p.shape for p in (*self.inputs, *self.populations) if p.name == name)

    def components(self) -> list[list[str]]:
        """Return the populations, those of one loop together, so that sources come first.

        These are the strongly connected components over all connections, each in the order of
        ``populations``.
        """
        names = [p.name for p in self.populations]
        reaches = np.eye(len(names), dtype=bool)
        for c in self.connections:
            if c.pre in self._place:
                reaches[self._place[c.pre], self._place[c.post]] = True
        for middle in range(len(names)):
            reaches |= np.outer(reaches[:, middle], reaches[middle])
        # A component comes after everything that reaches it, so its members have more before them.
        before = reaches.sum(axis=0)
        found = {tuple(np.flatnonzero(row)) for row in reaches & reaches.T}
        return [[names[i] for i in part] for part in sorted(found, key=lambda p: (before[p[0]], p))]

    def digest(self) -> str:
        """Return a hash of structure and values."""
        parts: list[object] = [self.inputs, self.output, self.dt, self.time_steps, self.numbers]
        for p in self.populations:
            parts += [type(p).__name__, *(getattr(p, f.name) for f in fields(p))]
        for c in self.connections:
            parts += [
                c.pre,
                c.post,
                c.part,
                c.exponent,
                c.delay,
                c.synapses.kind,
                c.synapses.weight,
            ]
            if isinstance(c.synapses, Conv):
                s = c.synapses
                parts += [s.input_shape, s.stride, s.padding, s.dilation, s.groups]
            elif c.synapses.kind == "sparse":
                parts += [c.synapses.indices, c.synapses.indptr]  # type: ignore[union-attr]
        return digest(*parts)


def _check_weights(c: Connection, numbers: Numbers) -> None:
    weight = c.synapses.weight
    if not np.issubdtype(weight.dtype, np.integer):
        raise TypeError(f"connection {c.pre} -> {c.post} holds {weight.dtype}, not integers")
    low, high, step = numbers.weight_range(c.mixed)
    if weight.size and (weight.min() < low or weight.max() > high or (weight % step).any()):
        raise ValueError(f"connection {c.pre} -> {c.post} has weights outside the chip's grid")
    if not numbers.exponent_min <= c.exponent <= numbers.exponent_max:
        raise ValueError(f"connection {c.pre} -> {c.post}: exponent {c.exponent} is off")
