"""What the chip is told: integers, cores, and when each layer listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from snn2hw.ir.arrays import digest
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.placement import Placement


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """An integer network on chip time.

    On the chip every connection takes at least one step. A layer of phase ``p`` therefore works
    on step ``t`` of a sample at chip step ``t + p``; ``delays[i] = phase[post] - phase[pre]`` makes
    branches meet, and resetting each layer at its own phase keeps samples apart although they
    follow each other without a gap (docs/decisions/0002-chip-time.md).

    Args:
        network: populations and connections.
        phase: chip step at which a population (inputs: 0) starts on a sample.
        delays: steps from spike to effect, by connection; 1 is the chip's least.
        placement: cores.
        target: name of the chip.
    """

    network: IntNetwork
    phase: Mapping[str, int]
    delays: tuple[int, ...]
    placement: Placement
    target: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "phase", MappingProxyType(dict(self.phase)))
        for delay, c in zip(self.delays, self.network.connections, strict=True):
            if delay != self.phase[c.post] - self.phase[c.pre] or delay < 1:
                raise ValueError(f"{c.pre} -> {c.post}: delay {delay} does not match the phases")

    @property
    def depth(self) -> int:
        """Steps from the first input to the first output step: the pipeline's depth."""
        return self.phase[self.network.output]

    def chip_steps(self, steps: int) -> int:
        """Return the chip steps of one sample of ``steps`` input steps."""
        return steps + self.depth

    def digest(self) -> str:
        """Return a hash of everything the chip would be told."""
        slices = [(s.layer, s.start, s.stop, s.core) for s in self.placement.slices]
        return digest(self.network.digest(), sorted(self.phase.items()), self.delays, slices)
