# pyright: basic
"""Where each number of a tensor comes from, while a module runs.

Every storage that holds numbers of the input or of a signal has a shadow of the same size: an
identifier for each number, 0 for a constant, below 0 for what cannot be expressed (the number of
the problem). So views need no care, and writing into a part of a tensor writes into a part of its
shadow. Identifiers are float64, as PyTorch rearranges any float64 tensor; they stay exact to 2**53.

A *row* is what one signal gives for one sample at one step; identifiers of a row follow each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
STILL = -1  # the step of what is the same in every step
SHIFT = 24  # bits of a delay


class Shadows:
    """The identifiers of all storages that are alive."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[StorageWeakRef, Tensor]] = {}
        self._next_sweep = 1024

    def of(self, tensor: Tensor) -> Tensor | None:
        """Return a tensor's identifiers in its shape, a view; None if all of it is constant."""
        kept = self._kept.get(tensor.untyped_storage()._cdata)
        if kept is None or kept[0].expired():
            return None
        return torch.as_strided(kept[1], tensor.shape, tensor.stride(), tensor.storage_offset())

    def put(self, tensor: Tensor, ids: Tensor) -> None:
        """Say where a tensor's numbers come from."""
        found = self.of(tensor)
        if found is None:
            storage = tensor.untyped_storage()
            whole = torch.zeros(storage.nbytes() // tensor.element_size(), dtype=torch.float64)
            self._kept[storage._cdata] = (StorageWeakRef(storage), whole)
            found = self.of(tensor)
            self._sweep()
        assert found is not None
        found.copy_(ids)

    def _sweep(self) -> None:
        """Forget the storages that are gone."""
        if len(self._kept) >= self._next_sweep:
            self._kept = {k: v for k, v in self._kept.items() if not v[0].expired()}
            self._next_sweep = 1024 + 2 * len(self._kept)


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """The rows of some numbers; ``known`` says which are no constants."""

    known: NDArray[np.bool_]
    signal: Ids
    step: Ids
    sample: Ids
    element: Ids


class Rows:
    """What the identifiers mean."""

    def __init__(self) -> None:
        self._table = np.full((1024, 4), -1)  # first identifier, signal, step, sample
        self._table[0] = 0, -1, STILL, -1
        self._count, self._end = 1, 1

    def add(self, signal: int, step: int, sample: int, size: int) -> int:
        """Add a row and return its first identifier."""
        if self._count == len(self._table):
            self._table = np.concatenate([self._table, np.full_like(self._table, -1)])
        start = self._end
        self._table[self._count] = start, signal, step, sample
        self._count += 1
        self._end += max(size, 1)
        return start

    def find(self, ids: Ids) -> Where:
        """Return what identifiers mean; none is below 0."""
        table = self._table[: self._count]
        at = np.searchsorted(table[:, 0], ids, "right") - 1
        signal, step, sample = (table[:, k][at] for k in (1, 2, 3))
        return Where(ids > 0, signal, step, sample, ids - table[:, 0][at])


@dataclass(frozen=True, eq=False)
class Operand:
    """Numbers for one sample at one step: of which signal each is, how long ago, which element.

    ``signal`` is -1 where there is a ``constant``. All are ``[n]``.
    """

    signal: Ids
    delay: Ids
    element: Ids
    constant: Floats

    @cached_property
    def key(self) -> bytes:
        """A hash of all of it."""
        if self.whole(self.signal.size):
            return f"{self.signal[0]} {self.signal.size}".encode()
        parts = (self.signal, self.delay, self.element, self.constant + 0.0)
        return hashlib.blake2b(b"".join(p.tobytes() for p in parts), digest_size=20).digest()

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The signals that it hears, each with the delay, without those that are constants."""
        known = self.signal >= 0
        code = (self.signal[known] << SHIFT) + self.delay[known] + (1 << SHIFT - 1)
        if code.size and (code == code[0]).all():
            code = code[:1]
        found = np.unique(code).tolist()
        return tuple((c >> SHIFT, c % (1 << SHIFT) - (1 << SHIFT - 1)) for c in found)

    def whole(self, size: int) -> bool:
        """Say whether it is one signal of this size, all of it, in its order and of this step."""
        return (
            self.signal.size == size
            and self.signal[0] >= 0
            and bool((self.signal == self.signal[0]).all())
            and not self.delay.any()
            and bool((self.element == np.arange(size)).all())
        )


def operand(where: Where, values: Floats, at: int) -> Operand:
    """Say what some numbers are, at step ``at`` (``STILL`` if they are the same in every step)."""
    late = where.known & (where.step != STILL)
    return Operand(
        np.where(where.known, where.signal, -1),
        np.where(late, at - where.step, 0),
        np.where(where.known, where.element, 0),
        np.where(where.known, 0.0, values),
    )
