# pyright: basic
"""Pruners: ways to make most weights zero, each a ``Structure`` that the training loop tells.

``docs/methods/pruning.md`` says what each does, where it comes from and when to use it.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from snn2hw.train.catalogue.pruners import DEFAULT, GRADUAL, PRUNERS, Plan, Pruner, find_pruner
from snn2hw.train.pruning.channels import Channels
from snn2hw.train.pruning.evolve import Evolving
from snn2hw.train.pruning.gradr import GradR
from snn2hw.train.pruning.gradual import Gradual, lamp, layerwise, magnitude
from snn2hw.train.pruning.masks import sparsity, weights
from snn2hw.train.pruning.sbc import Sbc
from snn2hw.train.pruning.upr import Upr

N = TypeVar("N", bound=nn.Module)


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
    "DEFAULT", "GRADUAL", "PRUNERS", "Channels", "Evolving", "GradR", "Gradual", "Plan", "Pruner",
    "Sbc", "Upr", "at_once", "find_pruner", "lamp", "layerwise", "magnitude", "sparsity", "weights",
]  # fmt: skip
