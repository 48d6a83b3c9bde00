"""Bills of what was not built: what can be computed is, the rest is an assumption that is said."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import xylo_nets
from nets import DT, LOIHI1, LOIHI2, images, lif, residual, tiny
from xylo_nets import AUDIO2

import snn2hw
from snn2hw.errors import DoesNotFitError, InputError
from snn2hw.estimator import EnergyReport
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.ir.synapses import nonzeros
from snn2hw.pipeline import counting, what_if
from snn2hw.pipeline.compiler import compile_network

pytestmark = pytest.mark.filterwarnings("ignore:.*can never spike")


@pytest.fixture(scope="module")
def built():
    return snn2hw.build(residual(), LOIHI2)


@pytest.fixture(scope="module")
def x(built):
    return images(residual(), 6)["input"]


def bill_of(report):
    """Return a bill's document without what says whose it is."""
    marks = ("extrapolation", "changes", "assumptions", "data_sha256")
    return {k: v for k, v in report.json().items() if k not in marks}


def test_what_changes_nothing_is_the_bill_itself(built, x):
    plain = built.energy(x)
    same = {"sparsity": round(what_if.share_of_zeros(built.program.network), 3)}
    for changes in ({"activity": 1.0}, same, {"chips": 1}, {"steps": 4}):
        found = built.energy(x, what_if=changes)
        assert bill_of(found) == bill_of(plain), changes
        assert found.built == plain


def test_fewer_steps_are_simulated(built, x):
    found = built.energy(x, what_if={"steps": 2})
    assert bill_of(found) == bill_of(built.energy(x[:, :2]))
    labels = np.arange(6) % 5
    right = built.energy(x, labels, what_if={"steps": 2}).accuracy
    assert right == built.simulate(x[:, :2]).accuracy(labels)


def test_steps_that_samples_do_not_have(built, x):
    with pytest.raises(InputError, match=r"steps=9 is more than the samples have .*has 4"):
        built.energy(x, what_if={"steps": 9})


def test_less_activity_leaves_what_inputs_do(built, x):
    plain, none = built.energy(x), built.energy(x, what_if={"activity": 0.0})
    half, twice = (built.energy(x, what_if={"activity": a}) for a in (0.5, 2.0))
    assert none.spikes == 0 < half.spikes
    assert half.spikes == pytest.approx(plain.spikes / 2)
    assert none.input_events == half.input_events == plain.input_events
    first, *others = none.layers
    # The first layer hears inputs only, the others only spikes.
    assert first.counts == pytest.approx(plain.layers[0].counts)
    assert first.synops == plain.layers[0].synops
    for before, layer in zip(plain.layers[1:], others, strict=True):
        assert layer.counts["synop"] == 0 < before.counts["synop"]
        assert layer.counts["update"] == before.counts["update"]
    for report in (half, twice):
        a = report.changes["activity"]
        dynamic = [r.dynamic_uj.typical for r in (none, plain, report)]
        assert dynamic[2] == pytest.approx(dynamic[0] + a * (dynamic[1] - dynamic[0]))
    # The core that a step waits for has neurons to update, or at the lowest times synapses to read.
    assert none.latency_us.low < plain.latency_us.low < twice.latency_us.low


@pytest.mark.parametrize(
    "program",
    [
        compile_network(tiny(), LOIHI1),
        xylo_nets.random_program(5, AUDIO2),
    ],
    ids=["loihi1", "xylo"],
)
def test_activity_of_chips_that_count_other_events(program):
    r = np.random.default_rng(0)
    x = {p.name: r.integers(0, 2, (5, 8, *p.shape)) for p in program.network.inputs}
    plain = counting.report(program, *counting.run(program, x), program.target)

    def at(activity):
        changes = {"activity": activity}
        return what_if.extrapolated(program, x, changes, plain, lambda _: None)

    none, half = at(0), at(0.5)
    assert plain.spikes > 0 == none.spikes
    assert none.dynamic_uj.typical < half.dynamic_uj.typical < plain.dynamic_uj.typical
    middle = (none.dynamic_uj.typical + plain.dynamic_uj.typical) / 2
    assert half.dynamic_uj.typical == pytest.approx(middle)
    assert bill_of(at(1)) == bill_of(plain)


