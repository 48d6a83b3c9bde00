"""Writing: ``Program`` -> ``.net``, or why netx cannot hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import listed
from snn2hw.families.loihi import lava
from snn2hw.families.loihi.netx import weights
from snn2hw.families.loihi.numbers import Numbers, numbers_of, populations
from snn2hw.families.loihi.populations import (
    Delta,
    Graded,
    Lif,
    Population,
    Resonator,
    Sigma,
    SigmaDelta,
)
from snn2hw.hdf5 import Hdf5, new_hdf5
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, matrix

BIAS_EXP = SPIKE_EXP = 6

Ints = NDArray[np.int64]


class _CannotHold(Exception):
    """Why netx has no place for something."""


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What one layer of the file will hold: weights ``[post, pre]``, or a kernel in ``conv``."""

    population: Population
    weight: Ints | None = None
    conv: Conv | None = None
    imag: Ints | None = None
    back: Ints | None = None
    delay: Ints | None = None


def plan(program: Program) -> Callable[[Path], None] | str:
    """Return what writes a program, or why netx cannot hold it.

    The same program gives the same bytes.
    """
    otherwise = lava.why_not(program.target)
    if otherwise is not None:
        return f"Lava, which loads it, does not count like {program.target.title}: {otherwise}"
    try:
        return partial(_write, program, *_plan(program))
    except _CannotHold as reason:
        return str(reason)


def _write(program: Program, layers: Sequence[_Layer], phased: bool, path: Path) -> None:
    net = program.network
    with new_hdf5(path) as file:
        times = file.create_group("simulation")
        times["Ts"], times["tSample"] = 1, net.time_steps
        if phased:
            times["phased"] = 1
        into = file.create_group("layer")
        port = net.inputs[0]
        group = _new(into, "input", port.shape)
        shape = port.shape
        for layer in layers:
            p = layer.population
            if isinstance(p, Lif | Delta) and p.driven_by:
                group["weight"], group["bias"] = np.float32(port.gain), np.float32(port.offset)
            elif layer.conv is not None:
                group = _new(into, "conv", p.shape)
                _write_conv(group, layer.conv)
                _write_bias(group, p)
            else:
                if len(shape) > 1:
                    _new(into, "flatten", (size_of(shape),))
                group = _new(into, "dense" if layer.back is None else "dense_rec", (p.size,))
                _write_dense(group, layer)
                _write_bias(group, p)
            _write_neuron(group.create_group("neuron"), p)
            shape = p.shape if layer.weight is None else (p.size,)


def _plan(program: Program) -> tuple[list[_Layer], bool]:
    """Return the layers, and whether a network that does not stream keeps its layers' phases."""
    net = program.network
    if len(net.inputs) != 1:
        raise _CannotHold(f"it has {len(net.inputs)} inputs, netx one")
    forward = [c.delay for c in net.connections if c.pre != c.post]
    hop = 0 if program.streams or 0 in forward else 1
    phased = hop == 0 and not program.streams
    before, previous = net.inputs[0].name, None
    layers: list[_Layer] = []
    for p in populations(net):
        try:
            if phased:
                _check_phased(p, program.phase[p.name])
            layers.append(_layer(net, p, before, previous, hop))
        except (_CannotHold, ValueError) as reason:
            raise _CannotHold(f"{p.name} {reason}") from None
        before, previous = p.name, p
    inner = [name for name, p in net.outputs.items() if p != before]
    if inner:
        raise _CannotHold(f"netx has the last layer as its output, not {listed(inner)}")
    return layers, phased


def _check_phased(p: Population, phase: int) -> None:
    # Without resets, what a late layer does before its first input would be seen in netx.
    if not isinstance(p, Lif):
        raise _CannotHold("hears the layer before it without a delay, and netx cannot reset it")
    if phase > 0 and p.bias.any():
        raise _CannotHold("has a bias that must wait for its first input, in netx it cannot")


