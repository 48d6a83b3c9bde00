"""A student of one chip, built for another: refused, or rewritten by name and measured."""

from __future__ import annotations

import json

import pytest
from system_calls import call_here, document

SHORT = (
    "--teacher", "cnn", "--student", "rnn-16", "--method", "none", "--encoder", "rows:levels=15",
    "--time-steps", "8", "--epochs", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs: of a student for one chip, and for the other."""
    folder = tmp_path_factory.mktemp("chips")
    document(folder, "distill", *SHORT, "--target", "xylo-imu", "--name", "many")
    document(folder, "distill", *SHORT, "--neuron", "cuba", "--name", "one")
    return folder


def refused(folder, *arguments):
    done = call_here(folder, *arguments, "--json", "-q")
    assert done.returncode == 1
    return json.loads(done.stdout)["error"]["message"]


def test_the_run_says_which_chip_it_is_for(trained):
    many, one = (
        json.loads((trained / f"runs/{n}/metrics.json").read_text()) for n in ("many", "one")
    )
    assert many["target"] == "xylo-imu"
    assert "target" not in one
    assert document(trained, "export", "--target", "xylo-imu", "runs/many")["rewrites"] is None


def test_a_student_of_many_spikes_on_a_chip_of_one(trained):
    said = refused(trained, "export", "--target", "loihi2", "runs/many")
    assert "spike at the threshold already" in said
    assert "several spikes a step" in said
    made = document(trained, "export", "--target", "loihi2", "--rewrite", "all", "runs/many")
    assert list(made["rewrites"]["applied"]) == ["hard-reset", "one-spike", "above-threshold"]
    before, after = made["rewrites"]["accuracy"]
    assert 0 <= min(before, after) <= max(before, after) <= 1
    assert made["rewrites"]["spikes_per_sample"][0] > made["rewrites"]["spikes_per_sample"][1] > 0


def test_a_student_of_one_spike_on_a_chip_of_many(trained):
    said = refused(trained, "export", "--target", "xylo-imu", "runs/one")
    for reason in (
        "above the threshold only",
        "one spike a step at most",
        "a spike sets the membrane to v_reset (0)",
    ):
        assert reason in said
    assert "as with --rewrite settled-bias" in said
    made = document(
        trained, "export", "--target", "xylo-imu", "--rewrite", "all", "--rewrite", "settled-bias",
        "runs/one",
    )  # fmt: skip
    applied = ["soft-reset", "many-spikes", "at-threshold", "settled-bias"]
    assert list(made["rewrites"]["applied"]) == applied
    assert len(made["rewrites"]["accuracy"]) == 2


def test_what_contradicts_the_chip_is_refused_before_training(tmp_path):
    said = refused(tmp_path, "distill", *SHORT, "--target", "xylo-imu", "--reset", "zero")
    assert "reset is 'zero', which the chip's neurons do not do" in said
    assert not (tmp_path / "runs").exists()
