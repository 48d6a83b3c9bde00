"""The training half, which needs PyTorch: asked for before it is imported."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from snn2hw.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def lends(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that trains give modules among its arguments back as they were, but trained.

    They keep their device and their modes.
    """

    @wraps(function)
    def returning(*args: P.args, **kwargs: P.kwargs) -> R:
        need_training()
        from snn2hw.train import given_back

        lent: list[Any] = [*args, *kwargs.values()]
        with given_back(*lent):
            return function(*args, **kwargs)

    return returning


def need_training() -> None:
    """Import what trains, and with it PyTorch.

    Callers say first what is wrong with a recipe, for which ``snn2hw.train`` needs no PyTorch.

    Raises:
        InputError: a package that it needs is not installed.
    """
    # Where one of several processes ends, the others' C++ would print where in its code it waited.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        importlib.import_module("snn2hw.train.distilling")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("snn2hw"):
            raise
        raise InputError(
            f"Training needs {error.name}, which is not installed.",
            'Install it: pip install "snn2hw[train,data]"',
        ) from None
