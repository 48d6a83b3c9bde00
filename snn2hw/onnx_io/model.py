# pyright: basic
"""Reading an ONNX file: checked, completed with its external data, described.

The file is hostile until checked. Its weights may lie in other files, but only in its own folder
or below; they are taken in, so that what was checked is what runs.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snn2hw.errors import InputError, Snn2hwError
from snn2hw.files import check_file

# What protobuf can hold in one message; external data count.
LARGEST_MODEL = (1 << 31) - 1
LARGEST_GRAPH = 20_000  # nodes, with functions unfolded

# Operators of these domains are ONNX Runtime's own; it says itself which it lacks.
RUNTIME_DOMAINS = ("com.microsoft",)
# ONNX Runtime's error codes, and the lines of its sources that they come from.
PLACES = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(cc|h):\d+ [^)]*\) ")
# Between a softmax and the output these change nothing that matters.
TRANSPARENT = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


class Port(NamedTuple):
    """An input, an output or a tensor in between.

    ``shape`` holds numbers, names of axes whose length is free, and "?" where nothing is
    known; it is None where not even the number of axes is. ``dtype`` is NumPy's name, or what
    the value is if it is no tensor.
    """

    name: str
    shape: tuple[int | str, ...] | None
    dtype: str

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join(map(str, self.shape))
        return f"{self.name} {self.dtype} [{axes}]"


@dataclass(frozen=True, slots=True, eq=False)
class OnnxModel:
    """A model that passed every check that needs no run, complete in memory.

    Args:
        path: where it was read.
        proto: ``onnx.ModelProto`` without external data.
        inputs: what a caller feeds; weights that old files list as inputs are not among them.
        outputs: what it gives.
        tensors: everything that a node makes, shapes as far as ONNX infers them.
        sha256: of the file's bytes and of its external data.
    """

    path: Path
    proto: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tensors: Mapping[str, Port]
    sha256: str

    def logits_of(self, output: str) -> str:
        """Return the tensor before a softmax that an output ends with, else the output."""
        makers = {name: node for node in self.proto.graph.node for name in node.output}
        name = output
        while name in makers and makers[name].op_type in TRANSPARENT:
            name = makers[name].input[0]
        if name in makers and makers[name].op_type == "Softmax":
            return makers[name].input[0]
        return output


def package(name: str, why: str) -> Any:
    """Import a package of the extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise InputError(
            f"{why} needs the package {name!r}, which is not installed.",
            'Run: pip install "snn2hw[onnx]"',
        ) from None


def read(path: Path) -> OnnxModel:
    """Read and check an ONNX file.

    Raises:
        InputError: it is missing, cut short, too large, not valid, keeps data outside its
            folder, or uses operators that neither ONNX nor ONNX Runtime knows; every such
            place is named.
    """
    onnx = package("onnx", f"Reading {path}")
    check_file(path, "an ONNX model")
    if path.stat().st_size > LARGEST_MODEL:
        raise InputError(f"{path} holds more than {LARGEST_MODEL} bytes, which is too much.")
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    with _readable(path):
        proto = onnx.load_model_from_string(content)
        _check_text(proto)
        proto.ClearField("training_info")
        for data in _take_in(proto, path):
            digest.update(data)
        _check_operators(onnx, proto, path)
        _check_functions(proto, path)
        onnx.checker.check_model(proto)
        return _model(onnx, path, proto, digest.hexdigest())


def _model(onnx: Any, path: Path, proto: Any, digest: str) -> OnnxModel:
    graph, inferred = proto.graph, onnx.shape_inference.infer_shapes(proto).graph
    held = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    ports = {v.name: _port(onnx, v) for v in (*inferred.value_info, *inferred.output)}
    made = [name for node in graph.node for name in node.output if name]
    return OnnxModel(
        path,
        proto,
        tuple(_port(onnx, v) for v in graph.input if v.name not in held),
        tuple(ports[v.name] for v in graph.output),
        {name: ports.get(name, Port(name, None, "?")) for name in made},
        digest,
    )


@contextmanager
def _readable(path: Path) -> Generator[None, None, None]:
    """Turn whatever damage makes protobuf and onnx stumble over into one error."""
    try:
        yield
    except Snn2hwError:
        raise
    except Exception as error:  # their own kinds share no base
        raise InputError(
            f"{path} is not a valid ONNX model: {first_line(error)}.",
            "Is it complete, and the right file?",
        ) from None


def first_line(error: BaseException | str) -> str:
    """Return what an error says, on one line, without ONNX Runtime's prefix."""
    lines = [x.strip() for x in str(error).splitlines() if x.strip()] or [type(error).__name__]
    return PLACES.sub("", lines[0])[:300].rstrip(".")


