"""Runs a program or a netx file in Intel's Lava. Executed by Lava's own Python 3.10.

    python lava_runner.py JOB.json

The job names ``program`` (program.h5) or ``net`` (model.net), ``inputs`` (npz, one array
``[N, T, *shape]`` for each input), ``output`` (npz to write), ``folder`` (for scratch files) and
``conv`` (auto, conv or sparse: which process runs a convolution). Lava's processes and arithmetic
are used as they are; the one addition are neuron models that call Lava's own and then note two
states and what was sent in the step in a file, and before it write what the host writes.

All samples run in one stream: each population is Lava's LIFReset with the interval of a sample and
the phase that the program gives it, so samples follow each other without a gap. Where connections
have delays in the sample's own time, as in loops, or neurons cannot be reset, the run pauses
between samples to clear states and the spikes in flight, and at each phase to switch biases on,
all through Lava's ``Var.set``.
"""

import importlib.util
import json
import logging
import os
import sys
import time
import types
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")
logging.disable(logging.CRITICAL)

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from lava.magma.core.decorator import implements, requires, tag  # noqa: E402
from lava.magma.core.resources import CPU  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol  # noqa: E402
from lava.proc.conv import utils as conv_utils  # noqa: E402
from lava.proc.conv.process import Conv  # noqa: E402
from lava.proc.dense.process import DelayDense, Dense  # noqa: E402
from lava.proc.graded.models import PyGradedVecModelFixed  # noqa: E402
from lava.proc.graded.process import GradedVec  # noqa: E402
from lava.proc.io.source import RingBuffer as Source  # noqa: E402
from lava.proc.lif.models import PyLifResetModelBitAcc  # noqa: E402
from lava.proc.lif.process import LIFReset  # noqa: E402
from lava.proc.rf.models import PyRFModelFixed  # noqa: E402
from lava.proc.rf.process import RF  # noqa: E402
from lava.proc.rf_iz.models import PyRF_IZModelFixed  # noqa: E402
from lava.proc.rf_iz.process import RF_IZ  # noqa: E402
from lava.proc.sdn.models import (  # noqa: E402
    PyDeltaModelFixed,
    PySigmaDeltaModelFixed,
    PySigmaModelFixed,
)
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta  # noqa: E402
from lava.proc.sparse.process import DelaySparse, Sparse  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402

# Lava's Conv calls SciPy once for each pair of channels and step. A sparse product of the same
# integers takes 0.8 of its time at 8 and 16 pairs, 0.65 at 32, 0.6 at 64, 0.4 at 256 (make bench);
# up to here Conv, the process that a Lava user would write, costs little.
CONV_PAIRS = 16
GRADED = (1 << 24) - 1  # stands for the largest of a message of 24 bits


class Recorded:
    """Writes two states and what was sent in each step to a file; Lava counts steps from 1."""

    shown = ()  # states, None for a 0

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.record = np.lib.format.open_memmap(proc_params["record"], mode="r+")
        path = proc_params.get("drive")
        self.drive = None if path is None else np.load(path, mmap_mode="r")
        self.tapped = False

    def run_spk(self):
        """Write what the host writes, run Lava's step, then note it."""
        if not self.tapped:
            self.tap(self.s_out.send)
        if self.drive is not None:
            self.bias_mant[...] = self.drive[self.time_step - 1].reshape(self.bias_mant.shape)
        super().run_spk()
        row = self.record[self.time_step - 1]
        for i, name in enumerate(self.shown):
            row[i] = np.ravel(getattr(self, name)) if name else 0
        row[2] = np.ravel(self.sent)

    def tap(self, send):
        """Keep what goes through the output port."""

        def keep_and_send(values):
            self.sent = values
            send(values)

        self.s_out.send, self.tapped = keep_and_send, True


def recorded(process, model, *shown):
    """Make Lava's own fixed-point model of a process, which also notes the two states named."""
    made = type("Recorded" + process.__name__, (Recorded, model), {"shown": shown})
    return tag("fixed_pt")(requires(CPU)(implements(process, LoihiProtocol)(made)))


RECORDED = {
    LIFReset: recorded(LIFReset, PyLifResetModelBitAcc, "u", "v"),
    Delta: recorded(Delta, PyDeltaModelFixed, "act", "residue"),
    SigmaDelta: recorded(SigmaDelta, PySigmaDeltaModelFixed, "sigma", "residue"),
    Sigma: recorded(Sigma, PySigmaModelFixed, "sigma", None),
    GradedVec: recorded(GradedVec, PyGradedVecModelFixed, None, "v"),
    RF: recorded(RF, PyRFModelFixed, "real", "imag"),
    RF_IZ: recorded(RF_IZ, PyRF_IZModelFixed, "real", "imag"),
}
# What a sample leaves behind; LIFReset clears itself.
STATES = ("sigma", "act", "residue", "error", "real", "imag")


