"""energy report, energy compare, energy validate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from snn2hw import nir_io
from snn2hw import target as targets
from snn2hw.cli.common import PLACE, Talk, asked, common, output_option, root
from snn2hw.cli.data import data_options
from snn2hw.cli.model import model_options
from snn2hw.cli.samples import ask_output, samples_of
from snn2hw.errors import listed, unknown_name
from snn2hw.estimator import EnergyReport
from snn2hw.files import new_file
from snn2hw.ir.network import Network
from snn2hw.pipeline import against as compared
from snn2hw.pipeline import builds, folder, keeping, neurobench
from snn2hw.pipeline import page as pages
from snn2hw.pipeline import what_if as extrapolating
from snn2hw.pipeline.comparing import compare_targets
from snn2hw.pipeline.comparing import row as row_of
from snn2hw.pipeline.loading import built, load_any
from snn2hw.pipeline.samples import samples_for, sole
from snn2hw.report import beside, bill, validation
from snn2hw.report.evidence import Subject
from snn2hw.report.proof import proved
from snn2hw.store import folders
from snn2hw.store.folders import Build
from snn2hw.store.results import check_result

_against_option = click.option(
    "--against",
    type=click.Choice(["cpu"]),
    help="Compare with the teacher (float32, int8) and the student on this machine's processor.",
)


@click.group()
def energy() -> None:
    """What an inference costs, with the source of every price."""


@energy.command("report")
@click.argument("build", required=False)
@data_options
@output_option
@click.option("--html", type=PLACE, help="Write one HTML page.")
@_against_option
@click.option(
    "--what-if",
    "what",
    multiple=True,
    metavar="NAME=VALUE",
    help="Extrapolate to steps, sparsity (share of zero weights), activity (times as many spikes) "
    "or chips; may be repeated.",
)
@click.option(
    "--targets", "names", default="all", show_default=True,
    help="With --html, the targets that the model is shown on too: names with commas, or none.",
)  # fmt: skip
@click.option(
    "--replace",
    "anyway",
    is_flag=True,
    help="Keep this report, even if the one there is of more samples, or of unseen ones.",
)
@common
def energy_report(
    talk: Talk,
    build: str | None,
    html: Path | None,
    against: str | None,
    what: tuple[str, ...],
    names: str,
    anyway: bool,
    samples: int | None,
    output: str | None,
    **choice: Any,
) -> None:
    """Count what a build does on test samples and price it; writes BUILD/energy.json.

    BUILD is a path or name, also of a run, file or model that has one build; by default the newest.
    A report of fewer samples than the one there does not replace it, unless --replace says so. With
    --html the same model is built and run for the other targets too, which takes seconds for each,
    or minutes for a large network (--targets none leaves that out).
    """
    changes = extrapolating.read(what) if what else None
    if html is not None:
        check_result(html)
    opened = builds.load_build(build, root())
    if changes is not None:
        extrapolating.check_build(opened.program, changes)
    proof = keeping.proof_or_why(opened.path)
    if isinstance(proof, str):
        talk.say(f"note: the last proof does not count: {proof}")
    taken = samples_of(talk, opened, limit=samples, output=output, **choice)
    if taken.labels is not None:
        ask_output(talk, opened.program.network.outputs, output)
    measured = builds.measure(opened, taken, partial(talk.update, "simulate"), output)
    report = measured.report
    metrics = neurobench.of_program(opened.program, measured.trace, report.accuracy).json()
    more: dict[str, Any] = {"neurobench": metrics}
    found = None
    if changes is not None:  # before anything is kept, as there may be something wrong with them
        found = _extrapolated(opened, changes, report, samples, output, choice)
    below: list[str] = []
    if against is not None:
        rows = compared.rows(
            opened, taken, report, choice["data_dir"], lambda what: talk.say(f"timing {what}")
        )
        more["against"] = [row.json() for row in rows]
        below += ["", *beside.neurobench(metrics), "", *beside.against(more["against"])]
    document = measured.document(opened.digest) | more
    note = keeping.keep_bill(opened.path, document, replace=anyway)
    if note:
        talk.say(f"note: {note}")
    if found is not None:
        document["what_if"] = found.json()  # not kept: the build's file holds results
        below += ["", *beside.what_if(found, found.changes, found.assumptions, report)]
    if html is not None:
        asked_for = [] if names == "none" else _targets(names)
        besides = [n for n in asked_for if n != opened.program.target.name]
        on_targets = compare_targets(
            load_any(str(opened.path), root()), besides,
            lambda b: samples_for(b, limit=samples, output=output, **choice), output,
            progress=partial(talk.update, "targets"),
        )  # fmt: skip
        evidence = pages.of_build(
            opened, measured, proof, command=asked(), root=root(),
            targets=[row_of(opened, measured), *on_targets],
            others=[r for r in more.get("against", ()) if r["runs_on"] != report.title],
        )  # fmt: skip
        talk.say(f"written: {pages.write(html, evidence)}")
    talk.result(
        document,
        [
            *bill.energy(
                report, opened.name, opened.info["rewrites"], proved(proof, opened.digest)
            ),
            *below,
        ],
    )


def _targets(names: str | None) -> list[str]:
    """Return the names of the targets that are asked for, of which one at least is known."""
    known = targets.names()
    if not names or names == "all":
        return known
    asked_for = [n.strip() for n in names.split(",") if n.strip()]
    if not asked_for:
        raise click.UsageError(f"--targets names no target. There are {listed(known)}.")
    if not set(asked_for) & set(known):
        raise unknown_name("target", asked_for[0], known)
    return asked_for


def _extrapolated(
    build: Build,
    changes: Mapping[str, float],
    built: EnergyReport,
    samples: int | None,
    output: str | None,
    choice: Mapping[str, Any],
) -> extrapolating.Extrapolation:
    """Price what was not built; samples are shown anew where they have other steps."""
    program = extrapolating.at_steps(build.program, changes)
    taken = samples_for(replace(build, program=program), limit=samples, output=output, **choice)
    steps = int(changes.get("steps", built.time_steps))
    return extrapolating.extrapolated(
        program, extrapolating.cut(taken.inputs, steps), changes, built,
        lambda trace: builds.accuracy(trace, taken.labels, output),
    )  # fmt: skip


def _timed(
    talk: Talk, built: Build, measured: builds.Measured, data_dir: Path | None, *, teacher: bool
) -> list[compared.Row]:
    """Return the rows of this processor: the teacher's, which all targets share, and a build's."""
    taken, report = measured.samples, measured.report
    rows: list[compared.Row] = []
    if teacher:
        talk.say("timing the teacher on this processor")
        rows += compared.teacher(built, taken, root(), data_dir)
    talk.say(f"timing the student for {report.target} on this processor")
    student = compared.student(built.program, taken, report)
    return [*rows, replace(student, who=f"student, the integers of {report.title}")]


@energy.command("compare")
@click.argument("model", required=False)
@click.option("--targets", "names", default=None, help="Names with commas; by default all.")
@click.option("--html", type=PLACE, help="Write one HTML page about all of them.")
@_against_option
@data_options
@output_option
@model_options
@common
def energy_compare(
    talk: Talk,
    model: str | None,
    names: str | None,
    html: Path | None,
    against: str | None,
    samples: int | None,
    output: str | None,
    choice: nir_io.Choice,
    **which: Any,
) -> None:
    """The same model on several targets, side by side, with the reason where it doesn't fit.

    MODEL is what `snn2hw export` takes, or a build; by default the newest run or build. Text and
    page have the rows of --against; nothing is kept.
    """
    if html is not None:
        check_result(html)
    loaded = load_any(model, root(), choice)
    for note in loaded.notes:
        talk.say(f"note: {note}")
    net = loaded.network
    outputs = net.outputs() if isinstance(net, Network) else net.outputs
    sole(outputs, output)  # a wrong name is told before anything runs
    subjects: list[Subject] = []
    build = folders.newest(root()) if model is None else built(model, root())
    kept = [] if build is None else [build]
    chips: list[compared.Row] = []
    others: list[compared.Row] = []

    def seen(one: Build, measured: builds.Measured) -> None:
        if against is not None:
            chips.extend(compared.of_chip(measured.report))
            others.extend(_timed(talk, one, measured, which["data_dir"], teacher=not others))
        if html is not None:
            proof = folder.proof_of(root(), one.digest, [*kept, root() / "builds" / one.name])
            subjects.append(pages.subject(one, measured, proof, pages.FEW))

    found = compare_targets(
        loaded, _targets(names), lambda b: samples_for(b, limit=samples, output=output, **which),
        output, seen=seen, progress=partial(talk.update, "targets"),
    )  # fmt: skip
    for note in dict.fromkeys(n for row in found for n in row.get("notes", ())):
        talk.say(f"note: {note}")
    if any(row["fits"] for row in found):
        ask_output(talk, outputs, output)
    if html is not None:
        evidence = pages.of_targets(
            loaded.name, found, subjects, command=asked(), root=root(),
            others=[row.json() for row in others],
        )  # fmt: skip
        talk.say(f"written: {pages.write(html, evidence)}")
    document: dict[str, Any] = {"model": loaded.name, "targets": found}
    lines = bill.compared(found, output)
    if chips:
        document["against"] = [row.json() for row in (*chips, *others)]
        lines += ["", *beside.against(document["against"])]
    talk.result(document, lines)


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
        talk.say(f"note: {missing['workload']} is left out: {missing['file']} {missing['why']}")
    if page is not None:
        with new_file(page, make_folder=False) as temporary:
            temporary.write_text(validation.page(found), encoding="utf-8")
        talk.say(f"written: {page}")
    talk.result(found, validation.lines(found))
