"""Modules of SpikingJelly and Sinabs become networks that spike as they do.

Neither lives beside the other packages, so both have an environment of their own in the user cache
(Python 3.11, 1.5 GB):

    python -m pytest tests/peers/test_module_packages.py -m slow
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from snn2hw.environments import Environment
from snn2hw.errors import RuntimeMissingError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PACKAGES = Environment(
    name="module-packages",
    title="SpikingJelly 0.0.0.0.14 and Sinabs 3.1.3",
    about="with PyTorch 2.13.0, on Python 3.11",
    python=(3, 11),
    requirements=HERE / "module-packages.txt",
    bare=("spikingjelly==0.0.0.0.14", "sinabs==3.1.3", "nirtorch==2.6"),
    proof="import sinabs.layers, spikingjelly.activation_based.neuron",
    size="about 400 MB",
)
NAMES = (
    "if", "if threshold", "if soft", "lif True", "lif True reset", "lif True soft", "plif True",
    "lif False", "lif False reset", "lif False soft", "plif False", "lif m", "sequence", "iaf",
    "iaf free", "iaf thresholds", "iaf one", "iaf most", "iaf reset", "sinabs lif True",
    "sinabs lif syn True", "sinabs lif False", "sinabs lif syn False", "sinabs leak",
    "sinabs layers", "static", "file lif", "file iaf None", "file iaf 0.001",
)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """Install the packages if need be; where that fails, CI fails and others skip."""
    try:
        python = PACKAGES.install()
    except RuntimeMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"SPIKINGJELLY AND SINABS ARE NOT TESTED HERE: {error}")
    done = subprocess.run(
        [str(python), str(HERE / "module_packages_runner.py")],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_every_case_is_there(found):
    assert set(found) == {*NAMES, "mixed", "no spikes"}


@pytest.mark.parametrize("name", NAMES)
def test_it_spikes_as_in_its_package(found, name):
    assert "error" not in found[name], found[name]
    assert found[name]["differ"] == 0
    assert found[name]["values"] >= 30
    assert found[name]["spikes"] >= 5


def test_rules_that_differ_are_refused_by_name(found):
    assert "1 and 0 follow different rules" in found["mixed"]["error"]


def test_surrogates_that_do_not_spike_are_refused(found):
    assert "IFNode spikes by a function that is no step" in found["no spikes"]["error"]
