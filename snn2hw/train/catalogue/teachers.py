# pyright: basic
"""Teachers by name: ordinary networks that classify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from snn2hw.train.catalogue.names import Names, built

if TYPE_CHECKING:
    from snn2hw.train.scaling import Scaled
    from snn2hw.train.teachers.base import Settings


class Entry(NamedTuple):
    """One row of ``TEACHERS``; what it builds is imported when it is built."""

    build: Callable[[Settings], Scaled]
    description: str


def _small(settings: Settings) -> Scaled:
    from snn2hw.train.teachers import chains

    return chains.Cnn(settings)


def _chain(channels: Sequence[int], sizes: Sequence[int]) -> Callable[[Settings], Scaled]:
    def build(settings: Settings) -> Scaled:
        from snn2hw.train.teachers import chains

        return chains.Chain(settings, channels, sizes)

    return build


def _mlp(sizes: Sequence[int]) -> Entry:
    return Entry(_chain((), sizes), "dense layers with batch norm; any sizes")


def _cnn(sizes: Sequence[int]) -> Entry:
    about = "3x3 convolutions, each halved by averages, and one hidden dense layer; any sizes"
    return Entry(_chain(sizes[:-1], sizes[-1:]), about)


def _resnet(block: str, depths: tuple[int, int, int, int], millions: str) -> Entry:
    def build(settings: Settings) -> Scaled:
        from snn2hw.train.teachers import resnets

        blocks = {"basic": resnets.BasicBlock, "bottleneck": resnets.Bottleneck}
        return resnets.ResNet(settings, blocks[block], depths)

    return Entry(build, f"He et al., 2016, {millions} M")


def _cifar(depth: int, millions: str) -> Entry:
    def build(settings: Settings) -> Scaled:
        from snn2hw.train.teachers import resnets

        return resnets.CifarResNet(settings, depth)

    return Entry(build, f"He et al., 2016, for CIFAR, {millions} M")


TEACHERS: Names[Entry] = Names(
    {
        "cnn": Entry(_small, "three convolutions and a dense layer"),
        "resnet18": _resnet("basic", (2, 2, 2, 2), "11.7"),
        "resnet34": _resnet("basic", (3, 4, 6, 3), "21.8"),
        "resnet50": _resnet("bottleneck", (3, 4, 6, 3), "25.6"),
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
