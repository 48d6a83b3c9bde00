"""Each kind of neurons of snnTorch and Norse spikes as in its package, at every step, ties too.

Inputs and weights are multiples of 1/8 and decays of few bits, so that float32 computes what
float64 does, and membranes meet their thresholds exactly.
"""

from __future__ import annotations

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from snn2hw.errors import UnsupportedError
from snn2hw.ir.nodes import Delay, Leaky, Lif, Threshold
from snn2hw.simulate import floating
from snn2hw.train import from_module, run_module

pytestmark = pytest.mark.filterwarnings("ignore")
SIZE, STEPS, SAMPLES = 12, 24, 8


def currents(seed, size=SIZE, low=-2, high=7):
    x = np.random.default_rng(seed).integers(low, high, (SAMPLES, STEPS, size)) / 8
    return x.astype(np.float32)


def eighths(seed, *shape, low=-8, high=9):
    return torch.tensor(np.random.default_rng(seed).integers(low, high, shape) / 8).float()


def agrees(module, x, *, wanted=None, notes=0):
    """Compare all spikes; return them, and the network."""
    net, said = from_module(module, x.shape[2:], time_steps=x.shape[1])
    assert len(said) == notes, said
    if wanted is None:
        wanted = stepped(module, x)
    found = floating.run(net, {"input": x}).answer
    assert np.array_equal(found, wanted)
    own, _ = run_module(module, x)
    assert np.array_equal(own, wanted)
    return wanted, net


def stepped(module, x):
    """Call snnTorch's modules step by step; what they keep is emptied before."""
    for part in module.modules():
        if hasattr(part, "reset_mem"):
            part.reset_mem()
    out = []
    with torch.no_grad():
        for frame in torch.tensor(x).transpose(0, 1):
            found = module(frame)
            out.append(found[0] if isinstance(found, tuple) else found)
    return torch.stack(out, 1).numpy()


DECAYS = {
    "Leaky": {"beta": 0.5},
    "Synaptic": {"alpha": 0.25, "beta": 0.5},
    "Lapicque": {"R": 2.0, "C": 4.0, "time_step": 2.0},
    "RLeaky": {"beta": 0.5, "linear_features": SIZE},
    "RSynaptic": {"alpha": 0.25, "beta": 0.5, "linear_features": SIZE},
}


def made(kind, rule, late, **more):
    delay = {} if kind == "Lapicque" else {"reset_delay": late}
    neurons = getattr(snntorch, kind)(
        **DECAYS[kind] | more, reset_mechanism=rule, init_hidden=True, **delay
    )
    if getattr(neurons, "linear_features", None):
        neurons.recurrent.weight.data = eighths(3, SIZE, SIZE, low=-3, high=4)
        neurons.recurrent.bias.data = eighths(4, SIZE, low=-1, high=2)
    return neurons


@pytest.mark.parametrize("rule", ["zero", "subtract", "none"])
@pytest.mark.parametrize("kind", list(DECAYS))
def test_snntorch_with_its_late_reset(kind, rule):
    neurons = made(kind, rule, late=True, threshold=0.75)
    wanted, net = agrees(neurons, currents(0))
    assert wanted.any()
    assert not wanted.all()
    assert any(isinstance(n, Leaky if rule == "none" else Lif) for n in net.nodes.values())
    assert any(isinstance(n, Threshold) for n in net.nodes.values()) == (rule == "none")
    assert not any(isinstance(n, Delay) for n in net.nodes.values())  # a loop closes by itself


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky"])
@pytest.mark.parametrize("rule", ["zero", "subtract"])
def test_snntorch_with_its_reset_at_once(kind, rule):
    """By subtraction, of membranes below two thresholds: it misses spikes of others."""
    neurons = made(kind, rule, late=False, threshold=1.0)
    if kind == "RLeaky":
        neurons.recurrent.weight.data /= 8
    wanted, net = agrees(neurons, currents(1), notes=int(rule == "subtract"))
    assert wanted.any()
    assert {n.reset for n in net.neurons().values()} == {rule}


