"""Reading: ``.net`` -> ``IntNetwork``, every layer checked before anything is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, listed
from snn2hw.families.loihi.netx import weights
from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.populations import (
    Delta,
    Lif,
    Population,
    Resonator,
    Sigma,
    SigmaDelta,
)
from snn2hw.files import reading
from snn2hw.hdf5 import Group, described, read_hdf5
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.synapses import Conv, Dense, Synapses, from_matrix

BIAS_EXP = 6
OUTPUT = "output"  # what the only one is called, as the file does not name it
MOST_LAYERS = 1000
MOST_NEURONS = 1 << 24  # more than a board of Loihi 2 chips has
DELTA_RANGE = 1 << 11  # a Delta scales its input by 2**12 into 24 bits
UNLOADABLE = ("average", "concat", "convT", "dense_comp", "pool", "unpool")
RESONATORS = {"RF_PHASE": False, "RF": True, "RF_IZHIKEVICH": True}
# What slayer may write, netx does not look at, and would change what is computed.
UNHEARD = {"wgtExp": 0, "gradedSpike": 0, "refDelay": 1}

Ints = NDArray[np.int64]
Bias = NDArray[np.int32]


def read(path: Path, *, time_steps: int | None = None, input_max: int | None = None) -> IntNetwork:
    """Read a chain of layers as lava-dl's loader understands it.

    Args:
        path: the ``.net`` file.
        time_steps: steps of one sample, where the file does not say.
        input_max: largest integer that the network receives. Default: 1 (spikes) into synapses;
            whatever the neurons hold where the host writes into them.

    Raises:
        InputError: if the file is not netx; names every layer that cannot be read, and why.
    """
    with reading(path, "a netx file"):
        file = read_hdf5(path, "a netx file")
        groups = _layers(file, path)
        simulation = file.get("simulation")
        told = simulation if isinstance(simulation, Group) else Group({}, {})
        if time_steps is None and "tSample" in told:
            time_steps = _scalar(told, "tSample")
        if not time_steps:
            raise InputError(
                f"{path} does not say how long a sample lasts.",
                "Give --time-steps, in Python time_steps=.",
            )
        chain = _Chain(0 if "phased" in told or not _own_time(groups) else 1, input_max)
        problems = chain.take_all(groups)
        if not problems and not chain.populations:
            problems = ["it has no layer with neurons"]
        if problems:
            raise InputError(
                f"{path} cannot be read: {listed(problems, '; ')}.",
                "lava-dl 0.6.0 loads chains of input, conv, dense, dense_rec and flatten.",
            )
        return IntNetwork(
            inputs=(chain.port,),
            populations=tuple(chain.populations),
            connections=tuple(chain.connections),
            outputs={OUTPUT: chain.populations[-1].name},
            dt=1e-3,
            time_steps=time_steps,
            numbers=chain.numbers,
            rounding={},
        )


def notes(net: IntNetwork) -> tuple[str, ...]:
    """Say what somebody who feeds a network from a ``.net`` file has to know."""
    port, found = net.inputs[0], list[str]()
    if any(isinstance(p, Lif | Delta) and p.driven_by for p in net.populations):
        found.append(
            f"the host writes integers from {port.min_value} to {port.max_value} into the first "
            f"layer; the network was made for int({port.gain} * x + {port.offset}) of its data"
        )
    hops = sum(
        max((net.connections[i].delay for i in net.into(p.name)), default=0)
        for p in net.populations
    )
    if hops:
        found.append(
            "netx cannot reset this network between samples: all layers start at once, and the "
            f"output hears a sample's first step {hops} steps later at most"
        )
    return tuple(found)


def _layers(file: Group, path: Path) -> list[Group]:
    layers = file.get("layer")
    if not isinstance(layers, Group) or not layers:
        raise InputError(f"{path} is not a netx file: it has no layers.")
    count = len(layers)
    if count > MOST_LAYERS:
        raise InputError(f"{path} declares {count} layers; more than {MOST_LAYERS} are refused.")
    wrong = sorted(set(layers) - {str(i) for i in range(count)})
    if wrong:
        raise InputError(f"{path}: layers must be numbered from 0, not {listed(wrong)}.")
    found = [(i, layers[str(i)]) for i in range(count)]
    flat = [f"layer {i} holds {described(x)}" for i, x in found if not isinstance(x, Group)]
    if flat:
        raise InputError(f"{path}: {listed(flat, '; ')}; a layer is a group.")
    return [x for _, x in found if isinstance(x, Group)]


def _own_time(groups: list[Group]) -> bool:
    """Say whether netx cannot reset the network between samples."""

    def holds_more(group: Group) -> bool:
        try:
            neuron = _text(_group(group, "neuron"), "type") if "neuron" in group else "CUBA"
            return (
                _text(group, "type") == "dense_rec"
                or neuron not in ("CUBA", "LOIHI")
                or ("delay" in group and bool(np.any(_values(group, "delay"))))
            )
        except ValueError:  # will be named when the layer is read
            return False

    return any(holds_more(g) for g in groups)


class _Chain:
    """Builds the network layer by layer; ``shape`` is what the next layer receives."""

    def __init__(self, hop: int, input_max: int | None) -> None:
        self.hop, self.input_max = hop, input_max
        self.numbers = Numbers()
        self.port = InputPort("input", (1,))
        self.before: str | None = None
        self.shape: Shape | None = None
        self.flat = False
        self.graded = False
        self.populations: list[Population] = []
        self.connections: list[Connection] = []

    def take_all(self, groups: list[Group]) -> list[str]:
        """Read every layer; returns what is wrong, by layer."""
        problems: list[str] = []
        for i, group in enumerate(groups):
            kind = "?"
            try:
                kind = _text(group, "type")
                self.take(i, kind, group)
            except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                said = str(error).strip("'\"").removeprefix(f"{self.name}: ")
                problems.append(f"layer {i} ({kind}) {said}")
                self.go_on(kind, group)
        return problems

    def go_on(self, kind: str, group: Group) -> None:
        """Believe the shape of a layer that cannot be read, to look at those after it."""
        self.flat = kind == "flatten"
        if self.flat:
            return
        self.before, self.graded = self.name, True
        try:
            shape = _shape(group)
            self.shape = (size_of(shape),) if kind.startswith("dense") else shape
        except ValueError:
            self.shape = None

    @property
    def name(self) -> str:
        """Name of the next layer with neurons, by its place in netx's ``Network.layers``."""
        return f"layer{len(self.populations)}"

    def take(self, i: int, kind: str, group: Group) -> None:
        """Read one layer."""
        name = self.name
        if kind == "input":
            self.input(name, group, first=i == 0)
        elif kind == "flatten":
            if self.shape is not None and len(self.shape) != 3:
                raise ValueError(f"flattens shape {self.shape}, netx only channels of images")
            self.flat = True
        elif kind == "conv":
            self.add(name, group, *self.conv(name, group))
        elif kind in ("dense", "dense_rec"):
            self.add(name, group, *self.dense(name, group, recurrent=kind == "dense_rec"))
        elif kind in UNLOADABLE:
            raise ValueError("is of a type that no loader of lava-dl loads")
        else:
            raise ValueError("is of an unknown type")

    def input(self, name: str, group: Group, *, first: bool) -> None:
        """Read the input's shape and, if it has one, its neuron, which the host writes into."""
        if not first:
            raise ValueError("is an input behind other layers")
        self.shape = _shape(group)
        self.port = InputPort("input", self.shape, self.input_max or 1)
        if "neuron" not in group:
            return
        gain, offset = (
            _scalar(group, k) if k in group else default
            for k, default in (("weight", 64), ("bias", 0))
        )
        neuron = _group(group, "neuron")
        kind = _neuron_kind(neuron)
        if kind == "SDNN":
            made: Population = Delta(name, self.shape, _need(neuron, "vThMant"), "input")
            low, high = -DELTA_RANGE, DELTA_RANGE - 1
        elif kind == "RF":
            raise ValueError("has RF neurons, which take no input without synapses")
        else:
            made = self.lif(
                name, self.shape, group, np.zeros(size_of(self.shape), np.int32), "input"
            )
            low, high = -self.numbers.bias_max - 1, self.numbers.bias_max
        if self.input_max is not None:
            low, high = max(low, -self.input_max), min(high, self.input_max)
        self.port = InputPort("input", self.shape, high, low, gain, offset)
        self.populations.append(made)
        self.before, self.graded = name, made.graded

    def conv(self, name: str, group: Group) -> tuple[Shape, list[Connection]]:
        """Read a convolution, which netx feeds from an image."""
        if self.shape is None or len(self.shape) != 3 or self.flat:
            got = "no image" if self.shape is None else f"shape {self.shape}"
            raise ValueError(f"takes an image, and gets {got}")
        _keys(group, "shape", "weight", "stride", "padding", "dilation", "groups", "neuron")
        if "delay" in group and np.any(_values(group, "delay")):
            raise ValueError("has delays, which netx does not apply to convolutions")
        given = _shape(group)
        stride, padding, dilation = (_pair(group, k) for k in ("stride", "padding", "dilation"))
        weight = _weight(group, "weight")
        conv = Conv(
            weight.reshape(weight.shape[:4]), (self.shape[0], self.shape[1], self.shape[2]),
            stride, padding, dilation, _scalar(group, "groups"),
        )  # fmt: skip
        if conv.output_shape != given:
            raise ValueError(f"says shape {given} and computes {conv.output_shape}")
        mantissa, exponent = weights.on_grid(conv.weight, self.numbers)
        synapses = Conv(mantissa, conv.input_shape, stride, padding, dilation, conv.groups)
        return given, [Connection(self.source, name, synapses, exponent, self.hop)]

    def dense(self, name: str, group: Group, *, recurrent: bool) -> tuple[Shape, list[Connection]]:
        """Read a dense layer: its synapses, and those from itself to itself."""
        _keys(group, "shape", "weight", *(["weight_rec"] if recurrent else []))
        size = size_of(_shape(group))
        parted = group["weight"]
        if isinstance(parted, Group):
            return (size,), self.complex(name, group, parted, size)
        weight = _matrix(group, "weight", size)
        self.check_width(weight.shape[1])
        delay = _delays(group, weight.shape)
        parts = [weight]
        if recurrent:
            parts.append(_matrix(group, "weight_rec", size))
            if parts[1].shape[1] != size:
                raise ValueError(f"has weight_rec {parts[1].shape}, which is not square")
            if delay is not None and delay.shape != parts[1].shape:
                raise ValueError("has delays, which netx gives to weight_rec of another shape too")
        if weights.loaded_exponent(parts) and recurrent and delay is not None:
            raise ValueError(
                "has recurrence and delays, with which netx drops the weights' exponent "
                "(make the largest weight 128 or more)"
            )
        made = self.delayed(self.source, name, weight, delay, self.hop)
        if recurrent:
            made += self.delayed(name, name, parts[1], delay, 1)
        return (size,), made

    def complex(self, name: str, group: Group, weights_of: Group, size: int) -> list[Connection]:
        """Read a dense layer with complex weights, which only RF neurons take."""
        if _neuron_kind(_group(group, "neuron")) != "RF":
            raise ValueError("has complex weights, which only RF neurons take")
        for key in ("bias", "delay"):
            if key in group and np.any(_values(group, key)):
                raise ValueError(f"has {key}, which netx drops where weights are complex")
        parts: tuple[tuple[str, str], ...] = (("real", "real"), ("imag", "imag"))
        made: list[Connection] = []
        for key, part in parts:
            weight = _matrix(weights_of, key, size)
            self.check_width(weight.shape[1])
            weights.loaded_exponent([weight])
            grid, exponent = weights.on_grid(weight, self.numbers)
            made.append(Connection(self.source, name, Dense(grid), exponent, self.hop, part))
        return made

    def check_width(self, width: int) -> None:
        """Compare a matrix's columns with what the layer receives."""
        if self.shape is None and self.before is None:
            self.shape = (width,)
            self.port = InputPort("input", self.shape, self.input_max or 1)
        if self.shape is not None and size_of(self.shape) != width:
            raise ValueError(f"has weights for {width} inputs, and gets {size_of(self.shape)}")
        if self.shape is not None and len(self.shape) > 1 and not self.flat:
            raise ValueError(f"gets shape {self.shape} without a flatten layer between")

    def delayed(
        self, pre: str, post: str, weight: Ints, delay: Ints | None, hop: int
    ) -> list[Connection]:
        """Make a connection for each delay that a weight has."""
        steps = [0] if delay is None else sorted(set(delay[weight != 0].tolist()) or {0})
        made: list[Connection] = []
        for d in steps:
            alone = len(steps) == 1
            part = weight if alone else np.where(delay == d, weight, 0)
            grid, shift = weights.on_grid(part, self.numbers)
            synapses: Synapses = Dense(grid) if alone else from_matrix(grid)
            made.append(Connection(pre, post, synapses, shift, hop + d))
        return made

    @property
    def source(self) -> str:
        """Name of what feeds the next layer."""
        return self.before or "input"

    def add(self, name: str, group: Group, shape: Shape, into: list[Connection]) -> None:
        """Give a layer's synapses their neurons."""
        self.check_room(shape)
        made = self.neurons(name, shape, group)
        complex_weights = any(c.part == "imag" for c in into)
        if isinstance(made, Resonator) and not complex_weights:
            raise ValueError("has RF neurons and weights that are not complex")
        if made.graded and not self.graded and any(c.pre == name for c in into):
            raise ValueError("has graded spikes of its own, which netx takes for plain ones here")
        self.populations.append(made)
        self.connections += into
        self.shape, self.before, self.flat, self.graded = shape, name, False, made.graded

    def check_room(self, shape: Shape) -> None:
        """Refuse more neurons than there are anywhere: each has a bias in memory."""
        total = sum(p.size for p in self.populations) + size_of(shape)
        if total > MOST_NEURONS:
            raise ValueError(f"brings the network to {total} neurons; {MOST_NEURONS} are the most")

    def neurons(self, name: str, shape: Shape, group: Group) -> Population:
        """Read the neurons behind synapses."""
        neuron = _group(group, "neuron") if "neuron" in group else Group({}, {})
        kind = _neuron_kind(neuron) if neuron else "LIF"
        if kind == "RF":
            cos, sin = _need(neuron, "cosDecay"), _need(neuron, "sinDecay")
            resets = RESONATORS[_text(neuron, "type")]
            return Resonator(name, shape, cos, sin, _need(neuron, "vThMant"), resets)
        if kind == "SDNN" and "sigma_output" in neuron:
            if "bias" in group:
                raise ValueError("has a bias in front of a Sigma, which has none")
            return Sigma(name, shape)
        bias = _bias(group, shape)
        if kind == "SDNN":
            return SigmaDelta(name, shape, _need(neuron, "vThMant"), bias)
        return self.lif(name, shape, group, bias, None)

    def lif(self, name: str, shape: Shape, group: Group, bias: Bias, driven: str | None) -> Lif:
        """Read CUBA or LOIHI neurons; without any, netx puts integrators that never spike."""
        never = self.numbers.threshold_max + 1
        i_decay, v_decay, vth = 0, 4096, never
        if "neuron" in group:
            i_decay, v_decay, vth = (
                _need(_group(group, "neuron"), k) for k in ("iDecay", "vDecay", "vThMant")
            )
        low, high = -self.numbers.bias_max - 1, self.numbers.bias_max
        if bias.min() < low or bias.max() > high:
            raise ValueError(f"has biases from {bias.min()} to {bias.max()}, not {low} to {high}")
        return Lif(name, shape, i_decay - 1, v_decay, min(vth, never), bias, BIAS_EXP, driven)


