"""NeuroBench's metrics of programs: by hand, and of chips whose neurons send several spikes."""

from __future__ import annotations

import numpy as np
import pytest
import xylo_nets
from nets import LOIHI2, tiny

import snn2hw
from snn2hw import families
from snn2hw.ir.network import Rules
from snn2hw.ir.synapses import matrix
from snn2hw.ir.trace import join
from snn2hw.pipeline import neurobench
from snn2hw.simulate import floating


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
    sent = {k: np.asarray(v).reshape(-1, v[0, 0].size) for k, v in x.items()}
    spiking = {k: np.asarray(v.spikes).reshape(-1, v.spikes[0, 0].size)
               for k, v in trace.layers.items()}  # fmt: skip
    sent |= spiking
    assert max(v.max() for v in spiking.values()) > 1
    done = 0
    for c in program.network.connections:
        reached = (matrix(c.synapses).toarray() != 0).sum(axis=0)
        done += int((sent[c.pre] != 0).sum(axis=0) @ reached)
    # A value is one operation, however many spikes it stands for, and a product.
    assert found.effective_macs == pytest.approx(done / 3)
    assert found.effective_acs == 0 < found.effective_macs < found.dense
    values = np.concatenate([v.reshape(-1) for v in spiking.values()])
    assert found.activation_sparsity == pytest.approx((values == 0).mean())


def test_samples_that_ran_apart_are_counted_together():
    program = xylo_nets.random_program(1)
    x = xylo_nets.spikes(program, 4)
    run = families.of(program.target).run
    parts = [run(program, {k: v[some] for k, v in x.items()}) for some in (slice(3), slice(3, 4))]
    joined = neurobench.of_program(program, join(parts, 0.0), None)
    assert joined == neurobench.of_program(program, run(program, x), None)


def test_inputs_of_several_spikes_are_single_operations():
    program = xylo_nets.random_program(1)
    most, run = program.network.inputs[0].max_value, families.of(program.target).run
    assert most > 1
    full = {k: np.full_like(v, most) for k, v in xylo_nets.spikes(program, 2).items()}
    found = neurobench.of_program(program, run(program, full), None)
    first = [c for c in program.network.connections if c.pre in full]
    each = sum(int(np.count_nonzero(c.synapses.weight)) for c in first)
    assert found.effective_macs >= program.network.time_steps * each
    assert found.effective_macs <= found.dense


@pytest.mark.parametrize("most", [None, 1])
def test_float_neurons_that_send_several_spikes(most):
    rules = Rules(fires="at", spikes="many", most=most, most_out=1)
    net = xylo_nets.float_chain([np.full((3, 2), 1.5), np.eye(3)[:2]], rules=rules)
    x = np.random.default_rng(0).integers(0, 4, (2, 20, 2))
    found = neurobench.of_network(net, {"in": x})
    ran = floating.run(net, {"in": x}, record=net.cells())
    first, last = (ran.recorded[k] for k in net.cells())
    assert (first.max() > 1) == (most is None)
    from_input, from_first = 3 * np.count_nonzero(x) / 2, np.count_nonzero(first[..., :2]) / 2
    done = (from_input + from_first, 0) if most is None else (from_input, from_first)
    assert (found.effective_macs, found.effective_acs) == done
    sent = np.count_nonzero(first) + np.count_nonzero(last)
    assert found.activation_sparsity == pytest.approx(1 - sent / (first.size + last.size))
