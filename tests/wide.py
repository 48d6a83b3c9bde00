"""Many copies of a network of the Loihi family in one, without connections between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nets import placed
from scipy import sparse

from snn2hw.families.loihi.populations import Lif, SigmaDelta
from snn2hw.ir.synapses import Conv, Dense, from_matrix, matrix


def side_by_side(program, copies):
    """Return a program in which each population holds ``copies`` of the given one's.

    A simulator that takes its time for each population then computes many networks at once. The
    copies have the same weights; their biases are given to other neurons, one further a copy.
    """
    net = program.network
    wider = replace(
        net,
        inputs=tuple(replace(p, shape=_wider(p.shape, copies)) for p in net.inputs),
        populations=tuple(_population(p, copies) for p in net.populations),
        connections=tuple(
            replace(c, synapses=_synapses(c.synapses, copies)) for c in net.connections
        ),
    )
    return placed(wider, program.target)


def _wider(shape, copies):
    return (shape[0] * copies, *shape[1:])


def _population(p, copies):
    shape = _wider(p.shape, copies)
    if isinstance(p, Lif | SigmaDelta):
        return replace(
            p, shape=shape, bias=np.concatenate([np.roll(p.bias, i) for i in range(copies)])
        )
    return replace(p, shape=shape)


def _synapses(synapses, copies):
    if isinstance(synapses, Conv):
        return replace(
            synapses,
            weight=np.tile(synapses.weight, (copies, 1, 1, 1)),
            input_shape=_wider(synapses.input_shape, copies),
            groups=synapses.groups * copies,
        )
    if isinstance(synapses, Dense):
        return Dense(np.kron(np.eye(copies, dtype=synapses.weight.dtype), synapses.weight))
    return from_matrix(sparse.block_diag([matrix(synapses)] * copies, format="csr"))
