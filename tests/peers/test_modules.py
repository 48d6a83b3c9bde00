"""Modules of snnTorch, Norse and our own layers become networks that spike as they do.

Each module's own forward is stepped in its own package, with a batch axis; every spike is compared.
"""

from __future__ import annotations

import copy
import itertools
import re
from pathlib import Path

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from torch import nn

import snn2hw
from snn2hw import nir_io
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.ir.nodes import Affine, Conv2d, Lif, Pool2d
from snn2hw.simulate import floating
from snn2hw.train import from_module, run_module
from snn2hw.train.neurons import Lif as OwnLif
from snn2hw.train.students import Settings, Synapse, make_student

STEPS = 20
pytestmark = pytest.mark.filterwarnings("ignore")
KEEPS = {"init_hidden": True, "reset_delay": False}


def randomized(module, seed):
    """Random weights and batch norm statistics, in evaluation mode."""
    r = np.random.default_rng(seed)

    def draw(tensor, mean, spread):
        tensor.data = torch.tensor(r.normal(mean, spread, tensor.shape), dtype=torch.float32)

    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d):
            fan_in = m.weight[0].numel()
            draw(m.weight, 0.5 / fan_in, 1.5 / fan_in**0.5)
            if m.bias is not None:
                draw(m.bias, 0.05, 0.1)
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            draw(m.running_mean, 0, 0.2)
            m.running_var.data = torch.tensor(r.uniform(0.5, 2, m.num_features)).float()
            if m.affine:
                draw(m.weight, 1, 0.2)
                draw(m.bias, 0.2, 0.2)
    return module.eval()


def spikes_in(shape, seed, samples=3):
    return (np.random.default_rng(seed).random((samples, STEPS, *shape)) < 0.5).astype(float)


def stepped(module, x):
    """Call the module itself once a step, on the whole batch."""
    module, state, out = copy.deepcopy(module), None, []
    with torch.no_grad():
        for frame in torch.tensor(x, dtype=torch.float32).transpose(0, 1):
            found = module(frame) if state is None else module(frame, state)
            found, state = found if isinstance(found, tuple) else (found, None)
            out.append(found)
    return torch.stack(out, 1).numpy()


def ours(net, x):
    return next(iter(floating.run(net, {"input": x}).outputs.values()))


def per_neuron(seed, *shape, low, high):
    return torch.tensor(np.random.default_rng(seed).uniform(low, high, shape)).float()


