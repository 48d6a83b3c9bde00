# pyright: basic
"""Teachers whose layers stand one after another."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.convolution import convolution
from snn2hw.train.teachers.base import Copied, Layer, Layers, Settings


class Cnn(Copied):
    """Three convolutions with batch norm and a dense layer: seconds to train."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        channels, height, width = settings.shape
        self.scale = settings.scale()
        first = 2 if min(height, width) > 16 else 1
        layers: list[nn.Module] = []
        for into, out, stride in ((channels, 32, first), (32, 64, 2), (64, 64, 1)):
            layers += [convolution(into, out, 3, stride), nn.BatchNorm2d(out), nn.ReLU()]
            height, width = -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(64 * height * width, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.fc.weight.dtype)
        return self.fc(self.features(x).flatten(1))

    def layers(self) -> Layers:
        """Return its layers by the names of the student ``convs``."""
        synapses = {
            f"conv{n}": Layer(f"features.{3 * n - 3}", f"features.{3 * n - 2}") for n in (1, 2, 3)
        }
        activations = {f"lif{n}": f"features.{3 * n - 1}" for n in (1, 2, 3)}
        return Layers(synapses | {"fc1": Layer("fc")}, activations)

    def stages(self) -> list[str]:
        """Return the three rectifiers."""
        return list(self.layers().activations.values())


class Chain(Copied):
    """Named layers one after another, each with batch norm and a rectifier, and a dense layer.

    Args:
        settings: image shape, classes, largest pixel.
        channels: of 3x3 convolutions, the image halved by averages after each.
        hidden: sizes of the dense layers.
    """

    def __init__(self, settings: Settings, channels: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        into, height, width = settings.shape
        if min(height, width) < 2 ** len(channels):
            raise InputError(
                f"Images of {height}x{width} are too small to be halved {len(channels)} times.",
                f"Use a teacher that halves less often, or images of {2 ** len(channels)} pixels.",
            )
        self.scale = settings.scale()
        self.convs = nn.Sequential()
        self.dense = nn.Sequential()
        for number, out in enumerate(channels, 1):
            self.convs.add_module(f"conv{number}", convolution(into, out, 3))
            self.convs.add_module(f"bn{number}", nn.BatchNorm2d(out))
            self.convs.add_module(f"relu{number}", nn.ReLU())
            self.convs.add_module(f"pool{number}", nn.AvgPool2d(2))
            into, height, width = out, height // 2, width // 2
        into *= height * width
        for number, out in enumerate(hidden, 1):
            self.dense.add_module(f"fc{number}", nn.Linear(into, out, bias=False))
            self.dense.add_module(f"bn{number}", nn.BatchNorm1d(out))
            self.dense.add_module(f"relu{number}", nn.ReLU())
            into = out
        self.fc = nn.Linear(into, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.fc.weight.dtype)
        return self.fc(self.dense(self.convs(x).flatten(1)))

    def layers(self) -> Layers:
        """Return its layers by the names of the student of the same name."""
        synapses: dict[str, Layer] = {}
        activations: dict[str, str] = {}
        for part, kind in (("convs", "conv"), ("dense", "fc")):
            count = sum(n.startswith(kind) for n, _ in self.get_submodule(part).named_children())
            for n in range(1, count + 1):
                synapses[f"{kind}{n}"] = Layer(f"{part}.{kind}{n}", f"{part}.bn{n}")
                activations[f"lif{len(synapses)}"] = f"{part}.relu{n}"
        last = 1 + sum(name.startswith("fc") for name in synapses)
        return Layers(synapses | {f"fc{last}": Layer("fc")}, activations)

    def stages(self) -> list[str]:
        """Return the rectifiers."""
        return list(self.layers().activations.values())