def _layer(
    net: IntNetwork, p: Population, before: str, previous: Population | None, hop: int
) -> _Layer:
    into = [net.connections[i] for i in net.into(p.name)]
    _check_neuron(p)
    driven = p.driven_by if isinstance(p, Lif | Delta) else None
    if driven is not None:
        if into or previous is not None or driven != before:
            raise _CannotHold("is written by the host and is not the first layer, or takes spikes")
        return _Layer(p)
    forward = [c for c in into if c.pre == before]
    back = [c for c in into if c.pre == p.name]
    if not forward or len(forward) + len(back) != len(into):
        sources = ", ".join(c.pre for c in into) or "nowhere"
        raise _CannotHold(f"takes spikes from {sources}; netx holds a chain")
    if isinstance(p, Resonator):
        return _complex_layer(p, into, hop)
    if any(isinstance(c.synapses, Conv) for c in into):
        return _conv_layer(p, into, hop, numbers_of(net))
    if back and p.graded and not (previous and previous.graded):
        raise _CannotHold("sends graded spikes to itself, which netx takes for plain ones")
    return _dense_layer(p, forward, back, hop)


def _check_neuron(p: Population) -> None:
    match p:
        case Lif() if p.bias_exp != BIAS_EXP:
            raise _CannotHold(f"has bias exponent {p.bias_exp}, netx {BIAS_EXP}")
        case Delta() | SigmaDelta() if p.spike_exp != SPIKE_EXP:
            raise _CannotHold(f"has spike exponent {p.spike_exp}, netx {SPIKE_EXP}")
        case Graded():
            raise _CannotHold("sends the sum of each step, for which netx has no neuron")
        case _:
            pass


def _conv_layer(p: Population, into: list[Connection], hop: int, numbers: Numbers) -> _Layer:
    c = into[0]
    if len(into) != 1 or not isinstance(c.synapses, Conv):
        raise _CannotHold("adds a convolution to other synapses, netx has a chain")
    if p.shape != c.synapses.output_shape:
        raise _CannotHold("has a convolution over something else than images, which netx has not")
    if c.delay != hop:
        raise _CannotHold("has a convolution with a delay, which netx has not")
    value = _value(c, c.synapses.weight)
    weights.on_grid(value, numbers)  # raises where netx would need more than 8 bits
    s = c.synapses
    return _Layer(p, conv=Conv(value, s.input_shape, s.stride, s.padding, s.dilation, s.groups))


def _complex_layer(p: Resonator, into: list[Connection], hop: int) -> _Layer:
    parts = {c.part: _dense_layer(p, [c], [], hop) for c in into}
    if (
        len(into) != 2
        or set(parts) != {"real", "imag"}
        or any(x.delay is not None for x in parts.values())
    ):
        raise _CannotHold("needs one real and one imaginary matrix without delays")
    return _Layer(p, parts["real"].weight, imag=parts["imag"].weight)


def _dense_layer(
    p: Population, forward: list[Connection], back: list[Connection], hop: int
) -> _Layer:
    weight, delay = _joined(forward, hop)
    if not back:
        weights.loaded_exponent([weight])
        return _Layer(p, weight, delay=delay)
    back_weight, back_delay = _joined(back, 1)
    exponent = weights.loaded_exponent([weight, back_weight])
    if delay is not None or back_delay is not None:
        delay = _shared_delays(weight, delay, back_weight, back_delay)
        if exponent:
            raise _CannotHold("has recurrence and delays, with which netx drops the exponent")
    return _Layer(p, weight, back=back_weight, delay=delay)


def _joined(connections: list[Connection], hop: int) -> tuple[Ints, Ints | None]:
    """Put connections with their delays into one matrix, and another of delays beyond ``hop``."""
    if any(c.synapses.kind == "sparse" for c in connections) and len(connections) == 1:
        raise _CannotHold("has sparse synapses, which netx has not")
    parts = [_value(c, matrix(c.synapses).toarray()) for c in connections]
    weight, delay = np.zeros_like(parts[0]), np.zeros_like(parts[0])
    for c, part in zip(connections, parts, strict=True):
        late = c.delay - hop
        if not 0 <= late <= 62:
            raise _CannotHold(f"hears {c.pre} with a delay of {c.delay}, netx {hop} to {hop + 62}")
        if ((part != 0) & (weight != 0)).any():
            raise _CannotHold(f"has two synapses from one neuron of {c.pre} to one of its own")
        weight += part
        delay[part != 0] = late
    return weight, delay if delay.any() else None


