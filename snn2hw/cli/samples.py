"""Samples of a command that runs a build, and what it says of several outputs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from snn2hw.cli.common import Talk
from snn2hw.errors import listed
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.samples import samples_for, sole
from snn2hw.store.folders import Build


def samples_of(talk: Talk, build: Build, **which: Any) -> Samples:
    """Choose samples for a build, and tell what there is to know about them."""
    taken = samples_for(build, **which)
    for note in taken.notes:
        talk.say(f"note: {note}")
    return taken


def ask_output(talk: Talk, outputs: Collection[str], output: str | None) -> None:
    """Say how to have an accuracy where labels may be for any of several outputs."""
    if sole(outputs, output) is None:
        talk.say(
            f"note: no accuracy, as there are {len(outputs)} outputs ({listed(outputs)}): name the "
            "one that the labels are for with --output"
        )


def told_outputs(outputs: Collection[str], output: str | None) -> dict[str, Any]:
    """Return what a document says of outputs: of several all, and which one was named."""
    several = {"outputs": list(outputs)} if len(outputs) > 1 else {}
    return several | ({} if output is None else {"output": output})
