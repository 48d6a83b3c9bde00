"""The whole compiler on one screen. A stage changes the type; nothing is changed in place.

Network  ->  IntNetwork  ->  Placement  ->  Program  ->  Trace  ->  EnergyReport
    quantize()          place()      schedule()      run()     energy

The stages are those of the target's family (``families/``). Passes that keep the spikes make their
input simpler.
"""

from __future__ import annotations

from dataclasses import replace

from snn2hw import families
from snn2hw.errors import DoesNotFitError, Snn2hwError, UnsupportedError, listed
from snn2hw.ir.graph import wiring
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.placement import Placement
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.passes import simplify


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
    family = families.of(target)
    many = family.crowded(_populations(net), target)
    if many:
        raise DoesNotFitError(many[0])
    if isinstance(net, Network):
        ints = family.exact(family.quantize(simplify(net), target, time_steps=time_steps))
    else:
        ints = _for(net, target)
    return family.schedule(ints, family.place(ints, target), target)


def reasons(net: Network | IntNetwork, target: Target) -> list[str]:
    """List everything that keeps a network off a target, from every stage that can be asked."""
    family = families.of(target)
    found = family.crowded(_populations(net), target)
    try:
        if isinstance(net, Network):
            net = simplify(net)
            wires = wiring(net)
            found = family.refusals(net, wires, target) + found
            if not found:
                net = family.exact(family.rounded(net, wires, target, net.time_steps or 1))
        else:
            net = _for(net, target)
    except Snn2hwError as error:
        return [*found, str(error)]
    if found or isinstance(net, Network):
        return found
    nowhere = Placement((), {}, 1)
    for stage in (lambda: family.place(net, target), lambda: family.schedule(net, nowhere, target)):
        try:
            stage()
        except Snn2hwError as error:
            found.append(str(error))
    return found


def _for(net: IntNetwork, target: Target) -> IntNetwork:
    """Take integers that a vendor's file holds for a chip that may count otherwise.

    Raises:
        UnsupportedError: names every number that the chip does not hold, or takes for another.
    """
    if net.numbers == target.numbers:
        return net
    if type(net.numbers) is not type(target.numbers):
        found = ["its integers are those of another family of chips"]
    else:
        found = [*target.numbers.differs(net.numbers), *target.numbers.problems(net)]
    if found:
        raise UnsupportedError(
            f"{target.title} cannot hold these integers: {listed(found, '; ')}.",
            "Choose the target that they were made for, or export the float network again.",
        )
    return replace(net, numbers=target.numbers)


def _populations(net: Network | IntNetwork) -> int:
    return len(net.cells() if isinstance(net, Network) else net.populations)
