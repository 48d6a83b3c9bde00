# pyright: basic
"""Which weights may be zero, and how many: what all pruners share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.students import Synapse

# Share of each layer that is kept whatever its scores, so that no layer dies; where little is
# kept of the whole, half of that.
FLOOR = 0.02


def layers(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the modules whose weights can be pruned, by name: convolutions and dense layers.

    Raises:
        InputError: there are none.
    """
    found = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    if not found:
        raise InputError("The network has no convolution and no dense layer to prune.")
    return found


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights that can be pruned, by name (``<layer>.weight``)."""
    return {
        f"{name}.weight": module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def sparsity(network: nn.Module) -> float:
    """Return the share of the prunable weights that are exactly zero."""
    found = weights(network).values()
    total = sum(w.numel() for w in found)
    return sum(int((w == 0).sum()) for w in found) / max(total, 1)


def check_share(share: float) -> None:
    """Refuse a share of zeros that is not from 0 to below 1.

    Raises:
        InputError: it is not.
    """
    if not 0.0 <= share < 1.0:
        raise InputError(f"Sparsity is {share}, not from 0 to below 1.")


def count(share: float, total: int) -> int:
    """Return the least number that is ``share`` of a total, a float's error aside."""
    return math.ceil(share * total - 1e-6)


def most_inputs(network: nn.Module, inputs: int) -> dict[str, int]:
    """Return how many weights of a neuron may stay in dense layers, by the weights' name.

    A pool in front of a layer is part of its synapses: a weight of an average over 8 x 8 neurons
    is 64 inputs. (A chip keeps a kernel once, so convolutions have no such limit.)
    """
    pools = {f"{n}.weight": m.pool for n, m in network.named_modules() if isinstance(m, Synapse)}
    return {
        f"{name}.weight": inputs // pools.get(name, 1) ** 2
        for name, layer in layers(network).items()
        if isinstance(layer, nn.Linear)
    }


def choose(
    scores: Mapping[str, Tensor],
    share: float,
    within: Mapping[str, Tensor] | None = None,
    most: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Choose which weights stay: ``ceil(share * all)`` entries go, those with the lowest scores.

    Of each layer the best ``min(FLOOR, (1 - share) / 2)`` stay in any case, one at the least.
    Equal scores go in order of layers and entries.

    Args:
        scores: of each weight, by name; comparable between layers.
        share: what part of them all goes.
        within: masks chosen before; what they removed goes first.
        most: how many weights of a neuron (a row) may stay, in layers that have such a limit.

    Returns:
        Boolean masks on the CPU, in the shapes of the scores.

    Raises:
        InputError: the share is not from 0 to below 1, or would leave a layer empty.
    """
    check_share(share)
    floor = min(FLOOR, (1.0 - share) / 2)
    ranked: list[Tensor] = []
    for name, found in scores.items():
        score = found.detach().cpu().double().flatten().clone()
        if within is not None:
            score[~within[name].flatten().cpu()] = -math.inf
        rows = score.view(len(found), -1)
        wide = rows.shape[1]
        spare = 0 if most is None else max(0, wide - most.get(name, wide))
        rows.scatter_(1, rows.argsort(1)[:, :spare], -math.inf)
        kept = max(1, math.ceil(floor * score.numel()))
        score[torch.topk(score, kept).indices] = math.inf
        ranked.append(score)
    everything = torch.cat(ranked)
    total = everything.numel()
    remove = count(share, total)
    if most is not None:
        remove = max(remove, int(torch.isneginf(everything).sum()))
    possible = total - int(torch.isposinf(everything).sum())
    if remove > possible:
        raise InputError(
            f"Sparsity {share:g} would leave some of the {len(ranked)} layers empty.",
            f"The most is {math.floor(1e5 * possible / total) / 1e5:g}.",
        )
    keep = torch.ones(total, dtype=torch.bool)
    keep[torch.argsort(everything, stable=True)[:remove]] = False
    parts = torch.split(keep, [s.numel() for s in ranked])
    return {n: p.reshape(s.shape) for (n, s), p in zip(scores.items(), parts, strict=True)}


def scheduled(epoch: float, ramp: int, start: float, final: float) -> float:
    """Return the sparsity for an epoch: cubic over ``ramp`` epochs (Zhu and Gupta, 2017)."""
    done = min(1.0, (epoch + 1) / max(ramp, 1))
    return final + (start - final) * (1.0 - done) ** 3


def apply(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero what the masks remove; an optimizer's momentum moves zeros too."""
    with torch.no_grad():
        for name, weight in weights(network).items():
            weight.masked_fill_(~masks[name].to(weight.device), 0.0)


def packed(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return masks as a checkpoint keeps them."""
    return {f"mask.{name}": mask for name, mask in masks.items()}


def unpacked(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks that ``packed`` put among ``tensors``: of all layers, or none yet.

    Raises:
        ValueError: they are not of this network's layers.
    """
    found = {k.removeprefix("mask."): v for k, v in tensors.items() if k.startswith("mask.")}
    shapes = {k: w.shape for k, w in weights(network).items()}
    if found and {k: v.shape for k, v in found.items()} != shapes:
        raise ValueError(f"masks of {', '.join(found)} are not those of {', '.join(shapes)}")
    return {k: v.bool() for k, v in found.items()}
