# pyright: basic
"""Teachers by name: ordinary networks that classify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from snn2hw.train.names import Names, built
from snn2hw.train.scaling import Scaled
from snn2hw.train.teachers.base import Copied, Layer, Layers, Settings
from snn2hw.train.teachers.chains import Chain, Cnn
from snn2hw.train.teachers.resnets import BasicBlock, Bottleneck, CifarResNet, ResNet

__all__ = ["TEACHERS", "Copied", "Entry", "Layer", "Layers", "Settings", "make_teacher"]


class Entry(NamedTuple):
    """One row of ``TEACHERS``."""

    build: Callable[[Settings], Scaled]
    description: str


def _cifar(depth: int, millions: str) -> Entry:
    about = f"He et al., 2016, for CIFAR, {millions} M"
    return Entry(lambda settings: CifarResNet(settings, depth), about)


def _mlp(sizes: Sequence[int]) -> Entry:
    return Entry(lambda s: Chain(s, (), sizes), "dense layers with batch norm; any sizes")


def _cnn(sizes: Sequence[int]) -> Entry:
    about = "3x3 convolutions, each halved by averages, and one hidden dense layer; any sizes"
    return Entry(lambda s: Chain(s, sizes[:-1], sizes[-1:]), about)


TEACHERS: Names[Entry] = Names(
    {
        "cnn": Entry(Cnn, "three convolutions and a dense layer"),
        "resnet18": Entry(lambda s: ResNet(s, BasicBlock, (2, 2, 2, 2)), "He et al., 2016, 11.7 M"),
        "resnet34": Entry(lambda s: ResNet(s, BasicBlock, (3, 4, 6, 3)), "He et al., 2016, 21.8 M"),
        "resnet50": Entry(lambda s: ResNet(s, Bottleneck, (3, 4, 6, 3)), "He et al., 2016, 25.6 M"),
        "resnet20": _cifar(20, "0.27"),
        "resnet32": _cifar(32, "0.46"),
        "resnet44": _cifar(44, "0.66"),
        "resnet56": _cifar(56, "0.85"),
        "resnet110": _cifar(110, "1.7"),
        "mlp": _mlp((512, 512)),
        "mlp-512-512": _mlp((512, 512)),
        "cnn-32-64-256": _cnn((32, 64, 256)),
    },
    {"mlp": _mlp, "cnn": _cnn},
)


def make_teacher(name: str, settings: Settings) -> Scaled:
    """Build a teacher by name.

    Raises:
        InputError: there is no such teacher, or it is too large for any memory.
    """
    entry = TEACHERS.find("teacher", name)
    return built("teacher", name, lambda: entry.build(settings))
