"""Comparing two simulations of one program, value by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from snn2hw.ir.trace import SPIKES, Trace


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs: where, when (chip step within the sample), and both values."""

    layer: str
    what: str
    sample: int
    neuron: int
    step: int
    ours: int
    theirs: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many values were compared, how many differ, and the earliest difference.

    ``values`` are the names of what was compared: states, and spikes.
    """

    compared: int
    mismatches: int
    first: Difference | None
    values: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the document's part about one comparison."""
        first = None
        if self.first is not None:
            first = {k: getattr(self.first, k) for k in Difference.__dataclass_fields__}
        return {
            "values": list(self.values), "compared": self.compared,
            "mismatches": self.mismatches, "first": first,
        }  # fmt: skip


def traces(ours: Trace, theirs: Trace) -> Comparison:
    """Compare states and spikes of every layer at every step of every sample.

    The first difference is the earliest in chip time; at one step, the layer closest to the input,
    and states in their order before spikes, which is that of cause and effect.
    """
    compared = mismatches = 0
    first: Difference | None = None
    for name, layer in sorted(ours.layers.items(), key=lambda kv: ours.phase[kv[0]]):
        other = theirs.layers[name]
        for what in layer.names:
            a, b = layer[what], other[what]
            compared += a.size
            wrong = np.argwhere((a != b).reshape(*a.shape[:2], -1))
            if not wrong.size:
                continue
            mismatches += len(wrong)
            sample, step, neuron = min(wrong.tolist(), key=lambda w: (w[1], w[0], w[2]))
            found = Difference(
                name, what, sample, neuron, step + ours.phase[name],
                int(a.reshape(*a.shape[:2], -1)[sample, step, neuron]),
                int(b.reshape(*b.shape[:2], -1)[sample, step, neuron]),
            )  # fmt: skip
            if first is None or found.step < first.step:
                first = found
    names = dict.fromkeys(what for layer in ours.layers.values() for what in layer.names)
    values = sorted(names, key=lambda what: what == SPIKES)
    return Comparison(compared, mismatches, first, tuple(values))