def record_into(process, path, steps):
    """Give a neuron process its file."""
    size = int(np.prod(process.proc_params["shape"]))
    np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(steps, 3, size)).flush()
    process.proc_params["record"] = path


def stream(x, tail, period):
    """[N, T, ...] -> [..., N * period + tail]: samples back to back, zeros where there is none."""
    samples, steps = x.shape[:2]
    padded = np.zeros((samples, period, *x.shape[2:]), np.int32)
    padded[:, :steps] = x
    flat = padded.reshape((samples * period, *x.shape[2:]))
    flat = np.concatenate([flat, np.zeros((tail, *x.shape[2:]), np.int32)])
    return np.moveaxis(flat, 0, -1)


def attributes(group):
    """Read attributes as plain values."""
    return {k: (v.tolist() if hasattr(v, "tolist") else v) for k, v in group.attrs.items()}


def groups(file, name):
    """List the numbered groups."""
    return [file[name][k] for k in sorted(file[name])]


def build_program(path, inputs, folder, conv_mode):
    """Build Lava processes for a program; returns the populations and the plan of the run.

    A plan is a list of (values to set, steps to run then).
    """
    with h5py.File(path, "r") as file:
        ports = [attributes(g) for g in groups(file, "inputs")]
        populations = [
            dict(attributes(g), bias=g["bias"][()].astype(int) if "bias" in g else np.zeros(1, int))
            for g in groups(file, "populations")
        ]
        connections = [
            dict(attributes(g), arrays={k: g[k][()] for k in g})
            for g in groups(file, "connections")
        ]
        state_exp = int(file.attrs["numbers.state_shift"])
    samples, sample_steps = next(iter(inputs.values())).shape[:2]
    phase = {p["name"]: p["phase"] for p in populations}
    tail = max(phase.values())
    clears = all(p["kind"] in ("Lif", "Graded") for p in populations)
    streams = clears and not any(c["delay"] for c in connections)
    period = sample_steps if streams else sample_steps + tail
    steps = samples * period + (tail if streams else 0)
    ends, largest, values = {}, {}, {}
    for port in ports:
        name = port["name"]
        x = inputs[name].reshape(samples, sample_steps, -1)
        values[name] = stream(x, tail, period)
        ends[name] = Source(data=values[name])
        largest[name] = max(int(port["max_value"]), -2 * int(port["min_value"]))
    neurons = {}
    for i, p in enumerate(populations):
        name, late = p["name"], p["phase"] if streams else 0
        neurons[name] = ends[name] = neuron(p, late, period, streams, state_exp)
        if p["kind"] in ("Delta", "SigmaDelta", "Sigma", "Graded"):
            largest[name] = GRADED
        record_into(neurons[name], os.path.join(folder, "%04d.npy" % i), steps)
        if p.get("driven_by"):
            x = np.roll(values[p["driven_by"]][..., :steps], p["phase"], axis=-1)
            drive(neurons[name], x, p["bias"], os.path.join(folder, "drive%04d.npy" % i))
    made = [connect(c, ends, neurons[c["post"]], largest, conv_mode) for c in connections]
    kinds = dict(Counter(type(process).__name__ for process in made))
    plan = [([], steps)]
    if not streams:
        plan = samples * stages(populations, neurons, made, period, state_exp)
    return neurons, phase, plan, period, kinds, list(neurons.values())


def neuron(p, late, period, streams, state_exp):
    """Make the process of one population."""
    shape = (int(np.prod(p["shape"])),)
    # Before the first sample nothing is set: what has begun by then starts with its bias.
    bias = p["bias"] if streams or p["phase"] == 0 else 0 * p["bias"]
    scale = {"spike_exp": p.get("spike_exp", 0), "state_exp": state_exp}
    if p["kind"] == "Delta":
        return Delta(shape=shape, vth=p["vth"], **scale)
    if p["kind"] == "SigmaDelta":
        return SigmaDelta(shape=shape, vth=p["vth"], bias=0 * p["bias"], **scale)
    if p["kind"] == "Sigma":
        return Sigma(shape=shape)
    if p["kind"] == "Graded":
        return GradedVec(shape=shape, vth=0)
    if p["kind"] == "Resonator":
        kind = RF_IZ if p["resets"] else RF
        made = kind(shape=shape, period=4, alpha=0, vth=p["vth"], state_exp=6, decay_bits=12)
        made.cos_decay.init, made.sin_decay.init = np.int32(p["cos"]), np.int32(p["sin"])
        return made
    return LIFReset(
        shape=shape,
        du=p["du"],
        dv=p["dv"],
        vth=p["vth"],
        bias_mant=bias,
        bias_exp=p["bias_exp"],
        reset_interval=period,
        reset_offset=(late + 1) % period,
    )


