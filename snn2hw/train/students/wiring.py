# pyright: basic
"""What a spiking student is made of: populations of neurons, wired by synapses.

A student takes integer images ``[B, C, H, W]`` and shows the same image at each of T steps
(direct encoding), or event frames ``[B, T, C, H, W]``. It returns the sum over time of its last
layer, ``[B, classes]``: how often each output neuron spiked, or with ``readout="membrane"`` what
currents it received. The predicted class is the first one with the most.

The wiring is data (``Population``, ``Branch``): the forward pass and the export read the same
description. Batch norm is shared over time, with time folded into the batch.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.ir.network import Network
from snn2hw.ir.neuron import NeuronRules
from snn2hw.ir.nodes import Reset
from snn2hw.train.averaging import averaged
from snn2hw.train.convolution import convolution
from snn2hw.train.dense import Dense
from snn2hw.train.neurons import USUAL, Lif, watched

Chw = tuple[int, int, int]
SOURCE = "input"
# Initial scale of the currents in units of the threshold: with it layers start at about 10 %
# spikes per step, and deep students stay alive.
GAIN = 0.5
RATE = 0.1


class Neuron(NamedTuple):
    """The neurons of a student: the arguments of ``Lif``."""

    beta: float = 0.5
    alpha: float = 0.0
    reset: Reset = "zero"
    surrogate: str = "triangle"
    learn_decay: bool = False
    rules: NeuronRules = USUAL

    def make(self, channels: int, *, last: bool = False) -> Lif:
        """Return a new population with threshold 1; ``last`` for an output."""
        return Lif(
            self.beta,
            reset=self.reset,
            alpha=self.alpha,
            surrogate=self.surrogate,
            learn=self.learn_decay,
            rules=self.rules,
            last=last,
            channels=channels,
        )


class Settings(NamedTuple):
    """What every student is built from.

    ``width`` is a factor on the sizes of hidden layers. ``readout`` says what is summed over time:
    the spikes of output neurons, or the membranes of neurons that forget at once and never spike.
    ``norm`` says what follows a linear map: ``batch`` norm, or ``none`` but a bias.
    """

    shape: Chw
    classes: int
    max_value: int
    time_steps: int
    neuron: Neuron = Neuron()
    width: float = 1.0
    readout: Literal["spikes", "membrane"] = "spikes"
    norm: Literal["batch", "none"] = "batch"

    def wide(self, size: int) -> int:
        """Return a hidden layer's size."""
        return max(4, round(size * self.width))


class Readout(nn.Module):
    """Output neurons that never spike: their membrane is the current of the step."""

    def forward(self, current: Tensor, steps: int | None = None) -> Tensor:
        """Return the current ``[T, B, K]`` as it is; ``[1, B, K]`` with ``steps`` is repeated."""
        return current if steps in (None, len(current)) else current.expand(steps, -1, -1)


