# pyright: basic
"""What ``torch.compile`` has to call as it is, and cannot make part of a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def eager(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``torch.compile`` break its graph around a function that runs compiled kernels."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # Not disabled at once: that takes the import of PyTorch's compiler, a second.
        if torch.compiler.is_compiling():
            disabled: Any = torch.compiler.disable(function)
            return disabled(*args, **kwargs)
        return function(*args, **kwargs)

    return run
