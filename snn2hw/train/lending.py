# pyright: basic
"""Modules of the caller's own, given back as they were."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn

from snn2hw.train.evaluation import device_of


@contextmanager
def given_back(*lent: Any) -> Generator[None]:
    """Leave modules on the device and in the modes (training, evaluation) that they came in.

    Args:
        lent: the modules; what is none is left alone.
    """
    modules = [m for m in lent if isinstance(m, nn.Module)]
    modes = [(part, part.training) for m in modules for part in m.modules()]
    homes = [(m, device_of(m)) for m in modules]
    try:
        yield
    finally:
        for module, home in homes:
            module.to(home)
        for part, mode in modes:
            part.training = mode
