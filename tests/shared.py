"""Where the real data is: ``$SNN2HW_DATA``, else ``../shared/data`` beside the checkout."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

DATA = Path(
    os.environ.get("SNN2HW_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
).resolve()

# CI always has the data, so there a missing folder is a failure and not a skip.
needs_data = pytest.mark.skipif(
    not DATA.is_dir() and os.environ.get("CI") != "true",
    reason=f"REAL FILES ARE NOT TESTED HERE: no folder {DATA}, set SNN2HW_DATA",
)


def installed(package):
    """Mark a test that needs a package of an extra, which CI always has."""
    return pytest.mark.skipif(
        find_spec(package) is None and os.environ.get("CI") != "true",
        reason=f"NOT TESTED HERE: {package} is not installed, run make venv",
    )
