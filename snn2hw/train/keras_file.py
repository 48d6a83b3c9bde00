# pyright: basic
"""Networks that Keras 1 and 2 saved as HDF5, rebuilt in PyTorch without Keras.

The layers of image classifiers, and no others. Tensors are ``[B, C, H, W]`` here, whatever the
file's order of axes. Formulas are Keras' documentation: "same" pads as TensorFlow does, with the
odd pixel behind; Theano flips kernels when it convolves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from snn2hw.errors import InputError, listed
from snn2hw.files import reading
from snn2hw.hdf5 import Group, Item, described, numbers, read_hdf5
from snn2hw.train.scaling import Scaled
from snn2hw.train.teachers import Settings

Config = Mapping[str, Any]
Weights = Mapping[str, NDArray[np.float32]]

LARGEST_STEP = 1024  # of strides, dilations and pools; beyond is no image classifier

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


class Layer(NamedTuple):
    """One layer: what it is called, what it is, what it reads and what it does."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    config: Config


class Order(NamedTuple):
    """How a file counts: channels before pixels, and kernels backwards."""

    channels_first: bool
    flipped: bool


class _Same(nn.Module):
    """Pads so that the output is as large as the input over the stride, rounded up."""

    def __init__(
        self, extent: tuple[int, int], stride: tuple[int, int], value: float | None = 0.0
    ) -> None:
        super().__init__()
        self.extent, self.stride, self.value = extent, stride, value

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, extent, stride in zip(x.shape[:1:-1], self.extent[::-1], self.stride[::-1],
                                        strict=True):  # fmt: skip
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            pads += [total // 2, total - total // 2]
        if any(pads) and self.value is None:
            raise ValueError('an average over padding ("same") is not read')
        return functional.pad(x, pads, value=self.value or 0.0)


class _Norm(nn.Module):
    """Batch normalization with what training found."""

    mean: Tensor
    variance: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, config: Config, weights: Weights, order: Order) -> None:
        super().__init__()
        mean = torch.from_numpy(weights["moving_mean"])
        found = {
            "mean": mean,
            "variance": torch.from_numpy(weights["moving_variance"]),
            "scale": torch.from_numpy(weights["gamma"]) if "gamma" in weights else mean * 0 + 1,
            "shift": torch.from_numpy(weights["beta"]) if "beta" in weights else mean * 0,
        }
        for name, values in found.items():
            self.register_buffer(name, values)
        self.epsilon = float(config.get("epsilon", 1e-3))
        axis = config.get("axis", -1)
        self.axis = axis[0] if isinstance(axis, list) else axis
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        # As the file counts: the channels are the last axis, or the first after the batch.
        channels = 1 if self.order.channels_first or x.ndim == 2 else x.ndim - 1
        if self.axis % x.ndim != channels:
            raise ValueError(f"it normalizes along axis {self.axis}, which holds no channels")
        return functional.batch_norm(
            x, self.mean, self.variance, self.scale, self.shift, eps=self.epsilon
        )


class _Flatten(nn.Module):
    """Flattens in the order that the file's dense layers count on."""

    def __init__(self, as_stored: bool) -> None:
        super().__init__()
        self.as_stored = as_stored

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.as_stored or x.ndim != 4 else x.movedim(1, -1)).flatten(1)


class _Dense(nn.Linear):
    """A dense layer of flat inputs; Keras would take others along their last axis."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if x.ndim != 2:
            raise ValueError("a dense layer of images is not read: flatten them first")
        return super().forward(x)


class _Add(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return sum(inputs[1:], inputs[0])


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _pair(config: Config, name: str, default: int = 1) -> tuple[int, int]:
    told = config.get(name)
    both = (default, default) if told is None else (told, told) if isinstance(told, int) else told
    height, width = (int(v) for v in both)
    if not (1 <= height <= LARGEST_STEP and 1 <= width <= LARGEST_STEP):
        raise ValueError(f"{name} is {told}")
    return height, width


def _activation(config: Config) -> nn.Module:
    name = config.get("activation", "linear")
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not read (known: {', '.join(ACTIVATIONS)})")
    return ACTIVATIONS[name]()


def _filled(module: nn.Module, **values: NDArray[np.float32] | None) -> nn.Module:
    """Fill a module's parameters, shapes compared."""
    state = {k: torch.from_numpy(np.array(v)) for k, v in values.items() if v is not None}
    module.load_state_dict(state)
    return module.requires_grad_(False)


