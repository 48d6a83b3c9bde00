# pyright: basic
"""The neuron's loop over time in compiled code: one pass over memory forward, one backward.

Arrays are ``[T, N]`` in float32, float64, or bfloat16 as its bits (uint16): half the memory, and
spikes are exact in it; states are float32 then. A block of neurons walks through all time steps
while its state stays in the cache. What is computed is written in ``neurons.py``.

The innermost loops are small functions without branches that depend on time: such loops the
compiler turns into vector instructions, which is most of the speed.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from snn2hw.compiled import compiled

BLOCK = 1024  # neurons whose states stay in the cache together

# The surrogates by number, in the order of ``neurons.SURROGATES``.
TRIANGLE, ATAN, SIGMOID, BOX, FAST_SIGMOID = range(5)


@intrinsic
def _float_of(_context: Any, bits: Any) -> Any:
    """Take 32 bits for a float32."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), code


@intrinsic
def _bits_of(_context: Any, value: Any) -> Any:
    """Take a float32 for its 32 bits."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), code


def _wide(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a number to compute with."""
    raise NotImplementedError  # compiled code has the overload below


@overload(_wide, inline="always")
def _wide_code(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if isinstance(value, types.Integer):
        return lambda value: _float_of(np.uint32(value) << np.uint32(16))  # type: ignore[call-arg]
    return lambda value: value


def _narrow(value, like):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a number as it is stored in arrays of the kind of ``like``."""
    raise NotImplementedError


@overload(_narrow, inline="always")
def _narrow_code(value, like):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if isinstance(like, types.Integer):

        def rounded(value, like):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            bits: Any = _bits_of(value)  # type: ignore[call-arg]  # to the nearest, ties to even
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, like: value


_loop = numba.njit(error_model="numpy")  # no checks for division by zero
_kernel = compiled(parallel=True, error_model="numpy")


@_kernel
def forward(current, steps, constants, subtracts, before, spikes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Run neurons from rest.

    Args:
        current: ``[T, N]``, or ``[1, N]`` for the same at each step.
        steps: T.
        constants: ``(alpha, beta, threshold, 1, pi)`` in the precision of the states.
        subtracts: reset by subtraction, else to zero.
        before: ``[T, N]``, filled with the membrane before reset; ``[1, N]`` if nobody needs it.
        spikes: ``[T, N]``, filled.
    """
    size = current.shape[1]
    for block in numba.prange(-(-size // BLOCK)):
        low, high = block * BLOCK, min(size, (block + 1) * BLOCK)
        flow, v = np.zeros(high - low, before.dtype), np.zeros(high - low, before.dtype)
        for t in range(steps):
            x = current[t % current.shape[0], low:high]
            m, s = before[t % before.shape[0], low:high], spikes[t, low:high]
            _step(x, constants, subtracts, flow, m, s, v)


@_kernel
def rates(current, steps, constants, subtracts, share, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill ``found [1, N]`` with the spikes that ``forward`` gives for ``current [1, N]``.

    Each spike counts ``share``, in the precision of the states.
    """
    one, size = constants[3], current.shape[1]
    for block in numba.prange(-(-size // BLOCK)):
        low, high = block * BLOCK, min(size, (block + 1) * BLOCK)
        x = current[0, low:high]
        v = np.full(high - low, one - one)
        flow, total, membrane, spikes = v.copy(), v.copy(), v.copy(), v.copy()
        for _ in range(steps):
            _step(x, constants, subtracts, flow, membrane, spikes, v)
            total += spikes
        total *= share
        _put(total, found[0, low:high])


@_loop
def _step(current, constants, subtracts, flow, membrane, spikes, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Run one step: ``membrane`` and ``spikes`` are filled, the states ``flow`` and ``v`` kept."""
    alpha, beta, threshold, one = constants[0], constants[1], constants[2], constants[3]
    if alpha == 0:
        _leak(current, beta, v, membrane)
    else:
        _flow(current, alpha, flow)
        _leak(flow, beta, v, membrane)
    _fire(membrane, threshold, one, subtracts, spikes, v)


@_loop
def _flow(current, alpha, flow):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(flow.size):
        flow[k] = alpha * flow[k] + _wide(current[k])


@_loop
def _leak(current, beta, v, membrane):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(v.size):
        membrane[k] = beta * v[k] + _wide(current[k])


@_loop
def _fire(membrane, threshold, one, subtracts, spikes, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    none = one - one  # a plain 0 would make float64 of float32
    fired, silent = _narrow(one, spikes[0]), _narrow(none, spikes[0])
    if subtracts:
        for k in range(v.size):
            fires = membrane[k] > threshold
            spikes[k] = fired if fires else silent
            v[k] = membrane[k] - threshold if fires else membrane[k]
    else:
        for k in range(v.size):
            fires = membrane[k] > threshold
            spikes[k] = fired if fires else silent
            v[k] = none if fires else membrane[k]


@_kernel
def backward(before, grad, constants, subtracts, kind, grad_current, grad_decays):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Run the neurons' gradients back through time.

    Args:
        before: membrane before reset, ``[T, N]``.
        grad: gradient of the spikes, ``[T, N]``.
        constants: as in ``forward``.
        subtracts: as in ``forward``.
        kind: which surrogate.
        grad_current: filled, ``[T, N]``; with ``[1, N]`` the sum over time.
        grad_decays: filled with the gradients of alpha and beta of each block, ``[blocks, 2]``;
            ``[0, 2]`` if nobody needs them.
    """
    alpha, beta, threshold = constants[0], constants[1], constants[2]
    steps, size = before.shape
    still = grad_current.shape[0] < steps
    for block in numba.prange(-(-size // BLOCK)):
        low, high = block * BLOCK, min(size, (block + 1) * BLOCK)
        slope = np.empty(high - low, before.dtype)
        of_membrane, of_flow = np.zeros_like(slope), np.zeros_like(slope)
        total = np.zeros_like(slope)
        for t in range(steps - 1, -1, -1):
            m = before[t, low:high]
            _slopes(m, constants, kind, slope)
            _through_reset(m, beta, threshold, subtracts, of_membrane)
            _add(grad[t, low:high], slope, alpha, of_membrane, of_flow)
            if still:
                total += of_flow
            else:
                _put(of_flow, grad_current[t, low:high])
            if t > 0 and grad_decays.size:
                kept = _after(before[t - 1, low:high], threshold, subtracts)
                flow = before[t - 1, low:high].copy()
                if t > 1:
                    flow -= beta * _after(before[t - 2, low:high], threshold, subtracts)
                grad_decays[block, 0] += (of_flow * flow).sum()
                grad_decays[block, 1] += (of_membrane * kept).sum()
        if still:
            _put(total, grad_current[0, low:high])


@_loop
def _slopes(membrane, constants, kind, slope):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """What stands for the derivative of the spike: see ``neurons.SURROGATES``."""
    threshold, one, pi = constants[2], constants[3], constants[4]
    none, two, inverse = one - one, one + one, one / threshold
    four, ten = two + two, two * (two + two + one)
    if kind == TRIANGLE:
        for k in range(slope.size):
            slope[k] = max(none, one - abs(membrane[k] * inverse - one)) * inverse
    elif kind == ATAN:
        for k in range(slope.size):
            x = pi * (membrane[k] * inverse - one)
            slope[k] = inverse / (one + x * x)
    elif kind == SIGMOID:
        for k in range(slope.size):
            power = np.exp(-four * abs(membrane[k] * inverse - one))
            slope[k] = four * power / ((one + power) * (one + power)) * inverse
    elif kind == BOX:
        for k in range(slope.size):
            slope[k] = inverse if abs(membrane[k] * inverse - one) < one / two else none
    else:
        for k in range(slope.size):
            x = one + ten * abs(membrane[k] * inverse - one)
            slope[k] = inverse / (x * x)


@_loop
def _through_reset(membrane, beta, threshold, subtracts, of_membrane):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Turn the gradient of the next step's membrane into that of this step's."""
    none = threshold - threshold
    if subtracts:
        for k in range(of_membrane.size):
            of_membrane[k] *= beta
    else:
        for k in range(of_membrane.size):
            of_membrane[k] = none if membrane[k] > threshold else beta * of_membrane[k]


@_loop
def _add(grad, slope, alpha, of_membrane, of_flow):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(slope.size):
        of_membrane[k] += _wide(grad[k]) * slope[k]
        of_flow[k] = of_membrane[k] + alpha * of_flow[k]


@_loop
def _put(values, into):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(values.size):
        into[k] = _narrow(values[k], into[0])


@_loop
def _after(membrane, threshold, subtracts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the membrane after reset."""
    left = np.zeros_like(membrane)
    if subtracts:
        left = membrane - threshold
    return np.where(membrane > threshold, left, membrane)
