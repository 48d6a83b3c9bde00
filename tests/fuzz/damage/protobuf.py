"""Damage to ONNX models, field by field, so that protobuf still reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import onnx
from fuzz.damage.values import TEXTS, integer, number
from onnx import helper

OPERATORS = (
    "Add", "Mul", "Conv", "ConvTranspose", "Gemm", "MatMul", "Reshape", "Transpose", "Softmax",
    "Flatten", "Concat", "Gather", "Expand", "Tile", "Pad", "Resize", "Upsample", "Loop", "If",
    "Scan", "Range", "ConstantOfShape", "Identity", "Cast", "Clip", "MaxPool", "AveragePool",
    "BatchNormalization", "NonZero", "Unique", "Split", "Squeeze", "Unsqueeze", "Einsum", "Twice",
    "RandomNormal", "SequenceEmpty", "QuantizeLinear", "LSTM", "Dropout", "TopK", "Nothing",
)  # fmt: skip


def damage(data: bytes, r: Random) -> tuple[bytes, str]:
    """Change one to three fields of a model and say which."""
    model = onnx.load_model_from_string(data)
    said: list[str] = []
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        kind = r.choice(KINDS)
        # Protobuf refuses values out of a field's range: then nothing is changed.
        with suppress(ValueError, TypeError, IndexError):
            said.append(kind(model, r))
    return model.SerializeToString(), ", ".join(said)


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if _many(value) else (value,):
                yield from _messages(item)


def _many(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def _field(model: Any, r: Random) -> str:
    """Change one plain field of one message."""
    message = r.choice(list(_messages(model)))
    fields = [f for f in message.DESCRIPTOR.fields if f.message_type is None]
    set_ = [f for f, _ in message.ListFields() if f.message_type is None]
    field = r.choice(set_ if set_ and r.random() < 0.8 else fields)
    where = f"{message.DESCRIPTOR.name}.{field.name}"
    held = getattr(message, field.name)
    if _many(held):
        _list(held, field, r)
    elif r.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, r))
    return f"{where} changed"


def _list(held: Any, field: Any, r: Random) -> None:
    match r.randrange(4):
        case 0 if len(held):
            del held[r.randrange(len(held))]
        case 1:
            held.append(_value(field, r))
        case 2:
            held.extend([_value(field, r)] * r.choice((2, 1000)))
        case _ if len(held):
            held[r.randrange(len(held))] = _value(field, r)


def _value(field: Any, r: Random) -> Any:
    if field.enum_type is not None:
        return r.choice(field.enum_type.values).number
    match field.cpp_type:
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            return r.randbytes(r.choice((0, 1, 4, 100)))
        case field.CPPTYPE_STRING:
            return r.choice((*TEXTS, "x", "w", "b", "logits", "y", "c")).replace("\ud800", "?")
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return float(number(r))
        case field.CPPTYPE_INT32:
            return max(min(integer(r), (1 << 31) - 1), -(1 << 31))
        case _:
            return max(min(integer(r), (1 << 63) - 1), -(1 << 63))


def _message(model: Any, r: Random) -> str:
    """Remove, repeat or copy a whole message."""
    places = [
        (m, f)
        for m in _messages(model)
        for f, value in m.ListFields()
        if f.message_type is not None and _many(value)
    ]
    holder, field = r.choice(places)
    held = getattr(holder, field.name)
    at = r.randrange(len(held))
    match r.randrange(4):
        case 0 | 1:
            del held[at]
        case 2:
            held.add().CopyFrom(held[at])
        case _:
            held[at].CopyFrom(held[r.randrange(len(held))])
    return f"{holder.DESCRIPTOR.name}.{field.name} has another {field.message_type.name}"


def _operator(model: Any, r: Random) -> str:
    node = r.choice([m for m in _messages(model) if m.DESCRIPTOR.name == "NodeProto"])
    node.op_type = r.choice(OPERATORS)
    return f"{node.name or node.output[:1]} is {node.op_type}"


def _wire(model: Any, r: Random) -> str:
    """Let a node read another tensor, itself or nothing."""
    nodes = model.graph.node
    node = r.choice(nodes)
    names = [*(x for n in nodes for x in (*n.input, *n.output)), "", "nowhere", "x"]
    side = node.input if r.random() < 0.7 and len(node.input) else node.output
    side[r.randrange(len(side))] = r.choice(names)
    return f"{node.op_type} wired anew"


def _sizes(model: Any, r: Random) -> str:
    """Declare a weight of another size than its data."""
    tensor = r.choice(model.graph.initializer)
    match r.randrange(4):
        case 0:
            tensor.dims[r.randrange(len(tensor.dims))] = _value(tensor.DESCRIPTOR.fields[0], r)
        case 1:
            tensor.dims.extend([1 << 20, 1 << 20])
        case 2:
            tensor.raw_data = tensor.raw_data[:1000] * r.choice((0, 2, 1000))
        case _:
            tensor.data_location = tensor.EXTERNAL
            named = r.choice(("a.onnx", "/etc/hostname", "../a.onnx", "d.npz", ""))
            tensor.external_data.add(key="location", value=named)
            tensor.external_data.add(key="length", value=r.choice(TEXTS).replace("\ud800", "?"))
    return f"{tensor.name} declares another size"


def _shape(model: Any, r: Random) -> str:
    info = r.choice([*model.graph.input, *model.graph.output])
    dims = info.type.tensor_type.shape.dim
    match r.randrange(4):
        case 0:
            del dims[r.randrange(len(dims))]
        case 1:
            dims.add().dim_value = r.choice((0, 1, 4, 1 << 40))
        case 2:
            dims[r.randrange(len(dims))].dim_param = r.choice(("N", "", "a b", "-1"))
        case _:
            dims[r.randrange(len(dims))].dim_value = r.choice((0, -1, 1, 2, 1 << 20, 1 << 62))
    return f"{info.name} has another shape"


def _unfolding(model: Any, r: Random) -> str:
    """Functions of functions: thirty lines stand for 2^30 nodes."""
    levels = r.choice((3, 12, 30))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    kind = "Relu"
    for i in range(levels):
        nodes = [helper.make_node(kind, ["a"], ["m"], domain="own" if i else ""),
                 helper.make_node(kind, ["m"], ["b"], domain="own" if i else "")]  # fmt: skip
        kind = f"F{i}"
        model.functions.append(helper.make_function("own", kind, ["a"], ["b"], nodes, opsets))
    if all(o.domain != "own" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("own", 1))
    node = model.graph.node[-1]
    last = node.output[0]
    node.output[0] = "before"
    model.graph.node.append(helper.make_node(kind, ["before"], [last], domain="own"))
    return f"functions {levels} deep"


def _deep(model: Any, r: Random) -> str:
    """Graphs in graphs, or many nodes."""
    if r.random() < 0.5:
        last = model.graph.output[0].name
        for i in range(2000):
            model.graph.node.append(helper.make_node("Identity", [last], [f"i{i}"]))
            last = f"i{i}"
        return "2,000 nodes more"
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["o"])], "g", [], [])
    for _ in range(r.choice((5, 40))):
        node = helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner)
        if node.ByteSize() > 1 << 20:
            break
        inner = helper.make_graph([node], "g", [], [])
    model.graph.node.extend(inner.node)
    return "graphs in graphs"


KINDS: tuple[Callable[[Any, Random], str], ...] = (
    *(_field,) * 8, *(_message,) * 3, *(_operator,) * 2, *(_wire,) * 2, *(_sizes,) * 2,
    *(_shape,) * 2, _unfolding, _deep,
)  # fmt: skip
