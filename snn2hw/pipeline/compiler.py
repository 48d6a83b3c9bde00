"""The whole compiler on one screen. A stage changes the type; nothing is changed in place.

Network  ->  IntNetwork  ->  Placement  ->  Program  ->  Trace  ->  EnergyReport
quantize()      map_network()      lower()    simulate    energy

Before a stage, passes that keep the spikes make its input simpler (``passes.py``).
"""

from __future__ import annotations

from snn2hw.errors import DoesNotFitError, Snn2hwError
from snn2hw.ir.graph import wiring
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.placement import Placement
from snn2hw.ir.program import Program
from snn2hw.lower import lower
from snn2hw.mapping import crowded, map_network
from snn2hw.passes import remove_dead, simplify
from snn2hw.quantize import quantize, refusals, rounded
from snn2hw.target import Target


def compile_network(
    net: Network | IntNetwork, target: Target, *, time_steps: int | None = None
) -> Program:
    """Compile a network for a chip.

    Args:
        net: a float network, or integers that a vendor's file already holds.
        target: the chip.
        time_steps: steps of one sample, where the network does not say.

    Raises:
        UnsupportedError, DoesNotFitError: say which layer, what it needs and what there is.
    """
    many = crowded(_populations(net), target)
    if many:
        raise DoesNotFitError(many[0])
    if isinstance(net, Network):
        ints = remove_dead(quantize(simplify(net), target, time_steps=time_steps))
    else:
        ints = net
    placement = map_network(ints, target)
    return lower(ints, placement, target)


def reasons(net: Network | IntNetwork, target: Target) -> list[str]:
    """List everything that keeps a network off a target, from every stage that can be asked."""
    found = crowded(_populations(net), target)
    try:
        if isinstance(net, Network):
            net = simplify(net)
            wires = wiring(net)
            found = refusals(net, wires, target) + found
            if not found:
                net = remove_dead(rounded(net, wires, target, net.time_steps or 1))
    except Snn2hwError as error:
        return [*found, str(error)]
    if found or isinstance(net, Network):
        return found
    nowhere = Placement((), {}, 1)
    for stage in (lambda: map_network(net, target), lambda: lower(net, nowhere, target)):
        try:
            stage()
        except Snn2hwError as error:
            found.append(str(error))
    return found


def _populations(net: Network | IntNetwork) -> int:
    return len(net.cells() if isinstance(net, Network) else net.populations)
