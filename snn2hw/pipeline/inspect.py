"""What is in a file, and what each target would refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from snn2hw import nir_io, onnx_io, preprocessing
from snn2hw import target as targets
from snn2hw.errors import UnsupportedError
from snn2hw.files import expanded
from snn2hw.ir.graph import Wiring, along_edges, wiring
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv1d, Conv2d, Node, Scale, output_shape
from snn2hw.ir.populations import described
from snn2hw.ir.synapses import describe_shape, nonzeros, synapse_count
from snn2hw.passes import simplify
from snn2hw.pipeline.comparing import fits, would_help
from snn2hw.pipeline.loading import NO_STEPS, Model, built, load_model, unused
from snn2hw.recordings import read_recording
from snn2hw.store import folders


def inspect_file(
    given: str, root: Path, target: str | None, choice: nir_io.Choice = nir_io.NOTHING
) -> dict[str, Any]:
    """Describe a ``.nir``, ``.net`` or ``.onnx`` file, a run, a build or a shipped model.

    Args:
        given: path or name.
        root: the working directory.
        target: only ask this target; None asks all.
        choice: what the file may not say.
    """
    asked = targets.names() if target is None else [target]
    path = expanded(given)
    if path.suffix == ".onnx":
        why = (
            "The network does not spike. "
            f"Distill a student from it first: snn2hw distill --teacher {given}"
        )
        return onnx_io.describe(path) | {"targets": {name: [why] for name in asked}}
    found = built(given, root)
    build = None if found is None else folders.read_build(found)
    if build is not None:
        model = Model(
            build.name, build.program.network, {}, notes=tuple(unused(choice, build.name))
        )
    else:
        model = load_model(given, root, choice, must_know_dt=False)
    net = model.network
    notes = list(model.notes)
    missing = [n for n in notes if n == NO_STEPS]
    steps = None if missing else net.time_steps
    missing += _missing(net, notes) if isinstance(net, Network) else []
    layers = _float_layers(net, notes) if isinstance(net, Network) else _integer_layers(net)
    # A float network's Output nodes are among its layers.
    answers = dict(net.outputs) if isinstance(net, IntNetwork) and len(net.outputs) > 1 else None
    refused = fits(model, asked)
    return {
        "file": given,
        "holds": "float network" if isinstance(net, Network) else "chip integers",
        "time_steps": steps,
        "dt": net.dt,
        "neurons": sum(
            int(np.prod(n.shape))
            for n in (net.neurons().values() if isinstance(net, Network) else net.populations)
        ),
        "parameters": sum(x["parameters"] for x in layers),
        "nonzero": sum(x["nonzero"] for x in layers),
        "synapses": sum(x["synapses"] for x in layers),
        "layers": layers,
        **({} if answers is None else {"answers": answers}),
        **({} if build is None else {"made_of": build.info["model"]}),
        **({} if build is None else {"options": build.info["options"]}),
        "missing": missing,
        "notes": [n for n in notes if n not in missing],
        "targets": refused,
        "rewrites": would_help(model, refused),
    }


def inspect_recording(given: str) -> dict[str, Any]:
    """Describe a recording of an event sensor, and say how it is used."""
    recording = read_recording(expanded(given))
    on = int(np.count_nonzero(recording.events.p))
    reach = " x ".join(map(str, recording.reach))
    size = recording.size
    return {
        "file": given,
        "holds": "events",
        "events": len(recording.events.t),
        "on": on,
        "off": len(recording.events.t) - on,
        "milliseconds": recording.microseconds / 1000,
        "sensor": "not stored" if size is None else f"{size[0]} x {size[1]} (columns x rows)",
        "events_in": f"{reach} (columns x rows)",
        **({"notes": "; ".join(recording.notes)} if recording.notes else {}),
        "use": f"snn2hw simulate BUILD --input {given}",
    }


def _missing(net: Network, notes: list[str]) -> list[str]:
    """Name what an export asks for, or goes wrong without: of these notes, and steps."""
    unsaid = preprocessing.unsaid(net, "--input-scale")
    found = [n for n in notes if n.endswith(nir_io.FOR_LISTING) or n in unsaid]
    if net.time_steps is None:
        found.insert(0, NO_STEPS)
    return found


def _float_layers(net: Network, notes: list[str]) -> list[dict[str, Any]]:
    try:
        wires = wiring(simplify(net))
    except UnsupportedError as error:
        notes.append(f"synapses are not counted: {error}")
        wires = Wiring((), {}, frozenset())
    synapses = {
        name: sum(synapse_count(s.synapses) for s in wires.into[name].sources)
        for name in wires.order
    }
    return [
        {
            "name": name,
            "kind": type(node).__name__,
            "shape": describe_shape(output_shape(node)),
            "inputs": list(net.predecessors(name)),
            **_weights(node),
            "synapses": synapses.get(name, 0),
        }
        for name, node in ((n, net.nodes[n]) for n in along_edges(net))
    ]


def _weights(node: Node) -> dict[str, int]:
    match node:
        case Affine():
            weight, bias = node.weight, node.bias
        case Scale():
            weight, bias = node.scale, np.zeros(0)
        case Conv2d() | Conv1d():
            weight, bias = node.kernel.weight, node.bias
        case _:
            return {"parameters": 0, "nonzero": 0}
    return {"parameters": weight.size + bias.size, "nonzero": int(np.count_nonzero(weight))}


def _integer_layers(net: IntNetwork) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for p in net.populations:
        into = [net.connections[i] for i in net.into(p.name)]
        rows.append(
            {
                "name": p.name,
                "kind": " + ".join(c.synapses.kind for c in into) or "input",
                **described(p),
                "shape": describe_shape(p.shape),
                "inputs": [c.pre for c in into],
                "parameters": sum(int(c.synapses.weight.size) for c in into)
                + int(np.size(getattr(p, "bias", ()))),
                "nonzero": sum(nonzeros(c.synapses) for c in into),
                "synapses": sum(synapse_count(c.synapses) for c in into),
            }
        )
    return rows
