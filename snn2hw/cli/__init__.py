"""The command line: parse, call the pipeline, print. No logic lives here.

Importing this is quick. What a command needs may take most of a second to import, in which it can
already be stopped.
"""

from __future__ import annotations

import os
import sys

from snn2hw.cli.stopping import Stop

TYPE_CHECKING = False  # as in snn2hw/__init__.py
if TYPE_CHECKING:
    from types import ModuleType


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of ours end with one sentence and exit code 1.

    Args:
        arguments: instead of the process's own; then its signals and streams stay as they are.
    """
    given = sys.argv[1:] if arguments is None else arguments
    stop = Stop(as_json="--json" in given)
    if arguments is None:
        stop.watch()
    from snn2hw.cli.streams import Streams

    streams = Streams()
    if arguments is None:
        streams.mend()
    try:
        commands = _commands(given, stop)
        if commands is None:
            code = 1
        else:
            stop.begun = True
            code = commands.run(given, stop)
    except KeyboardInterrupt:  # between two lines, where no command could catch it
        code = 1
    if arguments is None:
        stop.over()
        code = code or streams.code()
    sys.exit(code)


def _commands(given: list[str], stop: Stop) -> ModuleType | None:
    """Import the command that is asked for; None where that cannot be, which has then been told."""
    try:
        os.getcwd()  # noqa: PTH109  (libraries ask for it when they are imported)
    except FileNotFoundError:
        _cannot_start(stop, "The working directory is gone.", "Change to one that is there.")
        return None
    try:
        from snn2hw.cli import commands

        commands.prepare(given)
    except Exception as error:  # whatever libraries stumble over
        from snn2hw.errors import start_error

        known = start_error(error)
        _cannot_start(stop, known.message, known.hint)
        return None
    return commands


def _cannot_start(stop: Stop, message: str, hint: str) -> None:
    """Say why no command could be imported."""
    if stop.as_json:
        import json

        told = {"kind": "start", "message": message, "hint": hint}
        print(json.dumps({"error": told}))  # noqa: T201
    print(f"error: {message} {hint}", file=sys.stderr)  # noqa: T201
