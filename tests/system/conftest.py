"""A folder with a small trained run and its build, made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from system_calls import document

FEW = ["--epochs", "3", "--teacher-epochs", "2"]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Path:
    """``runs/cnn-digits``, pruned ``runs/cnn-digits-s75`` and its build, trained for seconds."""
    folder = tmp_path_factory.mktemp("workshop")
    document(folder, "distill", "--teacher", "cnn", *FEW)
    document(folder, "prune", "--epochs", "3")
    document(folder, "export", "--target", "loihi2")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_threads():
    os.environ.setdefault("OMP_NUM_THREADS", "2")
