"""Replays a run on SANA-FE's model of a chip. Executed by an environment with SANA-FE.

    python sanafe_runner.py FOLDER

The folder holds ``job.json`` (groups of neurons, connections and their units, chips and timing
models to run) and ``arrays.npz``: of each group the core of each neuron and what it has at each
step; of each connection the pairs of neurons. Writes ``found.json``: for each run its energy in
joules and its time in seconds.

Weights are 0 and neurons keep nothing: before each step, each is given a membrane potential and a
bias, by which it fires exactly where it should, and by which SANA-FE decides whether it is updated.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import sanafe

HOLDS, BIASED, FIRES = 1, 2, 4
THRESHOLD = 10.0
NEURON = {"threshold": THRESHOLD, "leak_decay": 0.0, "input_decay": 0.0}


def built(arch, job, arrays):
    """Return the network, with each neuron on its core."""
    net, cores = sanafe.Network(), arch.cores()
    groups = {}
    for name in job["groups"]:
        where = arrays[f"core.{name}"]
        group = net.create_neuron_group(name, len(where), NEURON)
        for neuron, core in zip(group, where.tolist(), strict=True):
            neuron.map_to_core(cores[core])
        groups[name] = group
    for i, (pre, post, unit) in enumerate(job["connections"]):
        for neuron in groups[post]:  # a connection is of the unit that its target has now
            neuron.set_attributes(default_synapse_hw_name=unit)
        pairs = arrays[f"pairs.{i}"].tolist()
        groups[pre].connect_neurons_sparse(groups[post], {"weight": [0.0] * len(pairs)}, pairs)
    return net


def given(flags):
    """Return what a neuron is given for a step."""
    bias = THRESHOLD + 1 if flags & FIRES else float(bool(flags & BIASED))
    return {"potential": float(flags & HOLDS), "bias": bias}


def simulated(arch, timing, net, names, have):
    """Return energy in joules and time in seconds of all steps on one chip.

    They are a round of a stream: what the last step sends is on its way before the first.
    """
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    groups = chip.mapped_neuron_groups
    neurons = [n for name in names for n in groups[name]]
    told = {flags: given(flags) for flags in range((HOLDS | BIASED | FIRES) + 1)}
    before, done = np.zeros_like(have[0]), []
    for now in (have[-1], *have):
        # A bias stays, a potential is used up in a step.
        for i in np.flatnonzero((now != before) | (now & HOLDS > 0)).tolist():
            neurons[i].set_attributes(told[int(now[i])])
        done.append(chip.sim(1, timing_model=timing, processing_threads=1))
        before = now
    counted = done[1:]
    return {
        "energy": sum(step["energy"]["total"] for step in counted),
        "time": sum(step["sim_time"] for step in counted),
    }


def main(folder):
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    names = job["groups"]
    have = np.concatenate([arrays[f"have.{name}"] for name in names], axis=1)
    chips = {chip for chip, _ in job["runs"].values()}
    found = {}
    with contextlib.redirect_stdout(io.StringIO()):
        archs = {chip: sanafe.load_arch(str(folder / f"{chip}.yaml")) for chip in chips}
        net = built(next(iter(archs.values())), job, arrays)  # all of them have the same cores
        for name, (chip, timing) in job["runs"].items():
            found[name] = simulated(archs[chip], timing, net, names, have)
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
