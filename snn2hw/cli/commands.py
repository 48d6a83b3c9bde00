"""All commands, and how each of them ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from snn2hw.cli.common import report_error
from snn2hw.cli.compile import energy, export, inspect, simulate, verify
from snn2hw.cli.info import datasets, doctor, encoders, methods, models, runtime, targets
from snn2hw.cli.stopping import Stop
from snn2hw.cli.training import demo, distill, prune
from snn2hw.errors import Interrupted, nearest, shortened, visible
from snn2hw.families import DEFAULT_TARGET
from snn2hw.files import json_text
from snn2hw.processes import end_others

ORDER = [
    "demo", "distill", "prune", "export", "simulate", "verify", "energy", "inspect",
    "targets", "models", "datasets", "encoders", "methods", "runtime", "doctor",
]  # fmt: skip


class Story(click.Group):
    """Lists commands in the order one uses them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, not sorted."""
        return ORDER


HELP = f"""From a trained network to a spiking one on a chip, with proof and an energy bill.

Start with `snn2hw demo`. The long way: `snn2hw distill --teacher resnet34`,
`snn2hw export --target {DEFAULT_TARGET}`, `snn2hw energy report`. Every command takes the newest
run or build of this folder unless you name one.
"""


@click.group(cls=Story, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="snn2hw")
def snn2hw() -> None:
    """Hold all commands."""


for command in (
    demo, distill, prune, export, simulate, verify, energy, inspect,
    targets, models, datasets, encoders, methods, runtime, doctor,
):  # fmt: skip
    snn2hw.add_command(command)


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
        click.echo(json_text({"error": document}))
    error.show()


def _meant(error: click.ClickException) -> str:
    """Suggest an option where click does not: it minds the case of letters."""
    if not isinstance(error, click.NoSuchOption) or error.possibilities or error.ctx is None:
        return ""
    known = [o[2:] for p in error.ctx.command.params for o in p.opts if o.startswith("--")]
    near = nearest(error.option_name.lstrip("-"), known)
    return f" Did you mean '--{near}'?" if near else ""
