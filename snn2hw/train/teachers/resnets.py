# pyright: basic
"""Residual networks (He et al., 2016).

They have torchvision's parameter names and layout, those of the CIFAR family Y. Idelbayev's
(github.com/akamaster/pytorch_resnet_cifar10), so that published weights load as they are. Images
under 64 pixels get torchvision's networks with a 3x3 stem without max pooling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from snn2hw.train.convolution import convolution
from snn2hw.train.teachers.base import Copied, Layer, Layers, Settings

SMALL_SIDE = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(into, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = _shortcut(into, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, into, H, W]`` to ``[B, width, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision has it) and 1x1 around a shortcut."""

    expansion = 4

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1, self.bn1 = convolution(into, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = convolution(width, out, 1), nn.BatchNorm2d(out)
        self.downsample = _shortcut(into, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, into, H, W]`` to ``[B, 4 width, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


def _shortcut(into: int, out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and into == out:
        return None
    return nn.Sequential(convolution(into, out, 1, stride), nn.BatchNorm2d(out))


class ResNet(Copied):
    """A residual network for images ``[B, C, H, W]`` of integers.

    Args:
        settings: image shape, classes, largest pixel.
        block: ``BasicBlock`` or ``Bottleneck``.
        depths: blocks in each of the four stages.
    """

    def __init__(
        self,
        settings: Settings,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
    ) -> None:
        super().__init__()
        channels, height, width = settings.shape
        self.scale = settings.scale()
        small = min(height, width) < SMALL_SIDE
        self.conv1 = convolution(channels, 64, 3) if small else convolution(channels, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        into = 64
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(block(into, 64 * 2**stage, stride))
                into = 64 * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(into, settings.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.fc.weight.dtype)
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))

    def layers(self) -> Layers:
        """Return its layers by the names of a ``spiking-resnet``'s."""
        pools = {} if isinstance(self.maxpool, nn.Identity) else {"layer1": 3}
        return _residual_layers(self, "fc", pools)

    def stages(self) -> list[str]:
        """Return the four stages."""
        return [f"layer{n}" for n in (1, 2, 3, 4)]


def _residual_layers(network: nn.Module, last: str, pools: Mapping[str, int]) -> Layers:
    synapses = {"conv1": Layer("conv1", "bn1")}
    activations = {"lif1": "bn1"}
    for stage in range(1, 5):
        blocks: Any = getattr(network, f"layer{stage}", ())
        for number, block in enumerate(blocks):
            name = f"layer{stage}.{number}"
            convs = [n for n, _ in block.named_children() if n.startswith("conv")]
            for conv in convs:
                at = conv[4:]
                synapses[f"{name}.conv{at}"] = Layer(f"{name}.conv{at}", f"{name}.bn{at}")
                # A block's last neurons stand for the block's own rectifier.
                ends = name if conv == convs[-1] else f"{name}.bn{at}"
                activations[f"{name}.lif{at}"] = ends
            shortcut = Layer(None)
            if getattr(block, "downsample", None) is not None:
                shortcut = Layer(f"{name}.downsample.0", f"{name}.downsample.1")
            synapses[f"{name}.shortcut"] = shortcut
    return Layers(synapses | {"fc": Layer(last)}, activations, pools)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters.

    Where the size changes, every second pixel passes and the new channels are zeros, half of
    them on each side (He et al., 2016, option A).
    """

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(into, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3), nn.BatchNorm2d(width)
        self.stride, self.added = stride, (width - into) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, into, H, W]`` to ``[B, width, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        passed = x[:, :, :: self.stride, :: self.stride]
        passed = functional.pad(passed, (0, 0, 0, 0, self.added, self.added))
        return functional.relu(out + passed)


class CifarResNet(Copied):
    """The residual network of ``depth`` layers for small images (He et al., 2016, sec. 4.2)."""

    def __init__(self, settings: Settings, depth: int) -> None:
        super().__init__()
        self.scale = settings.scale()
        self.conv1, self.bn1 = convolution(settings.shape[0], 16, 3), nn.BatchNorm2d(16)
        into = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks: list[nn.Module] = []
            for number in range((depth - 2) // 6):
                blocks.append(CifarBlock(into, width, 2 if stage and not number else 1))
                into = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, settings.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.linear.weight.dtype)
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.linear(x.mean((2, 3)))

    def layers(self) -> Layers:
        """Return its layers by the names of the student of the same name."""
        return _residual_layers(self, "linear", {})

    def stages(self) -> list[str]:
        """Return the three stages."""
        return [f"layer{n}" for n in (1, 2, 3)]
