# pyright: basic
"""Pruners: ways to make most weights zero, each a ``Structure`` that the training loop tells.

``docs/methods/pruning.md`` says what each does, where it comes from and when to use it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from snn2hw.errors import unknown_name
from snn2hw.train.pruning.channels import Channels
from snn2hw.train.pruning.evolve import Evolving
from snn2hw.train.pruning.gradr import GradR
from snn2hw.train.pruning.gradual import Gradual, lamp, layerwise, magnitude
from snn2hw.train.pruning.masks import sparsity, weights
from snn2hw.train.pruning.sbc import Sbc
from snn2hw.train.pruning.upr import Upr
from snn2hw.train.structure import Structure

DEFAULT = "lamp"
# Those that can keep a neuron from listening to more than it may.
GRADUAL = ("magnitude", "layerwise", "lamp")
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """What is to be pruned, how far and how long.

    Args:
        network: changed in place.
        share: what part of the convolution and dense weights is to be zero, from 0 to below 1.
        epochs: of fine-tuning.
        steps: of one epoch.
        lr: highest learning rate.
        seed: of what is random.
        samples: some inputs ``[N, ...]`` as the network takes them.
        inputs: the most that a neuron of a dense layer may listen to, for gradual pruners.
    """

    network: nn.Module
    share: float
    epochs: int
    steps: int = 1
    lr: float = 2e-3
    seed: int = 0
    samples: Tensor | None = None
    inputs: int | None = None


class Pruner(NamedTuple):
    """One row of ``PRUNERS``; ``trains`` says that it is nothing without epochs."""

    build: Callable[[Plan], Structure]
    trains: bool
    description: str
    paper: str


PRUNERS: dict[str, Pruner] = {
    "magnitude": Pruner(
        lambda p: Gradual(p.network, p.share, p.epochs, magnitude, p.inputs),
        True,
        "least magnitude in the whole network, step by step, fine-tuned",
        "Zhu and Gupta, 2017, arXiv:1710.01878",
    ),
    "layerwise": Pruner(
        lambda p: Gradual(p.network, p.share, p.epochs, layerwise, p.inputs),
        True,
        "least magnitude, the same share of every layer, step by step, fine-tuned",
        "Zhu and Gupta, 2017, arXiv:1710.01878",
    ),
    "lamp": Pruner(
        lambda p: Gradual(p.network, p.share, p.epochs, lamp, p.inputs),
        True,
        "least magnitude on a scale that suits each layer, step by step, fine-tuned",
        "LAMP (Lee et al., ICLR 2021, arXiv:2010.07611)",
    ),
    "upr": Pruner(
        lambda p: Upr(
            p.network,
            p.share,
            p.epochs,
            p.steps,
            p.lr,
            None if p.samples is None else p.samples[:1],
        ),
        True,
        "learned masks on weights and neurons that pay for synaptic operations",
        "UPR (Shi et al., ICLR 2024)",
    ),
    "gradr": Pruner(
        lambda p: GradR(p.network, p.share, p.epochs, p.steps),
        True,
        "learned strengths that gradients bring back from below zero",
        "Grad R (Chen et al., IJCAI 2021, arXiv:2105.04916)",
    ),
    "sbc": Pruner(
        lambda p: Sbc(p.network, p.share, p.samples),
        False,
        "one shot without training: the weights that stay make up for those that go",
        "SBC (Shi et al., 2025, arXiv:2506.03996)",
    ),
    "channels": Pruner(
        lambda p: Channels(p.network, p.share, p.epochs),
        True,
        "whole channels and neurons, step by step, fine-tuned: fewer cores on any chip",
        "Li et al., ICLR 2017, arXiv:1608.08710, with a score of ours",
    ),
    "evolve": Pruner(
        lambda p: Evolving(p.network, 1.0 - p.share, start="magnitude", seed=p.seed),
        True,
        "sparse at once, then connections move to where gradients want them",
        "Xu et al., arXiv:2304.09500 (read from its abstract); RigL, arXiv:1911.11134",
    ),
}


def find_pruner(name: str) -> Pruner:
    """Return a row of ``PRUNERS``.

    Raises:
        InputError: there is no such pruner.
    """
    if name not in PRUNERS:
        raise unknown_name("pruner", name, PRUNERS)
    return PRUNERS[name]


def at_once(network: N, share: float, how: str = DEFAULT) -> N:
    """Return a copy pruned without training: about what a pruner would leave.

    Those that choose by a score do so; for the others LAMP stands in.

    Raises:
        InputError: the share cannot be had.
    """
    copied = copy.deepcopy(network)
    name = how if how in ("magnitude", "layerwise", "channels") else DEFAULT
    find_pruner(name).build(Plan(copied, share, epochs=1)).finish()
    return copied


__all__ = [
    "DEFAULT",
    "GRADUAL",
    "PRUNERS",
    "Evolving",
    "Plan",
    "Pruner",
    "at_once",
    "find_pruner",
    "sparsity",
    "weights",
]
