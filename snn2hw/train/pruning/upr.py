# pyright: basic
"""UPR: learned masks on weights and neurons under a penalty of synaptic operations.

Shi et al., "Towards Energy Efficient Spiking Neural Networks: An Unstructured Pruning Framework",
ICLR 2024. A mask is ``sigmoid(b m)`` with ``m`` trained; ``b`` grows exponentially, so masks that
begin soft end as steps. Each costs the operations that it lets through.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn2hw.train.pruning import masks
from snn2hw.train.pruning.gradual import lamp, layerwise
from snn2hw.train.pruning.searching import Searching, Valued
from snn2hw.train.students import Diagonal, Student, Synapse

FIRST, LAST = 5.0, 1000.0  # b
MIDDLE = 0.4  # mean of m at the start
REACH = 0.5  # how far m could go in the whole search, all steps in one direction
FORCE = 0.1  # of the penalty: the loss when masks let everything through


class Masks(Valued):
    """Parametrization: a weight times the masks of its entries and of the neurons before it.

    ``weight_mask [weights]`` and ``neuron_mask [channels before]`` are flat and counted in units of
    ``unit``: the one spares them weight decay, the other makes the optimizer's rate suit them.

    A neuron's mask stands at each of its synapses' inputs, where the paper multiplies its spikes:
    in a chain that is the same, and where several synapses listen, each may stop listening.
    """

    def __init__(
        self, weight: Tensor, place: Tensor, channels: int, unit: float, positions: float
    ) -> None:
        super().__init__(weight)
        self.unit, self.sharpness = unit, FIRST
        self.weight_mask = nn.Parameter(MIDDLE * (0.5 + place).flatten() / unit)
        first = torch.full((channels,), 1.5 * MIDDLE / unit)
        self.neuron_mask = nn.Parameter(first.to(weight)) if channels else None
        self.through = positions * weight.numel()

    def both(self) -> tuple[Tensor, Tensor | None]:
        """Return m of weights, and of neurons in a shape that goes with the weight's."""
        mine = self.unit * self.weight_mask.view(self.keep.shape)
        if self.neuron_mask is None:
            return mine, None
        columns = self.keep.shape[1]
        wide = (self.unit * self.neuron_mask).repeat_interleave(columns // len(self.neuron_mask))
        return mine, wide.view(1, columns, *[1] * (self.keep.ndim - 2))

    def forward(self, original: Tensor) -> Tensor:
        """Return the masked weight."""
        return original * torch.where(self.hard, self.keep.to(original.dtype), self._soft())

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight of which the masks leave this one: the search begins where it was."""
        return weight / self._soft().detach()

    def _soft(self) -> Tensor:
        mine, neurons = self.both()
        soft = torch.sigmoid(self.sharpness * mine)
        return soft if neurons is None else soft * torch.sigmoid(self.sharpness * neurons)

    def values(self, original: Tensor) -> Tensor:
        """Return the lower of both m: a connection lives while both are positive."""
        mine, neurons = self.both()
        return mine if neurons is None else torch.minimum(mine, neurons)

    def lower(self, original: Tensor, by: float) -> None:
        """Let the values of weights go down; those of neurons follow gradient and penalty."""
        self.weight_mask.sub_(by / self.unit)

    def settle(self, original: Tensor) -> None:
        """Nothing is left to do: b is so large that masks are steps by now."""

    def cost(self) -> Tensor:
        """Return the operations that weights let through, and again those that neurons do."""
        mine, neurons = self.both()
        cost = torch.sigmoid(self.sharpness * mine).mean()
        if neurons is not None:
            cost = cost + torch.sigmoid(self.sharpness * neurons).mean()
        return self.through * cost


class Upr(Searching):
    """UPR to an asked sparsity.

    The penalty is ``FORCE * sum(c sigmoid(b m)) / sum(c of weights)`` over weights (c: positions
    at which a kernel's weight is used, for one step) and neurons (c: operations behind a channel
    that spikes everywhere).

    Args:
        network: what to prune, in place; parametrized until ``finish``.
        share: sparsity at the end.
        epochs: of the whole fine-tuning.
        steps: of one epoch.
        lr: highest learning rate, by which the masks' units are chosen.
        samples: one sample or more, to see how large images are inside; a ``Student`` knows.

    Raises:
        InputError: the share cannot be had.
    """

    def __init__(
        self,
        network: nn.Module,
        share: float,
        epochs: int,
        steps: int,
        lr: float,
        samples: Tensor | None = None,
    ) -> None:
        found = masks.layers(network)
        masks.check_share(share)
        positions = _positions(network, found, samples)
        channels = _channels(network, found)
        places = _places(found)
        modules = {
            n: Masks(m.weight.detach(), places[n], channels[n], 1.0, positions[n])
            for n, m in found.items()
        }
        self.total = max(sum(m.through for m in modules.values()), 1.0)
        super().__init__(network, share, epochs, steps, modules)
        # Adam moves a parameter by about the rate each step, which is half the highest on average.
        unit = max(1.0, REACH / (0.5 * lr * self.steps))
        with torch.no_grad():
            for module in modules.values():
                for mask in module.parameters():
                    mask.div_(unit)
                module.unit = unit

    def _sharpen(self) -> None:
        done = min(1.0, self.step / self.steps)
        for module in self.modules.values():
            module.sharpness = FIRST * (LAST / FIRST) ** done  # type: ignore[assignment]

    def before_epoch(self, epoch: int) -> None:
        """Set b, and cut when the search is over."""
        super().before_epoch(epoch)
        self._sharpen()

    def penalty(self) -> Tensor | None:
        """Return the force times the share of operations that masks let through."""
        if self.hard:
            return None
        return FORCE / self.total * sum(m.cost() for m in self.modules.values())  # type: ignore[operator,union-attr]

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let masks fall and b rise, as scheduled."""
        super().after_step(optimizer)
        self.step += 1
        self._sharpen()


def _places(layers: dict[str, nn.Conv2d | nn.Linear]) -> dict[str, Tensor]:
    """Return each weight's place among all by LAMP's score, from 0 to 1.

    Short fine-tuning could not tell weights apart that begin alike.
    """
    every = layerwise(torch.cat([lamp(m.weight).flatten() for m in layers.values()]))
    parts = torch.split(every, [m.weight.numel() for m in layers.values()])
    return {n: p.to(m.weight) for p, (n, m) in zip(parts, layers.items(), strict=True)}


def _positions(
    network: nn.Module, layers: dict[str, nn.Conv2d | nn.Linear], sample: Tensor | None
) -> dict[str, float]:
    """Return at how many places of its output each layer uses a weight."""
    if sample is None and isinstance(network, Student):
        sample = torch.zeros(1, *network.shape)
    found = dict.fromkeys(layers, 1.0)
    if sample is None:
        return found

    def hook(name: str):  # noqa: ANN202
        def see(_module: nn.Module, _args: object, out: Tensor) -> None:
            found[name] = float(out[0, 0].numel())

        return see

    handles = [m.register_forward_hook(hook(n)) for n, m in layers.items()]
    training = network.training
    try:
        device = next(iter(layers.values())).weight.device
        with torch.no_grad():
            network.eval()(sample[:1].to(device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return found


def _channels(network: nn.Module, layers: dict[str, nn.Conv2d | nn.Linear]) -> dict[str, int]:
    """Return how many channels of neurons each layer hears; 0 where it hears the input."""
    if not isinstance(network, Student):
        first, *rest = layers
        sides = {n: layers[n].weight.shape[1] for n in rest}
        return {first: 0} | {n: c if _plain(layers[n]) else 0 for n, c in sides.items()}
    found = dict.fromkeys(layers, 0)
    widths: dict[str, int] = {}
    for population in network.wiring:
        for (source, *_), synapse in population.branches:
            module = network.get_submodule(synapse)
            if not isinstance(module, Synapse):
                continue
            if isinstance(module.weight, Diagonal):
                widths.setdefault(population.name, widths.get(source, 0))
                continue
            name = f"{synapse}.weight"
            if _plain(module.weight):
                found[name] = widths.get(source, 0)  # which has no row for the input
            widths[population.name] = len(module.weight.weight)
    return found


def _plain(layer: nn.Conv2d | nn.Linear) -> bool:
    return isinstance(layer, nn.Linear) or layer.groups == 1
