"""What is true of a population of neurons on every chip; what they compute is its family's."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.arrays import Shape, size_of


class Population(Protocol):
    """Neurons that compute alike, as a frozen dataclass of a family.

    ``graded``: they send signed integers instead of plain spikes. ``clears``: samples may follow
    each other without a gap, as they are reset where a sample begins, or keep nothing. ``untold``:
    fields that reports leave out.
    """

    graded: ClassVar[bool]
    clears: ClassVar[bool]
    untold: ClassVar[tuple[str, ...]]

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def shape(self) -> Shape: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """A population as most are, for a family to add numbers to.

    A program file holds every field as its class writes it: ``str``, ``int``, ``bool``, ``Shape``
    or an array of integers.
    """

    graded: ClassVar[bool] = False
    clears: ClassVar[bool] = False
    untold: ClassVar[tuple[str, ...]] = ()

    name: str
    shape: Shape

    @property
    def size(self) -> int:
        """Number of neurons."""
        return size_of(self.shape)


def written_by(population: Population) -> str | None:
    """Return the input whose values the host writes straight into the neurons, if there is one."""
    return getattr(population, "driven_by", None)


def some_of(population: Population, keep: NDArray[np.integer[Any]], shape: Shape) -> Population:
    """Return a population of some of the neurons, in their order.

    Args:
        population: all of them.
        keep: which, by their indices.
        shape: theirs.
    """
    known: Any = population
    found = {f.name: getattr(population, f.name) for f in fields(known)}
    arrays = {k: v[keep] for k, v in found.items() if isinstance(v, np.ndarray)}
    return replace(known, shape=shape, **arrays)


def described(population: Population) -> dict[str, Any]:
    """Return the kind and the numbers of a population, for reports."""
    left_out = ("name", "shape", *population.untold)
    known: Any = population
    found = {f.name: getattr(population, f.name) for f in fields(known)}
    told = {k: v for k, v in found.items() if k not in left_out and v is not None}
    return {"neuron": type(population).__name__, **told}
