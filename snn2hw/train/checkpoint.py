# pyright: basic
"""What resuming a stage needs: a file of tensors, with their job and the epochs so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.fields import anything, many, named, require, table
from snn2hw.files import json_text, reading
from snn2hw.train.job import Job
from snn2hw.train.log import ROW
from snn2hw.train.state import read_tensors, write_tensors

START_AGAIN = "Remove it, and give the command again: the stage starts anew."
_FACTS = table({"job": named(anything), "history": many(ROW)})


def state_path(run_dir: Path, stage: str) -> Path:
    """Return where a stage that is not over keeps what resuming needs."""
    return run_dir / "checkpoint" / f"{stage}.state.safetensors"


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def identity(job: Job, network: nn.Module, dataset: Dataset) -> dict[str, Any]:
    """Return all that decides a job's result, as JSON: a checkpoint of another is refused."""
    names = (
        "stage", "epochs", "batch", "lr", "optimizer", "weight_decay", "seed", "shift", "flip",
        "cutout", "scale", "gradient",
    )  # fmt: skip
    digest = hashlib.sha256(dataset.x_train.tobytes() + dataset.y_train.tobytes())
    shapes = {k: list(v.shape) for k, v in network.state_dict().items()}
    return {n: getattr(job, n) for n in names} | {
        "data": digest.hexdigest()[:16],
        "network": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16],
        "facts": json.loads(json_text(dict(job.facts))),
    }


def read_checkpoint(
    path: Path, job: Mapping[str, Any]
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return a checkpoint's tensors, and the records of the epochs that it has behind it.

    Args:
        path: the file.
        job: the ``identity`` that it has to be of.

    Raises:
        InputError: it is damaged, or of another job.
    """
    tensors, facts = read_tensors(path)
    require(facts, _FACTS, path, START_AGAIN)
    if facts["job"] != job:
        raise InputError(
            f"{path} was made with other options or other data.",
            "Repeat the command with the options it had, or give the run another name.",
        )
    return tensors, facts["history"]


def write_checkpoint(
    path: Path,
    held: Mapping[str, Mapping[str, Tensor]],
    job: Mapping[str, Any],
    history: list[dict[str, Any]],
) -> None:
    """Write what ``read_checkpoint`` reads: tensors by part and name, as ``part.name``."""
    tensors = {f"{what}.{k}": v for what, part in held.items() for k, v in part.items()}
    write_tensors(path, tensors, {"job": job, "history": history})


def restoring(path: Path) -> AbstractContextManager[None]:
    """Blame a checkpoint for whatever goes wrong while what it holds is put back."""
    return reading(path, "a checkpoint of this run", START_AGAIN)
