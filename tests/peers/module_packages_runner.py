"""Modules of SpikingJelly and Sinabs as networks, beside their own packages; run where these are.

Each case prints a line: its name, how many values were compared, how many differ, how many spikes
there were, or the error.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path

import nir
import numpy as np
import sinabs.layers as sl
import torch
from sinabs.activation import MaxSpike, MembraneReset, SingleSpike
from sinabs.nir import to_nir
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

import snn2hw
from snn2hw.errors import Snn2hwError
from snn2hw.simulate import floating
from snn2hw.train import from_module, run_module

STEPS, SAMPLES, SIZE = 16, 6, 10


def eighths(*shape, seed=0, low=-3, high=9):
    drawn = np.random.default_rng(seed).integers(low, high, shape) / 8
    return torch.tensor(drawn).float()


def weighted(module):
    for i, part in enumerate(module.modules()):
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.weight.data = eighths(*part.weight.shape, seed=i, low=-4, high=6)
            part.bias.data = eighths(*part.bias.shape, seed=i, low=-1, high=3)
    return module.eval()


class Steps(nn.Module):
    """SpikingJelly's own loop: reset, then T times the same image, and a mean over time."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            layer.Conv2d(1, 3, 3), neuron.IFNode(), layer.AvgPool2d(2), layer.Flatten(),
            layer.Linear(12, 5), neuron.LIFNode(tau=2.0),
        )  # fmt: skip

    def forward(self, x):
        functional.reset_net(self)
        return sum(self.layers(x) for _ in range(STEPS)) / STEPS