def _port(onnx: Any, value: Any) -> Port:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Port(value.name, None, (kind or "?").removesuffix("_type"))
    tensor = value.type.tensor_type
    dtype = _dtype(onnx, tensor.elem_type)
    if not tensor.HasField("shape"):
        return Port(value.name, None, dtype)
    axes = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or "?"
        for d in tensor.shape.dim
    )
    return Port(value.name, axes, dtype)


def _dtype(onnx: Any, number: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, ValueError):
        return "?"


def _messages(message: Any, kind: str) -> Iterator[Any]:
    """Find every message of a kind, in subgraphs, attributes and functions too."""
    return (m for m in _all_messages(message) if m.DESCRIPTOR.name == kind)


def _all_messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in _items(value):
                yield from _all_messages(item)


def _items(value: Any) -> Any:
    repeated = hasattr(value, "__len__") and not isinstance(value, str | bytes)
    return value if repeated else (value,)


def _check_text(proto: Any) -> None:
    """Refuse names that are not text: protobuf hands those over as bytes."""
    for message in _all_messages(proto):
        for field, value in message.ListFields():
            if field.type == field.TYPE_STRING and any(isinstance(v, bytes) for v in _items(value)):
                raise ValueError(f"a {field.name} is not text")


def _take_in(proto: Any, path: Path) -> Iterator[bytes]:
    """Replace external data by the bytes they stand for, which are yielded."""
    outside = [t for t in _messages(proto, "TensorProto") if t.data_location == t.EXTERNAL]
    problems: list[str] = []
    parts: list[tuple[Any, Path, int, int]] = []
    for tensor in outside:
        told = {e.key: e.value for e in tensor.external_data}
        try:
            part = _locate(path, told)
        except ValueError as error:
            problems.append(f"{tensor.name or 'a tensor'}: {error}")
        else:
            parts.append((tensor, *part))
    if not problems and sum(length for *_, length in parts) > LARGEST_MODEL:
        problems.append(f"together they are more than {LARGEST_MODEL} bytes")
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise InputError(
            f"{path} keeps weights in other files, which are refused: "
            f"{'; '.join(problems[:6])}{more}.",
            "Put them beside the model, or save it as one file "
            "(onnx.save without save_as_external_data).",
        )
    for tensor, file, offset, length in parts:
        with file.open("rb") as opened:
            opened.seek(offset)
            tensor.raw_data = opened.read(length)
        tensor.ClearField("external_data")
        tensor.data_location = tensor.DEFAULT
        yield tensor.raw_data


def _locate(path: Path, told: Mapping[str, str]) -> tuple[Path, int, int]:
    """Return file, offset and length of external data; ValueError says why not."""
    location = told.get("location", "")
    named = Path(location)
    # Backslashes are separators for whoever made the file on Windows.
    if not location or named.is_absolute() or ".." in location.replace("\\", "/").split("/"):
        raise ValueError(f"{location!r} is not a path below the model's folder")
    folder = path.parent.resolve()
    file = (folder / named).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(f"{location!r} is a link out of the model's folder")
    if not file.is_file():
        raise ValueError(f"there is no file {location!r}")
    size = file.stat().st_size
    try:
        offset = int(told.get("offset", 0))
        length = int(told.get("length", size - offset))
    except ValueError:
        raise ValueError(f"offset or length in {location!r} is no number") from None
    if offset < 0 or length < 0 or offset + length > size:
        raise ValueError(f"{location!r} has {size} bytes, not {length} from {offset}")
    return file, offset, length


def _check_operators(onnx: Any, proto: Any, path: Path) -> None:
    functions = {(f.domain, f.name) for f in proto.functions}
    unknown: dict[str, list[str]] = {}
    for node in _messages(proto, "NodeProto"):
        domain = "" if node.domain == "ai.onnx" else node.domain
        known = onnx.defs.has(node.op_type, domain) or (node.domain, node.op_type) in functions
        if not known and domain not in RUNTIME_DOMAINS:
            kind = f"{node.domain}.{node.op_type}" if domain else node.op_type
            unknown.setdefault(kind, []).append(node_name(node))
    if unknown:
        places = [
            f"{kind} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
            for kind, names in sorted(unknown.items())
        ]
        raise InputError(
            f"{path} uses operators that ONNX does not define: {'; '.join(places)}.",
            "Export it with standard operators only.",
        )


