"""The neurons of the fast simulator: a whole population over many steps at once.

The same integers as the functions of ``definition.py``, written apart from them: that both agree is
tested. The arithmetic is in 32 bits, where the compiler makes vector instructions of it: sums wrap
there as the definition's do, and a decay, toward zero, is what a product in float64 (exact below
2**53) becomes when it is made an integer.
"""

# pyright: basic
from __future__ import annotations

from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled
from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.populations import (
    Delta,
    Graded,
    Lif,
    Population,
    Resonator,
    Sigma,
    SigmaDelta,
)
from snn2hw.simulate.batches import Workspace
from snn2hw.simulate.events import Sent

Ints = NDArray[np.int32]


class Kept(NamedTuple):
    """What is kept of a population, ``[N, T, size]`` in the inner order.

    Args:
        spikes: what it sends.
        u: its first state, or nothing, ``[N, 0, size]``.
        v: its second, likewise.
    """

    spikes: Sent
    u: Ints
    v: Ints


class Cells:
    """One population while it is simulated: what arrives, states now, and what is kept of them."""

    def __init__(
        self,
        p: Population,
        bias: Ints,
        kept: Kept,
        written: Ints | None,
        wide: bool,
        space: Workspace,
    ) -> None:
        """Start from fresh state.

        Args:
            p: the population.
            bias: of its neurons in the inner order, 0 where they have none.
            kept: where to keep what it does.
            written: by the host, ``[N, T, size]`` in the inner order, if it is.
            wide: whether sums of what arrives need 64 bits.
            space: where states are.
        """
        self.p, self.bias, self.kept = p, bias, kept
        samples, _, size = shape = kept.spikes.shape
        parts = ("real", "imag") if isinstance(p, Resonator) else ("real",)
        self.arrived = {
            part: space.take(f"{p.name} {part}", shape, np.int64 if wide else np.int32)
            for part in parts
        }
        self.written = np.zeros((samples, 0, 0), np.int32) if written is None else written
        narrow = np.int32 if isinstance(p, Lif) else np.int64
        self.u, self.v, self.act = (
            space.take(f"{p.name} {what}", (samples, size), narrow) for what in ("u", "v", "act")
        )
        for state in (self.u, self.v, self.act):
            state[:] = 0

    def integrate(self, n: Numbers, span: tuple[int, int]) -> None:
        """Compute the steps of a span (its end excluded) from the states before it."""
        p, shift, top = self.p, n.state_shift, 1 << (n.state_bits - 1)
        a, kept = self.arrived["real"], self.kept
        match p:
            case Lif():
                one = 1 << n.decay_bits
                keeps = ((one - (p.du + 1)) / one, (one - p.dv) / one)
                unused = (np.int32(32 - n.sum_bits), np.int32(32 - n.drive_bits))
                threshold = min(p.vth << shift, top)  # which no membrane is above
                numbers = (threshold, p.bias_exp, shift, top, top - 1 + n.keeps_top)
                held = tuple(np.int32(x) for x in numbers)
                state = (self.u, self.v)
                _lif(a, self.written, self.bias, keeps, held, unused, span, state, kept)
            case Delta() | SigmaDelta():
                scale = p.spike_exp + shift
                bias = None
                if isinstance(p, SigmaDelta):
                    bias = self.bias.astype(np.int64) << scale
                neuron = (p.vth << scale, scale, shift)
                state = (self.u, self.act, self.v)
                _change(a if bias is not None else self.written, bias, neuron, span, state, kept)
            case Sigma():
                _sum(a, span, self.u, kept)
            case Graded():
                _pass(a, span, kept)
            case Resonator():
                neuron = (p.cos, p.sin, p.vth << shift, p.resets)
                shifts, state = (n.decay_bits, shift, top), (self.u, self.v)
                _turn(a, self.arrived["imag"], neuron, shifts, span, state, kept)
            case _:
                assert_never(p)


