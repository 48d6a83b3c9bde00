"""What a family of chips provides: the stages of the compiler that know its arithmetic.

The record is read from top to bottom as a network goes through it. Families import nothing of each
other; what two of them share is a module below both (docs/decisions/0013-families.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snn2hw.environments import Environment
from snn2hw.ir.counts import Counts, Times
from snn2hw.ir.integer import IntNetwork, Numbers
from snn2hw.ir.network import Network
from snn2hw.ir.neuron import NeuronRules
from snn2hw.ir.placement import Placement
from snn2hw.ir.populations import Population
from snn2hw.ir.program import Program, Schedule
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace
from snn2hw.simulate.loads import SynapsesMet
from snn2hw.simulate.part import Load

Inputs = Mapping[str, NDArray[np.integer[Any]]]
# What events of some inputs and populations are worth: one after another, some ways to count them.
Worth = Mapping[str, Sequence[SynapsesMet]]
NOTHING: Worth = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Variant:
    """What the target files of some chips of a family hold, and those of its others do not.

    Args:
        limits: as in ``Schema``.
        prices: as in ``Schema``.
        timing: as in ``Schema``.
    """

    limits: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, str] = field(default_factory=dict)
    timing: Mapping[str, str] = field(default_factory=dict)


def _none(numbers: Any, abilities: Mapping[str, bool]) -> Iterable[str]:
    del numbers, abilities
    return ()


@dataclass(frozen=True, slots=True)
class Schema:
    """What a target file of the family must hold; what is missing or too much is an error.

    Args:
        numbers: makes the arithmetic of integers by their names; ValueError if they contradict.
        ranges: what each of these may be.
        limits: of a core and a chip, whole numbers of a unit, or a ``fraction``.
        abilities: what the neurons may be able to do, true or false.
        never: those of them that the family does not compute, so that they are false.
        prices: of each event that is counted, by unit, and of power.
        timing: of each event, by unit.
        variants: more of these where chips divide their memory differently, or events are told
            apart more finely: a file is of one.
        later: numbers that a file may leave out: it is from before they were known.
        contradictions: names abilities that the arithmetic does not have, or the other way round.
    """

    numbers: Callable[..., Numbers]
    ranges: Mapping[str, tuple[int, int]]
    limits: Mapping[str, str]
    abilities: tuple[str, ...]
    prices: Mapping[str, str]
    timing: Mapping[str, str]
    variants: tuple[Variant, ...] = (Variant(),)
    later: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    contradictions: Callable[[Any, Mapping[str, bool]], Iterable[str]] = _none

    def units(self, variant: Variant, section: str) -> Mapping[str, str]:
        """Return the units of ``limits``, ``prices`` or ``timing`` of a variant."""
        return {**getattr(self, section), **getattr(variant, section)}


class Quantize(Protocol):
    """``Network`` -> ``IntNetwork``."""

    def __call__(
        self, net: Network, target: Target, *, time_steps: int | None = None
    ) -> IntNetwork:
        """Round a network, or raise UnsupportedError with everything that the target cannot do."""
        ...


class Engine(Protocol):
    """``Program`` and inputs ``[N, T, *shape]`` -> ``Trace``: the fast simulator."""

    def __call__(
        self,
        program: Program,
        inputs: Inputs,
        *,
        spikes: bool = False,
        states: bool = False,
        layers: Collection[str] | None = None,
        worth: Worth = NOTHING,
        progress: Callable[[int, int], None] | None = None,
    ) -> Trace:
        """Simulate every sample from fresh state.

        With ``spikes``, keep what every layer sends; with ``states``, its states too; of
        ``layers`` only, if some are named. ``worth`` is what a family's own asks for.
        """
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """A trace from a vendor's simulator, and how it came about.

    Args:
        trace: spikes and states.
        through: which file it was told.
        chip_steps: how many it ran.
        processes: how many of each of the vendor's own parts.
    """

    trace: Trace
    through: str
    chip_steps: int
    processes: Mapping[str, int]


class RunVendor(Protocol):
    """A program, run by a vendor's simulator."""

    def __call__(
        self, program: Program, inputs: Inputs, *, program_file: Path, vendor_file: Path | None
    ) -> Run:
        """Run samples through ``program.h5``, or, if it is given, through the vendor's file.

        Raises:
            RuntimeMissingError: the simulator is missing or failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Vendor:
    """A simulator of a family's chips, and the environment that it runs in.

    Args:
        environment: what it is made of.
        run: runs a program.
        why_not: says why it does not count as a target does; None if it does.
        memory: says how many bytes it needs for a program or for a part of one; None where it runs
            whole programs only.
    """

    environment: Environment
    run: RunVendor
    why_not: Callable[[Target], str | None] = lambda _: None
    memory: Callable[[Load], float] | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """What a vendor's loader must be given beside a file, so that it runs the program.

    Args:
        arguments: numbers, by the names that the loader has for them.
        use: the call, and what it is for, as the rest of a sentence about the file.
    """

    arguments: Mapping[str, int]
    use: str


@dataclass(frozen=True, slots=True)
class VendorFile:
    """The file that a vendor's own loader reads.

    Args:
        name: in a build's folder.
        plan: returns what writes it for a program, or why that has none.
        read: reads one from elsewhere; its ending is that of ``name``.
        notes: what is to be said of a network that was read.
        loading: returns what the loader must be given, if it needs more than the file.
    """

    name: str
    plan: Callable[[Program], Callable[[Path], None] | str]
    read: Callable[..., IntNetwork] | None = None
    notes: Callable[[IntNetwork], tuple[str, ...]] = lambda _: ()
    loading: Callable[[Program], Loading] | None = None


def _usual(target: Target) -> NeuronRules:
    """Return neurons that train as where no chip is known."""
    del target
    return NeuronRules()


def _alike(target: Target) -> float:
    """Weigh all synaptic operations alike."""
    del target
    return 1.0


def _nothing(program: Program) -> Worth:
    del program
    return NOTHING


def _never(target: Target) -> bool:
    del target
    return False


def _unchanged(net: IntNetwork) -> IntNetwork:
    return net


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Everything that depends on how the chips of a family count.

    Args:
        schema: of its target files.
        populations: its kinds of neurons, by name.
        trains: what its neurons compute, for those who train them.
        quantize: rounds a network to a target's integers, or refuses it with every reason.
        exact: passes over integers that keep every spike, if there are any.
        place: puts neurons on cores.
        schedule: says when each population listens.
        define: the slow simulator that is the definition, with every layer's spikes and states.
        run: the fast one.
        count: how often each priced event happened in a run, by core and step; it needs the spikes
            of every layer, or what ``worth`` asks for.
        worth: what is to be added up of events while a program runs, so that no spikes need be
            kept; empty if that is not enough.
        counts_states: says whether it needs the states of every layer too.
        time: how long a sample takes.
        synop_price: what a synaptic operation costs in pJ, if it is known; training weighs spikes
            by it.
        most_inputs: how many others a neuron can listen to, alone on a core.
        file: the vendor's file, if there is one.
        vendors: the vendors' simulators, by name, if there are any.
    """

    schema: Schema
    populations: Mapping[str, type[Population]]
    trains: Callable[[Target], NeuronRules] = _usual
    quantize: Quantize
    exact: Callable[[IntNetwork], IntNetwork] = _unchanged
    place: Callable[[IntNetwork, Target], Placement]
    schedule: Callable[[IntNetwork, Target], Schedule]
    define: Callable[[Program, Inputs], Trace]
    run: Engine
    count: Callable[[Program, Inputs, Trace], Counts]
    worth: Callable[[Program], Worth] = _nothing
    counts_states: Callable[[Target], bool] = _never
    time: Callable[[Program, Counts, Target], Times]
    synop_price: Callable[[Target], float] = _alike
    most_inputs: Callable[[Target], int]
    file: VendorFile | None = None
    vendors: Mapping[str, Vendor] = field(default_factory=dict[str, Vendor])
