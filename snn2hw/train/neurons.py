# pyright: basic
"""Leaky integrate-and-fire neurons over all time steps as one differentiable function.

One step is ``i = alpha i + I``, ``v = beta v + i``; a spike where ``v > threshold``; then ``v = 0``
there, or ``v -= threshold``. With ``alpha = 0`` the current has no memory (LIF), with ``beta = 1``
the membrane no leak (IF), with both decays it is the current-based LIF. This is the forward-Euler
step of ``ir.nodes.Lif``, so what is trained is what is exported.

The backward pass replaces the derivative of the spike by a surrogate (Neftci et al., 2019, IEEE
Signal Processing Magazine 36(6)) and treats the reset as constant.

Neurons of other rules (``ir.neuron.NeuronRules``) spike at the threshold already, send a spike for
each threshold that the membrane holds and lose as many, up to the most of a step, or take a bias of
their own: ``v = beta v + i + bias``. Each threshold then has a surrogate, of which the two nearest
to the membrane are added: ``triangle`` and ``box`` give 1 / threshold from the first to the last
threshold, the usual slope of such neurons (docs/training.md says whose). Where they subtract, the
gradient goes through the reset too: a neuron that sent all that it held remembers little, and with
a constant reset the gradient of a loop would grow from step to step. No kernel is for them: they
run in tensor operations, those with a bias or a connection to themselves step by step through
autograd.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.module import _has_any_global_hook

from snn2hw.errors import InputError, unknown_name
from snn2hw.ir.neuron import Decays, NeuronRules
from snn2hw.ir.nodes import Reset
from snn2hw.train import cpu
from snn2hw.train.averaging import averaged
from snn2hw.train.eager import eager

USUAL = NeuronRules()

# What stands for the slope of the spike, of x = v / threshold - 1, in units of 1 / threshold; the
# order is that of the numbers in kernels.py.
SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    # Bellec et al., 2018, arXiv:1803.09574: a triangle of area 1.
    "triangle": lambda x: (1.0 - x.abs()).clamp_min(0.0),
    # Fang et al., 2021, arXiv:2007.05785, with alpha = 2: the derivative of an arctangent.
    "atan": lambda x: 1.0 / (1.0 + (math.pi * x) ** 2),
    # The derivative of the logistic function of 4 x.
    "sigmoid": lambda x: 4.0 * (-4.0 * x.abs()).exp() / (1.0 + (-4.0 * x.abs()).exp()) ** 2,
    # A rectangle of area 1.
    "box": lambda x: (x.abs() < 0.5).to(x.dtype),
    # Zenke and Ganguli, 2018, arXiv:1705.11146, with beta = 10.
    "fast-sigmoid": lambda x: 1.0 / (1.0 + 10.0 * x.abs()) ** 2,
}


class Constants(NamedTuple):
    """What a function of neurons takes beside its tensors."""

    threshold: float
    reset: str
    surrogate: str
    steps: int
    fires: str = "above"
    most: int = 1

    @property
    def plain(self) -> bool:
        """One spike a step at most, above the threshold: what the kernels are for."""
        return self.most == 1 and self.fires == "above"

    @property
    def subtracts(self) -> bool:
        """Reset by subtraction."""
        return self.reset == "subtract"

    @property
    def through(self) -> bool:
        """Gradients go through the reset."""
        return self.subtracts and not self.plain

    @property
    def kind(self) -> int:
        """The surrogate's number."""
        return list(SURROGATES).index(self.surrogate)

    def slope(self, v: Tensor) -> Tensor:
        """Return what stands for the derivative of the spike at membrane ``v``."""
        one = SURROGATES[self.surrogate]
        if self.most == 1:
            return one(v / self.threshold - 1.0) / self.threshold
        held = v / self.threshold
        below = held.floor().clamp(1, self.most)
        found = one(held - below) + one(held - below - 1.0) * (below < self.most)
        return found / self.threshold

    def sent(self, v: Tensor) -> Tensor:
        """Return how many spikes neurons send at membrane ``v``, in its precision."""
        if self.most == 1:
            fires = v >= self.threshold if self.fires == "at" else v > self.threshold
            return fires.to(v.dtype)
        held = v / self.threshold
        whole = held.floor() if self.fires == "at" else held.ceil() - 1.0
        return whole.clamp(0, self.most)

    def after(self, v: Tensor) -> Tensor:
        """Return the membrane after reset."""
        if self.plain:
            rest = v - self.threshold if self.subtracts else torch.zeros_like(v)
            return torch.where(v > self.threshold, rest, v)
        sent = self.sent(v)
        return v - sent * self.threshold if self.subtracts else v * (sent == 0)


