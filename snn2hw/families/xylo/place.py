"""Placing neurons on the one core of a Xylo: ``IntNetwork`` -> ``Placement``.

Hidden neurons have ids in the order of their populations. On some chips only the first of them
hear the inputs and only the last are heard by the readout. Synapses between hidden neurons are
listed by source, each with its target. Sizes and their sources stand in ``[limits]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from snn2hw.errors import FEW_NAMES, DoesNotFitError, listed
from snn2hw.families.xylo.numbers import hidden, readouts
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.placement import Placement, Slice
from snn2hw.ir.synapses import Synapses, fan_in, fan_out, from_matrix, matrix
from snn2hw.ir.target import Target

STORED = "sparse"  # between hidden neurons, each synapse names its target; zeros are left out


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """What a network, of floats or of integers, asks of a core.

    Args:
        inputs: channels.
        hidden: size of each hidden population, in the order of their ids.
        readout: size of each population of the readout, in the order of their ids.
        links: synapses by the names of their two ends.
    """

    inputs: Mapping[str, int]
    hidden: Mapping[str, int]
    readout: Mapping[str, int]
    links: Sequence[tuple[str, str, Synapses]]


def needs_of(net: IntNetwork) -> Needs:
    """Return what integers ask of a core."""
    return Needs(
        {p.name: p.size for p in net.inputs},
        {p.name: p.size for p in hidden(net)},
        {p.name: p.size for p in readouts(net)},
        [(c.pre, c.post, c.synapses) for c in net.connections],
    )


def map_network(net: IntNetwork, target: Target) -> Placement:
    """Place all populations on the core.

    Raises:
        DoesNotFitError: names everything that is too much, and what the target has.
    """
    needs = needs_of(net)
    found = misfits(needs, target)
    if found:
        raise DoesNotFitError(
            f"{target.title} cannot hold this network: {listed(found, '; ')}.",
            "Prune it, or make its layers narrower.",
            reasons=found,
        )
    fan_outs = _fan_outs(needs)
    slices = [
        Slice(p.name, 0, p.size, 0, {
            "hidden_neurons": p.size, "synapses": int(fan_outs[p.name].sum())
        })
        for p in hidden(net)
    ]  # fmt: skip
    slices += [Slice(p.name, 0, p.size, 0, {"readout_neurons": p.size}) for p in readouts(net)]
    limits = {k: target.limit(k) for k in ("hidden_neurons", "readout_neurons", "synapses")}
    return Placement(tuple(slices), limits, 1, (STORED,) * len(net.connections))


def misfits(needs: Needs, target: Target) -> list[str]:
    """Name every limit of a target that a network exceeds, with what it needs and what there is."""

    def too_many(limit: str, what: str, of: Mapping[str, int]) -> list[str]:
        count, have = sum(of.values()), target.limit(limit)
        parts = (
            f" ({listed((f'{k} {n:,}' for k, n in of.items()), most=FEW_NAMES)})"
            if len(of) > 1
            else ""
        )
        return [f"it has {count:,} {what}{parts}, the chip {have:,}"] if count > have else []

    return [
        *too_many("inputs", "inputs", needs.inputs),
        *too_many("hidden_neurons", "hidden neurons", needs.hidden),
        *too_many("readout_neurons", "output neurons", needs.readout),
        *_expansion(needs, target),
        *_fan_out(needs, target),
    ]


def _expansion(needs: Needs, target: Target) -> list[str]:
    """Name the layers that are too far from the inputs' or the readout's end of the ids."""
    ends = accumulate(needs.hidden.values(), initial=0)
    first = dict(zip(needs.hidden, ends, strict=False))
    total, found = sum(needs.hidden.values()), list[str]()
    hears, heard = target.limit("input_expansion"), target.limit("readout_expansion")
    if min(hears, heard) >= target.limit("hidden_neurons"):
        return []
    for a, b, synapses in needs.links:
        if a in needs.inputs and b in first:
            there = np.flatnonzero(fan_in(synapses))
            if there.size and first[b] + there[-1] >= hears:
                found.append(
                    f"{a} -> {b} ends in hidden neuron {first[b] + there[-1] + 1:,}, the chip's "
                    f"inputs reach the first {hears:,}"
                )
        elif a in first and b in needs.readout:
            there = np.flatnonzero(fan_out(synapses))
            if there.size and total - first[a] - there[0] > heard:
                found.append(
                    f"{a} -> {b} begins {total - first[a] - there[0]:,} hidden neurons from the "
                    f"last, the chip's readout hears the last {heard:,}"
                )
    return found


def _fan_out(needs: Needs, target: Target) -> list[str]:
    most, room, found = target.limit("fan_out"), target.limit("synapses"), list[str]()
    fan_outs = _fan_outs(needs)
    for name, targets in fan_outs.items():
        over = int((targets > most).sum())
        if over:
            found.append(
                f"{name}: a neuron sends to {targets.max():,} hidden neurons, the chip's to "
                f"{most:,} at most (too many for {over:,} of {targets.size:,} neurons)"
            )
    total = sum(int(t.sum()) for t in fan_outs.values())
    if total > room:
        found.append(f"it has {total:,} synapses between hidden neurons, the chip {room:,}")
    return found


def _fan_outs(needs: Needs) -> dict[str, Any]:
    """Return how many hidden neurons each neuron of a hidden population reaches, by population.

    Two synapses of one pair of neurons share an entry.
    """
    found = {k: np.zeros(n, np.int64) for k, n in needs.hidden.items()}
    pairs: dict[tuple[str, str], list[Synapses]] = {}
    for a, b, synapses in needs.links:
        if a in needs.hidden and b in needs.hidden:
            pairs.setdefault((a, b), []).append(synapses)
    for (a, _), parts in pairs.items():
        # Without its matrix where there is one map, which may be a large convolution.
        found[a] += fan_out(parts[0] if len(parts) == 1 else from_matrix(_pattern(parts)))
    return found


def _pattern(parts: Sequence[Synapses]) -> Any:
    return sum(abs(matrix(s)).astype(bool).astype(np.int64) for s in parts)


def most_inputs(target: Target) -> int:
    """Return how many others a hidden neuron can listen to."""
    return target.limit("inputs") + target.limit("hidden_neurons")
