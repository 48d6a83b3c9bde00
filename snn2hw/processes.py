"""Several processes that do one command together."""

from __future__ import annotations

import os


def leads() -> bool:
    """Say whether this process writes and speaks: the first of several, or the only one.

    ``torchrun`` and Lightning Fabric tell the others their rank in the environment.
    """
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
