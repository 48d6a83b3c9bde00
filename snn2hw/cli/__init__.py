"""The command line: parse, call the pipeline, print. No logic lives here.

Importing this is quick. The commands take most of a second to import, in which a command can
already be stopped.
"""

from __future__ import annotations

import sys

from snn2hw.cli.stopping import Stop


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
        from snn2hw.cli import commands

        stop.begun = True
        code = commands.run(given, stop)
    except KeyboardInterrupt:  # between two lines, where no command could catch it
        code = 1
    if arguments is None:
        stop.over()
        code = code or streams.code()
    sys.exit(code)
