"""Runs a program or a netx file in Intel's Lava. Executed by Lava's own Python 3.10.

    python lava_runner.py JOB.json

The job names ``program`` (program.h5) or ``net`` (model.net), ``inputs`` (npz, one array
``[N, T, *shape]`` for each input), ``output`` (npz to write), ``folder`` (for scratch files) and
``conv`` (auto, conv or sparse: which process runs a convolution). Lava's processes and arithmetic
are used as they are; the one addition is a neuron model that calls Lava's own and then notes u, v
and the spikes of the step in a file.

All samples run in one stream: each population is Lava's LIFReset with the interval of a sample and
the phase that the program gives it, so samples follow each other without a gap. Where connections
have delays in the sample's own time, as in loops, the run pauses between samples to clear the
spikes in flight, and at each phase to switch biases on, both through Lava's ``Var.set``.
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
from lava.proc.io.source import RingBuffer as Source  # noqa: E402
from lava.proc.lif.models import PyLifResetModelBitAcc  # noqa: E402
from lava.proc.lif.process import LIFReset  # noqa: E402
from lava.proc.sparse.process import DelaySparse, Sparse  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402

# Lava's Conv calls SciPy once for each pair of channels and step. A sparse product of the same
# integers takes 0.8 of its time at 8 and 16 pairs, 0.65 at 32, 0.6 at 64, 0.4 at 256 (make bench);
# up to here Conv, the process that a Lava user would write, costs little.
CONV_PAIRS = 16


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class RecordedLif(PyLifResetModelBitAcc):
    """Lava's fixed-point LIFReset, which also writes (u, v, spikes) of each step to a file."""

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.record = np.lib.format.open_memmap(proc_params["record"], mode="r+")

    def spiking_activation(self):
        """Keep what Lava decides."""
        self.fired = super().spiking_activation()
        return self.fired

    def run_spk(self):
        """Run Lava's step, then note it; Lava counts steps from 1."""
        super().run_spk()
        row = self.record[self.time_step - 1]
        row[0], row[1], row[2] = self.u.ravel(), self.v.ravel(), self.fired.ravel()


def record_into(process, path, steps):
    """Give a neuron process its file."""
    size = int(np.prod(process.v.shape))
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
            dict(attributes(g), bias=g["bias"][()].astype(int)) for g in groups(file, "populations")
        ]
        connections = [
            dict(attributes(g), arrays={k: g[k][()] for k in g})
            for g in groups(file, "connections")
        ]
        output = file.attrs["output"]
    samples, sample_steps = next(iter(inputs.values())).shape[:2]
    phase = {p["name"]: p["phase"] for p in populations}
    tail = max(phase.values())
    streams = not any(c["delay"] for c in connections)
    period = sample_steps if streams else sample_steps + tail
    steps = samples * period + (tail if streams else 0)
    ends, largest, shape = {}, {}, {}
    for port in ports:
        x = inputs[port["name"]].reshape(samples, sample_steps, -1)
        ends[port["name"]] = Source(data=stream(x, tail, period))
        largest[port["name"]] = int(port["max_value"])
        shape[port["name"]] = port["shape"]
    neurons = {}
    for i, p in enumerate(populations):
        name = p["name"]
        size = int(np.prod(p["shape"]))
        neurons[name] = ends[name] = LIFReset(
            shape=(size,),
            du=p["du"],
            dv=p["dv"],
            vth=p["vth"],
            bias_mant=p["bias"] if streams else 0 * p["bias"],
            bias_exp=p["bias_exp"],
            reset_interval=period,
            reset_offset=((p["phase"] if streams else 0) + 1) % period,
        )
        shape[name] = p["shape"]
        record_into(neurons[name], os.path.join(folder, "%04d.npy" % i), steps)
    made = [
        connect(c, ends[c["pre"]].s_out, neurons[c["post"]].a_in, shape, largest, conv_mode)
        for c in connections
    ]
    kinds = dict(Counter(type(process).__name__ for process in made))
    plan = [([], steps)] if streams else samples * stages(populations, neurons, made, period)
    return neurons, phase, plan, period, kinds, neurons[output]


def stages(populations, neurons, connections, period):
    """Plan one sample: clear what the last one left, then switch biases on, phase by phase.

    The neurons clear themselves: LIFReset does so in the first step.
    """
    biased = [p for p in populations if p["bias"].any()]
    starts = {0: [(neurons[p["name"]].bias_mant, 0 * p["bias"]) for p in biased]}
    for process in connections:
        buffer = process.a_buf if isinstance(process, Conv) else process.a_buff
        starts[0].append((buffer, np.zeros(buffer.shape, int)))
    for p in biased:
        starts.setdefault(p["phase"], []).append((neurons[p["name"]].bias_mant, p["bias"]))
    begins = sorted(starts)
    return [(starts[a], b - a) for a, b in zip(begins, [*begins[1:], period])]


