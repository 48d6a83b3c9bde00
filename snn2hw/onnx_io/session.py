# pyright: basic
"""Running an ONNX model on images: any of its tensors, sample by sample or in batches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw import processes
from snn2hw.errors import InputError, UnsupportedError, limit_told, unknown_name
from snn2hw.onnx_io.model import OnnxModel, Port, classes_of, first_line, input_problems, package

BATCH = 32  # samples in one call, where the model leaves that open
# What the rehearsal may take, and more the larger a model is: bytes of address space, seconds of
# the processor, and by the clock, where another process has the processor. What it takes is taken
# once more when the session is made. ONNX Runtime needs time that grows with the square of the
# nodes behind a Reshape to a free size: 6 s for 4,000.
MEMORY, MEMORY_A_BYTE = 3 << 30, 16
SECONDS, BYTES_A_SECOND = 4, 1_000_000
PATIENCE = 15
ENDED = (24, 9)  # SIGXCPU, which not every system has a name for, and SIGKILL

Image = tuple[int, int, int]


class Logits(NamedTuple):
    """Which tensor to distill from, and what the user should know about that choice."""

    name: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Runner:
    """A session that gives the named tensors.

    Args:
        model: what runs.
        session: ``onnxruntime.InferenceSession`` on the CPU.
        port: the model's input.
        outputs: tensors that it gives.
        layout: how it takes images: ``NCHW``, ``NHWC``, ``NHW`` or ``flat``.
        batch: samples in one call.
    """

    model: OnnxModel
    session: Any
    port: Port
    outputs: tuple[str, ...]
    layout: str
    batch: int


def find_logits(model: OnnxModel, classes: int, wanted: str | None = None) -> Logits:
    """Choose the tensor with one number per class.

    Args:
        model: with any number of outputs.
        classes: how many the data have.
        wanted: name of an output or of any other tensor; None needs exactly one output that fits.

    Raises:
        InputError: no output fits, or several do, or there is no such tensor.
    """
    if wanted is not None:
        if wanted not in model.tensors:
            raise unknown_name(f"tensor in {model.path}", wanted, model.tensors)
        chosen = wanted
    else:
        fitting = [p for p in model.outputs if _may_be_logits(p, classes)]
        if len(fitting) != 1:
            shown = "; ".join(map(str, fitting or model.outputs))
            raise InputError(
                f"{model.path} has {len(fitting) or 'no'} outputs of {classes} classes: {shown}.",
                "Choose one with --teacher-output NAME."
                if fitting
                else "Use the data it was trained on, or name a tensor with --teacher-output.",
            )
        chosen = fitting[0].name
    before = model.logits_of(chosen)
    if before == chosen:
        return Logits(chosen, ())
    return Logits(before, (f"{chosen} is a softmax: the logits before it, {before}, are taken",))


def _may_be_logits(port: Port, classes: int) -> bool:
    return port.dtype.startswith("float") and classes_of(port) in (classes, None)


def start(model: OnnxModel, outputs: Sequence[str], image: Image) -> Runner:
    """Make a model ready to give some of its tensors for images ``[C, H, W]``.

    It is rehearsed first: run once in a process of its own, with bounded memory and time.

    Args:
        model: takes one batch of images.
        outputs: any tensors in it.
        image: shape of the data's images.

    Raises:
        InputError: it takes no images or others, there is no such tensor, or ONNX Runtime
            refuses it, crashes, or exceeds the limits.
    """
    for name in outputs:
        if name not in model.tensors:
            raise unknown_name(f"tensor in {model.path}", name, model.tensors)
    problems = input_problems(model)
    if problems:
        raise InputError(
            f"{model.path} cannot be a teacher: {'; '.join(problems)}.",
            "A teacher has one input, a batch of images.",
        )
    port = model.inputs[0]
    layout = _layout(port, image)
    if layout is None:
        raise InputError(
            f"{model.path} takes {port}, the data hold images {list(image)} (C, H, W).",
            "Use the data that it was trained on, at that size.",
        )
    content = _with_outputs(model, outputs)
    batch = _rehearse(model, content, port, outputs, _arranged_shape(layout, image))
    runtime = package("onnxruntime", f"Running {model.path}")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Runner(model, session, port, tuple(outputs), layout, batch)


def alone(
    model: OnnxModel, output: str, image: Image
) -> tuple[bytes, Callable[[NDArray[np.float32]], NDArray[Any]]]:
    """Return a model that gives one tensor and nothing else, and what arranges images for it.

    Args:
        model: takes one batch of images.
        output: any tensor in it.
        image: shape of the data's images.

    Raises:
        UnsupportedError: it takes a fixed number of images at a time, or others.
    """
    port = model.inputs[0]
    layout = _layout(port, image)
    if layout is None or (port.shape and isinstance(port.shape[0], int)):
        raise UnsupportedError(f"the teacher takes {port}, not any number of such images")
    onnx = package("onnx", f"Running {model.path}")
    changed = onnx.ModelProto()
    changed.CopyFrom(model.proto)
    del changed.graph.output[:]
    changed.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    content = changed.SerializeToString()
    return content, lambda x: np.ascontiguousarray(_arranged(x, layout).astype(port.dtype))


def _with_outputs(model: OnnxModel, outputs: Sequence[str]) -> bytes:
    onnx = package("onnx", f"Running {model.path}")
    extended = onnx.ModelProto()
    extended.CopyFrom(model.proto)
    held = {v.name for v in model.proto.graph.output}
    extended.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(n) for n in outputs if n not in held
    )
    return extended.SerializeToString()


def _layout(port: Port, image: Image) -> str | None:
    """Find how the input arranges an image; where its axes are open, the usual NCHW."""
    channels, height, width = image
    if port.shape is None:
        return "NCHW"
    wanted = {
        "NCHW": (channels, height, width),
        "NHWC": (height, width, channels),
        "flat": (channels * height * width,),
    }
    if channels == 1:
        wanted["NHW"] = (height, width)
    for layout, shape in wanted.items():
        axes = port.shape[1:]
        if len(axes) == len(shape) and all(
            a == n or isinstance(a, str) for a, n in zip(axes, shape, strict=True)
        ):
            return layout
    return None


def _arranged_shape(layout: str, image: Image) -> tuple[int, ...]:
    return _arranged(np.empty((0, *image), np.float32), layout).shape[1:]


def _arranged(x: NDArray[np.float32], layout: str) -> NDArray[np.float32]:
    match layout:
        case "NCHW":
            return x
        case "NHWC":
            return x.transpose(0, 2, 3, 1)
        case "NHW":
            return x[:, 0]
        case _:
            return x.reshape(len(x), int(np.prod(x.shape[1:])))


def _rehearse(
    model: OnnxModel, content: bytes, port: Port, outputs: Sequence[str], shape: tuple[int, ...]
) -> int:
    """Return how many samples one call may take."""
    fixed = port.shape[0] if port.shape else None
    # Some files call the batch free and then reshape it to one: those are called that way.
    batches = [fixed] if isinstance(fixed, int) else [BATCH, 1]
    asked = {
        "input": port.name, "dtype": port.dtype, "outputs": list(outputs),
        "shapes": [[b, *shape] for b in batches], "memory": MEMORY + MEMORY_A_BYTE * len(content),
        "seconds": (seconds := SECONDS + len(content) // BYTES_A_SECOND),
    }  # fmt: skip
    package("onnxruntime", f"Running {model.path}")
    try:
        done = processes.run(
            [sys.executable, "-P", str(Path(__file__).with_name("rehearsal.py"))],
            stdin=json.dumps(asked).encode() + b"\n" + content,
            timeout=PATIENCE * seconds,
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(model, seconds) from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        code = done.returncode
        if -code in ENDED:
            raise _too_slow(model, seconds) from None
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        answer = {"error": f"it crashed ({how})"}
    if "error" in answer:
        raise InputError(
            f"ONNX Runtime cannot run {model.path}: {first_line(answer['error'])}.",
            f"Check it with onnxruntime, or export it again. {limit_told()}".rstrip(),
        )
    return int(answer["batch"])


def _too_slow(model: OnnxModel, seconds: int) -> InputError:
    return InputError(
        f"{model.path} did not finish a few samples in {seconds} seconds of the processor.",
        "A teacher must be quicker.",
    )


def run(runner: Runner, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Run images and return the runner's tensors.

    Args:
        runner: from ``start``.
        x: ``[N, C, H, W]``, scaled as the model expects.

    Returns:
        For each output ``[N, ...]``.

    Raises:
        InputError: ONNX Runtime fails, or a tensor holds NaN or infinity.
    """
    arranged = _arranged(x, runner.layout).astype(runner.port.dtype)
    parts: list[list[NDArray[np.float32]]] = [[] for _ in runner.outputs]
    for first in range(0, len(arranged), runner.batch):
        chunk = arranged[first : first + runner.batch]
        rows = len(chunk)
        # The batch may be fixed: the last one is filled up with zeros, which are cut off again.
        chunk = np.pad(chunk, [(0, runner.batch - rows), *[(0, 0)] * (chunk.ndim - 1)])
        try:
            found = runner.session.run(list(runner.outputs), {runner.port.name: chunk})
        except Exception as error:  # onnxruntime's own kinds share no base
            raise InputError(
                f"ONNX Runtime cannot run {runner.model.path}: {first_line(error)}."
            ) from None
        for kept, name, values in zip(parts, runner.outputs, found, strict=True):
            if not np.isfinite(values).all():
                raise InputError(f"{runner.model.path}: {name} holds NaN or infinity.")
            kept.append(np.asarray(values[:rows], np.float32))
    return tuple(np.concatenate(kept) for kept in parts)
