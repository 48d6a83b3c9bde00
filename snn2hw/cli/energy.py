"""energy report, energy compare, energy validate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from snn2hw import nir_io
from snn2hw import target as targets
from snn2hw.cli.common import PLACE, Talk, common, output_option, root
from snn2hw.cli.data import data_options
from snn2hw.cli.model import model_options
from snn2hw.cli.samples import ask_output, samples_of
from snn2hw.estimator import EnergyReport
from snn2hw.files import new_file
from snn2hw.ir.network import Network
from snn2hw.pipeline import against as compared
from snn2hw.pipeline import builds, neurobench
from snn2hw.pipeline import demo as demo_pipeline
from snn2hw.pipeline import what_if as extrapolating
from snn2hw.pipeline.comparing import compare_targets
from snn2hw.pipeline.loading import load_any
from snn2hw.pipeline.samples import samples_for, sole
from snn2hw.report import beside, text, validation
from snn2hw.store.folders import Build
from snn2hw.store.results import check_result


@click.group()
def energy() -> None:
    """What an inference costs, with the source of every price."""


@energy.command("report")
@click.argument("build", required=False)
@data_options
@output_option
@click.option("--html", type=PLACE, help="Write one HTML page.")
@click.option(
    "--against",
    type=click.Choice(["cpu"]),
    help="Compare with the teacher (float32, int8) and the student on this machine's processor.",
)
@click.option(
    "--what-if",
    "what",
    multiple=True,
    metavar="NAME=VALUE",
    help="Extrapolate to steps, sparsity (share of zero weights), activity (times as many spikes) "
    "or chips; may be repeated.",
)
@common
def energy_report(
    talk: Talk,
    build: str | None,
    html: Path | None,
    against: str | None,
    what: tuple[str, ...],
    samples: int | None,
    output: str | None,
    **choice: Any,
) -> None:
    """Count what a build does on test samples and price it; writes BUILD/energy.json.

    BUILD is a path or name, also of a run, file or model that has one build; by default the newest.
    """
    changes = extrapolating.read(what) if what else None
    if html is not None:
        check_result(html)
    opened = builds.load_build(build, root())
    taken = samples_of(talk, opened, limit=samples, output=output, **choice)
    if taken.labels is not None:
        ask_output(talk, opened.program.network.outputs, output)
    report, trace = builds.energy_report(
        opened, taken, output=output,
        progress=lambda done, total: talk.update("simulate", done, total),
    )  # fmt: skip
    metrics = neurobench.of_program(opened.program, trace, report.accuracy).json()
    more: dict[str, Any] = {"neurobench": metrics}
    below: list[str] = []
    if against is not None:
        beside_it = compared.rows(
            opened, taken, report, choice["data_dir"], lambda what: talk.say(f"timing {what}")
        )
        more["against"] = [row.json() for row in beside_it]
        below += ["", *beside.neurobench(metrics), "", *beside.against(more["against"])]
    builds.add_to_bill(opened, more)
    if changes is not None:
        found = _extrapolated(opened, changes, report, samples, output, choice)
        more["what_if"] = found.json()  # not kept: the build's file holds results
        below += ["", *beside.what_if(found, changes, found.assumptions, report)]
    if html is not None:
        proof = builds.last_proof(opened)
        demo_pipeline.write_page(opened, report, report.accuracy, proof, None, html)
        talk.say(f"written: {html}")
    talk.result(
        report.json() | taken.told() | more,
        [*text.energy(report, opened.name, opened.info["rewrites"]), *below],
    )


def _extrapolated(
    build: Build,
    changes: Mapping[str, float],
    bill: EnergyReport,
    samples: int | None,
    output: str | None,
    choice: Mapping[str, Any],
) -> extrapolating.Extrapolation:
    """Price what was not built; samples are shown anew where they have other steps."""
    program = extrapolating.at_steps(build.program, changes)
    taken = samples_for(replace(build, program=program), limit=samples, output=output, **choice)
    steps = int(changes.get("steps", bill.time_steps))
    return extrapolating.extrapolated(
        program, extrapolating.cut(taken.inputs, steps), changes, bill,
        lambda trace: builds.accuracy(trace, taken.labels, output),
    )  # fmt: skip


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
        ask_output(talk, outputs, output)
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


@energy.command("validate")
@click.argument("chip", required=False)
@click.option("--data-dir", type=PLACE, help="Look for the workloads' files here.")
@click.option("--page", type=PLACE, help="Write the comparison as a Markdown page.")
@common
def energy_validate(talk: Talk, chip: str | None, data_dir: Path | None, page: Path | None) -> None:
    """Predict published measurements of chips, and say how far off the bill is.

    CHIP is one of those that were measured; by default all. Their networks are built again and run
    in our simulation. Those whose files are nowhere are left out and named.
    """
    from snn2hw.pipeline import validating  # here, as its compiler takes long to import

    if page is not None:
        check_result(page)
    found = validating.validate(
        chip, data_dir=data_dir, progress=lambda done, total: talk.update("validate", done, total)
    )
    for missing in found["missing"]:
        talk.say(f"note: {missing['workload']} is left out: {missing['file']} was not found")
    if page is not None:
        with new_file(page, make_folder=False) as temporary:
            temporary.write_text(validation.page(found), encoding="utf-8")
        talk.say(f"written: {page}")
    talk.result(found, validation.lines(found))
