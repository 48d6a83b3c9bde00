"""What the chip is told: integers, cores, and when each layer listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from snn2hw.ir.arrays import digest
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.placement import Placement
from snn2hw.ir.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """When each population listens, and how long each connection waits; see ``Program``."""

    phase: Mapping[str, int]
    delays: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Program:
    """An integer network on chip time.

    On the chip a connection takes steps; its family's numbers say how many it may take. A layer of
    phase ``p`` therefore works on step ``t`` of a sample at chip step ``t + p``;
    ``phase[post] - phase[pre] + delay`` makes branches meet, and resetting each layer at its own
    phase keeps samples apart although they follow each other without a gap
    (docs/decisions/0002-chip-time.md). A network with delays of its own, as every loop has, does
    need a gap: see ``streams``.

    Args:
        network: populations and connections.
        phase: chip step at which a population starts on a sample. Inputs start at 0; where a part
            of a program is run alone, those that stand for its sources start when these do.
        delays: chip steps from spike to effect, by connection.
        placement: cores.
        target: the chip.
    """

    network: IntNetwork
    phase: Mapping[str, int]
    delays: tuple[int, ...]
    placement: Placement
    target: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "phase", MappingProxyType(dict(self.phase)))
        for delay, c in zip(self.delays, self.network.connections, strict=True):
            if delay != self.phase[c.post] - self.phase[c.pre] + c.delay:
                raise ValueError(f"{c.pre} -> {c.post}: delay {delay} does not match the phases")
            if not self.network.numbers.waits(delay):
                raise ValueError(f"{c.pre} -> {c.post}: the chip has no delay of {delay}")

    @property
    def depth(self) -> int:
        """Steps from the first input to the first step of the last output: the pipeline's depth."""
        return max(self.phase[p] for p in self.network.outputs.values())

    def chip_steps(self, steps: int) -> int:
        """Return the chip steps of a sample of ``steps`` input steps until all outputs are done."""
        return steps + self.depth

    @property
    def tail(self) -> int:
        """Steps after a sample's last input until the last population is done with it."""
        return max(self.phase.values())

    @property
    def streams(self) -> bool:
        """Whether samples may follow each other without a gap.

        With delays in the sample's own time, spikes in flight would reach the next sample. So the
        host waits, clears neurons and spikes in flight, and switches each population's bias on at
        its phase (docs/decisions/0005-loops.md). So it does where neurons have no reset.
        """
        net = self.network
        clears = all(p.clears for p in net.populations)
        return clears and not any(c.delay for c in net.connections)

    def period(self, steps: int) -> int:
        """Return the chip steps from one sample to the next."""
        return steps if self.streams else steps + self.tail

    def digest(self) -> str:
        """Return a hash of everything the chip would be told."""
        slices = [(s.layer, s.span, s.core) for s in self.placement.slices]
        return digest(self.network.digest(), sorted(self.phase.items()), self.delays, slices)
