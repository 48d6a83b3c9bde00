"""The door to ONNX: networks that others trained, looked at and run as teachers.

The only importer of ``onnx`` and ``onnxruntime``, which are an extra: nothing is imported before
it is needed. ``model`` reads and checks a file and says what is in it; ``session`` runs it.
"""

from snn2hw.onnx_io.model import OnnxModel, Port, describe, read
from snn2hw.onnx_io.session import Runner, find_logits, run, start

__all__ = ["OnnxModel", "Port", "Runner", "describe", "find_logits", "read", "run", "start"]
