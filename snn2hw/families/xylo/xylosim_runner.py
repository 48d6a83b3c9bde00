"""Runs a program in SynSense's xylosim. Executed by xylosim's own Python 3.11.

    python xylosim_runner.py JOB.json

The job names ``program`` (program.h5) or ``spec`` (spec.json), ``inputs`` (npz, one array
``[N, T, *shape]``), ``output`` (npz to write: of each population what it sent and its states, each
``[N, T + tail, size]``), ``tail`` (steps that run on after a sample's last input) and ``sizes``
(name and size of each population, for that file). Each sample starts from fresh state.
"""

import json
import sys
import time

import h5py
import numpy as np
from xylosim.v2 import XyloLayer, XyloSynapse

PARTS = ("isyn", "isyn2")


def groups(file, name):
    """Return the numbered groups of a part of the program, in order."""
    return [file[name][k] for k in sorted(file[name])]


def entries(group):
    """Yield a connection's synapses: source, target, weight."""
    weight = group["weight"][()]
    if group.attrs["kind"] == "dense":
        for post, pre in np.argwhere(weight).tolist():
            yield pre, post, int(weight[post, pre])
    else:
        ends, sources = group["indptr"][()].tolist(), group["indices"][()].tolist()
        for post in range(len(ends) - 1):
            for k in range(ends[post], ends[post + 1]):
                yield sources[k], post, int(weight[k])


def from_program(file):
    """Return the layer of a program, and its synapses, which it holds by pointers only."""
    ports, populations = groups(file, "inputs"), groups(file, "populations")
    hidden = [p for p in populations if p.attrs["kind"] == "Hidden"]
    readout = [p for p in populations if p.attrs["kind"] == "Readout"]
    first = {p.attrs["name"]: 0 for p in ports}
    for pool in (readout, hidden):
        count = 0
        for p in pool:
            first[p.attrs["name"]] = count
            count += p["threshold"].size
    channels = sum(int(np.prod(p.attrs["shape"])) for p in ports)
    synapses = {
        "inp": [[] for _ in range(channels)],
        "rec": [[] for _ in range(count)],
        "out": [[] for _ in range(count)],
    }
    shifts = {"inp": 0, "rec": 0, "out": 0}
    inputs, outs = ({p.attrs["name"] for p in parts} for parts in (ports, readout))
    for c in groups(file, "connections"):
        pre, post = c.attrs["pre"], c.attrs["post"]
        kind = "inp" if pre in inputs else "out" if post in outs else "rec"
        shifts[kind] = int(c.attrs["exponent"])
        which = PARTS.index(c.attrs["part"])
        for a, b, weight in entries(c):
            synapses[kind][first[pre] + a].append(XyloSynapse(first[post] + b, which, weight))

    def numbers(parts, name):
        return [int(v) for p in parts for v in p[name][()]]

    several = int(file.attrs["numbers.synapses"]) > 1
    dash = numbers(hidden, "dash_syn"), numbers(hidden, "dash_syn2")
    bias, bias_out = numbers(hidden, "bias"), numbers(readout, "bias")
    layer = XyloLayer(
        synapses_in=synapses["inp"],
        synapses_rec=synapses["rec"],
        synapses_out=synapses["out"],
        aliases=[[a] if a >= 0 else [] for a in numbers(hidden, "alias")],
        threshold=numbers(hidden, "threshold"),
        threshold_out=numbers(readout, "threshold"),
        has_bias=any(bias + bias_out),
        bias=bias,
        bias_out=bias_out,
        weight_shift_inp=shifts["inp"],
        weight_shift_rec=shifts["rec"],
        weight_shift_out=shifts["out"],
        dash_mem=numbers(hidden, "dash_mem"),
        dash_mem_out=numbers(readout, "dash_mem"),
        dash_syns=[list(d) if several else [d[0]] for d in zip(*dash)],
        dash_syns_out=[[d] for d in numbers(readout, "dash_syn")],
        name="program",
    )
    return layer, synapses