class Sequence(nn.Module):
    """Several steps at a call, and a skip around neurons."""

    def __init__(self):
        super().__init__()
        self.conv = layer.SeqToANNContainer(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.spikes = neuron.IFNode(v_reset=None)
        self.fc = nn.Sequential(layer.Flatten(), layer.Linear(108, 4), neuron.LIFNode(tau=4.0))
        functional.set_step_mode(self, "m")

    def forward(self, x_seq):
        y = self.conv(x_seq)
        return self.fc(self.spikes(y) + x_seq[:, :, :1])


def jelly(cell, **shape):
    """Neurons alone, one step a call."""

    def own(module, x):
        functional.reset_net(module)
        return torch.stack([module(x[:, t]) for t in range(x.shape[1])], 1)

    return cell, own, eighths(SAMPLES, STEPS, SIZE, seed=5)


def whole(module, x):
    functional.reset_net(module)
    return module(x.transpose(0, 1)).transpose(0, 1)


def batch_first(module, x):
    for part in module.modules():
        if hasattr(part, "reset_states"):
            part.reset_states()
    return module(x)


def folded(module, x):
    """Each sample alone, as batch_size=1 wants it."""
    return torch.stack([batch_first(module, sample) for sample in x])


def layers(batch_size):
    kinds = {"batch_size": batch_size, "min_v_mem": -1.0}
    return weighted(nn.Sequential(
        nn.Conv2d(1, 3, 3), sl.IAFSqueeze(**kinds), sl.SumPool2d(2), nn.Flatten(),
        nn.Linear(12, 5), sl.IAFSqueeze(**kinds),
    ))  # fmt: skip


def cases():
    flat, image = eighths(SAMPLES, STEPS, SIZE, seed=5), eighths(SAMPLES, STEPS, 1, 6, 6, seed=6)
    yield "if", *jelly(neuron.IFNode())
    yield "if threshold", *jelly(neuron.IFNode(v_threshold=1.5, v_reset=-0.5))
    yield "if soft", *jelly(neuron.IFNode(v_reset=None))
    for decays in (True, False):
        yield f"lif {decays}", *jelly(neuron.LIFNode(tau=2.0, decay_input=decays, v_threshold=0.5))
        yield (
            f"lif {decays} reset",
            *jelly(neuron.LIFNode(tau=4.0, decay_input=decays, v_reset=0.25, v_threshold=0.5)),
        )
        yield (
            f"lif {decays} soft",
            *jelly(neuron.LIFNode(tau=2.0, decay_input=decays, v_reset=None, v_threshold=0.5)),
        )
        yield (
            f"plif {decays}",
            *jelly(neuron.ParametricLIFNode(2.0, decay_input=decays, v_threshold=0.5)),
        )
    several = neuron.LIFNode(tau=2.0, v_threshold=0.5)
    functional.set_step_mode(several, "m")
    yield "lif m", several, whole, flat
    yield "sequence", weighted(Sequence()), whole, image
    iaf = {"min_v_mem": -1.0}
    yield "iaf", sl.IAF(**iaf), batch_first, flat * 3
    yield "iaf free", sl.IAF(), batch_first, flat * 3
    yield "iaf thresholds", sl.IAF(eighths(SIZE, seed=7, low=4, high=12)), batch_first, flat * 3
    yield "iaf one", sl.IAF(spike_fn=SingleSpike), batch_first, flat * 3
    yield "iaf most", sl.IAF(spike_fn=MaxSpike(2), **iaf), batch_first, flat * 3
    yield "iaf reset", sl.IAF(spike_fn=SingleSpike, reset_fn=MembraneReset()), batch_first, flat
    for norm in (True, False):
        more = {"tau_mem": 20.0, "norm_input": norm, "min_v_mem": -1.0}
        yield f"sinabs lif {norm}", sl.LIF(**more), batch_first, flat * 9
        yield f"sinabs lif syn {norm}", sl.LIF(tau_syn=10.0, **more), batch_first, flat * 9
    yield "sinabs leak", sl.ExpLeak(tau_mem=20.0), batch_first, flat
    yield "sinabs layers", layers(1), folded, image
    mixed = nn.Sequential(sl.IAF(min_v_mem=-1.0), sl.IAF(min_v_mem=-2.0))
    yield "mixed", mixed, batch_first, flat
    soft = surrogate.Sigmoid(spiking=False)
    yield "no spikes", *jelly(neuron.IFNode(surrogate_function=soft))


def compared(module, own, x):
    net, _ = from_module(module, x.shape[2:], time_steps=STEPS)
    with torch.no_grad():
        wanted = own(module, x).numpy()
    found = floating.run(net, {"input": x.numpy()}).answer.reshape(wanted.shape)
    again, _ = run_module(module, x.numpy())
    if not np.array_equal(again.reshape(wanted.shape), wanted):
        return {"error": "the module runs otherwise"}
    differ = int((~np.isclose(found, wanted, rtol=0, atol=1e-5)).sum())
    return {"values": wanted.size, "differ": differ, "spikes": float(np.abs(wanted).sum())}


def written(module, own, x, **known):
    """Write a module as NIR with Sinabs itself, and read the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sinabs.nir"
        nir.write(path, to_nir(module, torch.zeros(1, 1, SIZE)))
        batch_first(module, x)  # with as many samples
        net = snn2hw.load(path, written_by="sinabs", **known)
    with torch.no_grad():
        wanted = own(module, x).numpy()
    found = floating.run(net, {"input": x.numpy()}).answer
    differ = int((found != wanted).sum())
    return {"values": wanted.size, "differ": differ, "spikes": float(wanted.sum())}


def files():
    """Networks of Sinabs that leak, and that do not, whatever time step is said."""
    x, ones = eighths(SAMPLES, STEPS, SIZE, seed=5, low=0), torch.ones(4)
    lif = sl.LIF(tau_mem=20 * ones, spike_threshold=ones, min_v_mem=-1.0)
    yield "file lif", weighted(nn.Sequential(nn.Linear(SIZE, 4), lif)), x * 8, {}
    for step in (None, 1e-3):
        known = {"dt": step} if step else {}
        iaf = sl.IAF(spike_threshold=ones, min_v_mem=-1.0)
        yield f"file iaf {step}", weighted(nn.Sequential(nn.Linear(SIZE, 4), iaf)), x, known


def told(module, own, x):
    try:
        return compared(module, own, x)
    except Snn2hwError as error:
        return {"error": str(error)}


def static():
    """The mean over time of a loop of its own."""
    module, x = weighted(Steps()), eighths(SAMPLES, 1, 1, 6, 6, seed=6)
    net, _ = from_module(module, (1, 6, 6))
    frames = x.repeat(1, STEPS, 1, 1, 1)
    with torch.no_grad():
        wanted = module(x[:, 0]).numpy()
    found = floating.run(net, {"input": frames.numpy()}).answer.sum(1) / STEPS
    same = snn2hw.measure(module, net, frames.numpy())["same_outputs"]
    differ = int((~np.isclose(found, wanted)).sum()) + int(same < 1) + int(net.time_steps != STEPS)
    return {"values": wanted.size, "differ": differ, "spikes": float(wanted.sum() * STEPS)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {name: told(module, own, x) for name, module, own, x in cases()}
    found["static"] = static()
    found |= {name: written(m, batch_first, x, **known) for name, m, x, known in files()}
    sys.stdout.write(json.dumps(found))
