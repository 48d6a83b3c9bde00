"""Lowering to a chip family: integers and cores -> what the chip is told. One file a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from snn2hw.errors import UnsupportedError
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.placement import Placement
from snn2hw.ir.program import Program
from snn2hw.lower import loihi
from snn2hw.target import Target

Lower = Callable[[IntNetwork, Placement, Target], Program]

FAMILIES: Mapping[str, Lower] = {
    "loihi": loihi.lower,
}


def lower(net: IntNetwork, placement: Placement, target: Target) -> Program:
    """Lower with the target's family."""
    if target.family not in FAMILIES:
        raise UnsupportedError(
            f"Target {target.name} is of family {target.family!r}, which has no lowering.",
            f"Known families: {', '.join(FAMILIES)}.",
        )
    return FAMILIES[target.family](net, placement, target)
