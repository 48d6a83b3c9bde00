"""What a person reads: listings of a tiny network, kept as files. --update-golden rewrites them."""

from __future__ import annotations

import json

import numpy as np
from nets import LOIHI2, residual, tiny

from snn2hw.pipeline import counting
from snn2hw.pipeline.compiler import compile_network
from snn2hw.report import bill
from snn2hw.report.proof import proved
from snn2hw.store.layout import layers_json, placement_json


def listing(program) -> str:
    net = program.network
    lines = [f"target {program.target.name}, {net.time_steps} steps, depth {program.depth}"]
    for p in net.populations:
        lines.append(
            f"{p.name} {list(p.shape)} phase {program.phase[p.name]} "
            f"du {p.du} dv {p.dv} vth {p.vth} "
            f"bias {p.bias[:6].tolist()} << {p.bias_exp}"
        )
        for i in net.into(p.name):
            c = net.connections[i]
            head = c.synapses.weight.reshape(-1)[:12].tolist()
            lines.append(
                f"  from {c.pre}, {c.synapses.kind}, delay {program.delays[i]}, "
                f"weights {head} << {c.exponent}"
            )
    return "\n".join(lines) + "\n"


def test_programs(golden):
    golden("tiny.program.txt", listing(compile_network(tiny(), LOIHI2)))
    golden("residual.program.txt", listing(compile_network(residual(), LOIHI2)))


def test_placement_and_layers(golden):
    program = compile_network(residual(), LOIHI2)
    golden(
        "residual.placement.json", json.dumps(placement_json(program.placement), indent=1) + "\n"
    )
    golden("residual.layers.json", json.dumps(layers_json(program), indent=1) + "\n")


def test_energy_report(golden):
    program = compile_network(tiny(), LOIHI2)
    x = np.random.default_rng(0).integers(0, 2, (16, 4, 4))
    trace, counts = counting.run(program, {"input": x})
    report = counting.report(program, trace, counts, LOIHI2)
    lines = bill.energy(report, "tiny", None, proved(None, program.digest()))
    golden("tiny.energy.txt", "\n".join(lines) + "\n")
