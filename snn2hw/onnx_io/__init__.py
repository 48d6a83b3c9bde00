"""The door to ONNX: networks that others trained, looked at and run as teachers.

The only importer of ``onnx`` and ``onnxruntime``, which are an extra: nothing is imported before
it is needed. ``model`` reads and checks a file and says what is in it; ``session`` runs it;
``counting`` says what it computes, and ``timed`` runs it in 32 and 8 bits to be timed.
"""

from snn2hw.onnx_io.counting import Operations, operations
from snn2hw.onnx_io.model import OnnxModel, Port, describe, read
from snn2hw.onnx_io.session import Runner, alone, find_logits, run, start
from snn2hw.onnx_io.timed import Session, quantized

__all__ = [
    "OnnxModel", "Operations", "Port", "Runner", "Session", "alone", "describe", "find_logits",
    "operations", "quantized", "read", "run", "start",
]  # fmt: skip
