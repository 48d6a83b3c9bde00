"""Writes docs/results/placement.md: on how many cores each model lies, and how few there could be.

    python tests/results/placement.py

The shipped models are here, the networks of lava-dl in ``$SNN2HW_DATA/models/lava-dl``; those that
are missing keep the rows that they have. A chip that refuses a model has no row.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from snn2hw import nir_io
from snn2hw import target as targets
from snn2hw.errors import UnsupportedError
from snn2hw.families.loihi.bound import lower_bound
from snn2hw.families.loihi.place import map_network
from snn2hw.ir.target import Target
from snn2hw.pipeline.exporting import compiled
from snn2hw.pipeline.loading import load_model

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
SHIPPED = ("digits-cnn", "digits-rows", "mnist-mlp", "nmnist-cnn")
NETX = ("mnist_dense", "oxford", "pilotnet_lif", "pilotnet_sdnn", "tiny")
CHIPS = ("loihi1", "loihi2")
STEPS = 16  # of the files that do not say how long a sample lasts; no core depends on it
PILOTNET = (13, 25, 13, 3, 3, 2, 12, 1, 1, 1)  # cores of its layers, lava-dl's tutorial on Loihi 2

ABOUT = """\
# Cores

On how many cores each model lies (`python tests/results/placement.py`), how many that would be if
no two layers shared one, and how few there could be: the bound of `snn2hw/families/loihi/bound.py`,
which takes runs of neurons in their order where a layer is no image, and the weaker one, of any
subsets of neurons. Tiles: how many a message passes on average, if every neuron sends one spike.
"""
PUBLISHED = """\
## PilotNet beside the published placement

lava-dl's tutorial prints the cores of each layer of `pilotnet_lif.net` on Loihi 2, 74 together,
none of which two layers share. Ours, where none is shared either:
"""


def main() -> None:
    """Place every model on every chip, and write the table."""
    file = RESULTS / "placement.json"
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name, given in found():
        for chip in CHIPS:
            with suppress(UnsupportedError):
                rows[f"{name} {chip}"] = row(given, targets.load(chip))
    file.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    (RESULTS / "placement.md").write_text(page(rows))


def found() -> list[tuple[str, str]]:
    """Return names and paths of the models that are here."""
    folder = Path(os.environ.get("SNN2HW_DATA", "data")) / "models" / "lava-dl"
    files = [folder / f"{name}.net" for name in NETX]
    return [*((n, n) for n in SHIPPED), *((f.stem, str(f)) for f in files if f.exists())]


def row(given: str, target: Target) -> dict[str, Any]:
    """Place a model."""
    netx = given.endswith(".net")
    choice = nir_io.NOTHING
    if netx:
        largest = 1 if target.name == "loihi1" else None
        choice = nir_io.Choice(time_steps=STEPS, input_max=largest)
    model = load_model(given, ROOT, choice)
    allowed = ("all",) if given == "digits-rows" else ()
    _, program, _ = compiled(model, target, allowed=allowed)
    net, placement = program.network, program.placement
    one = replace(target.limits["neuron_groups_per_core"], value=1.0)
    apart = replace(target, limits={**target.limits, "neuron_groups_per_core": one})
    alone = map_network(net, apart)
    assert placement.mesh is not None
    return {
        "cores": placement.cores,
        "apart": alone.cores,
        "layers": [len(alone.of(p.name)) for p in net.populations],
        "bound": lower_bound(net, target),
        "any_order": lower_bound(net, target, ordered=False),
        "messages": placement.mesh.messages,
        "hops": placement.mesh.hops,
    }


def page(rows: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        *ABOUT.splitlines(),
        "",
        "| model | chip | cores | not shared | bound | cores / bound | any subsets | tiles |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in sorted(rows):
        r, (name, chip) = rows[key], key.split()
        tiles = r["hops"] / r["messages"] if r["messages"] else 0.0
        lines.append(
            f"| {name} | {chip} | {r['cores']} | {r['apart']} | {r['bound']} | "
            f"{r['cores'] / r['bound']:.2f} | {r['any_order']} | {tiles:.2f} |"
        )
    ours = rows.get("pilotnet_lif loihi2")
    if ours:
        lines += [
            "",
            *PUBLISHED.splitlines(),
            "",
            f"| | {' | '.join(f'layer{i}' for i in range(len(PILOTNET)))} | all |",
            f"| {'--- | ' * (len(PILOTNET) + 2)}".rstrip(),
            f"| published | {' | '.join(map(str, PILOTNET))} | {sum(PILOTNET)} |",
            f"| ours | {' | '.join(map(str, ours['layers']))} | {sum(ours['layers'])} |",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
