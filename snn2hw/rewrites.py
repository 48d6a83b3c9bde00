"""Rewrites: what a target's neurons cannot do, or at a price, replaced by the nearest they can.

Nothing here happens unasked: each rewrite has a name, the build records it, and the change that it
makes to spikes and accuracy is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.errors import UnsupportedError, unknown_name
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.neuron import NeuronRules
from snn2hw.ir.nodes import Affine, Conv1d, Conv2d, Fires, Integration, Leaky, Lif, SparseAffine
from snn2hw.ir.target import Target

Floats = NDArray[np.float64]

USUAL = NeuronRules()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A named change.

    Args:
        about: what it does.
        concerns: whether it changes a network for a target, of such neurons.
        apply: the change.
        saves: says of a target's neurons whether they do without as well, at a higher price;
            ``all`` leaves it out then.
    """

    about: str
    concerns: Callable[[Network, Target, NeuronRules], bool]
    apply: Callable[[Network], Network]
    saves: Callable[[NeuronRules], bool] = lambda _: False


def rewrite(
    net: Network, target: Target, names: list[str], neurons: NeuronRules = USUAL
) -> tuple[Network, list[str]]:
    """Apply those of the named rewrites (``all`` for what the target makes necessary).

    Args:
        net: the network.
        target: the chip.
        names: of rewrites.
        neurons: what those of the chip compute.

    Returns:
        The network, and the names of what was applied.
    """
    for name in names:
        if name != "all" and name not in REWRITES:
            raise unknown_name("rewrite", name, ["all", *REWRITES])
    applied: list[str] = []
    for name, one in REWRITES.items():
        asked = name in names or ("all" in names and not one.saves(neurons))
        if asked and one.concerns(net, target, neurons):
            net = _changed(net, name)
            applied.append(name)
    return net, applied


@lru_cache(maxsize=8)  # several targets are asked about one network
def _changed(net: Network, name: str) -> Network:
    return REWRITES[name].apply(net)


def start_at_reset(net: Network) -> Network:
    """Start membranes where a spike sets them, and measure them from there.

    After the first spike, and as fast as the start is forgotten, nothing differs.
    """

    def moved(node: Lif) -> Lif:
        if not _set_aside(node):
            return node
        origin = node.v_reset
        return replace(
            node, v_threshold=node.v_threshold - origin, v_leak=node.v_leak - origin,
            v_reset=np.zeros(()),
        )  # fmt: skip

    return _each(net, moved)


def _set_aside(node: Lif) -> bool:
    """Say whether a spike sets membranes to another value than they start at, below threshold."""
    return (
        node.reset == "zero"
        and bool(np.any(node.v_reset))
        and bool((node.v_reset < node.v_threshold).all())
        and bool(np.isfinite(node.tau).all())
    )


def hard_reset(net: Network) -> Network:
    """Set the membrane to 0 at a spike, where it lost the threshold or was set a step late."""
    return _each(net, lambda n: replace(n, reset="zero", v_reset=np.zeros(())))


def _soft(net: Network, target: Target, _: NeuronRules) -> bool:
    resets = {n.reset for n in net.neurons().values()}
    offset = any(n.reset == "zero" and np.any(n.v_reset) for n in net.neurons().values())
    lacks = offset or any(not target.abilities.get(f"reset_{r}") for r in resets)
    return lacks and target.abilities["reset_zero"]


def soft_reset(net: Network) -> Network:
    """Take the threshold from the membrane at a spike, where it was set, or was taken late."""
    return _each(net, lambda n: replace(n, reset="subtract", v_reset=np.zeros(())))


def _hard(net: Network, target: Target, _: NeuronRules) -> bool:
    resets = {n.reset for n in net.neurons().values()}
    return resets != {"subtract"} and not target.abilities["reset_zero"]


def above_threshold(net: Network) -> Network:
    """Ask for a membrane above the threshold, where being at it was enough.

    Populations whose membranes keep all or nothing in a step stay: in integers, a spike at a
    threshold is one above the integer below.
    """

    def above(node: Lif) -> Lif:
        at = (node.fires or net.rules.fires) == "at" and not _leaks(node, net)
        return _firing(node, "at" if at else None)

    return _each(net, above, replace(net.rules, fires="above"))


def _firing(node: Lif, fires: Fires | None) -> Lif:
    return node if node.fires == fires else replace(node, fires=fires)


def _leaks(node: Lif, net: Network) -> bool:
    """Say whether a step keeps a part of a membrane or of a current."""
    step = coefficients(node, net.dt, net.rules.integration)
    return not np.isin(step.keep_voltage, (0, 1)).all() or bool(step.keep_current.any())