@pytest.mark.parametrize("kind", ["RLeaky", "Synaptic"])
@pytest.mark.parametrize("rule", ["zero", "subtract"])
def test_a_late_reset_is_another_one(kind, rule):
    """The same neurons without delay give other spikes: the tests above can tell them apart."""
    x = currents(2)
    late, now = (stepped(made(kind, rule, late=way, threshold=0.75), x) for way in (True, False))
    assert (late != now).any()


def test_membranes_are_on_their_thresholds():
    """They do not spike there, in the package and here."""
    neurons = made("Leaky", "subtract", late=True, threshold=0.75)
    x, met = currents(0), 0
    neurons.reset_mem()
    with torch.no_grad():
        for frame in torch.tensor(x).transpose(0, 1):
            spikes = neurons(frame)
            met += int((neurons.mem == 0.75).sum())
            assert not spikes[neurons.mem == 0.75].any()
    assert met > 20


def test_snntorch_of_each_neuron_and_learnt():
    each = {"threshold": eighths(5, SIZE, low=2, high=12), "learn_threshold": True}
    betas = torch.tensor([0.25, 0.5, 0.75, 1.0, 0.0, 1.5] * 2)
    for rule in ("zero", "subtract", "none"):
        neurons = snntorch.Leaky(
            betas, reset_mechanism=rule, init_hidden=True, learn_beta=True, **each
        )
        wanted, net = agrees(neurons, currents(6))
        assert wanted.any()
        node = next(iter((net.neurons() or net.cells()).values()))
        assert np.isinf(node.tau).tolist() == [False, False, False, True, False, True] * 2


@pytest.mark.parametrize("kind", ["RLeaky", "RSynaptic"])
@pytest.mark.parametrize("shared", [True, False])
def test_snntorch_recurrent_one_to_one(kind, shared):
    decays = {k: v for k, v in DECAYS[kind].items() if k != "linear_features"}
    v = 0.5 if shared else eighths(7, SIZE)
    neurons = getattr(snntorch, kind)(
        **decays, V=v, all_to_all=False, reset_mechanism="subtract", init_hidden=True
    )
    wanted, _ = agrees(neurons, currents(8))
    neurons.recurrent.V.data = -neurons.recurrent.V.data
    assert (stepped(neurons, currents(8)) != wanted).any()


def test_snntorch_recurrent_convolution():
    neurons = snntorch.RLeaky(
        0.5, conv2d_channels=2, kernel_size=3, reset_mechanism="subtract", init_hidden=True
    )
    neurons.recurrent.weight.data = eighths(9, 2, 2, 3, 3, low=-2, high=3)
    neurons.recurrent.bias.data = eighths(9, 2, low=-1, high=2)
    x = currents(10, 2 * 4 * 5).reshape(SAMPLES, STEPS, 2, 4, 5)
    wanted, _ = agrees(neurons, x)
    assert wanted.any()


def test_snntorch_spikes_that_count_more():
    module = nn.Sequential(
        snntorch.Leaky(0.5, reset_mechanism="zero", init_hidden=True, graded_spikes_factor=0.5),
        nn.Linear(SIZE, 5),
        snntorch.Leaky(0.5, reset_mechanism="zero", init_hidden=True),
    )
    module[1].weight.data, module[1].bias.data = eighths(11, 5, SIZE), eighths(12, 5)
    wanted, _ = agrees(module, currents(13))
    assert wanted.any()


def test_alpha_neurons_are_refused_with_a_reason():
    with pytest.raises(UnsupportedError, match=r"two currents of opposite sign.*use Synaptic"):
        from_module(snntorch.Alpha(0.75, 0.5, init_hidden=True), (3,))


POWERS = {"tau_mem_inv": 512.0, "tau_syn_inv": 256.0}  # of steps of 2**-10 s: 1/2 and 1/4
DT = 2.0**-10


