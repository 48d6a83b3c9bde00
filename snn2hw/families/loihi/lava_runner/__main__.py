"""Runs a program or a netx file in Intel's Lava. Executed by Lava's own Python 3.10.

    python lava_runner JOB.json

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

A folder, as Python puts it on its path, with nothing else of this package.
"""

import json
import logging
import os
import sys
import time
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")
logging.disable(logging.CRITICAL)

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.proc.graded.process import GradedVec  # noqa: E402
from lava.proc.io.source import RingBuffer as Source  # noqa: E402
from lava.proc.lif.process import LIFReset  # noqa: E402
from lava.proc.rf.process import RF  # noqa: E402
from lava.proc.rf_iz.process import RF_IZ  # noqa: E402
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta  # noqa: E402
from lava_netx import build_net  # noqa: E402
from lava_neurons import RECORDED, clearing, drive, record_into, stream  # noqa: E402
from lava_synapses import GRADED, connect  # noqa: E402


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
    tail = max([*phase.values(), *(port.get("phase", 0) for port in ports)])
    clears = all(p["kind"] in ("Lif", "Graded") for p in populations)
    streams = clears and not any(c["delay"] for c in connections)
    period = sample_steps if streams else sample_steps + tail
    steps = samples * period + (tail if streams else 0)
    ends, largest, values = {}, {}, {}
    for port in ports:
        name = port["name"]
        x = inputs[name].reshape(samples, sample_steps, -1)
        values[name] = stream(x, tail, period)
        # Its tail is silent, so that what comes round to the front is zeros.
        ends[name] = Source(data=np.roll(values[name], port.get("phase", 0), axis=-1))
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