class _LifFunction(torch.autograd.Function):
    """All time steps at once; one array is kept for the backward pass, as the way wants it."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, alpha: Tensor, beta: Tensor, c: Constants, side: int
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:3])
        run = _way(current, plain=c.plain).forward
        ctx.squares = (side,) if side > 1 else ()  # only a processor's kernels take them
        spikes, kept = run(current, float(alpha), float(beta), c, wanted, *ctx.squares)
        ctx.save_for_backward(kept, alpha, beta)
        ctx.constants, ctx.still = c, len(current) < c.steps
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, alpha, beta = ctx.saved_tensors
        learns = any(ctx.needs_input_grad[1:3])
        found, *by = _way(kept, plain=ctx.constants.plain).backward(
            kept, grads[0], float(alpha), float(beta), ctx.constants, ctx.still, learns,
            *ctx.squares,
        )  # fmt: skip
        # The decays are one number each for the whole population.
        of_alpha, of_beta = (
            torch.as_tensor(b, dtype=alpha.dtype, device=alpha.device) if learns else None
            for b in by
        )
        return found, of_alpha, of_beta, None, None


def _state(dtype: torch.dtype) -> torch.dtype:
    """Return the precision of states: 16 bits are too few to add up a membrane in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _at_rest(current: Tensor) -> Tensor:
    """Return the state ``[B, ...]`` in which neurons with this current ``[T, B, ...]`` start."""
    return torch.zeros_like(current[0], dtype=_state(current.dtype))


def _rates_torch(current: Tensor, alpha: float, beta: float, c: Constants) -> Tensor:
    return _forward_torch(current, alpha, beta, c, False)[0].mean(0, keepdim=True)


def _forward_torch(
    current: Tensor, alpha: float, beta: float, c: Constants, keep: bool
) -> tuple[Tensor, Tensor]:
    """Do the same in tensor operations, for devices and numbers that no kernel is for."""
    wide = current.to(_state(current.dtype))
    before = wide.new_empty((c.steps, *wide.shape[1:]))
    i, v = torch.zeros_like(wide[0]), torch.zeros_like(wide[0])
    for t in range(c.steps):
        i = torch.add(wide[min(t, len(wide) - 1)], i, alpha=alpha)
        v = c.after(torch.add(i, v, alpha=beta, out=before[t]))
    spikes = c.sent(before).to(current.dtype)
    return spikes, before if keep else before[:0]


