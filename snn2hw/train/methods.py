# pyright: basic
"""What a student learns from: labels, and a teacher's logits.

Notation: ``z_S``, ``z_T`` logits of student and teacher ``[B, classes]``; ``p(z; tau)`` the
softmax of ``z / tau``; ``a`` the weight of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snn2hw.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator


class Weights(NamedTuple):
    """The constants of a distillation loss.

    ``alpha`` is the teacher's share; ``tau_teacher`` and ``tau_student`` are temperatures.
    """

    alpha: float = 0.7
    tau_teacher: float = 2.0
    tau_student: float = 1.0


Loss = Callable[[Tensor, Tensor, Tensor | None, Weights], Tensor]


def labels_only(logits: Tensor, targets: Tensor, _teacher: Tensor | None, _w: Weights) -> Tensor:
    """Cross entropy with the labels."""
    return functional.cross_entropy(logits, targets)


def divergence(logits: Tensor, teacher: Tensor, tau_student: float, tau_teacher: float) -> Tensor:
    """``tau_T tau_S KL(p(z_T; tau_T) || p(z_S; tau_S))``, mean over the batch.

    The factor keeps the gradient's size independent of the temperatures (Hinton et al.,
    arXiv:1503.02531, sec. 2, for equal ones).
    """
    target = functional.log_softmax(teacher / tau_teacher, -1)
    mine = functional.log_softmax(logits / tau_student, -1)
    apart = functional.kl_div(mine, target, reduction="batchmean", log_target=True)
    return tau_teacher * tau_student * apart


def response(logits: Tensor, targets: Tensor, teacher: Tensor | None, w: Weights) -> Tensor:
    """Cross entropy and the teacher's response at one temperature, ``tau_teacher`` (KDSNN)."""
    return heterogeneous(logits, targets, teacher, w._replace(tau_student=w.tau_teacher))


def heterogeneous(logits: Tensor, targets: Tensor, teacher: Tensor | None, w: Weights) -> Tensor:
    """Cross entropy and the teacher's response at a temperature for each side.

    The minimum is at ``z_S = (tau_S / tau_T) z_T + const``: with ``tau_S < tau_T`` the student
    needs a narrower range of logits, and as its logits are spike counts, fewer spikes.
    """
    if teacher is None:
        raise ValueError("distillation needs the teacher's logits")
    hard = functional.cross_entropy(logits, targets)
    soft = divergence(logits, teacher, w.tau_student, w.tau_teacher)
    return (1.0 - w.alpha) * hard + w.alpha * soft


class Method(NamedTuple):
    """One row of ``METHODS``."""

    loss: Loss
    needs_teacher: bool
    description: str
    paper: str


METHODS: dict[str, Method] = {
    "none": Method(labels_only, False, "labels only, no teacher", ""),
    "kd": Method(
        response,
        True,
        "the teacher's softened response, one temperature",
        "KDSNN (Xu et al., CVPR 2023, arXiv:2304.05627)",
    ),
    "hetero": Method(
        heterogeneous,
        True,
        "the teacher's softened response, a lower temperature for the student saves spikes",
        "heterogeneous temperatures (Lee et al., arXiv:2106.07172; read from its abstract)",
    ),
}


def find_method(name: str) -> Method:
    """Return a row of ``METHODS``.

    Raises:
        InputError: there is no such method.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


@contextmanager
def watch_spikes(populations: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect each population's spikes ``[T, B, ...]`` of the latest forward pass."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _args: Any, spikes: Tensor) -> None:
            seen[name] = spikes

        return keep

    handles = [m.register_forward_hook(hook(n)) for n, m in populations.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def synop_share(spikes: Mapping[str, Tensor], fan_out: Mapping[str, float]) -> Tensor:
    """Synaptic operations as a share of those with every neuron spiking at every step.

    Spikes weigh by their fan-out, because a spike costs a chip one operation per synapse.
    Populations that reach nothing (the output) do not count.

    Args:
        spikes: ``[T, B, ...]`` by population.
        fan_out: synapses behind one neuron, by population.
    """
    done, possible = torch.zeros(()), 0.0
    for name, s in spikes.items():
        done = done.to(s.device) + s.mean() * (fan_out[name] * s[0, 0].numel())
        possible += fan_out[name] * s[0, 0].numel()
    return done / max(possible, 1.0)
