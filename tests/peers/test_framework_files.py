"""Files that Norse and snnTorch wrote run as in them, or what they leave out is said."""

from __future__ import annotations

import warnings
from dataclasses import replace

import nir
import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from norse.torch.functional.reset import reset_subtract
from snntorch import utils
from snntorch.export_nir import export_to_nir
from torch import nn, tensor

import snn2hw
from snn2hw.errors import InputError
from snn2hw.simulate import floating

SIZE, STEPS = 3, 24


def currents(seed=0, size=1):
    drawn = np.random.default_rng(seed).integers(0, 5, (6, STEPS, size)) / 8
    return drawn.astype(np.float32)


def loaded(path, **known):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        network = snn2hw.load(path, **known)
    return network, " ".join(str(one.message) for one in said)


def of_norse(*cells):
    module = norse.SequentialState(*cells)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight.data = torch.full_like(part.weight, 0.75)
            part.bias.data.zero_()
    return module


def run_norse(module, x):
    out = []
    with torch.no_grad():
        state = None
        for frame in torch.tensor(x).transpose(0, 1):
            spk, state = module(frame, state)
            out.append(spk)
    return torch.stack(out, 1).numpy()


def written(module, tmp_path):
    path = tmp_path / "norse.nir"
    nir.write(path, norse.to_nir(module, torch.zeros(1, 1)))
    return path


def full(value):
    return torch.full((SIZE,), float(value))


def integrate_and_fire(threshold=0.5):
    return norse.IAFCell(norse.IAFParameters(v_th=full(threshold), v_reset=full(0)))


def box(**more):
    known = {"tau_mem_inv": 250.0, "v_th": 0.25, "v_leak": 0.0, "v_reset": 0.0}
    known = {k: full(v) for k, v in (known | more).items() if not callable(v)}
    rule = {"reset_method": more["reset_method"]} if "reset_method" in more else {}
    return norse.LIFBoxCell(norse.LIFBoxParameters(**known, **rule))


@pytest.mark.parametrize("dt", [1e-3, None])
def test_integrate_and_fire_of_norse_adds_its_input_whole(tmp_path, dt):
    module = of_norse(nn.Linear(1, SIZE), integrate_and_fire())
    known = {"dt": dt} if dt else {}
    network, said = loaded(written(module, tmp_path), written_by="norse", reset="zero", **known)
    wanted = run_norse(module, currents())
    assert wanted.any()
    assert np.array_equal(floating.run(network, {"input": currents()}).answer, wanted)
    assert ("inputs added as they are, as in Norse" in said) == bool(dt)


def test_a_network_of_both_kinds_of_norse(tmp_path):
    module = of_norse(nn.Linear(1, SIZE), integrate_and_fire(), nn.Linear(SIZE, SIZE), box())
    network, _ = loaded(written(module, tmp_path), written_by="norse", dt=1e-3, reset="zero")
    wanted = run_norse(module, currents())
    assert wanted.any()
    assert np.array_equal(floating.run(network, {"input": currents()}).answer, wanted)


