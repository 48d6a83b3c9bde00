# pyright: basic
"""Teachers that come as a file, architecture and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from snn2hw import onnx_io
from snn2hw.errors import InputError
from snn2hw.files import check_file, new_file, sha256
from snn2hw.train.keras_file import read_keras
from snn2hw.train.scaling import Scaled
from snn2hw.train.teachers import Settings


class Opened(NamedTuple):
    """A teacher from a file.

    Args:
        teacher: from integers ``[B, C, H, W]`` to logits ``[B, classes]``.
        integers: it takes the integers as they are and nothing else.
        notes: what was decided for the user.
    """

    teacher: Scaled
    integers: bool
    notes: tuple[str, ...]


class OnnxTeacher(Scaled):
    """A network that ONNX Runtime runs on the CPU, whatever device trains the student.

    Its outputs are constants to autograd.

    Args:
        model: read and checked.
        settings: of the data.
        logits: the tensor with one number per class.

    Raises:
        InputError: the model does not take such images or gives other classes.
    """

    def __init__(self, model: onnx_io.OnnxModel, settings: Settings, logits: str) -> None:
        super().__init__()
        self.model, self.shape, self.logits = model, settings.shape, logits
        self.classes = settings.classes
        self.scale = settings.scale()
        self._runners: dict[tuple[str, ...], onnx_io.Runner] = {}
        self(torch.zeros(1, *settings.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``, detached."""
        logits = self.features(x, [self.logits])[self.logits].flatten(1)
        if logits.shape[1] != self.classes:
            raise InputError(
                f"{self.model.path}: {self.logits} gives {logits.shape[1]} numbers, "
                f"the data have {self.classes} classes.",
                "Use the data it was trained on, or name a tensor with --teacher-output.",
            )
        return logits

    def features(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return any tensors of the graph by name, ``[B, ...]``, detached.

        Raises:
            InputError: there is no such tensor, or it has no row for each sample.
        """
        key = tuple(names)
        if key not in self._runners:
            self._runners[key] = onnx_io.start(self.model, key, self.shape)
        with torch.no_grad():
            pixels = self.scale(x).cpu().numpy()
        found = onnx_io.run(self._runners[key], pixels)
        return {n: torch.from_numpy(a).to(x.device) for n, a in zip(names, found, strict=True)}


def _open_onnx(path: Path, settings: Settings, output: str | None) -> Opened:
    model = onnx_io.read(path)
    logits = onnx_io.find_logits(model, settings.classes, output)
    teacher = OnnxTeacher(model, settings, logits.name)
    return Opened(teacher, model.inputs[0].dtype == "uint8", logits.notes)


def _open_keras(path: Path, settings: Settings, output: str | None) -> Opened:
    if output is not None:
        raise InputError(f"{path} has one output.", "Leave out its name.")
    teacher, notes = read_keras(path, settings)
    return Opened(teacher, False, notes)


Opener = Callable[[Path, Settings, str | None], Opened]

OPENERS: dict[str, Opener] = {".onnx": _open_onnx, ".h5": _open_keras}


def digest(path: Path) -> str:
    """Return the hash of a teacher's file, data in other files included.

    Raises:
        InputError: there is no such file, or it is none that can be read.
    """
    check_file(path, "a file with the teacher")
    return onnx_io.read(path).sha256 if path.suffix.lower() == ".onnx" else sha256(path)


def open_file(path: Path, settings: Settings, output: str | None) -> Opened:
    """Read a teacher.

    Args:
        path: of a kind in ``OPENERS``.
        settings: of the data; a scaling says how pixels are fed.
        output: name of the tensor with the logits; None for the file's own output.

    Raises:
        InputError: the file cannot be used, or not with these data.
    """
    return OPENERS[path.suffix.lower()](path, settings, output)


def keep(teacher: Scaled, path: Path, folder: Path) -> Path:
    """Write a complete copy of a teacher's file to a folder and return its path."""
    copy = folder / f"teacher{path.suffix.lower()}"
    with new_file(copy) as temporary:
        if isinstance(teacher, OnnxTeacher):
            # With the data that lay in other files.
            temporary.write_bytes(teacher.model.proto.SerializeToString(deterministic=True))
        else:
            temporary.write_bytes(path.read_bytes())
    return copy
