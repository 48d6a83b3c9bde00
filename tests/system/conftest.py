"""A folder with a small trained run and its build."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from system_calls import document

FEW = ["--epochs", "3", "--teacher-epochs", "2"]


@pytest.fixture(scope="session")
def _trained(tmp_path_factory) -> Path:
    """Train for seconds, in whichever of pytest-xdist's processes asks first."""
    folder = tmp_path_factory.getbasetemp() / "workshop"
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "workshop"
    with FileLock(f"{folder}.lock"):
        if not (folder / "builds").exists():
            folder.mkdir(exist_ok=True)
            document(folder, "distill", "--teacher", "cnn", *FEW)
            document(folder, "prune", "--epochs", "3")
            document(folder, "export", "--target", "loihi2")
    return folder


@pytest.fixture
def workshop(_trained, tmp_path_factory) -> Path:
    """``runs/cnn-digits``, pruned ``runs/cnn-digits-s75`` and its build: a copy for one test."""
    return shutil.copytree(_trained, tmp_path_factory.mktemp("copy") / "workshop")
