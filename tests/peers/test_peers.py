"""The same spikes as snnTorch and Norse, both ways, in the real packages.

What NIR leaves open is said for each: snnTorch steps by 1e-4 s; Norse takes the step as an
argument, but multiplies it into the time constants that it writes. Loops: nirtorch 2.6 executes
none in either package (snnTorch 1.0.0 does not tell it what a sub-graph becomes, and its RSynaptic
cannot reset at once; Norse 1.1.0 runs into an error of the executor), so the packages' own neurons
are stepped here. snnTorch's reset by subtraction misses a spike where a membrane holds two
thresholds, so its networks are kept below that.
"""

from __future__ import annotations

import copy
import itertools
from functools import partial

import nir
import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from norse.torch.utils.import_nir import _import_norse_module, from_nir
from shared import DATA, needs_data
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import (
    _nir_to_snntorch_module,
    import_from_nir,
)

from snn2hw import nir_io
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Lif, Output, Pool2d
from snn2hw.ir.synapses import Conv
from snn2hw.passes import unit_resistance
from snn2hw.simulate import floating

DT = 1e-4
STEPS = 25
pytestmark = pytest.mark.filterwarnings("ignore")


def neuron(shape, beta, alpha=None):
    """Gain 1 for a spike, as snnTorch's neurons have; ``alpha`` adds a synaptic current."""
    more = {}
    if alpha is not None:
        more = {"tau_synapse": np.array(DT / (1 - alpha)), "w_in": np.array(1 / (1 - alpha))}
    tau = DT / (1 - beta)
    one, none = np.array(1.0), np.array(0.0)
    return Lif(shape, np.array(tau), np.array(tau / DT), one, none, none, **more)


def image_network(r, *, pool):
    image = (2, 6, 6)
    pooled = (2, 3, 3) if pool else image
    first = Conv(r.normal(0, 0.6, (2, 1, 3, 3)), (1, 6, 6), (1, 1), (1, 1))
    nodes = {
        "input": Input((1, 6, 6)),
        "conv": Conv2d(first, r.normal(0, 0.1, 2)),
        "lif1": neuron(image, 0.8),
        "pool": Pool2d(image, (2, 2), (2, 2), (0, 0), average=True),
        "flatten": Flatten(pooled),
        "fc": Affine(r.normal(0, 0.8, (8, int(np.prod(pooled)))), r.normal(0, 0.1, 8)),
        "lif2": neuron((8,), 0.9, 0.6),
        "fc2": Affine(r.normal(0.6, 0.8, (3, 8)), r.normal(0.1, 0.1, 3)),
        "lif3": neuron((3,), 0.7),
        "output": Output((3,)),
    }
    if not pool:
        del nodes["pool"]
    return Network(nodes, tuple(itertools.pairwise(nodes)), DT, STEPS)


def recurrent_network(r):
    nodes = {
        "input": Input((5,)),
        "fc1": Affine(r.normal(0, 0.7, (6, 5)), r.normal(0, 0.1, 6)),
        "lif1.lif": neuron((6,), 0.9, 0.55),
        "lif1.w_rec": Affine(r.normal(0, 0.3, (6, 6)), r.normal(0, 0.05, 6)),
        "fc2": Affine(r.normal(0, 0.9, (3, 6)), r.normal(0, 0.1, 3)),
        "lif2": neuron((3,), 0.55, 0.5),
        "output": Output((3,)),
    }
    chain = ["input", "fc1", "lif1.lif", "fc2", "lif2", "output"]
    edges = (*itertools.pairwise(chain), ("lif1.lif", "lif1.w_rec"), ("lif1.w_rec", "lif1.lif"))
    return Network(nodes, edges, DT, STEPS)


def spikes_in(net, seed, share=0.4):
    (port,) = net.inputs().values()
    x = np.random.default_rng(seed).random((2, STEPS, *port.shape)) < share
    return x.astype(float)


def ours(net, x):
    (name,) = net.inputs()
    return next(iter(floating.run(net, {name: x}).outputs.values()))