@compiled(nogil=True)
def _lif(arrived, written, bias, keeps, numbers, unused, span, state, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Integrate a span of ``arrived [N, T, size]`` into the state ``u``, ``v [N, size]``.

    ``high`` is the largest ``u``; ``unused`` are the bits by which sums of what arrives, and of
    what drives the membrane, are shorter than 32.
    """
    (keep_u, keep_v), (threshold, bias_exp, shift, top, high) = keeps, numbers
    (no_sum, no_drive), (begin, end), (us, vs) = unused, span, state
    samples, _, size = arrived.shape
    driven, states, shorter = written.shape[2] > 0, kept.u.shape[1] > 0, no_sum + no_drive > 0
    low, factor = high - 2 * top, np.int32(1 << shift)
    push = np.empty(size, np.int32)
    push[:] = bias << bias_exp
    for n in range(samples):
        u, v = us[n], vs[n]
        for t in range(begin, end):
            came, sent = arrived[n, t], kept.spikes[n, t]
            if driven:
                push[:] = (bias + written[n, t]) << bias_exp
            for i in range(size):
                added = np.int32(came[i] * factor)
                if shorter:
                    added = np.int32(np.int32(added << no_sum) >> no_sum)
                current = np.int32(np.int32(u[i] * keep_u) + added)
                current = np.int32(current - 2 * top) if current > high else current
                current = np.int32(current + 2 * top) if current <= low else current
                drive = np.int32(current + push[i])
                if shorter:
                    drive = np.int32(np.int32(drive << no_drive) >> no_drive)
                voltage = np.int32(np.int32(v[i] * keep_v) + drive)
                voltage = min(max(voltage, np.int32(1 - top)), np.int32(top - 1))
                fired = voltage > threshold
                sent[i] = fired
                u[i] = current
                v[i] = np.int32(0) if fired else voltage
            if states:
                kept.u[n, t] = u
                kept.v[n, t] = v


@compiled(nogil=True)
def _change(x, bias, neuron, span, state, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Delta encoding of ``x [N, T, size]`` itself, or, with a bias, of its rectified sum."""
    (threshold, scale, shift), (begin, end) = neuron, span
    (sigma, act, residue), (spikes, us, vs) = state, kept
    samples, _, size = x.shape
    states = us.shape[1] > 0
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                if bias is None:
                    new = np.int64(np.int32(np.int64(x[n, t, i]) << scale))
                    sigma[n, i] = new
                else:
                    sigma[n, i] = np.int32(sigma[n, i] + x[n, t, i])
                    new = max(np.int64(np.int32(sigma[n, i] + bias[i])), 0)
                change = np.int64(np.int32(new - act[n, i] + residue[n, i]))
                size_of_change = np.int64(np.int32(abs(change)))
                out = change if size_of_change >= threshold else 0
                act[n, i] = new
                residue[n, i] = change - out
                spikes[n, t, i] = out >> shift
                if states:
                    us[n, t, i] = sigma[n, i]
                    vs[n, t, i] = residue[n, i]


@compiled(nogil=True)
def _sum(x, span, sigma, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Send the sum of ``x [N, T, size]`` so far."""
    (begin, end), (spikes, us, vs) = span, kept
    samples, _, size = x.shape
    states = us.shape[1] > 0
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                sigma[n, i] = np.int32(sigma[n, i] + x[n, t, i])
                spikes[n, t, i] = sigma[n, i]
                if states:
                    us[n, t, i] = sigma[n, i]
                    vs[n, t, i] = 0


@compiled(nogil=True)
def _pass(x, span, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Send ``x [N, T, size]`` itself; -2**31 has no size in 32 bits, and is not sent."""
    (begin, end), (spikes, us, vs) = span, kept
    samples, _, size = x.shape
    states = us.shape[1] > 0
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                now = np.int32(x[n, t, i])
                spikes[n, t, i] = 0 if now == -(1 << 31) else now
                if states:
                    us[n, t, i] = 0
                    vs[n, t, i] = 0


@compiled(nogil=True)
def _turn(a_real, a_imag, neuron, shifts, span, state, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Resonate: each of the four products is cut toward zero by itself."""
    (cos, sin, threshold, resets), (bits, shift, top) = neuron, shifts
    (begin, end), (real, imag), (spikes, us, vs) = span, state, kept
    samples, _, size = a_real.shape
    states = us.shape[1] > 0
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                x, y = real[n, i], imag[n, i]
                new_x = _part(x, cos, bits) - _part(y, sin, bits)
                new_y = _part(x, sin, bits) + _part(y, cos, bits)
                new_x += np.int64(np.int32(a_real[n, t, i] << shift))
                new_y += np.int64(np.int32(a_imag[n, t, i] << shift))
                new_x = min(max(new_x, 1 - top), top - 1)
                new_y = min(max(new_y, 1 - top), top - 1)
                if resets:
                    fired = new_y >= threshold
                    if fired:
                        new_x, new_y = np.int64(0), np.int64(threshold - 1)
                else:
                    fired = new_x >= threshold and new_y >= 0 and y < 0
                real[n, i], imag[n, i] = new_x, new_y
                spikes[n, t, i] = 1 if fired else 0
                if states:
                    us[n, t, i] = new_x
                    vs[n, t, i] = new_y


@compiled(nogil=True)
def _part(x, factor, bits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Multiply by ``factor / 2**bits``, toward zero."""
    product = x * factor
    return product >> bits if product >= 0 else -(-product >> bits)
