"""Load an ONNX model and run it once, within limits, before anybody else does.

Run as a plain file in a process of its own: what a damaged or hostile model does to ONNX Runtime
(endless loops, absurd tensors, a crash) ends with it. Reads one line of JSON and then the model
from standard input, and prints one line of JSON. Imports nothing of snn2hw.
"""
# pyright: basic

from __future__ import annotations

import importlib.util
import json
import sys


def main() -> None:
    """Try each input shape in turn; answer the first that gives each sample its own row."""
    asked = json.loads(sys.stdin.buffer.readline())
    if importlib.util.find_spec("resource"):  # not on Windows
        import resource

        wanted = {resource.RLIMIT_AS: asked["memory"], resource.RLIMIT_CPU: asked["seconds"]}
        for kind, most in wanted.items():
            given = [n for n in resource.getrlimit(kind) if n != resource.RLIM_INFINITY]
            least = min([most, *given])  # none above what this process has: the system refuses
            resource.setrlimit(kind, (least, least))
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = sys.stdin.buffer.read()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    error = ""
    for shape in asked["shapes"]:
        try:
            found = session.run(asked["outputs"], {asked["input"]: np.zeros(shape, asked["dtype"])})
        except Exception as failed:
            error = str(failed)
            continue
        shapes = [list(np.asarray(a).shape) for a in found]
        if all(s[:1] == shape[:1] for s in shapes):
            answer = {"batch": shape[0], "shapes": shapes}
            sys.stdout.write(json.dumps(answer) + "\n")
            return
        error = f"{shape[0]} samples give {shapes}: not one row each"
    raise RuntimeError(error)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.stdout.write(json.dumps({"error": str(error) or type(error).__name__}) + "\n")
