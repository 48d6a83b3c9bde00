"""The numbers that a writer's tool computed with, where NIR holds others.

Frameworks keep a decay and a gain; NIR has a time constant and a resistance, ``tau = dt / (1 -
decay)`` and ``r = gain tau / dt``. In single precision neither comes back as it was, and at a
membrane exactly on its threshold one part in ten million is a spike. Some writers put down other
numbers than NIR asks for. Read from their sources: Norse 1.1.0 (``utils/export_nir.py``,
``functional/lif.py``, ``lif_box.py``) and Spyx (``nir.py``, ``nn.py``, of July 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, NetworkError
from snn2hw.ir.arrays import Edge
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Integration, Leaky, Lif, Node

Floats = NDArray[np.float64]
Neuron = Lif | Leaky

DECIMALS = 5  # of a decay or a gain that a person writes
# A quotient of two numbers of single precision, and one less it, are right to this.
SINGLE = 2.0**-22


@dataclass(frozen=True, slots=True)
class Meant:
    """Neurons as their writer's tool computes them, and what to say about it, if anything.

    ``wrong`` says why they cannot be computed so.
    """

    neuron: Neuron
    said: str = ""
    wrong: str = ""


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
    if not moves or not isinstance(neuron, Lif):
        return Meant(neuron, said)
    wrong = ""
    rests = bool((neuron.v_leak < neuron.v_threshold).all())
    if written_by == "norse" and rests and neuron.reset == "subtract" and neuron.v_leak.any():
        wrong = (
            "rests at another v_leak than 0, and Norse's reset_subtract takes all of the threshold "
            "off: set v_leak to 0, or take --reset zero"
        )
    elif written_by == "norse" and not rests and np.isfinite(neuron.tau).any():
        wrong = "rests at or above its threshold, and Norse starts there: choose another v_leak"
    elif rests and ((neuron.v_threshold <= 0).any() or written_by == "norse"):
        neuron, moved = _from(neuron, neuron.v_leak, "at rest, v_leak")
        said = "; ".join(filter(None, (said, moved)))
    elif (neuron.v_threshold <= 0).any():
        if neuron.reset == "zero" and (neuron.v_reset < neuron.v_threshold).all():
            neuron, moved = _from(neuron, neuron.v_reset, "where a spike sets them, v_reset")
            said = "; ".join(filter(None, (said, moved)))
        else:
            wrong = (
                f"its threshold of {neuron.v_threshold.flat[0]:g} is not above 0, where its "
                "membranes start, nor above a v_leak or (with --reset zero) a v_reset where they "
                "might: subtract one of these from all of its potentials"
            )
    return Meant(neuron, said, wrong)


def with_unsound(
    error: InputError, nodes: Mapping[str, Node], edges: Sequence[Edge], dt: float
) -> InputError:
    """Return an error that also names the nodes that are not sound, if there are any."""
    try:
        Network(nodes, tuple(edges), dt)
    except NetworkError as other:
        return InputError(f"{error.message} {other.message}", error.hint)
    return error


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


def _from(neuron: Lif, origin: Floats, where: str) -> tuple[Lif, str]:
    """Measure membranes from where they start, as potentials in volts are."""
    if not origin.any():
        return neuron, ""
    leaks = np.isfinite(neuron.tau)
    moved = replace(
        neuron, v_threshold=neuron.v_threshold - origin, v_reset=neuron.v_reset - origin,
        v_leak=np.where(leaks, neuron.v_leak - origin, 0.0),
    )  # fmt: skip
    return moved, f"membranes start {where} = {origin.flat[0]:g}, and are measured from there"


def _adds_whole(neuron: Neuron, dt: float, tool: str) -> Meant:
    """Integrate-and-fire neurons of resistance 1, to which such tools add inputs as they are."""
    if np.isfinite(neuron.tau).any() or dt == 1 or (neuron.r != 1).any():
        return Meant(neuron)
    return Meant(replace(neuron, r=np.asarray(1 / dt)), f"inputs added as they are, as in {tool}")


def _norse(neuron: Neuron, dt: float) -> Meant:
    """Norse writes ``dt / tau_inv``, the time constant times its step.

    Its LIFCell adds what arrives to the current as it is, its IAFCell to the membrane.
    """
    taus = {"tau": neuron.tau, "tau_synapse": neuron.tau_synapse}
    found = {k: t for k, t in taus.items() if t is not None and np.isfinite(t).all()}
    if not found:
        return _adds_whole(neuron, dt, "Norse")
    if any((t >= dt).any() for t in found.values()):
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


_WRITTEN: Mapping[str, Callable[[Neuron, float], Meant]] = {
    "norse": _norse,
    "sinabs": lambda neuron, dt: _adds_whole(neuron, dt, "Sinabs"),
    "spyx": _spyx,
}
