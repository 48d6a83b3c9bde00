"""What is a chip's or a vendor's stays in its family."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snn2hw import families, target

PACKAGE = Path(families.__file__).parents[1]
NAMES = re.compile(r"loihi|lava|netx|intel\b|xylo|synsense|rockpool|nengo|speck", re.IGNORECASE)
# The example of the package's own text, the kernel's name of a processor's energy counters, and
# what was measured on certain chips.
ALLOWED = {"__init__.py", "host/rapl.py", "pipeline/workloads.py"}


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(PACKAGE.rglob("*.py")) if "families" not in p.relative_to(PACKAGE).parts],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_no_chip_and_no_vendor_is_named_outside_of_families(path):
    if str(path.relative_to(PACKAGE)) not in ALLOWED:
        assert NAMES.findall(path.read_text(encoding="utf-8")) == []


def test_every_shipped_target_has_a_family():
    for name in target.names():
        family = families.of(target.load(name))
        assert all(v.environment.name == k for k, v in family.vendors.items())
    assert families.DEFAULT_TARGET in target.names()