def _neuron_kind(neuron: Group) -> str:
    """Return LIF, SDNN or RF after checking what netx would pass over."""
    kind = _text(neuron, "type")
    if kind not in ("CUBA", "LOIHI", "SDNN", *RESONATORS):
        raise ValueError(f"has {kind} neurons, which netx does not load")
    if "messageBits" in neuron:
        raise ValueError("sets messageBits, on which lava-dl 0.6.0 stops")
    for key, usual in UNHEARD.items():
        if key in neuron and _scalar(neuron, key) != usual:
            raise ValueError(f"sets {key} to {_scalar(neuron, key)}, which netx does not look at")
    if kind == "SDNN":
        activation = _text(neuron, "activation") if "activation" in neuron else "relu"
        if activation != "relu":
            raise ValueError(f"has activation {activation}, netx relu")
        return "SDNN"
    return "RF" if kind in RESONATORS else "LIF"


def _bias(group: Group, shape: Shape) -> Bias:
    """Spread a bias over neurons: one for all, for each channel, or for each neuron (W, H, C)."""
    if "bias" not in group:
        return np.zeros(size_of(shape), np.int32)
    bias = _values(group, "bias")
    if np.abs(bias).max(initial=0) >= 1 << 31:
        raise ValueError("has an absurd bias")
    bias = bias.astype(np.int32)  # netx does the same: drop the fraction
    if len(shape) == 1 and bias.size in (1, shape[0]):
        return np.broadcast_to(bias.ravel(), shape).copy()
    if bias.shape == shape[::-1]:
        return bias.transpose().ravel()
    if bias.shape == (shape[0],):
        return np.repeat(bias, size_of(shape) // shape[0])
    raise ValueError(f"has bias {bias.shape} for neurons of shape {shape}")


def _delays(group: Group, shape: tuple[int, ...]) -> Ints | None:
    """Return ``[post, pre]``: one delay for all, for each row, or else for each column."""
    if "delay" not in group:
        return None
    delay = _values(group, "delay").astype(np.int64)
    if delay.min() < 0 or delay.max() > 62:
        raise ValueError(f"has delays from {delay.min()} to {delay.max()}, not 0 to 62")
    if not delay.any():
        return None
    if delay.size == 1:
        return np.broadcast_to(delay.ravel(), shape).copy()
    if delay.ndim == 1 and delay.size in shape:
        rows = delay.size == shape[0]
        return np.broadcast_to(delay[:, None] if rows else delay[None], shape).copy()
    if delay.shape != shape:
        raise ValueError(f"has delays {delay.shape} for weights {shape}")
    return delay


def _matrix(group: Group, key: str, size: int) -> Ints:
    weight = _weight(group, key)
    if weight.size % size:
        raise ValueError(f"has {weight.size} weights for {size} neurons")
    if weight.ndim == 2 and weight.shape[0] != size:
        raise ValueError(f"has {key} {weight.shape} for {size} neurons")
    return weight.reshape(size, -1)


def _weight(group: Group, key: str) -> Ints:
    weight = _values(group, key)
    if weight.size == 0 or np.abs(weight).max() >= 1 << 31:
        raise ValueError(f"has no {key}, or an absurd one")
    return weight.astype(np.int64)  # netx does the same: drop the fraction


def _keys(group: Group, *keys: str) -> None:
    missing = [k for k in keys if k not in group]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")


def _need(group: Group, key: str) -> int:
    _keys(group, key)
    return _scalar(group, key)


def _scalar(group: Group, key: str) -> int:
    value = _values(group, key)
    if value.size != 1 or abs(value.item()) >= 1 << 31:
        raise ValueError(f"has {value.size} values of {key}, not one")
    return int(value.item())


def _values(group: Group, key: str) -> NDArray[Any]:
    _keys(group, key)
    value = group[key]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise ValueError(f"has {described(value)} for {key}, not real numbers")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        wrong = int((~np.isfinite(value)).sum())
        raise ValueError(f"has {wrong} values of {key} that are NaN or infinite")
    return value


def _text(group: Group, key: str) -> str:
    _keys(group, key)
    value = group[key]
    if isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.size == 1:
        value = str(value.item())
    if not isinstance(value, str):
        raise ValueError(f"has {described(value)} for {key}, not a text")
    return value.strip("\0 ")


def _group(group: Group, key: str) -> Group:
    _keys(group, key)
    value = group[key]
    if not isinstance(value, Group):
        raise ValueError(f"has {described(value)} for {key}, not a group")
    return value


def _shape(group: Group) -> Shape:
    stored = _values(group, "shape")
    if stored.size > 3:
        raise ValueError(f"has a shape of {stored.size} numbers, which makes no sense")
    shape = tuple(int(n) for n in stored.ravel())
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or size_of(shape) > MOST_NEURONS:
        raise ValueError(f"has shape {shape}, which makes no sense")
    return shape


def _pair(group: Group, key: str) -> tuple[int, int]:
    stored = _values(group, key)
    if stored.size not in (1, 2):
        raise ValueError(f"has {stored.size} values of {key}, not one or two")
    both = np.broadcast_to(stored.ravel(), (2,))
    return int(both[0]), int(both[1])
