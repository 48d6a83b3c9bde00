"""The definition of what a Loihi-family chip computes, written to be read next to Lava's.

One chip step after another, one population after another, in chip time; no shortcut. Samples follow
each other in a stream without a gap, eight of them (or, where the program does not stream, each is
alone). What is computed for one stream is computed for all, which are the rows of every array.
Source of Loihi 2's arithmetic: Lava 0.10.0, ``proc/lif/models.py`` (``AbstractPyLifModelFixed``,
``PyLifResetModelBitAcc``), ``proc/sdn/models.py``, ``proc/graded/models.py``,
``proc/rf/models.py``, ``proc/rf_iz/models.py``, ``proc/dense/models.py``, ``proc/conv/models.py``
and ``utils/weightutils.py``; its registers hold 32 bits, so sums wrap there (``wrapped``). In what
Loihi 1 differs, and who says so, is told by ``numbers.py``: sums and drives of fewer bits, and a
negative exponent that cuts each weight. It is slow on purpose; ``engine.py`` must agree with it
bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.numbers import Numbers, numbers_of, populations
from snn2hw.families.loihi.populations import (
    Delta,
    Graded,
    Lif,
    Population,
    Resonator,
    Sigma,
    SigmaDelta,
    check_sums,
)
from snn2hw.ir.integer import Connection
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, with_weight
from snn2hw.ir.trace import LayerTrace, Trace, answers

Array = NDArray[np.int64]
State = tuple[Array, ...]
Sent = dict[str, list[Array]]  # by each source in each step, [streams, size]
History = dict[str, list[tuple[Array, Array]]]  # u and v after each step, likewise
IN_A_STREAM = 8  # samples, so that most of them follow one that has left something behind


def run(program: Program, inputs: Mapping[str, NDArray[np.integer]]) -> Trace:
    """Run samples and cut every layer's own window out of the stream.

    Args:
        program: what the chip is told.
        inputs: for each input port, integers ``[N, T, *shape]``.

    Returns:
        The trace, with every layer's spikes and states.
    """
    began = time.perf_counter()
    samples, steps = next(iter(inputs.values())).shape[:2]
    in_a_stream = min(IN_A_STREAM, samples) if program.streams else 1
    streams = {k: side_by_side(x, in_a_stream) for k, x in inputs.items()}
    sent, history = _run(program, streams, steps)
    trace = _windows(program, sent, history, samples, steps)
    return replace(trace, seconds=time.perf_counter() - began)


def side_by_side(x: NDArray[np.integer], in_a_stream: int) -> Array:
    """Cut samples ``[N, T, *shape]`` into streams ``[streams, in_a_stream * T, size]``.

    The last one is filled up with silence.
    """
    samples, steps = x.shape[:2]
    streams = -(-samples // in_a_stream)
    filled = np.zeros((streams * in_a_stream, steps, int(np.prod(x.shape[2:]))), np.int64)
    filled[:samples] = x.reshape(samples, steps, -1)
    return filled.reshape(streams, in_a_stream * steps, -1)


def _run(program: Program, inputs: Mapping[str, Array], steps: int) -> tuple[Sent, History]:
    """Run streams ``[streams, time, size]`` on chips on which nothing has happened yet."""
    net = program.network
    streams, length = next(iter(inputs.values())).shape[:2]
    sent: Sent = {p.name: [] for p in (*net.inputs, *net.populations)}
    graded = {c.post for c in net.connections if net.sends_graded(c.pre)}
    state = {p.name: at_rest(p, streams) for p in populations(net)}
    quiet = {p.name: without_bias(p) for p in populations(net)}
    history: History = {p.name: [] for p in populations(net)}
    for step in range(length + program.tail):
        for port in net.inputs:
            x, at = inputs[port.name], step - program.phase[port.name]
            sent[port.name].append(x[:, at] if 0 <= at < length else np.zeros_like(x[:, 0]))
        for p in populations(net):
            begin = program.phase[p.name]
            if program.streams and step % steps == begin % steps:
                state[p.name] = at_rest(p, streams)  # a new sample starts here
            nothing = np.zeros((streams, p.size), np.int64)
            a = {"real": nothing.copy(), "imag": nothing.copy()}
            for i in net.into(p.name):
                c, late = net.connections[i], step - program.delays[i]
                if late >= 0:
                    a[c.part] += arriving(c, sent[c.pre][late], numbers_of(net))
            if p.name in graded and begin <= step < begin + length:
                check_sums(p, a["real"])
            written = nothing
            if isinstance(p, Lif | Delta) and p.driven_by is not None and step >= begin:
                written = sent[p.driven_by][step - begin]
            awake = program.streams or step >= begin  # else its bias is still off
            now = p if awake else quiet[p.name]
            state[p.name], spikes = advance(
                now, state[p.name], a["real"], a["imag"], written, numbers_of(net)
            )
            history[p.name].append(shown(p, state[p.name]))
            sent[p.name].append(spikes)
    return sent, history


def arriving(connection: Connection, spikes: Array, n: Numbers) -> Array:
    """Sum the weights of a step's spikes ``[streams, pre]``, then shift (floor when negative).

    Where the chip shifts weights instead, a negative exponent cuts each of them (floor as well).
    """
    synapses, exponent = connection.synapses, connection.exponent
    if n.shifts_weights and exponent < 0:
        synapses = with_weight(synapses, synapses.weight >> -exponent)
        exponent = 0
    if isinstance(synapses, Dense):
        total = spikes @ synapses.weight.astype(np.int64).T
    elif isinstance(synapses, Conv):
        images = spikes.reshape(-1, *synapses.input_shape)
        total = correlate(synapses, images).reshape(len(spikes), -1)
    else:
        total = np.zeros((len(spikes), synapses.indptr.size - 1), np.int64)
        for row in range(total.shape[1]):
            here = slice(synapses.indptr[row], synapses.indptr[row + 1])
            weight = synapses.weight[here].astype(np.int64)
            total[:, row] = spikes[:, synapses.indices[here]] @ weight
    return total << exponent if exponent > 0 else total >> -exponent


def correlate(conv: Conv, images: Array) -> Array:
    """Slide the kernel over the zero-padded images ``[N, C, H, W]``, group by group."""
    (sy, sx), (py, px), (dy, dx) = conv.stride, conv.padding, conv.dilation
    channels, height, width = conv.output_shape
    padded = np.pad(images, ((0, 0), (0, 0), (py, py), (px, px)))
    out = np.zeros((len(images), *conv.output_shape), np.int64)
    into = conv.weight.shape[1]
    for o in range(channels):
        first = (o * conv.groups // channels) * into
        for i in range(into):
            for ky in range(conv.weight.shape[2]):
                for kx in range(conv.weight.shape[3]):
                    rows = slice(ky * dy, ky * dy + (height - 1) * sy + 1, sy)
                    columns = slice(kx * dx, kx * dx + (width - 1) * sx + 1, sx)
                    seen = padded[:, first + i, rows, columns]
                    out[:, o] += int(conv.weight[o, i, ky, kx]) * seen
    return out


def toward_zero(x: Array, keep: int, bits: int) -> Array:
    """Multiply by ``keep / 2**bits`` and drop the fraction, toward zero."""
    product = x * keep
    return np.sign(product) * (np.abs(product) >> bits)


def wrapped(x: Array, bits: int = 32) -> Array:
    """Keep the low bits, signed."""
    half = 1 << (bits - 1)
    return (x + half) % (2 * half) - half


def at_rest(p: Population, streams: int) -> State:
    """Return the states ``[streams, size]`` of a population to which nothing has happened."""
    count = 1 if isinstance(p, Sigma | Graded) else 3 if isinstance(p, SigmaDelta) else 2
    return tuple(np.zeros((count, streams, p.size), np.int64))


def without_bias(p: Population) -> Population:
    """Return a population whose bias is off."""
    return replace(p, bias=np.zeros_like(p.bias)) if isinstance(p, Lif | SigmaDelta) else p


def shown(p: Population, state: State) -> tuple[Array, Array]:
    """Return the two states that a trace keeps as u and v."""
    match p:
        case Lif() | Delta() | Resonator():
            return state[0], state[1]
        case SigmaDelta():
            return state[0], state[2]
        case Sigma():
            return state[0], np.zeros_like(state[0])
        case Graded():
            return np.zeros_like(state[0]), state[0]
        case _:
            assert_never(p)


def advance(
    p: Population, state: State, a: Array, a_imag: Array, written: Array, n: Numbers
) -> tuple[State, Array]:
    """One step of a population: new states, and what it sends.

    Args:
        p: the population.
        state: its states.
        a: what arrives by synapses.
        a_imag: what arrives in the imaginary part of a complex state.
        written: what the host writes into the neurons.
        n: the arithmetic.
    """
    match p:
        case Lif():
            return lif(p, state, a, written, n)
        case Delta():
            return delta(p, state, written, n)
        case SigmaDelta():
            return sigma_delta(p, state, a, n)
        case Sigma():
            sigma = wrapped(state[0] + a)
            return (sigma,), sigma
        case Graded():
            return graded(state, a)
        case Resonator():
            return resonator(p, state, a, a_imag, n)
        case _:
            assert_never(p)


def lif(p: Lif, state: State, a: Array, written: Array, n: Numbers) -> tuple[State, Array]:
    """Current, voltage, spike, reset."""
    u, v = state
    one, top = 1 << n.decay_bits, 1 << (n.state_bits - 1)
    arrived = wrapped(a << n.state_shift, n.sum_bits)
    u = wrapped(toward_zero(u, one - (p.du + 1), n.decay_bits) + arrived)
    if n.keeps_top:
        u = np.where(u > top, u - 2 * top, u)  # 24 bits wrap once, and +2**23 itself stays
        u = np.where(u <= -top, u + 2 * top, u)
    else:
        u = np.where(u >= top, u - 2 * top, u)  # here -2**23 does
        u = np.where(u < -top, u + 2 * top, u)
    drive = wrapped(u + ((p.bias + written) << p.bias_exp), n.drive_bits)
    v = wrapped(toward_zero(v, one - p.dv, n.decay_bits) + drive)
    v = np.clip(v, -(top - 1), top - 1)
    spikes = v > (p.vth << n.state_shift)
    return (u, np.where(spikes, 0, v)), spikes.astype(np.int64)


def delta(p: Delta, state: State, x: Array, n: Numbers) -> tuple[State, Array]:
    """Send the change of ``x`` since the last step, and what was not sent before."""
    act, residue = state
    new = wrapped(x << (p.spike_exp + n.state_shift))
    out, residue = encode(new - act + residue, p.vth << (p.spike_exp + n.state_shift))
    return (new, residue), out >> n.state_shift


def sigma_delta(p: SigmaDelta, state: State, a: Array, n: Numbers) -> tuple[State, Array]:
    """Sum, activate, and send the change."""
    sigma, act, residue = state
    sigma = wrapped(sigma + a)
    bias = p.bias.astype(np.int64) << (p.spike_exp + n.state_shift)
    new = np.maximum(wrapped(sigma + bias), 0)
    out, residue = encode(new - act + residue, p.vth << (p.spike_exp + n.state_shift))
    return (sigma, new, residue), out >> n.state_shift


def graded(state: State, a: Array) -> tuple[State, Array]:
    """Send what came in, unless it is 0 (or so large that its size overflows), and forget it."""
    v = wrapped(state[0] + a)
    return (np.zeros_like(v),), np.where(wrapped(np.abs(v)) > 0, v, 0)


def encode(change: Array, threshold: int) -> tuple[Array, Array]:
    """Split a change into what is sent, where it reaches the threshold, and what is kept."""
    change = wrapped(change)
    out = np.where(wrapped(np.abs(change)) >= threshold, change, 0)
    return out, change - out


def resonator(
    p: Resonator, state: State, a_real: Array, a_imag: Array, n: Numbers
) -> tuple[State, Array]:
    """Turn and shrink, add the input, saturate; then spike by one of two rules."""
    real, imag = state
    top, bits, threshold = 1 << (n.state_bits - 1), n.decay_bits, p.vth << n.state_shift
    new_real = toward_zero(real, p.cos, bits) - toward_zero(imag, p.sin, bits)
    new_imag = toward_zero(real, p.sin, bits) + toward_zero(imag, p.cos, bits)
    new_real = np.clip(new_real + wrapped(a_real << n.state_shift), 1 - top, top - 1)
    new_imag = np.clip(new_imag + wrapped(a_imag << n.state_shift), 1 - top, top - 1)
    if p.resets:
        spikes = new_imag >= threshold
        new_real = np.where(spikes, 0, new_real)
        new_imag = np.where(spikes, threshold - 1, new_imag)
    else:
        spikes = (new_real >= threshold) & (new_imag >= 0) & (imag < 0)
    return (new_real, new_imag), spikes.astype(np.int64)


def _windows(
    program: Program,
    sent: Sent,
    history: History,
    samples: int,
    steps: int,
) -> Trace:
    """Cut every layer's own window out of the streams, and leave out what filled up the last."""
    length = min(len(rows) for rows in sent.values()) - program.tail

    def window(rows: list[Array], name: str) -> NDArray[np.int32]:
        begin = program.phase[name]
        streams = np.stack(rows[begin : begin + length], axis=1)
        every = streams.reshape(-1, steps, *program.network.shape(name))
        return every[:samples].astype(np.int32)

    layers = {
        name: LayerTrace(
            window(sent[name], name),
            {k: window([r[i] for r in rows], name) for i, k in enumerate(("u", "v"))},
        )
        for name, rows in history.items()
    }
    events = {
        name: (window(rows, name) != 0).reshape(samples, steps, -1).sum(axis=0, dtype=np.int64)
        for name, rows in sent.items()
    }
    outputs = answers(program, {name: layer.spikes for name, layer in layers.items()})
    return Trace(outputs, events, layers, program.phase, program.depth, 0.0, "reference")
