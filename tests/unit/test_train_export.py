"""What is exported computes, in plain numpy, the spikes that the student computed."""

import math

import numpy as np
import pytest
import torch

from snn2hw.ir.discrete import coefficients
from snn2hw.ir.nodes import Conv2d, Flatten, Input, Pool2d
from snn2hw.simulate import floating
from snn2hw.train.export import to_network
from snn2hw.train.methods import watch
from snn2hw.train.students import Neuron, Settings, make_student, predictions


def randomized(name, shape=(2, 8, 8), steps=5, beta=0.75):
    torch.manual_seed(1)
    student = make_student(name, Settings(shape, 4, 16, steps, Neuron(beta))).double()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.02, 0.2)
            module.weight.data.uniform_(0.3, 0.8)
            module.bias.data.normal_(0, 0.1)
    return student.eval()


def simulate(net, frames):
    """Run ``frames [T, *in]`` through a network; spikes ``[T, size]`` by population."""
    trace = floating.run(net, {"input": np.array(frames)[None]}, record=net.neurons())
    return {k: v[0].reshape(len(frames), -1) for k, v in trace.recorded.items()}


@pytest.mark.parametrize("name", ["cnn", "mlp", "resnet8"])
def test_network_spikes_as_the_student_does(name):
    student = randomized(name)
    x = torch.randint(0, 17, (3, 2, 8, 8), dtype=torch.uint8)
    with torch.no_grad(), watch(student.populations()) as seen:
        counts = student(x)
    net = to_network(student)
    assert set(net.neurons()) == set(student.populations())
    assert net.time_steps == 5
    total = 0
    for sample in range(3):
        spikes = simulate(net, [x[sample].numpy()] * 5)
        for population, found in spikes.items():
            expected = seen[population][:, sample].reshape(5, -1).numpy()
            assert np.array_equal(found, expected), population
            total += found.sum()
        last = spikes[student.wiring[-1].name].sum(0)
        assert np.array_equal(last, counts[sample].numpy())
        assert last.argmax() == predictions(counts)[sample]
    assert total > 100


def test_event_frames_bring_their_own_steps():
    student = randomized("cnn", steps=3)
    x = torch.randint(0, 3, (2, 7, 2, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        counts = student(x)
    spikes = simulate(to_network(student), x[1].numpy())
    assert np.array_equal(spikes["lif4"].sum(0), counts[1].numpy())


def test_nodes_are_what_compilers_expect():
    net = to_network(randomized("cnn"))
    assert isinstance(net.nodes["input"], Input)
    assert net.nodes["input"].max_value == 16
    assert isinstance(net.nodes["fc1.flatten"], Flatten)
    lif = net.nodes["lif1"]
    assert lif.v_threshold.shape == ()
    assert lif.tau * (1 - 0.75) == pytest.approx(net.dt)
    deep = to_network(randomized("resnet8"))
    assert isinstance(deep.nodes["fc.pool"], Pool2d)
    assert set(deep.predecessors("layer1.0.lif2")) == {"layer1.0.conv2", "layer1.0.shortcut"}
    assert isinstance(deep.nodes["layer2.0.shortcut"], Conv2d)


def test_no_leak_is_integrate_and_fire():
    net = to_network(randomized("mlp", beta=1.0))
    lif = net.nodes["lif1"]
    assert math.isinf(lif.tau)
    step = coefficients(lif, net.dt)
    assert (step.keep_voltage, step.gain_voltage) == (1.0, pytest.approx(1.0))


def test_pruned_weights_stay_zero():
    student = randomized("cnn")
    student.conv1.weight.weight.data[0] = 0
    assert (to_network(student).nodes["conv1"].kernel.weight[0] == 0).all()
