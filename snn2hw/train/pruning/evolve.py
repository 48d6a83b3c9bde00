# pyright: basic
"""Connections that move: sparse from the first step, pruned and grown again while training goes on.

The structure of reverse distillation (Xu et al., arXiv:2304.09500, of which only the abstract could
be read), built after its published sibling ESL-SNNs (Shen et al., AAAI 2023, arXiv:2306.03693) and
the schedule and growth by gradient of RigL (Evci et al., ICML 2020, arXiv:1911.11134).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.pruning import masks
from snn2hw.train.structure import Structure

INTERVAL = 100  # steps between two rounds, where the job is long enough for
ROUNDS = 10  # this many; in a shorter one rounds come more often
FIRST = 0.3  # share of a layer's connections that moves in the first round
UNTIL = 0.75  # of the job; after it connections stay

Grow = Literal["gradient", "random"]
Start = Literal["random", "magnitude"]


def counts(shapes: Mapping[str, tuple[int, ...]], density: float) -> dict[str, int]:
    """Share connections among layers: Erdos-Renyi, with kernels.

    A layer's density is in proportion to ``(sum of its sides) / (product of its sides)`` (Mocanu
    et al., 2018; Evci et al., 2020, for kernels), so small layers stay dense; what a full layer
    cannot take, the others do. The counts add up to ``floor(density * all)`` exactly, and each is
    one at least.

    Raises:
        InputError: the density is not above 0 and at most 1, or less than a weight for each layer.
    """
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    wanted = math.floor(density * sum(sizes.values()) + 1e-9)
    if not 0.0 < density <= 1.0 or wanted < len(sizes):
        least = len(sizes) / max(sum(sizes.values()), 1)
        raise InputError(
            f"Density {density:g} is not from {least:.2g} to 1.",
            "Each layer needs a connection.",
        )
    raw = {n: sum(s) / sizes[n] for n, s in shapes.items()}
    full: set[str] = set()
    while True:
        rest = [n for n in sizes if n not in full]
        left = wanted - sum(sizes[n] for n in full)
        factor = left / max(sum(raw[n] * sizes[n] for n in rest), 1e-30)
        over = {n for n in rest if factor * raw[n] >= 1.0}
        if not over:
            break
        full |= over
    exact = {n: float(sizes[n]) if n in full else factor * raw[n] * sizes[n] for n in sizes}
    found = {n: max(1, math.floor(e)) for n, e in exact.items()}
    # Rounding: the largest remainders get what is missing, the largest layers give what is over.
    by_rest = sorted(sizes, key=lambda n: found[n] - exact[n])
    by_size = sorted(sizes, key=lambda n: -found[n])
    while sum(found.values()) != wanted:
        short = sum(found.values()) < wanted
        for name in by_rest if short else by_size:
            room = found[name] < sizes[name] if short else found[name] > 1
            if room and sum(found.values()) != wanted:
                found[name] += 1 if short else -1
    return found


class Evolving(Structure):
    """Keeps each layer's number of connections, and moves them to where they help more.

    Every ``interval`` steps, in each layer, the share ``f/2 (1 + cos(pi k / K))`` of the
    connections, those with the least magnitude, make room for as many others: those with the
    largest gradient in that step, or any. New weights begin at 0, with fresh optimizer state, and
    learn from the next step on. What is random comes from the seed and the step.

    Args:
        network: what to train, in place.
        density: share of convolution and dense weights that are connections, above 0 to 1.
        interval: steps between rounds; None for ``INTERVAL``, or less in a short job.
        fraction: f, from which half a cosine falls to nothing in the last round.
        until: share of the job after which connections stay.
        grow: by ``gradient`` or at ``random``.
        start: ``random`` connections, or those with the largest ``magnitude``.
        seed: of all that is random.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        density: float,
        *,
        interval: int | None = None,
        fraction: float = FIRST,
        until: float = UNTIL,
        grow: Grow = "gradient",
        start: Start = "random",
        seed: int = 0,
    ) -> None:
        problems = [
            f"{name} is {value}, not from 0 to 1"
            for name, value in (("fraction", fraction), ("until", until))
            if not 0.0 <= value <= 1.0
        ]
        if interval is not None and interval < 1:
            problems.append(f"interval is {interval}, not 1 or more")
        if problems:
            raise InputError(f"The structure cannot evolve: {'; '.join(problems)}.")
        self.network, self.interval, self.fraction = network, interval, fraction
        self.until, self.grow, self.seed = until, grow, seed
        found = masks.weights(network)
        kept = counts({n: tuple(w.shape) for n, w in found.items()}, density)
        generator = torch.Generator().manual_seed(seed)
        self.masks: dict[str, Tensor] = {}
        for name, weight in found.items():
            by_chance = torch.rand(weight.numel(), generator=generator)
            score = by_chance if start == "random" else weight.detach().cpu().abs().flatten()
            mask = torch.zeros(weight.numel(), dtype=torch.bool)
            mask[torch.topk(score, kept[name]).indices] = True
            self.masks[name] = mask.reshape(weight.shape)
        self._moved: dict[str, Tensor] = {}
        masks.apply(network, self.masks)

    def before_epoch(self, epoch: int) -> None:
        """Zero what is no connection."""
        masks.apply(self.network, self.masks)

    def after_backward(self, step: int, steps: int) -> None:
        """Move connections, if it is time; others than connections get no gradient."""
        every = self.interval or max(1, min(INTERVAL, int(self.until * steps) // (ROUNDS + 1)))
        rounds = int(self.until * steps) // every
        found = masks.weights(self.network)
        if step > 0 and step % every == 0 and step // every <= rounds:
            moving = 0.5 * self.fraction * (1.0 + math.cos(math.pi * (step // every) / rounds))
            for at, (name, weight) in enumerate(found.items()):
                self._rewire(name, weight, moving, _drawn(self.seed, step, at))
        for name, weight in found.items():
            if weight.grad is not None:
                weight.grad.masked_fill_(~self.masks[name].to(weight.device), 0.0)
                if name in self._moved:  # new ones learn from the next step on
                    weight.grad.masked_fill_(self._moved[name], 0.0)

    def _rewire(self, name: str, weight: Tensor, moving: float, chance: torch.Generator) -> None:
        mask = self.masks[name].flatten()
        held = int(mask.sum())
        # Less than all, so no layer is left without a connection that has learned something.
        number = min(int(moving * held), mask.numel() - held)
        if number < 1:
            return
        size = weight.detach().cpu().abs().flatten().double()
        dropped = torch.topk(size.masked_fill(~mask, math.inf), number, largest=False).indices
        if self.grow == "random" or weight.grad is None:
            worth = torch.rand(mask.numel(), generator=chance, dtype=torch.float64)
        else:
            worth = weight.grad.detach().cpu().abs().flatten().double()
        grown = torch.topk(worth.masked_fill(mask, -math.inf), number).indices
        mask = mask.clone()
        mask[dropped], mask[grown] = False, True
        moved = torch.zeros_like(mask)
        moved[dropped], moved[grown] = True, True
        self.masks[name] = mask.reshape(weight.shape)
        self._moved[name] = moved.reshape(weight.shape).to(weight.device)
        with torch.no_grad():
            weight.masked_fill_(self._moved[name], 0.0)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Forget what the optimizer knew of the connections that moved."""
        found = masks.weights(self.network)
        for name, moved in self._moved.items():
            for kept in optimizer.state.get(found[name], {}).values():
                if isinstance(kept, Tensor) and kept.shape == moved.shape:
                    kept.masked_fill_(moved, 0.0)
        self._moved = {}
        masks.apply(self.network, self.masks)

    def state(self) -> dict[str, Tensor]:
        """Return the masks."""
        return masks.packed(self.masks)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned."""
        self.masks = masks.unpacked(self.network, tensors)

    def finish(self) -> None:
        """Zero what is no connection."""
        masks.apply(self.network, self.masks)


def _drawn(seed: int, step: int, layer: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{step}/{layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