def drive(process, x, bias, path):
    """Write ``x [*shape, steps]`` into neurons: LIF's bias or a Delta's input."""
    if isinstance(process, Delta):
        Source(data=x).s_out.connect(process.a_in)
    else:
        np.save(path, np.moveaxis(x, -1, 0).reshape(x.shape[-1], -1) + bias)
        process.proc_params["drive"] = path


def stages(populations, neurons, connections, period, state_exp):
    """Plan one sample: clear what the last one left, then switch biases on, phase by phase."""
    biased = {}
    for p in populations:
        process = neurons[p["name"]]
        if p["bias"].any() and not p.get("driven_by"):
            if p["kind"] == "Lif":
                biased.setdefault(p["phase"], []).append((process.bias_mant, p["bias"]))
            else:
                scaled = p["bias"] << (p["spike_exp"] + state_exp)
                biased.setdefault(p["phase"], []).append((process.bias, scaled))
    starts = {0: clearing(neurons.values(), connections)}
    starts[0] += [(var, 0 * value) for later in biased.values() for var, value in later]
    for begin, values in biased.items():
        starts.setdefault(begin, []).extend(values)
    begins = sorted(starts)
    return [(starts[a], b - a) for a, b in zip(begins, [*begins[1:], period])]


def clearing(neurons, connections):
    """Return the variables that a sample leaves something in, with zeros for them."""
    left = [getattr(n, k) for n in neurons for k in STATES if hasattr(n, k)]
    left += [c.a_buf if isinstance(c, Conv) else c.a_buff for c in connections]
    return [(var, np.zeros(var.shape, int)) for var in left]


def connect(c, ends, post, largest, conv_mode):
    """Make one connection process and wire it."""
    source, target = ends[c["pre"]].s_out, post.a_in if hasattr(post, "a_in") else None
    if target is None:
        target = post.a_imag_in if c["part"] == "imag" else post.a_real_in
    top = largest.get(c["pre"], 1)
    arrays, options = c["arrays"], {"num_message_bits": top.bit_length() if top > 1 else 0}
    weight = arrays["weight"].astype(int)
    if c["kind"] == "conv":
        # Conv has no exponent and no delay, and cuts its sums to 24 bits, which no other process
        # does.
        sums = np.abs(weight).sum(axis=(1, 2, 3)).max() * top
        small = sums < 1 << 23 or top == GRADED  # the simulator has seen to those
        plain = c["exponent"] == 0 and c["chip_delay"] == 1 and small
        pairs = weight.shape[0] * weight.shape[1]
        wanted = conv_mode == "conv" or (conv_mode == "auto" and pairs <= CONV_PAIRS)
        if plain and wanted:
            return connect_conv(c, weight, source, target, options)
        matrix = conv_matrix(c, weight)
    elif c["kind"] == "sparse":
        matrix = csr_matrix(
            (weight, arrays["indices"], arrays["indptr"]),
            shape=(len(arrays["indptr"]) - 1, c["pre_size"]),
        )
    else:
        matrix = weight
    options["weight_exp"] = c["exponent"]
    if c["chip_delay"] > 1:
        # Lava's delay 0 is the step that every connection takes.
        extra = c["chip_delay"] - 1
        if c["kind"] == "dense":
            delays = np.full(matrix.shape, extra)
            process = DelayDense(weights=matrix, delays=delays, **options)
        else:
            delays = matrix.copy()
            delays.data = np.full(matrix.nnz, extra)
            process = DelaySparse(weights=matrix, delays=delays, max_delay=extra, **options)
    elif c["kind"] == "dense":
        process = Dense(weights=matrix, **options)
    else:
        process = Sparse(weights=matrix, **options)
    source.connect(process.s_in)
    process.a_out.connect(target)
    return process


def conv_shape(c, weight):
    """Shape (C, H, W) of a convolution's result; the population itself may be flat."""
    sides = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(
            c["input_shape"][1:], weight.shape[2:], c["stride"], c["padding"], c["dilation"]
        )
    ]
    return [weight.shape[0], *sides]


