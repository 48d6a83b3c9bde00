# pyright: basic
"""Whole channels and neurons go: what every chip can use, whether it stores zeros or not.

Channels are scored by the norm of what comes in times the norm of what goes out, batch norm folded,
each layer's scores divided by their mean. Populations that a shortcut joins share their channels,
as spikes pass it one to one: they keep and lose them together. A removed channel is not cut out of
the arrays, so that a student still is what its recipe builds: its current becomes exactly zero,
batch norm included, and so does what others took from it. The compiler's exact pass for neurons
that cannot spike then drops it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.pruning import masks
from snn2hw.train.pruning.masks import FLOOR
from snn2hw.train.structure import Structure
from snn2hw.train.students import SOURCE, Diagonal, Student, Synapse


class Wire(NamedTuple):
    """A synapse between two sets of channels; None where one side is fixed (input, classes)."""

    synapse: Synapse
    before: int | None
    after: int | None


class Sets(NamedTuple):
    """Which channels belong together: synapses, channels of each set, and each population's set."""

    wires: list[Wire]
    sizes: list[int]
    of: dict[str, int]


def sets(student: Student) -> Sets:
    """Find the sets of channels that can lose some, and what is wired to them.

    Raises:
        InputError: a grouped convolution, whose channels are tied in another way.
    """
    leader: dict[str, str] = {}

    def root(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    width: dict[str, int] = {}
    reader: dict[str, str] = {}
    for population in student.wiring:
        for sources, synapse in population.branches:
            # Who reads the same current has the same channels.
            leader[root(population.name)] = root(reader.setdefault(synapse, population.name))
            for other in sources[1:]:  # what is summed has the same channels
                leader[root(other)] = root(sources[0])
            layer = student.get_submodule(synapse).weight
            if isinstance(layer, Diagonal):
                leader[root(population.name)] = root(sources[0])
                continue
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                raise InputError(
                    f"{synapse} is a grouped convolution, of which channels cannot be taken.",
                    "Use another pruner.",
                )
            width[population.name] = len(layer.weight)  # type: ignore[union-attr, arg-type]
    fixed = {root(SOURCE), root(student.wiring[-1].name)}
    names = [p.name for p in student.wiring if root(p.name) not in fixed]
    numbers = {r: i for i, r in enumerate(dict.fromkeys(root(n) for n in names))}
    sizes = [0] * len(numbers)
    for name in names:
        sizes[numbers[root(name)]] = width.get(name) or sizes[numbers[root(name)]]
    found = {
        branch.synapse: Wire(
            student.get_submodule(branch.synapse),  # type: ignore[arg-type]
            numbers.get(root(branch.sources[0])),
            numbers.get(root(population.name)),
        )
        for population in student.wiring
        for branch in population.branches
        if not isinstance(student.get_submodule(branch.synapse).weight, Diagonal)
    }
    return Sets(list(found.values()), sizes, {n: numbers[root(n)] for n in names})


class Channels(Structure):
    """Removes whole channels until the asked share of weights is zero, one channel more at most.

    The share rises on the cubic schedule over the first half of the epochs.

    Args:
        network: a ``Student``, whose wiring says which channels belong together.
        share: sparsity at the end.
        epochs: of the whole fine-tuning.

    Raises:
        InputError: the network is no ``Student``, or the share cannot be had.
    """

    def __init__(self, network: nn.Module, share: float, epochs: int) -> None:
        masks.check_share(share)
        if not isinstance(network, Student):
            raise InputError(
                "Channels can be pruned in students built by snn2hw only, whose wiring is known.",
                "Use another pruner, lamp for one.",
            )
        self.network, self.share = network, share
        self.ramp = max(1, epochs // 2)
        self.sets = sets(network)
        self.wires = self.sets.wires
        self.alive = [torch.ones(n, dtype=torch.bool) for n in self.sets.sizes]
        self._choose(share)

    def scores(self) -> list[Tensor]:
        """Return each channel's score: 1 is the mean of those alive in its set."""
        into = [torch.zeros(len(a), dtype=torch.float64) for a in self.alive]
        out = [torch.zeros(len(a), dtype=torch.float64) for a in self.alive]
        for synapse, before, after in self.wires:
            weight = synapse.weight.weight.detach().cpu().double()
            norm = synapse.norm
            if norm is not None:
                gain = norm.weight.detach().cpu().double()
                gain = gain / (norm.running_var.cpu().double() + norm.eps).sqrt()  # type: ignore[union-attr]
                weight = weight * gain.view(-1, *[1] * (weight.ndim - 1))
            squares = weight.square()
            if after is not None:
                into[after] += squares.flatten(1).sum(1)
            if before is not None:
                out[before] += squares.sum(0).reshape(len(self.alive[before]), -1).sum(1)
        found: list[Tensor] = []
        for alive, a, b in zip(self.alive, into, out, strict=True):
            score = (a * b).sqrt() * alive
            found.append(score / (score.sum() / alive.sum()).clamp_min(1e-300))
        return found

    def _choose(self, share: float) -> list[Tensor]:
        """Return which channels live when ``share`` of all weights is zero."""
        alive = [a.clone() for a in self.alive]
        rows = [len(a) for a in alive]
        left = [int(a.sum()) for a in alive]
        total = sum(w.synapse.weight.weight.numel() for w in self.wires)

        def kept() -> float:
            shares = [
                (1.0 if a is None else left[a] / rows[a])
                * (1.0 if b is None else left[b] / rows[b])
                * w.weight.weight.numel()
                for w, b, a in self.wires
            ]
            return sum(shares)

        floor = min(FLOOR, (1.0 - share) / 2)
        least = [max(1, math.ceil(floor * n)) for n in rows]
        ranked = [
            (float(score), at, channel)
            for at, scores in enumerate(self.scores())
            for channel, score in enumerate(scores)
            if alive[at][channel]
        ]
        for _, at, channel in sorted(ranked):
            if kept() <= (1.0 - share) * total:
                break
            if left[at] > least[at]:
                alive[at][channel] = False
                left[at] -= 1
        if kept() > (1.0 - share) * total:
            most = math.floor(1e4 * (1.0 - kept() / total)) / 1e4
            raise InputError(
                f"Sparsity {share:g} would leave some layer without channels.",
                f"The most is about {most:g}.",
            )
        return alive

    def before_epoch(self, epoch: int) -> None:
        """Choose the channels of this epoch and silence the others."""
        if epoch < self.ramp:
            self.alive = self._choose(masks.scheduled(epoch, self.ramp, 0.0, self.share))
        self.apply()

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Silence what is removed; an optimizer's momentum moves zeros too."""
        self.apply()

    def apply(self) -> None:
        """Make currents into removed channels, and weights from them, exactly zero."""
        with torch.no_grad():
            for name, at in self.sets.of.items():
                own: Any = self.network.get_submodule(name)
                if own.bias is not None:
                    own.bias[~self.alive[at].to(own.bias.device)] = 0.0
            for synapse, before, after in self.wires:
                weight: Any = synapse.weight.weight
                bias: Any = synapse.weight.bias
                if after is not None:
                    gone = ~self.alive[after].to(weight.device)
                    weight[gone] = 0.0
                    if bias is not None:
                        bias[gone] = 0.0
                    if synapse.norm is not None:
                        synapse.norm.weight[gone] = 0.0
                        synapse.norm.bias[gone] = 0.0
                if before is not None:
                    gone = ~self.alive[before].to(weight.device)
                    each = weight.shape[1] // len(gone)
                    weight[:, gone.repeat_interleave(each)] = 0.0

    def state(self) -> dict[str, Tensor]:
        """Return which channels live."""
        return {f"alive.{at}": alive for at, alive in enumerate(self.alive)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned."""
        alive = [tensors[f"alive.{at}"].bool() for at in range(len(self.alive))]
        if [a.shape for a in alive] != [a.shape for a in self.alive]:
            raise ValueError("its channels are not those of this network")
        self.alive = alive

    def finish(self) -> None:
        """Silence what is removed; what no epoch removed is removed now."""
        self.alive = self._choose(self.share)
        self.apply()
