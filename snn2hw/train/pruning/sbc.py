# pyright: basic
"""SBC: one shot, second order, no training (Shi et al., 2025, arXiv:2506.03996).

A layer's weights change so that the membrane potential behind it, reset left out, stays where it
was on a few calibration samples. With ``X [T, in]`` a sample's input, M the neuron's leak kernel
(``M[t, t'] = beta^(t - t')`` for ``t' <= t``) and d the change of a row of the weight, the error is
``1/2 d H d`` with ``H = E[2 (MX)^T (MX)]``. Removing weight q alone costs ``w_q^2 / (2 [H^-1]_qq)``
when all others answer it (Optimal Brain Surgeon, Hassibi and Stork, 1993).

How much goes from which layer is LAMP's choice; within a layer the surgeon's. Weights go in rounds,
each taking a part of what is left, after which every row is solved anew: what remains is the least
squares optimum for its connections, so errors of the recursion cannot pile up. Batch norm in
evaluation mode multiplies a row by a constant: that changes nothing within a row, and scales its
cost against the others'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snn2hw.errors import InputError
from snn2hw.train.neurons import Lif
from snn2hw.train.pruning import masks
from snn2hw.train.pruning.gradual import lamp
from snn2hw.train.structure import Structure
from snn2hw.train.students import Diagonal, Student, Synapse

DAMPING = 1e-2  # of the mean diagonal, added to it: inputs that never come leave H singular
ROUND = 1 / 3  # share of the connections left that a round takes, at most
BATCH = 64
ELEMENTS = 1 << 24  # numbers that the inverses of a block of rows may hold


class Layer(NamedTuple):
    """A layer to prune: its linear map, the batch norm behind it, the neurons' decays.

    ``back``: it carries a population's spikes back to it, so the first step brings it none.
    """

    name: str
    weight: nn.Conv2d | nn.Linear
    norm: nn.Module | None
    alpha: float
    beta: float
    back: bool


def leaked(x: Tensor, decay: float) -> Tensor:
    """Return M x for ``x [T, ...]``: what a leaky sum of it is at each step."""
    if decay == 0.0:
        return x
    found = torch.empty_like(x)
    state = torch.zeros_like(x[0])
    for t in range(len(x)):
        state = decay * state + x[t]
        found[t] = state
    return found


def rows_of(x: Tensor, layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Return what each weight of a row is multiplied by: ``[groups, samples, weights]``."""
    if isinstance(layer, nn.Linear):
        return x.flatten(1)[None]
    if not isinstance(layer.padding, tuple):
        raise InputError(f"SBC cannot read padding {layer.padding!r}.", "Use another pruner.")
    patches = functional.unfold(
        x, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )  # [N, in * kernel, places]
    flat = patches.transpose(1, 2).flatten(0, 1)
    return flat.unflatten(1, (layer.groups, -1)).transpose(0, 1)


def surgeon(
    weight: Tensor, hessian: Tensor, keep: int, gain: Tensor, part: float = ROUND
) -> tuple[Tensor, Tensor]:
    """Prune the rows of a weight that share a Hessian.

    Args:
        weight: ``[rows, n]``, double.
        hessian: ``[n, n]``, positive definite, double.
        keep: how many entries stay in all.
        gain: ``[rows]``, by which each row's output is multiplied.
        part: share of the entries left that a round takes; 0 for one each round.

    Returns:
        The new weight and its boolean mask, both ``[rows, n]``.
    """
    mask = torch.ones_like(weight, dtype=torch.bool)
    pull = weight @ hessian
    solved = weight
    cost = weight.square() / (2.0 * _root(hessian).square().sum(0))
    while (left := int(mask.sum())) > keep:
        number = min(left - keep, max(1, math.ceil(part * left)) if part else 1)
        ranked = (cost * gain.square()[:, None]).masked_fill(~mask, math.inf)
        mask = mask.clone()
        mask.view(-1)[torch.topk(ranked.view(-1), number, largest=False).indices] = False
        solved, cost = _solve(mask, hessian, pull)
    return solved, mask