def test_sparser_weights_are_stored_and_placed_anew(built, x):
    found = built.energy(x, what_if={"sparsity": 0.8})
    plain = built.energy(x)
    assert [layer.spikes for layer in found.layers] == [layer.spikes for layer in plain.layers]
    assert found.accuracy is None
    network = what_if._sparser(built.program.network, 0.8)[0]
    stored = sum(c.synapses.weight.size for c in built.program.network.connections)
    left = sum(nonzeros(c.synapses) for c in network.connections)
    assert left == pytest.approx(0.2 * stored, abs=2.5)  # of five connections, each rounded
    share = 0.2 / (1 - what_if.share_of_zeros(built.program.network))
    for was, now in zip(built.program.network.connections, network.connections, strict=True):
        before, after = was.synapses.weight, now.synapses.weight
        assert nonzeros(now.synapses) == pytest.approx(share * nonzeros(was.synapses), abs=0.5)
        if was.synapses.kind == "sparse":  # its zeros are not stored
            assert now.synapses.weight.size == nonzeros(now.synapses)
            continue
        kept = after != 0
        assert (after[kept] == before[kept]).all()
        assert np.abs(before[~kept]).max() <= np.abs(after[kept]).min()
    # Spikes of as many neurons meet the weights that are left, by hand for the last layer.
    trace = built.simulate(x, states=True).trace
    last = network.connections[network.into("lif4")[0]].synapses.weight
    met = trace.events["lif3"].sum(axis=0) @ np.count_nonzero(last, axis=0) / 6
    assert found.layers[-1].synops == pytest.approx(met)
    assert found.layers[-1].counts["synop"] == pytest.approx(met)  # no zeros are stored
    assert found.dynamic_uj.typical < plain.dynamic_uj.typical
    assert "keeps 20.1% of its non-zero weights" in found.assumptions[0]
    assert "80.0% of all weights are zero instead of 0.7%" in found.assumptions[0]


@pytest.fixture(scope="module")
def uneven():
    """A build whose layers have very different shares of zeros."""
    r = np.random.default_rng(0)

    def affine(post, pre, zeros):
        weight = r.normal(0.3, 0.3, (post, pre))
        return Affine(np.where(r.random(weight.shape) < zeros, 0, weight), np.zeros(post))

    nodes = {
        "input": Input((40,)), "fc1": affine(60, 40, 0.9), "lif1": lif((60,)),
        "fc2": affine(10, 60, 0.15), "lif2": lif((10,)), "output": Output((10,)),
    }  # fmt: skip
    return snn2hw.build(Network(nodes, tuple(itertools.pairwise(nodes)), DT, 4), LOIHI2)


@pytest.fixture(scope="module")
def ones():
    return np.random.default_rng(1).integers(0, 2, (3, 4, 40))


def test_sparsity_is_of_all_weights_of_a_build(uneven, ones):
    now = uneven.simulate(ones).neurobench()["connection_sparsity"]
    assert now == pytest.approx(what_if.share_of_zeros(uneven.program.network), rel=1e-5)
    each = [1 - nonzeros(c.synapses) / c.synapses.weight.size
            for c in uneven.program.network.connections]  # fmt: skip
    assert each[1] + 0.3 < now < each[0]
    plain = uneven.energy(ones)
    same = uneven.energy(ones, what_if={"sparsity": round(now, 3)})
    assert bill_of(same) == bill_of(plain)
    assert f"{now:.1%} of all weights are zero instead of {now:.1%}" in same.assumptions[0]
    network, said = what_if._sparser(uneven.program.network, 0.9)
    assert what_if.share_of_zeros(network) == pytest.approx(0.9, abs=1 / 3000)
    assert "90.0% of all weights are zero" in said
    left = [nonzeros(after.synapses) / nonzeros(before.synapses) for before, after in
            zip(uneven.program.network.connections, network.connections, strict=True)]  # fmt: skip
    assert left == pytest.approx([0.1 / (1 - now)] * 2, abs=0.003)


