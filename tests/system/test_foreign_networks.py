"""Networks that others wrote, through the command line: their numbers, and what is said of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nir
import numpy as np
import pytest
from system_calls import call_here, document

FIXTURES = Path(__file__).parents[1] / "fixtures" / "networks"


@pytest.fixture
def here(tmp_path):
    for file in FIXTURES.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


def floats(folder, name, inputs, *options):
    """Run a file as its authors' tool would; returns the answer and the document."""
    found = document(
        folder, "simulate", "--on", "float", f"{name}.nir", "--input", inputs, "--save", "out.npz",
        *options,
    )  # fmt: skip
    with np.load(folder / "out.npz") as saved:
        return saved["spikes"], found


@pytest.mark.parametrize(
    ("name", "inputs", "options", "said"),
    [
        ("norse_dt", "norse_dt", ("--written-by", "norse", "--dt", "1e-3"), "as Norse writes them"),
        ("spyx_square", "spyx_square", (), "so is this one"),
        ("snntorch_leaky", "snntorch_leaky",
         ("--written-by", "snntorch", "--reset", "subtract-late"), ""),
        ("snntorch_beta1", "snntorch_beta1", ("--written-by", "snntorch"), "does not say how neur"),
        ("millivolts_rest", "millivolts", ("--dt", "1e-3"), "membranes start at rest"),
    ],
)  # fmt: skip
def test_spikes_are_those_of_the_tool(here, name, inputs, options, said):
    answer, found = floats(here, name, f"{inputs}_in.npz", *options)
    assert (answer == np.load(here / f"{name}_want.npy")).all()
    assert not said or any(said in note for note in found["notes"])


def test_a_late_reset_is_refused_or_rewritten_and_measured(here):
    told = ("snntorch_leaky.nir", "--written-by", "snntorch", "--reset", "subtract-late",
            "--time-steps", "20")  # fmt: skip
    done = call_here(here, "export", *told, "--json", "-q")
    assert done.returncode == 1
    assert "a spike takes the threshold from the membrane one step late" in done.stdout
    found = document(here, "inspect", *told)
    assert found["rewrites"]["loihi2"] == ["hard-reset"]
    made = document(here, "export", *told, "--rewrite", "hard-reset")["rewrites"]
    before, after = made["spikes_per_sample"]
    assert before > after > 0
    assert made["on_chip"]["spikes_per_sample"] == pytest.approx(after, rel=0.3)
    assert made["on_chip"]["same_predictions"] <= 1


@pytest.mark.lava
def test_membranes_in_millivolts_are_what_lava_computes(here):
    document(here, "export", "millivolts_rest.nir", "--dt", "1e-3", "--time-steps", "20",
             "--input-max", "3")  # fmt: skip
    x = np.random.default_rng(0).integers(0, 4, (3, 20, 8))
    np.savez(here / "x.npz", x=x)
    found = document(here, "verify", "--input", "x.npz")
    assert (found["mismatches"], found["samples"]) == (0, 3)
    ran = document(here, "simulate", "--input", "x.npz")
    assert ran["spikes_per_sample"] > 1


def test_neurons_that_can_never_spike_are_said(here):
    done = call_here(here, "export", "dead_output.nir", "--dt", "1", "--time-steps", "4")
    assert done.returncode == 0
    assert "note: n1: can never spike" in done.stderr
    info = json.loads((here / "builds" / "dead_output-loihi2" / "build.json").read_text())
    assert any("can never spike" in note for note in info["notes"])
    assert any("can never spike" in n for n in document(here, "inspect", "dead_output.nir",
                                                        "--dt", "1")["notes"])  # fmt: skip


def test_delays_of_no_whole_steps_are_said(here):
    done = call_here(here, "export", "delay_fraction.nir", "--dt", "1e-3", "--time-steps", "4")
    assert "2.5 is taken as 2, 0.4 is taken as 0" in done.stderr


@pytest.fixture
def pixels(tmp_path):
    """A network that was trained on bytes divided by 255, and 20 samples of both."""
    r = np.random.default_rng(0)
    ones = np.ones(4)
    nodes = {
        "input": nir.Input(np.array([9])), "w": nir.Affine(r.normal(size=(4, 9)), np.zeros(4)),
        "n": nir.LIF(tau=2 * ones, r=2 * ones, v_leak=0 * ones, v_threshold=ones,
                     v_reset=0 * ones),
        "output": nir.Output(np.array([4])),
    }  # fmt: skip
    edges = [("input", "w"), ("w", "n"), ("n", "output")]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, edges, type_check=False))
    x = r.integers(0, 256, (20, 1, 9)).repeat(6, axis=1)
    np.savez(tmp_path / "bytes.npz", x=x)
    np.savez(tmp_path / "fed.npz", x=(x / 255 - 0.5) / 0.25)
    return tmp_path


RULES = ("--dt", "1", "--reset", "zero", "--time-steps", "6")
SCALE = ("--input-scale", "1/255", "--input-mean", "0.5", "--input-std", "0.25")


def test_the_scale_of_an_input_is_folded_in(pixels):
    """The same spikes for what was fed without it, and for bytes and for what was fed with it."""
    wanted, plain = floats(pixels, "net", "fed.npz", *RULES)
    assert wanted.any()
    assert any("input gets values from -" in note for note in plain["notes"])
    for file in ("bytes.npz", "fed.npz"):
        answer, found = floats(pixels, "net", file, *RULES, *SCALE)
        assert (answer == wanted).all()
        assert not any("input" in note for note in found["notes"])
    document(pixels, "export", "net.nir", *RULES, *SCALE)
    ran = [document(pixels, "simulate", "--input", f)["spikes_per_sample"]
           for f in ("bytes.npz", "fed.npz")]  # fmt: skip
    assert ran[0] == ran[1] > 0


def test_bytes_whose_scale_nobody_said_are_noted(pixels):
    done = call_here(pixels, "export", "net.nir", *RULES, "--input-max", "255")
    assert "note: input takes integers up to 255 as they are" in done.stderr
    assert "--input-scale 1/255" in done.stderr


@pytest.mark.parametrize("value", ["1/0", "a", "0.5,"])
def test_numbers_that_are_none(pixels, value):
    done = call_here(pixels, "export", "net.nir", *RULES, "--input-mean", value)
    assert done.returncode == 2
    assert "is no number such as 0.5 or 1/255" in done.stderr