def connect(c, source, target, shape, largest, conv_mode):
    """Make one connection process and wire it."""
    top = largest.get(c["pre"], 1)
    arrays, options = c["arrays"], {"num_message_bits": top.bit_length() if top > 1 else 0}
    weight = arrays["weight"].astype(int)
    if c["kind"] == "conv":
        # Conv has no exponent and no delay, and cuts its sums to 24 bits, which no other process
        # does.
        sums = np.abs(weight).sum(axis=(1, 2, 3)).max() * top
        plain = c["exponent"] == 0 and c["chip_delay"] == 1 and sums < 1 << 23
        pairs = weight.shape[0] * weight.shape[1]
        wanted = conv_mode == "conv" or (conv_mode == "auto" and pairs <= CONV_PAIRS)
        if plain and wanted:
            return connect_conv(c, weight, source, target, shape, options)
        matrix = conv_matrix(c, weight, shape)
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


def conv_matrix(c, weight, shape):
    """Unroll a convolution with Lava's own function, then put its (W, H, C) order into ours."""
    image, result = shape[c["pre"]], shape[c["post"]]
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


def connect_conv(c, weight, source, target, shape, options):
    """Use Lava's Conv: true convolution on (W, H, C), so kernels turn and axes swap."""
    channels, height, width = shape[c["pre"]]
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


def build_net(path, x, folder, message_bits, phases):
    """Load a netx file with lava-dl's own loader; layer i has phase i + 1."""
    for parent in ("lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron"):
        stand_in(parent, __path__=[])
    stand_in("lava.lib.dl.slayer.neuron.rf", neuron_params=None)
    # Lava looks for process models beside the file of every module of the package.
    folders = importlib.util.find_spec("lava.lib.dl").submodule_search_locations
    unused = os.path.join(next(iter(folders)), "netx", "sequential_modules.py")
    stand_in("lava.lib.dl.netx.sequential_modules", __file__=unused)
    from lava.lib.dl.netx import hdf5

    samples, steps = x.shape[:2]
    image = x.ndim > 3
    x = x.transpose(0, 1, 4, 3, 2) if image else x.reshape(samples, steps, -1)
    # netx gives layer i the offset i + 2, which must be smaller than the interval to ever match.
    period = max(steps, len(phases) + 2)
    network = hdf5.Network(
        net_config=path,
        input_message_bits=message_bits,
        input_shape=tuple(x.shape[2:]),
        reset_interval=period,
        reset_offset=1,
    )
    total = samples * period + len(phases)
    source = Source(data=stream(x, len(phases), period))
    source.s_out.connect(network.inp)
    neurons = {}
    for i, (name, layer) in enumerate(zip(phases, network.layers)):
        neurons[name] = layer.neuron
        record_into(layer.neuron, os.path.join(folder, "%04d.npy" % i), total)
    kinds = {"netx": len(network.layers)}
    return neurons, dict(phases), [([], total)], period, kinds, source


def read_back(folder, neurons, phase, samples, steps, period):
    """Cut each population's own windows out of the stream: ``[N, T, size]`` each."""
    arrays = {}
    for i, (name, process) in enumerate(neurons.items()):
        record = np.load(os.path.join(folder, "%04d.npy" % i), mmap_mode="r")
        window = record[phase[name] + np.arange(samples)[:, None] * period + np.arange(steps)]
        layer_shape = process.v.shape
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
        built = build_net(job["net"], x, folder, job["message_bits"], job["phases"])
    else:
        built = build_program(job["program"], inputs, folder, job["conv"])
    neurons, phase, plan, period, kinds, handle = built
    config = Loihi2SimCfg(
        select_tag="fixed_pt",
        select_sub_proc_model=bool(job.get("net")),
        exception_proc_model_map={LIFReset: RecordedLif},
    )
    began = time.time()
    # The first step starts Lava; what the plan would set before it is how the processes start.
    handle.run(condition=RunSteps(num_steps=1), run_cfg=config)
    started = time.time()
    for i, (values, count) in enumerate(plan):
        if i:
            for var, value in values:
                var.set(value)
        if count > (i == 0):
            handle.run(condition=RunSteps(num_steps=count - (i == 0)), run_cfg=config)
    ended = time.time()
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
