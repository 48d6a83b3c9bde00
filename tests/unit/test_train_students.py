"""Every student trains, and is exported as a network that spikes as it does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import snn2hw
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.ir.nodes import Leaky
from snn2hw.ir.synapses import fan_out
from snn2hw.simulate import floating
from snn2hw.train import teachers
from snn2hw.train.convolution import Sampling
from snn2hw.train.evaluation import outputs_of, placed
from snn2hw.train.export import to_network
from snn2hw.train.methods import watch
from snn2hw.train.neurons import SURROGATES
from snn2hw.train.students import STUDENTS, Neuron, Settings, make_student
from snn2hw.train.students.wiring import Plan, Synapse, averaged, conv, dense
from snn2hw.train.teachers import TEACHERS, make_teacher

STEPS = 3


def randomized(student, seed):
    """Random statistics and scales, in evaluation mode and float64."""
    torch.manual_seed(seed)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.05)
            module.running_var.uniform_(0.02, 0.2)
            module.weight.data.uniform_(0.4, 0.9)
            module.bias.data.normal_(0.2, 0.1)
    return student.double().eval()


def agrees(student, x):
    """Compare every spike, and what is read out; return how many spikes there were."""
    with torch.no_grad(), watch(student.populations()) as seen:
        values = student(x)
    net = to_network(student)
    frames = x.numpy() if x.ndim == 5 else np.repeat(x.numpy()[:, None], student.time_steps, 1)
    trace = floating.run(net, {"input": frames}, record=student.populations())
    for name, spikes in seen.items():
        assert np.array_equal(trace.recorded[name], spikes.transpose(0, 1).numpy()), name
    (out,) = trace.outputs.values()
    np.testing.assert_allclose(out.sum(1), values.numpy(), atol=1e-9)
    return sum(float(s.sum()) for s in seen.values())


@st.composite
def neurons(draw):
    return Neuron(
        beta=draw(st.sampled_from([0.0, 0.25, 0.75, 1.0, 3001 / 4096])),
        alpha=draw(st.sampled_from([0.0, 0.0, 0.5, 1357 / 4096])),
        reset=draw(st.sampled_from(["zero", "subtract"])),
        surrogate=draw(st.sampled_from(list(SURROGATES))),
        learn_decay=draw(st.booleans()),
    )


def wired(draw, what):
    """A student with random branches: sums before synapses, shared currents, loops."""
    plan, last = Plan(what), conv(1, 3, pool=2)
    cells = [plan.neurons("a", plan.synapse("first", "input", last))]
    trunk = (plan.synapse("trunk", cells[0], conv(3, 3)),)
    for number in range(draw(st.integers(1, 3))):
        some = st.lists(st.sampled_from(cells), min_size=1, unique=True)
        branch = plan.synapse(
            f"to{number}", tuple(draw(some)), conv(3, 3, draw(st.sampled_from([1, 3])))
        )
        trunk = (*trunk, branch) if draw(st.booleans()) else (branch,)
        cells.append(plan.neurons(f"cell{number}", *trunk))
    flat = [plan.synapse("flat", tuple(cells), dense(48, 5))]
    if draw(st.booleans()):
        flat.append(plan.synapse("back", "hidden", Synapse(nn.Linear(5, 5, bias=False), None)))
    hidden = plan.neurons("hidden", *flat)
    return plan.finish("fc", "out", hidden, 5, cells)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_wirings_spike_as_their_networks(data):
    readout = data.draw(st.sampled_from(["spikes", "membrane"]))
    neuron = data.draw(neurons())
    seed = data.draw(st.integers(0, 1000))
    torch.manual_seed(seed)
    student = randomized(
        wired(data.draw, Settings((1, 8, 8), 4, 9, STEPS, neuron, 1.0, readout)), seed
    )
    images = (2, STEPS, 1, 8, 8) if data.draw(st.booleans()) else (2, 1, 8, 8)
    agrees(student, torch.randint(0, 10, images))
    assert isinstance(to_network(student).nodes[student.output], Leaky) == (readout == "membrane")


def tiny(name, readout, shape=(2, 16, 16)):
    if name == "vgg11":
        shape = (2, 32, 32)
    torch.manual_seed(0)
    return make_student(name, Settings(shape, 3, 9, STEPS, Neuron(0.75), 0.05, readout))


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_trains_and_exports(name):
    student = tiny(name, "spikes" if len(name) % 2 else "membrane")
    x = torch.randint(0, 10, (4, *student.shape))
    found = outputs_of(student, x)
    assert list(found.features) == student.stages()
    (found.logits.square().sum() + sum(f.sum() for f in found.features.values())).backward()
    missed = [n for n, p in student.named_parameters() if p.grad is None]
    assert not missed
    assert agrees(randomized(student, 0), x[:2]) > 5
    fan_out = student.fan_out()
    assert set(fan_out) == {"input", *(p.name for p in student.wiring)}
    assert all(fan_out[name] > 0 for name in student.populations() if name != student.output)


@pytest.mark.parametrize("kind", ["spiking", "sew", "ms"])
def test_large_images_get_the_stem_of_torchvision(kind):
    student = tiny(f"{kind}-resnet18", "spikes", (1, 64, 64))
    agrees(randomized(student, 1), torch.randint(0, 10, (1, 1, 64, 64)))
    with torch.no_grad(), watch({"stem": student.stem, "layer1": student.layer1}) as seen:
        student(torch.randint(0, 10, (1, 1, 64, 64)))
    assert seen["stem"].shape[-2:] == (32, 32)


CHIP = [
    "mlp-16",
    "cnn",
    "cnn-4-8-16",
    "resnet8",
    "rnn",
    "spiking-resnet18",
    "sew-resnet18",
    "ms-resnet18",
]


@pytest.mark.parametrize("name", CHIP)
def test_students_compile(name):
    student = randomized(tiny(name, "spikes", (2, 8, 8)), 0)
    built = snn2hw.build(to_network(student), "loihi2")
    x = torch.randint(0, 10, (2, 2, 8, 8))
    found = built.simulate(np.repeat(x.numpy()[:, None], STEPS, 1))
    assert found.trace.spikes.shape == (2, STEPS, 3)
    # Each sum of spikes or currents has become connections of its own.
    pairs = {(s, p.name) for p in student.wiring for b in p.branches for s in b.sources}
    chip = {(c.pre, c.post) for c in built.program.network.connections}
    assert pairs == chip


def test_shortcuts_cost_one_connection_a_neuron():
    student = tiny("resnet8", "spikes", (2, 8, 8))
    net = to_network(randomized(student, 0))
    wires = floating.wiring(net).into["layer1.0.lif2"]
    (past,) = [s for s in wires.sources if s.name == "lif1"]
    assert fan_out(past.synapses).tolist() == [1] * net.nodes["lif1"].shape[0] * 64
    assert student.get_submodule("layer1.0.shortcut").fan_out() == 1


def test_names_with_sizes():
    assert "mlp-20-30" in STUDENTS
    assert "mlp-20-30" in TEACHERS
    student = make_student("mlp-20-30", Settings((1, 4, 4), 3, 1, 2))
    assert [m.weight.out_features for m in (student.fc1, student.fc2, student.fc3)] == [20, 30, 3]
    for name in ("mlp-", "mlp-0", "mlp-3-x", "mlp-²", "vgg11-3", "conv"):
        assert name not in STUDENTS
        with pytest.raises(InputError, match="There is no student"):
            make_student(name, Settings((1, 4, 4), 3, 1, 2))
    with pytest.raises(InputError, match="no convolution"):
        make_student("cnn-5", Settings((1, 4, 4), 3, 1, 2))
    with pytest.raises(InputError, match="too small"):
        make_student("vgg11", Settings((1, 28, 28), 3, 1, 2))


def test_learned_decays_are_exported_as_they_are_used():
    student = make_student(
        "mlp-8", Settings((1, 2, 2), 3, 1, 2, Neuron(0.5, 0.25, learn_decay=True))
    )
    with torch.no_grad():
        student.lif1.beta_logit += 0.3
        student.lif1.alpha_logit -= 0.3
    node = to_network(student).nodes["lif1"]
    step = floating.coefficients(node, 1e-3)
    assert step.keep_voltage == pytest.approx(student.lif1.beta, abs=1e-15)
    assert step.keep_current == pytest.approx(student.lif1.alpha, abs=1e-15)
    assert step.gain_voltage == pytest.approx(1, abs=1e-15)
    assert step.gain_current == pytest.approx(1, abs=1e-15)


def test_a_current_for_ever_is_refused():
    student = make_student("mlp-8", Settings((1, 2, 2), 3, 1, 2, Neuron(0.5, 1.0)))
    with pytest.raises(UnsupportedError, match="never decays"):
        to_network(student)


class Additions(TorchDispatchMode):
    """Counts sums of tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.add.Tensor
        return func(*args, **(kwargs or {}))