def _early(net: Network, target: Target, _: NeuronRules) -> bool:
    early = [n for n in net.neurons().values() if (n.fires or net.rules.fires) == "at"]
    return any(_leaks(n, net) for n in early) and not target.abilities.get("fires_at")


def at_threshold(net: Network) -> Network:
    """Let a membrane at the threshold spike, where it had to be above."""
    return _each(net, lambda n: _firing(n, None), replace(net.rules, fires="at"))


def _late(net: Network, target: Target, _: NeuronRules) -> bool:
    above = any((n.fires or net.rules.fires) == "above" for n in net.neurons().values())
    return above and bool(target.abilities.get("fires_at"))


def settled_bias(net: Network) -> Network:
    """Let a bias on a synaptic current act from the first step with its final strength.

    Then it is one of the membrane, which costs nothing on a chip; else it comes from synapses.
    """
    nodes = dict(net.nodes)
    populations = {k: n for k, n in net.neurons().items() if _has_current(n)}
    after: dict[str, list[str]] = {}
    for a, b in net.edges:
        after.setdefault(a, []).append(b)
    for name in populations:
        for before in net.predecessors(name):
            linear = nodes[before]
            only = after[before] == [name]
            if only and isinstance(linear, Affine | SparseAffine | Conv2d | Conv1d):
                nodes[before] = replace(linear, bias=np.zeros_like(linear.bias))
    taken = replace(net, nodes=nodes)
    old, new = wiring(net), wiring(taken)
    for name, node in populations.items():
        bias = (old.into[name].bias - new.into[name].bias).reshape(node.shape)
        w_in = node.w_in if node.w_in is not None else np.ones(())
        nodes[name] = replace(node, v_leak=node.v_leak + node.r * w_in * bias)
    return replace(net, nodes=nodes)


def _has_current(node: Lif) -> bool:
    return node.tau_synapse is not None and bool(np.isfinite(node.tau).all())


def _settles(net: Network, target: Target, _: NeuronRules) -> bool:
    try:
        wires = wiring(net)
    except UnsupportedError:  # as every target will say
        return False
    return any(
        node.tau_synapse is not None and wires.into[name].bias.any()
        for name, node in net.neurons().items()
    )


# Which share of a state a chip tells from nothing and from all: half of 1/4096, the finest decay.
TOLD = 1 / 8192
FORGETS = 64.0  # steps of decay after which nothing is left of a float64


def summed_readout(net: Network) -> Network:
    """Let a readout that leaks send what arrives in each step.

    The total of an integrator that keeps ``k`` of its membrane in a step holds what arrived in step
    ``s`` of ``T`` with the weight ``r (1 - k**(T - s))``. Here that is ``r`` in every step, as if
    the membrane were read on until it has decayed. A synaptic current counts with its whole charge
    in the step in which it arrives. An integrator without a leak (``tau = inf``) stays one.
    """
    at_once = net.dt / (1.0 if net.rules.integration == "euler" else FORGETS)
    nodes = dict(net.nodes)
    for name, node in _fading(net).items():
        charge = np.ones(()) if node.tau_synapse is None or node.w_in is None else node.w_in
        nodes[name] = replace(
            node, tau=np.where(np.isfinite(node.tau), at_once, np.inf), r=node.r * charge,
            tau_synapse=None, w_in=None,
        )  # fmt: skip
    return replace(net, nodes=nodes)


def _fading(net: Network) -> dict[str, Leaky]:
    """Return the integrators that only outputs hear and that keep a part of a state in a step."""
    wires = wiring(net)
    heard = {s.name for name in wires.order for s in wires.into[name].sources}
    found: dict[str, Leaky] = {}
    for name, node in net.nodes.items():
        if isinstance(node, Leaky) and name not in heard:
            step = coefficients(node, net.dt, net.rules.integration)
            part = (step.keep_voltage > TOLD) & (step.keep_voltage < 1 - TOLD)
            if part.any() or (step.keep_current > TOLD).any():
                found[name] = node
    return found


def _fades(net: Network, target: Target, _: NeuronRules) -> bool:
    try:
        return bool(target.abilities.get("graded_output") and _fading(net))
    except UnsupportedError:  # as every target will say
        return False


FEW = 8  # time constants of a population; a chip that has one a population takes a part for each


def few_time_constants(net: Network) -> Network:
    """Give the neurons of each population one of eight time constants, the nearest to their own.

    They are the centres of eight groups (k-means, Lloyd 1982) of what a step leaves of membrane and
    current. What a step's input counts stays.
    """

    def grouped(node: Lif) -> Lif:
        step = coefficients(node, net.dt, net.rules.integration)
        kept = [np.broadcast_to(k, node.shape) for k in (step.keep_voltage, step.keep_current)]
        points = np.stack([k.reshape(-1) for k in kept], axis=1)
        if not _more_pairs(points, FEW):
            return node
        grouped_by: Any = scipy.cluster.vq.kmeans2  # typed as if it never returned
        centres, group = grouped_by(points, FEW, minit="++", rng=0)
        voltage, current = (centres[group, i].reshape(node.shape) for i in (0, 1))
        return _with_decays(node, net.dt, net.rules.integration, voltage, current)

    return _each(net, grouped)


