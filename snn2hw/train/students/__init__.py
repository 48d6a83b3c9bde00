# pyright: basic
"""Spiking students by name, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from snn2hw.train.names import Names, built
from snn2hw.train.students import chains, recurrent, resnets
from snn2hw.train.students.wiring import (
    SOURCE,
    Branch,
    Branches,
    Chw,
    Diagonal,
    Neuron,
    Population,
    Readout,
    Settings,
    Spiking,
    Student,
    Synapse,
    predictions,
)

__all__ = [
    "SOURCE",
    "STUDENTS",
    "Branch",
    "Branches",
    "Chw",
    "Diagonal",
    "Entry",
    "Neuron",
    "Population",
    "Readout",
    "Settings",
    "Spiking",
    "Student",
    "Synapse",
    "make_student",
    "predictions",
]


class Entry(NamedTuple):
    """One row of ``STUDENTS``."""

    build: Callable[[Settings], Student]
    description: str


def _mlp(sizes: Sequence[int]) -> Entry:
    named = "-".join(map(str, sizes))
    return Entry(lambda s: chains.mlp(s, sizes), f"dense layers, {named} hidden; any sizes")


def _cnn(sizes: Sequence[int]) -> Entry:
    about = "3x3 convolutions, each halved by averages, and one hidden dense layer; any sizes"
    return Entry(lambda s: chains.pooled_cnn(s, sizes), about)


def _cifar(depth: int) -> Entry:
    about = f"residual, {depth} layers, 16-32-64 channels, for small images"
    return Entry(partial(resnets.cifar_resnet, depth=depth), about)


def _cifar_ms(depth: int) -> Entry:
    about = f"residual, {depth} layers, 16-32-64 channels, currents added along a trunk (MS)"
    return Entry(partial(resnets.cifar_ms_resnet, depth=depth), about)


def _rnn(sizes: Sequence[int]) -> Entry:
    about = "a population connected to itself and a dense layer, for events; any size"
    return Entry(lambda s: recurrent.rnn(s, sizes[0]), about)


_DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
}
_CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56)
_KINDS = {
    "spiking": (resnets.spiking_resnet, "currents added before the neurons"),
    "sew": (resnets.sew_resnet, "spikes added behind the neurons (SEW, ADD)"),
    "ms": (resnets.ms_resnet, "currents added along a trunk, neurons before convolutions (MS)"),
}


def _residual(kind: str, layers: int) -> Entry:
    build, about = _KINDS[kind]
    depths, bottleneck = _DEPTHS[layers]
    return Entry(partial(build, depths=depths, bottleneck=bottleneck), f"ResNet-{layers}, {about}")


STUDENTS: Names[Entry] = Names(
    {
        "cnn": Entry(chains.cnn, "two convolutions and two dense layers, a chain"),
        "mlp": Entry(lambda s: chains.mlp(s, (128, 64)), "dense layers, for the smallest chips"),
        "mlp-512-512": _mlp((512, 512)),
        "cnn-32-64-256": _cnn((32, 64, 256)),
        "convs": Entry(chains.convs, "the layers of the teacher cnn"),
        "vgg11": Entry(lambda s: chains.vgg(s, chains.VGG11), "VGG for small images"),
        "rnn": _rnn((128,)),
        **{f"resnet{depth}": _cifar(depth) for depth in _CIFAR_DEPTHS},
        **{f"ms-resnet{depth}": _cifar_ms(depth) for depth in _CIFAR_DEPTHS},
        **{f"{k}-resnet{n}": _residual(k, n) for k in _KINDS for n in _DEPTHS},
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