def theirs(module, x):
    """Step a module through each sample; a file's shapes have no batch axis."""
    rows = []
    for sample in x:
        fresh, state, out = copy.deepcopy(module), None, []
        for frame in sample:
            given = torch.tensor(frame, dtype=torch.float32)
            result = fresh(given) if state is None else fresh(given, state)
            if isinstance(result, tuple):
                result, state = result
            out.append(result[0] if isinstance(result, tuple) else result)
        rows.append(torch.stack(out).detach().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("form", [lambda net: net, unit_resistance], ids=["gain", "unit"])
@pytest.mark.parametrize("seed", [0, 2, 3, 4])
def test_snntorch_spikes_as_we_do_on_what_we_write(tmp_path, seed, form):
    net = form(image_network(np.random.default_rng(seed), pool=True))
    nir_io.write(tmp_path / "a.nir", net)
    x = spikes_in(net, seed)
    found = theirs(import_from_nir(nir.read(tmp_path / "a.nir")), x)
    assert found.any()
    assert (found == ours(net, x)).all()


@pytest.mark.parametrize("seed", range(4))
def test_norse_spikes_as_we_do_on_what_we_write(tmp_path, seed):
    """It reads LIF of resistance 1 only, and no average pooling."""
    net = unit_resistance(image_network(np.random.default_rng(seed), pool=False))
    nir_io.write(tmp_path / "a.nir", net)
    x = spikes_in(net, seed)
    found = theirs(from_nir(nir.read(tmp_path / "a.nir"), dt=DT), x)
    assert found.any()
    assert (found == ours(net, x)).all()


class Loop(torch.nn.Module):
    """A package's modules for the nodes of ``recurrent_network``; spikes go back a step later."""

    def __init__(self, graph, convert):
        super().__init__()
        made = {k: convert(n) for k, n in graph.nodes.items()}
        self.fc1, self.lif1, self.back, self.fc2, self.lif2 = (
            made[k] for k in ("fc1", "lif1.lif", "lif1.w_rec", "fc2", "lif2")
        )

    def forward(self, x, state=None):
        last, one, two = state or (torch.zeros(self.back.in_features), None, None)
        hidden, one = self.step(self.lif1, self.fc1(x) + self.back(last), one)
        out, two = self.step(self.lif2, self.fc2(hidden), two)
        return out, (hidden, one, two)

    def step(self, neurons, x, state):
        found = neurons(x) if state is None else neurons(x, state)
        return found if isinstance(found, tuple) else (found, None)  # or it keeps its state


PACKAGES = {
    "snntorch": partial(_nir_to_snntorch_module, init_hidden=True),
    "norse": partial(_import_norse_module, dt=DT),
}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("seed", range(4))
def test_both_spike_as_we_do_in_loops(tmp_path, seed, package):
    net = recurrent_network(np.random.default_rng(seed))
    nir_io.write(tmp_path / "a.nir", net)
    x = spikes_in(net, seed)
    found = theirs(Loop(nir.read(tmp_path / "a.nir"), PACKAGES[package]), x)
    assert found.any()
    assert (found == ours(net, x)).all()


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("seed", range(3))
def test_what_snntorch_writes_spikes_as_it_does(tmp_path, seed, reset):
    torch.manual_seed(seed)
    how = {"init_hidden": True, "reset_mechanism": reset, "reset_delay": False}
    alpha, beta = (0.6, 0.9) if reset == "zero" else (0.2, 0.5)

    def wide(n, value):
        return torch.full((n,), value)

    net = torch.nn.Sequential(
        torch.nn.Linear(6, 12),
        snntorch.Leaky(beta=wide(12, 0.8), threshold=wide(12, 1.0), **how),
        torch.nn.Linear(12, 8),
        snntorch.Synaptic(wide(8, alpha), wide(8, beta), threshold=wide(8, 1.0), **how),
        torch.nn.Linear(8, 3),
        snntorch.Leaky(beta=wide(3, 0.7), threshold=wide(3, 1.0), **how),
    )
    for module in net:
        if isinstance(module, torch.nn.Linear):
            module.weight.data *= 3
            module.bias.data += 0.3
            if reset == "subtract":  # rows of sum 1 keep a membrane below two thresholds
                module.weight.data.abs_()
                module.weight.data /= 1.07 * module.weight.data.sum(1, keepdim=True)
                module.bias.data.zero_()
    fresh = copy.deepcopy(net)
    nir.write(tmp_path / "a.nir", export_to_nir(net, torch.zeros(6)))
    back, _ = nir_io.read(tmp_path / "a.nir", nir_io.Choice(written_by="snntorch", reset=reset))
    assert back.dt == DT
    x = spikes_in(back, seed, share=0.7)
    found = theirs(fresh, x)
    assert found.any()
    assert (found == ours(back, x)).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_norse_writes_spikes_as_it_does(tmp_path, seed):
    """Norse writes tau times its step, so that a file is read at the square of the step."""
    torch.manual_seed(seed)
    step = 1e-3
    boxes = [
        norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.full((n,), rate),
                                                v_th=torch.full((n,), 0.3),
                                                v_leak=torch.zeros(n)), dt=step)
        for n, rate in ((12, 200.0), (3, 300.0))
    ]  # fmt: skip
    net = norse.SequentialState(torch.nn.Linear(6, 12), boxes[0], torch.nn.Linear(12, 3), boxes[1])
    for module in net:
        if isinstance(module, torch.nn.Linear):
            module.weight.data *= 4
    nir.write(tmp_path / "a.nir", norse.to_nir(net, torch.zeros(6), dt=step))
    back, _ = nir_io.read(tmp_path / "a.nir", nir_io.Choice(written_by="norse", dt=step**2))
    x = spikes_in(back, seed, share=0.6)
    found = theirs(net, x)
    assert found.any()
    assert (found == ours(back, x)).all()


@needs_data
def test_published_files_spike_alike_in_all_three():
    path = DATA / "nir" / "lif_norse.nir"
    net, _ = nir_io.read(path, nir_io.Choice(dt=DT))
    x = spikes_in(net, 1) * 3
    wanted = ours(net, x)
    assert wanted.any()
    assert (theirs(import_from_nir(nir.read(path)), x) == wanted).all()
    assert (theirs(from_nir(nir.read(path), dt=DT), x) == wanted).all()
    path = DATA / "nir" / "braille_noDelay_bias_zero.nir"
    net, _ = nir_io.read(path, nir_io.Choice(dt=DT))
    x = spikes_in(net, 1)
    wanted = ours(net, x)
    assert wanted.any()
    for convert in PACKAGES.values():
        assert (theirs(Loop(nir.read(path), convert), x) == wanted).all()
