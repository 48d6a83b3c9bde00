"""The command line: parse, call the pipeline, print. No logic lives here."""

from __future__ import annotations

import sys
from typing import Any

import click

from snn2hw.cli.common import report_error
from snn2hw.cli.compile import energy, export, inspect, simulate, verify
from snn2hw.cli.info import datasets, doctor, encoders, methods, models, runtime, targets
from snn2hw.cli.training import demo, distill, prune

ORDER = [
    "demo", "distill", "prune", "export", "simulate", "verify", "energy", "inspect",
    "targets", "models", "datasets", "encoders", "methods", "runtime", "doctor",
]  # fmt: skip


class Story(click.Group):
    """Lists commands in the order one uses them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, not sorted."""
        return ORDER


@click.group(cls=Story, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="snn2hw")
def snn2hw() -> None:
    """From a trained network to a spiking one on a chip, with proof and an energy bill.

    Start with `snn2hw demo`. The long way: `snn2hw distill --teacher resnet34`,
    `snn2hw export --target loihi2`, `snn2hw energy report`. Every command takes the newest run or
    build of this folder unless you name one.
    """


for command in (
    demo, distill, prune, export, simulate, verify, energy, inspect,
    targets, models, datasets, encoders, methods, runtime, doctor,
):  # fmt: skip
    snn2hw.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of ours end with one sentence and exit code 1."""
    try:
        code: Any = snn2hw.main(arguments, prog_name="snn2hw", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(report_error(error, sys.argv[1:] if arguments is None else arguments))
    sys.exit(code if isinstance(code, int) else 0)