def test_integrate_and_fire_of_sinabs_adds_its_input_whole(tmp_path):
    """Sinabs writes r = 1 for it, and its layers add what arrives."""
    nodes = {
        "input": nir.Input({"input": np.array([1])}),
        "w": nir.Linear(np.full((1, 1), 0.75)),
        "n": nir.IF(r=np.ones(1), v_threshold=np.ones(1), v_reset=np.zeros(1)),
        "output": nir.Output({"output": np.array([1])}),
    }
    path = tmp_path / "sinabs.nir"
    nir.write(path, nir.NIRGraph(nodes, [("input", "w"), ("w", "n"), ("n", "output")]))
    found = []
    for known in ({}, {"dt": 1e-3}):
        network, _ = loaded(path, written_by="sinabs", **known)
        found.append(floating.run(network, {"input": np.ones((1, 8, 1))}).answer.ravel().tolist())
    assert found[0] == found[1] == [0, 1, 1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize("reset", [None, "zero", "subtract"])
def test_that_norse_does_not_write_v_reset_is_said(tmp_path, reset):
    path = written(of_norse(nn.Linear(1, SIZE), box(v_reset=-0.5)), tmp_path)
    known = {"reset": reset} if reset else {}
    _, said = loaded(path, written_by="norse", dt=1e-3, **known)
    assert ("Norse does not write v_reset, which is taken as 0" in said) == (reset != "subtract")


@pytest.mark.parametrize("leak", [0.0, 0.125, -0.25])
def test_norses_subtraction_beside_a_leak_is_refused_in_files_too(tmp_path, leak):
    module = of_norse(nn.Linear(1, SIZE), box(v_leak=leak, reset_method=reset_subtract))
    path = written(module, tmp_path)
    if leak:
        with pytest.raises(InputError, match="1 rests at another v_leak than 0, and Norse's"):
            snn2hw.load(path, written_by="norse", dt=1e-3, reset="subtract")
        return
    network, _ = loaded(path, written_by="norse", dt=1e-3, reset="subtract")
    wanted = run_norse(module, currents())
    assert wanted.any()
    assert np.array_equal(floating.run(network, {"input": currents()}).answer, wanted)


def test_norses_start_above_the_threshold_is_refused(tmp_path):
    path = written(of_norse(nn.Linear(1, SIZE), box(v_leak=0.5)), tmp_path)
    with pytest.raises(InputError, match="1 rests at or above its threshold, and Norse starts"):
        snn2hw.load(path, written_by="norse", dt=1e-3)


@pytest.mark.parametrize(("reset", "noted"), [("subtract", True), ("subtract-late", False)])
def test_spikes_that_snntorch_misses_are_said_of_files_too(tmp_path, reset, noted):
    neurons = snntorch.Leaky(
        full(0.5), threshold=full(1), init_hidden=True, reset_delay=noted is False
    )
    path = tmp_path / "snntorch.nir"
    nir.write(path, export_to_nir(nn.Sequential(nn.Linear(1, SIZE), neurons), torch.zeros(1)))
    _, said = loaded(path, written_by="snntorch", reset=reset)
    assert ("snnTorch misses a spike that this network gives" in said) == noted


@pytest.mark.parametrize("rule", ["zero", "none"])
@pytest.mark.parametrize("kind", ["Synaptic", "Leaky", "RLeaky"])
def test_neurons_of_which_some_never_leak_are_written(tmp_path, kind, rule):
    """Beside others that leak, or behind a synaptic current: tau = r = inf, as snnTorch writes."""
    beta = tensor([1.0, 1.0, 1.0]) if kind == "Synaptic" else tensor([1.0, 0.5, 1.0])
    known = {"Synaptic": {"alpha": 0.5}, "RLeaky": {"linear_features": SIZE}}.get(kind, {})
    neurons = getattr(snntorch, kind)(
        beta=beta, reset_mechanism=rule, reset_delay=False, init_hidden=True, **known
    )
    module = nn.Sequential(nn.Linear(1, SIZE), neurons)
    if kind == "RLeaky":
        neurons.recurrent.weight.data.fill_(-0.125)
        neurons.recurrent.bias.data.zero_()
    module[0].weight.data, module[0].bias.data = tensor([[1.0], [0.75], [0.5]]), torch.zeros(SIZE)
    network = snn2hw.load(module, shape=(1,), time_steps=STEPS)
    network.save(tmp_path / "own.nir")
    again = snn2hw.load(tmp_path / "own.nir")
    utils.reset(module)
    x = currents()
    with torch.no_grad():
        wanted = torch.stack([module(f) for f in torch.tensor(x).transpose(0, 1)], 1).numpy()
    assert wanted.any()
    for one in (network, again):
        assert np.array_equal(floating.run(one, {"input": x}).answer, wanted)


def test_what_no_file_holds_says_the_way_out(tmp_path):
    neurons = snntorch.Synaptic(
        alpha=0.5, beta=1.0, reset_mechanism="zero", reset_delay=False, init_hidden=True
    )
    module = nn.Sequential(nn.Linear(1, 2), neurons)
    module[0].weight.data.fill_(1.0)
    network = snn2hw.load(module, shape=(1,))
    other = type(network)(
        {k: halved(n) if k == "1" else n for k, n in network.nodes.items()},
        network.edges, network.dt,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"NIR cannot hold 1: 2 of its neurons never leak") as why:
        other.save(tmp_path / "odd.nir")
    assert why.value.hint is not None
    assert "snn2hw.build" in why.value.hint


def halved(node):
    return replace(node, r=node.r * 0.5)
