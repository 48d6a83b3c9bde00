"""Small ONNX networks, made with onnx.helper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def port(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def network(nodes, inputs, outputs, weights=(), opsets=(("", 17),)):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    imports = [helper.make_opsetid(*o) for o in opsets]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def save(model, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def classifier(
    matrix, image, *, layout="NCHW", batch="N", softmax=False, bias=None, dtype=FLOAT, extra=()
):
    """``logits = flat(x) @ matrix + bias``, however the image is laid out; ``flat`` is a feature.

    ``matrix [C * H * W, classes]`` counts pixels in the order of NCHW.
    """
    channels, height, width = image
    shape = {
        "NCHW": [channels, height, width], "NHWC": [height, width, channels],
        "NHW": [height, width], "flat": [channels * height * width],
    }[layout]  # fmt: skip
    classes = matrix.shape[1]
    nodes, source = [], "x"
    if dtype != FLOAT:
        nodes.append(helper.make_node("Cast", [source], ["real"], to=FLOAT))
        source = "real"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [source], ["turned"], perm=[0, 3, 1, 2]))
        source = "turned"
    rows = batch if isinstance(batch, int) else -1
    sizes = weight("sizes", np.array([rows, channels * height * width]))
    nodes += [
        helper.make_node("Reshape", [source, "sizes"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], name="dense"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["p"], axis=-1))
        nodes.append(helper.make_node("Identity", ["p"], ["likely"]))
    bias = np.zeros(classes) if bias is None else bias
    weights = [
        sizes, weight("w", matrix.astype(np.float32)), weight("b", bias.astype(np.float32)),
    ]  # fmt: skip
    out = "likely" if softmax else "logits"
    return network(
        [*nodes, *extra], [port("x", [batch, *shape], dtype)], [port(out, [batch, classes])],
        weights,
    )  # fmt: skip


def linear_digits(dataset):
    """Least squares on 0 to 1: right for about 93 % of the digits."""
    x = dataset.x_train.reshape(len(dataset.x_train), -1) / dataset.max_value
    x = np.hstack([x, np.ones((len(x), 1))])
    found = np.linalg.lstsq(x, 10.0 * np.eye(10)[dataset.y_train], rcond=None)[0]
    return found[:-1], found[-1]


def outside(model, name, **told):
    """Say that a weight lies in another file."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in told.items():
        tensor.external_data.add(key=key, value=str(value))
    return data


__all__ = [
    "FLOAT", "classifier", "helper", "linear_digits", "network", "onnx", "outside", "port", "save",
    "weight",
]  # fmt: skip