def _conv(config: Config, weights: Weights, order: Order) -> nn.Module:
    kernel = weights["kernel"].transpose(3, 2, 0, 1)  # [height, width, in, out] in the file
    if order.flipped:
        kernel = kernel[:, :, ::-1, ::-1]
    sides: tuple[int, int] = kernel.shape[2:]  # type: ignore[assignment]
    stride, dilation = _pair(config, "strides"), _pair(config, "dilation_rate")
    groups = int(config.get("groups", 1))
    conv = nn.Conv2d(
        kernel.shape[1] * groups, kernel.shape[0], sides, stride, 0, dilation, groups,
        bias="bias" in weights,
    )  # fmt: skip
    extents = tuple((k - 1) * d + 1 for k, d in zip(sides, dilation, strict=True))
    return nn.Sequential(
        *_padding(config, extents, stride),  # type: ignore[arg-type]
        _filled(conv, weight=kernel, bias=weights.get("bias")),
        _activation(config),
    )


def _padding(
    config: Config, extent: tuple[int, int], stride: tuple[int, int], value: float | None = 0.0
) -> list[nn.Module]:
    match config.get("padding", "valid"):
        case "valid":
            return []
        case "same":
            return [_Same(extent, stride, value)]
        case other:
            raise ValueError(f"padding {other!r} is not read")


def _dense(config: Config, weights: Weights, _order: Order) -> nn.Module:
    kernel = weights["kernel"].T
    dense = _Dense(kernel.shape[1], kernel.shape[0], bias="bias" in weights)
    filled = _filled(dense, weight=kernel, bias=weights.get("bias"))
    return nn.Sequential(filled, _activation(config))


def _max_pool(config: Config, _weights: Weights, _order: Order) -> nn.Module:
    side = _pair(config, "pool_size", 2)
    stride = _pair(config, "strides") if config.get("strides") else side
    return nn.Sequential(*_padding(config, side, stride, -math.inf), nn.MaxPool2d(side, stride))


def _average_pool(config: Config, _weights: Weights, _order: Order) -> nn.Module:
    side = _pair(config, "pool_size", 2)
    stride = _pair(config, "strides") if config.get("strides") else side
    return nn.Sequential(*_padding(config, side, stride, None), nn.AvgPool2d(side, stride))


def _flatten(config: Config, _weights: Weights, order: Order) -> nn.Module:
    # A Flatten that says "channels_first" moves them last; one that says nothing moves nothing.
    return _Flatten(order.channels_first and config.get("data_format") != "channels_first")


def _nothing(_config: Config, _weights: Weights, _order: Order) -> nn.Module:
    return nn.Identity()


LAYERS: dict[str, Callable[[Config, Weights, Order], nn.Module]] = {
    "InputLayer": _nothing,
    "Dropout": _nothing,
    "Conv2D": _conv,
    "Dense": _dense,
    "BatchNormalization": _Norm,
    "MaxPooling2D": _max_pool,
    "AveragePooling2D": _average_pool,
    "GlobalAveragePooling2D": lambda _config, _weights, _order: _Mean(),
    "Flatten": _flatten,
    "Add": lambda _config, _weights, _order: _Add(),
    "Activation": lambda config, _weights, _order: _activation(config),
}


class KerasTeacher(Scaled):
    """A network of layers in the order of their inputs."""

    def __init__(self, settings: Settings, layers: list[Layer], modules: list[nn.Module]) -> None:
        super().__init__()
        self.scale = settings.scale()
        self.layers, self.parts = layers, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        found: dict[str, Tensor] = {"": self.scale(x)}
        for layer, part in zip(self.layers, self.parts, strict=True):
            found[layer.name] = part(*(found[i] for i in layer.inputs))
        return found[self.layers[-1].name]


def read_keras(path: Path, settings: Settings) -> tuple[KerasTeacher, tuple[str, ...]]:
    """Rebuild a classifier; a softmax at its end is left out.

    Returns:
        The network, and notes for the user.

    Raises:
        InputError: the file is damaged, has layers that are not known (all are named), or is
            for other images or classes.
    """
    with reading(path, "a network saved by Keras as HDF5"):
        file = read_hdf5(path, "a network saved by Keras as HDF5")
        if "model_config" not in file.attrs:
            raise InputError(
                f"{path} holds no architecture, only weights.", "Save the whole model."
            )
        layers = _layers(json.loads(_text(file.attrs["model_config"])))
        unknown = [f"{x.name} ({x.kind})" for x in layers if x.kind not in LAYERS]
        if unknown:
            raise InputError(
                f"{path} has layers that are not read: {listed(unknown)}.",
                f"Known: {', '.join(LAYERS)}. Others may go through ONNX.",
            )
        order = Order(_channels_first(layers), file.attrs.get("backend") == "theano")
        layers, notes = _without_softmax(layers)
        _check_images(path, layers, order, settings)
        modules: list[nn.Module] = []
        for layer in layers:
            try:
                weights = _weights(file, layer.name)
                modules.append(LAYERS[layer.kind](layer.config, weights, order))
            except Exception as error:
                raise InputError(f"{path}: {layer.name} ({layer.kind}): {error}.") from None
    teacher = KerasTeacher(settings, layers, modules).eval()
    _try(path, teacher, settings)
    return teacher, notes


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its architecture is {described(value)}, not a text")
    return value


