# pyright: basic
"""Students without branches: dense layers, convolutions, VGG."""

from __future__ import annotations

from collections.abc import Sequence

from snn2hw.errors import InputError
from snn2hw.train.students.wiring import (
    SOURCE,
    Chw,
    Plan,
    Settings,
    Student,
    Synapse,
    conv,
    dense,
    halved,
)

# Simonyan and Zisserman, arXiv:1409.1556, table 1, A: channels, and 0 for pooling.
VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)


def _chain(
    settings: Settings, layers: Sequence[tuple[str, Synapse]], features: int, pool: int = 1
) -> Student:
    """Wire hidden ``layers`` one after another, with neurons ``lif1``, ``lif2``, ..."""
    plan = Plan(settings)
    before = SOURCE
    hidden: list[str] = []
    for number, (name, synapse) in enumerate(layers, 1):
        before = plan.neurons(f"lif{number}", plan.synapse(name, before, synapse))
        hidden.append(before)
    number = 1 + sum(name.startswith("fc") for name, _ in layers)
    return plan.finish(f"fc{number}", f"lif{len(layers) + 1}", before, features, hidden, pool)


def cnn(settings: Settings) -> Student:
    """Build a small convolutional chain that any chip with convolutions takes."""
    channels, height, width = settings.shape
    a, b, hidden = (settings.wide(n) for n in (16, 32, 128))
    large = min(height, width) > 16
    side = 5 if large else 3
    if large:
        height, width = halved(height), halved(width)
    height, width = halved(height), halved(width)
    layers = [
        ("conv1", conv(channels, a, side, 2 if large else 1)),
        ("conv2", conv(a, b, side, 2)),
        ("fc1", dense(b * height * width, hidden)),
    ]
    return _chain(settings, layers, hidden)


def convs(settings: Settings) -> Student:
    """Build the three convolutions and the dense layer of the teacher ``cnn``."""
    channels, height, width = settings.shape
    a, b, c = (settings.wide(n) for n in (32, 64, 64))
    stride = 2 if min(height, width) > 16 else 1
    if stride == 2:
        height, width = halved(height), halved(width)
    layers = [
        ("conv1", conv(channels, a, stride=stride)),
        ("conv2", conv(a, b, stride=2)),
        ("conv3", conv(b, c)),
    ]
    return _chain(settings, layers, c * halved(height) * halved(width))


def mlp(settings: Settings, hidden: Sequence[int]) -> Student:
    """Build dense layers of ``hidden`` neurons."""
    channels, height, width = settings.shape
    into = channels * height * width
    layers: list[tuple[str, Synapse]] = []
    for number, size in enumerate(hidden, 1):
        layers.append((f"fc{number}", dense(into, settings.wide(size))))
        into = settings.wide(size)
    return _chain(settings, layers, into)


def pooled_cnn(settings: Settings, sizes: Sequence[int]) -> Student:
    """Build 3x3 convolutions of all ``sizes`` but the last, halved after each, then dense ones.

    Raises:
        InputError: there is no convolution, or the image is too small.
    """
    if len(sizes) < 2:
        raise InputError(
            f"cnn-{sizes[0]} has no convolution.", "Name its channels first: cnn-32-64-256."
        )
    plan = [n for size in sizes[:-1] for n in (size, 0)]
    layers, into, shape, pool = _convolutions(settings, plan)
    hidden = settings.wide(sizes[-1])
    layers.append(("fc1", dense(into * shape[1] * shape[2], hidden, pool)))
    return _chain(settings, layers, hidden)


def vgg(settings: Settings, plan: Sequence[int]) -> Student:
    """Build a VGG for small images: one dense layer behind the convolutions."""
    layers, into, shape, pool = _convolutions(settings, plan)
    return _chain(settings, layers, into * shape[1] * shape[2], pool)


def _convolutions(
    settings: Settings, plan: Sequence[int]
) -> tuple[list[tuple[str, Synapse]], int, Chw, int]:
    """Return 3x3 convolutions, with the pooling (0) as the average of the next synapse.

    Returns:
        The layers, their last channels, the shape behind all pooling, and how much of it is left
        to the next synapse.
    """
    into, height, width = settings.shape
    halvings = sum(n == 0 for n in plan)
    if min(height, width) >> halvings == 0:
        raise InputError(
            f"Images of {height}x{width} are too small to be halved {halvings} times.",
            f"Use a student that halves less often, or images of {1 << halvings} pixels.",
        )
    layers: list[tuple[str, Synapse]] = []
    pool = 1
    for size in plan:
        if size == 0:
            height, width, pool = height // 2, width // 2, 2 * pool
            continue
        out = settings.wide(size)
        layers.append((f"conv{len(layers) + 1}", conv(into, out, pool=pool)))
        into, pool = out, 1
    return layers, into, (into, height, width), pool
