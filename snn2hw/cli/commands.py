"""All commands, and how each of them ends.

A command is imported when it is asked for: help and names that are none need not wait for numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from snn2hw.cli.stopping import Stop
from snn2hw.errors import Interrupted, nearest, shortened, visible


class Entry(NamedTuple):
    """Where a command is, and the first line of its help."""

    module: str
    summary: str


COMMANDS: Mapping[str, Entry] = {  # in the order in which one uses them
    "demo": Entry("training", "The whole story: teacher, student, pruning, chip, proof, bill."),
    "distill": Entry("training", "Train or load a teacher and distill a spiking student."),
    "prune": Entry("training", "Prune a run's student, fine-tune it and write a new run."),
    "export": Entry("compile", "Compile MODEL for a chip: integers, cores, the vendor's file."),
    "simulate": Entry("running", "Run a build, or with --on float a network, on test samples."),
    "verify": Entry("running", "Compare every spike and every state with the vendor's simulator."),
    "energy": Entry("energy", "What an inference costs, with the source of every price."),
    "inspect": Entry("compile", "Say what a file, run or build holds, and what targets refuse."),
    "targets": Entry("info", "List the chips, or show one with the source of every figure."),
    "models": Entry("info", "List teachers, students and trained models, or show one."),
    "datasets": Entry("info", "List the data sets, or show one with its source."),
    "encoders": Entry("info", "List the ways to show an image over time, or show one."),
    "methods": Entry("info", "List the methods of distillation and pruning, or show one."),
    "runtime": Entry("info", "Vendor simulators that need an environment of their own."),
    "doctor": Entry("info", "Say what is installed and works, and what to do about the rest."),
}


def load(name: str) -> click.Command:
    """Import a command, by its name in ``COMMANDS``."""
    return getattr(import_module(f"snn2hw.cli.{COMMANDS[name].module}"), name)


def prepare(arguments: Sequence[str]) -> None:
    """Import the command that is asked for, if there is one of this name."""
    name = next((a for a in arguments if not a.startswith("-")), "")
    if name in COMMANDS:
        load(name)


# What people look for by another name, and what to do instead.
MEANT = {
    "build": "snn2hw export builds a network for a chip.",
    "compare": "snn2hw energy compare compares chips.",
    "compile": "snn2hw export compiles a network for a chip.",
    "data": "snn2hw datasets lists data sets; --data NAME chooses one.",
    "evaluate": "snn2hw simulate tells the accuracy of a build, with --on float of a network.",
    "load": "snn2hw inspect says what is in a file.",
    "measure": "snn2hw simulate --on float runs a network as it is; snn2hw.measure(module, "
    "network, x) compares it with a PyTorch module in Python.",
    "open": "snn2hw inspect says what is in a build.",
    "refusals": "snn2hw inspect says what each target would refuse.",
    "report": "snn2hw energy report --html FILE writes a page about a build.",
    "run": "snn2hw simulate runs a build.",
    "test": "snn2hw simulate tells the accuracy of a build, snn2hw verify proves it.",
    "train": "snn2hw distill trains a student; with --method none without a teacher.",
}


class Story(click.Group):
    """Lists commands in the order one uses them, and imports the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, not sorted."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, and the arguments behind it.

        Raises:
            UsageError: there is none; says what to do instead, if it goes by another name here.
        """
        meant = MEANT.get(args[0].lower())
        if meant is not None:
            raise click.UsageError(f"No such command {args[0]!r}. {meant}", ctx)
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else load(name), rest


HELP = """From a trained network to a spiking one on a chip, with proof and an energy bill.

Start with `snn2hw demo`. The long way: `snn2hw distill --teacher resnet34`, `snn2hw export`,
`snn2hw energy report`. Every command takes the newest run or build of this folder unless you name
one.
"""


@click.group(
    cls=Story,
    help=HELP,
    commands={k: click.Command(k, short_help=v.summary) for k, v in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="snn2hw")
def snn2hw() -> None:
    """Hold all commands."""


def run(arguments: Sequence[str], stop: Stop) -> int:
    """Run a command and return its exit code; whatever is wrong has then been told."""
    try:
        code: Any = snn2hw.main(list(arguments), prog_name="snn2hw", standalone_mode=False)
    except SystemExit as error:
        code = error.code
    except click.ClickException as error:
        _show(error, "--json" in arguments)
        code = error.exit_code
    except BaseException as error:
        from snn2hw.cli.common import report_error
        from snn2hw.processes import end_others

        end_others()
        # Whatever a signal became on its way through other people's code.
        stopped = stop.seen and not isinstance(error, Interrupted)
        code = report_error(KeyboardInterrupt() if stopped else error, arguments)
    return code if isinstance(code, int) else 0


def _show(error: click.ClickException, as_json: bool) -> None:
    """Print what is wrong with the arguments, which may hold names of files."""
    if not isinstance(error, click.exceptions.NoArgsIsHelpError):
        told = error.format_message() + _meant(error)
        error.format_message = lambda: shortened(visible(told))
    if as_json and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "snn2hw"
        document = {
            "kind": "usage", "message": error.format_message(), "hint": f"See: {command} --help",
        }  # fmt: skip
        from snn2hw.files import json_text

        click.echo(json_text({"error": document}))
    error.show()


def _meant(error: click.ClickException) -> str:
    """Suggest an option where click does not: it minds the case of letters."""
    if not isinstance(error, click.NoSuchOption) or error.possibilities or error.ctx is None:
        return ""
    known = [o[2:] for p in error.ctx.command.params for o in p.opts if o.startswith("--")]
    near = nearest(error.option_name.lstrip("-"), known)
    return f" Did you mean '--{near}'?" if near else ""