def test_fewer_zeros_than_a_build_has_are_refused(uneven, ones):
    now = what_if.share_of_zeros(uneven.program.network)
    told = rf"sparsity=0.1 is less than the build has: {now:.1%} of its weights are zero\. "
    with pytest.raises(InputError, match=told) as caught:
        uneven.energy(ones, what_if={"sparsity": 0.1, "chips": 100_000})
    assert "export the run that was not pruned" in caught.value.hint
    # Whatever else is wrong stands beside it, and what is said to be allowed is.
    assert "100,000 chips were asked for" in caught.value.message
    assert "Give chips= a number from 1 to" in caught.value.hint
    assert "--chips" not in str(caught.value)
    least = float(re.search(r"sparsity=([\d.]+) or more", caught.value.hint)[1])
    uneven.energy(ones, what_if={"sparsity": least})


def test_a_build_without_weights_has_no_zeros():
    assert what_if._zeros((), ()) == 0


@pytest.mark.parametrize("most", [1, AUDIO2.numbers.hidden_spikes])
def test_no_more_spikes_than_all_neurons_can_send(built, x, most):
    if most == 1:
        program, inputs = built.program, built._samples(x).inputs
    else:
        program = xylo_nets.random_program(5, AUDIO2)
        inputs = xylo_nets.spikes(program, 5)
    trace, counts = counting.run(program, inputs)
    plain = counting.report(program, trace, counts, program.target)
    sizes = {p.name: p.size for p in program.network.populations}
    outs = program.network.outputs.values()
    most_each = {k: 1 if k in outs else most for k in sizes}
    room = trace.steps * sum(n * most_each[k] for k, n in sizes.items())
    largest = room / plain.spikes
    assert 1 < largest < 1000

    def at(activity):
        changes = {"activity": activity}
        return what_if.extrapolated(program, inputs, changes, plain, lambda _: None)

    with pytest.raises(InputError, match=f"can send at most {room:,} in") as caught:
        at(1.002 * largest)
    told = float(re.search(r"activity=([\d.]+) or less", caught.value.hint)[1])
    assert told <= largest < 1.002 * told
    assert at(told).spikes <= room


def test_chips_that_are_on_draw_power(built, x):
    plain, found = built.energy(x), built.energy(x, what_if={"chips": 8})
    assert found.static_uj.typical == pytest.approx(8 * plain.static_uj.typical)
    assert found.static_io_uj.high == pytest.approx(8 * plain.static_io_uj.high)
    assert found.dynamic_uj == plain.dynamic_uj
    assert "at most 8 chips, of which it takes 1 (1 as built)" in found.assumptions[0]
    with pytest.raises(InputError, match="largest board"):
        built.energy(x, what_if={"chips": 100_000})


def test_fewer_chips_than_a_network_needs():
    tight = {**LOIHI2.limits, "cores_per_chip": replace(LOIHI2.limits["cores_per_chip"], value=1.0)}
    target = replace(LOIHI2, limits=tight)
    few = {**tight, "neurons_per_core": replace(tight["neurons_per_core"], value=40.0)}
    net = residual()
    build = snn2hw.build(net, replace(target, limits=few), chips=64)
    assert build.program.placement.chips > 2
    with pytest.raises(DoesNotFitError, match="Write chips=N with a larger N") as caught:
        build.energy(images(net)["input"], what_if={"chips": 2})
    assert f"as built takes {build.program.placement.chips} chips" in caught.value.hint
    assert "--chips" not in str(caught.value)


