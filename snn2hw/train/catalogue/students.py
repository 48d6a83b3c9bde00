# pyright: basic
"""Spiking students by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from snn2hw.train.catalogue.names import Names, built

if TYPE_CHECKING:
    from snn2hw.train.students.wiring import Settings, Student


class Entry(NamedTuple):
    """One row of ``STUDENTS``; what it builds is imported when it is built."""

    build: Callable[[Settings], Student]
    description: str


def _chains(build: Callable[[Any, Settings], Student]) -> Callable[[Settings], Student]:
    """Return what gives ``students.chains`` to a function that builds with it."""

    def built_there(settings: Settings) -> Student:
        from snn2hw.train.students import chains

        return build(chains, settings)

    return built_there


def _resnets(build: Callable[[Any, Settings], Student]) -> Callable[[Settings], Student]:
    """Return what gives ``students.resnets`` to a function that builds with it."""

    def built_there(settings: Settings) -> Student:
        from snn2hw.train.students import resnets

        return build(resnets, settings)

    return built_there


def _mlp(sizes: Sequence[int]) -> Entry:
    named = "-".join(map(str, sizes))
    return Entry(_chains(lambda c, s: c.mlp(s, sizes)), f"dense layers, {named} hidden; any sizes")


def _cnn(sizes: Sequence[int]) -> Entry:
    about = "3x3 convolutions, each halved by averages, and one hidden dense layer; any sizes"
    return Entry(_chains(lambda c, s: c.pooled_cnn(s, sizes)), about)


def _rnn(sizes: Sequence[int]) -> Entry:
    def build(settings: Settings) -> Student:
        from snn2hw.train.students import recurrent

        return recurrent.rnn(settings, sizes[0])

    about = "a population connected to itself and a dense layer, for events; any size"
    return Entry(build, about)


def _cifar(depth: int) -> Entry:
    about = f"residual, {depth} layers, 16-32-64 channels, for small images"
    return Entry(_resnets(lambda r, s: r.cifar_resnet(s, depth)), about)


def _cifar_ms(depth: int) -> Entry:
    about = f"residual, {depth} layers, 16-32-64 channels, currents added along a trunk (MS)"
    return Entry(_resnets(lambda r, s: r.cifar_ms_resnet(s, depth)), about)


_DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
}
_CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56)
_KINDS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "spiking": (lambda r: r.spiking_resnet, "currents added before the neurons"),
    "sew": (lambda r: r.sew_resnet, "spikes added behind the neurons (SEW, ADD)"),
    "ms": (
        lambda r: r.ms_resnet,
        "currents added along a trunk, neurons before convolutions (MS)",
    ),
}


def _resnet(kind: str, layers: int) -> Entry:
    which, about = _KINDS[kind]
    depths, bottleneck = _DEPTHS[layers]
    build = _resnets(lambda r, s: which(r)(s, depths, bottleneck))
    return Entry(build, f"ResNet-{layers}, {about}")


STUDENTS: Names[Entry] = Names(
    {
        "cnn": Entry(
            _chains(lambda c, s: c.cnn(s)), "two convolutions and two dense layers, a chain"
        ),
        "mlp": Entry(
            _chains(lambda c, s: c.mlp(s, (128, 64))), "dense layers, for the smallest chips"
        ),
        "mlp-512-512": _mlp((512, 512)),
        "cnn-32-64-256": _cnn((32, 64, 256)),
        "convs": Entry(_chains(lambda c, s: c.convs(s)), "the layers of the teacher cnn"),
        "vgg11": Entry(_chains(lambda c, s: c.vgg(s, c.VGG11)), "VGG for small images"),
        "rnn": _rnn((128,)),
        **{f"resnet{depth}": _cifar(depth) for depth in _CIFAR_DEPTHS},
        **{f"ms-resnet{depth}": _cifar_ms(depth) for depth in _CIFAR_DEPTHS},
        **{f"{k}-resnet{n}": _resnet(k, n) for k in _KINDS for n in _DEPTHS},
    },
    {"mlp": _mlp, "cnn": _cnn, "rnn": _rnn},
)


def make_student(name: str, settings: Settings) -> Student:
    """Build a student by name.

    Raises:
        InputError: there is no such student, or it is too large for any memory.
    """
    entry = STUDENTS.find("student", name)
    return built("student", name, lambda: entry.build(settings))
