"""export, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from snn2hw import families, nir_io, rewrites
from snn2hw import target as targets
from snn2hw.cli.common import Talk, common, root
from snn2hw.cli.data import data_options
from snn2hw.cli.model import model_options
from snn2hw.ir.network import Network
from snn2hw.pipeline import exporting, options
from snn2hw.pipeline.inspect import inspect_file, inspect_recording
from snn2hw.pipeline.loading import load_model
from snn2hw.recordings import is_recording
from snn2hw.report import text


@click.command()
@click.argument("model", required=False)
@click.option(
    "--target",
    help="See `snn2hw targets`; by default the one that MODEL was trained for, or "
    f"{families.DEFAULT_TARGET}.",
)
@click.option(
    "--rewrite", "allowed", multiple=True, type=click.Choice(["all", *rewrites.REWRITES]),
    help="Replace what the target cannot do (all), or does at a price (settled-bias); "
    "the build says what changed.",
)  # fmt: skip
@click.option("--name", help="Of the build; by default those of model and target.")
@click.option(
    "--chips", type=click.IntRange(min=1),
    help="How many chips may be used, by default those of one board; `snn2hw targets NAME` lists "
    "the boards.",
)  # fmt: skip
@data_options
@model_options
@common
def export(
    talk: Talk,
    model: str | None,
    target: str | None,
    allowed: tuple[str, ...],
    name: str | None,
    chips: int | None,
    samples: int | None,
    choice: nir_io.Choice,
    **which: Any,
) -> None:
    """Compile MODEL for a chip: integers, cores, the vendor's file.

    MODEL is a run, a .nir file, a vendor's file or a name from `snn2hw models`; by default the
    newest run. A build stands for what it was made of, with the options that it was made with.
    Writes builds/NAME-TARGET/; where that is a build with other options, --name is needed.
    The options for data choose samples on which rewrites are measured.
    """
    chip = None if target is None else targets.load(target)
    loaded = load_model(model, root(), choice)
    if chip is None:
        chip = targets.load(loaded.metrics.get("target", families.DEFAULT_TARGET))
    for note in loaded.notes:
        talk.say(f"note: {note}")
    allowed = allowed or loaded.rewrite
    shown = None
    if any(x is not None for x in (which["data"], which["file"], samples)):
        if allowed and isinstance(loaded.network, Network):
            from snn2hw.pipeline import floats

            limit = samples or exporting.MEASURED_SAMPLES
            shown = floats.samples_for(loaded, limit=limit, **which)
            for note in shown.notes:
                talk.say(f"note: {note}")
        else:
            talk.say("note: samples are not used: there are no rewrites to measure on them")
    build = exporting.export(
        loaded, chip, root(), name=name, time_steps=choice.time_steps, allowed=allowed,
        chips=chips or targets.at_most(chip, loaded.chips), data_dir=which["data_dir"],
        shown=shown,
    )  # fmt: skip
    info = build.info
    for note in exporting.unneeded(allowed, info["rewrites"], chip):
        talk.say(f"note: {note}")
    if build.replaced:
        way = "--name keeps both" if name is None else "another --name would have kept it"
        talk.say(f"note: {build.path} held another program, which is gone; {way}")
    document = {
        "build": str(build.path), "target": info["target"], "cores": info["cores"],
        "chips": info["chips"], "layers": info["layers"], "time_steps": info["time_steps"],
        "depth": info["depth"], "vendor_file": info["vendor_file"], "rewrites": info["rewrites"],
    }  # fmt: skip
    talk.result(document, [*text.build(info), f"written: {build.path}"])


@click.command()
@click.argument("file")
@click.option("--target", help="Only what this target would refuse.")
@model_options
@common
def inspect(talk: Talk, file: str, target: str | None, choice: nir_io.Choice) -> None:
    """Say what a file, run or build holds, and what targets refuse.

    Files: .nir, .net and .onnx; and recordings of events.
    """
    if is_recording(Path(file)):
        found = inspect_recording(file)
        talk.result(found, text.pairs(found))
        return
    if target is not None:
        targets.load(target)
    document = inspect_file(file, root(), target, choice)
    columns = ("parameters", "nonzero", "synapses")
    rows = [
        [x["name"], _kind(x), x["shape"], *(f"{x.get(c, 0):,}" for c in columns)]
        for x in document["layers"]
    ]
    below = ("layers", "targets", "rewrites", "missing", "notes", "answers", "options")
    shown = {k: v for k, v in document.items() if k not in below}
    if document.get("options"):
        shown["options"] = options.told(document["options"])
    lines = [
        *text.pairs(shown),
        *text.answers(document),
        "",
        *text.table(["node", "kind", "shape", "parameters", "non-zero", "synapses"], rows, left=3),
        *(f"missing: {n}" for n in document.get("missing", ())),
        *(f"note: {n}" for n in document["notes"]),
        "",
        *text.refusals(document["targets"], document.get("rewrites", {})),
    ]
    talk.result(document, lines)


def _kind(layer: dict[str, Any]) -> str:
    """Name a layer's synapses, and its neurons unless they are what they mostly are."""
    neuron = layer.get("neuron", "Lif")
    return layer["kind"] if neuron == "Lif" else f"{layer['kind']}, {neuron}"
