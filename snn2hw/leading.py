"""Which of several processes that do one command together writes and speaks."""

from __future__ import annotations

import os


def leads() -> bool:
    """Say whether this process does: the first of several, or the only one.

    ``torchrun`` and Lightning Fabric tell the others their rank in the environment.
    """
    told = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    return not (told.isascii() and told.isdecimal()) or int(told) == 0
