"""Membranes exactly on their threshold, for every decay that a person writes.

A spike needs a membrane above it, in snnTorch 1.0.0 (``neurons.py``) and Norse 1.1.0 (``heaviside``
of ``v - v_th``). Currents come from weights that are exact in single precision.
"""

from __future__ import annotations

import nir
import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from snntorch.export_nir import export_to_nir

import snn2hw
from snn2hw import nir_io
from snn2hw.simulate import floating
from snn2hw.train import run_module

BETAS = [n / 100 for n in range(1, 100)]
CURRENTS = [1.0, 1.0 + 2.0**-23, 1.0 - 2.0**-24, 0.5]
STEPS = 6


def layer(neurons):
    """Return a module of one input for each current, and one neuron for each."""
    map_ = torch.nn.Linear(len(CURRENTS), len(CURRENTS), bias=False)
    map_.weight.data = torch.diag(torch.tensor(CURRENTS))
    return torch.nn.Sequential(map_, neurons)


def shown():
    """A current once and never again, then twice running."""
    x = np.zeros((2, STEPS, len(CURRENTS)))
    x[0, 0] = x[1, :2] = 1
    return x


def agree(module, network, x):
    theirs, _ = run_module(module, x)
    (port,) = network.inputs()
    return (floating.run(network, {port: x}).answer == theirs).all(), theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("mechanism", "rule"), [("zero", "zero"), ("subtract", "subtract")]
)  # fmt: skip
def test_snntorch_module_and_file(tmp_path, mechanism, rule):
    x, odd = shown(), []
    for beta in BETAS:
        module = layer(snntorch.Leaky(beta=beta, reset_mechanism=mechanism, init_hidden=True,
                                      reset_delay=False))  # fmt: skip
        network = snn2hw.load(module, shape=(len(CURRENTS),), time_steps=STEPS)
        path = tmp_path / f"{beta}.nir"
        wide = torch.full((len(CURRENTS),), beta)  # its exporter wants a beta for each neuron
        fresh = layer(snntorch.Leaky(beta=wide, threshold=torch.ones(len(CURRENTS)),
                                     reset_mechanism=mechanism, init_hidden=True))  # fmt: skip
        nir.write(path, export_to_nir(fresh, torch.zeros(len(CURRENTS))))
        back, _ = nir_io.read(path, nir_io.Choice(written_by="snntorch", reset=rule))
        for made in (network, back):
            same, theirs = agree(module, made, x)
            assert theirs[0, 0].tolist() == [0, 1, 0, 0]
            odd += [] if same else [beta]
    assert not odd


@pytest.mark.filterwarnings("ignore")
def test_norse_module_and_file(tmp_path):
    """A step of Norse adds ``dt tau_mem_inv`` times a current: the threshold is that of one."""
    x, odd = shown(), []
    for beta in BETAS:
        gain = torch.tensor((1 - beta) * 1000.0) * 0.001
        wide = torch.full((len(CURRENTS),), (1 - beta) * 1000.0)
        parameters = norse.LIFBoxParameters(
            tau_mem_inv=wide, v_th=gain.repeat(len(CURRENTS)), v_leak=torch.zeros(len(CURRENTS))
        )
        module = layer(norse.LIFBoxCell(parameters, dt=0.001))
        stateful = norse.SequentialState(*module)
        network = snn2hw.load(stateful, shape=(len(CURRENTS),), time_steps=STEPS)
        path = tmp_path / f"{beta}.nir"
        nir.write(path, norse.to_nir(stateful, torch.zeros(len(CURRENTS)), dt=0.001))
        back, _ = nir_io.read(path, nir_io.Choice(written_by="norse", dt=0.001))
        for where, made in (("module", network), ("file", back)):
            same, theirs = agree(module, made, x)
            assert theirs[0, 0].tolist()[0] == 0
            odd += [] if same else [(where, beta)]
    assert not odd