def _solve(mask: Tensor, hessian: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
    """Return, row by row, the best weights for a mask and what removing each would cost."""
    solved, cost = torch.zeros_like(pull), torch.zeros_like(pull)
    counts = mask.sum(1)
    order = torch.argsort(counts)
    start = 0
    while start < len(order):
        # Rows with as many connections go together; blocks shrink as their matrices grow.
        size = int(counts[order[start]])
        block = max(1, ELEMENTS // max(1, size * size))
        rows = order[start : start + block]
        start += block
        wide = int(counts[rows].max())
        if wide == 0:
            continue
        # The places of a row's connections, padded with others that stay out of the way.
        places = torch.topk(mask[rows].to(torch.uint8), wide, dim=1).indices
        there = mask[rows].gather(1, places)
        square = hessian[places[:, :, None], places[:, None, :]]
        square.masked_fill_(~(there[:, :, None] & there[:, None, :]), 0.0)
        square.diagonal(dim1=1, dim2=2).masked_fill_(~there, 1.0)
        root = _root(square)
        wanted = pull[rows].gather(1, places)
        best = (root.mT @ (root @ wanted[:, :, None]))[:, :, 0]
        worth = best.square() / (2.0 * root.square().sum(1))
        solved[rows] = solved[rows].scatter(1, places, best.masked_fill(~there, 0.0))
        cost[rows] = cost[rows].scatter(1, places, worth)
    return solved, cost


def _root(square: Tensor) -> Tensor:
    """Return R with ``R^T R`` the inverse of positive definite matrices ``[..., n, n]``.

    Torch's own inverses of many matrices are tens of times slower, or fail (2.13, CPU).
    """
    one = torch.eye(square.shape[-1], dtype=square.dtype).expand_as(square)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(square), one, upper=False)


class Sbc(Structure):
    """Prunes once, before the first epoch, or in ``finish`` where there is none; then holds still.

    Layers are pruned first to last, each on what the pruned ones before it send.

    Args:
        network: what to prune, in place. A ``Student`` says what its neurons' decays are; other
            networks are taken to have none.
        share: sparsity at the end.
        samples: a few inputs ``[N, ...]`` as the network takes them.

    Raises:
        InputError: the share cannot be had, or there are no samples.
    """

    def __init__(self, network: nn.Module, share: float, samples: Tensor | None) -> None:
        if samples is None or len(samples) == 0:
            raise InputError("SBC needs samples to calibrate with, and there are none.")
        self.network, self.share, self.samples = network, share, samples
        self.masks: dict[str, Tensor] = {}
        self._ratios()

    def _ratios(self) -> dict[str, Tensor]:
        found = {n: lamp(w) for n, w in masks.weights(self.network).items()}
        return masks.choose(found, self.share)

    def prune(self) -> None:
        """Prune every layer."""
        ratios = self._ratios()
        for layer in listed(self.network):
            name = f"{layer.name}.weight"
            keep = int(ratios[name].sum())
            self.masks[name] = _prune(self.network, layer, keep, self.samples)
        masks.apply(self.network, self.masks)

    def before_epoch(self, epoch: int) -> None:
        """Prune, if that was not done."""
        self.finish()

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero what is pruned."""
        masks.apply(self.network, self.masks)

    def state(self) -> dict[str, Tensor]:
        """Return the masks."""
        return masks.packed(self.masks)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned."""
        self.masks = masks.unpacked(self.network, tensors)

    def finish(self) -> None:
        """Prune, if no epoch did, and zero what is pruned."""
        if not self.masks:
            self.prune()
        masks.apply(self.network, self.masks)


def listed(network: nn.Module) -> list[Layer]:
    """Return the layers of a network in order, with what a ``Student`` knows of their neurons."""
    if not isinstance(network, Student):
        return [Layer(n, m, None, 0.0, 0.0, back=False) for n, m in masks.layers(network).items()]
    found: dict[str, Layer] = {}
    for population in network.wiring:
        neuron = network.get_submodule(population.name)
        alpha, beta = (neuron.alpha, neuron.beta) if isinstance(neuron, Lif) else (0.0, 0.0)
        for sources, synapse in population.branches:
            module = network.get_submodule(synapse)
            # Of several populations that read a current the first one says how it leaks.
            if isinstance(module, Synapse) and not isinstance(module.weight, Diagonal):
                back = population.name in sources
                layer = Layer(f"{synapse}.weight", module.weight, module.norm, alpha, beta, back)
                found.setdefault(synapse, layer)
    return list(found.values())


def hessians(network: nn.Module, layer: Layer, samples: Tensor) -> Tensor:
    """Return ``H [groups, n, n]`` of a layer, undamped, mean over samples."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Tensor, ...], _out: Tensor) -> None:
        seen.append(args[0].detach())

    handle = layer.weight.register_forward_hook(keep)
    training, total = network.training, None
    device = layer.weight.weight.device
    network.eval()
    try:
        with torch.no_grad():
            for batch in samples.split(BATCH):
                network(batch.to(device))
                # A recurrent layer is called once a step, others with all steps in one.
                part = _hessian(torch.cat(seen), layer, network, batch)
                seen.clear()
                total = part if total is None else total + part
    finally:
        handle.remove()
        network.train(training)
    assert total is not None
    return total / len(samples)


def _hessian(x: Tensor, layer: Layer, network: nn.Module, batch: Tensor) -> Tensor:
    size = len(batch)
    x = x.unflatten(0, (-1, size))  # time first, as students fold it into the batch
    steps = network.steps(batch) if isinstance(network, Student) else len(x)
    if len(x) == 1 and not layer.back:
        x = x.expand(steps, *x.shape[1:])  # an image that stays the same is seen at each step
    sent = leaked(leaked(x, layer.alpha), layer.beta).flatten(0, 1)
    rows = rows_of(sent, layer.weight)
    return 2.0 * (rows.transpose(1, 2) @ rows).cpu().double()


def damped(hessian: Tensor) -> Tensor:
    """Return a Hessian ``[n, n]`` that can be inverted."""
    mean = float(hessian.diagonal().mean())
    extra = DAMPING * mean if mean > 0 else 1.0
    return hessian + extra * torch.eye(len(hessian), dtype=hessian.dtype)


def _prune(network: nn.Module, layer: Layer, keep: int, samples: Tensor) -> Tensor:
    """Prune one layer in place; return its mask."""
    found = hessians(network, layer, samples)
    weight = layer.weight.weight
    flat = weight.detach().cpu().double().flatten(1)
    gain = torch.ones(len(flat), dtype=torch.float64)
    if layer.norm is not None:
        variance = layer.norm.running_var.cpu().double()  # type: ignore[union-attr,operator]
        scale = layer.norm.weight.detach().cpu().double()  # type: ignore[union-attr,operator]
        gain = scale / (variance + layer.norm.eps).sqrt()  # type: ignore[operator]
    groups = len(found)
    shares = [keep * (g + 1) // groups - keep * g // groups for g in range(groups)]
    parts = [
        surgeon(w, damped(h), k, g)
        for w, h, k, g in zip(flat.chunk(groups), found, shares, gain.chunk(groups), strict=True)
    ]
    with torch.no_grad():
        weight.copy_(torch.cat([w for w, _ in parts]).reshape(weight.shape))
    return torch.cat([m for _, m in parts]).reshape(weight.shape)
