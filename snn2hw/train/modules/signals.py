# pyright: basic
"""The signals that a module was seen to make, the same one at each step.

A signal is known by what it is made of and how long ago that was, so that the same operation at the
next step is the same signal: this folds time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.train.modules.origins import Floats, Operand


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The input; ``frames[step]`` are its numbers for the first sample.

    There is one if the module shows it at all of its steps.
    """

    shape: Shape
    frames: Floats

    @property
    def size(self) -> int:
        """How many numbers a step has."""
        return size_of(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One step of a cell for one sample: what it was given, and where in the user's code.

    ``heard`` is None if that cannot be expressed; ``took`` and ``gave`` are the numbers
    themselves, of the first sample alone.
    """

    heard: Operand | None
    line: str
    took: Floats
    gave: Floats


@dataclass(slots=True, eq=False)
class Cells:
    """What a module with a memory gives: neurons, or integrators.

    ``calls[sample]`` are its steps, in order.
    """

    name: str
    module: Any
    shape: Shape
    spikes: bool
    calls: dict[int, list[Call]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many neurons there are."""
        return size_of(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A state of cells, such as their membrane, as it is after a step.

    ``gave`` is what it was for the first sample, by step, as far as a call tells.
    """

    cells: int
    name: str
    shape: Shape
    gave: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many neurons there are."""
        return size_of(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """A node of the network to be, applied to numbers in the order of its input."""

    name: str
    node: ir.Node
    heard: Operand

    @property
    def spikes(self) -> bool:
        """Say whether it gives spikes."""
        return isinstance(self.node, ir.Lif)

    @property
    def size(self) -> int:
        """How many numbers it gives."""
        return size_of(ir.output_shape(self.node))


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """``sum of factors[k] * heard[k], plus constant``, element by element; ``line`` makes it."""

    heard: tuple[Operand, ...]
    factors: tuple[Floats, ...]
    constant: Floats
    line: str = ""

    @property
    def size(self) -> int:
        """How many numbers it gives."""
        return self.constant.size


Signal = Given | Cells | State | Applied | Sum


class Signals:
    """All signals, by number; one that is made again is found again."""

    def __init__(self) -> None:
        self.all: list[Signal] = []
        self._known: dict[Any, int] = {}
        self._still: dict[int, bool] = {}

    def __getitem__(self, number: int) -> Signal:
        return self.all[number]

    def add(self, signal: Signal) -> int:
        """Add a signal and return its number."""
        self.all.append(signal)
        return len(self.all) - 1

    def find(self, key: Any, make: Callable[[], Signal]) -> int:
        """Return the number of the signal of this key, which is made if there is none."""
        if key not in self._known:
            self._known[key] = self.add(make())
        return self._known[key]

    def still(self, number: int) -> bool:
        """Say whether a signal is the same at every step, those before the first included."""
        if number not in self._still:
            signal = self.all[number]
            match signal:
                case Given():
                    still = len(signal.frames) == 1
                case Applied():
                    still = all(self.still(i) for i, _ in signal.heard.pairs)
                case Sum():
                    still = all(self.still(i) for heard in signal.heard for i, _ in heard.pairs)
                case _:
                    still = False
            self._still[number] = still
        return self._still[number]