def test_several_changes_at_once(built, x):
    both = built.energy(x, what_if={"steps": 2, "chips": 4, "activity": 0.5})
    one = built.energy(x[:, :2], what_if={"activity": 0.5})
    assert both.dynamic_uj == one.dynamic_uj
    assert both.static_uj.typical == pytest.approx(4 * one.static_uj.typical)
    assert [a.partition(":")[0] for a in both.assumptions] == ["steps", "activity", "chips"]


def test_accuracy_is_told_where_it_can_be_known(built, x):
    labels = np.arange(6) % 5
    for changes, known in (
        ({"chips": 2}, True), ({"steps": 3}, True), ({"activity": 0.5}, False),
        ({"sparsity": 0.5}, False), ({"steps": 3, "activity": 0.5}, False),
    ):  # fmt: skip
        found = built.energy(x, labels, what_if=changes).accuracy
        assert (found is not None) == known, changes


def test_an_extrapolation_says_that_it_is_one(built, x, tmp_path):
    plain = built.energy(x)
    found = built.energy(x, what_if={"activity": 0.5})
    assert isinstance(found, EnergyReport)
    assert repr(found).startswith(
        "extrapolation, not a result: activity=0.5\n  activity: 0.5 times"
    )
    every = {"steps": 2, "sparsity": 0.9, "activity": 0.123456, "chips": 1000}
    for report in (found, built.energy(x, what_if=every)):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 80
        assert any(line.startswith("    ") for line in lines)  # a sentence goes on
    told = found.json()
    assert told["extrapolation"] is True
    assert told["changes"] == {"activity": 0.5}
    # A build keeps the bill of what was built.
    kept = built.save(tmp_path / "b") / "energy.json"
    assert json.loads(kept.read_text()) == plain.json() | {"program": built.program.digest()}


def test_samples_are_counted_some_at_a_time(built, x):
    inputs = built._samples(x).inputs
    args = (built.program, inputs, {"activity": 0.5}, built.energy(x), lambda _: None)
    whole, pieces = what_if.extrapolated(*args), what_if.extrapolated(*args, memory=1)
    assert bill_of(pieces) == bill_of(whole)


def test_wrong_changes_are_all_named(built, x):
    with pytest.raises(InputError, match=r"no change 'step'; there is no change 1; chips is 0"):
        built.energy(x, what_if={"step": 3, 1: 2, "chips": 0})
    for odd in ([("steps", 4)], 4, "steps=4"):
        with pytest.raises(InputError, match="not a mapping from names to numbers"):
            built.energy(x, what_if=odd)
    for wrong in (True, np.True_, np.float64(4), "4", None):
        with pytest.raises(InputError, match=r"steps is .*not a whole number"):
            built.energy(x, what_if={"steps": wrong})
    with pytest.raises(InputError, match=r"steps is 0.*; sparsity is 2.*; chips is 0.5"):
        built.energy(x, what_if={"steps": 0, "sparsity": 2, "chips": 0.5})
    with pytest.raises(InputError, match="nothing to change"):
        built.energy(x, what_if={})
    for text in ("steps", "steps=", "steps=two", "sparsity=nan", "steps=1e3", "=3"):
        with pytest.raises(InputError):
            what_if.read([text])
    with pytest.raises(InputError, match=r"given twice: steps=4, steps=2\."):
        what_if.read(["steps=4", "chips=1", "steps=2"])
    read = what_if.read(["steps=8", "sparsity=0.9", "activity=2"])
    assert read == {"steps": 8, "sparsity": 0.9, "activity": 2}


def test_numbers_of_numpy_are_numbers():
    given = {"steps": np.int64(4), "chips": np.array(2), "activity": np.float32(0.5),
             "sparsity": np.int8(0)}  # fmt: skip
    found = what_if.checked(given)
    assert found == {"steps": 4, "chips": 2, "activity": 0.5, "sparsity": 0}
    assert [type(v) for v in found.values()] == [int, int, float, int]
