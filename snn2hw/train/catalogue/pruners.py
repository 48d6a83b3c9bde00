# pyright: basic
"""Pruners by name; ``docs/methods/pruning.md`` says what each does and when to use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from snn2hw.errors import unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from snn2hw.train.structure import Structure

DEFAULT = "lamp"
# Those that can keep a neuron from listening to more than it may.
GRADUAL = ("magnitude", "layerwise", "lamp")


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
    """One row of ``PRUNERS``.

    Args:
        made: makes it, from ``train.pruning`` and a plan.
        trains: it is nothing without epochs.
        description: in a few words.
        paper: where it is from.
    """

    made: Callable[[Any, Plan], Structure]
    trains: bool
    description: str
    paper: str

    def build(self, plan: Plan) -> Structure:
        """Make the pruner."""
        from snn2hw.train import pruning

        return self.made(pruning, plan)


PRUNERS: dict[str, Pruner] = {
    "magnitude": Pruner(
        lambda of, p: of.Gradual(p.network, p.share, p.epochs, of.magnitude, p.inputs),
        True,
        "least magnitude in the whole network, step by step, fine-tuned",
        "Zhu and Gupta, 2017, arXiv:1710.01878",
    ),
    "layerwise": Pruner(
        lambda of, p: of.Gradual(p.network, p.share, p.epochs, of.layerwise, p.inputs),
        True,
        "least magnitude, the same share of every layer, step by step, fine-tuned",
        "Zhu and Gupta, 2017, arXiv:1710.01878",
    ),
    "lamp": Pruner(
        lambda of, p: of.Gradual(p.network, p.share, p.epochs, of.lamp, p.inputs),
        True,
        "least magnitude on a scale that suits each layer, step by step, fine-tuned",
        "LAMP (Lee et al., ICLR 2021, arXiv:2010.07611)",
    ),
    "upr": Pruner(
        lambda of, p: of.Upr(
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
        lambda of, p: of.GradR(p.network, p.share, p.epochs, p.steps),
        True,
        "learned strengths that gradients bring back from below zero",
        "Grad R (Chen et al., IJCAI 2021, arXiv:2105.04916)",
    ),
    "sbc": Pruner(
        lambda of, p: of.Sbc(p.network, p.share, p.samples),
        False,
        "one shot without training: the weights that stay make up for those that go",
        "SBC (Shi et al., 2025, arXiv:2506.03996)",
    ),
    "channels": Pruner(
        lambda of, p: of.Channels(p.network, p.share, p.epochs),
        True,
        "whole channels and neurons, step by step, fine-tuned: fewer cores on any chip",
        "Li et al., ICLR 2017, arXiv:1608.08710, with a score of ours",
    ),
    "evolve": Pruner(
        lambda of, p: of.Evolving(p.network, 1.0 - p.share, start="magnitude", seed=p.seed),
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
