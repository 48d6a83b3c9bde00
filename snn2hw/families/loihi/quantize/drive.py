"""What drives a cell in one time step, in units of its threshold: weights, bias and decays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.families.loihi.numbers import Numbers
from snn2hw.ir.discrete import Coefficients, coefficients
from snn2hw.ir.graph import Incoming, Source
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Cell, Leaky, Lif
from snn2hw.ir.synapses import Conv, Dense, Synapses, from_matrix, matrix, with_weight

LEAST, MOST = 1e-100, 1e100  # in thresholds: floats end at 1e-308 and 1e308


class Sends(NamedTuple):
    """What a source sends in a step.

    Args:
        largest: value.
        digits: 1, or how many spikes stand for a value: one for each binary digit.
        scale: how many of the integers it sends are one of the float network's.
    """

    largest: int = 1
    digits: int = 1
    scale: float = 1.0


class Driving(NamedTuple):
    """Synapses, and what their source sends."""

    source: Source
    sends: Sends = Sends()


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """Everything into one population in units where the threshold is one for every neuron.

    Args:
        sources: synapses, and what goes through them.
        bias: of the membrane, ``[size]``.
        held: what comes in each step beside it and is held as what comes by synapses is:
            a bias of a synaptic current, or of an integrator, ``[size]``.
        du: decay of the current less 1, in the chip's fractions.
        dv: decay of the membrane.
    """

    sources: tuple[Driving, ...]
    bias: NDArray[np.float64]
    held: NDArray[np.float64]
    du: int
    dv: int

    @property
    def peaks(self) -> list[float]:
        """Largest size of a weight, by source."""
        weights = [s.source.synapses.weight for s in self.sources]
        return [float(np.abs(w).max(initial=0.0)) for w in weights]

    @property
    def bias_peak(self) -> float:
        """Largest size of a bias of the membrane."""
        return float(np.abs(self.bias).max(initial=0.0))

    @property
    def held_peak(self) -> float:
        """Largest size of what is held."""
        return float(np.abs(self.held).max(initial=0.0))

    def extreme(self) -> float | None:
        """Return a largest weight or bias too far from the threshold for a scale, if there is one.

        Beyond these bounds a scale, or a sum of scaled weights, may leave the range of floats.
        """
        found = [*self.peaks, self.bias_peak, self.held_peak]
        return next((v for v in found if v and not LEAST < v < MOST), None)

    def heard_from(self, ticking: str) -> Drive:
        """Return the same with what is held as synapses of a neuron that spikes in every step."""
        if not self.held.any():
            return self
        synapses = Dense(self.held[:, None])
        return replace(
            self,
            sources=(*self.sources, Driving(Source(ticking, synapses))),
            held=np.zeros_like(self.held),
        )


def drive_of(
    net: Network, cell: Cell, into: Incoming, numbers: Numbers, sends: Mapping[str, Sends]
) -> Drive:
    """Gather what drives a cell; ``sends`` is what each source does that sends no plain spikes."""
    node, step = as_spiking(cell, net)
    gain = np.broadcast_to(step.gain_voltage * step.gain_current / node.v_threshold, node.shape)
    given = into.bias.reshape(node.shape) * step.gain_voltage * step.gain_current
    du, leaves = decay(step.keep_current, numbers) - 1, step.drift + np.zeros(node.shape)
    if isinstance(cell, Leaky):
        held, bias = given + leaves, np.zeros(node.shape)
    elif du < (1 << numbers.decay_bits) - 1:
        held, bias = given, leaves
    else:
        held, bias = np.zeros(node.shape), given + leaves
    sources = tuple(
        Driving(replace(s, synapses=_scaled(s.synapses, gain.reshape(-1) / sent.scale)), sent)
        for s in into.sources
        for sent in (sends.get(s.name, Sends()),)
    )
    return Drive(
        sources,
        (bias / node.v_threshold).reshape(-1),
        (held / node.v_threshold).reshape(-1),
        du=du,
        dv=decay(step.keep_voltage, numbers),
    )


def as_spiking(cell: Cell, net: Network) -> tuple[Lif, Coefficients]:
    """Return a cell as spiking neurons and their step.

    A Threshold forgets all in each step; an integrator's threshold is the unit of its membrane.
    """
    one, none = np.ones(()), np.zeros(())
    if isinstance(cell, Leaky):
        cell = Lif(
            cell.shape, cell.tau, cell.r, one, cell.v_leak, none,
            tau_synapse=cell.tau_synapse, w_in=cell.w_in,
        )  # fmt: skip
    if isinstance(cell, Lif):
        return cell, coefficients(cell, net.dt, net.rules.integration)
    node = Lif(cell.threshold.shape, np.full((), net.dt), one, cell.threshold, none, none)
    return node, Coefficients(none, one, none, one, none)


def fires_at(cell: Cell, net: Network) -> bool:
    """Say whether a cell spikes at its threshold already."""
    return isinstance(cell, Lif) and (cell.fires or net.rules.fires) == "at"


def whole(step: Coefficients, numbers: Numbers) -> bool:
    """Say whether a membrane is a sum of whole weights: what decays does so at once or never."""
    kept = {decay(np.asarray(k), numbers) for k in np.unique(step.keep_voltage)}
    return not np.any(step.keep_current) and kept <= {0, 1 << numbers.decay_bits}


def forgets(step: Coefficients, numbers: Numbers) -> bool | None:
    """Say whether an integrator keeps nothing of a step (True) or all (False); None is neither."""
    one = 1 << numbers.decay_bits
    current, membrane = (
        set(np.rint(one * (1 - np.ravel(keep))).tolist())
        for keep in (step.keep_current, step.keep_voltage)
    )
    return membrane == {one} if current == {one} and membrane in ({0}, {one}) else None


def decay(keep: NDArray[np.float64], numbers: Numbers) -> int:
    """Round the share that is lost in a step to the chip's fraction."""
    return round((1 << numbers.decay_bits) * (1 - float(keep.flat[0])))


def _scaled(synapses: Synapses, gain: NDArray[np.float64]) -> Synapses:
    """Multiply the rows of a map by a factor for each target neuron."""
    if np.ptp(gain) == 0:
        return with_weight(synapses, synapses.weight * gain[0])
    if isinstance(synapses, Conv):
        channels = gain.reshape(synapses.output_shape)
        if np.ptp(channels, axis=(1, 2)).any():  # no kernel is shared then
            return from_matrix(scipy.sparse.diags_array(gain) @ matrix(synapses))
        return with_weight(synapses, synapses.weight * channels[:, 0, 0][:, None, None, None])
    if synapses.kind == "dense":
        return with_weight(synapses, synapses.weight * gain[:, None])
    counts = np.diff(synapses.indptr)  # type: ignore[union-attr]
    return with_weight(synapses, synapses.weight * np.repeat(gain, counts))
