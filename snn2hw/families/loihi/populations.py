"""Neurons of the Loihi family: one class for each kind, in Lava's own terms.

What each computes in a step is written out in ``definition.py``. All states start at 0.
``driven_by`` names the input whose values the host writes straight into the neurons, one to one,
without a synapse: into the bias of ``Lif``, into the input of ``Delta``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import UnsupportedError
from snn2hw.ir.arrays import frozen
from snn2hw.ir.populations import Neurons


@dataclass(frozen=True, slots=True, eq=False)
class Lif(Neurons):
    """Leaky integrate and fire: current decay ``du``, voltage decay ``dv``, threshold, bias.

    Each step (mantissas as in Lava's LIF): ``u`` decays by ``(du + 1) / 4096`` and takes the
    input; ``v`` decays by ``dv / 4096`` and takes ``u`` and ``bias << bias_exp``; a spike where
    ``v > vth << 6``, which sets ``v`` to 0. ``bias [size]`` is signed. A threshold one above the
    largest (``2**17``) is never reached: the population only integrates.
    """

    clears: ClassVar[bool] = True
    untold: ClassVar[tuple[str, ...]] = ("bias", "bias_exp")

    du: int
    dv: int
    vth: int
    bias: NDArray[np.int32]
    bias_exp: int = 6
    driven_by: str | None = None

    def __post_init__(self) -> None:
        _freeze_bias(self)
        if not (-1 <= self.du <= 4095 and 0 <= self.dv <= 4096 and self.vth > 0):
            raise ValueError(f"{self.name}: du {self.du}, dv {self.dv} or vth {self.vth} is off")
        if not 0 <= self.bias_exp <= 7:
            raise ValueError(f"{self.name}: bias exponent {self.bias_exp} is outside 0..7")


@dataclass(frozen=True, slots=True, eq=False)
class Delta(Neurons):
    """Delta encoder: sends by how much its input changed, once that reaches ``vth``.

    The input is scaled by ``2**(spike_exp + 6)``, what is sent by ``2**spike_exp``.
    """

    graded: ClassVar[bool] = True
    untold: ClassVar[tuple[str, ...]] = ("spike_exp",)

    vth: int
    driven_by: str
    spike_exp: int = 6

    def __post_init__(self) -> None:
        _check_sdnn(self)


@dataclass(frozen=True, slots=True, eq=False)
class SigmaDelta(Neurons):
    """Sigma-delta neuron: sums its input, adds ``bias [size]``, ReLU, then encodes like ``Delta``.

    Bias and threshold are scaled by ``2**(spike_exp + 6)``, what is sent by ``2**spike_exp``.
    """

    graded: ClassVar[bool] = True
    untold: ClassVar[tuple[str, ...]] = ("bias", "spike_exp")

    vth: int
    bias: NDArray[np.int32]
    spike_exp: int = 6

    def __post_init__(self) -> None:
        _freeze_bias(self)
        _check_sdnn(self)
        if np.abs(self.bias.astype(np.int64)).max() << (self.spike_exp + 6) >= 1 << 31:
            raise ValueError(f"{self.name}: bias does not fit the state")


@dataclass(frozen=True, slots=True, eq=False)
class Sigma(Neurons):
    """Sigma decoder: sums its input and sends the sum at every step."""

    graded: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, eq=False)
class Graded(Neurons):
    """Relay (Lava's GradedVec with threshold 0): sends the sum of this step's input, forgets it."""

    graded: ClassVar[bool] = True
    clears: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, eq=False)
class Resonator(Neurons):
    """Resonate and fire: a complex state turned and shrunk by ``(cos + i sin) / 4096`` a step.

    Lava's RF fires where the state passes the positive real axis at ``vth << 6`` or more; with
    ``resets`` (RF_IZ) it fires where the imaginary part reaches ``vth << 6``, and is set back.
    """

    cos: int
    sin: int
    vth: int
    resets: bool

    def __post_init__(self) -> None:
        if max(abs(self.cos), abs(self.sin)) > 4096 or not 0 < self.vth < 1 << 25:
            raise ValueError(
                f"{self.name}: cos {self.cos}, sin {self.sin} or vth {self.vth} is off"
            )


Population = Lif | Delta | SigmaDelta | Sigma | Graded | Resonator


KINDS: Mapping[str, type[Population]] = {k.__name__: k for k in get_args(Population)}


def check_sums(population: Population, arrived: NDArray[np.int64]) -> None:
    """Refuse what graded spikes add up to beyond 24 bits: there Lava's own processes disagree.

    Raises:
        UnsupportedError: names the population.
    """
    largest = int(np.abs(arrived).max(initial=0))
    if largest >= 1 << 23:
        raise UnsupportedError(
            f"{population.name} receives {largest} in one step, more than the 24 bits that a sum "
            "of graded spikes has.",
            "Give smaller inputs.",
        )


def _freeze_bias(p: Lif | SigmaDelta) -> None:
    object.__setattr__(p, "bias", frozen(p.bias, np.int32))
    if p.bias.shape != (p.size,):
        raise ValueError(f"{p.name}: bias {p.bias.shape} for {p.size} neurons")


def _check_sdnn(p: Delta | SigmaDelta) -> None:
    if not 0 <= p.spike_exp <= 7:
        raise ValueError(f"{p.name}: spike exponent {p.spike_exp} is outside 0..7")
    if p.vth < 0 or p.vth << (p.spike_exp + 6) >= 1 << 31:
        raise ValueError(f"{p.name}: threshold {p.vth} is off")
