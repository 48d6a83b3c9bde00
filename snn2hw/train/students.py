# pyright: basic
"""Spiking students: populations of neurons, wired by synapses with batch norm.

A student takes integer images ``[B, C, H, W]`` and shows the same image at each of T steps
(direct encoding), or event frames ``[B, T, C, H, W]``. It returns how often each output neuron
spiked, ``[B, classes]``: that is all a chip gives, so that is what is trained. The predicted
class is the first one with the most spikes.

The wiring is data (``Population``, ``Branch``): the forward pass and the export read the same
description. Batch norm is shared over time, with time folded into the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError, unknown_name
from snn2hw.train.neurons import Lif

Chw = tuple[int, int, int]
SOURCE = "input"
# Initial scale of the currents in units of the threshold: with it layers start at about 10 %
# spikes per step, and deep students stay alive.
GAIN = 0.5


class Synapse(nn.Module):
    """An optional average pool, a convolution or dense layer, and an optional batch norm.

    Args:
        weight: the linear map. Before a dense layer an image is flattened, channels first.
        gain: initial scale of the batch norm; None leaves it out.
        pool: side of the average pool in front (its stride too); 1 for none.
    """

    def __init__(
        self, weight: nn.Conv2d | nn.Linear, gain: float | None = GAIN, pool: int = 1
    ) -> None:
        super().__init__()
        self.pool = pool
        self.weight = weight
        self.norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None
        if gain is not None:
            conv = isinstance(weight, nn.Conv2d)
            size = weight.out_channels if conv else weight.out_features  # type: ignore[union-attr]
            self.norm = nn.BatchNorm2d(size) if conv else nn.BatchNorm1d(size)
            nn.init.constant_(self.norm.weight, gain)

    def forward(self, spikes: Tensor) -> Tensor:
        """Map spikes ``[T, B, ...]`` to current ``[T, B, ...]``."""
        time, batch = spikes.shape[:2]
        x = spikes.flatten(0, 1)
        if self.pool > 1:
            x = nn.functional.avg_pool2d(x, self.pool)
        if isinstance(self.weight, nn.Linear):
            x = x.flatten(1)
        x = self.weight(x)
        if self.norm is not None:
            x = self.norm(x)
        return x.unflatten(0, (time, batch))


class Branch(NamedTuple):
    """One way into a population: from ``source``, through a synapse, or as it is (None)."""

    source: str
    synapse: str | None


class Population(NamedTuple):
    """A population of neurons and the branches whose currents it sums."""

    name: str
    branches: tuple[Branch, ...]


class Settings(NamedTuple):
    """What every student is built from."""

    shape: Chw
    classes: int
    max_value: int
    time_steps: int
    beta: float = 0.5
    width: float = 1.0


class Student(nn.Module):
    """A spiking network made of named synapses and populations.

    Args:
        settings: shape of the input, its largest integer (which training sees as 1), classes,
            and T, how often an image is shown (event frames bring their own T).
        wiring: populations, each after its sources; the last one is the output.
        modules: the synapses and ``Lif`` populations by (dotted) name.
    """

    def __init__(
        self,
        settings: Settings,
        wiring: Sequence[Population],
        modules: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        if settings.time_steps < 1:
            raise InputError(f"A student needs a time step or more, not {settings.time_steps}.")
        self.shape, self.classes = settings.shape, settings.classes
        self.max_value, self.time_steps = settings.max_value, settings.time_steps
        self.wiring = tuple(wiring)
        for name, module in modules.items():
            _attach(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Count the output spikes over all steps: ``[B, classes]``, from 0 to T."""
        spikes = {SOURCE: self.encode(x)}
        last = self.last_use()
        for at, population in enumerate(self.wiring):
            # The same image each step gives the same current: computed once.
            current = self.current(population, spikes)
            spikes[population.name] = self.get_submodule(population.name)(current, self.steps(x))
            spikes = {
                k: v for k, v in spikes.items() if last.get(k, at) > at or k == population.name
            }
        return spikes[self.wiring[-1].name].sum(0)

    def encode(self, x: Tensor) -> Tensor:
        """Scale integers to at most 1, time first: ``[1 or T, B, C, H, W]``."""
        dtype = next(self.parameters()).dtype
        frames = x.transpose(0, 1) if x.ndim == 5 else x[None]
        return frames.to(dtype) / self.max_value

    def steps(self, x: Tensor) -> int:
        """Return how many time steps ``x`` is run for."""
        return x.shape[1] if x.ndim == 5 else self.time_steps

    def last_use(self) -> dict[str, int]:
        """Return, for each source, the index of the last population that reads it."""
        return {b.source: at for at, p in enumerate(self.wiring) for b in p.branches}

    def current(self, population: Population, spikes: Mapping[str, Tensor]) -> Tensor:
        """Return a population's current ``[T, B, ...]`` from the spikes of its sources."""
        parts = [
            spikes[b.source]
            if b.synapse is None
            else self.get_submodule(b.synapse)(spikes[b.source])
            for b in population.branches
        ]
        return sum(parts[1:], parts[0])

    def populations(self) -> dict[str, Lif]:
        """Return the neuron modules by name, first layer first."""
        found = {p.name: self.get_submodule(p.name) for p in self.wiring}
        return {k: v for k, v in found.items() if isinstance(v, Lif)}

    @property
    def output(self) -> str:
        """Name of the population that is read out."""
        return self.wiring[-1].name

    def stages(self) -> list[str]:
        """Return the populations whose rates can be compared with a teacher's activations."""
        return [p.name for p in self.wiring[:-1]]

    def fan_out(self) -> dict[str, float]:
        """Return how many synapses a spike of the input or a population reaches.

        On average over neurons: zero weights and the places beyond a border are left out of the
        first, not of the second.
        """
        found = dict.fromkeys((SOURCE, *(p.name for p in self.wiring)), 0.0)
        for population in self.wiring:
            for source, synapse in population.branches:
                if source in found:
                    module = self.get_submodule(synapse) if synapse else None
                    found[source] += _fan_out(module)
        return found


