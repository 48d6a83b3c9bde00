"""distill, prune, demo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from snn2hw.cli.common import PLACE, Talk, common, root
from snn2hw.cli.data import shown_options
from snn2hw.datasets import with_options
from snn2hw.families import DEFAULT_TARGET
from snn2hw.pipeline import demo as demo_pipeline
from snn2hw.pipeline import runs
from snn2hw.pipeline.keeping import last_proof
from snn2hw.recordings import Binning
from snn2hw.report import bill, text
from snn2hw.report.proof import proved
from snn2hw.report.units import energy_unit, time_unit
from snn2hw.store.folders import Run

F = TypeVar("F", bound=Callable[..., Any])


def _shown(run: Run) -> dict[str, Any]:
    return {"run": str(run.path), **run.metrics}


def device_options(function: F) -> F:
    """Add the options that say where to train, as one argument ``where``."""

    @functools.wraps(function)
    def command(
        *args: Any,
        accelerator: str,
        devices: str,
        num_nodes: int,
        precision: str,
        **options: Any,
    ) -> Any:
        where = {
            "accelerator": accelerator,
            "devices": devices,
            "nodes": num_nodes,
            "precision": precision,
        }
        return function(*args, where=where, **options)

    for option in (
        click.option("--accelerator", default="auto", show_default=True, help="cpu, cuda, mps."),
        click.option(
            "--devices", default="1", show_default=True, help="Processes on this machine, or auto."
        ),
        click.option("--num-nodes", default=1, show_default=True, help="Machines, with torchrun."),
        click.option(
            "--precision",
            default="32-true",
            show_default=True,
            help="32-true, bf16-mixed, 16-mixed or 64-true.",
        ),
    ):
        option(command)
    return command  # type: ignore[return-value]


@click.command()
@click.option(
    "--teacher",
    default="resnet34",
    show_default=True,
    help="See `snn2hw models`; a network in a file, .onnx or Keras' .h5; or a run, runs/NAME.",
)
@click.option(
    "--teacher-weights",
    type=PLACE,
    help="Load the teacher's weights: .safetensors, .npz, .pt, .pth, .th or .ckpt.",
)
@click.option(
    "--teacher-input",
    help="How it sees pixels: raw, unit (0 to 1), signed (-1 to 1), standard (the data's mean and "
    "deviation), imagenet, or MEAN/STD with commas between channels. By default unit for a "
    "teacher trained here, and for others what training images show to be right.",
)
@click.option("--teacher-output", help="Tensor with the logits, where the file leaves a choice.")
@click.option("--teacher-only", is_flag=True, help="Stop when the teacher is there and measured.")
@click.option(
    "--student",
    default=None,
    help="By default cnn for the cnn teacher and resnet20 for the others, and for a small chip the "
    "largest rnn that it holds.",
)
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="See `snn2hw datasets`; NAME@validation leaves the test data alone.",
)
@click.option("--data-dir", type=PLACE, help="Look for data here first.")
@click.option(
    "--method",
    default=None,
    help="See `snn2hw methods`; several with a plus: hetero+features.",
)
@click.option("--neuron", type=click.Choice(["lif", "if", "cuba"]), help="Of the student.")
@click.option("--reset", type=click.Choice(["zero", "subtract"]), help="Of a neuron that spiked.")
@click.option(
    "--readout",
    type=click.Choice(["spikes", "membrane"]),
    help="Count output spikes, or sum what the last layer sends.",
)
@shown_options
@click.option(
    "--polarity",
    type=click.Choice(["separate", "merged"]),
    help="Recordings: off and on events in two channels (the default), or together in one.",
)
@click.option(
    "--time-steps",
    "--bins",
    "time_steps",
    type=click.IntRange(1, 1024),
    help="Steps one sample lasts: how often an image is shown, or a recording's frames.",
)
@click.option(
    "--encoder",
    help="What images become over the steps: direct, rate, latency, ...; constants follow a colon, "
    "latency:threshold=0.1. See `snn2hw encoders`.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Of the student.")
@click.option("--teacher-epochs", type=click.IntRange(min=1), help="Of the teacher.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples a training step.")
@click.option(
    "--minimize",
    type=click.Choice(["synops", "energy"]),
    help="Let spikes cost what they set off: synaptic operations, or energy at --target's prices.",
)
@click.option(
    "--target",
    help="Chip that the student is for: its neurons follow the chip's rules, and its prices count "
    f"with --minimize energy.  [default: {DEFAULT_TARGET}]",
)
@click.option(
    "--synops-budget",
    type=click.FloatRange(min=0, min_open=True),
    help="Synaptic operations of a sample, the input's included, below which spikes cost nothing.",
)
@click.option(
    "--set",
    "more",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other constant of the recipe: alpha=0.5, tau_student=0.5, spike_cost=1 ...",
)
@device_options
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard events beside the log.")
@click.option("--name", help="Of the run.")
@click.option("--seed", type=int, default=0, show_default=True)
@common
def distill(
    talk: Talk,
    teacher: str,
    student: str | None,
    data: str,
    name: str | None,
    data_dir: Path | None,
    teacher_weights: Path | None,
    teacher_only: bool,
    seed: int,
    more: tuple[str, ...],
    where: dict[str, Any],
    tensorboard: bool,
    binning: Binning,
    resize: str | None,
    **options: Any,
) -> None:
    """Train or load a teacher and distill a spiking student.

    Writes runs/NAME/ with student.nir and metrics.json. Stopped with Ctrl-C, or by
    --teacher-only, the same command goes on where it was.
    """
    options = runs.constants(more) | {k: v for k, v in options.items() if v is not None}
    options["seed"] = seed
    data = with_options(data, binning.options() | ({} if resize is None else {"resize": resize}))
    if "synops_budget" in options:
        options.setdefault("minimize", "synops")
    if "minimize" in options:
        options.setdefault("spike_cost", 1.0)
    if teacher_weights is not None:
        options["teacher_weights"] = str(teacher_weights)
    student = student or runs.default_student(teacher, options.get("target", DEFAULT_TARGET))
    shared: dict[str, Any] = {
        "teacher": teacher, "student": student, "data": data, "name": name, "data_dir": data_dir,
        "progress": talk, "options": options, "where": where,
    }  # fmt: skip
    done: Any
    if teacher_only:
        done = runs.teach(root(), **shared)
    else:
        done = runs.distill(root(), tensorboard=tensorboard, **shared)
    shown = done if isinstance(done, dict) else _shown(done)
    talk.result(shown, text.pairs(shown))


@click.command()
@click.argument("run", required=False)
@click.option("--how", default="lamp", show_default=True, help="Pruner; see `snn2hw methods`.")
@click.option("--sparsity", type=float, help="Share of weights that become zero; by default 0.75.")
@click.option("--density", type=float, help="Share of weights that stay, instead.")
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    help="A budget of neurocores instead: as sparse as the target needs it.",
)
@click.option(
    "--target",
    help=f"The chip of --cores, by default {DEFAULT_TARGET}; alone: no neuron gets more inputs "
    "than its cores hold.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Of fine-tuning.")
@click.option("--data", help="To fine-tune on; by default what the run was trained on.")
@click.option("--name", help="Of the new run.")
@click.option("--seed", type=int, help="Of fine-tuning; by default the run's own.")
@click.option("--data-dir", type=PLACE, help="Look for data here first.")
@device_options
@common
def prune(
    talk: Talk,
    run: str | None,
    how: str,
    sparsity: float | None,
    density: float | None,
    cores: int | None,
    target: str | None,
    seed: int | None,
    **options: Any,
) -> None:
    """Prune a run's student, fine-tune it and write a new run.

    RUN is a path or name, also of a build that was made of it; by default the newest.
    """
    if sum(x is not None for x in (sparsity, density, cores)) > 1:
        raise click.UsageError("Give one of --sparsity, --density and --cores.")
    made = runs.prune(
        root(),
        run,
        sparsity=sparsity if density is None else round(1.0 - density, 9),
        how=how,
        cores=cores,
        target=target,
        seed=seed,
        progress=talk,
        **options,
    )
    talk.result(_shown(made), text.pairs(_shown(made)))


@click.command()
@click.option("--data", default="digits", show_default=True, help="See `snn2hw datasets`.")
@click.option("--data-dir", type=PLACE, help="Look for data here first.")
@click.option("--seed", type=int, default=0, show_default=True)
@common
def demo(talk: Talk, data: str, data_dir: Path | None, seed: int) -> None:
    """The whole story: teacher, student, pruning, chip, proof, bill."""
    story = demo_pipeline.run(
        root(), data, seed=seed, data_dir=data_dir, progress=talk, say=talk.say
    )
    report = story.report
    boundaries, joules = report.boundaries(), energy_unit([report])
    rows = [
        [
            who,
            text.percent(right),
            *("-" if n is None else text.number(n) for n in (spikes, synops)),
        ]
        for who, right, spikes, synops in story.rows
    ]
    paths = [story.alone.path, story.student.path, story.pruned.path, story.build.path, story.page]
    document = {
        "accuracy": story.accuracy,
        "samples": story.samples,
        "runs": [str(story.student.path), str(story.pruned.path)],
        "without_teacher": str(story.alone.path),
        "gained": story.gained,
        "build": str(story.build.path),
        "page": str(story.page),
        "verification": story.verification,
        "energy": report.json(),
        "rows": [dict(zip(("network", "accuracy", "spikes", "synops"), r, strict=True))
                 for r in story.rows],
    }  # fmt: skip
    lines = [
        *bill.energy(
            report,
            story.build.name,
            story.build.info["rewrites"],
            proved(last_proof(story.build.path), story.build.digest),
        ),
        "",
        *text.verification(story.verification, story.build.name),
        "",
        *text.table(["network", "accuracy", "spikes", "synops"], rows),
        f"All accuracies are of the same {story.samples:,} test samples.",
        story.gained,
        "",
        f"latency       {time_unit([report]).spread(report.latency_us)}",
        f"energy, chip  {joules.spread(boundaries['chip']['total_uj'])} per inference",
        f"with I/O      {joules.spread(boundaries['with_io']['total_uj'])} per inference",
        "",
        "written:",
        *(f"  {p}" for p in paths),
    ]
    talk.result(document, lines)
    if story.verification["mismatches"]:
        raise SystemExit(1)