def conv_matrix(c, weight):
    """Unroll a convolution with Lava's own function, then put its (W, H, C) order into ours."""
    image, result = c["input_shape"], conv_shape(c, weight)
    try:
        targets, sources, values = conv_utils.conv_to_sparse(
            image[::-1], result[::-1], turned(weight),
            c["stride"][::-1], c["padding"][::-1], c["dilation"][::-1], c["groups"],
        )  # fmt: skip
    except ValueError:  # no weight meets the image, of which Lava's function makes no empty list
        targets = sources = values = np.zeros(0, int)
    size = (int(np.prod(result)), int(np.prod(image)))
    place = (np.asarray(values).astype(int), (chw(targets, result), chw(sources, image)))
    matrix = csr_matrix(place, shape=size)
    matrix.eliminate_zeros()
    return matrix


def turned(weight):
    """Kernel of a cross-correlation (out, in, h, w) as Lava's convolution: (out, w, h, in)."""
    return weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)


def chw(index, shape):
    """Flat index in (W, H, C) order to flat index in (C, H, W) order."""
    x, y, channel = np.unravel_index(np.asarray(index).astype(int), shape[::-1])
    return np.ravel_multi_index((channel, y, x), shape)


def connect_conv(c, weight, source, target, options):
    """Use Lava's Conv: true convolution on (W, H, C), so kernels turn and axes swap."""
    channels, height, width = c["input_shape"]
    process = Conv(
        weight=turned(weight),
        input_shape=(width, height, channels),
        stride=c["stride"][::-1],
        padding=c["padding"][::-1],
        dilation=c["dilation"][::-1],
        groups=c["groups"],
        **options,
    )
    source.reshape((channels, height, width)).transpose([2, 1, 0]).connect(process.s_in)
    process.a_out.transpose([2, 1, 0]).flatten().connect(target)
    return process


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


def read_back(folder, neurons, phase, samples, steps, period):
    """Cut each population's own windows out of the stream: ``[N, T, size]`` each."""
    arrays = {}
    for i, (name, process) in enumerate(neurons.items()):
        record = np.load(os.path.join(folder, "%04d.npy" % i), mmap_mode="r")
        window = record[phase[name] + np.arange(samples)[:, None] * period + np.arange(steps)]
        layer_shape = process.proc_params["shape"]
        for k, what in enumerate(("u", "v", "spikes")):
            value = window[:, :, k]
            if len(layer_shape) == 3:  # netx counts (W, H, C)
                value = value.reshape((samples, steps, *layer_shape))
                value = value.transpose(0, 1, 4, 3, 2).reshape(samples, steps, -1)
            arrays[name + "." + what] = value
    return arrays


def main():
    """Run one job."""
    with open(sys.argv[1]) as file:
        job = json.load(file)
    with np.load(job["inputs"], allow_pickle=False) as stored:
        inputs = {k: stored[k] for k in stored.files}
    samples, sample_steps = next(iter(inputs.values())).shape[:2]
    folder = job["folder"]
    if job.get("net"):
        x = next(iter(inputs.values()))
        built = build_net(job["net"], x, folder, job)
    else:
        built = build_program(job["program"], inputs, folder, job["conv"])
    neurons, phase, plan, period, kinds, processes = built
    config = Loihi2SimCfg(
        select_tag="fixed_pt",
        select_sub_proc_model=bool(job.get("net")),
        exception_proc_model_map=RECORDED,
    )
    began = time.time()
    # The first step starts Lava; what the plan would set before it is how the processes start.
    handles = []
    for process in processes:
        if process.runtime is None:  # a run reaches only what is connected with its process
            process.run(condition=RunSteps(num_steps=1), run_cfg=config)
            handles.append(process)
    started = time.time()
    for i, (values, count) in enumerate(plan):
        if i:
            for var, value in values:
                var.set(value)
        if count > (i == 0):
            for handle in handles:
                handle.run(condition=RunSteps(num_steps=count - (i == 0)), run_cfg=config)
    ended = time.time()
    for handle in handles:
        handle.stop()
    arrays = read_back(folder, neurons, phase, samples, sample_steps, period)
    np.savez(job["output"], **arrays)
    status = {
        "seconds": ended - started,
        "start_seconds": started - began,
        "chip_steps": sum(count for _, count in plan),
        "period": period,
        "processes": kinds,
    }
    print("STATUS " + json.dumps(status), flush=True)


if __name__ == "__main__":
    main()
