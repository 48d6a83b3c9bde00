"""``spec.json``: a program as keyword arguments of Rockpool's ``XyloSim.from_specification``.

Rockpool 3.1.0, ``devices/xylo/syns61201/xylo_sim.py`` and ``syns63300/xylo_sim.py``, which
XyloAudio 3 takes as well. Rockpool wants arrays, except for ``aliases``:

    spec = json.loads(Path("spec.json").read_text())
    arrays = {k: np.array(v) if type(v) is list and k != "aliases" else v for k, v in spec.items()}
    XyloSim.from_specification(**arrays)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import listed
from snn2hw.families.xylo.numbers import (
    PARTS,
    Group,
    first_ids,
    group,
    hidden,
    joined,
    numbers_of,
    readouts,
    shift,
)
from snn2hw.families.xylo.populations import NO_ALIAS
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import matrix

# What XyloSim does to every network, as no argument says it (xylosim 0.1.3, ``src/v2/cpp``).
FIXED: Mapping[str, int] = {"state_bits": 16, "hidden_spikes": 31, "readout_spikes": 1}
MOST_INPUT_SPIKES = 15


def plan(program: Program) -> Callable[[Path], None] | str:
    """Return what writes a program, or why ``from_specification`` cannot take it.

    The same program gives the same bytes.
    """
    reasons = list(_reasons(program.network))
    return listed(reasons, "; ") if reasons else partial(_write, program)


def _reasons(net: IntNetwork) -> Iterator[str]:
    n = numbers_of(net)
    for name, value in FIXED.items():
        if getattr(n, name) != value:
            yield f"the chip's {name} is {getattr(n, name)}, XyloSim's always {value}"
    if n.input_spikes > MOST_INPUT_SPIKES:
        yield f"the chip's input_spikes is {n.input_spikes}, XyloSim's always {MOST_INPUT_SPIKES}"
    if not hidden(net):
        yield "it has no hidden neurons, XyloSim needs one"


def specification(program: Program) -> dict[str, Any]:
    """Return the arguments, in the order of the function's own, arrays as nested lists.

    Of ``I`` inputs, ``H`` hidden neurons and ``O`` outputs, ``weights_in [I, E, synapses]`` ends in
    the first ``E`` hidden neurons, as many as the inputs reach, and ``weights_out [F, O]`` begins
    at the last ``F``, which the readout hears; ``weights_rec`` is ``[H, H, synapses]``. The rest is
    ``[H]`` or, with ``_out``, ``[O]``. ``dash_syn_2`` is 0 where the chip has one synapse, for
    ``from_specification`` takes it and Rockpool's quantizers ask for it. ``dt`` is in seconds, all
    else are integers.
    """
    net, target = program.network, program.target
    parts, outs = hidden(net), readouts(net)
    count = sum(p.size for p in parts)
    hears = min(count, target.limit("input_expansion"))
    heard = min(count, target.limit("readout_expansion"))
    return {
        "weights_in": _weights(net, "input")[:, :hears].tolist(),
        "weights_out": _weights(net, "readout")[count - heard :, :, 0].tolist(),
        "weights_rec": _weights(net, "recurrent").tolist(),
        "dash_mem": joined(parts, "dash_mem").tolist(),
        "dash_mem_out": joined(outs, "dash_mem").tolist(),
        "dash_syn": joined(parts, "dash_syn").tolist(),
        "dash_syn_2": joined(parts, "dash_syn2").tolist(),
        "dash_syn_out": joined(outs, "dash_syn").tolist(),
        "threshold": joined(parts, "threshold").tolist(),
        "threshold_out": joined(outs, "threshold").tolist(),
        "bias": joined(parts, "bias").tolist(),
        "bias_out": joined(outs, "bias").tolist(),
        "weight_shift_in": shift(net, "input"),
        "weight_shift_rec": shift(net, "recurrent"),
        "weight_shift_out": shift(net, "readout"),
        "aliases": [[] if a == NO_ALIAS else [a] for a in joined(parts, "alias").tolist()],
        "dt": net.dt,
    }


def _weights(net: IntNetwork, of: Group) -> NDArray[np.int8]:
    """Return a group's weights ``[pre, post, synapse]``, of a readout those of one synapse."""
    first, count = first_ids(net), sum(p.size for p in hidden(net))
    pre = sum(p.size for p in net.inputs) if of == "input" else count
    post = sum(p.size for p in readouts(net)) if of == "readout" else count
    synapses = 1 if of == "readout" else numbers_of(net).synapses
    found = np.zeros((pre, post, synapses), np.int8)
    for c in net.connections:
        if group(net, c) == of:
            entries = matrix(c.synapses).tocoo()
            ends = first[c.pre] + entries.col, first[c.post] + entries.row, PARTS.index(c.part)
            found[ends] = entries.data
    return found


def _write(program: Program, path: Path) -> None:
    """Write one argument a line."""
    lines = (
        f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
        for k, v in specification(program).items()
    )
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")