def images(seed):
    """Nested, with batch norm before, behind and without weights, of either pooling."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.Dropout2d(0.3),
        nn.BatchNorm2d(4),
        snntorch.Leaky(beta=0.8, reset_mechanism="zero", init_hidden=True),
        nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(4, 4, 4, padding="same", groups=2),
            nn.BatchNorm2d(4, affine=False),
            snntorch.Synaptic(
                per_neuron(seed, 4, 1, 1, low=0.2, high=0.6), 0.7, reset_mechanism="zero", **KEEPS
            ),
            nn.MaxPool2d(2, stride=1, padding=1),
        ),
        nn.Flatten(),
        nn.Identity(),
        nn.BatchNorm1d(64),
        nn.Linear(64, 12),
        nn.BatchNorm1d(12),
        snntorch.Leaky(beta=1.0, init_hidden=True, threshold=1.5),
        nn.Linear(12, 3),
        snntorch.Leaky(
            beta=per_neuron(seed, 3, low=0.2, high=0.9), reset_mechanism="zero", init_hidden=True
        ),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_snntorch_modules(tmp_path, seed):
    module = randomized(images(seed), seed)
    x = spikes_in((1, 6, 6), seed)
    net, notes = from_module(module, (1, 6, 6), max_pool="neurons", time_steps=STEPS)
    assert len(notes) == 1
    assert "5.4" in notes[0]
    wanted = stepped(module, x)
    assert wanted.any()
    assert (ours(net, x) == wanted).all()
    nir_io.write(tmp_path / "a.nir", net)
    assert (ours(nir_io.read(tmp_path / "a.nir")[0], x) == wanted).all()
    measured = snn2hw.measure(module, net, x)
    assert measured["same_outputs"] == measured["same_predictions"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_snntorch_subtracts_at_once_below_two_thresholds(seed):
    module = nn.Sequential(
        nn.Conv1d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm1d(4),
        snntorch.Leaky(beta=0.7, **KEEPS),
        nn.Flatten(),
        nn.Linear(16, 5, bias=False),
        snntorch.Synaptic(0.2, 0.5, **KEEPS),
    )
    x = spikes_in((2, 8), seed)
    # Rows of sum 1, of which none brings a membrane so near the threshold that float32 matters.
    r = np.random.default_rng(seed)
    for m in (module[0], module[4]):
        rows = r.random(m.weight.shape)
        rows /= 1.03 * rows.sum(tuple(range(1, rows.ndim)), keepdims=True)
        m.weight.data = torch.tensor(rows).float()
    module[1].running_var.data.fill_(0.25)
    module[1].weight.data.fill_(0.5)
    module.eval()
    net, notes = from_module(module, (2, 8))
    assert [n.split(":")[0] for n in notes] == ["2", "5"]
    wanted = stepped(module, x)
    assert wanted.any()
    assert (ours(net, x) == wanted).all()


@pytest.mark.parametrize("seed", range(4))
def test_norse_modules(seed):
    def tensor(*shape, low, high):
        return per_neuron(seed, *shape, low=low, high=high)

    subtract = norse.functional.reset.reset_subtract
    box = norse.LIFBoxParameters(
        tau_mem_inv=tensor(4, 6, 6, low=100, high=900), v_th=torch.tensor(0.2),
        v_leak=torch.tensor(-0.1), v_reset=torch.tensor(-0.3),
    )  # fmt: skip
    soft = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(300.0), reset_method=subtract)
    module = norse.SequentialState(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        norse.LIFBoxCell(box),
        nn.AvgPool2d(2),
        norse.SequentialState(
            nn.Flatten(),
            nn.Linear(36, 10),
            norse.LIFCell(norse.LIFParameters(v_th=tensor(10, low=0.1, high=0.2),
                                              v_leak=torch.tensor(0.05))),
            nn.Linear(10, 6),
            norse.IAFCell(norse.IAFParameters(v_th=torch.tensor(1.0), v_reset=torch.tensor(0.2))),
        ),
        nn.Linear(6, 3),
        norse.LIFBoxCell(soft._replace(v_th=torch.tensor(0.1))),
    )  # fmt: skip
    x = spikes_in((1, 6, 6), seed)
    net, notes = from_module(randomized(module, seed), (1, 6, 6))
    assert (net.dt, notes) == (1e-3, [])
    wanted = stepped(module, x)
    assert wanted.any()
    assert (ours(net, x) == wanted).all()
    assert snn2hw.measure(module, net, x)["same_outputs"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_our_own_layers_and_students(seed):
    module = nn.Sequential(
        Synapse(nn.Conv2d(1, 3, 3)), OwnLif(0.75), Synapse(nn.Linear(48, 4)), OwnLif(1.0)
    )
    x = spikes_in((1, 6, 6), seed)
    net, _ = from_module(randomized(module, seed), (1, 6, 6))
    with torch.no_grad():
        wanted = module(torch.tensor(x).float().transpose(0, 1)).transpose(0, 1).numpy()
    assert wanted.any()
    assert (ours(net, x) == wanted).all()
    student = randomized(make_student("cnn", Settings((1, 8, 8), 10, 16, 4)), seed)
    frames = np.random.default_rng(seed).integers(0, 17, (2, 4, 1, 8, 8))
    found = snn2hw.measure(student, snn2hw.load(student), frames, np.array([0, 1]))
    assert found["same_outputs"] == 1
    assert found["spikes_per_sample"][0] == found["spikes_per_sample"][1] > 0
    with torch.no_grad():
        counts = student(torch.tensor(frames)).numpy()
    assert np.array_equal(run_module(student, frames)[0].sum(1), counts)


class Readout(nn.Module):
    """Its answer is a membrane that nothing resets, whose spikes nobody hears; or they do."""

    def __init__(self, heard):
        super().__init__()
        self.fc, self.lif = nn.Linear(8, 6), snntorch.Leaky(0.5, reset_mechanism="zero")
        self.last, self.heard = snntorch.Leaky(0.75, reset_mechanism="none"), heard

    def forward(self, x):
        mem, held, out = self.lif.init_leaky(), self.last.init_leaky(), []
        for frame in x:
            spk, mem = self.lif(self.fc(frame), mem)
            spikes, held = self.last(spk, held)
            out.append(spikes if self.heard else held)
        return torch.stack(out)


@pytest.mark.parametrize("heard", [False, True])
def test_spikes_that_nobody_hears_count_on_neither_side(heard):
    module = randomized(Readout(heard), 0)
    x = spikes_in((8,), 0).astype(np.float32)
    net, _ = from_module(module, (8,), time="first")
    found = snn2hw.measure(module, net, x)
    with torch.no_grad():
        sent = module(torch.tensor(x).transpose(0, 1)).sum()
    assert found["same_outputs"] == 1
    assert found["spikes_per_sample"][0] == found["spikes_per_sample"][1] > 0
    assert not heard or found["spikes_per_sample"][0] * len(x) > sent > 0


def test_nodes_and_folding():
    net, _ = from_module(randomized(images(0), 0), (1, 6, 6), max_pool="neurons")
    kinds = {k: type(n) for k, n in net.nodes.items()}
    assert kinds["0"] is kinds["1"] is Conv2d  # a norm without weights before it, and one folded
    assert kinds["5.1"] is Conv2d
    assert kinds["5.4.sum"] is Pool2d
    assert kinds["5.4"] is Lif
    assert kinds["8"] is kinds["9"] is Affine
    assert not {"2", "3", "5.2", "7", "10"} & set(kinds)
    assert net.dt == 1e-4


def test_every_module_that_cannot_be_is_named():
    changed = snntorch.Leaky(0.9)
    changed.reset_mechanism = "zero"
    odd = {"init_hidden": True, "inhibition": True, "state_quant": torch.round}
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU()),  # 0.1, 0.2
        nn.Flatten(),
        snntorch.Synaptic(1.0, 0.9, **odd),  # 2
        nn.Linear(16, 10),
        nn.GroupNorm(2, 10),  # 4
        changed,  # 5
        nn.Sigmoid(),  # 6
        snntorch.Alpha(0.9, 0.5),  # 7
        nn.Linear(10, 5),
        norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1), v_leak=torch.tensor(0.2))),
        nn.ReLU(),  # 10, heard by the answer alone
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as error:
        from_module(module, (1, 6, 6))
    named = [reason.split(": ")[0] for reason in error.value.reasons]
    assert sorted(named, key=float) == [
        "0.1", "0.2", "2", "4", "5", "6", "7", "9", "10",
    ], named  # fmt: skip
    for text in (
        "1: MaxPool2d is max pooling", "alpha below 1", "state_quant", "inhibition",
        "4: GroupNorm divides by what each sample has",
        "5: Leaky was made with reset_mechanism='subtract' and now says 'zero'",
        "two currents of opposite sign", "needs a positive v_th above v_leak",
        "10: ReLU changes the answer",
    ):  # fmt: skip
        assert text in str(error.value)


def test_what_does_not_run_is_told_with_its_layer():
    neuron = snntorch.Leaky(0.5, reset_mechanism="zero")
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), neuron, nn.GELU(), nn.Linear(5, 2))
    with pytest.raises(UnsupportedError, match=r"4 takes 5 numbers .*gets 4; before that, 3: GELU"):
        from_module(module, (1, 3, 3))


def test_what_a_caller_gets_wrong():
    neuron = snntorch.Leaky(0.5, reset_mechanism="zero")
    for shape in (None, (), (0,), (2.5,)):
        with pytest.raises(InputError, match="shape"):
            snn2hw.load(nn.Sequential(neuron), shape=shape)
    with pytest.raises(InputError, match="neither a path nor"):
        snn2hw.load(3)
    with pytest.raises(InputError, match="average"):
        from_module(neuron, (3,), max_pool="averag")
    with pytest.raises(UnsupportedError, match="no spiking neurons"):
        from_module(nn.Sequential(nn.Linear(3, 2)), (3,))
    with pytest.raises(UnsupportedError, match=r"Put an nn\.Flatten before it"):
        from_module(nn.Sequential(nn.Linear(9, 2), neuron), (1, 3, 3))
    net, _ = from_module(neuron, (3,))
    assert list(net.nodes) == ["input", "Leaky", "output"]
    with pytest.raises(InputError, match="must be"):
        snn2hw.measure(neuron, net, np.zeros((2, 5, 4)))


@pytest.mark.filterwarnings("default")
def test_max_pooling_is_replaced_on_request_aloud_and_measured():
    """Of currents it has no exact form; of spikes it has one."""

    def neuron():
        return snntorch.Leaky(0.8, reset_mechanism="zero", init_hidden=True)

    module = randomized(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), neuron(), nn.Flatten(),
                      nn.Linear(36, 5), neuron()), 1)  # fmt: skip
    for way in ("refuse", "neurons"):
        with pytest.raises(UnsupportedError, match=r"1: MaxPool2d .* max_pool='average'"):
            snn2hw.load(module, shape=(1, 8, 8), max_pool=way)
    with pytest.warns(UserWarning, match="1: max pooling became average"):
        net = snn2hw.load(module, shape=(1, 8, 8), max_pool="average")
    x = spikes_in((1, 8, 8), 1, samples=120)
    labels = stepped(module, x).sum(1).argmax(1)
    found = snn2hw.measure(module, net, x, labels)
    right = (ours(net, x).sum(1).argmax(1) == labels).mean()
    assert found["accuracy"] == [1.0, right]
    assert found["same_predictions"] == right
    assert found["same_outputs"] == (ours(net, x) == stepped(module, x)).mean() < 1
    assert found["spikes_per_sample"][0] > found["spikes_per_sample"][1]
    assert (found["samples"], found["steps"]) == (120, STEPS)


PAGE = Path(__file__).parents[2] / "docs" / "modules.md"


def test_the_first_example_of_the_page(capsys):
    text = PAGE.read_text(encoding="utf-8")
    block, printed = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[:2]
    exec(compile(block, "modules.md", "exec"), {})
    assert capsys.readouterr().out == printed
    assert printed.endswith(" 1.0\n")


def test_the_example_of_max_pooling():
    """Trained for two batches here, for ten epochs there."""
    text = PAGE.read_text(encoding="utf-8")
    _, block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    for long, short in (("range(10)", "range(1)"), ("split(100)", "split(600)")):
        assert long in block
        block = block.replace(long, short)
    exec(compile(block, "modules.md", "exec"), names)
    replaced, exact = names["of_currents"], names["of_spikes"]
    assert replaced["same_outputs"] < 1
    assert replaced["accuracy"][0] != replaced["accuracy"][1]
    assert exact["same_outputs"] == exact["same_predictions"] == 1
    assert exact["accuracy"][0] == exact["accuracy"][1]
    assert exact["spikes_per_sample"][0] < exact["spikes_per_sample"][1]


def test_pooled_spikes_compile_for_a_chip():
    neuron = snntorch.Leaky(0.75, reset_mechanism="zero", init_hidden=True)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), neuron, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2),
        copy.deepcopy(neuron),
    )  # fmt: skip
    net = snn2hw.load(randomized(module, 0), shape=(1, 6, 6), max_pool="neurons", time_steps=STEPS)
    x = spikes_in((1, 6, 6), 0, samples=20)
    found = snn2hw.build(net).simulate(x.astype(int))
    assert found.spikes.any()
    wanted = stepped(module, x)
    delay = found.spikes.shape[1] - STEPS
    same = (found.spikes[:, delay:] == wanted).mean()
    assert same > 0.95  # rounding to the chip's grid


def test_a_module_in_the_middle_of_training_is_left_alone():
    neuron = snntorch.Leaky(0.8, reset_mechanism="zero", init_hidden=True)
    module = nn.Sequential(nn.Linear(4, 3), neuron)
    x = spikes_in((4,), 0)
    module(torch.tensor(x[:, 0]).float())  # its state now hangs on a graph
    held = neuron.mem
    found, spikes = run_module(module, x, batch=2)
    assert neuron.mem is held
    assert module.training
    neuron.reset_mem()
    neuron.mem = neuron.mem.detach()
    assert (found == stepped(module, x)).all()
    assert spikes == found.sum()


def test_batches_of_a_run_are_independent():
    module = randomized(images(3), 3)
    x = spikes_in((1, 6, 6), 3, samples=5)
    runs = [run_module(module, x, batch=n)[0] for n in (1, 2, 5)]
    for one, other in itertools.pairwise(runs):
        assert (one == other).all()
