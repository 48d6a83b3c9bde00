# pyright: basic
"""The neuron's loop over time in compiled code: one pass over memory forward, one backward.

Arrays are ``[T, N]`` in float32, float64, or bfloat16 as its bits (uint16): half the memory, and
spikes are exact in it; states are float32 then. A block of neurons walks through all time steps
while its state stays in the cache. What is computed is written in ``neurons.py``.

The innermost loops are small functions without branches that depend on time: such loops the
compiler turns into vector instructions, which is most of the speed.
"""

from __future__ import annotations

import numba
import numpy as np

from snn2hw.compiled import compiled
from snn2hw.train.bfloat16 import narrow, wide

# Neurons whose states, and in the backward pass whose membranes of all steps, stay in the cache
# together: so many numbers, of so many neurons at most and at least.
IN_CACHE, MOST, FEWEST = 1 << 17, 4096, 512

# The surrogates by number, in the order of ``neurons.SURROGATES``.
TRIANGLE, ATAN, SIGMOID, BOX, FAST_SIGMOID = range(5)


def block_of(steps: int) -> int:
    """Return how many neurons are run through ``steps`` together."""
    return max(FEWEST, min(MOST, IN_CACHE // steps))


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
def forward_averaged(current, steps, constants, subtracts, square, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Run neurons from rest, and average their spikes over squares.

    Args:
        current: as in ``forward``; N is rows, places, channels, the last fastest.
        steps: T.
        constants: as in ``forward``.
        subtracts: as in ``forward``.
        square: its side, the places of a row, and the channels of a place; rows and places are
            multiples of the side.
        found: ``[T, N / side**2]``, filled.
    """
    size, less = _sizes(square)
    for row in numba.prange(current.shape[1] // size):
        flow, v = _states(size, constants)
        membrane, spikes = np.empty_like(v), np.empty_like(v)
        total = np.empty(less, v.dtype)
        for t in range(steps):
            x = current[t % current.shape[0], row * size : (row + 1) * size]
            _step(x, constants, subtracts, flow, membrane, spikes, v)
            _average(spikes, square, constants, total, found[t, row * less : (row + 1) * less])


@_kernel
def rates(current, steps, constants, subtracts, share, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill ``found [1, N]`` with the spikes that ``forward`` gives for ``current [1, N]``.

    Each spike counts ``share``, in the precision of the states.
    """
    size = current.shape[1]
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
        flow[k] = alpha * flow[k] + wide(current[k])


@_loop
def _fire(current, constants, subtracts, membrane, spikes, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    beta, threshold, one = constants[1], constants[2], constants[3]
    none = one - one
    fired, silent = narrow(one, spikes[0]), narrow(none, spikes[0])
    if subtracts:
        for k in range(v.size):
            m = beta * v[k] + wide(current[k])
            fires = m > threshold
            membrane[k] = m
            spikes[k] = fired if fires else silent
            v[k] = m - threshold if fires else m
    else:
        for k in range(v.size):
            m = beta * v[k] + wide(current[k])
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
            m = beta * v[k] + wide(current[k])
            membrane[k], v[k] = m, m - threshold if m > threshold else m
    else:
        for k in range(v.size):
            m = beta * v[k] + wide(current[k])
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
    size = current.shape[1]
    for block in numba.prange(-(-size // width)):
        low, high = block * width, min(size, (block + 1) * width)
        _back_through(
            current, low, grad, low, high - low, steps, constants, subtracts, kind,
            grad_current, grad_decays[block : block + 1],
        )  # fmt: skip


@_kernel
def backward_averaged(  # type: ignore[no-untyped-def]  # noqa: ANN201
    current,  # noqa: ANN001
    grad,  # noqa: ANN001
    steps,  # noqa: ANN001
    constants,  # noqa: ANN001
    subtracts,  # noqa: ANN001
    kind,  # noqa: ANN001
    square,  # noqa: ANN001
    grad_current,  # noqa: ANN001
    grad_decays,  # noqa: ANN001
):
    """Do as ``backward`` does, from the gradient of the averages ``[T, N / side**2]``.

    There is a block for each row of squares: ``grad_decays`` is ``[rows, 2]`` or ``[0, 2]``.
    """
    size, less = _sizes(square)
    for row in numba.prange(current.shape[1] // size):
        shares = np.empty((steps, size), grad.dtype)
        for t in range(steps):
            _spread(grad[t, row * less : (row + 1) * less], square, constants, shares[t])
        _back_through(
            current, row * size, shares, 0, size, steps, constants, subtracts, kind,
            grad_current, grad_decays[row : row + 1],
        )  # fmt: skip


@_loop
def _back_through(  # type: ignore[no-untyped-def]  # noqa: ANN202
    current,  # noqa: ANN001
    low,  # noqa: ANN001
    grad,  # noqa: ANN001
    at,  # noqa: ANN001
    size,  # noqa: ANN001
    steps,  # noqa: ANN001
    constants,  # noqa: ANN001
    subtracts,  # noqa: ANN001
    kind,  # noqa: ANN001
    grad_current,  # noqa: ANN001
    grad_decays,  # noqa: ANN001
):
    """Run ``size`` neurons back: theirs is what begins at ``low``, of ``grad`` at ``at``."""
    alpha, beta, threshold = constants[0], constants[1], constants[2]
    high, still = low + size, grad_current.shape[0] < steps
    flow, v = _states(size, constants)
    of_membrane, of_flow, total = v.copy(), v.copy(), v.copy()
    slope, scratch = np.empty_like(v), np.empty(size if still else 0, grad_current.dtype)
    before = np.empty((steps, size), v.dtype)
    for t in range(steps):
        _rise(current[t % current.shape[0], low:high], constants, subtracts, flow, before[t], v)
    for t in range(steps - 1, -1, -1):
        m = before[t]
        _slopes(m, constants, kind, slope)
        of_current = scratch if still else grad_current[t, low:high]
        _back(m, grad[t, at : at + size], slope, constants, subtracts, of_membrane, of_current)
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
            grad_decays[0, 0] += (of_past * past).sum()
            grad_decays[0, 1] += (of_membrane * kept).sum()
    if still:
        _put(total, grad_current[0, low:high])


@_loop
def _sizes(square):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return how many neurons a row of squares has, and how many averages."""
    side, width, channels = square
    return side * width * channels, width // side * channels


@_loop
def _count(square, constants):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the neurons of a square, in the precision of the states."""
    count = constants[3] - constants[3]
    for _ in range(square[0] * square[0]):
        count += constants[3]
    return count


@_loop
def _average(spikes, square, constants, total, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Average a row of squares; ``total`` is as large as ``found``."""
    side, width, channels = square
    count = _count(square, constants)
    total[:] = count - count
    for place in range(side * width):
        to = place % width // side * channels
        _sum(spikes[place * channels : (place + 1) * channels], total[to : to + channels])
    for k in range(total.size):
        found[k] = narrow(total[k] / count, found[0])


@_loop
def _spread(grad, square, constants, shares):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Give each neuron of a row of squares its share of the gradient of their average."""
    side, width, channels = square
    count = _count(square, constants)
    for of in range(grad.size // channels):
        given = grad[of * channels : (of + 1) * channels]
        first = shares[of * side * channels : (of * side + 1) * channels]
        for k in range(channels):
            first[k] = narrow(wide(given[k]) / count, first[0])
        for other in range(1, side * side):
            place = other // side * width + of * side + other % side
            share = shares[place * channels : (place + 1) * channels]
            for k in range(channels):
                share[k] = first[k]


@_loop
def _slopes(membrane, constants, kind, slope):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """What stands for the derivative of the spike: see ``neurons.SURROGATES``."""
    threshold, one, pi = constants[2], constants[3], constants[4]
    none, two, inverse = one - one, one + one, one / threshold
    four, ten = two + two, two * (two + two + one)
    if kind == TRIANGLE:
        for k in range(slope.size):
            # In this order a membrane that is no number gives a slope that is none.
            slope[k] = max(one - abs(membrane[k] * inverse - one), none) * inverse
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
            m = beta * of_membrane[k] + wide(grad[k]) * slope[k]
            of_membrane[k], of_current[k] = m, narrow(m, like)
    else:
        none = threshold - threshold
        for k in range(slope.size):
            kept = none if membrane[k] > threshold else beta * of_membrane[k]
            m = kept + wide(grad[k]) * slope[k]
            of_membrane[k], of_current[k] = m, narrow(m, like)


@_loop
def _flow_back(of_membrane, alpha, of_flow, of_current):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(of_flow.size):
        i = of_membrane[k] + alpha * of_flow[k]
        of_flow[k], of_current[k] = i, narrow(i, of_current[0])


@_loop
def _sum(values, into):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(values.size):
        into[k] += values[k]


@_loop
def _put(values, into):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(values.size):
        into[k] = narrow(values[k], into[0])


@_loop
def _after(membrane, threshold, subtracts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the membrane after reset."""
    left = np.zeros_like(membrane)
    if subtracts:
        left = membrane - threshold
    return np.where(membrane > threshold, left, membrane)
