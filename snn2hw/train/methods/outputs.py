# pyright: basic
"""What a network gave for a batch: all that a loss may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Outputs(NamedTuple):
    """What a student or a teacher gave for a batch of B samples.

    Args:
        steps: logits of each time step ``[T, B, classes]``; T is 1 without time.
        features: by stage, first to last, ``[B, ...]``: what neurons do on average over time
            (0 to 1), or activations.
        spikes: of each population ``[T, B, ...]``; none without time.
    """

    steps: Tensor
    features: Mapping[str, Tensor] = {}
    spikes: Mapping[str, Tensor] = {}

    @property
    def logits(self) -> Tensor:
        """Mean of the logits over time ``[B, classes]``."""
        return self.steps.mean(0)


class Means(Mapping[str, Tensor]):
    """Means over time of ``[T, B, ...]``, by name, computed when looked at: few losses do."""

    def __init__(self, series: Mapping[str, Tensor]) -> None:
        self._series = series

    def __getitem__(self, name: str) -> Tensor:
        return self._series[name].mean(0, dtype=torch.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    def __len__(self) -> int:
        return len(self._series)


@contextmanager
def watch(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect what modules returned in the latest forward pass, by the given names."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _args: Any, found: Tensor) -> None:
            seen[name] = found

        return keep

    handles = [m.register_forward_hook(hook(n)) for n, m in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