class Diagonal(nn.Module):
    """One weight for each channel: neuron i reaches neuron i."""

    def __init__(self, channels: int, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), weight))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``[B, C, ...]``."""
        # In the precision of the spikes: the product would be wider than both otherwise.
        return x * self.weight.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))


class Synapse(nn.Module):
    """An optional average pool, a linear map, and an optional batch norm.

    Args:
        weight: the linear map. Before a dense layer an image is flattened, channels first.
        gain: initial scale of the batch norm; None leaves it out.
        pool: side of the average pool in front (its stride too); 1 for none.
    """

    def __init__(
        self, weight: nn.Conv2d | nn.Linear | Diagonal, gain: float | None = GAIN, pool: int = 1
    ) -> None:
        super().__init__()
        self.pool = pool
        self.weight = weight
        self.norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None
        if gain is not None:
            size = len(weight.weight)
            flat = isinstance(weight, nn.Linear)
            self.norm = nn.BatchNorm1d(size) if flat else nn.BatchNorm2d(size)
            nn.init.constant_(self.norm.weight, gain)

    def without_norm(self, *, bias: bool = True) -> None:
        """Leave out batch norm, with a bias in its place or none; currents start as large."""
        if self.norm is not None and not isinstance(self.weight, Diagonal):
            weight = self.weight.weight
            nn.init.normal_(weight, std=GAIN / (RATE * weight[0].numel()) ** 0.5)
            if bias:
                self.weight.bias = nn.Parameter(torch.zeros(len(weight)))
        self.norm = None

    def forward(self, spikes: Tensor, *, averages: bool = False) -> Tensor:
        """Map spikes to current, ``[T, B, ...]``, or ``[1, B, ...]`` for the same at each step.

        Args:
            spikes: what is sent.
            averages: it has been through the pool already.
        """
        x = spikes.flatten(0, 1)
        return self.step(x, averages=averages).unflatten(0, spikes.shape[:2])

    def step(self, x: Tensor, *, averages: bool = False) -> Tensor:
        """Map spikes of one step ``[B, ...]`` to current ``[B, ...]``."""
        if self.pool > 1 and not averages:
            x = averaged(x, self.pool)
        if isinstance(self.weight, nn.Linear):
            x = x.flatten(1)
        x = self.weight(x)
        return x if self.norm is None else self.norm(x)

    def fan_out(self) -> float:
        """Return how many connections a spike meets on average; zero weights are none.

        The places beyond a border count. A pool in front joins its neurons' synapses: each has
        those of their average.
        """
        layer = self.weight
        there = float(torch.count_nonzero(layer.weight))
        if isinstance(layer, nn.Conv2d):
            return there / layer.in_channels / (layer.stride[0] * layer.stride[1])
        return there / (layer.in_features if isinstance(layer, nn.Linear) else len(layer.weight))


class Branch(NamedTuple):
    """One way into a population: the sum of what ``sources`` send, through a synapse."""

    sources: tuple[str, ...]
    synapse: str


Branches = tuple[Branch, ...]


class Population(NamedTuple):
    """A population of neurons and the branches whose currents it sums."""

    name: str
    branches: tuple[Branch, ...]


class Spiking(nn.Module):
    """A student of whatever make: what the training loop needs to know of it.

    Args:
        shape: of an image or a frame, ``(C, H, W)``.
        classes: how many values it gives for a sample.
        max_value: largest integer of the input, which training sees as 1.
        time_steps: T, how often an image is shown; event frames bring their own.
    """

    def __init__(self, shape: Chw, classes: int, max_value: int, time_steps: int) -> None:
        super().__init__()
        if time_steps < 1:
            raise InputError(f"A student needs a time step or more, not {time_steps}.")
        self.shape, self.classes = shape, classes
        self.max_value, self.time_steps = max_value, time_steps

    def encode(self, x: Tensor) -> Tensor:
        """Scale integers to at most 1, time first: ``[1 or T, B, C, H, W]``."""
        dtype = next((p.dtype for p in self.parameters()), torch.float32)
        frames = x.transpose(0, 1) if x.ndim == 5 else x[None]
        scaled = frames.to(dtype, memory_format=torch.contiguous_format)
        return scaled if self.max_value == 1 else scaled / self.max_value

    def steps(self, x: Tensor) -> int:
        """Return how many time steps ``x`` is run for."""
        return x.shape[1] if x.ndim == 5 else self.time_steps

    @property
    def output(self) -> str:
        """Name of what is read out."""
        raise NotImplementedError

    def cell(self, name: str) -> nn.Module:
        """Return the module that gives ``[T, B, ...]`` of a population or the output."""
        return self.get_submodule(name)

    def populations(self) -> dict[str, nn.Module]:
        """Return, first layer first, modules that give spikes ``[T, B, ...]`` once a forward."""
        raise NotImplementedError

    def fan_out(self) -> dict[str, float]:
        """Return how many synapses a spike of the input or a population reaches, on average."""
        raise NotImplementedError

    def stages(self) -> list[str]:
        """Return the populations whose rates can be compared with a teacher's activations."""
        raise NotImplementedError

    def to_network(self, dt: float | None = None) -> Network:
        """Export a student that is not ours; see ``export.to_network``."""
        raise NotImplementedError