def _with_decays(
    node: Lif, dt: float, integration: Integration, voltage: Floats, current: Floats
) -> Lif:
    """Return neurons with other decays, to which inputs and resting potentials count as before."""

    def tau(keep: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return dt / (1 - keep) if integration == "euler" else -dt / np.log(keep)

    step = coefficients(node, dt, integration)
    lost = np.where(voltage < 1, 1 - voltage, dt)  # of plain integrators, r counts per second
    made = replace(node, tau=tau(voltage), r=step.gain_voltage / lost)
    made = replace(made, v_leak=np.where(voltage < 1, step.drift / lost, 0.0))
    if node.tau_synapse is None:
        return made
    return replace(made, tau_synapse=tau(current), w_in=step.gain_current / (1 - current))


def _many_time_constants(net: Network, _: Target, neurons: NeuronRules) -> bool:
    most = neurons.time_constants
    if most is None:
        return False
    for node in net.neurons().values():
        step = coefficients(node, net.dt, net.rules.integration)
        kept = (step.keep_voltage, step.keep_current)
        pairs = np.stack([np.broadcast_to(k, node.shape).reshape(-1) for k in kept], axis=1)
        if _more_pairs(pairs, most):
            return True
    return False


def _more_pairs(pairs: Floats, most: int) -> bool:
    """Say whether ``[n, 2]`` holds more than so many different pairs.

    Each column is looked at first, as NumPy sorts numbers ten times as fast as it sorts pairs.
    """
    if any(np.unique(column).size > most for column in pairs.T):
        return True
    return len(np.unique(pairs, axis=0)) > most


def _each(net: Network, change: Callable[[Lif], Lif], rules: Rules | None = None) -> Network:
    nodes = {k: change(n) if isinstance(n, Lif) else n for k, n in net.nodes.items()}
    return replace(net, nodes=nodes, rules=rules or net.rules)


REWRITES: Mapping[str, Rewrite] = {
    "start-at-reset": Rewrite(
        "membranes start where a spike sets them, where they started at 0 or at rest",
        lambda net, target, _: (
            target.abilities["reset_zero"] and any(_set_aside(n) for n in net.neurons().values())
        ),
        start_at_reset,
    ),
    "hard-reset": Rewrite(
        "a spike sets the membrane to 0 at once, where it subtracted the threshold, set another "
        "value, or did so one step late",
        _soft,
        hard_reset,
    ),
    "soft-reset": Rewrite(
        "a spike takes the threshold from the membrane at once, where it set it to 0 or another "
        "value, or did so one step late",
        _hard,
        soft_reset,
    ),
    "one-spike": Rewrite(
        "a neuron sends at most one spike a step, where it sent several",
        lambda net, target, _: (
            net.rules.spikes == "many" and not target.abilities.get("spikes_many")
        ),
        lambda net: replace(net, rules=replace(net.rules, spikes="one", most=None, most_out=None)),
    ),
    "many-spikes": Rewrite(
        "a neuron sends as many spikes a step as its membrane holds thresholds, where it sent one",
        lambda net, target, _: (
            net.rules.spikes == "one" and bool(target.abilities.get("spikes_many"))
        ),
        lambda net: replace(net, rules=replace(net.rules, spikes="many")),
    ),
    "above-threshold": Rewrite(
        "a spike needs a membrane above the threshold, where being at it was enough; where a "
        "membrane keeps all or nothing in a step, being at it stays enough",
        _early,
        above_threshold,
    ),
    "at-threshold": Rewrite(
        "a membrane at the threshold spikes, where it had to be above",
        _late,
        at_threshold,
    ),
    "free-membrane": Rewrite(
        "a membrane may fall as low as its input drives it, where it had a floor",
        lambda net, target, _: net.rules.v_min is not None,
        lambda net: replace(net, rules=replace(net.rules, v_min=None)),
    ),
    "few-time-constants": Rewrite(
        f"the neurons of a population have {FEW} time constants, the nearest to their own, where "
        "they had many",
        _many_time_constants,
        few_time_constants,
    ),
    "settled-bias": Rewrite(
        "a bias on a synaptic current acts at once, where it built up over the synapse's time",
        _settles,
        settled_bias,
        lambda neurons: neurons.bias == "current",
    ),
    "summed-readout": Rewrite(
        "a readout that leaks sends what arrives in each step: all steps count alike, where the "
        "last ones counted less",
        _fades,
        summed_readout,
    ),
}
