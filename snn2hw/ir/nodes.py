"""The nodes of a float network, named by NIR's terms, and their shapes.

Units: seconds for time constants; volts and amperes stand for whatever the training used (they are
dimensionless in practice).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.arrays import Shape, frozen, size_of
from snn2hw.ir.synapses import Conv, Pair, Sparse

Reset = Literal["zero", "subtract", "zero-late", "subtract-late"]
RESETS: Mapping[Reset, str] = {
    "zero": "sets the membrane to v_reset",
    "subtract": "takes the threshold from the membrane",
    "zero-late": "sets the membrane to v_reset one step late, and what that step brings is lost",
    "subtract-late": "takes the threshold from the membrane one step late",
}
Integration = Literal["euler", "exponential"]
Fires = Literal["above", "at"]
MOST_WHOLE = 1 << 31  # what a step may carry


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """Where values enter. ``max_value`` is the largest integer a step may carry (1: spikes).

    ``gain`` and ``offset`` make the integers of what the network's author fed it, ``gain x +
    offset`` to the nearest; one number each, or one for each channel.
    """

    shape: Shape
    max_value: int = 1
    gain: NDArray[np.float64] = field(default_factory=lambda: np.ones(()))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", frozen(self.gain, np.float64))
        object.__setattr__(self, "offset", frozen(self.offset, np.float64))

    @property
    def scaled(self) -> bool:
        """Whether the author fed other numbers than these integers."""
        return bool(np.any(self.gain != 1) or np.any(self.offset != 0))

    def unrounded(self, fed: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers of which ``integers`` takes the nearest, ``[..., *shape]``."""
        return fed * self.gain + self.offset

    def integers(self, fed: NDArray[Any]) -> NDArray[np.int64]:
        """Return the integers of what the author fed, ``[..., *shape]``."""
        return np.rint(self.unrounded(fed)).astype(np.int64)

    def is_fed(self, x: NDArray[Any]) -> bool:
        """Say whether samples are what the author fed: real numbers, or true and false (1, 0)."""
        return self.scaled and x.dtype.kind in "bf"

    def taken(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the integers of what an author fed; others as they are.

        Without a scale these are real numbers that are whole.
        """
        if x.dtype.kind != "f" or self.scaled:
            return self.integers(x) if self.is_fed(x) else x
        whole = (np.abs(x) < MOST_WHOLE).all() and bool((np.rint(x) == x).all())
        return self.integers(x) if whole else x

    def fed(self, integers: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the author fed in place of integers, ``[..., *shape]``."""
        return (integers - self.offset) / self.gain


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Where the answer leaves: spikes, or membrane potentials of integrators."""

    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = weight[post, pre] x + bias[post]``."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight, np.float64))
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class SparseAffine:
    """``y = weight[post, pre] x + bias[post]`` of few weights, between shapes of any kind.

    NIR has none: it is written there as an Affine where that is small enough.
    """

    synapses: Sparse
    bias: NDArray[np.float64]
    input_shape: Shape
    output_shape: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """``y = scale * x``, element by element; the array gives the shape."""

    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", frozen(self.scale, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Conv2d:
    """A convolution and one bias for each output channel, ``bias[out]``."""

    kernel: Conv
    bias: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Conv1d:
    """A convolution over ``[C, L]``; the kernel holds it as an image of height 1."""

    kernel: Conv
    bias: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Pool2d:
    """Sum or average over windows of an image ``input_shape = (C, H, W)``."""

    input_shape: tuple[int, int, int]
    kernel: Pair
    stride: Pair
    padding: Pair
    average: bool

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise ValueError("pool kernel and stride must be positive, padding not negative")
        if min(output_shape(self)) < 1:
            raise ValueError(f"pool kernel is larger than its padded input {self.input_shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Flatten:
    """Join the dimensions ``start_dim`` to ``end_dim`` (as in PyTorch); the order stays."""

    input_shape: Shape
    start_dim: int = 0
    end_dim: int = -1

    def __post_init__(self) -> None:
        n = len(self.input_shape)
        first, last = self.start_dim, self.end_dim
        if not (-n <= first < n and -n <= last < n and first % n <= last % n):
            raise ValueError(f"cannot flatten dimensions {first} to {last} of {self.input_shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """``y(t) = x(t - delay)``, ``delay`` in seconds, one for each element."""

    delay: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "delay", frozen(self.delay, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Threshold:
    """A spike in each step whose input is above ``threshold``; nothing is remembered."""

    threshold: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", frozen(self.threshold, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Lif:
    """Leaky integrate-and-fire neurons, and with ``tau = inf`` plain integrate-and-fire.

    ``tau dv/dt = v_leak - v + r I``; a spike when ``v > v_threshold``; then ``v`` becomes
    ``v_reset`` or loses ``v_threshold``, as ``reset`` says (NIR cannot say which). A ``late`` reset
    comes a step later, as snnTorch's with ``reset_delay`` (1.0.0, ``_neurons/rleaky.py``):
    ``v[t] = v_reset`` where there was a spike in step ``t - 1``, whatever ``t`` brings, or
    ``v[t] = keep v[t-1] + gain i[t] - v_threshold``.
    ``tau_synapse > 0`` adds a first-order current ``tau_synapse di/dt = -i + w_in I`` in front
    (NIR's CubaLIF). Arrays are scalars or have the population's shape.

    For integrate-and-fire neurons ``r / tau`` is what counts: NIR's IF is ``dv/dt = r I``, held
    here as ``tau = inf`` with ``rate = r`` (per second).

    ``fires`` is where this population spikes, if it is not where the network's ``Rules`` say.
    """

    shape: Shape
    tau: NDArray[np.float64]
    r: NDArray[np.float64]
    v_threshold: NDArray[np.float64]
    v_leak: NDArray[np.float64]
    v_reset: NDArray[np.float64]
    reset: Reset = "zero"
    tau_synapse: NDArray[np.float64] | None = None
    w_in: NDArray[np.float64] | None = None
    fires: Fires | None = None

    def __post_init__(self) -> None:
        for name in ("tau", "r", "v_threshold", "v_leak", "v_reset", "tau_synapse", "w_in"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen(value, np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Leaky:
    """Leaky integrators, which give their membrane potential and never spike.

    NIR's LI, with ``tau_synapse`` its CubaLI, with ``tau = inf`` its I; fields as in ``Lif``.
    """

    shape: Shape
    tau: NDArray[np.float64]
    r: NDArray[np.float64]
    v_leak: NDArray[np.float64]
    tau_synapse: NDArray[np.float64] | None = None
    w_in: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in ("tau", "r", "v_leak", "tau_synapse", "w_in"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen(value, np.float64))


Linear = Affine | SparseAffine | Scale | Conv2d | Conv1d | Pool2d | Flatten | Delay
Cell = Lif | Leaky | Threshold  # where a chain of linear nodes ends and a new signal begins
Node = Input | Output | Linear | Cell


def input_shape(node: Node) -> Shape:
    """Return the shape a node takes."""
    match node:
        case Input() | Output() | Lif() | Leaky():
            return node.shape
        case Affine():
            return (node.weight.shape[1],)
        case Conv2d():
            return node.kernel.input_shape
        case Conv1d():
            return _without_height(node.kernel.input_shape)
        case Pool2d() | Flatten() | SparseAffine():
            return node.input_shape
        case Scale():
            return node.scale.shape
        case Delay():
            return node.delay.shape
        case Threshold():
            return node.threshold.shape
        case _:
            assert_never(node)


def output_shape(node: Node) -> Shape:
    """Return the shape a node gives."""
    match node:
        case Affine():
            return (node.weight.shape[0],)
        case SparseAffine():
            return node.output_shape
        case Conv2d():
            return node.kernel.output_shape
        case Conv1d():
            return _without_height(node.kernel.output_shape)
        case Flatten():
            shape = node.input_shape
            first, last = (d % len(shape) for d in (node.start_dim, node.end_dim))
            return (*shape[:first], size_of(shape[first : last + 1]), *shape[last + 1 :])
        case Pool2d():
            channels, height, width = node.input_shape
            sides = [
                (n + 2 * p - k) // s + 1
                for n, k, s, p in zip(
                    (height, width), node.kernel, node.stride, node.padding, strict=True
                )
            ]
            return (channels, *sides)
        case _:
            return input_shape(node)


def _without_height(shape: tuple[int, int, int]) -> Shape:
    return (shape[0], shape[2])
