"""The network in a chip's integers, one step at a time, before it knows about cores or delays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import listed
from snn2hw.ir.arrays import Shape, digest, size_of
from snn2hw.ir.order import components
from snn2hw.ir.populations import Population, written_by
from snn2hw.ir.synapses import Conv, Synapses, sizes

Floats = NDArray[np.float64]


class Numbers(Protocol):
    """How the chips of a family count: a frozen dataclass of integers."""

    def problems(self, net: IntNetwork) -> Iterable[str]:
        """Name every number of a network that these chips do not hold, or do not add up."""
        ...

    def differs(self, other: Any) -> Iterable[str]:
        """Name where integers made for other numbers would mean something else by these."""
        ...

    def waits(self, delay: int) -> bool:
        """Say whether a connection may take so many chip steps."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """Integer synapses: ``(weight @ spikes) << exponent`` (an arithmetic ``>>`` when negative).

    ``delay`` is in the sample's own time: what ``pre`` sends in step ``t`` counts in ``post`` in
    step ``t + delay``. ``part`` says which of a neuron's states takes it, where several could.
    """

    pre: str
    post: str
    synapses: Synapses
    exponent: int = 0
    delay: int = 0
    part: str = "real"

    @property
    def mixed(self) -> bool:
        """Whether the weights have both signs."""
        weight = self.synapses.weight
        return bool(weight.size and weight.min() < 0 < weight.max())


class Fed(NamedTuple):
    """How integers follow from what an author fed: ``gain x + offset``, to the nearest.

    One number each, or one for each channel (the first axis of a sample).
    """

    gain: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InputPort:
    """Integers that the host sends each step, ``min_value`` to ``max_value`` (0 to 1: spikes).

    ``gain`` and ``offset`` are what a vendor's file makes them with, from data on a scale of its
    own: ``int(gain * x + offset)``; ``fed`` says so of a float network. Simulators take the
    integers.
    """

    name: str
    shape: Shape
    max_value: int = 1
    min_value: int = 0
    gain: int = 1
    offset: int = 0
    fed: Fed | None = field(default=None, kw_only=True, repr=False)  # nothing of the chip's

    def unrounded(self, fed: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers of which ``integers`` takes the nearest, where ``is_fed``."""
        assert self.fed is not None
        wide = (-1, *[1] * (len(self.shape) - 1))
        gain, offset = (np.reshape(v, wide) for v in self.fed)
        return gain * fed + offset

    def is_fed(self, x: NDArray[Any]) -> bool:
        """Say whether samples are what the author fed: real numbers, or true and false (1, 0)."""
        return self.fed is not None and x.dtype.kind in "bf"

    def integers(self, x: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """Return the integers of samples ``[..., *shape]``; real numbers that are not whole stay.

        Numbers beyond 32 bits come to their ends, so that they are refused as such.
        """
        if x.dtype.kind != "f" and not self.is_fed(x):
            return x
        with np.errstate(over="ignore", invalid="ignore"):
            if self.is_fed(x):
                x = np.rint(self.unrounded(x))
            elif (self.gain, self.offset) != (1, 0):
                x = self.gain * x + self.offset
            elif (x == np.rint(x)).all():
                return x.astype(np.int64)
            else:
                return x
            return np.clip(x, -(2.0**31), 2.0**31 - 1).astype(np.int64)

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
class DigitPort(InputPort):
    """One binary digit of an input's values, for a chip whose spikes are plain.

    The host is given the values of ``of``, from 0 to ``most``, and sends a spike where digit
    ``digit`` of a value is 1.
    """

    of: str = ""
    digit: int = 0
    most: int = 1


def given(ports: Iterable[InputPort]) -> dict[str, InputPort]:
    """Return the inputs as the host is given them: the digits of one input are one."""
    found: dict[str, InputPort] = {}
    for p in ports:
        whole = InputPort(p.of, p.shape, p.most, fed=p.fed) if isinstance(p, DigitPort) else p
        found.setdefault(whole.name, whole)
    return found


@dataclass(frozen=True, slots=True)
class Rounding:
    """What quantization did to one population and the synapses into it.

    ``scale`` is integer units per unit of threshold (of membrane, where that is read out),
    ``relative_error`` the weights' root-mean-square error over their size, ``zeroed`` how many
    non-zero weights became zero, ``removed`` how many neurons went because they could not spike or
    nobody heard them. ``part_of`` names the population of the float network that this is a part of,
    "" for one that stands for a whole.
    """

    scale: float
    limited_by: str
    relative_error: float
    zeroed: int
    removed: int = 0
    part_of: str = ""

    @classmethod
    def of(
        cls, scale: float, limited_by: str, weights: Sequence[Floats], rounded: Sequence[Floats]
    ) -> Rounding:
        """Measure what became of a population's weights.

        Args:
            scale: integer units per unit of threshold.
            limited_by: what kept it from being larger.
            weights: of all synapses into the population.
            rounded: what stands for them now, in the unit of ``weights``.
        """
        pairs = list(zip(weights, rounded, strict=True))
        error = sum(float(((b - a) ** 2).sum()) for a, b in pairs)
        total = sum(float((a**2).sum()) for a in weights)
        zeroed = sum(int(np.count_nonzero(a) - np.count_nonzero(b)) for a, b in pairs)
        return cls(scale, limited_by, float(np.sqrt(error / total)) if total else 0.0, zeroed)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class IntNetwork:
    """Populations in topological order, integer connections, and what one sample is.

    Args:
        inputs: where values enter.
        populations: connections without delay go from earlier to later ones; those with a delay
            may go anywhere, so every loop holds a delay.
        connections: several into one population are summed before the neuron sees them.
        outputs: for each output, in the network's order, the population whose spikes or graded
            messages are its answer; several may have the same.
        dt: time step in seconds of the float network.
        time_steps: steps one sample lasts.
        numbers: the arithmetic, which also says what a number may be.
        rounding: quantization report by population (empty if read from a vendor's file).
    """

    inputs: tuple[InputPort, ...]
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    outputs: Mapping[str, str]
    dt: float
    time_steps: int
    numbers: Numbers
    rounding: Mapping[str, Rounding]
    _place: Mapping[str, int] = field(init=False, repr=False)  # of a population
    _into: Mapping[str, tuple[int, ...]] = field(init=False, repr=False)  # its connections

    def __post_init__(self) -> None:
        for name in ("outputs", "rounding"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        object.__setattr__(self, "_place", {p.name: i for i, p in enumerate(self.populations)})
        into: dict[str, list[int]] = {}
        for i, c in enumerate(self.connections):
            into.setdefault(c.post, []).append(i)
        object.__setattr__(self, "_into", {k: tuple(v) for k, v in into.items()})
        size = {p.name: p.size for p in (*self.inputs, *self.populations)}
        if len(size) != len(self.inputs) + len(self.populations):
            raise ValueError("two populations share a name")
        self._check_outputs(size)
        for c in self.connections:
            if (size.get(c.post), size.get(c.pre)) != sizes(c.synapses):
                raise ValueError(f"connection {c.pre} -> {c.post} does not match its ends")
            if not np.issubdtype(c.synapses.weight.dtype, np.integer):
                held = c.synapses.weight.dtype
                raise TypeError(f"connection {c.pre} -> {c.post} holds {held}, not integers")
            self._check_order(c)
        self._check_digits()
        for p in self.populations:
            self._check_driven(p)
        problems = list(self.numbers.problems(self))
        if problems:
            raise ValueError(listed(problems, "; "))

    def _check_outputs(self, taken: Iterable[str]) -> None:
        """Check that each output has a population, and no name that means something else."""
        if not self.outputs:
            raise ValueError("it has no output")
        for name, population in self.outputs.items():
            if population not in self._place:
                raise ValueError(f"output {name} is of {population}, which is not a population")
            if name in taken and name != population:
                raise ValueError(f"output {name} is of {population}, but {name} is another's name")

    def _check_digits(self) -> None:
        """Check that an input has all of its digits, in order, and nothing else has its name."""
        taken = {"", *(p.name for p in (*self.inputs, *self.populations))}
        ports: dict[str, list[DigitPort]] = {}
        for p in self.inputs:
            if isinstance(p, DigitPort):
                ports.setdefault(p.of, []).append(p)
        for mine in ports.values():
            (whole,) = given(mine).values()
            wanted = [
                DigitPort(
                    p.name, whole.shape, of=whole.name, digit=i, most=whole.max_value, fed=whole.fed
                )
                for i, p in enumerate(mine)
            ]
            count = whole.max_value.bit_length()
            if mine != wanted or len(mine) != count or count < 2 or whole.name in taken:
                raise ValueError(f"the digits of input {whole.name!r} do not make its values")

    def _check_driven(self, p: Population) -> None:
        port = written_by(p)
        if port is not None and [x.shape for x in self.inputs if x.name == port] != [p.shape]:
            raise ValueError(f"{p.name} is driven by {port}, which is no input of its shape")

    def _check_order(self, c: Connection) -> None:
        place = self._place
        if c.post not in place:
            raise ValueError(f"connection {c.pre} -> {c.post} ends in an input")
        if c.delay < 0:
            raise ValueError(f"connection {c.pre} -> {c.post} has delay {c.delay}")
        if c.delay == 0 and place.get(c.pre, -1) >= place[c.post]:
            raise ValueError(f"connection {c.pre} -> {c.post} goes back without a delay")

    def into(self, name: str) -> tuple[int, ...]:
        """Return the indices of the connections into a population."""
        return self._into.get(name, ())

    def population(self, name: str) -> Population:
        """Return a population by name."""
        return self.populations[self._place[name]]

    def sends_graded(self, name: str) -> bool:
        """Say whether a population sends signed integers; inputs say it themselves."""
        return name in self._place and self.population(name).graded

    def shape(self, name: str) -> Shape:
        """Return the shape of an input or a population."""
        return next(p.shape for p in (*self.inputs, *self.populations) if p.name == name)

    def components(self) -> list[list[str]]:
        """Return the populations, those of one loop together, so that sources come first.

        These are the strongly connected components over all connections, each in the order of
        ``populations``.
        """
        names = [p.name for p in self.populations]
        return components(names, ((c.pre, c.post) for c in self.connections))

    def digest(self) -> str:
        """Return a hash of structure and values."""
        outputs = tuple(self.outputs.items())
        parts: list[object] = [self.inputs, outputs, self.dt, self.time_steps, self.numbers]
        for p in self.populations:
            known: Any = p
            parts += [type(p).__name__, *(getattr(p, f.name) for f in fields(known))]
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