def test_each_current_is_computed_once_and_added_once():
    student = tiny("ms-resnet34", "spikes", (2, 8, 8))
    calls = []
    for name, module in student.named_modules():
        if isinstance(module, Synapse):
            module.register_forward_hook(lambda _m, _x, _y, name=name: calls.append(name))
    with Additions() as additions:
        student(torch.randint(0, 10, (2, 2, 8, 8)))
    assert additions.count == len({p.branches for p in student.wiring if len(p.branches) > 1})
    assert (
        len(calls)
        == len(set(calls))
        == len({b.synapse for p in student.wiring for b in p.branches})
    )


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_average_pooling_and_its_gradient_are_those_of_torch(side, below, beside):
    x = torch.rand(2, 3, 2 * side + below, side + beside, dtype=torch.float64, requires_grad=True)
    mine, plain = averaged(x, side), nn.functional.avg_pool2d(x, side)
    assert torch.equal(mine, plain)
    given_back = torch.rand_like(plain)
    gradients = [torch.autograd.grad(y, x, given_back)[0] for y in (mine, plain)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("into", [1, 3, 4, 6, 8, 15, 16, 20])
def test_a_strided_shortcut_has_the_gradients_of_a_convolution(into):
    """Computed by the library alone, few channels damage memory: docs/decisions/0012."""
    torch.manual_seed(into)
    ours, x = nn.Conv2d(into, 2 * into, 1, 2, bias=False), torch.randn(9, into, 8, 7)
    placed(ours, torch.device("cpu"))
    plain = torch.nn.Conv2d(into, 2 * into, 1, 2, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    wide = x.detach().double().requires_grad_()
    y, expected = ours(x), plain(wide)
    assert y.shape == expected.shape
    slope = torch.randn(y.shape)
    y.backward(slope)
    expected.backward(slope.double())
    torch.testing.assert_close(y, expected, check_dtype=False)
    torch.testing.assert_close(x.grad, wide.grad, check_dtype=False)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, check_dtype=False)


@pytest.mark.parametrize("kind", ["student", "teacher", "module"])
def test_what_is_trained_has_no_other_strided_shortcut(kind):
    """Neither ours nor what somebody brings."""
    with torch.device("meta"):
        if kind == "student":
            settings = Settings((2, 32, 32), 3, 9, STEPS, Neuron(0.75))
            made = [make_student(n, settings) for n in STUDENTS]
        elif kind == "teacher":
            made = [make_teacher(n, teachers.Settings((2, 32, 32), 3, 9)) for n in TEACHERS]
        else:
            made = [nn.Sequential(nn.Conv2d(1, 8, 1, (1, 2)), nn.Conv2d(8, 4, 1, 2, bias=False))]
        for network in made:
            placed(network, torch.device("meta"))
    convolutions = [m for x in made for m in x.modules() if isinstance(m, nn.Conv2d)]
    found = [m for m in convolutions if m.kernel_size == (1, 1) and m.stride != (1, 1)]
    assert len(found) > 1
    assert {type(m) for m in found} == {Sampling}
