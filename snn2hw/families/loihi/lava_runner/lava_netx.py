"""A netx file in lava-dl's own loader."""

import importlib.util
import os
import sys
import types

import numpy as np
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIFReset
from lava_neurons import clearing, drive, record_into, stream


def stand_in(name, **members):
    """Register an empty module: netx imports PyTorch for parts that are not used here."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


def rf_params(config):
    """Say in period and decay what a file says in sine and cosine, as lava-dl does.

    Lava's RF turns them back and drops the fraction. Whether that gives the file's integers or one
    less hangs on the last bit of NumPy's sine, which machines differ in; so aim at the middle.
    """
    sin, cos = ((x + np.sign(x) / 2) / 4096 for x in (config["sinDecay"], config["cosDecay"]))
    frequency = np.arctan2(sin, cos) / 2 / np.pi
    return {"period": 1 / frequency, "decay": 1 - np.sqrt(sin**2 + cos**2)}


def netx_loader():
    """Import lava-dl's loader, without what it imports of PyTorch."""
    for parent in ("lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron"):
        stand_in(parent, __path__=[])
    stand_in("lava.lib.dl.slayer.neuron.rf", neuron_params=rf_params)
    # Lava looks for process models beside the file of every module of the package.
    folders = importlib.util.find_spec("lava.lib.dl").submodule_search_locations
    unused = os.path.join(next(iter(folders)), "netx", "sequential_modules.py")
    stand_in("lava.lib.dl.netx.sequential_modules", __file__=unused)
    from lava.lib.dl.netx import hdf5

    return hdf5


def build_net(path, x, folder, job):
    """Load a netx file with lava-dl's own loader.

    The job says by ``streams`` whether samples may follow each other, by ``period`` after how many
    steps, by ``arguments`` what the loader is given for that, and by ``begins`` at which step each
    layer starts on the first one.
    """
    hdf5 = netx_loader()
    samples, steps = x.shape[:2]
    begins, streams, period = job["begins"], job["streams"], job["period"]
    tail = max(begins.values())
    # Neurons that can be reset are, also where spikes in flight are cleared between samples.
    resets = {} if streams else {"reset_interval": period}
    network = hdf5.Network(
        net_config=path,
        input_shape=tuple(x.shape[:1:-1]) if x.ndim == 5 else None,
        **job["arguments"],
        **resets,
    )
    total = samples * period + (tail if streams else 0)
    neurons = {}
    for i, (name, layer) in enumerate(zip(begins, network.layers)):
        neurons[name] = layer.neuron
        record_into(layer.neuron, os.path.join(folder, "%04d.npy" % i), total)
        if not streams and isinstance(layer.neuron, LIFReset):
            layer.neuron.proc_params.overwrite("reset_offset", 1 % period)
    first = network.in_layer
    driven = not hasattr(first, "synapse") and not hasattr(first, "real_synapse")
    if len(first.inp.shape) == 3:
        x = x.transpose(0, 1, 4, 3, 2)  # netx counts (W, H, C)
    data = stream(x.reshape(samples, steps, *first.inp.shape), tail, period)[..., :total]
    if driven:
        drive(first.neuron, data, 0, os.path.join(folder, "drive.npy"))
    else:
        Source(data=data).s_out.connect(network.inp)
    names = ("synapse", "synapse_rec", "real_synapse", "imag_synapse")
    synapses = [getattr(x, k) for x in network.layers for k in names if hasattr(x, k)]
    kinds = {"netx": len(network.layers)}
    plan = [([], total)] if streams else samples * [(clearing(neurons.values(), synapses), period)]
    return neurons, begins, plan, period, kinds, [network]