def from_specification(spec):
    """Return the layer of a specification, and its synapses; nothing but the file's own numbers.

    Weights are ``[pre][post][synapse]``; those to the readout are ``[pre][post]``, and ``pre`` are
    the last hidden neurons (Rockpool 3.1.0, ``XyloSim.from_specification``).
    """

    def synapses_of(rows):
        return [
            [XyloSynapse(post, which, weight)
             for post, weights in enumerate(row) for which, weight in enumerate(weights) if weight]
            for row in rows
        ]  # fmt: skip

    unheard = len(spec["threshold"]) - len(spec["weights_out"])
    out = [[[w] for w in row] for row in spec["weights_out"]]
    synapses = {
        "inp": synapses_of(spec["weights_in"]),
        "rec": synapses_of(spec["weights_rec"]),
        "out": [[] for _ in range(unheard)] + synapses_of(out),
    }
    several = len(spec["weights_rec"][0][0])
    layer = XyloLayer(
        synapses_in=synapses["inp"],
        synapses_rec=synapses["rec"],
        synapses_out=synapses["out"],
        aliases=spec["aliases"],
        threshold=spec["threshold"],
        threshold_out=spec["threshold_out"],
        has_bias=any(spec["bias"] + spec["bias_out"]),
        bias=spec["bias"],
        bias_out=spec["bias_out"],
        weight_shift_inp=spec["weight_shift_in"],
        weight_shift_rec=spec["weight_shift_rec"],
        weight_shift_out=spec["weight_shift_out"],
        dash_mem=spec["dash_mem"],
        dash_mem_out=spec["dash_mem_out"],
        dash_syns=[d[:several] for d in map(list, zip(spec["dash_syn"], spec["dash_syn_2"]))],
        dash_syns_out=[[d] for d in spec["dash_syn_out"]],
        name="specification",
    )
    return layer, synapses


def recorded(layer):
    """Return what the last sample's neurons did, ``[steps, neurons]``, hidden and readout."""
    inner = {
        "isyn": np.array(layer.rec_i_syn).T,
        "isyn2": np.array(layer.rec_i_syn2).T,
        "vmem": np.array(layer.rec_v_mem).T,
        "spikes": np.array(layer.rec_recurrent_spikes),
    }
    out = {
        "isyn": np.array(layer.rec_i_syn_out).T,
        "vmem": np.array(layer.rec_v_mem_out).T,
        "spikes": np.array(layer.rec_out_spikes),
    }
    return {k: v for k, v in inner.items() if v.size}, out


def main():
    """Run one job."""
    with open(sys.argv[1]) as file:
        job = json.load(file)
    with np.load(job["inputs"], allow_pickle=False) as stored:
        (x,) = (stored[k] for k in stored.files)
    x = x.reshape(*x.shape[:2], -1)
    x = np.pad(x, ((0, 0), (0, job["tail"]), (0, 0)))
    if job["spec"]:
        with open(job["spec"]) as file:
            layer, synapses = from_specification(json.load(file))
    else:
        with h5py.File(job["program"]) as file:
            layer, synapses = from_program(file)
    count = len(synapses["rec"])
    rows = {}
    began = time.time()
    for sample in x:
        layer.reset_all()
        layer.evolve(sample.tolist())
        begin = 0
        inner, out = recorded(layer)
        for name, size in job["sizes"]:
            pool, at = (inner, begin) if begin < count else (out, begin - count)
            for k, v in pool.items():
                rows.setdefault(name + "." + k, []).append(v[:, at : at + size])
            begin += size
    ended = time.time()
    np.savez(job["output"], **{k: np.array(v, np.int32) for k, v in rows.items()})
    status = {
        "seconds": ended - began,
        "chip_steps": int(x.shape[0] * x.shape[1]),
        "processes": {
            "XyloLayer": 1,
            "XyloSynapse": sum(len(s) for kind in synapses.values() for s in kind),
        },
    }
    print("STATUS " + json.dumps(status), flush=True)


if __name__ == "__main__":
    main()
