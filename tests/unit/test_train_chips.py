"""Students on a chip's own neurons: what is trained is what is exported, and the chip takes it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn2hw import datasets, families, nir_io, target, train
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.network import Rules
from snn2hw.ir.neuron import NeuronRules, Parts, Shifts
from snn2hw.passes import unit_resistance
from snn2hw.pipeline.compiler import compile_network
from snn2hw.rewrites import rewrite
from snn2hw.simulate import floating
from snn2hw.train.chip import rules_of
from snn2hw.train.costs import cost_of
from snn2hw.train.export import to_network
from snn2hw.train.methods import watch
from snn2hw.train.module_student import ModuleStudent
from snn2hw.train.modules import from_module
from snn2hw.train.neurons import Lif, lif, lif_definition
from snn2hw.train.pruning.channels import Channels
from snn2hw.train.recipe import Recipe, default_student, defaults
from snn2hw.train.showing import showing
from snn2hw.train.students import Neuron, Settings, make_student

IMU, LOIHI2 = target.load("xylo-imu"), target.load("loihi2")
XYLO = rules_of("xylo-imu")
OWN = {"encoder": "rows:levels=15", "target": "xylo-imu", "time_steps": 8}


def test_a_target_says_what_its_neurons_compute():
    assert rules_of("loihi2") == NeuronRules(time_constants=16)
    assert XYLO.of_network == Rules(fires="at", spikes="many", most=31, most_out=1)
    assert (XYLO.membrane, XYLO.current) == (Shifts(0, 15), Shifts(1, 15))
    assert (XYLO.most_in, XYLO.resets, XYLO.bias) == (15, ("subtract",), "membrane")
    for name in target.names():
        assert isinstance(rules_of(name), NeuronRules)
    coarse = replace(LOIHI2, numbers=replace(LOIHI2.numbers, decay_bits=8))
    assert families.of(coarse).trains(coarse).membrane == Parts(256)


@pytest.mark.parametrize(
    ("known", "share", "nearest", "inner"),
    [
        (Parts(4096), 0.3, 1229 / 4096, 1229 / 4096), (Parts(4), 0.1, 0.0, 0.25),
        (Parts(4), 1.3, 1.0, 0.75), (Parts(4), 0.375, 0.5, 0.5), (Parts(4), 0.625, 0.5, 0.5),
        (Shifts(0, 15), 0.0, 0.0, 0.5), (Shifts(0, 15), 1.0, 1 - 2**-15, 1 - 2**-15),
        (Shifts(1, 15), 0.0, 0.5, 0.5), (Shifts(1, 3), 0.8, 0.75, 0.75),
        (Shifts(1, 3), 0.83, 0.875, 0.875),
    ],
)  # fmt: skip
def test_the_nearest_decay(known, share, nearest, inner):
    assert (known.nearest(share), known.inner(share)) == (nearest, inner)
    assert known.nearest(nearest) == nearest


DECAYS = ((0.0, 0.5), (0.5, 0.75), (0.75, 1.0))


@pytest.mark.parametrize("surrogate", ["triangle", "atan", "box"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize(("fires", "most"), [("at", 1), ("above", 4), ("at", 31)])
def test_the_function_of_many_spikes_is_its_definition(surrogate, reset, fires, most):
    torch.manual_seed(0)
    given = torch.randn(7, 3, 90, dtype=torch.float64) * 2.5
    weight = torch.randn_like(given)
    kinds = {"reset": reset, "surrogate": surrogate, "fires": fires, "most": most}
    for alpha, beta in DECAYS:
        found = []
        for run in (lif, lif_definition):
            x = given.clone().requires_grad_()
            a, b = (torch.tensor(d, dtype=x.dtype, requires_grad=True) for d in (alpha, beta))
            spikes = run(x, b, 0.7, alpha=a, **kinds)
            (spikes * weight).sum().backward()
            found.append((spikes.detach(), x.grad, a.grad, b.grad))
        (fast, *slopes), (slow, *wanted) = found
        assert torch.equal(fast, slow)
        assert fast.max() == min(most, fast.max())
        assert most == 1 or fast.max() > 1
        for one, two in zip(slopes, wanted, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


def test_at_the_threshold_and_as_often_as_it_is_held():
    current = torch.tensor([[1.0], [2.5], [0.0], [40.0]], dtype=torch.float64)
    assert lif(current, 0.5, fires="at").flatten().tolist() == [1, 1, 0, 1]
    sent = lif(current, 0.5, reset="subtract", fires="at", most=31)
    assert sent.flatten().tolist() == [1, 2, 0, 31]
    above = lif(current, 0.5, reset="subtract", fires="above", most=31)
    assert above.flatten().tolist() == [0, 2, 0, 31]  # at 1, at 3, of which 1 stays, and at 0.5


def test_the_slope_is_one_between_the_first_threshold_and_the_last():
    v = torch.tensor([-1.0, 0.5, 1.0, 2.2, 3.0, 3.5, 4.5], dtype=torch.float64).requires_grad_()
    lif(v[None], 0.5, reset="subtract", fires="at", most=3).sum().backward()
    assert v.grad.tolist() == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_learned_decays_are_shifts():
    neuron = Lif(0.5, reset="subtract", alpha=0.5, learn=True, rules=XYLO, channels=4)
    assert (neuron.alpha, neuron.beta, neuron.most) == (0.5, 0.5, 31)
    adam = torch.optim.Adam(neuron.parameters(), lr=0.2)
    torch.manual_seed(0)
    current = torch.rand(6, 2, 4)
    for _ in range(10):
        adam.zero_grad()
        (-neuron(current).sum()).backward()
        adam.step()
    assert neuron.beta > 0.5
    for known, decay in ((XYLO.current, neuron.alpha), (XYLO.membrane, neuron.beta)):
        assert known.nearest(decay) == decay
    assert (neuron.bias > 0).all()
    assert Lif(rules=XYLO, alpha=0.5, last=True).most == 1
    with pytest.raises(InputError, match=r"alpha is 0\.0, not 1 - 1/2"):
        Lif(rules=XYLO)


def randomized(name, neuron, shape=(1, 1, 8), steps=12, seed=1):
    """A student in float64 with biases, whose populations all spike."""
    torch.manual_seed(seed)
    norm = "none" if neuron.rules.bias == "membrane" else "batch"
    made = make_student(name, Settings(shape, 5, 15, steps, neuron, norm=norm)).double().eval()
    for module in made.modules():
        if isinstance(module, Lif) and module.bias is not None:
            module.bias.data.normal_(0.1, 0.3)
    return made


decays = st.sampled_from([0.5, 0.75, 0.875, 1 - 2**-6])


strong = st.sampled_from([1.0, 20.0])


@given(st.sampled_from(["rnn-9", "mlp-9-7"]), decays, decays, strong, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_what_is_exported_spikes_as_what_was_trained(name, alpha, beta, strength, seed):
    student = randomized(name, Neuron(beta, alpha, "subtract", rules=XYLO), seed=seed)
    student.fc1.weight.weight.data *= strength
    x = torch.randint(0, 16, (3, 12, 1, 1, 8), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad(), watch(student.populations()) as seen:
        counts = student(x)
    net = to_network(student)
    assert net.rules == Rules(fires="at", spikes="many", most=31, most_out=1)
    for node in net.neurons().values():
        step = coefficients(node, net.dt)
        assert node.reset == "subtract"
        assert float(step.keep_voltage) == beta
        assert float(step.keep_current) == alpha
        assert float(step.gain_voltage) == float(step.gain_current) == 1.0
    trace = floating.run(net, {"input": x.numpy()}, record=net.neurons())
    for population, spikes in trace.recorded.items():
        expected = seen[population].movedim(0, 1).flatten(2).numpy()
        assert np.array_equal(spikes.reshape(3, 12, -1), expected), population
        assert spikes.max() <= 31
    assert np.array_equal(trace.answer.sum(1).reshape(3, -1), counts.numpy())
    assert trace.answer.max() <= 1


def test_the_file_keeps_the_rules(tmp_path):
    student = randomized("rnn-20", Neuron(0.75, 0.5, "subtract", rules=XYLO))
    net = to_network(student)
    x = {"input": np.random.default_rng(0).integers(0, 16, (4, 12, 1, 1, 8))}
    nir_io.write(tmp_path / "s.nir", unit_resistance(net))
    back, notes = nir_io.read(tmp_path / "s.nir")
    assert not notes
    assert back.rules == net.rules
    first, again = (floating.run(n, x, record=["lif1"]) for n in (net, back))
    assert np.array_equal(first.recorded["lif1"], again.recorded["lif1"])
    assert first.recorded["lif1"].max() > 1


def test_a_chip_of_other_caps_refuses():
    net = to_network(randomized("rnn-20", Neuron(0.75, 0.5, "subtract", rules=XYLO)))
    other = replace(net, rules=replace(net.rules, most=15))
    with pytest.raises(UnsupportedError, match="send at most 15 spikes a step, the chip's 31"):
        compile_network(other, IMU)
    compile_network(net, IMU)


def test_the_defaults_are_the_targets():
    assert defaults() == defaults(target="loihi2")
    made = defaults("rnn-128", target="xylo-imu", encoder="rows:levels=15")
    chosen = (made.neuron, made.reset, made.norm, made.beta, made.current_beta, made.minimize)
    assert chosen == ("cuba", "subtract", "none", 0.5, 0.5, "synops")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"neuron": "lif"}, "neuron is 'lif', the chip's have a synaptic current"),
        ({"neuron": "if"}, "Choose neuron=cuba"),
        ({"reset": "zero"}, "reset is 'zero', which the chip's neurons do not do"),
        ({"norm": "batch"}, "norm is 'batch', which gives currents a bias"),
        ({"readout": "membrane"}, "readout is 'membrane', the chip sends spikes"),
        ({"beta": 0.9}, "beta is 0.9, not 1 - 1/2^k with k from 0 to 15"),
        ({"current_beta": 0.3}, "current_beta=0.5"),
    ],
)
def test_what_the_target_does_not_do_is_refused_by_name(asked, said):
    with pytest.raises(InputError) as caught:
        defaults("rnn-128", **OWN, **asked)
    assert said in f"{caught.value} {caught.value.hint}"
    recipe = replace(defaults("rnn-128", **OWN), **asked)
    with pytest.raises(InputError):
        train.new_student(recipe, datasets.load("digits"))


def test_a_chip_without_graded_spikes_reads_no_membranes():
    assert defaults(target="loihi1").readout == "spikes"
    with pytest.raises(InputError, match="readout is 'membrane', the chip sends spikes"):
        defaults(target="loihi1", readout="membrane")
    assert defaults(target="loihi2", readout="membrane").readout == "membrane"


def test_a_small_chip_has_a_student_and_an_encoder_that_it_holds():
    assert [default_student(t) for t in ("cnn", "resnet34")] == ["cnn", "resnet20"]
    assert default_student("cnn", "loihi1") == "cnn"
    assert default_student("cnn", "xylo-imu") == "rnn-128"
    assert default_student("cnn", "xylo-audio3") == "rnn-63"
    made = defaults("rnn-128", target="xylo-imu")
    assert (made.encoder, made.time_steps) == ("rows:levels=15", 16)
    frames = defaults("rnn-63", "nmnist", target="xylo-audio3")
    assert frames.encoder == "grid:rows=4,columns=2,margin=5,most=15"
    assert (frames.time_steps, frames.spike_cost) == (20, 1.0)
    assert defaults("rnn-128", target="xylo-imu", encoder="rate").encoder == "rate"
    assert defaults("rnn-128").encoder == "direct"


def test_everything_is_refused_at_once():
    with pytest.raises(InputError) as caught:
        defaults(target="xylo-imu", neuron="lif", reset="zero", norm="batch")
    assert str(caught.value).count(";") == 2


def test_data_that_a_chip_has_no_inputs_or_outputs_for_are_refused_before_training():
    data = datasets.load("digits")
    with pytest.raises(InputError) as caught:
        train.new_student(defaults("rnn-16", target="xylo-audio2", encoder="direct"), data)
    assert "has 64 values, the chip 16 inputs; 'digits' has 10 classes, the chip 8 outputs" in str(
        caught.value
    )
    assert train.new_student(defaults("rnn-16", target="xylo-audio3"), data).classes == 10


def test_inputs_and_prices_of_the_target():
    data = datasets.load("digits")
    with pytest.raises(InputError, match="takes at most 15 spikes a step"):
        train.new_student(defaults("rnn-16", **OWN | {"encoder": "rows"}), data)
    recipe = defaults("rnn-16", **OWN, minimize="energy")
    student = train.new_student(recipe, data)
    cost = cost_of(recipe, student, data)
    assert cost is not None
    chip = target.load("xylo-imu")  # a synapse of a spike takes so many cycles
    price = chip.prices["cycle"].value * chip.timing["hidden_target"].value
    fan_out = {k: n for k, n in student.fan_out().items() if k in cost.prices}
    assert cost.prices == pytest.approx({k: n * price for k, n in fan_out.items()})
    with pytest.raises(InputError, match="There is no target 'xylo'"):
        defaults(target="xylo")


@pytest.mark.parametrize("method", ["dsr", "tandem"])
def test_methods_of_mean_rates_refuse_these_neurons(method):
    data = datasets.load("digits")
    recipe = defaults("mlp-8", **OWN, method=method, epochs=1)
    with pytest.raises(InputError, match="several spikes a step"):
        train.distill_student(recipe, data, None)


def digits(count=40):
    data = datasets.load("digits")
    few = {k: getattr(data, k)[:count] for k in ("x_train", "y_train", "x_test", "y_test")}
    return replace(data, **few)


def test_a_student_learns_and_is_what_the_chip_takes():
    data = digits(300)
    own = {"time_steps": 16, "epochs": 20, "spike_cost": 0.0, "shift": 0, "batch": 32}
    recipe = defaults("rnn-48", **{**OWN, **own}, method="none")
    student = train.distill_student(recipe, data, None)
    found = train.evaluate(student, data.x_train, data.y_train, show=showing(recipe, data))
    assert found.accuracy > 0.5
    assert found.several == {"lif1"}
    busy = found._replace(spikes={k: 0 * v + 16.0 for k, v in found.spikes.items()})
    assert busy.doubts(16) == ["lif2 is saturated: 1 spikes a neuron and step"]
    compile_network(to_network(student), IMU)


def test_a_student_of_this_chip_is_refused_by_another_or_rewritten():
    data = digits()
    net = to_network(train.new_student(defaults("rnn-24", **OWN), data))
    with pytest.raises(UnsupportedError) as caught:
        compile_network(net, LOIHI2)
    for reason in (
        "spike at the threshold already",
        "several spikes a step",
        "takes the threshold",
    ):
        assert reason in str(caught.value)
    done, names = rewrite(net, LOIHI2, ["all"])
    assert names == ["hard-reset", "one-spike", "above-threshold"]
    assert done.rules == Rules()
    compile_network(done, LOIHI2)


def test_a_student_of_another_chip_is_refused_by_this_one_or_rewritten():
    data = digits()
    asked = {"encoder": "rows:levels=15", "time_steps": 8, "neuron": "cuba", "reset": "zero"}
    net = to_network(train.new_student(defaults("rnn-24", **asked, norm="none"), data))
    biased = {k: replace(n, bias=n.bias + 0.1) for k, n in net.nodes.items() if k == "fc1"}
    net = replace(net, nodes={**net.nodes, **biased})
    with pytest.raises(UnsupportedError) as caught:
        compile_network(net, IMU)
    for reason in (
        "above the threshold only", "one spike a step at most",
        "a spike sets the membrane to v_reset (0)", "a bias on the synaptic current",
    ):  # fmt: skip
        assert reason in str(caught.value)
    done, names = rewrite(net, IMU, ["all", "settled-bias"])
    assert names == ["soft-reset", "many-spikes", "at-threshold", "settled-bias"]
    compile_network(done, IMU)


def test_recipes_of_earlier_versions_are_for_the_default_target():
    old = Recipe().to_json()
    assert Recipe.from_json({k: v for k, v in old.items() if k != "target"}) == Recipe()
    assert list(itertools.islice(old, 3)) == ["teacher", "student", "data"]


def test_neurons_of_other_peoples_modules_are_not_the_chips():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), Lif(0.5))
    student = ModuleStudent(module, (1, 8, 8), 10, 16, 8)
    with pytest.raises(InputError, match="those of a module of your own do not"):
        train.distill_student(defaults(**OWN, method="none"), digits(), None, student=student)
    chip = torch.nn.Sequential(torch.nn.Linear(8, 4), Lif(0.5, alpha=0.5, rules=XYLO))
    with pytest.raises(UnsupportedError, match="has the rules of a chip"):
        from_module(chip, (8,))


def test_pruned_channels_have_no_bias_left():
    student = randomized("mlp-12", Neuron(0.75, 0.5, "subtract", rules=XYLO)).float()
    Channels(student, 0.5, 2).finish()
    gone = (student.fc1.weight.weight == 0).all(1)
    assert gone.sum() == 6
    assert (student.lif1.bias[gone] == 0).all()
    assert (student.lif1.bias[~gone] != 0).all()


@pytest.mark.parametrize("data", ["digits", "mnist", "fashion-mnist", "nmnist"])
@pytest.mark.parametrize("target", ["loihi2", "xylo-imu"])
def test_what_is_chosen_on_validation_data_is_trained_like_the_rest(data, target):
    """Else an option would be chosen for another recipe than the one that it is used in."""
    student = "cnn" if target == "loihi2" else "rnn-63"
    plain = defaults(student, data, target=target)
    assert defaults(student, f"{data}@validation", target=target) == replace(
        plain, data=f"{data}@validation"
    )
