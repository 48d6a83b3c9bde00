"""Populations with several time constants, as the chip has one for all neurons of a population.

Neurons whose decays round to the same integers are a part, and the parts together compute what the
population does. Where it is an output, neurons that hear the parts one to one put its spikes in
their order again, a step later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.quantize.drive import as_spiking
from snn2hw.ir.arrays import Shape
from snn2hw.ir.graph import Incoming, Source, Wiring
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Cell, Lif
from snn2hw.ir.synapses import (
    Conv,
    Synapses,
    columns,
    from_matrix,
    identity,
    matrix,
    rows,
    whole_channels,
)

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Cells in an order in which a step can be computed, and what drives each of them.

    ``part_of`` says of each part which population of several time constants it is of.
    """

    cells: Mapping[str, Cell]
    into: Mapping[str, Incoming]
    part_of: Mapping[str, str]

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the cells."""
        return tuple(self.cells)


def decays_of(cell: Cell, net: Network, numbers: Numbers) -> NDArray[np.int64]:
    """Return each neuron's decays in the chip's fractions, ``[size, 2]``: membrane, current."""
    node, step = as_spiking(cell, net)
    one = 1 << numbers.decay_bits
    kept = [np.broadcast_to(k, node.shape) for k in (step.keep_voltage, step.keep_current)]
    return np.stack([np.rint(one * (1 - k.reshape(-1))).astype(np.int64) for k in kept], axis=1)


def count_parts(cell: Cell, net: Network, numbers: Numbers) -> int:
    """Return how many time constants of the chip a population has."""
    decays = decays_of(cell, net, numbers)
    return 1 if (decays == decays[:1]).all() else np.unique(_pairs(decays)).size


def _pairs(decays: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``[size]``: a number for each pair of decays, in the order of the pairs.

    NumPy sorts such numbers ten times as fast as it sorts rows.
    """
    _, membrane = np.unique(decays[:, 0], return_inverse=True)
    values, current = np.unique(decays[:, 1], return_inverse=True)
    return membrane * values.size + current


def divided(net: Network, wires: Wiring, outputs: Collection[str], numbers: Numbers) -> Units:
    """Divide the populations of spiking neurons that have several time constants.

    Args:
        net: the float network.
        wires: its wiring.
        outputs: populations that are read.
        numbers: the chip's arithmetic.
    """
    cells = net.cells()
    where = {
        name: _parts(cells[name], net, numbers)
        for name in wires.order
        if isinstance(cells[name], Lif) and count_parts(cells[name], net, numbers) > 1
    }
    taken = {*cells, *net.inputs()}
    names = {name: _names(name, len(parts), taken) for name, parts in where.items()}
    made: dict[str, Cell] = {}
    into: dict[str, Incoming] = {}
    for name in wires.order:
        cell, incoming = cells[name], _heard(wires.into[name], where, names)
        if name not in where or not isinstance(cell, Lif):
            made[name], into[name] = cell, incoming
            continue
        incoming = _written_out(incoming, where[name])
        for part, rows_of in zip(names[name], where[name], strict=True):
            made[part] = _part(cell, rows_of)
            into[part] = _rows(incoming, rows_of)
        if name in outputs:
            made[name], into[name] = _joined(name, cell, where[name], names[name], net)
    return Units(made, into, {part: name for name, parts in names.items() for part in parts})


def _parts(cell: Cell, net: Network, numbers: Numbers) -> list[Positions]:
    _, group = np.unique(_pairs(decays_of(cell, net, numbers)), return_inverse=True)
    return [np.flatnonzero(group == i) for i in range(int(group.max()) + 1)]


def _names(name: str, count: int, taken: Collection[str]) -> tuple[str, ...]:
    found: list[str] = []
    for i in range(count):
        part = f"{name}.tau{i}"
        while part in taken:
            part += "_"
        found.append(part)
    return tuple(found)


def _part(cell: Lif, rows_of: Positions) -> Lif:
    fields: dict[str, Any] = {}
    for key in ("tau", "r", "v_threshold", "v_leak", "v_reset", "tau_synapse", "w_in"):
        value = getattr(cell, key)
        if value is not None and value.shape:
            fields[key] = value.reshape(-1)[rows_of].reshape(_shape(cell.shape, rows_of))
    return replace(cell, shape=_shape(cell.shape, rows_of), **fields)


def _shape(shape: Shape, rows_of: Positions) -> Shape:
    channels = whole_channels(rows_of, shape)
    return (rows_of.size,) if channels is None else (channels.size, *shape[1:])


def _written_out(into: Incoming, where: list[Positions]) -> Incoming:
    """Write out, once for all parts, the convolutions of which no part takes whole channels."""

    def written(synapses: Synapses) -> Synapses:
        if not isinstance(synapses, Conv):
            return synapses
        whole = (whole_channels(p, synapses.output_shape) for p in where)
        return synapses if any(c is not None for c in whole) else from_matrix(matrix(synapses))

    sources = tuple(replace(s, synapses=written(s.synapses)) for s in into.sources)
    return replace(into, sources=sources)


def _rows(into: Incoming, rows_of: Positions) -> Incoming:
    return Incoming(
        tuple(Source(s.name, rows(s.synapses, rows_of), s.delay) for s in into.sources),
        into.bias[rows_of],
        {start: value[rows_of] for start, value in into.late.items()},
    )


def _heard(
    into: Incoming, where: Mapping[str, list[Positions]], names: Mapping[str, tuple[str, ...]]
) -> Incoming:
    """Hear the parts where a divided population was heard."""
    sources: list[Source] = []
    for s in into.sources:
        if s.name not in where:
            sources.append(s)
            continue
        for part, columns_of in zip(names[s.name], where[s.name], strict=True):
            heard = columns(s.synapses, columns_of)
            if heard.weight.any() or not s.synapses.weight.any():
                sources.append(Source(part, heard, s.delay))
    return replace(into, sources=tuple(sources))


def _joined(
    name: str, cell: Lif, where: list[Positions], parts: tuple[str, ...], net: Network
) -> tuple[Lif, Incoming]:
    """Return neurons that spike where one of the parts did, in the population's order."""
    size = sum(p.size for p in where)
    one, none = np.ones(()), np.zeros(())
    step = net.dt if net.rules.integration == "euler" else net.dt / 64  # either leaves nothing
    relay = Lif(cell.shape, np.array(step), one, np.array(0.5), none, none)
    every = identity(size)
    sources = tuple(
        Source(part, columns(every, p), 0) for part, p in zip(parts, where, strict=True)
    )
    return relay, Incoming(sources, np.zeros(size), {})
