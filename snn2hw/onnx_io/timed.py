# pyright: basic
"""A model on this processor, in float32 and in int8, in one thread."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.onnx_io.model import first_line, package

CALIBRATION_BATCH = 50
WHY = "Running a teacher on this processor"


def quantized(content: bytes, calibration: NDArray[Any], folder: Path) -> bytes:
    """Return a model in 8 bits: static quantization by ONNX Runtime.

    Weights have a scale for each output channel, activations one for each tensor, from the least
    and the most that they are on the calibration samples.

    Args:
        content: the model in float, with one input.
        calibration: training samples ``[N, ...]``, as the input takes them.
        folder: for files in between.

    Raises:
        InputError: ONNX Runtime cannot quantize it.
    """
    package("onnxruntime", WHY)
    tools = package("onnxruntime.quantization", WHY)
    onnx = package("onnx", WHY)
    names = [v.name for v in onnx.load_model_from_string(content).graph.input]
    plain, ready, done = (folder / f"{k}.onnx" for k in ("float", "prepared", "int8"))
    plain.write_bytes(content)
    batches = (
        {names[0]: calibration[i : i + CALIBRATION_BATCH]}
        for i in range(0, len(calibration), CALIBRATION_BATCH)
    )
    try:
        with _silent():
            tools.quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            tools.quantize_static(
                str(ready), str(done), _reader(tools, batches), per_channel=True,
                weight_type=tools.QuantType.QInt8, activation_type=tools.QuantType.QUInt8,
            )  # fmt: skip
    except Exception as error:  # onnxruntime's own kinds share no base
        raise InputError(
            f"ONNX Runtime cannot quantize the teacher: {first_line(error)}."
        ) from None
    return done.read_bytes()


def _reader(tools: Any, batches: Iterator[dict[str, NDArray[Any]]]) -> Any:
    """Return what ONNX Runtime reads calibration samples from."""

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(batches, None)

    return Reader()


@contextmanager
def _silent() -> Generator[None, None, None]:
    """Keep hints of the quantizer for its own developers from users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class Session:
    """A model that runs in one thread.

    Args:
        content: the model, with one input.

    Raises:
        InputError: ONNX Runtime cannot run it.
    """

    def __init__(self, content: bytes) -> None:
        runtime = package("onnxruntime", WHY)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InputError(f"ONNX Runtime cannot run the teacher: {first_line(error)}.") from None
        self._input = self._session.get_inputs()[0].name
        self.version: str = runtime.__version__

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the output of samples ``[N, ...]``."""
        return self.every(x)[0]

    def every(self, x: NDArray[Any]) -> list[NDArray[Any]]:
        """Return all outputs of samples ``[N, ...]``."""
        return self._session.run(None, {self._input: x})
