"""Asking for the training half, which needs PyTorch, before it is imported."""

from __future__ import annotations

import importlib
import os

from snn2hw.errors import InputError


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
