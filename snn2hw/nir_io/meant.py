"""The numbers that a writer's tool computed with, where NIR holds others.

Frameworks keep a decay and a gain; NIR has a time constant and a resistance, ``tau = dt / (1 -
decay)`` and ``r = gain tau / dt``. In single precision neither comes back as it was, and at a
membrane exactly on its threshold one part in ten million is a spike. Some writers put down other
numbers than NIR asks for. Read from their sources: Norse 1.1.0 (``utils/export_nir.py``,
``functional/lif.py``, ``lif_box.py``) and Spyx (``nir.py``, ``nn.py``, of July 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.network import Integration, Leaky, Lif, coefficients

Floats = NDArray[np.float64]
Neuron = Lif | Leaky

DECIMALS = 5  # of a decay or a gain that a person writes
# A quotient of two numbers of single precision, and one less it, are right to this.
SINGLE = 2.0**-22


@dataclass(frozen=True, slots=True)
class Meant:
    """Neurons as their writer's tool computes them, and what to say about it, if anything."""

    neuron: Neuron
    said: str = ""


def meant(
    neuron: Neuron, dt: float, integration: Integration, written_by: str | None, *, moves: bool
) -> Meant:
    """Return a file's neurons with the numbers that were meant.

    Args:
        neuron: with the file's numbers.
        dt: seconds of a step.
        integration: how decays follow from time constants.
        written_by: name of the framework, if it is known.
        moves: whether membranes may be measured from another origin: a lowest membrane of the
            network is measured from 0.
    """
    neuron = _unbounded(neuron, dt)
    found = _WRITTEN.get(written_by or "", lambda n, _: Meant(n))(neuron, dt)
    neuron, said = found.neuron, found.said
    single = all(_is_single(t) for t in (neuron.tau, neuron.tau_synapse) if t is not None)
    if integration == "euler" and (single or said):
        neuron = _from_single(neuron, dt)
    if moves and isinstance(neuron, Lif):
        rests = (neuron.v_leak < neuron.v_threshold).all()
        if rests and ((neuron.v_threshold <= 0).any() or written_by == "norse"):
            neuron, moved = _from_rest(neuron)
            said = "; ".join(filter(None, (said, moved)))
    return Meant(neuron, said)


def _is_single(tau: Floats) -> bool:
    """Say whether numbers are of single precision; whole numbers are of any."""
    known = tau[np.isfinite(tau)]
    return bool((known.astype(np.float32) == known).all() and (known != np.rint(known)).any())


def _from_single(neuron: Neuron, dt: float) -> Neuron:
    """Return neurons with decays and gains within the rounding of a plain number as that number."""
    step = coefficients(neuron, dt)
    tau = _tau(_plain(step.keep_voltage), dt)
    r = _resistance(_plain(step.gain_voltage), tau, dt)
    made = replace(neuron, tau=tau, r=r)
    if neuron.tau_synapse is None:
        return made
    tau_synapse = _tau(_plain(step.keep_current), dt)
    w_in = _resistance(_plain(step.gain_current), tau_synapse, dt)
    return replace(made, tau_synapse=tau_synapse, w_in=w_in)


def _plain(value: Floats) -> Floats:
    """Return the number of a few decimals that is as near as single precision tells."""
    near = np.round(value, DECIMALS)
    close = np.abs(near - value) <= SINGLE * np.maximum(np.abs(value), 1.0)
    return np.where(close, near.astype(np.float32).astype(np.float64), value)


def _tau(keep: Floats, dt: float) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(dt / (1.0 - keep))


def _resistance(gain: Floats, tau: Floats, dt: float) -> Floats:
    """Return the ``r`` (or ``w_in``) with which a step's input counts ``gain`` times."""
    return gain * np.where(np.isfinite(tau), tau, 1.0) / dt


def _unbounded(neuron: Neuron, dt: float) -> Neuron:
    """Return neurons whose time constant and resistance are both infinite as plain integrators.

    A decay of 1 and a gain of 1 are written so: what arrives in a step is added.
    """
    both = np.isinf(neuron.tau) & np.isinf(neuron.r) & (neuron.r > 0)
    if not both.any():
        return neuron
    return replace(neuron, r=np.where(both, 1 / dt, neuron.r))


def _from_rest(neuron: Lif) -> tuple[Lif, str]:
    """Measure membranes from where they rest and start, as potentials in volts are."""
    rest = neuron.v_leak
    if not rest.any():
        return neuron, ""
    moved = replace(
        neuron, v_threshold=neuron.v_threshold - rest, v_reset=neuron.v_reset - rest,
        v_leak=np.zeros(()),
    )  # fmt: skip
    return moved, f"membranes start at rest, v_leak = {rest.flat[0]:g}, and are measured from there"


def _norse(neuron: Neuron, dt: float) -> Meant:
    """Norse writes ``dt / tau_inv``, the time constant times its step.

    Its LIFCell adds what arrives to the current as it is.
    """
    taus = {"tau": neuron.tau, "tau_synapse": neuron.tau_synapse}
    found = {k: t for k, t in taus.items() if t is not None and np.isfinite(t).all()}
    if not found or any((t >= dt).any() for t in found.values()):
        return Meant(neuron)
    found = {k: t / dt for k, t in found.items()}
    neuron = replace(neuron, **found)
    if neuron.tau_synapse is not None:
        neuron = replace(neuron, w_in=neuron.tau_synapse / dt)
    said = f"time constants divided by the step, as Norse writes them: {neuron.tau.flat[0]:g} s"
    return Meant(neuron, said)


def _spyx(neuron: Neuron, dt: float) -> Meant:
    """Spyx writes the decay for the resistance, and a decay above 1 that runs as 1.

    What arrives is added as it is.
    """
    neuron = replace(neuron, tau=np.where(neuron.tau < 0, np.inf, neuron.tau))
    one = np.ones(())
    changed = replace(neuron, r=_resistance(one, neuron.tau, dt))
    if changed.tau_synapse is not None:
        slow = np.where(changed.tau_synapse < 0, np.inf, changed.tau_synapse)
        changed = replace(changed, tau_synapse=slow, w_in=_resistance(one, slow, dt))
    return Meant(changed, "inputs added as they are, decays above 1 taken as 1, as in Spyx")


_WRITTEN: Mapping[str, Callable[[Neuron, float], Meant]] = {"norse": _norse, "spyx": _spyx}
