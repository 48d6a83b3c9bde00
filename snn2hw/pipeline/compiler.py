"""The whole compiler on one screen. A stage changes the type; nothing is changed in place.

Network -> IntNetwork -> Placement, Schedule -> Program -> Trace -> Counts -> EnergyReport
    quantize()      place()     schedule()         run()   count()     priced()

The stages are those of the target's family (``families/``). Passes that keep the spikes make their
input simpler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

from snn2hw import families
from snn2hw.errors import Snn2hwError, UnsupportedError, listed
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.passes import simplify

T = TypeVar("T")


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
    attempt = _attempt(net, target, time_steps)
    if attempt.program is None:
        raise attempt.errors[0]
    return attempt.program


def reasons(net: Network | IntNetwork, target: Target) -> list[str]:
    """List everything that keeps a network off a target, from every stage that it comes to."""
    steps = net.time_steps or 1  # how long a sample lasts can be said later
    errors = _attempt(net, target, steps).errors
    return [reason for e in errors for reason in (e.reasons or [str(e)])]


def _held(net: IntNetwork, target: Target) -> IntNetwork:
    """Take integers that a vendor's file holds for a chip that may count otherwise.

    Raises:
        UnsupportedError: names every number that the chip does not hold, or takes for another.
    """
    if type(net.numbers) is not type(target.numbers):
        raise UnsupportedError(
            f"The network holds integers for another kind of chip than {target.title}.",
            "Export the network that they were made from.",
        )
    found = [*target.numbers.differs(net.numbers), *target.numbers.problems(net)]
    if found:
        raise UnsupportedError(
            f"{target.title} cannot hold these integers: {listed(found, '; ')}.",
            "Choose the target that they were made for, or export the float network again.",
            reasons=found,
        )
    return replace(net, numbers=target.numbers)


class _Attempt(NamedTuple):
    """A program, or everything that stands in its way."""

    program: Program | None
    errors: list[Snn2hwError]


def _attempt(net: Network | IntNetwork, target: Target, time_steps: int | None) -> _Attempt:
    """Compile as far as possible: what does not need another stage is asked although one failed."""
    family = families.of(target)
    errors: list[Snn2hwError] = []

    def tried(stage: Callable[[], T]) -> T | None:
        try:
            return stage()
        except Snn2hwError as error:
            errors.append(error)
        return None

    def integers() -> IntNetwork:
        if isinstance(net, IntNetwork):
            return _held(net, target)
        return family.exact(family.quantize(simplify(net), target, time_steps=time_steps))

    ints = tried(integers)
    if ints is None:
        return _Attempt(None, errors)
    placement = tried(lambda: family.place(ints, target))
    schedule = tried(lambda: family.schedule(ints, target))
    if placement is None or schedule is None:
        return _Attempt(None, errors)
    return _Attempt(Program(ints, schedule.phase, schedule.delays, placement, target), errors)
