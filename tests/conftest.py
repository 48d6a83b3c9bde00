"""What every test may use: seeds, an order, goldens, the vendors' runtimes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, register_random, settings

from snn2hw.environments import Environment
from snn2hw.errors import RuntimeMissingError
from snn2hw.families.loihi import lava, nengo_loihi
from snn2hw.families.xylo import xylosim

# The same examples in every run, and no limits on time: a machine may be busy with other things.
settings.register_profile(
    "repeat",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# Other examples in every run: pytest --hypothesis-profile explore.
settings.register_profile("explore", settings.get_profile("repeat"), derandomize=False)
settings.load_profile("repeat")

# One thread in each process: sums depend on their number, these networks are too small to share,
# and on a busy machine threads mostly wait for each other. PyTorch reads it when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"

# Tests start hundreds of processes, and each would compile every module that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Kernels for GPUs are interpreted where there is none. Triton reads this when it is first imported.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")
    parser.addoption("--seed", type=int, default=0, help="where random numbers of a test start")
    parser.addoption("--shuffle", type=int, help="run tests in a random order, which this decides")


def pytest_collection_modifyitems(config, items):
    """Start with the longest, so that no process ends with one while the others wait.

    With --shuffle, shuffle modules instead, and tests in each, so that what a module shares is made
    once.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    number = config.getoption("--shuffle")
    if number is not None:
        draw = random.Random(number)
        places = {path: draw.random() for path in dict.fromkeys(item.path for item in items)}
        draw.shuffle(items)
        items.sort(key=lambda item: places[item.path])


class _Torch:
    """PyTorch's generator, for tests that have imported it; nobody waits for it otherwise."""

    def seed(self, number: int) -> None:
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(number)

    def getstate(self) -> Any:
        return sys.modules["torch"].get_rng_state() if "torch" in sys.modules else None

    def setstate(self, state: Any) -> None:
        if state is not None:
            sys.modules["torch"].set_rng_state(state)


TORCH = _Torch()
register_random(TORCH)  # Hypothesis seeds the other two by itself before each example.


@contextlib.contextmanager
def seeded(number: int) -> Iterator[None]:
    """Seed the three global generators, and leave them as they were."""
    before = random.getstate(), np.random.get_state(), TORCH.getstate()
    random.seed(number)
    np.random.seed(number)
    TORCH.seed(number)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        TORCH.setstate(before[2])


@pytest.fixture(autouse=True)
def _seeds(request) -> Iterator[None]:
    """Give every test the same random numbers, whatever ran before it."""
    with seeded(request.config.getoption("--seed")):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """Give what tests share its own random numbers: which test asks first depends on the order."""
    if fixturedef.scope == "function":
        return (yield)
    with seeded(request.config.getoption("--seed")):
        return (yield)


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


def _installed(environment: Environment) -> Path:
    """Install a simulator if need be; without its Python, fail in CI and skip elsewhere."""
    try:
        return environment.install()
    except RuntimeMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{environment.name.upper()} IS NOT TESTED HERE: {error}")


@pytest.fixture(scope="session")
def lava_python() -> Path:
    """Install Lava, which wants Python 3.10."""
    return _installed(lava.ENVIRONMENT)


@pytest.fixture(scope="session")
def nengo_loihi_python() -> Path:
    """Install nengo-loihi, which has its Python 3.10 too."""
    return _installed(nengo_loihi.ENVIRONMENT)


@pytest.fixture(scope="session")
def xylosim_python() -> Path:
    """Install xylosim, which is built by a C++ compiler."""
    return _installed(xylosim.ENVIRONMENT)