def _backward_torch(
    before: Tensor,
    grad: Tensor,
    alpha: float,
    beta: float,
    c: Constants,
    still: bool,
    learns: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    slope = c.slope(before)
    found = slope * grad
    of_i, of_v = torch.zeros_like(before[0]), torch.zeros_like(before[0])
    by_alpha, by_beta = before.new_zeros(()), before.new_zeros(())
    for t in range(c.steps - 1, -1, -1):
        kept = of_v if c.subtracts else of_v.masked_fill(c.sent(before[t]) > 0, 0.0)
        if c.through:
            kept = kept * (1.0 - c.threshold * slope[t])
        of_v = found[t].add_(kept)
        of_i = of_v + of_i
        if t > 0 and learns:
            past = c.after(before[t - 1])
            flow = before[t - 1] - beta * c.after(before[t - 2]) if t > 1 else before[t - 1]
            by_alpha, by_beta = by_alpha + (of_i * flow).sum(), by_beta + (of_v * past).sum()
        found[t], of_i, of_v = of_i, alpha * of_i, beta * of_v
    whole = found.sum(0, keepdim=True) if still else found
    return whole.to(grad.dtype), by_alpha, by_beta


class _Way(NamedTuple):
    """Functions that run neurons: spikes and membranes, gradients, and mean rates."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Any, Any]]
    rates: Callable[..., Tensor]


_COMPILED = _Way(cpu.forward, cpu.backward, cpu.rates)
_IN_TENSORS = _Way(_forward_torch, _backward_torch, _rates_torch)


def _way(like: Tensor, *, plain: bool = True) -> _Way:
    """Return the functions for a tensor's device and numbers, and for the rules of neurons."""
    if not plain:
        return _IN_TENSORS
    if like.device.type == "cpu":
        return _COMPILED
    if like.device.type == "cuda" and like.dtype != torch.float64:
        return _on_gpu()
    return _IN_TENSORS


@functools.cache
def _on_gpu() -> _Way:
    try:
        from snn2hw.train import gpu
    except ImportError:  # some builds of PyTorch come without Triton
        return _IN_TENSORS
    return _Way(gpu.forward, gpu.backward, gpu.rates)


def lif(
    current: Tensor,
    beta: float | Tensor,
    threshold: float = 1.0,
    reset: Reset = "zero",
    *,
    alpha: float | Tensor = 0.0,
    surrogate: str = "triangle",
    steps: int | None = None,
    fires: str = "above",
    most: int = 1,
    side: int = 1,
) -> Tensor:
    """Run neurons from rest over all time steps.

    Args:
        current: input current ``[T, B, ...]``; ``[1, B, ...]`` with ``steps`` for one that is the
            same at each step.
        beta: share of the membrane potential that survives a step; a tensor to learn it.
        threshold: a neuron spikes when its potential exceeds this.
        reset: what follows a spike: potential to zero, or less the threshold for each spike.
        alpha: share of the current that survives a step.
        surrogate: a name in ``SURROGATES``.
        steps: T, where the current does not say.
        fires: ``above`` the threshold, or already ``at`` it.
        most: spikes of a step at most, one for each threshold that the potential holds.
        side: 1, or of the squares that the spikes of ``[T, B, C, H, W]`` are averaged over.

    Returns:
        Spikes, 0 to ``most``, ``[T, B, ...]`` in the precision of the current, or their averages.

    Raises:
        InputError: the current is neither of one step nor of ``steps``.
    """
    steps = _steps(current, steps)
    constants = Constants(threshold, reset, surrogate, steps, fires, most)
    decays = [torch.as_tensor(d, dtype=torch.float64) for d in (alpha, beta)]
    if side == 1 or _averages(current, constants, side):
        return _lined(_LifFunction, current, *decays, constants, side)
    spikes = _lined(_LifFunction, current, *decays, constants, 1)
    return averaged(spikes.flatten(0, 1), side).unflatten(0, spikes.shape[:2])


def _steps(current: Tensor, steps: int | None) -> int:
    """Return how many steps neurons run for with a current ``[T, B, ...]`` or ``[1, B, ...]``."""
    given = len(current)
    wanted = given if steps is None else steps
    if wanted < 1 or given not in (1, wanted):
        raise InputError(
            f"Neurons are to run for {wanted} time steps; their current has {given}.",
            "Give the current of each step, or one that is the same at every step.",
        )
    return wanted


def _averages(current: Tensor, constants: Constants, side: int) -> bool:
    """Say whether the kernels average the spikes: then these are never written to memory."""
    return (
        _way(current, plain=constants.plain).forward is cpu.forward
        and current.dtype != torch.float16
        and current.ndim == 5
        and all(n % side == 0 for n in current.shape[3:])
        and current.movedim(2, -1).is_contiguous()
    )


@eager
def _lined(function: Any, current: Tensor, *others: Any) -> Tensor:
    """Apply a function of ``[T, ...]`` in memory's order: nothing has to be copied so."""
    given = current.float() if current.dtype == torch.float16 else current  # no kernel is for it
    # Convolutions are fastest with channels last.
    order = given.movedim(2, -1) if given.ndim > 3 else given
    lined = order.is_contiguous()
    found = function.apply(order if lined else given, *others)
    found = found.movedim(-1, 2) if lined and given.ndim > 3 else found
    return found.to(current.dtype)


class _RateFunction(torch.autograd.Function):
    """The rate under the mean current, ``[1, B, ...]``, with the slope of its clamp."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, alpha: float, beta: float, c: Constants) -> Tensor:
        mean = current.mean(0, keepdim=True) if len(current) > 1 else current
        found = _way(mean, plain=c.plain).rates(mean, alpha, beta, c)
        ctx.save_for_backward((mean >= 0) & (mean <= c.threshold))
        ctx.share, ctx.shape = 1.0 / (c.threshold * len(current)), current.shape
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (linear,) = ctx.saved_tensors
        inside = grads[0].masked_fill(linear.logical_not(), 0.0)
        share = inside if ctx.share == 1.0 else inside * ctx.share
        return share.expand(ctx.shape), None, None, None


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, constants: Constants) -> Tensor:
        ctx.save_for_backward(v)
        ctx.constants = constants
        return constants.sent(v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * ctx.constants.slope(v), None


def lif_definition(
    current: Tensor,
    beta: float | Tensor,
    threshold: float = 1.0,
    reset: Reset = "zero",
    *,
    alpha: float | Tensor = 0.0,
    surrogate: str = "triangle",
    fires: str = "above",
    most: int = 1,
) -> Tensor:
    """Compute what ``lif`` does, step by step through autograd: slow, and easy to believe."""
    constants = Constants(threshold, reset, surrogate, len(current), fires, most)
    i = v = _at_rest(current)
    spikes = []
    for step in current:
        i, v, s = _step(i, v, step, alpha, beta, constants)
        spikes.append(s.to(current.dtype))
    return torch.stack(spikes)


def _step(
    i: Tensor,
    v: Tensor,
    current: Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    constants: Constants,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return current, membrane and spikes after one step, through autograd."""
    i = alpha * i + current
    v = beta * v + i
    if bias is not None:
        v = v + bias
    s: Tensor = _Spike.apply(v, constants)  # type: ignore[assignment]
    sent = s if constants.through else s.detach()
    v = v - constants.threshold * sent if constants.subtracts else v * (sent == 0)
    return i, v, s


class Lif(nn.Module):
    """A population of neurons.

    While ``analog`` is set it does not spike: it gives ``[1, B, ...]``, for every step the rate
    that it has over as many steps under its mean current; gradients are those of
    ``clamp(current / threshold, 0, 1)``.

    Args:
        beta: share of the membrane potential that survives a step, one of ``rules.membrane``, so
            that the chip holds it exactly; 1 for integrate-and-fire.
        threshold: firing threshold, positive.
        reset: ``zero`` or ``subtract``.
        alpha: share of the input current that survives a step, likewise; 0 for none.
        surrogate: a name in ``SURROGATES``.
        learn: train the decays that are neither 0 nor 1 (Fang et al., 2021, arXiv:2007.05785,
            learn one for each layer, as here); the nearest that the chip has is used.
        rules: of the chip's neurons.
        last: an output population.
        channels: how many biases it has, where the rules say that they act on the membrane: one
            for each channel of ``[T, B, channels, ...]``; 0 for none.

    Raises:
        InputError: a value is out of range, or the chip does not have it.
    """

    def __init__(
        self,
        beta: float = 0.5,
        threshold: float = 1.0,
        reset: Reset = "zero",
        *,
        alpha: float = 0.0,
        surrogate: str = "triangle",
        learn: bool = False,
        rules: NeuronRules = USUAL,
        last: bool = False,
        channels: int = 0,
    ) -> None:
        super().__init__()
        for name, decay, known in (("alpha", alpha, rules.current), ("beta", beta, rules.membrane)):
            _check_decay(name, decay, known)
        if not threshold > 0:
            raise InputError(f"The threshold is {threshold}, not positive.")
        if reset not in ("zero", "subtract"):
            raise InputError(f"reset is {reset!r}, neither 'zero' nor 'subtract'.")
        if surrogate not in SURROGATES:
            raise unknown_name("surrogate", surrogate, SURROGATES)
        self.threshold, self.reset, self.surrogate = threshold, reset, surrogate
        self.fires, self.most = rules.fires, rules.most_out if last else rules.most
        self.rules = rules
        self.analog = False
        own = rules.bias == "membrane" and channels > 0
        self.bias: nn.Parameter | None
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if own else None)
        self._fixed = {"alpha": alpha, "beta": beta}
        for name, decay in self._fixed.items():
            learned = learn and 0.0 < decay < 1.0
            first = torch.tensor(decay, dtype=torch.float64).logit().float() if learned else None
            self.register_parameter(f"{name}_logit", None if first is None else nn.Parameter(first))

    @property
    def alpha(self) -> float:
        """Share of the input current that survives a step."""
        return float(torch.as_tensor(self._decay("alpha")).detach())

    @property
    def beta(self) -> float:
        """Share of the membrane potential that survives a step."""
        return float(torch.as_tensor(self._decay("beta")).detach())

    def _decay(self, name: str) -> float | Tensor:
        logit = getattr(self, f"{name}_logit")
        if logit is None:
            return self._fixed[name]
        known = self.rules.current if name == "alpha" else self.rules.membrane
        smooth = logit.sigmoid()
        held = smooth.new_tensor(known.inner(float(smooth.detach())))
        return held + (smooth - smooth.detach())

    def forward(
        self,
        current: Tensor,
        steps: int | None = None,
        *,
        back: Callable[[Tensor], Tensor] | None = None,
        side: int = 1,
    ) -> Tensor:
        """Map current ``[T, B, ...]`` to spikes ``[T, B, ...]``.

        Args:
            current: with ``steps``, ``[1, B, ...]`` is the current of every step.
            steps: T, where the current does not say.
            back: what the spikes of a step ``[B, ...]`` add to the current of the next one, for a
                population that is connected to itself.
            side: 1, or of the squares that the spikes of ``[T, B, C, H, W]`` are averaged over;
                only spikes that hang on nothing but the current.

        Raises:
            InputError: the current is neither of one step nor of ``steps``.
        """
        steps = _steps(current, steps)
        c = self._constants(steps)
        if back is not None or self.bias is not None:
            return self._stepped(current, c, back)
        if self.analog:
            return _lined(_RateFunction, current, self.alpha, self.beta, c)
        return self._fused(current, steps, side)

    def _constants(self, steps: int) -> Constants:
        return Constants(self.threshold, self.reset, self.surrogate, steps, self.fires, self.most)

    def _fused(self, current: Tensor, steps: int, side: int) -> Tensor:
        return lif(
            current,
            self._decay("beta"),
            self.threshold,
            self.reset,  # type: ignore[arg-type]
            alpha=self._decay("alpha"),
            surrogate=self.surrogate,
            steps=steps,
            fires=self.fires,
            most=self.most,
            side=side,
        )

    @property
    def averages(self) -> bool:
        """Whether ``forward`` takes a ``side``, and nobody listens to the spikes themselves."""
        return self.bias is None and not self.analog and not watched(self)

    def _stepped(
        self, current: Tensor, c: Constants, back: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        alpha, beta = self._decay("alpha"), self._decay("beta")
        bias = None if self.bias is None else self.bias.reshape(-1, *[1] * (current.ndim - 3))
        i = v = _at_rest(current)
        spikes: list[Tensor] = []
        for t in range(c.steps):
            given = current[min(t, len(current) - 1)].to(v.dtype)
            if back is not None and spikes:
                given = given + back(spikes[-1])
            i, v, sent = _step(i, v, given, alpha, beta, c, bias)
            spikes.append(sent.to(current.dtype))
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        """Show the constants in ``print(module)``."""
        decays = f"beta={self.beta:g}" + (f", alpha={self.alpha:g}" if self.alpha else "")
        most = "" if self.most == 1 else f", up to {self.most} spikes a step"
        return f"{decays}, threshold={self.threshold:g}, reset={self.reset!r}{most}"


def watched(module: nn.Module) -> bool:
    """Say whether hooks, of a module or of all modules, see what goes in or comes out."""
    own = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks,
           module._backward_hooks)  # fmt: skip
    return any(own) or bool(_has_any_global_hook())


def _check_decay(name: str, decay: float, known: Decays) -> None:
    near = known.nearest(decay)
    if decay != near:
        raise InputError(f"{name} is {decay}, not {known}.", f"The nearest is {near!r}.")
