# pyright: basic
"""Residual students: where the shortcut's sum is taken, before, behind or instead of neurons.

All three add currents or spikes, so that every connection of a chip carries plain spikes. They are
for images; the stem is torchvision's for images of 64 pixels or more, else one 3x3 convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from snn2hw.train.convolution import convolution
from snn2hw.train.students.wiring import (
    SOURCE,
    Branch,
    Diagonal,
    Plan,
    Settings,
    Student,
    Synapse,
    conv,
    halved,
)

SMALL_SIDE = 64
EXPANSION = 4  # of a bottleneck
# With this weight on the average of four neurons, one spike is above the threshold: the largest.
ANY_OF_FOUR = 5.0


def passing(into: int, out: int, stride: int) -> Synapse:
    """Return a shortcut that passes spikes: one weight a channel, 1 at first.

    Where the size changes it starts as He et al., 2016, option A: every second pixel passes, the
    new channels are zeros, half of them on each side.
    """
    if stride == 1 and into == out:
        return Synapse(Diagonal(into), None)
    weight = convolution(into, out, 1, stride)
    channel = torch.arange(into)
    with torch.no_grad():
        weight.weight.zero_()
        weight.weight[(out - into) // 2 + channel, channel] = 1.0
    return Synapse(weight, None)


def projecting(into: int, out: int, stride: int) -> Synapse:
    """Return a shortcut that is a convolution with batch norm where the size changes (option B)."""
    same = stride == 1 and into == out
    return passing(into, out, stride) if same else conv(into, out, 1, stride)


_Shortcut = Callable[[int, int, int], Synapse]


def _body(
    plan: Plan, name: str, source: str | tuple[str, ...], sizes: Sequence[int], stride: int
) -> Branch:
    """Add the convolutions of a block but for the neurons behind its last one."""
    into, *outs = sizes
    for number, out in enumerate(outs, 1):
        bottleneck = len(outs) == 3
        side = 1 if bottleneck and number != 2 else 3
        step = stride if number == (2 if bottleneck else 1) else 1
        branch = plan.synapse(f"{name}.conv{number}", source, conv(into, out, side, step))
        if number == len(outs):
            return branch
        source, into = plan.neurons(f"{name}.lif{number}", branch), out
    raise ValueError("a block has a convolution or more")


class _Shape:
    """Channels and sides of what a block takes, followed from block to block."""

    def __init__(self, settings: Settings, stem: int) -> None:
        _, height, width = settings.shape
        self.channels, self.sides = stem, (height, width)

    def halve(self) -> None:
        self.sides = (halved(self.sides[0]), halved(self.sides[1]))

    def through(self, channels: int, stride: int) -> None:
        """Follow a block."""
        self.channels = channels
        if stride == 2:
            self.halve()

    def finish(
        self, plan: Plan, output: str, sources: str | tuple[str, ...], stages: Sequence[str]
    ) -> Student:
        """Average what is left of the image and add the last layer."""
        pool = min(self.sides)
        features = self.channels * (self.sides[0] // pool) * (self.sides[1] // pool)
        return plan.finish("fc", output, sources, features, stages, pool)


def _blocks(
    settings: Settings, depths: Sequence[int], widths: Sequence[int], bottleneck: bool
) -> Iterator[tuple[str, tuple[int, ...], int, bool]]:
    """Name all blocks: (name, convolutions' channels, stride, last of its stage)."""
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        inner = settings.wide(width)
        outs = (inner, inner, EXPANSION * inner) if bottleneck else (inner, inner)
        for number in range(depth):
            stride = 2 if stage > 1 and number == 0 else 1
            yield f"layer{stage}.{number}", outs, stride, number == depth - 1


def cifar_resnet(settings: Settings, depth: int) -> Student:
    """Build the residual network of He et al., 2016, sec. 4.2, for small images.

    Its shortcuts pass as the paper's option A does, with a weight for each channel so that the two
    ends may have thresholds of their own.
    """
    plan, shape, stem = _cifar_stem(settings)
    sizes = (_cifar_depths(depth), (16, 32, 64), False)
    return _summed(plan, shape, plan.neurons("lif1", stem), sizes, passing)


def cifar_ms_resnet(settings: Settings, depth: int) -> Student:
    """Build the same with currents that are added along a trunk, as in ``ms_resnet``."""
    plan, shape, stem = _cifar_stem(settings)
    sizes = (_cifar_depths(depth), (16, 32, 64), False)
    return _along_trunks(plan, shape, stem, "lif1", sizes, passing)


def _cifar_stem(settings: Settings) -> tuple[Plan, _Shape, Branch]:
    width = settings.wide(16)
    plan = Plan(settings)
    stem = plan.synapse("conv1", SOURCE, conv(settings.shape[0], width))
    return plan, _Shape(settings, width), stem


def _cifar_depths(depth: int) -> tuple[int, int, int]:
    n = (depth - 2) // 6
    return n, n, n


def spiking_resnet(settings: Settings, depths: Sequence[int], bottleneck: bool) -> Student:
    """Build a ResNet whose blocks add currents in front of their last neurons.

    Zheng et al., AAAI 2021 (arXiv:2011.05280) train such networks.
    """
    plan, shape, stem, name = _stem(settings)
    sizes = (depths, (64, 128, 256, 512), bottleneck)
    return _summed(plan, shape, plan.neurons(name, stem), sizes, projecting)


_Sizes = tuple[Sequence[int], Sequence[int], bool]


def _summed(plan: Plan, shape: _Shape, before: str, sizes: _Sizes, shortcut: _Shortcut) -> Student:
    stages: list[str] = []
    for name, outs, stride, ends in _blocks(plan.settings, *sizes):
        into, out = shape.channels, outs[-1]
        body = _body(plan, name, before, (into, *outs), stride)
        past = plan.synapse(f"{name}.shortcut", before, shortcut(into, out, stride))
        before = plan.neurons(f"{name}.lif{len(outs)}", body, past)
        shape.through(out, stride)
        if ends:
            stages.append(before)
    return shape.finish(plan, "lif2", before, stages)


def sew_resnet(settings: Settings, depths: Sequence[int], bottleneck: bool) -> Student:
    """Build a SEW-ResNet (Fang et al., NeurIPS 2021, arXiv:2102.04159) with ADD.

    A block's spikes are added to those it got. The next convolution is linear, so it takes the sum
    from all their populations and no connection carries more than a spike.
    """
    plan, shape, stem, name = _stem(settings)
    signal: tuple[str, ...] = (plan.neurons(name, stem),)
    stages: list[str] = []
    for name, outs, stride, ends in _blocks(settings, depths, (64, 128, 256, 512), bottleneck):
        into, out = shape.channels, outs[-1]
        body = _body(plan, name, signal, (into, *outs), stride)
        past = signal
        if stride != 1 or into != out:
            branch = plan.synapse(f"{name}.shortcut", signal, conv(into, out, 1, stride))
            past = (plan.neurons(f"{name}.lif", branch),)
        last = plan.neurons(f"{name}.lif{len(outs)}", body)
        signal = (*past, last)
        shape.through(out, stride)
        if ends:
            stages.append(last)
    return shape.finish(plan, "lif2", signal, stages)


def ms_resnet(settings: Settings, depths: Sequence[int], bottleneck: bool) -> Student:
    """Build an MS-ResNet (Hu et al., arXiv:2112.08954): neurons stand before each convolution."""
    plan, shape, stem, name = _stem(settings)
    sizes = (depths, (64, 128, 256, 512), bottleneck)
    return _along_trunks(plan, shape, stem, name, sizes, projecting)


def _along_trunks(
    plan: Plan, shape: _Shape, stem: Branch, before: str, sizes: _Sizes, shortcut: _Shortcut
) -> Student:
    """Add blocks whose currents stay on a trunk, so that a population on it lists all of them.

    Where the size changes the shortcut is a convolution of the spikes, which begins a new trunk.
    Neurons have the names of the rectifiers that they stand for. There is one difference: what is
    negative on the trunk silences its neurons, but stays there; a rectifier cuts it off.
    """
    trunk: tuple[Branch, ...] = (stem,)
    before = plan.neurons(before, *trunk)
    stages: list[str] = []
    for name, outs, stride, ends in _blocks(plan.settings, *sizes):
        into, out = shape.channels, outs[-1]
        body = _body(plan, name, before, (into, *outs), stride)
        if stride != 1 or into != out:
            trunk = (plan.synapse(f"{name}.shortcut", before, shortcut(into, out, stride)),)
        trunk = (*trunk, body)
        before = plan.neurons(f"{name}.lif{len(outs)}", *trunk)
        shape.through(out, stride)
        if ends:
            stages.append(before)
    return shape.finish(plan, "lif2", before, stages)


def _stem(settings: Settings) -> tuple[Plan, _Shape, Branch, str]:
    """Add the first convolution, and for large images a pool by maximum as neurons of its own.

    Returns:
        Plan, shape, the branch that leaves the stem, and a name for the neurons it feeds.
    """
    channels = settings.shape[0]
    width = settings.wide(64)
    plan, shape = Plan(settings), _Shape(settings, width)
    if min(settings.shape[1:]) < SMALL_SIDE:
        return plan, shape, plan.synapse("conv1", SOURCE, conv(channels, width)), "lif1"
    stem = plan.neurons("stem", plan.synapse("conv1", SOURCE, conv(channels, width, 7, 2)))
    shape.halve()
    shape.sides = (shape.sides[0] // 2, shape.sides[1] // 2)
    pool = Synapse(Diagonal(width, ANY_OF_FOUR), None, pool=2)
    return plan, shape, plan.synapse("pool", stem, pool), "pooled"
