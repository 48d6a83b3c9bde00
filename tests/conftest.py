"""Fixtures that every test may use: goldens, the Lava runtime, a small network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from snn2hw.errors import RuntimeMissingError
from snn2hw.runtime import lava

# One seed in CI, and no deadline: these machines are noisy.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# Kernels for GPUs are interpreted where there is none. Triton reads this when it is first imported.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.fixture
def golden(request) -> Callable[[str, str], None]:
    """Compare text with ``tests/golden/<name>``, or rewrite it with --update-golden."""
    folder = Path(__file__).parent / "golden"

    def check(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def lava_python() -> Path:
    """Install Lava if need be; without Python 3.10 that is a failure in CI and a skip elsewhere."""
    try:
        return lava.install()
    except RuntimeMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"LAVA IS NOT TESTED HERE: {error}")
