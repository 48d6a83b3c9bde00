"""simulate, verify."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from snn2hw import families, nir_io
from snn2hw.cli.common import PLACE, Talk, common, output_option, root
from snn2hw.cli.data import data_options
from snn2hw.cli.model import model_options
from snn2hw.cli.samples import ask_output, samples_of, told_outputs
from snn2hw.estimator import layer_counts
from snn2hw.pipeline import builds, keeping
from snn2hw.pipeline.loading import load_model, unused
from snn2hw.report import text
from snn2hw.store.results import check_result


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
    taken = samples_of(talk, opened, limit=samples, output=output, **which)
    if taken.labels is not None:
        ask_output(talk, opened.program.network.outputs, output)
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
        "steps": ran.steps, **told_outputs(ran.outputs, output),
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
        ask_output(talk, ran.outputs, output)
    document |= told_outputs(ran.outputs, output)
    if taken.recording is not None:
        document["prediction"] = _classes(ran.predictions)
    if save is not None:
        floats.save(save, ran, taken.labels)
        document["saved"] = str(save)
    told = ("notes", *taken.told())
    talk.result(document, text.pairs({k: v for k, v in document.items() if k not in told}))


def _classes(predictions: Mapping[str, Any]) -> int | dict[str, int]:
    """Return the class of the one sample; of several outputs, of each."""
    found = {name: int(guess[0]) for name, guess in predictions.items()}
    return found if len(found) > 1 else next(iter(found.values()))


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
@click.option(
    "--replace", is_flag=True, help="Keep this proof, even if the one there is worth more."
)
@data_options
@common
def verify(
    talk: Talk,
    build: str | None,
    parts: tuple[str, ...],
    neurons: str | None,
    replace: bool,
    samples: int | None,
    **choice: Any,
) -> None:
    """Compare every spike and every state with the vendor's simulator.

    BUILD is a path or name, also of a run, file or model that has one build; by default the newest.
    20 samples unless --samples says more. A build that is too large for the vendor's simulator is
    compared in parts: each is fed with what its sources send in our simulation of the whole. The
    proof is kept in BUILD/verify.json, unless the one there found a difference, is of more of the
    program, of samples of a data set where this one is not, or else of more values. Exit code 1 if
    anything differs or if the vendor's simulator is not installed.
    """
    opened = builds.load_build(build, root())
    limit = samples or (None if choice["file"] is not None else 20)
    taken = samples_of(talk, opened, limit=limit, **choice)
    found = builds.verify(opened, taken, parts, neurons, partial(talk.update, "verify"))
    if found["against"] is not None:
        note = keeping.keep_proof(opened.path, found, replace=replace)
        if note:
            talk.say(f"note: {note}")
    talk.result(found, text.verification(found, opened.name))
    if found["against"] is None or found["mismatches"]:
        raise SystemExit(1)
