"""Modules that are not what their class says, or have more than it says: as run, or refused."""

from __future__ import annotations

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from norse.torch.functional.reset import reset_subtract
from snntorch import utils
from torch import nn

from snn2hw.errors import UnsupportedError
from snn2hw.simulate import floating
from snn2hw.train import from_module

pytestmark = pytest.mark.filterwarnings("ignore")


class AtThreshold(torch.autograd.Function):
    """A surrogate gradient as people write them, which spikes at the threshold."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).float()

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return gradient / (1 + 10 * u.abs()) ** 2


def layers(weight=1.0, kind=snntorch.Leaky, **more):
    neurons = kind(**{"beta": 0.5, "init_hidden": True, "reset_mechanism": "zero"} | more)
    module = nn.Sequential(nn.Linear(1, 1, bias=False), neurons)
    module[0].weight.data.fill_(weight)
    return module


def agrees(module, x):
    """Compare with a run of the module itself, step by step; return its answer."""
    utils.reset(module)
    net, _ = from_module(module, x.shape[2:])
    with torch.no_grad():
        wanted = torch.stack([module(torch.tensor(f)) for f in x.swapaxes(0, 1)], 1).numpy()
    assert np.array_equal(floating.run(net, {"input": x}).answer, wanted)
    return wanted


ones = np.ones((1, 8, 1), np.float32)


@pytest.mark.parametrize("rule", ["zero", "subtract", "none"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("weight", [1.0, 0.5, 0.75])
def test_a_spike_function_of_the_authors_own_decides_ties(rule, late, weight):
    at = layers(weight, spike_grad=AtThreshold.apply, reset_mechanism=rule, reset_delay=late)
    above = layers(weight, reset_mechanism=rule, reset_delay=late)
    found = [agrees(m, ones) for m in (at, above)]
    # By weight 0.5 a membrane comes near its threshold and never meets it.
    assert np.array_equal(*found) == (weight != 1.0) or weight == 0.75


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid,
        torch.sign,
        lambda u: 2 * (u > 0).float(),
        lambda u: (u > 0.5).float(),
    ],
)
def test_what_is_no_step_is_refused(function):
    with pytest.raises(UnsupportedError, match="1: Leaky spikes by a function that is no step"):
        from_module(layers(spike_grad=function), (1,))


@pytest.mark.parametrize("name", ["fire", "forward", "mem_reset"])
def test_replaced_methods_are_refused_by_name(name):
    module = layers(0.75)
    setattr(module[1], name, lambda mem: (mem > 0.5).float())
    with pytest.raises(UnsupportedError, match=f"1: the {name} of its Leaky is not what the class"):
        from_module(module, (1,))


def test_methods_replaced_in_the_class_are_refused(monkeypatch):
    monkeypatch.setattr(snntorch.Leaky, "fire", lambda _self, mem: (mem > 0.5).float())
    with pytest.raises(UnsupportedError, match="1: the fire of its Leaky is not what the class"):
        from_module(layers(), (1,))


def test_a_replaced_state_function_is_refused():
    module = layers()
    neurons = module[1]

    def _base_zero(x):
        return 0.25 * neurons.mem + x

    neurons.state_function = _base_zero
    with pytest.raises(UnsupportedError, match="1: Leaky has a state_function of its own"):
        from_module(module, (1,))


def test_hooks_inside_of_neurons_are_refused():
    module = layers(kind=snntorch.RLeaky, linear_features=1)
    module[1].recurrent.register_forward_hook(lambda _m, _x, out: out * 2)
    with pytest.raises(UnsupportedError, match=r"the recurrent.forward of its RLeaky is not what"):
        from_module(module, (1,))


class Changing(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.fc = nn.Linear(1, 80)
        self.lif = snntorch.RLeaky(0.5, linear_features=80, reset_mechanism="zero")
        self.change = change

    def forward(self, x):
        spk, mem = self.lif.init_rleaky()
        out = []
        for step, frame in enumerate(x):
            with torch.no_grad():
                self.change(self, step)
            spk, mem = self.lif(self.fc(frame), spk, mem)
            out.append(spk)
        return torch.stack(out)


def threshold(module, step):
    module.lif.threshold.fill_(1 + 0.5 * step)


def and_back(module, step):
    module.lif.threshold.data.fill_(1 + 0.5 * (step % 2))


def decay(module, step):
    module.lif.beta = torch.tensor(0.5 / (1 + step))


def recurrent(module, step):
    module.lif.recurrent.weight.data.mul_(0.5)


def weight(module, step):
    module.fc.weight.data.mul_(0.5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (threshold, "the threshold of its RLeaky changes from step to step"),
        (and_back, "the threshold of its RLeaky changes from step to step"),
        (decay, "the beta of its RLeaky changes from step to step"),
        (recurrent, r"lif.recurrent.weight changes while the module runs"),
        (weight, "fc.weight changes while the module runs|hears something else at step 0"),
    ],
)
def test_numbers_that_change_while_it_runs_are_refused(change, text):
    with pytest.raises(UnsupportedError, match=text):
        from_module(Changing(change), (1,), time="first")


def test_numbers_that_are_set_before_the_first_step_are_taken():
    def once(module, step):
        module.lif.threshold.fill_(0.5)

    module = Changing(once).eval()
    module.lif.recurrent.weight.data.fill_(0.125)
    module.lif.recurrent.bias.data.fill_(0.0)
    net, _ = from_module(module, (1,), time="first")
    x = (np.random.default_rng(0).random((4, 8, 1)) < 0.5).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.tensor(x).transpose(0, 1)).transpose(0, 1).numpy()
    assert wanted.any()
    assert np.array_equal(floating.run(net, {"input": x}).answer, wanted)


@pytest.mark.parametrize("where", ["whole", "inside", "neurons", "layer"])
@pytest.mark.parametrize("before", [True, False])
def test_hooks_count_wherever_they_hang(where, before):
    inner = layers(0.75)
    module = nn.Sequential(inner, nn.Linear(1, 1, bias=False), *layers(1.0)[1:])
    module[1].weight.data.fill_(1.5)
    part = {"whole": module, "inside": inner, "neurons": inner[1], "layer": inner[0]}[where]
    if before:
        part.register_forward_pre_hook(lambda _m, x: (x[0] * 2,))
    elif part is not module:
        part.register_forward_hook(lambda _m, _x, out: out * 2)
    else:
        part.register_forward_hook(lambda _m, _x, out: out.repeat(1, 3))
    assert agrees(module, ones).any()


def test_hooks_of_wrappers_are_refused():
    module = nn.DataParallel(layers())
    module.register_forward_hook(lambda _m, _x, out: out * 2)
    with pytest.raises(UnsupportedError, match="Hooks hang on DataParallel"):
        from_module(module, (1,))


@pytest.mark.parametrize("beta", [0.5, 0.75])
def test_constants_that_come_from_parameters_are_kept(beta):
    """Lapicque computes its C from beta, once."""
    module = layers(4.0, snntorch.Lapicque, beta=beta, learn_beta=True)
    assert not module[1].C.is_leaf
    assert agrees(module, ones).any()


class Tempered(nn.Module):
    def __init__(self):
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(0.5))
        self.gain = self.raw * 3
        self.lif = snntorch.Leaky(0.5, init_hidden=True, reset_mechanism="zero")

    def forward(self, x):
        return self.lif(x * self.gain)


def test_constants_of_the_users_own_module_are_kept():
    assert agrees(Tempered(), ones).any()


@pytest.mark.parametrize(
    ("neurons", "name"),
    [
        (snntorch.LeakyParallel(1, 1, beta=0.5), "LeakyParallel is not known; of snntorch there"),
        (snntorch.SLSTM(1, 1), "SLSTM is not known; of snntorch there are Leaky,"),
        (norse.LSNN(), "LSNN is not known; of norse there are LIFBoxCell,"),
        (norse.LIFAdEx(), "LIFAdEx is not known; of norse"),
        (norse.LIFExCell(), "LIFExCell is not known; of norse"),
    ],
)
def test_neurons_that_are_not_known_are_named(neurons, name):
    for module in (
        norse.SequentialState(nn.Linear(1, 1), neurons),
        norse.SequentialState(nn.Linear(1, 1), neurons, nn.Linear(1, 1), norse.LIFBoxCell()),
    ):
        with pytest.raises(UnsupportedError, match=f"1: {name}"):
            from_module(module, (1,))


def test_spikes_of_functions_are_told_from_networks_without_any():
    with pytest.raises(UnsupportedError, match="no spiking neurons that are known") as why:
        from_module(nn.Sequential(nn.Linear(1, 1)), (1,))
    assert why.value.hint is not None
    assert "functions or classes of its own" in why.value.hint


@pytest.mark.parametrize("leak", [0.0, 0.25, -0.25])
def test_norse_takes_all_of_its_threshold_off(leak):
    known = norse.LIFBoxParameters(
        tau_mem_inv=torch.tensor(512.0), v_th=torch.tensor(1.0), v_leak=torch.tensor(leak),
        reset_method=reset_subtract,
    )  # fmt: skip
    cell = norse.LIFBoxCell(known, dt=2**-10)
    module = norse.SequentialState(nn.Linear(1, 1, bias=False), cell)
    module[0].weight.data.fill_(1.25)
    if leak:
        with pytest.raises(UnsupportedError, match="1: LIFBoxCell takes v_th off a membrane that"):
            from_module(module, (1,))
        return
    net, _ = from_module(module, (1,))
    state, wanted = None, []
    with torch.no_grad():
        for frame in torch.tensor(ones[0]):
            spk, state = module(frame[None], state)
            wanted.append(float(spk))
    assert sum(wanted) > 1
    assert floating.run(net, {"input": ones}).answer.ravel().tolist() == wanted
