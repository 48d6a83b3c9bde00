"""export, simulate, verify, energy, inspect."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from snn2hw import families, nir_io, rewrites
from snn2hw import target as targets
from snn2hw.cli.common import PLACE, Talk, common, output_option, root
from snn2hw.cli.data import data_options
from snn2hw.cli.model import model_options
from snn2hw.errors import listed
from snn2hw.estimator import layer_counts
from snn2hw.ir.network import Network
from snn2hw.pipeline import builds, exporting, options
from snn2hw.pipeline import demo as demo_pipeline
from snn2hw.pipeline.comparing import compare_targets
from snn2hw.pipeline.inspect import inspect_file, inspect_recording
from snn2hw.pipeline.loading import load_any, load_model, unused
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.samples import samples_for, sole
from snn2hw.recordings import is_recording
from snn2hw.report import text
from snn2hw.store.folders import Build
from snn2hw.store.results import check_result


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
@click.argument("build", required=False)
@click.option(
    "--on",
    default="exact",
    show_default=True,
    help=f"exact (ours), float, or a vendor's simulator: {', '.join(families.vendors())}.",
)
@data_options
@output_option
@click.option("--save", type=PLACE, help="Write spikes and predictions (npz).")
@click.option("--trace", is_flag=True, help="With --save: every layer's spikes and states too.")
@model_options
@common
def simulate(
    talk: Talk,
    build: str | None,
    on: str,
    save: Path | None,
    trace: bool,
    samples: int | None,
    output: str | None,
    choice: nir_io.Choice,
    **which: Any,
) -> None:
    """Run a build, or with --on float a network, on test samples.

    BUILD is a path or name, also of a run, file or model that has one build; by default the newest.
    On a vendor's simulator, 20 samples unless --samples says more; on ours, all of them. With
    --on float, BUILD is a run or a .nir file and runs before anything is rounded; the options
    marked (.nir) say what such a file cannot.
    """
    if save is not None:
        check_result(save)
    if on == "float":
        which |= {"limit": samples, "output": output}
        _simulate_float(talk, build, choice, save, trace, **which)
        return
    opened = builds.load_build(build, root())
    for note in unused(choice, opened.name):
        talk.say(f"note: {note}")
    if on in families.vendors() and which["file"] is None:
        samples = samples or 20
    taken = _samples(talk, opened, limit=samples, output=output, **which)
    if taken.labels is not None:
        _ask_output(talk, opened.program.network.outputs, output)
    progress = partial(talk.update, "simulate")
    if on == "exact" and trace and save is not None:
        ran = builds.simulate_into(save, opened, taken, progress=progress)
    else:
        ran = builds.simulate(opened, taken, on, progress=progress)
        if save is not None:
            builds.save_trace(save, ran, taken.labels, layers=trace)
    counts = layer_counts(opened.program, ran)
    right = builds.accuracy(ran, taken.labels, output)
    document: dict[str, Any] = {
        "build": str(opened.path), "on": ran.on, "data": taken.source, "samples": ran.samples,
        "steps": ran.steps, **_told(ran.outputs, output),
        **({} if right is None else {"accuracy": right}),
        "seconds": round(ran.seconds, 6),
        "spikes_per_sample": sum(c.spikes for c in counts.values()),
        "synops_per_sample": sum(c.synops for c in counts.values()),
    }  # fmt: skip
    if taken.recording is not None:
        document["prediction"] = _classes(ran.predictions)
    if save is not None:
        document["saved"] = str(save)
    talk.result(document | taken.told(), text.pairs(document))


def _samples(talk: Talk, build: Build, **which: Any) -> Samples:
    taken = samples_for(build, **which)
    for note in taken.notes:
        talk.say(f"note: {note}")
    return taken


def _classes(predictions: Mapping[str, Any]) -> int | dict[str, int]:
    """Return the class of the one sample; of several outputs, of each."""
    found = {name: int(guess[0]) for name, guess in predictions.items()}
    return found if len(found) > 1 else next(iter(found.values()))


def _ask_output(talk: Talk, outputs: Collection[str], output: str | None) -> None:
    """Say how to have an accuracy where labels may be for any of several outputs."""
    if sole(outputs, output) is None:
        talk.say(
            f"note: no accuracy, as there are {len(outputs)} outputs ({listed(outputs)}): name the "
            "one that the labels are for with --output"
        )


def _told(outputs: Collection[str], output: str | None) -> dict[str, Any]:
    """Return what a document says of outputs: of several all, and which one was named."""
    several = {"outputs": list(outputs)} if len(outputs) > 1 else {}
    return several | ({} if output is None else {"output": output})


def _simulate_float(
    talk: Talk,
    given: str | None,
    choice: nir_io.Choice,
    save: Path | None,
    trace: bool,
    output: str | None,
    **which: Any,
) -> None:
    from snn2hw.pipeline import floats  # here, as its compiler takes long to import

    model = load_model(given, root(), choice)
    taken = floats.samples_for(model, output=output, **which)
    document, ran = floats.simulate(
        model, taken, record=trace and save is not None, output=output,
        progress=lambda done, total: talk.update("simulate", done, total),
    )  # fmt: skip
    for note in document["notes"]:
        talk.say(f"note: {note}")
    if taken.labels is not None:
        _ask_output(talk, ran.outputs, output)
    document |= _told(ran.outputs, output)
    if taken.recording is not None:
        document["prediction"] = _classes(ran.predictions)
    if save is not None:
        floats.save(save, ran, taken.labels)
        document["saved"] = str(save)
    told = ("notes", "recording")
    talk.result(document, text.pairs({k: v for k, v in document.items() if k not in told}))


@click.command()
@click.argument("build", required=False)
@click.option(
    "--part", "parts", multiple=True, metavar="NAME",
    help="Only this population, or FIRST..LAST and all between; may be given several times. "
    "'each' takes all of them one after the other, those too large for memory in pieces.",
)  # fmt: skip
@click.option(
    "--neurons", metavar="RANGES",
    help="Of the last population of the part only these, a range of each axis: 0:16,4:8,4:8 are "
    "channels, rows and columns; ':' is a whole axis. What feeds them within the part comes along.",
)  # fmt: skip
@data_options
@common
def verify(
    talk: Talk,
    build: str | None,
    parts: tuple[str, ...],
    neurons: str | None,
    samples: int | None,
    **choice: Any,
) -> None:
    """Compare every spike and every state with the vendor's simulator.

    BUILD is a path or name, also of a run, file or model that has one build; by default the newest.
    20 samples unless --samples says more. A build that is too large for the vendor's simulator is
    compared in parts: each is fed with what its sources send in our simulation of the whole. Exit
    code 1 if anything differs or if the vendor's simulator is not installed.
    """
    opened = builds.load_build(build, root())
    limit = samples or (None if choice["file"] is not None else 20)
    taken = _samples(talk, opened, limit=limit, **choice)
    found = builds.verify(opened, taken, parts, neurons, partial(talk.update, "verify"))
    talk.result(found, text.verification(found, opened.name))
    if found["against"] is None or found["mismatches"]:
        raise SystemExit(1)


@click.group()
def energy() -> None:
    """What an inference costs, with the source of every price."""


@energy.command("report")
@click.argument("build", required=False)
@data_options
@output_option
@click.option("--html", type=PLACE, help="Write one HTML page.")
@common
def energy_report(
    talk: Talk,
    build: str | None,
    html: Path | None,
    samples: int | None,
    output: str | None,
    **choice: Any,
) -> None:
    """Count what a build does on test samples and price it; writes BUILD/energy.json.

    BUILD is a path or name, also of a run, file or model that has one build; by default the newest.
    """
    if html is not None:
        check_result(html)
    opened = builds.load_build(build, root())
    taken = _samples(talk, opened, limit=samples, output=output, **choice)
    if taken.labels is not None:
        _ask_output(talk, opened.program.network.outputs, output)
    report, _ = builds.energy_report(
        opened, taken, output=output,
        progress=lambda done, total: talk.update("simulate", done, total),
    )  # fmt: skip
    if html is not None:
        proof = builds.last_proof(opened)
        demo_pipeline.write_page(opened, report, report.accuracy, proof, None, html)
        talk.say(f"written: {html}")
    talk.result(
        report.json() | taken.told(), text.energy(report, opened.name, opened.info["rewrites"])
    )


@energy.command("compare")
@click.argument("model", required=False)
@click.option("--targets", "names", default=None, help="Names with commas; by default all.")
@data_options
@output_option
@model_options
@common
def energy_compare(
    talk: Talk,
    model: str | None,
    names: str | None,
    samples: int | None,
    output: str | None,
    choice: nir_io.Choice,
    **which: Any,
) -> None:
    """The same model on several targets, side by side, with the reason where it doesn't fit.

    MODEL is what `snn2hw export` takes, or a build; by default the newest run or build.
    """
    wanted = [n.strip() for n in names.split(",") if n.strip()] if names else targets.names()
    loaded = load_any(model, root(), choice)
    for note in loaded.notes:
        talk.say(f"note: {note}")
    net = loaded.network
    outputs = net.outputs() if isinstance(net, Network) else net.outputs
    sole(outputs, output)  # a wrong name is told before anything runs

    found = compare_targets(
        loaded, wanted, lambda b: samples_for(b, limit=samples, output=output, **which), output
    )
    for note in dict.fromkeys(n for row in found for n in row.get("notes", ())):
        talk.say(f"note: {note}")
    if any(row["fits"] for row in found):
        _ask_output(talk, outputs, output)
    rows: list[list[str]] = []
    for row in found:
        if not row["fits"]:
            said = "does not fit" if row.get("known", True) else "unknown"
            rows.append([row["target"], said, *[""] * 5])
            continue
        total = row["chip"]["total_uj"]
        rows.append(
            [
                row["target"], text.counted(row["cores"], "core"), text.percent(row["accuracy"]),
                text.number(row["synops"]), text.number(row["latency_us"]),
                text.number(total["typical"]),
                f"{text.number(total['low'])} to {text.number(total['high'])}",
            ]
        )  # fmt: skip
    right = "accuracy" if output is None else f"accuracy of {output}"
    head = ["target", "size", right, "synops", "latency us", "energy uJ", "range"]
    below = [
        f"{row['target']}: {line}"
        for row in found
        for line in (text.changes(row.get("rewrites")) if row["fits"] else row["reasons"])
    ]
    talk.result({"model": loaded.name, "targets": found}, [*text.table(head, rows), *below])


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
