# pyright: basic
"""A teacher as an ONNX model, from pixels to logits."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from snn2hw import onnx_io
from snn2hw.errors import UnsupportedError
from snn2hw.files import scratch
from snn2hw.train.foreign import OnnxTeacher
from snn2hw.train.scaling import Scaled
from snn2hw.train.students import Student


class AsOnnx(NamedTuple):
    """A teacher as a model with one input and one output.

    Args:
        content: the model.
        shown: makes what it takes of the data's integers ``[N, C, H, W]``.
    """

    content: bytes
    shown: Callable[[NDArray[Any]], NDArray[Any]]


def as_onnx(teacher: Scaled | Student, shape: tuple[int, int, int]) -> AsOnnx:
    """Write a teacher as ONNX; one that came as such stays as it is.

    Args:
        teacher: what a run has.
        shape: of an image, ``(C, H, W)``.

    Raises:
        UnsupportedError: it spikes, or takes a fixed number of samples at a time.
    """
    if isinstance(teacher, Student):
        raise UnsupportedError("the teacher spikes, so ONNX Runtime cannot run it")
    if isinstance(teacher, OnnxTeacher):
        content, arranged = onnx_io.alone(teacher.model, teacher.logits, shape)
        scale = teacher.scale
        return AsOnnx(content, lambda x: arranged(scale(torch.from_numpy(_plain(x))).numpy()))
    teacher = teacher.cpu().eval()
    with scratch(Path(tempfile.gettempdir())) as folder, warnings.catch_warnings():
        file = folder / "teacher.onnx"
        # The exporter that needs no further package calls itself a legacy.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            teacher, (torch.zeros(1, *shape),), file, dynamo=False, input_names=["pixels"],
            output_names=["logits"],
            dynamic_axes={"pixels": {0: "samples"}, "logits": {0: "samples"}},
        )  # fmt: skip
        return AsOnnx(file.read_bytes(), _plain)


def _plain(x: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(x, np.float32)