class Student(Spiking):
    """A spiking network made of named synapses and populations.

    Args:
        settings: shape of the input, its largest integer (which training sees as 1), classes,
            and T, how often an image is shown (event frames bring their own T).
        wiring: populations, each after its sources or its own source (then its spikes arrive one
            step later); the last one is the output.
        modules: the synapses, ``Lif`` populations and ``Readout`` by (dotted) name.
        stages: populations at the ends of stages.
    """

    def __init__(
        self,
        settings: Settings,
        wiring: Sequence[Population],
        modules: Mapping[str, nn.Module],
        stages: Sequence[str] = (),
    ) -> None:
        super().__init__(settings.shape, settings.classes, settings.max_value, settings.time_steps)
        self.wiring = tuple(wiring)
        self.rules = settings.neuron.rules
        self._stages = tuple(stages)
        for name, module in modules.items():
            _attach(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Sum the output over all steps: ``[B, classes]``; spikes from 0 to T."""
        spikes = {SOURCE: self.encode(x)}
        sides = self._sides()
        sums: dict[Branches, Tensor] = {}
        last_spikes, last_sums = self._last_uses()
        for at, population in enumerate(self.wiring):
            # The same image each step gives the same current: computed once.
            current = self.current(population, spikes, sums, sides)
            side = sides.get(population.name, 1)
            spikes[population.name] = self.run(population, current, self.steps(x), side)
            spikes = {k: s for k, s in spikes.items() if last_spikes.get(k, at) > at}
            sums = {b: c for b, c in sums.items() if last_sums[b] > at}
        last = spikes[self.output]
        return last.sum(0) * (self.steps(x) / len(last))

    def current(
        self,
        population: Population,
        spikes: Mapping[str, Tensor],
        known: dict[Branches, Tensor] | None = None,
        averages: Container[str] = (),
    ) -> Tensor:
        """Return a population's current ``[T, B, ...]`` from the spikes of others.

        Args:
            population: which one.
            spikes: of its sources, by name.
            known: sums of branches' currents; those that were computed are added, so that what
                many populations along a trunk listen to is added up once.
            averages: sources whose spikes have been through the pool of who listens.
        """
        known = {} if known is None else known
        return self._summed(_of_others(population), spikes, known, averages)

    def _summed(
        self,
        branches: Branches,
        spikes: Mapping[str, Tensor],
        known: dict[Branches, Tensor],
        averages: Container[str],
    ) -> Tensor:
        """Return the sum of branches' currents, added from the first to the last."""
        if branches in known:
            return known[branches]
        if len(branches) == 1:
            ((sources, synapse),) = branches
            pooled = sources[0] in averages
            total = _sum([spikes[s] for s in sources])
            found = self.get_submodule(synapse)(total, averages=pooled)
        else:
            halves = _halves(branches)
            before, last = (self._summed(part, spikes, known, averages) for part in halves)
            found = before + last
        known[branches] = found
        return found

    def run(self, population: Population, current: Tensor, steps: int, side: int = 1) -> Tensor:
        """Return what a population makes of its current: spikes ``[steps, B, ...]``, or rates.

        With a ``side`` they are averaged over squares, as who listens does it else.
        """
        neurons = self.get_submodule(population.name)
        for sources, synapse in population.branches:
            if population.name in sources:
                return neurons(current, steps, back=self.get_submodule(synapse).step)
        return neurons(current, steps) if side == 1 else neurons(current, steps, side=side)

    def _sides(self) -> dict[str, int]:
        """Return the populations whose spikes only pools of one side listen to, and the side.

        Their averages are computed with them, and the spikes are not written to memory.
        """
        pools: dict[str, set[int]] = {}
        for population in self.wiring:
            for sources, synapse in population.branches:
                module = self.get_submodule(synapse)
                plain = len(sources) == 1 and sources[0] != population.name and not watched(module)
                side = module.pool if plain and isinstance(module, Synapse) else 1
                for source in sources:
                    pools.setdefault(source, set()).add(side)
        cells = {n: self.get_submodule(n) for n, s in pools.items() if n != SOURCE and len(s) == 1}
        return {
            name: side
            for name, cell in cells.items()
            if isinstance(cell, Lif) and cell.averages and name != self.output
            for side in pools[name]
            if side > 1
        }

    def _last_uses(self) -> tuple[dict[str, int], dict[Branches, int]]:
        """Return the last population, by index, for which spikes and sums of currents are kept."""
        spikes = {self.output: len(self.wiring)}
        sums: dict[Branches, int] = {}

        def use(branches: Branches, at: int) -> None:
            new = branches not in sums
            sums[branches] = at
            if new and len(branches) == 1:
                spikes.update(dict.fromkeys(branches[0].sources, at))
            elif new:
                for part in _halves(branches):
                    use(part, at)

        for at, population in enumerate(self.wiring):
            use(_of_others(population), at)
        return spikes, sums

    @property
    def recurrent(self) -> bool:
        """Say whether a population is connected to itself."""
        return any(p.name in b.sources for p in self.wiring for b in p.branches)

    def populations(self) -> dict[str, Lif]:  # type: ignore[override]
        """Return the neuron modules by name, first layer first."""
        found = {p.name: self.get_submodule(p.name) for p in self.wiring}
        return {k: v for k, v in found.items() if isinstance(v, Lif)}

    @property
    def output(self) -> str:
        """Name of the population that is read out."""
        return self.wiring[-1].name

    def fan_out(self) -> dict[str, float]:
        """Return how many synapses a spike of the input or a population reaches, on average."""
        found = dict.fromkeys((SOURCE, *(p.name for p in self.wiring)), 0.0)
        for population in self.wiring:
            for sources, synapse in population.branches:
                module = self.get_submodule(synapse)
                assert isinstance(module, Synapse)
                for source in sources:
                    found[source] += module.fan_out()
        return found

    def stages(self) -> list[str]:
        """Return the populations whose rates can be compared with a teacher's activations.

        Of a chain they are all but the output, of residual networks the ends of stages.
        """
        return list(self._stages)


def _of_others(population: Population) -> Branches:
    """Return the branches of a population but for the one from itself."""
    return tuple(b for b in population.branches if population.name not in b.sources)


def _halves(branches: Branches) -> tuple[Branches, Branches]:
    """Return all branches but the last, and the last."""
    return branches[:-1], branches[-1:]


def _sum(parts: Sequence[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])


def _attach(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(leaf, module)


def conv(
    into: int, out: int, side: int = 3, stride: int = 1, pool: int = 1, gain: float = GAIN
) -> Synapse:
    """Return a convolution with "same" padding for odd kernels; batch norm brings the bias."""
    return Synapse(convolution(into, out, side, stride), gain, pool)


def dense(into: int, out: int, pool: int = 1, gain: float | None = GAIN) -> Synapse:
    """Return a dense layer."""
    return Synapse(Dense(into, out, bias=False), gain, pool)


class Plan:
    """A student under construction."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.modules: dict[str, nn.Module] = {}
        self.wiring: list[Population] = []

    def synapse(self, name: str, sources: str | tuple[str, ...], module: Synapse) -> Branch:
        """Add a synapse and return the branch that goes through it."""
        if self.settings.norm == "none":
            module.without_norm(bias=self.settings.neuron.rules.bias == "current")
        self.modules[name] = module
        return Branch((sources,) if isinstance(sources, str) else sources, name)

    def neurons(self, name: str, *branches: Branch, last: bool = False) -> str:
        """Add a population and return its name; ``last`` for the output."""
        first: Any = self.modules[branches[0].synapse]
        channels = len(first.weight.weight)
        self.modules[name] = self.settings.neuron.make(channels, last=last)
        self.wiring.append(Population(name, branches))
        return name

    def finish(
        self,
        fc: str,
        output: str,
        sources: str | tuple[str, ...],
        features: int,
        stages: Sequence[str],
        pool: int = 1,
    ) -> Student:
        """Add the last dense layer ``fc`` and what it feeds, ``output`` or ``readout``."""
        spikes = self.settings.readout == "spikes"
        layer = dense(features, self.settings.classes, pool, GAIN if spikes else None)
        branch = self.synapse(fc, sources, layer)
        if spikes:
            self.neurons(output, branch, last=True)
        else:
            self.modules["readout"] = Readout()
            self.wiring.append(Population("readout", (branch,)))
        return Student(self.settings, self.wiring, self.modules, stages)


def halved(side: int) -> int:
    """Return the side of an image behind a "same" convolution of stride 2."""
    return (side + 1) // 2


def predictions(counts: Tensor) -> Tensor:
    """Return ``[B]``, the first class with the largest value, as the chip's reader does."""
    # torch.argmax does not promise which of equal values it names.
    classes = counts.shape[-1]
    order = torch.arange(classes, 0, -1, device=counts.device)
    best = counts == counts.max(-1, keepdim=True).values
    return (best * order).argmax(-1)
