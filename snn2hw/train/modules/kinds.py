# pyright: basic
"""Modules from elsewhere, known by name and home, so that their packages are not imported."""

from __future__ import annotations

from typing import Literal

from torch import nn

MaxPool = Literal["refuse", "neurons", "average"]
MAX_POOL = ("refuse", "neurons", "average")

# Frames of these packages are not the user's.
LIBRARIES = ("torch", "snntorch", "norse", "spikingjelly", "sinabs", "snn2hw")
_HOMES = (
    "torch.nn.modules.",
    "snntorch._neurons.",
    "norse.torch.module.",
    "spikingjelly.activation_based.",
    "sinabs.",
    "snn2hw.train.",
)


def kind(module: nn.Module) -> str:
    """Return ``package.Class`` for a class of a known package, the plain name for others."""
    made = type(module)
    known = made.__module__.startswith(_HOMES)
    return f"{made.__module__.split('.')[0]}.{made.__name__}" if known else made.__name__
