"""Rewrites: what a target's neurons cannot do, or at a price, replaced by the nearest they can.

Nothing here happens unasked: each rewrite has a name, the build records it, and the change that it
makes to spikes and accuracy is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from snn2hw.errors import UnsupportedError, unknown_name
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Affine, Conv1d, Conv2d, Lif, Network
from snn2hw.ir.neuron import NeuronRules
from snn2hw.ir.target import Target

USUAL = NeuronRules()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A named change.

    Args:
        about: what it does.
        concerns: whether it changes a network for a target.
        apply: the change.
        saves: says of a target's neurons whether they do without as well, at a higher price;
            ``all`` leaves it out then.
    """

    about: str
    concerns: Callable[[Network, Target], bool]
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
        if asked and one.concerns(net, target):
            net = one.apply(net)
            applied.append(name)
    return net, applied


def hard_reset(net: Network) -> Network:
    """Set the membrane to 0 after a spike, where it lost the threshold."""
    return _each(net, lambda n: replace(n, reset="zero", v_reset=np.zeros(())))


def _soft(net: Network, target: Target) -> bool:
    resets = {n.reset for n in net.neurons().values()}
    offset = any(n.reset == "zero" and np.any(n.v_reset) for n in net.neurons().values())
    lacks = offset or any(not target.abilities[f"reset_{r}"] for r in resets)
    return lacks and target.abilities["reset_zero"]


def soft_reset(net: Network) -> Network:
    """Take the threshold from the membrane at a spike, where it was set to a value."""
    return _each(net, lambda n: replace(n, reset="subtract", v_reset=np.zeros(())))


def _hard(net: Network, target: Target) -> bool:
    resets = {n.reset for n in net.neurons().values()}
    return "zero" in resets and not target.abilities["reset_zero"]


def settled_bias(net: Network) -> Network:
    """Let a bias on a synaptic current act from the first step with its final strength.

    Then it is one of the membrane, which costs nothing on a chip; else it comes from synapses.
    """
    nodes = dict(net.nodes)
    populations = {k: n for k, n in net.neurons().items() if _has_current(n)}
    for name in populations:
        for before in net.predecessors(name):
            linear = nodes[before]
            only = [b for a, b in net.edges if a == before] == [name]
            if only and isinstance(linear, Affine | Conv2d | Conv1d):
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


def _settles(net: Network, target: Target) -> bool:
    try:
        wires = wiring(net)
    except UnsupportedError:  # as every target will say
        return False
    return any(
        node.tau_synapse is not None and wires.into[name].bias.any()
        for name, node in net.neurons().items()
    )


def _each(net: Network, change: Callable[[Lif], Lif]) -> Network:
    return replace(
        net, nodes={k: change(n) if isinstance(n, Lif) else n for k, n in net.nodes.items()}
    )


REWRITES: Mapping[str, Rewrite] = {
    "hard-reset": Rewrite(
        "a spike sets the membrane to 0, where it subtracted the threshold or set another value",
        _soft,
        hard_reset,
    ),
    "soft-reset": Rewrite(
        "a spike takes the threshold from the membrane, where it set it to 0 or another value",
        _hard,
        soft_reset,
    ),
    "one-spike": Rewrite(
        "a neuron sends at most one spike a step, where it sent several",
        lambda net, target: net.rules.spikes == "many" and not target.abilities.get("spikes_many"),
        lambda net: replace(net, rules=replace(net.rules, spikes="one", most=None, most_out=None)),
    ),
    "many-spikes": Rewrite(
        "a neuron sends as many spikes a step as its membrane holds thresholds, where it sent one",
        lambda net, target: net.rules.spikes == "one" and bool(target.abilities.get("spikes_many")),
        lambda net: replace(net, rules=replace(net.rules, spikes="many")),
    ),
    "above-threshold": Rewrite(
        "a spike needs a membrane above the threshold, where being at it was enough",
        lambda net, target: net.rules.fires == "at" and not target.abilities.get("fires_at"),
        lambda net: replace(net, rules=replace(net.rules, fires="above")),
    ),
    "at-threshold": Rewrite(
        "a membrane at the threshold spikes, where it had to be above",
        lambda net, target: net.rules.fires == "above" and bool(target.abilities.get("fires_at")),
        lambda net: replace(net, rules=replace(net.rules, fires="at")),
    ),
    "free-membrane": Rewrite(
        "a membrane may fall as low as its input drives it, where it had a floor",
        lambda net, _: net.rules.v_min is not None,
        lambda net: replace(net, rules=replace(net.rules, v_min=None)),
    ),
    "settled-bias": Rewrite(
        "a bias on a synaptic current acts at once, where it built up over the synapse's time",
        _settles,
        settled_bias,
        lambda neurons: neurons.bias == "current",
    ),
}