def _shared_delays(weight: Ints, delay: Ints | None, back: Ints, back_delay: Ints | None) -> Ints:
    """Return the one matrix of delays that netx gives to both kinds of synapses."""
    if weight.shape != back.shape:
        raise _CannotHold("has recurrence and delays, for which netx wants a square matrix")
    ours = np.zeros_like(weight) if delay is None else delay
    theirs = np.zeros_like(back) if back_delay is None else back_delay
    if ((ours != theirs) & (weight != 0) & (back != 0)).any():
        raise _CannotHold("has other delays in its recurrence than before it, netx the same")
    return np.where(weight != 0, ours, theirs)


def _value(c: Connection, weight: NDArray[np.int32]) -> Ints:
    """Return ``weight * 2**exponent``, which netx wants as an integer."""
    wide = weight.astype(np.int64)
    if c.exponent < 0 and (wide % (1 << -c.exponent)).any():
        raise _CannotHold(f"needs weight exponent {c.exponent}, which netx has not")
    return wide << c.exponent if c.exponent > 0 else wide >> -c.exponent


def _new(layers: Hdf5, kind: str, shape: Shape) -> Hdf5:
    group = layers.create_group(str(len(layers)))
    group.create_dataset("type", (1,), "S10", data=[kind.encode()])
    group["shape"] = np.array(shape)
    return group


def _write_conv(group: Hdf5, conv: Conv) -> None:
    group["inChannels"], group["outChannels"] = conv.input_shape[0], conv.weight.shape[0]
    group["kernelSize"] = np.array(conv.weight.shape[2:])
    group["stride"] = np.array(conv.stride)
    group["padding"] = np.array(conv.padding)
    group["dilation"] = np.array(conv.dilation)
    group["groups"] = conv.groups
    group["weight"] = conv.weight.astype(np.float32)


def _write_dense(group: Hdf5, layer: _Layer) -> None:
    assert layer.weight is not None
    group["inFeatures"], group["outFeatures"] = layer.weight.shape[1], layer.weight.shape[0]
    if layer.imag is not None:
        both = group.create_group("weight")
        both["real"], both["imag"] = layer.weight.astype(np.float32), layer.imag.astype(np.float32)
        return
    group["weight"] = layer.weight.astype(np.float32)
    if layer.back is not None:
        group["weight_rec"] = layer.back.astype(np.float32)
    if layer.delay is not None:
        group["delay"] = layer.delay


def _write_bias(group: Hdf5, p: Population) -> None:
    if not isinstance(p, Lif | SigmaDelta):
        return
    bias = p.bias.reshape(p.shape)
    if len(p.shape) == 3:
        each = bias.reshape(p.shape[0], -1)
        # netx takes a bias for each channel, or for each neuron in its own order (W, H, C).
        bias = each[:, 0] if not np.ptp(each, axis=1).any() else bias.transpose()
    group["bias"] = bias.astype(np.float32)


def _write_neuron(group: Hdf5, p: Population) -> None:
    match p:
        case Lif():
            group["type"] = np.bytes_("CUBA")
            group["iDecay"], group["vDecay"], group["vThMant"] = p.du + 1, p.dv, p.vth
            group["refDelay"], group["gradedSpike"] = 1, False
        case Delta() | SigmaDelta() | Sigma():
            group["type"], group["activation"] = np.bytes_("SDNN"), np.bytes_("relu")
            group["vThMant"] = 0 if isinstance(p, Sigma) else p.vth
            if isinstance(p, Sigma):
                group["sigma_output"] = True
        case Resonator():
            group["type"] = np.bytes_("RF_IZHIKEVICH" if p.resets else "RF_PHASE")
            group["cosDecay"], group["sinDecay"] = p.cos, p.sin
            group["vThMant"] = p.vth
        case Graded():
            raise ValueError(f"netx has no neuron for {p.name}")  # which the plan has refused
        case _:
            assert_never(p)