def _layers(whole: Config) -> list[Layer]:
    """Return the layers, each after those that it reads; the last is the output."""
    config: Any = whole["config"]
    told = _listed(config)
    if whole["class_name"] == "Sequential":
        names = ["", *(x["config"]["name"] for x in told)]
        return [
            Layer(x["config"]["name"], x["class_name"], (names[i],), x["config"])
            for i, x in enumerate(told)
        ]
    for end in ("input_layers", "output_layers"):
        if len(config[end]) != 1:
            raise ValueError(f"it has {len(config[end])} {end}, not one")
    left = {x["config"]["name"]: x for x in told}
    done: dict[str, Layer] = {}
    while left:
        ready = [n for n, x in left.items() if set(_sources(x)) <= {*done, ""}]
        if not ready:
            raise ValueError(f"layers read each other in a circle: {', '.join(left)}")
        for name in ready:
            x = left.pop(name)
            done[name] = Layer(name, x["class_name"], _sources(x), x["config"])
    last = done.pop(config["output_layers"][0][0])
    return [*done.values(), last]


def _listed(config: Any) -> list[Any]:
    return config if isinstance(config, list) else config["layers"]  # old files list them at once


def _sources(layer: Config) -> tuple[str, ...]:
    nodes = layer["inbound_nodes"]
    if len(nodes) > 1:
        raise ValueError(f"{layer['config']['name']} is used {len(nodes)} times")
    return tuple(str(source[0]) for source in nodes[0]) if nodes else ("",)


def _channels_first(layers: list[Layer]) -> bool:
    pixels = ("Conv2D", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D")
    told = {x.config.get("data_format", "channels_last") for x in layers if x.kind in pixels}
    if len(told) > 1:
        raise ValueError("some layers have channels first and some last")
    return told == {"channels_first"}


def _without_softmax(layers: list[Layer]) -> tuple[list[Layer], tuple[str, ...]]:
    last = layers[-1]
    if last.config.get("activation") != "softmax":
        return layers, ()
    plain = last._replace(config={**last.config, "activation": "linear"})
    note = f"{last.name} ends with a softmax: the logits before it are taken"
    return [*layers[:-1], plain], (note,)


def _check_images(path: Path, layers: list[Layer], order: Order, settings: Settings) -> None:
    shapes = (x.config.get("batch_input_shape") for x in layers)
    told = next((s for s in shapes if s is not None), ())
    channels, height, width = settings.shape
    wanted = (channels, height, width) if order.channels_first else (height, width, channels)
    if len(told) != 4 or any(a not in (None, b) for a, b in zip(told[1:], wanted, strict=True)):
        raise InputError(
            f"{path} takes {told}, the data hold images {list(settings.shape)} (C, H, W).",
            "Use the data that it was trained on, at that size.",
        )


def _weights(file: Group, name: str) -> Weights:
    """Return a layer's arrays by the last part of their names."""
    whole = file.get("model_weights", file)
    group = whole.get(name) if isinstance(whole, Group) else None
    if not isinstance(group, Group):
        return {}
    found: dict[str, NDArray[np.float32]] = {}
    names: Any = group.attrs.get("weight_names", np.empty(0, object))
    if not isinstance(names, np.ndarray) or names.dtype.kind not in "Of":  # no names: floats
        raise ValueError(f"weight_names is {described(names)}, not texts")
    for full in names.reshape(-1).tolist():
        key = str(full).rpartition("/")[2].partition(":")[0]
        values = numbers(_within(group, str(full))).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"{key} holds NaN or infinity")
        found[key] = values
    return found


def _within(group: Item, path: str) -> Item:
    """Follow a path of names below a group."""
    for name in path.split("/"):
        if not isinstance(group, Group) or name not in group:
            raise ValueError(f"it lacks {path}")
        group = group[name]
    return group


def _try(path: Path, teacher: KerasTeacher, settings: Settings) -> None:
    try:
        with torch.no_grad():
            shape = tuple(teacher(torch.zeros(1, *settings.shape)).shape)
    except Exception as error:  # torch's, where shapes do not chain
        why = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be run: {why}.") from None
    if shape != (1, settings.classes):
        raise InputError(
            f"{path} gives {list(shape[1:])} numbers, the data have {settings.classes} classes.",
            "Use the data that it was trained on.",
        )
