"""Asking for the training half, which needs PyTorch, before it is imported."""

from __future__ import annotations

import importlib
import os

from snn2hw.errors import InputError


def need_training() -> None:
    """Import ``snn2hw.train``, which callers import themselves afterwards.

    They do so in their functions: what does not train starts without PyTorch.

    Raises:
        InputError: a package that it needs is not installed.
    """
    # Where one of several processes ends, the others' C++ would print where in its code it waited.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        importlib.import_module("snn2hw.train")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("snn2hw"):
            raise
        raise InputError(
            f"Training needs {error.name}, which is not installed.",
            'Install it: pip install "snn2hw[train,data]"',
        ) from None
