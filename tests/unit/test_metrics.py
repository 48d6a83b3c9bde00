"""NeuroBench's metrics of programs: by hand, and of chips whose neurons send several spikes."""

from __future__ import annotations

import numpy as np
import pytest
import xylo_nets
from nets import LOIHI2, tiny

import snn2hw
from snn2hw import families
from snn2hw.ir.synapses import matrix
from snn2hw.pipeline import neurobench


@pytest.mark.filterwarnings("ignore:.*can never spike")
def test_a_program_by_hand():
    build = snn2hw.build(tiny(), LOIHI2)
    x = np.zeros((2, 4, 4), int)
    x[0, 0] = [1, 0, 0, 1]
    x[0, 2] = [0, 1, 1, 0]
    ran = build.simulate(x)
    found = ran.neurobench(np.array([0, 1]))
    first, second = (c.synapses.weight for c in build.program.network.connections)
    assert (np.count_nonzero(first), np.count_nonzero(second)) == (8, 4)
    # Of 18 weights six are zero. Two spikes of the first layer, in one of two samples, reach three
    # neurons; four input values reach two each.
    sent = sum(int(e.sum()) for k, e in ran.trace.events.items() if k != "input")
    assert found["connection_sparsity"] == pytest.approx(6 / 18, rel=1e-5)
    assert found["activation_sparsity"] == pytest.approx(1 - sent / (2 * 4 * 5), rel=1e-5)
    assert found["synaptic_operations"] == {
        "Effective_MACs": 0.0, "Effective_ACs": (8 + 3) / 2, "Dense": 4 * 18.0,
    }  # fmt: skip
    assert found["classification_accuracy"] == ran.accuracy(np.array([0, 1]))
    arrays = [neurobench.width(w) * w.size for w in (first, second)]
    assert found["footprint"] > sum(arrays)  # and biases


@pytest.mark.parametrize(
    ("most", "bytes_"), [(0, 1), (127, 1), (128, 2), (32767, 2), (32768, 4), (1 << 31, 8)]
)
def test_bytes_that_hold_a_number(most, bytes_):
    assert neurobench.width(np.array([0, -most])) == bytes_


@pytest.mark.parametrize("seed", range(3))
def test_neurons_that_send_several_spikes(seed):
    program = xylo_nets.random_program(seed)
    x = xylo_nets.spikes(program, 3)
    trace = families.of(program.target).run(program, x, spikes=True)
    found = neurobench.of_program(program, trace, None)
    sent = {k: np.asarray(v).reshape(3, -1, v[0, 0].size) for k, v in x.items()}
    sent |= {k: np.asarray(v.spikes).reshape(3, -1, v.spikes[0, 0].size)
             for k, v in trace.layers.items()}  # fmt: skip
    done = dict.fromkeys((True, False), 0.0)
    inputs = {p.name for p in program.network.inputs}
    for c in program.network.connections:
        reached = (matrix(c.synapses).toarray() != 0).sum(axis=0)
        done[c.pre in inputs] += float(sent[c.pre].sum(axis=(0, 1)) @ reached) / 3
    assert found.effective_acs == pytest.approx(done[False])
    assert found.activation_sparsity is None
