# pyright: basic
"""The methods by name. Several are composed with a plus: ``hetero+features+logits``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from snn2hw.errors import InputError, unknown_name

if TYPE_CHECKING:
    from snn2hw.train.methods.losses import Loss

Start = Literal["", "copy"]
Gradient = Literal["time", "rate"]
Teacher = Literal["", "any", "same", "spiking"]


class Weights(NamedTuple):
    """The constants of all losses; ``Recipe`` says what each is."""

    alpha: float = 0.7
    tau_teacher: float = 2.0
    tau_student: float = 1.0
    smoothing: float = 0.0
    feature_weight: float = 0.5
    stages: int = 1
    blur: float = 0.15
    step_weight: float = 0.2
    ensemble_weight: float = 0.5
    tau_steps: float = 3.0
    agree_weight: float = 1.0
    logit_weight: float = 0.01
    train_weight: float = 1.0
    spike_memory: float = 0.5


class Method(NamedTuple):
    """One row of ``METHODS``: what it adds to a training.

    Args:
        description: in a few words.
        paper: where it is from.
        losses: what is added to the labels' loss, functions of ``train.methods.losses``.
        teacher: what kind it needs: none, any, one of the student's architecture, a spiking one.
        shares: it takes the share ``alpha`` from the labels.
        heads: kinds of small networks that its losses train.
        each_step: labels are learned at every time step.
        start: how the student's weights start.
        gradient: through all time steps, or through mean rates.
        stagewise: layers become spiking one after another.
        evolves: connections are sparse from the start, and move.
        constants: fields of ``Recipe`` that it sets, unless the user does.
    """

    description: str
    paper: str
    losses: tuple[str, ...] = ()
    teacher: Teacher = ""
    shares: bool = False
    heads: tuple[str, ...] = ()
    each_step: bool = False
    start: Start = ""
    gradient: Gradient = "time"
    stagewise: bool = False
    evolves: bool = False
    constants: Mapping[str, float] = {}


METHODS: dict[str, Method] = {
    "none": Method("labels only, no teacher (smoothing spreads them)", ""),
    "kd": Method(
        "the teacher's softened response, one temperature",
        "KDSNN (Xu et al., CVPR 2023, arXiv:2304.05627)",
        ("response",),
        "any",
        shares=True,
    ),
    "hetero": Method(
        "the teacher's softened response, a lower temperature for the student saves spikes",
        "heterogeneous temperatures (Lee et al., arXiv:2106.07172; read from its abstract)",
        ("heterogeneous",),
        "any",
        shares=True,
    ),
    "features": Method(
        "the teacher's activations at the last stages, from mean spikes",
        "KDSNN (Xu et al., CVPR 2023, arXiv:2304.05627)",
        ("features",),
        "any",
        heads=("align",),
    ),
    "sakd": Method(
        "weights of the same network as ANN, thresholds calibrated, then response and features",
        "SAKD (Qiu et al., Neural Networks 178, 2024; read from its abstract)",
        ("response", "features"),
        "same",
        shares=True,
        heads=("align",),
        start="copy",
    ),
    "reverse": Method(
        "few connections from the start that move, and a weak teacher's response",
        "reverse distillation (Xu et al., arXiv:2304.09500; read from its abstract)",
        ("response",),
        "any",
        shares=True,
        evolves=True,
        constants={"alpha": 0.2, "tau_teacher": 8.0},
    ),
    "blurred": Method(
        "the teacher's last features, restored from a student with hidden channels",
        "BKDSNN (Xu et al., ECCV 2024, arXiv:2407.09083)",
        ("weighted_response", "blurred"),
        "any",
        heads=("restore",),
    ),
    "steps": Method(
        "labels, teacher and the ensemble of the student's right steps, at every step",
        "TWD (Yu et al., ICML 2025, arXiv:2501.15925)",
        ("each_step", "ensemble"),
        "any",
        each_step=True,
    ),
    "agree": Method(
        "the least confident time step learns from the most confident one, no teacher",
        "Strong2Weak (NeurIPS 2025, arXiv:2510.07924)",
        ("agreeing_steps",),
    ),
    "logits": Method(
        "small logits, so fewer spikes, no teacher",
        "logits regularization (Louis et al., ICANN 2024, arXiv:2406.18350)",
        ("small_logits",),
    ),
    "trains": Method(
        "a spiking teacher's spike trains, in time, and its stages' rates",
        "Distilling Spikes (Kushawaha et al., arXiv:2005.00288; read from its abstract)",
        ("response", "spike_trains"),
        "spiking",
        shares=True,
        heads=("align",),
    ),
    "tandem": Method(
        "layers give smooth rates at first and begin to spike one after another",
        "progressive tandem learning (Wu et al., arXiv:2007.01204; read from its abstract)",
        stagewise=True,
    ),
    "dsr": Method(
        "gradients through mean rates: training does not unroll time",
        "DSR (Meng et al., CVPR 2022, arXiv:2205.00459)",
        gradient="rate",
    ),
}


class Plan(NamedTuple):
    """Several methods as one."""

    names: tuple[str, ...]
    methods: tuple[Method, ...]

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Their losses, each once."""
        from snn2hw.train.methods import losses

        names = dict.fromkeys(name for m in self.methods for name in m.losses)
        return tuple(getattr(losses, name) for name in names)

    @property
    def heads(self) -> tuple[str, ...]:
        """Kinds of heads that their losses train."""
        return tuple(dict.fromkeys(kind for m in self.methods for kind in m.heads))

    @property
    def gradient(self) -> Gradient:
        """What gradients go through: rates if one of them says so."""
        return "rate" if any(m.gradient == "rate" for m in self.methods) else "time"

    @property
    def needs_teacher(self) -> bool:
        """One of them needs a teacher."""
        return any(m.teacher for m in self.methods)

    def has(self, what: str) -> bool:
        """Say whether one of them has a field that is set."""
        return any(getattr(m, what) for m in self.methods)

    @property
    def constants(self) -> dict[str, float]:
        """Fields of ``Recipe`` that they set."""
        return {k: v for m in self.methods for k, v in m.constants.items()}


def plan(text: str) -> Plan:
    """Return the methods that a text names: one, or several with ``+`` between.

    Raises:
        InputError: there is no such method, one is named twice, or two do not go together.
    """
    names = tuple(n.strip() for n in text.split("+"))
    for name in names:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    methods = tuple(METHODS[n] for n in names)
    problems: list[str] = []
    if len(set(names)) < len(names):
        problems.append("a method is named twice")
    if "none" in names and len(names) > 1:
        problems.append("'none' goes with no other")
    shares = [n for n, m in zip(names, methods, strict=True) if m.shares]
    if len(shares) > 1:
        problems.append(f"{', '.join(shares)} each take a share of the labels: choose one")
    slow = [
        n for n, m in zip(names, methods, strict=True) if m.each_step or n in ("agree", "trains")
    ]
    if any(m.gradient == "rate" for m in methods) and slow:
        problems.append(f"dsr has no time steps for {', '.join(slow)}")
    if problems:
        raise InputError(f"Method {text!r} cannot be used: {'; '.join(problems)}.")
    return Plan(names, methods)
