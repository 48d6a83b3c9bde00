"""What families do alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from snn2hw.errors import NetworkError, UnsupportedError, listed
from snn2hw.ir.graph import Wiring, wiring
from snn2hw.ir.integer import Fed
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Input
from snn2hw.ir.target import Target


def accepted(
    net: Network,
    target: Target,
    time_steps: int | None,
    refusals: Callable[[Network, Wiring, Target], Iterable[str]],
) -> tuple[Wiring, int]:
    """Ask whether a target can run a network, before it is quantized.

    Args:
        net: the float network.
        target: the chip.
        time_steps: steps of one sample, where the network itself does not say.
        refusals: names everything that the target cannot do.

    Returns:
        The network's wiring, and the steps of one sample.

    Raises:
        NetworkError: nobody says how long a sample lasts.
        UnsupportedError: lists everything that the target cannot do.
    """
    steps = time_steps or net.time_steps
    if not steps:
        raise NetworkError(
            "The network does not say how many time steps a sample lasts.",
            "Give --time-steps, in Python time_steps=.",
        )
    wires = wiring(net)
    found = list(refusals(net, wires, target))
    if found:
        raise UnsupportedError(
            f"{target.title} cannot run this network: {listed(found, '; ')}.",
            "Change these layers, allow rewrites (--rewrite, in Python rewrite=), or choose "
            "another target.",
            reasons=found,
        )
    return wires, steps


def fed_of(port: Input) -> Fed | None:
    """Return how an input's integers follow from what its author fed, if that was another thing."""
    if not port.scaled:
        return None
    return Fed(tuple(port.gain.reshape(-1).tolist()), tuple(port.offset.reshape(-1).tolist()))
