# pyright: basic
"""TensorBoard events from a run's log."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn2hw.errors import InputError


def writer_class() -> Any:
    """Return what writes events.

    Raises:
        InputError: it is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise InputError(
            "TensorBoard events need the package tensorboardX, which is not installed.",
            'Install it: pip install "snn2hw[tensorboard]"',
        ) from None
    return SummaryWriter


def write_events(folder: Path, stage: str, history: Sequence[Mapping[str, Any]]) -> None:
    """Write every number of a stage's log as events, the epoch as their step.

    The log is the truth: the stage's events are written anew each time, so that a run that was
    stopped has none twice.
    """
    shutil.rmtree(folder / stage, ignore_errors=True)
    with writer_class()(str(folder / stage), write_to_disk=True) as writer:
        for row in history:
            numbers = {k: v for k, v in row.items() if isinstance(v, float)}
            numbers |= {f"parts/{k}": v for k, v in row.get("parts", {}).items()}
            for name, value in numbers.items():
                writer.add_scalar(name, value, row["epoch"])
