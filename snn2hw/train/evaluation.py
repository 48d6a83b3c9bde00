# pyright: basic
"""Run networks on data: how often they are right, and how much they spike."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw.train.convolution import guard
from snn2hw.train.methods import Means, Outputs, watch
from snn2hw.train.showing import Show, shown
from snn2hw.train.students import Spiking, predictions

EVALUATION_BATCH = 500
# A neuron in a population whose share of steps with a spike is outside these says nothing.
DEAD, SATURATED = 1e-3, 0.9


class Evaluation(NamedTuple):
    """What a network does on labelled samples.

    ``spikes`` holds, for each population, the mean spikes per sample of each neuron
    ``[size]``; empty for networks without spikes. ``predictions`` is ``[N]``. ``several`` names
    the populations whose neurons may send more than one spike a step.
    """

    accuracy: float
    spikes: dict[str, NDArray[np.float64]]
    predictions: NDArray[np.int64]
    several: frozenset[str] = frozenset()

    @property
    def spikes_per_sample(self) -> float:
        """All spikes of all populations in one sample."""
        return float(sum(s.sum() for s in self.spikes.values()))

    def doubts(self, time_steps: int) -> list[str]:
        """Say which populations hardly spike, or hardly do anything else."""
        found: list[str] = []
        for name, spikes in self.spikes.items():
            rate = float(spikes.mean()) / time_steps
            if rate < DEAD:
                found.append(f"{name} is nearly silent: {rate:.2g} spikes a neuron and step")
            elif rate > SATURATED and name not in self.several:
                found.append(f"{name} is saturated: {rate:.2g} spikes a neuron and step")
        return found


def evaluate(
    network: nn.Module,
    x: NDArray[Any],
    y: NDArray[np.int64],
    batch: int = EVALUATION_BATCH,
    show: Show | None = None,
) -> Evaluation:
    """Run a network on ``x [N, ...]`` and compare with ``y [N]``; spikes counted by hooks.

    ``x`` is the whole of its part of the data set, or its first samples, if ``show`` encodes it.
    """
    device = device_of(network)
    populations = network.populations() if isinstance(network, Spiking) else {}
    totals: dict[str, Tensor] = {}
    found: list[Tensor] = []
    was_training = network.training
    network.eval()
    with torch.inference_mode(), watch(populations) as seen:
        for start in range(0, len(x), batch):
            part = tensor(x[start : start + batch], device)
            part = shown(show, part, range(start, start + len(part)))
            found.append(predictions(network(part)).cpu())
            steps = network.steps(part) if isinstance(network, Spiking) else 1
            for name, spikes in seen.items():
                stands_for = steps / len(spikes)  # rates are those of every step
                counts = stands_for * spikes.sum((0, 1)).flatten().cpu().double()
                totals[name] = totals.get(name, 0.0) + counts
    network.train(was_training)
    classes = torch.cat(found).numpy()
    means = {k: v.numpy() / len(x) for k, v in totals.items()}
    several = frozenset(k for k, m in populations.items() if getattr(m, "most", 1) > 1)
    return Evaluation(float((classes == y).mean()), means, classes, several)


def outputs_of(
    network: nn.Module, x: Tensor, scale: float = 1.0, only: Collection[str] | None = None
) -> Outputs:
    """Run a network and keep all that a loss may look at.

    Args:
        network: a ``Spiking`` student, or any module from integers to logits ``[B, classes]``; its
            ``stages()``, if it has any, name the modules whose outputs are features.
        x: integers ``[B, ...]``.
        scale: a student's output spike in every step is a logit of this size.
        only: populations of a student whose spikes and features are kept; None for all. Those
            that nobody looks at may take less time and memory.
    """
    stages = list(network.stages()) if hasattr(network, "stages") else []  # type: ignore[operator]
    if not isinstance(network, Spiking):
        with watch({name: network.get_submodule(name) for name in stages}) as seen:
            logits = network(x)
        return Outputs(logits[None].float(), Means({n: seen[n][None] for n in stages}))
    populations = network.populations()
    spiking = network.output in populations
    if only is not None:
        populations = {n: m for n, m in populations.items() if n in only}
        stages = [n for n in stages if n in only]
    with watch(populations | {OUTPUT: network.cell(network.output)}) as seen:
        network(x)
    features = Means({n: seen[n] for n in stages})
    seen = {n: s.expand(network.steps(x), *s.shape[1:]) for n, s in seen.items()}
    spikes = {name: seen[name] for name in populations}
    steps = seen[OUTPUT].float() * (scale if spiking else 1.0)
    return Outputs(steps, features, spikes)


OUTPUT = ""  # no module has this name


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's numbers are."""
    # A teacher may have no parameters of its own, only what scales its pixels.
    held = itertools.chain(network.parameters(), network.buffers())
    return next((t.device for t in held), torch.device("cpu"))


def tensor(x: NDArray[Any], device: torch.device | str) -> Tensor:
    """Move integers from NumPy to a device."""
    # torch has no arithmetic on uint16, and warns about read-only arrays.
    dtype = np.int32 if x.dtype == np.uint16 else x.dtype
    return torch.from_numpy(x.astype(dtype, copy=not x.flags.writeable)).to(device)


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, channels last: convolutions are fastest so."""
    guard(network)
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# Outputs of a teacher for a whole data set are kept if they take no more than this.
KEPT_BYTES = 1 << 30


class Teaching:
    """A teacher's outputs for training samples; computed once where the samples never change.

    Args:
        teacher: any module that ``outputs_of`` takes; put into evaluation mode.
        images: all training samples ``[N, ...]``, on the device.
        still: the samples never change.
        scale: as in ``outputs_of``.
        stages: how many of its last stages anybody looks at.
    """

    def __init__(
        self, teacher: nn.Module, images: Tensor, *, still: bool, scale: float, stages: int
    ) -> None:
        self.teacher, self.scale = placed(teacher, images.device).eval(), scale
        self.stages = stages
        self.kept: Outputs | None = None
        if still:
            self._keep(images)

    def _keep(self, images: Tensor) -> None:
        first = self._run(images[:2])
        size = sum(t.numel() for t in (first.steps, *first.features.values())) / 2 * 4
        if size * len(images) > KEPT_BYTES:
            return
        pieces = [self._run(p) for p in images.split(EVALUATION_BATCH)]
        steps = torch.cat([p.steps for p in pieces], 1)
        features = {n: torch.cat([p.features[n] for p in pieces]) for n in first.features}
        self.kept = Outputs(steps, features)

    def _run(self, x: Tensor) -> Outputs:
        # Not inference_mode: these tensors take part in a loss.
        with torch.no_grad():
            found = outputs_of(self.teacher, x, self.scale)
        wanted = list(found.features)[-self.stages :] if self.stages else []
        return Outputs(found.steps, {n: found.features[n] for n in wanted})

    def of(self, x: Tensor, rows: Tensor) -> Outputs:
        """Return outputs for the samples ``x [B, ...]``, which are ``rows [B]`` of the images."""
        if self.kept is None:
            return self._run(x)
        rows = rows.to(self.kept.steps.device)
        features: Mapping[str, Tensor] = {n: f[rows] for n, f in self.kept.features.items()}
        return Outputs(self.kept.steps[:, rows], dict(features))
