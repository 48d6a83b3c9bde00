"""The families of chips, each in a folder of its own; ``family.py`` says what one provides."""

from __future__ import annotations

from collections.abc import Mapping

from snn2hw.errors import UnsupportedError, listed
from snn2hw.families.family import Family, Inputs, Run, Schema, Vendor, VendorFile
from snn2hw.families.loihi import LOIHI
from snn2hw.ir.target import Target

FAMILIES: Mapping[str, Family] = {
    "loihi": LOIHI,
}


DEFAULT_TARGET = "loihi2"  # where a command or a function is not told of one


def of(target: Target) -> Family:
    """Return the family of a target.

    Raises:
        UnsupportedError: there is no such family.
    """
    if target.family not in FAMILIES:
        raise UnsupportedError(
            f"Target {target.name} is of family {target.family!r}, which snn2hw does not know.",
            f"Known families: {listed(FAMILIES)}.",
        )
    return FAMILIES[target.family]


def vendors() -> Mapping[str, Vendor]:
    """Return the simulators of all vendors, by name."""
    return {name: v for family in FAMILIES.values() for name, v in family.vendors.items()}


__all__ = [
    "DEFAULT_TARGET", "FAMILIES", "Family", "Inputs", "Run", "Schema", "Vendor", "VendorFile",
    "of", "vendors",
]  # fmt: skip
