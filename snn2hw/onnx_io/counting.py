# pyright: basic
"""What an ONNX model computes for one sample: products, additions, weights, values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn2hw.errors import InputError, listed
from snn2hw.onnx_io.model import package
from snn2hw.onnx_io.timed import Session

LAYERS = ("Conv", "Gemm", "MatMul")
# Done with the layer in front, on values that are still in registers.
FUSED = ("BatchNormalization", "Cast", "Clip", "LeakyRelu", "Relu", "Sigmoid", "Softmax", "Tanh")
POOLS = ("AveragePool", "MaxPool")
OF_ALL = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum")
EACH = ("Add", "Div", "Max", "Min", "Mul", "Pad", "Pow", "Sqrt", "Sub", "Sum")
# Of shapes and constants only: nothing is computed.
FREE = (
    "Concat", "Constant", "ConstantOfShape", "Dropout", "Flatten", "Gather", "Identity", "Reshape",
    "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
COUNTED = (*LAYERS, *FUSED, *POOLS, *OF_ALL, *EACH, *FREE)


@dataclass(frozen=True, slots=True)
class Operations:
    """What a model takes for one sample.

    Args:
        products: multiplications whose product is added to a sum: of every output with every
            weight of its kernel, also where padding gives it zeros. A sum starts at the bias.
        additions: other operations on a value; pooling has one for each value that it looks at.
        weights: how many numbers it holds.
        values: how many activations are read and written, each layer's inputs and outputs.
    """

    products: int
    additions: int
    weights: int
    values: int


def operations(content: bytes, shape: tuple[int, ...]) -> Operations:
    """Count what a model computes for one sample.

    Args:
        content: the model, in float.
        shape: of its input with one sample, ``[1, ...]``.

    Raises:
        InputError: names operators that are not counted; or ONNX Runtime cannot run it.
    """
    onnx = package("onnx", "Counting the operations of a teacher")
    model = onnx.load_model_from_string(content)
    odd = sorted({n.op_type for n in model.graph.node if n.op_type not in COUNTED})
    if odd:
        raise InputError(f"The work of a teacher with {listed(odd)} cannot be counted.")
    held = {t.name: tuple(t.dims) for t in model.graph.initializer}
    known = _shapes(onnx, model, shape) | held
    counting = [n for n in model.graph.node if n.op_type not in FREE]
    constants = {*held, *(o for n in model.graph.node if n.op_type == "Constant" for o in n.output)}
    products, additions, values = 0, 0, 0
    for node in counting:
        made = sum(_size(known[n]) for n in node.output if n)
        taken = sum(_size(known[n]) for n in node.input if n and n not in constants)
        if node.op_type in LAYERS:
            products += made * _each(node, known)
        else:
            additions += taken if node.op_type in OF_ALL else made * _looked_at(node)
        if node.op_type not in FUSED:
            values += made + taken
    return Operations(products, additions, sum(_size(s) for s in held.values()), values)


def _shapes(onnx: Any, model: Any, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all values for one sample: those that they have, as ONNX infers few."""
    held = {t.name for t in model.graph.initializer}
    (port,) = [v for v in model.graph.input if v.name not in held]
    names = [name for node in model.graph.node for name in node.output if name]
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
    found = Session(asked.SerializeToString()).every(np.zeros(shape, dtype))
    return {port.name: shape} | {n: v.shape for n, v in zip(names, found, strict=True)}


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _each(node: Any, known: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many products an output of a layer is the sum of."""
    first, second = (known[n] for n in node.input[:2])
    if node.op_type == "Conv":  # kernel [out, in / groups, ...]
        return _size(second[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return first[0 if transposed else -1]


def _looked_at(node: Any) -> int:
    """Return how many values an output is made of."""
    if node.op_type not in POOLS:
        return 1
    return math.prod(next(a.ints for a in node.attribute if a.name == "kernel_shape"))
