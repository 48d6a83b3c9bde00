# pyright: basic
"""What a student learns from, as small functions of what it and its teacher gave.

Notation: ``z_S``, ``z_T`` logits of student and teacher ``[B, classes]``, ``z(t)`` those of one
step; ``p(z; tau)`` the softmax of ``z / tau``. Each function returns its part of the loss, weighted
by its constant in ``Weights``, as a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from snn2hw.train.catalogue.methods import Weights
from snn2hw.train.methods.outputs import Outputs

Heads = Mapping[str, nn.Module]
Loss = Callable[[Outputs, Outputs, Tensor, Weights, Heads], Tensor]


def labels(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy with the labels, of which ``smoothing`` is spread over all classes."""
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def divergence(logits: Tensor, teacher: Tensor, tau_student: float, tau_teacher: float) -> Tensor:
    """``tau_T tau_S KL(p(z_T; tau_T) || p(z_S; tau_S))``, mean over the batch.

    The factor keeps the gradient's size independent of the temperatures (Hinton et al.,
    arXiv:1503.02531, sec. 2, for equal ones).
    """
    return tau_teacher * tau_student * _apart(logits / tau_student, teacher / tau_teacher).mean()


def _apart(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return ``KL(p(theirs) || p(mine))`` of each sample."""
    target = functional.log_softmax(theirs, -1)
    found = functional.log_softmax(mine, -1)
    return functional.kl_div(found, target, reduction="none", log_target=True).sum(-1)


def response(s: Outputs, t: Outputs, _y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """The teacher's response at one temperature, ``tau_teacher`` (KDSNN; Hinton et al., 2015)."""
    return w.alpha * divergence(s.logits, t.logits, w.tau_teacher, w.tau_teacher)


def heterogeneous(s: Outputs, t: Outputs, _y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """The teacher's response at a temperature for each side.

    The minimum is at ``z_S = (tau_S / tau_T) z_T + const``: with ``tau_S < tau_T`` the student
    needs a narrower range of logits, and where its logits are spike counts, fewer spikes.
    """
    return w.alpha * divergence(s.logits, t.logits, w.tau_student, w.tau_teacher)


def weighted_response(s: Outputs, t: Outputs, y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """The teacher's response, more of it where the student is worse than the teacher.

    Each sample weighs ``1 - exp(-CE_S / CE_T)`` (weighted soft labels, Zhou et al., 2021,
    arXiv:2102.00650, as BKDSNN uses them).
    """
    with torch.no_grad():
        mine = functional.cross_entropy(s.logits, y, reduction="none")
        theirs = functional.cross_entropy(t.logits, y, reduction="none")
        weight = 1.0 - torch.exp(-mine / theirs.clamp_min(1e-7))
    tau = w.tau_teacher
    return w.alpha * tau * tau * (weight * _apart(s.logits / tau, t.logits / tau)).mean()


def features(s: Outputs, t: Outputs, _y: Tensor, w: Weights, heads: Heads) -> Tensor:
    """The teacher's activations at the last ``stages`` stages, from the student's mean spikes.

    ``||R(F_S) - F_T||^2 / ||F_T||^2``, mean over stages: KDSNN's distance, relative, so that its
    weight means the same for every network. R is a 1x1 convolution and goes with the training.
    """
    parts = [_relative(heads[f"align{at}"](mine), _fitted(theirs, mine))
             for at, (mine, theirs) in enumerate(pairs(s, t, w.stages))]  # fmt: skip
    return w.feature_weight * torch.stack(parts).mean()


def blurred(s: Outputs, t: Outputs, _y: Tensor, w: Weights, heads: Heads) -> Tensor:
    """As ``features``, from a student some of whose channels are hidden (BKDSNN).

    Each channel of a sample is zeroed with probability ``blur``, and a small network restores the
    teacher's activations from the rest.
    """
    parts: list[Tensor] = []
    for at, (mine, theirs) in enumerate(pairs(s, t, w.stages)):
        kept = torch.rand(mine.shape[:2], device=mine.device) >= w.blur
        shown = mine * kept.reshape(*kept.shape, *(1 for _ in mine.shape[2:]))
        parts.append(_relative(heads[f"restore{at}"](shown), _fitted(theirs, mine)))
    return w.feature_weight * torch.stack(parts).mean()


def pairs(s: Outputs, t: Outputs, stages: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the features of the last stages of both, last first."""
    ends = (list(outputs.features)[: -stages - 1 : -1] for outputs in (s, t))
    for mine, theirs in zip(*ends, strict=False):
        yield s.features[mine], t.features[theirs]


def _fitted(theirs: Tensor, mine: Tensor) -> Tensor:
    """Average the teacher's features down (or repeat them up) to the student's height and width."""
    if theirs.ndim == 4 and mine.ndim == 4 and theirs.shape[2:] != mine.shape[2:]:
        return functional.adaptive_avg_pool2d(theirs, list(mine.shape[2:]))  # type: ignore[arg-type]
    if theirs.ndim == 4 and mine.ndim == 2:
        return theirs.mean((2, 3))
    return theirs


def _relative(mine: Tensor, theirs: Tensor) -> Tensor:
    return (mine - theirs).square().sum() / theirs.square().sum().clamp_min(1e-12)


def each_step(s: Outputs, t: Outputs, _y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """The teacher's response at every time step (TWD; the labels are learned so too)."""
    theirs = t.logits.expand_as(s.steps)
    return w.step_weight * _softened(s.steps, theirs, w.tau_steps)


def ensemble(s: Outputs, _t: Outputs, y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """Every step learns from the mean of the student's own steps that are right (TWD).

    Where no step is right, the target is uniform, as in the authors' code.
    """
    with torch.no_grad():
        right = (s.steps.argmax(-1) == y).to(s.steps.dtype)[..., None]
        whole = (s.steps * right).sum(0) / right.sum(0).clamp_min(1.0)
    return w.ensemble_weight * _softened(s.steps, whole.expand_as(s.steps), w.tau_steps)


def agreeing_steps(s: Outputs, _t: Outputs, _y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """The least confident step learns from the most confident one (Strong2Weak), no teacher.

    Confidence is the largest probability, mean over the batch.
    """
    if len(s.steps) < 2:
        return s.steps.new_zeros(())
    sure = s.steps.detach().softmax(-1).amax(-1).mean(1)
    best, worst = s.steps[sure.argmax()].detach(), s.steps[sure.argmin()]
    return w.agree_weight * _softened(worst, best, w.tau_teacher)


def _softened(mine: Tensor, theirs: Tensor, tau: float) -> Tensor:
    return tau * tau * _apart(mine / tau, theirs / tau).mean()


def small_logits(s: Outputs, _t: Outputs, _y: Tensor, w: Weights, _h: Heads) -> Tensor:
    """The mean square of the student's logits (logits regularization, arXiv:2406.18350)."""
    return w.logit_weight * s.logits.square().mean()


def spike_trains(s: Outputs, t: Outputs, _y: Tensor, w: Weights, heads: Heads) -> Tensor:
    """The output spikes of a spiking teacher in time, and its stages' mean spikes.

    The distance of two spike trains is that of their traces ``f(t) = memory f(t - 1) + s(t)``
    (van Rossum, 2001), squared, relative to the teacher's. Teachers of other numbers of steps are
    fitted by averaging or repeating.
    """
    theirs = t.steps
    if len(theirs) != len(s.steps):
        moved = functional.adaptive_avg_pool1d(theirs.permute(1, 2, 0), len(s.steps))
        theirs = moved.permute(2, 0, 1)
    apart = _relative(_traces(s.steps, w.spike_memory), _traces(theirs, w.spike_memory))
    inside = features(s, t, _y, w._replace(feature_weight=1.0), heads)
    return w.train_weight * (apart + inside)


def _traces(spikes: Tensor, memory: float) -> Tensor:
    steps = len(spikes)
    late = torch.arange(steps, device=spikes.device)
    ages = (late[:, None] - late[None, :]).to(spikes.dtype)
    kernel = torch.where(ages >= 0, memory ** ages.clamp_min(0), 0.0)
    return torch.einsum("ts,s...->t...", kernel, spikes)
