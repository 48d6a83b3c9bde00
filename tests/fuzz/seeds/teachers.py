"""Teachers: weights, ONNX and Keras' HDF5, of networks for 1x4x4 images of two classes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz.seeds import Files, digits, packed
from onnx_files import classifier, helper, network, port, weight


def weights(scratch: Path) -> dict[str, Files]:
    """The weights of a small teacher, in each kind of file."""
    import torch
    from safetensors.torch import save

    from snn2hw.train.teachers import Settings, make_teacher

    state = make_teacher("mlp-4", Settings((1, 4, 4), 2, 255)).state_dict()
    state = {k: torch.full_like(v, 0.25) if v.is_floating_point() else v for k, v in state.items()}
    memory, legacy = io.BytesIO(), io.BytesIO()
    torch.save(state, memory)
    torch.save({"state_dict": state}, legacy, _use_new_zipfile_serialization=False)
    data = {"d.npz": packed(**digits())}
    return {
        "safetensors": data | {"w.safetensors": save(state)},
        "npz": data | {"w.npz": packed(**{k: v.numpy() for k, v in state.items()})},
        "pt": data | {"w.pt": memory.getvalue()},
        "legacy pt": data | {"w.pt": legacy.getvalue()},
    }


def onnx_files(_scratch: Path) -> dict[str, Files]:
    """ONNX classifiers of 1x4x4 images: layouts, types, convolutions, branches, functions."""
    r = np.random.default_rng(0)
    matrix = r.normal(size=(16, 2))
    image = (1, 4, 4)
    made = {
        layout: classifier(matrix, image, layout=layout)
        for layout in ("NCHW", "NHWC", "NHW", "flat")
    }
    made["softmax"] = classifier(matrix, image, softmax=True)
    made["bytes"] = classifier(matrix, image, dtype=2, batch=2)
    made["convolution"], made["if"] = _convolution(r), branching()
    data = {"d.npz": packed(**digits())}
    return {name: data | {"a.onnx": model.SerializeToString()} for name, model in made.items()}


def _convolution(r: np.random.Generator) -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("Relu", ["c"], ["a"]),
        helper.make_node("Conv", ["a", "k2"], ["d"], pads=[1, 1, 1, 1], group=2),
        helper.make_node("Add", ["a", "d"], ["s"]),
        helper.make_node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["p"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"], axis=1),
    ]
    kernels = [
        weight("k", r.normal(size=(2, 1, 3, 3)).astype("f4")),
        weight("k2", r.normal(size=(2, 1, 3, 3)).astype("f4")),
    ]
    return network(nodes, [port("x", ["N", 1, 4, 4])], [port("y", ["N", 2])], kernels)


def branching() -> Any:
    """A graph with graphs inside: If, and a function."""
    then, other = (
        helper.make_graph(
            [helper.make_node("Flatten", ["x"], [f"{name}0"]),
             helper.make_node("MatMul", [f"{name}0", "w"], [name])],
            name, [], [port(name, None)],
        )
        for name in ("then", "other")
    )  # fmt: skip
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
             helper.make_node("Twice", ["y"], ["z"], domain="own")]  # fmt: skip
    weights_ = [weight("c", np.array(True)), weight("w", np.ones((16, 2), np.float32))]
    model = network(
        nodes, [port("x", ["N", 1, 4, 4])], [port("z", ["N", 2])], weights_,
        opsets=(("", 17), ("own", 1)),
    )  # fmt: skip
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    model.functions.append(twice)
    return model


def keras_files(scratch: Path) -> dict[str, Files]:
    """Keras' HDF5: a sequence and a graph with a branch, of every layer that is read."""
    data = {"d.npz": packed(**digits())}
    return {
        name: data | {"a.h5": keras_model(scratch / "a.h5", graph)}
        for name, graph in (("sequence", False), ("graph", True))
    }


def keras_model(path: Path, graph: bool) -> bytes:
    r = np.random.default_rng(0)
    last = {"data_format": "channels_last"}
    conv = {"strides": [1, 1], "padding": "same", "activation": "relu", **last}
    layers = [
        ("InputLayer", "in", {"batch_input_shape": [None, 4, 4, 1]}),
        ("Conv2D", "conv", conv),
        ("BatchNormalization", "norm", {"epsilon": 1e-3}),
        ("MaxPooling2D", "pool", {"pool_size": [2, 2], "strides": [1, 1], "padding": "same"}),
        ("Dropout", "drop", {"rate": 0.5}),
        ("AveragePooling2D", "mean", {"pool_size": [2, 2], **last}),
        ("Flatten", "flat", last),
        ("Dense", "dense", {"activation": "softmax"}),
    ]
    told = [{"class_name": k, "config": {"name": n, **c}, "name": n} for k, n, c in layers]
    config: dict[str, Any] = {"name": "m", "layers": told}
    if graph:
        told.insert(3, {"class_name": "Add", "config": {"name": "add"}, "name": "add"})
        names = [x["name"] for x in told]
        for layer, before in zip(told, [None, *names], strict=False):
            nodes = [] if before is None else [[[before, 0, 0, {}]]]
            layer["inbound_nodes"] = nodes
        told[3]["inbound_nodes"] = [[["conv", 0, 0, {}], ["norm", 0, 0, {}]]]
        config |= {"input_layers": [["in", 0, 0]], "output_layers": [["dense", 0, 0]]}
    values = {
        "conv": {"kernel": r.normal(size=(3, 3, 1, 2)), "bias": np.zeros(2)},
        "norm": {k: np.ones(2) for k in ("gamma", "beta", "moving_mean", "moving_variance")},
        "dense": {"kernel": r.normal(size=(8, 2)), "bias": np.zeros(2)},
    }
    with h5py.File(path, "w") as file:
        kind = "Functional" if graph else "Sequential"
        file.attrs["model_config"] = json.dumps({"class_name": kind, "config": config})
        file.attrs["backend"] = "tensorflow"
        for name, held in values.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{k}:0".encode() for k in held]
            for key, array in held.items():
                group[f"{name}/{key}:0"] = array.astype("f4")
    return path.read_bytes()