def parameters(kind, **more):
    wanted = {k: torch.tensor(v) for k, v in POWERS.items()}
    if kind == "LIFBox":
        del wanted["tau_syn_inv"]
    made = {"v_th": 0.5, "v_leak": -0.25, "v_reset": -0.5} | more
    return getattr(norse, f"{kind}Parameters")(
        **({} if kind == "IAF" else wanted),
        **{k: torch.as_tensor(v) for k, v in made.items() if kind != "IAF" or k != "v_leak"},
    )


def run_norse(cell, x):
    state, out = None, []
    with torch.no_grad():
        for frame in torch.tensor(x).transpose(0, 1):
            z, state = cell(frame, state)
            out.append(z)
    return torch.stack(out, 1).numpy()


@pytest.mark.parametrize("kind", ["LIFBox", "LIF", "IAF"])
def test_norse_cells(kind):
    cell = getattr(norse, f"{kind}Cell")(parameters(kind), dt=DT)
    x = currents(20, low=-4, high=17)
    wanted, net = agrees(cell, x, wanted=run_norse(cell, x))
    assert wanted.any()
    assert not wanted.all()
    assert net.dt == DT


def test_norse_thresholds_of_each_neuron():
    cell = norse.LIFCell(parameters("LIF", v_th=eighths(21, SIZE, low=1, high=9)), dt=DT)
    x = currents(22)
    assert agrees(cell, x, wanted=run_norse(cell, x))[0].any()


@pytest.mark.parametrize("kind", ["LIF", "IAF"])
def test_norse_modules_over_time(kind):
    module = getattr(norse, kind)(parameters(kind), dt=DT)
    x = currents(23)
    with torch.no_grad():
        wanted, _ = module(torch.tensor(x).transpose(0, 1))
    assert agrees(module, x, wanted=wanted.transpose(0, 1).numpy())[0].any()


@pytest.mark.parametrize("over_time", [False, True])
@pytest.mark.parametrize("autapses", [False, True])
def test_norse_recurrent(over_time, autapses):
    kind = norse.LIFRecurrent if over_time else norse.LIFRecurrentCell
    module = kind(SIZE, 7, parameters("LIF"), autapses=autapses, dt=DT)
    module.input_weights.data = eighths(24, 7, SIZE, low=-3, high=6)
    back = eighths(25, 7, 7)
    module.recurrent_weights.data = back if autapses else back.fill_diagonal_(0)
    x = currents(26)
    if over_time:
        with torch.no_grad():
            wanted = module(torch.tensor(x).transpose(0, 1))[0].transpose(0, 1).numpy()
    else:
        wanted = run_norse(module, x)
    found, net = agrees(module, x, wanted=wanted)
    assert found.any()
    assert not any(isinstance(n, Delay) for n in net.nodes.values())
    module.recurrent_weights.data.zero_()
    with torch.no_grad():
        other = (
            module(torch.tensor(x).transpose(0, 1))[0].transpose(0, 1).numpy()
            if over_time
            else run_norse(module, x)
        )
    assert (other != wanted).any()


@pytest.mark.parametrize("kind", ["LICell", "LIBoxCell", "LI"])
def test_norse_integrators_are_readouts(kind):
    wanted = {k: torch.tensor(v) for k, v in POWERS.items()}
    if kind == "LIBoxCell":
        p = norse.LIBoxParameters(wanted["tau_mem_inv"], torch.tensor(0.0))
    else:
        p = norse.LIParameters(wanted["tau_syn_inv"], wanted["tau_mem_inv"], torch.tensor(0.0))
    module = getattr(norse, kind)(p, dt=DT)
    x = currents(27)
    if kind == "LI":
        with torch.no_grad():
            found = module(torch.tensor(x).transpose(0, 1))[0].transpose(0, 1).numpy()
    else:
        found = run_norse(module, x)
    net, _ = from_module(module, (SIZE,))
    assert isinstance(net.nodes[kind], Leaky)
    assert np.allclose(floating.run(net, {"input": x}).answer, found, rtol=0, atol=1e-6)


def test_norse_integrators_that_rest_elsewhere_are_refused():
    p = norse.LIParameters(v_leak=torch.tensor(0.5))
    with pytest.raises(UnsupportedError, match="set v_leak to 0"):
        from_module(norse.LICell(p), (3,))
