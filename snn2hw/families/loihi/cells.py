"""The neurons of the fast simulator, neuron by neuron and over many steps at once.

The same integers as the functions of ``reference.py``, written apart from them: that both agree is
tested.
"""

# pyright: basic
from __future__ import annotations

from typing import assert_never

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
from snn2hw.ir.trace import LayerTrace

Ints = NDArray[np.int32]
Wide = NDArray[np.int64]


class Cells:
    """One population while it is simulated: what arrives, states now, and what is kept of them."""

    def __init__(
        self, p: Population, extent: tuple[int, int], written: Ints | None, states: bool
    ) -> None:
        """Allocate for ``extent`` = (samples, steps); ``written [N, T, size]`` by the host."""
        self.p, self.states = p, states
        samples, steps = extent
        whole, kept = (samples, steps, p.size), (samples, steps if states else 0, p.size)
        self.arrived = {"real": np.zeros(whole, np.int64)}
        if isinstance(p, Resonator):
            self.arrived["imag"] = np.zeros(whole, np.int64)
        self.written = np.zeros((samples, steps, 0), np.int32) if written is None else written
        self.spikes = np.empty(whole, np.int32)
        self.u, self.v, self.act = np.zeros((3, samples, p.size), np.int64)
        self.us, self.vs = np.empty(kept, np.int32), np.empty(kept, np.int32)

    def integrate(self, n: Numbers, span: tuple[int, int]) -> None:
        """Compute the steps of a span (its end excluded) from the states before it."""
        p, shift, top = self.p, n.state_shift, 1 << (n.state_bits - 1)
        kept = (self.spikes, self.us, self.vs)
        a = self.arrived["real"]
        match p:
            case Lif():
                one = 1 << n.decay_bits
                neuron = (one - (p.du + 1), one - p.dv, p.vth << shift, p.bias_exp)
                halves = (1 << (n.sum_bits - 1), 1 << (n.drive_bits - 1))
                shifts = (n.decay_bits, shift, top, top - 1 + n.keeps_top, halves)
                state = (self.u, self.v)
                _lif(a, self.written, p.bias, neuron, shifts, span, state, kept, self.states)
            case Delta() | SigmaDelta():
                scale = p.spike_exp + shift
                bias = None
                if isinstance(p, SigmaDelta):
                    bias = p.bias.astype(np.int64) << scale
                neuron = (p.vth << scale, scale, shift)
                state = (self.u, self.act, self.v)
                x = a if bias is not None else self.written
                _change(x, bias, neuron, span, state, kept, self.states)
            case Sigma():
                _sum(a, span, self.u, kept, self.states)
            case Graded():
                _pass(a, span, kept, self.states)
            case Resonator():
                neuron = (p.cos, p.sin, p.vth << shift, p.resets)
                shifts, state = (n.decay_bits, shift, top), (self.u, self.v)
                _turn(a, self.arrived["imag"], neuron, shifts, span, state, kept, self.states)
            case _:
                assert_never(p)

    def trace(self) -> LayerTrace:
        """Return what was kept in the population's shape."""
        shape = (*self.spikes.shape[:2], *self.p.shape)
        states = {"u": self.us, "v": self.vs} if self.states else {}
        return LayerTrace(
            self.spikes.reshape(shape), {k: x.reshape(shape) for k, x in states.items()}
        )


@compiled(nogil=True)
def _signed(x, half):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Wrap around to ``-half .. half - 1``; ``half`` is a power of two."""
    return ((x + half) & (2 * half - 1)) - half


@compiled(nogil=True)
def _lif(arrived, written, bias, neuron, shifts, span, state, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Integrate a span of ``arrived [N, T, size]`` into the state ``u``, ``v [N, size]``.

    Products in 64 bits, truncation toward zero, sums in 32 bits or the chip's fewer, of which
    ``halves`` are given: of what arrives, and of what drives the membrane. ``high`` is the largest
    ``u``.
    """
    (keep_u, keep_v, threshold, bias_exp), (bits, shift, top, high, halves) = neuron, shifts
    half_sum, half_drive = halves
    (begin, end), (u, v), (spikes, us, vs) = span, state, kept
    samples, _, size = arrived.shape
    driven = written.shape[2] > 0
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                product = u[n, i] * keep_u
                rest = product >> bits if product >= 0 else -(-product >> bits)
                came = _signed(arrived[n, t, i] << shift, half_sum)
                current = np.int64(np.int32(rest + came))
                if current > high:
                    current -= 2 * top
                elif current <= high - 2 * top:
                    current += 2 * top
                product = v[n, i] * keep_v
                rest = product >> bits if product >= 0 else -(-product >> bits)
                push = np.int64(bias[i])
                if driven:
                    push += written[n, t, i]
                drive = _signed(current + (push << bias_exp), half_drive)
                voltage = np.int64(np.int32(rest + drive))
                voltage = min(max(voltage, 1 - top), top - 1)
                fired = voltage > threshold
                spikes[n, t, i] = 1 if fired else 0
                u[n, i] = current
                v[n, i] = 0 if fired else voltage
                if states:
                    us[n, t, i] = current
                    vs[n, t, i] = v[n, i]


@compiled(nogil=True)
def _change(x, bias, neuron, span, state, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Delta encoding of ``x [N, T, size]`` itself, or, with a bias, of its rectified sum."""
    (threshold, scale, shift), (begin, end) = neuron, span
    (sigma, act, residue), (spikes, us, vs) = state, kept
    samples, _, size = x.shape
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
def _sum(x, span, sigma, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Send the sum of ``x [N, T, size]`` so far."""
    (begin, end), (spikes, us, vs) = span, kept
    samples, _, size = x.shape
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                sigma[n, i] = np.int32(sigma[n, i] + x[n, t, i])
                spikes[n, t, i] = sigma[n, i]
                if states:
                    us[n, t, i] = sigma[n, i]
                    vs[n, t, i] = 0


@compiled(nogil=True)
def _pass(x, span, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Send ``x [N, T, size]`` itself; -2**31 has no size in 32 bits, and is not sent."""
    (begin, end), (spikes, us, vs) = span, kept
    samples, _, size = x.shape
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                now = np.int32(x[n, t, i])
                spikes[n, t, i] = 0 if now == -(1 << 31) else now
                if states:
                    us[n, t, i] = 0
                    vs[n, t, i] = 0


@compiled(nogil=True)
def _turn(a_real, a_imag, neuron, shifts, span, state, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Resonate: each of the four products is cut toward zero by itself."""
    (cos, sin, threshold, resets), (bits, shift, top) = neuron, shifts
    (begin, end), (real, imag), (spikes, us, vs) = span, state, kept
    samples, _, size = a_real.shape
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
