"""Runs a program in nengo-loihi's emulator of Loihi 1. Executed by that environment's Python.

    python nengo_loihi_runner.py JOB.json

The job names ``program`` (program.h5), ``inputs`` (npz, one array ``[N, T, *shape]`` for each
input) and ``output`` (npz to write). The emulator's blocks are filled with the program's integers,
where nengo's builder would fill in those that it rounds itself, and its arithmetic is used as it
is. Weights come from nengo-loihi's own ``discretize_weights`` in the smallest format that holds
them; only where that would round first, to lose nothing, or has no -256, its shifts are called by
themselves.

The emulator has no delays (``MAX_DELAY``) and no reset between samples. A spike that waits passes
through compartments that do nothing but send it on one step later, spikes of an input are given
later, and each sample has an emulator of its own, in which biases are switched on at each
population's phase.
"""

import json
import sys
import time
from types import SimpleNamespace

import h5py
import numpy as np
from nengo_loihi.block import Axon, LoihiBlock, Synapse, SynapseConfig
from nengo_loihi.builder.discretize import discretize_weights, shift
from nengo_loihi.builder.validate import validate_synapse_cfg
from nengo_loihi.emulator import EmulatorInterface
from nengo_loihi.inputs import SpikeInput
from scipy.sparse import csr_matrix

VTH_EXP = 6
STATE_MAX = (1 << 23) - 1


def attributes(group):
    """Read attributes as plain values."""
    return {k: (v.tolist() if hasattr(v, "tolist") else v) for k, v in group.attrs.items()}


def groups(file, name):
    """List the numbered groups."""
    return [file[name][k] for k in sorted(file[name])]


def read(path):
    """Read inputs, populations and connections of a program."""
    with h5py.File(path, "r") as file:
        ports = [attributes(g) for g in groups(file, "inputs")]
        populations = [
            dict(attributes(g), bias=g["bias"][()].astype(int)) for g in groups(file, "populations")
        ]
        connections = [
            dict(attributes(g), arrays={k: g[k][()] for k in g})
            for g in groups(file, "connections")
        ]
    return ports, populations, connections


def block(size, label, du, dv, vth):
    """Make compartments of given integers; their biases are written while they run."""
    made = LoihiBlock(size, label=label)
    c = made.compartment
    for name, value in (("decay_u", du), ("decay_v", dv), ("vth", vth << VTH_EXP), ("bias", 0)):
        setattr(c, name, np.full(size, value, np.int32))
    c.refract_delay = np.ones(size, np.int32)
    c.scale_u = c.scale_v = False
    c.vmin, c.vmax = -STATE_MAX, STATE_MAX
    return made


def matrix(c):
    """Return the weights ``[post, pre]`` of a connection."""
    weight = c["arrays"]["weight"].astype(int)
    if c["kind"] == "dense":
        return csr_matrix(weight)
    if c["kind"] == "sparse":
        ends = c["arrays"]["indptr"]
        shape = (len(ends) - 1, c["pre_size"])
        return csr_matrix((weight, c["arrays"]["indices"], ends), shape=shape)
    return unrolled(c, weight)