def _fan_out(module: nn.Module | None) -> float:
    if not isinstance(module, Synapse):
        return 1.0
    layer = module.weight
    there = float(torch.count_nonzero(layer.weight))
    if isinstance(layer, nn.Linear):
        # A pool in front joins its neurons' synapses: each has those of their average.
        return there / layer.in_features
    return there / layer.in_channels / (layer.stride[0] * layer.stride[1])


def _attach(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(leaf, module)


def _conv(into: int, out: int, side: int = 3, stride: int = 1, gain: float = GAIN) -> Synapse:
    # "same" padding for odd kernels; batch norm brings the bias.
    weight = nn.Conv2d(into, out, side, stride, side // 2, bias=False)
    return Synapse(weight, gain)


def _dense(into: int, out: int, gain: float = GAIN, pool: int = 1) -> Synapse:
    return Synapse(nn.Linear(into, out, bias=False), gain, pool)


def _chain(settings: Settings, layers: Sequence[tuple[str, Synapse]]) -> Student:
    """Wire ``layers`` one after another, each with neurons ``lif1``, ``lif2``, ..."""
    modules: dict[str, nn.Module] = {}
    wiring: list[Population] = []
    before = SOURCE
    for number, (name, synapse) in enumerate(layers, 1):
        after = f"lif{number}"
        modules |= {name: synapse, after: Lif(settings.beta)}
        wiring.append(Population(after, (Branch(before, name),)))
        before = after
    return Student(settings, wiring, modules)


def _halved(side: int) -> int:
    return (side + 1) // 2


def cnn(settings: Settings) -> Student:
    """Build a small convolutional chain that any chip with convolutions takes."""
    channels, height, width = settings.shape
    a, b, hidden = (max(4, round(n * settings.width)) for n in (16, 32, 128))
    layers: list[tuple[str, Synapse]] = []
    large = min(height, width) > 16
    side = 5 if large else 3
    layers.append(("conv1", _conv(channels, a, side, stride=2 if large else 1)))
    if large:
        height, width = _halved(height), _halved(width)
    layers.append(("conv2", _conv(a, b, side, stride=2)))
    height, width = _halved(height), _halved(width)
    layers.append(("fc1", _dense(b * height * width, hidden)))
    layers.append(("fc2", _dense(hidden, settings.classes)))
    return _chain(settings, layers)


def mlp(settings: Settings) -> Student:
    """Build dense layers of 128 and 64 neurons: for the smallest chips."""
    channels, height, width = settings.shape
    a, b = (max(4, round(n * settings.width)) for n in (128, 64))
    layers = [
        ("fc1", _dense(channels * height * width, a)),
        ("fc2", _dense(a, b)),
        ("fc3", _dense(b, settings.classes)),
    ]
    return _chain(settings, layers)


def _resnet(settings: Settings, blocks: int) -> Student:
    """Build a residual network of the CIFAR kind (He et al., 2016, sec. 4.2), spiking.

    A block is ``LIF(bn(conv x))``, then ``LIF(bn(conv ...) + shortcut x)``: the sum is of
    currents, so each edge still carries spikes.
    """
    channels, height, width = settings.shape
    sizes = [max(4, round(n * settings.width)) for n in (16, 32, 64)]
    modules: dict[str, nn.Module] = {
        "conv1": _conv(channels, sizes[0]),
        "lif1": Lif(settings.beta),
    }
    wiring = [Population("lif1", (Branch(SOURCE, "conv1"),))]
    into = sizes[0]
    for stage, out in enumerate(sizes, 1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            name = f"layer{stage}.{block}"
            before = wiring[-1].name
            modules |= {
                f"{name}.conv1": _conv(into, out, stride=stride),
                f"{name}.lif1": Lif(settings.beta),
                f"{name}.conv2": _conv(out, out),
                f"{name}.lif2": Lif(settings.beta),
            }
            shortcut = None
            if stride != 1 or into != out:
                shortcut = f"{name}.shortcut"
                modules[shortcut] = _conv(into, out, side=1, stride=stride)
            wiring.append(Population(f"{name}.lif1", (Branch(before, f"{name}.conv1"),)))
            sum_of = (Branch(f"{name}.lif1", f"{name}.conv2"), Branch(before, shortcut))
            wiring.append(Population(f"{name}.lif2", sum_of))
            into = out
        if stage > 1:
            height, width = _halved(height), _halved(width)
    pool = min(height, width)
    pixels = (height // pool) * (width // pool)
    modules |= {
        "fc": _dense(into * pixels, settings.classes, pool=pool),
        "lif2": Lif(settings.beta),
    }
    wiring.append(Population("lif2", (Branch(wiring[-1].name, "fc"),)))
    return Student(settings, wiring, modules)


class Entry(NamedTuple):
    """One row of ``STUDENTS``."""

    build: Callable[[Settings], Student]
    description: str


STUDENTS: dict[str, Entry] = {
    "cnn": Entry(cnn, "two convolutions and two dense layers, a chain"),
    "mlp": Entry(mlp, "three dense layers, for the smallest chips"),
    "resnet8": Entry(lambda s: _resnet(s, 1), "residual, 8 layers, 16-32-64 channels"),
    "resnet14": Entry(lambda s: _resnet(s, 2), "residual, 14 layers, 16-32-64 channels"),
    "resnet20": Entry(lambda s: _resnet(s, 3), "residual, 20 layers, 16-32-64 channels"),
}


def make_student(name: str, settings: Settings) -> Student:
    """Build a student by name.

    Raises:
        InputError: there is no such student.
    """
    if name not in STUDENTS:
        raise unknown_name("student", name, STUDENTS)
    return STUDENTS[name].build(settings)


def predictions(counts: Tensor) -> Tensor:
    """Return ``[B]``, the first class with the most spikes, as the chip's reader does."""
    # torch.argmax does not promise which of equal values it names.
    classes = counts.shape[-1]
    order = torch.arange(classes, 0, -1, device=counts.device)
    best = counts == counts.max(-1, keepdim=True).values
    return (best * order).argmax(-1)
