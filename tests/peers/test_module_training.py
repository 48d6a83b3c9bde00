"""Modules with a forward of their own are trained as students, in place, and exported."""

from __future__ import annotations

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from torch import nn

import snn2hw
from snn2hw import datasets, train
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.simulate import floating
from snn2hw.train import ModuleStudent, evaluate

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 5


class Snn(nn.Module):
    """Of flat samples, shown at each step of its own loop; with a skip."""

    def __init__(self, steps=STEPS):
        super().__init__()
        self.fc1 = nn.Linear(64, 60)
        self.lif1 = snntorch.Leaky(beta=0.8, reset_mechanism="zero", learn_beta=True)
        self.fc2, self.skip = nn.Linear(60, 10), nn.Linear(64, 10, bias=False)
        self.lif2 = snntorch.Leaky(beta=0.8, learn_threshold=True)
        self.steps = steps

    def forward(self, x):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk_rec, mem_rec = [], []
        for _ in range(self.steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1) + self.skip(x), mem2)
            spk_rec.append(spk2)
            mem_rec.append(mem2)
        return torch.stack(spk_rec), torch.stack(mem_rec)


class Norse(nn.Module):
    """Images over time, a layer that hears itself, and leaky integrators as the answer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2)
        few = {"v_th": torch.tensor(0.2), "alpha": 10.0, "tau_mem_inv": torch.tensor(500.0)}
        self.lif1 = norse.LIFBoxCell(norse.LIFBoxParameters(**few))
        self.lif2 = norse.LIFRecurrentCell(54, 40, norse.LIFParameters(**few))
        self.out, self.li = nn.Linear(40, 10), norse.LICell()

    def forward(self, x):
        s1 = s2 = s3 = None
        voltages = []
        for frame in x:
            z, s1 = self.lif1(self.conv(frame), s1)
            z, s2 = self.lif2(torch.flatten(z, 1), s2)
            v, s3 = self.li(self.out(z), s3)
            voltages.append(v)
        return torch.stack(voltages)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def distilled(student, digits, **more):
    asked = {"epochs": 3, "seed": 0, "method": "none", "shift": 0} | more
    recipe = train.defaults("cnn", "digits", "cnn", **asked)
    made = ModuleStudent(student, digits.shape, digits.classes, digits.max_value, STEPS)
    return train.distill_student(recipe, digits, None, student=made)


@pytest.mark.parametrize("make", [Snn, Norse])
def test_a_module_learns_and_is_exported_as_it_is(make, digits):
    torch.manual_seed(0)
    module = make()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    made = distilled(module, digits, time_steps=STEPS, lr=1e-2, epochs=6)
    assert all((v != before[k]).any() for k, v in module.state_dict().items() if "weight" in k)
    net = train.to_network(made)
    assert net.inputs()["input"].shape == (1, 8, 8)
    assert net.time_steps == STEPS
    found = evaluate(made, digits.x_test, digits.y_test)
    x = digits.x_test[:, None].repeat(STEPS, axis=1)
    trace = floating.run(net, {"input": x})
    right = (trace.prediction == digits.y_test).mean()
    assert right > 0.6  # chance is 0.1
    assert right == pytest.approx(found.accuracy, abs=0.01)  # float32 beside float64
    with torch.no_grad():
        counts = made(torch.tensor(digits.x_test)).numpy()
    assert np.isclose(trace.answer.sum(1), counts, atol=1e-3).mean() > 0.99
    assert set(made.populations()) == set(net.neurons())
    spikes = sum(float(trace.events[k].sum()) for k in net.neurons()) / len(x)
    assert spikes == pytest.approx(found.spikes_per_sample, rel=0.01)


def test_costs_reach_the_spikes_of_a_module(digits):
    """A student that pays for spikes sends fewer."""
    found = []
    for weight in (0.0, 100.0):
        torch.manual_seed(0)
        made = distilled(Snn(), digits, time_steps=STEPS, spike_cost=weight)
        found.append(evaluate(made, digits.x_test, digits.y_test).spikes_per_sample)
    assert found[1] < 0.7 * found[0]


def test_distill_takes_a_module(digits):
    torch.manual_seed(0)
    net = snn2hw.distill("cnn", Snn(), digits, epochs=1, teacher_epochs=1, time_steps=STEPS)
    assert {"fc1", "lif1", "fc2", "skip", "lif2"} <= set(net.nodes)


def test_what_a_student_is_asked_for(digits):
    shape = digits.shape, digits.classes, digits.max_value
    with pytest.raises(InputError, match=r"own code has 5 steps, not 8.*time_steps=5"):
        ModuleStudent(Snn(), *shape, 8)
    with pytest.raises(InputError, match="gives values of shape"):
        ModuleStudent(Snn(), digits.shape, 3, digits.max_value, STEPS)
    with pytest.raises(UnsupportedError, match=r"\[B, 1, 8, 8\]: 0 takes 63 numbers in a row"):
        ModuleStudent(nn.Sequential(nn.Linear(63, 10)), *shape, STEPS)