def _check_functions(proto: Any, path: Path) -> None:
    """Refuse functions of functions of functions that unfold without end.

    ONNX puts their bodies in place of their calls: forty lines can stand for 2^40 nodes.
    """
    bodies = {(f.domain, f.name): f for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(message: Any) -> int:
        total = 0
        for node in _messages(message, "NodeProto"):
            called = (node.domain, node.op_type)
            if called in bodies and called not in sizes:
                sizes[called] = 0  # a function that calls itself is refused by the checker
                sizes[called] = size(bodies[called])
            total += 1 + sizes.get(called, 0)
        return total

    if size(proto.graph) > LARGEST_GRAPH:
        raise InputError(
            f"{path} unfolds to more than {LARGEST_GRAPH} nodes, which is too much.",
            "Export it without functions.",
        )


def node_name(node: Any) -> str:
    """Return a node's name, or what it makes if it has none."""
    return node.name or next(iter(node.output), "") or node.op_type


def describe(path: Path) -> dict[str, Any]:
    """Say what is in an ONNX file and what must be known to use it as a teacher.

    Returns:
        The document of ``snn2hw inspect``, without targets.

    Raises:
        InputError: as ``read``.
    """
    with _readable(path):
        return _described(read(path))


def _described(model: OnnxModel) -> dict[str, Any]:
    graph = model.proto.graph
    onnx = package("onnx", f"Reading {model.path}")
    weights = {t.name: t for t in graph.initializer}
    fed = {p.name for p in model.inputs}
    layers: list[dict[str, Any]] = []
    for node in graph.node:
        # A weight that several nodes use counts at the first.
        own = [weights.pop(name) for name in node.input if name in weights]
        own += [a.t for a in node.attribute if a.HasField("t")]
        arrays = [onnx.numpy_helper.to_array(t) for t in own]
        # Shapes and axes, which are int64, are no parameters.
        arrays = [a for a in arrays if a.dtype.kind not in "OSU" and a.dtype != np.int64]
        made = model.tensors.get(next(iter(node.output), ""))
        layers.append(
            {
                # What features and --teacher-output go by is the tensor, not the node.
                "name": next(iter(node.output), "") or node_name(node),
                "kind": f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
                "shape": "?" if made is None or made.shape is None else _by(made.shape),
                "inputs": [n for n in node.input if n in model.tensors or n in fed],
                "parameters": sum(a.size for a in arrays),
                "nonzero": sum(int(np.count_nonzero(a)) for a in arrays),
            }
        )
    found = [classes_of(p) for p in model.outputs]
    return {
        "file": str(model.path),
        "holds": "ONNX network without spikes",
        "opset": ", ".join(
            f"{o.domain or 'ai.onnx'} {o.version}" for o in model.proto.opset_import
        ),
        "producer": model.proto.producer_name or "not said",
        "inputs": [str(p) for p in model.inputs],
        "outputs": [str(p) for p in model.outputs],
        "classes": found[0] if len(found) == 1 else None,
        "parameters": sum(x["parameters"] for x in layers),
        "nonzero": sum(x["nonzero"] for x in layers),
        "layers": layers,
        "notes": _notes(model),
    }


def _by(shape: tuple[int | str, ...]) -> str:
    return "x".join(map(str, shape))


def classes_of(port: Port) -> int | None:
    """Return how many numbers an output gives for one sample; None if the file does not say."""
    if port.shape is None or len(port.shape) < 2:
        return None
    known = [n for n in port.shape[1:] if isinstance(n, int)]
    return math.prod(known) if len(known) == len(port.shape) - 1 else None


# What a pixel can be fed as; anything else is no image.
PIXELS = ("float32", "float16", "float64", "uint8")


def input_problems(model: OnnxModel) -> list[str]:
    """Say why a model does not take images; nothing if it does."""
    if len(model.inputs) != 1:
        return [f"it has {len(model.inputs)} inputs ({'; '.join(map(str, model.inputs))})"]
    port = model.inputs[0]
    problems = []
    if port.dtype not in PIXELS:
        problems.append(f"its input {port} takes no pixels ({', '.join(PIXELS)})")
    if port.shape is not None and not 2 <= len(port.shape) <= 4:
        problems.append(f"its input {port} is no batch of images [N, C, H, W]")
    return problems


def _notes(model: OnnxModel) -> list[str]:
    notes = [f"no teacher as it is: {p}" for p in input_problems(model)]
    if not notes and model.inputs[0].dtype != "uint8":
        notes.append(
            "as a teacher: the file does not say if its pixels are raw integers, 0 to 1 or "
            "normalized; distill tries each on training images, unless --teacher-input says it"
        )
    if not notes[1:] and model.inputs and model.inputs[0].shape:
        batch = model.inputs[0].shape[0]
        if isinstance(batch, int):
            notes.append(f"as a teacher: it takes {batch} at a time, and is called that often")
    if len(model.outputs) > 1:
        notes.append("as a teacher: say which output has the logits with --teacher-output NAME")
    notes += [
        f"as a teacher: {p.name} is a softmax; its logits are {model.logits_of(p.name)}"
        for p in model.outputs
        if model.logits_of(p.name) != p.name
    ]
    return notes
