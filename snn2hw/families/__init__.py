"""The families of chips, each in a folder of its own; ``family.py`` says what one provides."""

from __future__ import annotations

from collections.abc import Mapping

from snn2hw.families.family import Family, Inputs, Run, Schema, Variant, Vendor, VendorFile
from snn2hw.families.loihi import LOIHI
from snn2hw.families.xylo import XYLO
from snn2hw.ir.target import Target

FAMILIES: Mapping[str, Family] = {
    "loihi": LOIHI,
    "xylo": XYLO,
}
DEFAULT_TARGET = "loihi2"  # where a command or a function is not told of one


def of(target: Target) -> Family:
    """Return the family of a target; one that does not exist is refused when a file is read."""
    return FAMILIES[target.family]


def vendors() -> Mapping[str, Vendor]:
    """Return the simulators of all vendors, by name."""
    return {name: v for family in FAMILIES.values() for name, v in family.vendors.items()}


def simulators(target: Target) -> Mapping[str, Vendor]:
    """Return the vendors' simulators that count as a target does, by name."""
    return {name: v for name, v in of(target).vendors.items() if v.why_not(target) is None}


def vendor_files() -> list[str]:
    """Return the names of the files that vendors' own loaders read."""
    return [family.file.name for family in FAMILIES.values() if family.file is not None]


__all__ = [
    "DEFAULT_TARGET", "FAMILIES", "Family", "Inputs", "Run", "Schema", "Variant", "Vendor",
    "VendorFile", "of", "simulators", "vendor_files", "vendors",
]  # fmt: skip
