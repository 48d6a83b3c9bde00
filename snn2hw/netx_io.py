"""The door to lava-dl's netx container (``.net``), which ``lava.lib.dl.netx.hdf5`` loads.

Layout, from lava-dl 0.6.0 (``netx/hdf5.py``, ``slayer/block/base.py``): ``layer/<i>`` with ``type``
and ``shape``; convolutions in PyTorch's orientation; weights as floats that hold integers. netx has
chains of conv, flatten and dense only, no weight exponent on convolutions and a bias exponent of
6; whatever does not fit is refused with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.files import Hdf5, new_hdf5, open_hdf5
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.integer import Connection, InputPort, IntNetwork, Numbers, Population
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense

BIAS_EXP = 6


def why_not(program: Program) -> str | None:
    """Return why netx cannot hold a program, or None if it can."""
    net = program.network
    if len(net.inputs) != 1:
        return f"it has {len(net.inputs)} inputs, netx one"
    previous = net.inputs[0].name
    for p in net.populations:
        into = [net.connections[i] for i in net.into(p.name)]
        if len(into) != 1 or into[0].pre != previous:
            sources = ", ".join(c.pre for c in into)
            return f"{p.name} takes spikes from {sources}; netx holds a chain"
        problem = _layer_problem(into[0], p, net.numbers)
        if problem:
            return f"{p.name} {problem}"
        previous = p.name
    return None if previous == net.output else "its output is not its last layer"


def _layer_problem(c: Connection, p: Population, numbers: Numbers) -> str | None:
    weight = c.synapses.weight
    if c.delay:
        return f"takes spikes after {c.delay} steps, and snn2hw writes no delays to netx"
    if c.synapses.kind == "sparse":
        return "has sparse synapses, which netx has not"
    if c.exponent < 0 or (c.exponent and isinstance(c.synapses, Conv)):
        return f"needs weight exponent {c.exponent}, which netx has not"
    low, high, _ = numbers.weight_range(mixed=True)
    scaled = weight.astype(np.int64) << c.exponent
    if not weight.any() or scaled.min() < low or scaled.max() > high + (not c.mixed):
        return "has weights that netx cannot hold (beyond 8 bits, or all zero)"
    if p.bias_exp != BIAS_EXP:
        return f"has bias exponent {p.bias_exp}, netx {BIAS_EXP}"
    if isinstance(c.synapses, Conv) and np.ptp(p.bias.reshape(p.shape[0], -1), axis=1).any():
        return "has a bias for each neuron, netx one for each channel"
    return None


def write(path: Path, program: Program) -> None:
    """Write a program that ``why_not`` accepts; the same program gives the same bytes."""
    net = program.network
    with new_hdf5(path) as file:
        times = file.create_group("simulation")
        times["Ts"], times["tSample"] = 1, net.time_steps
        layers = file.create_group("layer")
        port = net.inputs[0]
        _layer(layers, "input", port.shape)
        shape = port.shape
        for p in net.populations:
            c = net.connections[net.into(p.name)[0]]
            if isinstance(c.synapses, Conv):
                group = _layer(layers, "conv", c.synapses.output_shape)
                _write_conv(group, c.synapses, p)
            else:
                if len(shape) > 1:
                    _layer(layers, "flatten", (size_of(shape),))
                group = _layer(layers, "dense", (p.size,))
                weight = c.synapses.weight.astype(np.int64) << c.exponent
                group["inFeatures"], group["outFeatures"] = weight.shape[1], weight.shape[0]
                group["weight"] = weight.astype(np.float32)
                group["bias"] = p.bias.astype(np.float32)
            _write_neuron(group.create_group("neuron"), p)
            shape = p.shape if isinstance(c.synapses, Conv) else (p.size,)


def _layer(layers: Hdf5, kind: str, shape: Shape) -> Hdf5:
    group = layers.create_group(str(len(layers)))
    group.create_dataset("type", (1,), "S10", data=[kind.encode()])
    group["shape"] = np.array(shape)
    return group


def _write_conv(group: Hdf5, conv: Conv, p: Population) -> None:
    group["inChannels"], group["outChannels"] = conv.input_shape[0], conv.weight.shape[0]
    group["kernelSize"] = np.array(conv.weight.shape[2:])
    group["stride"] = np.array(conv.stride)
    group["padding"] = np.array(conv.padding)
    group["dilation"] = np.array(conv.dilation)
    group["groups"] = conv.groups
    group["weight"] = conv.weight.astype(np.float32)
    group["bias"] = p.bias.reshape(p.shape[0], -1)[:, 0].astype(np.float32)


def _write_neuron(group: Hdf5, p: Population) -> None:
    group["type"] = np.bytes_("CUBA")
    group["iDecay"], group["vDecay"], group["vThMant"] = p.du + 1, p.dv, p.vth
    group["refDelay"], group["gradedSpike"] = 1, False


def read(path: Path, *, time_steps: int | None = None, input_max: int = 1) -> IntNetwork:
    """Read a chain of conv, flatten and dense layers with CUBA or LOIHI neurons.

    Args:
        path: the ``.net`` file.
        time_steps: steps of one sample, where the file does not say.
        input_max: largest integer the first layer receives (1: spikes).

    Raises:
        InputError: if the file is not netx, or names a layer that snn2hw does not read.
    """
    with open_hdf5(path, "a netx file") as file:
        if "layer" not in file:
            raise InputError(f"{path} is not a netx file: it has no layers.")
        if time_steps is None and "simulation/tSample" in file:
            time_steps = int(np.ravel(file["simulation/tSample"][()])[0])
        if not time_steps:
            raise InputError(f"{path} does not say how long a sample lasts.", "Give --time-steps.")
        layers = [file["layer"][k] for k in sorted(file["layer"], key=int)]
        return _Chain(path, time_steps, input_max).read(layers)


class _Chain:
    """Builds the network layer by layer; ``shape`` is what the next layer receives."""

    def __init__(self, path: Path, time_steps: int, input_max: int) -> None:
        self.path, self.time_steps, self.input_max = path, time_steps, input_max
        self.shape: Shape | None = None
        self.populations: list[Population] = []
        self.connections: list[Connection] = []

    def read(self, layers: list[Hdf5]) -> IntNetwork:
        first: Shape | None = None
        for i, layer in enumerate(layers):
            kind = np.ravel(layer["type"][()])[0].decode("ascii").strip("\0 ")
            if kind == "input" and "neuron" not in layer:
                self.shape = first = _shape(layer["shape"][()])
            elif kind == "flatten":
                continue
            elif kind in ("conv", "dense"):
                first = first or self.guess_input(layer, kind)
                self.add(f"layer{i}", kind, layer)
            else:
                raise InputError(
                    f"{self.path}: layer {i} is of type {kind!r}, which snn2hw does not read.",
                    "It reads chains of input (shape only), conv, flatten and dense.",
                )
        if first is None or not self.populations:
            raise InputError(f"{self.path} has no layer with neurons.")
        return IntNetwork(
            inputs=(InputPort("input", first, self.input_max),),
            populations=tuple(self.populations),
            connections=tuple(self.connections),
            output=self.populations[-1].name,
            dt=1e-3,
            time_steps=self.time_steps,
            numbers=Numbers(),
            rounding={},
        )

    def guess_input(self, layer: Hdf5, kind: str) -> Shape:
        if kind == "conv":
            raise InputError(f"{self.path} does not say the size of its input image.")
        out = size_of(_shape(layer["shape"][()]))
        self.shape = (layer["weight"].size // out,)
        return self.shape

    def add(self, name: str, kind: str, layer: Hdf5) -> None:
        assert self.shape is not None
        given = _shape(layer["shape"][()])
        weight = layer["weight"][()].astype(np.int64)  # netx does the same: drop the fraction
        synapses: Conv | Dense
        if kind == "conv":
            weight = weight.reshape(weight.shape[:4])
            stride, padding, dilation = (
                _pair(layer[k][()]) for k in ("stride", "padding", "dilation")
            )
            image = (self.shape[0], self.shape[1], self.shape[2])
            groups = int(np.ravel(layer["groups"][()])[0])
            synapses = Conv(weight, image, stride, padding, dilation, groups)
            if synapses.output_shape != given:
                raise ValueError(f"{name} should give {given}, gives {synapses.output_shape}")
            shape: Shape = given
        else:
            shape = (size_of(given),)
            synapses = Dense(weight.reshape(shape[0], -1))
        if "delay" in layer and np.any(layer["delay"][()]):
            raise InputError(f"{self.path}: {name} has delays, which snn2hw does not read yet.")
        self.populations.append(self.neuron(name, shape, layer))
        before = self.populations[-2].name if len(self.populations) > 1 else "input"
        self.connections.append(Connection(before, name, synapses))
        self.shape = shape

    def neuron(self, name: str, shape: Shape, layer: Hdf5) -> Population:
        neuron = layer["neuron"]
        kind = np.ravel(neuron["type"][()])[0].decode("ascii").strip("\0 ")
        if kind not in ("CUBA", "LOIHI"):
            raise InputError(
                f"{self.path}: {name} has {kind} neurons, which snn2hw does not read.",
                "It reads CUBA and LOIHI.",
            )
        bias: NDArray[Any] = np.zeros(shape[0])
        if "bias" in layer:
            bias = np.ravel(layer["bias"][()])
        spread = np.repeat(bias.astype(np.int32), size_of(shape) // bias.size)
        number = {k: int(np.ravel(neuron[k][()])[0]) for k in ("iDecay", "vDecay", "vThMant")}
        return Population(
            name,
            shape,
            number["iDecay"] - 1,
            number["vDecay"],
            number["vThMant"],
            spread,
            BIAS_EXP,
        )


def _shape(value: Any) -> Shape:
    shape = tuple(int(n) for n in np.ravel(value))
    if min(shape) < 1 or size_of(shape) > 1 << 28:
        raise ValueError(f"shape {shape} makes no sense")
    return shape


def _pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.ravel(value), (2,))
    return (int(both[0]), int(both[1]))
