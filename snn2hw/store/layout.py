"""What a build's documents say of its program: what sits where, and what each layer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from snn2hw.errors import listed
from snn2hw.fields import shown
from snn2hw.ir.placement import Mesh, Placement, Slice
from snn2hw.ir.populations import described
from snn2hw.ir.program import Program


def placement_json(placement: Placement) -> dict[str, Any]:
    """Return the document of ``placement.json``."""
    return {
        "cores": placement.cores,
        "chips": placement.chips,
        "cores_per_chip": placement.cores_per_chip,
        "limits": dict(placement.limits),
        "stored": list(placement.stored),
        **({"mesh": asdict(placement.mesh)} if placement.mesh else {}),
        "slices": [
            {
                "layer": s.layer, "start": s.start, "stop": s.stop,
                **({"repeats": s.repeats, "stride": s.stride} if s.repeats > 1 else {}),
                "core": s.core,
                "chip": s.core // placement.cores_per_chip, "uses": dict(s.uses),
            }
            for s in placement.slices
        ],
    }  # fmt: skip


def placement_of(data: Mapping[str, Any]) -> Placement:
    """Return the placement that a document of ``placement.json`` describes.

    Raises:
        ValueError: a core uses what has no limit.
    """
    slices = tuple(
        Slice(
            str(s["layer"]), int(s["start"]), int(s["stop"]), int(s["core"]), dict(s["uses"]),
            int(s.get("repeats", 1)), int(s.get("stride", 0)),
        )
        for s in data["slices"]
    )  # fmt: skip
    unknown = {k for s in slices for k in s.uses} - set(data["limits"])
    if unknown:
        raise ValueError(f"a core uses {listed(map(shown, sorted(unknown)))}, which has no limit")
    stored = tuple(map(str, data["stored"]))
    mesh = Mesh(**data["mesh"]) if "mesh" in data else None
    return Placement(slices, dict(data["limits"]), int(data["cores_per_chip"]), stored, mesh)


def layers_json(program: Program) -> list[dict[str, Any]]:
    """Describe each population: size, phase, synapses, rounding and cores."""
    net, rows = program.network, list[dict[str, Any]]()
    for p in net.populations:
        into = [(net.connections[i], program.delays[i]) for i in net.into(p.name)]
        rounding = net.rounding.get(p.name)
        row: dict[str, Any] = {
            "name": p.name,
            "shape": list(p.shape),
            "neurons": p.size,
            "phase": program.phase[p.name],
            **described(p),
            "cores": len(program.placement.of(p.name)),
            "inputs": [
                {
                    "from": c.pre, "kind": c.synapses.kind, "exponent": c.exponent, "delay": d,
                    "weights": int(c.synapses.weight.size),
                    "nonzero": int((c.synapses.weight != 0).sum()),
                }
                for c, d in into
            ],
        }  # fmt: skip
        if rounding is not None:
            row["quantization"] = {
                "scale": float(f"{rounding.scale:.9g}"),
                "limited_by": rounding.limited_by,
                "relative_error": float(f"{rounding.relative_error:.6g}"),
                "zeroed": rounding.zeroed,
                "removed": rounding.removed,
            }
        rows.append(row)
    return rows