def unrolled(c, weight):
    """Write a convolution's synapses out, pixel by pixel."""
    channels, height, width = c["input_shape"]
    (sy, sx), (py, px), (dy, dx) = c["stride"], c["padding"], c["dilation"]
    out, into, kh, kw = weight.shape
    below = (height + 2 * py - dy * (kh - 1) - 1) // sy + 1
    beside = (width + 2 * px - dx * (kw - 1) - 1) // sx + 1
    o, i, ky, kx = np.nonzero(weight)
    y, x = np.arange(below)[:, None, None], np.arange(beside)[None, :, None]
    row, column = y * sy - py + ky * dy, x * sx - px + kx * dx
    there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    channel = (o * c["groups"] // out) * into + i
    post = (o * below + y) * beside + x
    pre = (channel * height + row) * width + column
    values = np.broadcast_to(weight[o, i, ky, kx], there.shape)
    place = (np.broadcast_to(post, there.shape)[there], pre[there])
    size = (out * below * beside, channels * height * width)
    return csr_matrix((values[there], place), shape=size)


def fanout(weight):
    """Return nengo-loihi's number for weights of both signs (1), none below 0 (2), none above."""
    if weight.size and weight.min() < 0 < weight.max():
        return 1
    return 3 if weight.size and weight.min() < 0 else 2


def formatted(weight, exponent):
    """Return the emulator's weights, and the bits of a synapse, for integers and an exponent."""
    for index in range(1, 8):
        cfg = SynapseConfig(weight_bits=index, fanout_type=fanout(weight), weight_exp=exponent)
        if not (weight % (1 << cfg.shift_bits)).any():
            break
    validate_synapse_cfg(SynapseConfig(weight_bits=index, fanout_type=cfg.fanout_type))
    loses = exponent < 0 and (weight % (1 << -exponent)).any()
    least = -(((1 << (8 - cfg.shift_bits)) - 1) << cfg.shift_bits)
    if loses or (weight.size and weight.min() < least):
        plain = np.left_shift(shift(weight.astype(np.int32), exponent), VTH_EXP)
        return plain, cfg.real_weight_bits, 0
    made = discretize_weights(cfg, weight.astype(float))
    return made, cfg.real_weight_bits, weight.size


def synapse(rows, weights, post):
    """Give a block synapses, one axon for each source neuron (a row)."""
    made = Synapse(rows.shape[0])
    lists = [slice(a, b) for a, b in zip(rows.indptr[:-1], rows.indptr[1:])]
    made._set_weights_indices(
        [weights[at] for at in lists], [rows.indices[at] for at in lists], weight_dtype=np.int32
    )
    post.add_synapse(made)
    return made


def axon(size, target):
    """Lead every spike to the axon of its own number."""
    made = Axon(size)
    made.target = target
    made.set_compartment_axon_map(np.arange(size))
    return made


class Network:
    """Blocks, inputs and relays of a program."""

    def __init__(self, ports, populations, connections):
        self.ports, self.populations = ports, populations
        self.blocks, self.sources, self.relays = {}, {}, {}
        self.formats, self.discretized = {}, 0
        for p in populations:
            if p["kind"] != "Lif":
                raise SystemExit("the emulator has no neurons of kind %s" % p["kind"])
            size = int(np.prod(p["shape"]))
            self.blocks[p["name"]] = block(size, p["name"], p["du"], p["dv"], p["vth"])
        for c in connections:
            self.connect(c)

    def connect(self, c):
        """Make the synapses of a connection, and what holds its spikes back."""
        rows = matrix(c).T.tocsr()
        if not rows.nnz:
            return
        # The format is that of all weights, whether they meet a neuron or not.
        whole, bits, through = formatted(c["arrays"]["weight"].astype(int), c["exponent"])
        kind = "connections of %d bits" % bits
        self.formats[kind] = self.formats.get(kind, 0) + 1
        self.discretized += through
        value = dict(
            zip(c["arrays"]["weight"].astype(int).ravel().tolist(), whole.ravel().tolist())
        )
        weights = np.array([value[w] for w in rows.data.tolist()], np.int32)
        target = synapse(rows, weights, self.blocks[c["post"]])
        self.source(c["pre"], c["chip_delay"]).add_axon(axon(rows.shape[0], target))

    def source(self, name, delay):
        """Return what sends the spikes of an input or a population so many steps later."""
        port = next((p for p in self.ports if p["name"] == name), None)
        if port is not None:
            size = int(np.prod(port["shape"]))
            return self.sources.setdefault((name, delay), SpikeInput(size, label=name))
        if delay == 1:
            return self.blocks[name]
        if (name, delay) not in self.relays:
            before = self.source(name, delay - 1)
            size = self.blocks[name].n_neurons
            # Forgets its current at once and spikes at any input, which sets its voltage to 0.
            made = self.relays[name, delay] = block(size, "%s later" % name, 4095, 0, 1)
            rows = csr_matrix(np.eye(size, dtype=int))
            target = synapse(rows, np.full(size, 2 << VTH_EXP, np.int32), made)
            before.add_axon(axon(size, target))
        return self.relays[name, delay]

    def run(self, inputs, steps):
        """Run one sample of an array ``[T, size]`` for each input; returns u, v and spikes."""
        blocks = [*self.blocks.values(), *self.relays.values()]
        model = SimpleNamespace(
            blocks=blocks, inputs=list(self.sources.values()), probes=[], dt=0.001
        )
        with EmulatorInterface(model, seed=0) as emulator:
            slices = emulator.block_info.slices
            for (name, delay), source in self.sources.items():
                source.spikes.clear()
                for t, row in enumerate(inputs[name]):
                    # What is sent in its step t + 1 counts in t + 2, one later.
                    source.add_spikes(t + delay, np.flatnonzero(row))
            kept = {p["name"]: [] for p in self.populations}
            for step in range(steps):
                for p in self.populations:
                    at = slices[self.blocks[p["name"]]]
                    emulator.compartment.bias[at] = written(p, inputs, step)
                emulator.step()
                state = emulator.compartment
                for name, rows in kept.items():
                    at = slices[self.blocks[name]]
                    rows.append(
                        [a[at].copy() for a in (state.current, state.voltage, state.spiked)]
                    )
        return kept


def written(p, inputs, step):
    """Return the bias of a population in one step: none before its phase."""
    t = step - p["phase"]
    if t < 0:
        return 0
    mantissa = p["bias"]
    if p.get("driven_by") and t < len(inputs[p["driven_by"]]):
        mantissa = mantissa + inputs[p["driven_by"]][t]
    return mantissa << p["bias_exp"]


def main(path):
    """Run every sample and write what each population did in its own window."""
    with open(path) as file:
        job = json.load(file)
    ports, populations, connections = read(job["program"])
    with np.load(job["inputs"]) as given:
        inputs = {k: given[k] for k in given.files}
    samples, steps = next(iter(inputs.values())).shape[:2]
    network = Network(ports, populations, connections)
    began = time.perf_counter()
    tail = max(p["phase"] for p in populations)
    found = {p["name"]: [] for p in populations}
    for n in range(samples):
        sample = {k: x[n].reshape(steps, -1) for k, x in inputs.items()}
        kept = network.run(sample, steps + tail)
        for p in populations:
            rows = kept[p["name"]][p["phase"] : p["phase"] + steps]
            found[p["name"]].append(np.array(rows, np.int32))
    seconds = time.perf_counter() - began
    arrays = {}
    for name, parts in found.items():
        whole = np.stack(parts)
        for i, what in enumerate(("u", "v", "spikes")):
            arrays["%s.%s" % (name, what)] = whole[:, :, i]
    np.savez(job["output"], **arrays)
    processes = {
        "blocks": len(network.blocks), "relays": len(network.relays), **network.formats,
        "weights by discretize_weights": network.discretized,
    }  # fmt: skip
    done = {"chip_steps": samples * (steps + tail), "seconds": seconds, "processes": processes}
    print("STATUS " + json.dumps(done), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
