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

# Neurons whose states, and in the backward pass whose membranes of all steps, stay in the cache
# together: so many numbers, of so many neurons at most and at least.
IN_CACHE, MOST, FEWEST = 1 << 17, 4096, 512

# The surrogates by number, in the order of ``neurons.SURROGATES``.
TRIANGLE, ATAN, SIGMOID, BOX, FAST_SIGMOID = range(5)


def block_of(steps: int) -> int:
    """Return how many neurons are run through ``steps`` together."""
    return max(FEWEST, min(MOST, IN_CACHE // steps))


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
def forward(current, steps, constants, subtracts, width, spikes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Run neurons from rest.

    Args:
        current: ``[T, N]``, or ``[1, N]`` for the same at each step.
        steps: T.
        constants: ``(alpha, beta, threshold, 1, pi)`` in the precision of the states.
        subtracts: reset by subtraction, else to zero.
        width: how many neurons together (``block_of``).
        spikes: ``[T, N]``, filled.
    """
    size = current.shape[1]
    for block in numba.prange(-(-size // width)):
        low, high = block * width, min(size, (block + 1) * width)
        flow, v = _states(high - low, constants)
        membrane = np.empty_like(v)
        for t in range(steps):
            x = current[t % current.shape[0], low:high]
            _step(x, constants, subtracts, flow, membrane, spikes[t, low:high], v)


@_kernel
def rates(current, steps, constants, subtracts, share, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill ``found [1, N]`` with the spikes that ``forward`` gives for ``current [1, N]``.

    Each spike counts ``share``, in the precision of the states.
    """
    one, size = constants[3], current.shape[1]
    for block in numba.prange(-(-size // MOST)):
        low, high = block * MOST, min(size, (block + 1) * MOST)
        x = current[0, low:high]
        flow, v = _states(high - low, constants)
        total, membrane, spikes = v.copy(), v.copy(), v.copy()
        for _ in range(steps):
            _step(x, constants, subtracts, flow, membrane, spikes, v)
            total += spikes
        total *= share
        _put(total, found[0, low:high])


@_loop
def _states(size, constants):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return current and membrane of neurons at rest."""
    v = np.full(size, constants[3] - constants[3])  # a plain 0 would make float64 of float32
    return v.copy(), v


@_loop
def _step(current, constants, subtracts, flow, membrane, spikes, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Run one step: ``membrane`` and ``spikes`` are filled, the states ``flow`` and ``v`` kept."""
    if constants[0] == 0:
        _fire(current, constants, subtracts, membrane, spikes, v)
    else:
        _flow(current, constants[0], flow)
        _fire(flow, constants, subtracts, membrane, spikes, v)


@_loop
def _flow(current, alpha, flow):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(flow.size):
        flow[k] = alpha * flow[k] + _wide(current[k])


@_loop
def _fire(current, constants, subtracts, membrane, spikes, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    beta, threshold, one = constants[1], constants[2], constants[3]
    none = one - one
    fired, silent = _narrow(one, spikes[0]), _narrow(none, spikes[0])
    if subtracts:
        for k in range(v.size):
            m = beta * v[k] + _wide(current[k])
            fires = m > threshold
            membrane[k] = m
            spikes[k] = fired if fires else silent
            v[k] = m - threshold if fires else m
    else:
        for k in range(v.size):
            m = beta * v[k] + _wide(current[k])
            fires = m > threshold
            membrane[k] = m
            spikes[k] = fired if fires else silent
            v[k] = none if fires else m


@_loop
def _rise(current, constants, subtracts, flow, membrane, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Do as ``_step`` does, but for the spikes."""
    if constants[0] == 0:
        _remember(current, constants, subtracts, membrane, v)
    else:
        _flow(current, constants[0], flow)
        _remember(flow, constants, subtracts, membrane, v)


@_loop
def _remember(current, constants, subtracts, membrane, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    beta, threshold = constants[1], constants[2]
    none = threshold - threshold
    if subtracts:
        for k in range(v.size):
            m = beta * v[k] + _wide(current[k])
            membrane[k], v[k] = m, m - threshold if m > threshold else m
    else:
        for k in range(v.size):
            m = beta * v[k] + _wide(current[k])
            membrane[k], v[k] = m, none if m > threshold else m


@_kernel
def backward(current, grad, steps, constants, subtracts, kind, width, grad_current, grad_decays):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Run the neurons' gradients back through time.

    The membranes are computed again, as to write them to memory and to read them takes longer.

    Args:
        current: as in ``forward``.
        grad: gradient of the spikes, ``[T, N]``.
        steps: T.
        constants: as in ``forward``.
        subtracts: as in ``forward``.
        kind: which surrogate.
        width: as in ``forward``.
        grad_current: filled, ``[T, N]``; with ``[1, N]`` the sum over time.
        grad_decays: filled with the gradients of alpha and beta of each block, ``[blocks, 2]``;
            ``[0, 2]`` if nobody needs them.
    """
    alpha, beta, threshold = constants[0], constants[1], constants[2]
    size = current.shape[1]
    still = grad_current.shape[0] < steps
    for block in numba.prange(-(-size // width)):
        low, high = block * width, min(size, (block + 1) * width)
        flow, v = _states(high - low, constants)
        of_membrane, of_flow, total = v.copy(), v.copy(), v.copy()
        slope, scratch = np.empty_like(v), np.empty(v.size if still else 0, grad_current.dtype)
        before = np.empty((steps, v.size), v.dtype)
        for t in range(steps):
            _rise(current[t % current.shape[0], low:high], constants, subtracts, flow, before[t], v)
        for t in range(steps - 1, -1, -1):
            m = before[t]
            _slopes(m, constants, kind, slope)
            of_current = scratch if still else grad_current[t, low:high]
            _back(m, grad[t, low:high], slope, constants, subtracts, of_membrane, of_current)
            if alpha != 0:
                _flow_back(of_membrane, alpha, of_flow, of_current)
            if still:
                _sum(of_membrane if alpha == 0 else of_flow, total)
            if t > 0 and grad_decays.size:
                kept = _after(before[t - 1], threshold, subtracts)
                past = before[t - 1].copy()
                if t > 1:
                    past -= beta * _after(before[t - 2], threshold, subtracts)
                of_past = of_membrane if alpha == 0 else of_flow
                grad_decays[block, 0] += (of_past * past).sum()
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
def _back(membrane, grad, slope, constants, subtracts, of_membrane, of_current):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Turn the gradient of the next step's membrane into that of this step's."""
    beta, threshold, like = constants[1], constants[2], of_current[0]
    if subtracts:
        for k in range(slope.size):
            m = beta * of_membrane[k] + _wide(grad[k]) * slope[k]
            of_membrane[k], of_current[k] = m, _narrow(m, like)
    else:
        none = threshold - threshold
        for k in range(slope.size):
            kept = none if membrane[k] > threshold else beta * of_membrane[k]
            m = kept + _wide(grad[k]) * slope[k]
            of_membrane[k], of_current[k] = m, _narrow(m, like)


@_loop
def _flow_back(of_membrane, alpha, of_flow, of_current):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(of_flow.size):
        i = of_membrane[k] + alpha * of_flow[k]
        of_flow[k], of_current[k] = i, _narrow(i, of_current[0])


@_loop
def _sum(values, into):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(values.size):
        into[k] += values[k]


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
