"""A target of the user's own goes with what is built for it."""

from __future__ import annotations

import json

import pytest
from system_calls import call_here, document

from snn2hw import target

GIVEN = ("--data", "digits", "--samples", "3")


@pytest.fixture
def mine(tmp_path):
    """Write a target file with fewer neurons a core, and another price."""
    text = (target.directory() / "loihi2.toml").read_text(encoding="utf-8")
    price = "[prices.synop]\nvalue = 24.85"
    assert price in text

    def write(value):
        changed = text.replace("value = 8192", "value = 256")
        (tmp_path / "mine.toml").write_text(changed.replace(price, price[:-5] + str(value)))

    write(38.0)
    return write


def priced(folder, *arguments):
    report = document(folder, "energy", "report", *arguments, *GIVEN)
    return next(p["value"] for p in report["prices"] if p["name"] == "synop")


def test_what_is_built_for_it_keeps_it(tmp_path, mine):
    made = document(tmp_path, "export", "digits-cnn", "--target", "./mine.toml")
    assert made["target"] == "mine"
    assert made["cores"] > document(tmp_path, "export", "digits-cnn")["cores"]
    build = "builds/digits-cnn-mine"
    assert priced(tmp_path, build) == 38.0
    mine(50.0)
    assert priced(tmp_path, build) == 38.0
    (tmp_path / "mine.toml").unlink()
    assert priced(tmp_path, build) == 38.0
    assert document(tmp_path, "inspect", build)["neurons"] == 1674
    assert document(tmp_path, "simulate", build, *GIVEN)["samples"] == 3


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_it_is_proved_like_any_other(tmp_path, mine):
    document(tmp_path, "export", "digits-cnn", "--target", "./mine.toml")
    found = document(tmp_path, "verify", "builds/digits-cnn-mine", *GIVEN)
    assert (found["mismatches"], found["against"]) == (0, "lava 0.10.0")


def test_a_changed_target_of_a_build_is_refused(tmp_path, mine):
    document(tmp_path, "export", "digits-cnn", "--target", "./mine.toml")
    kept = tmp_path / "builds" / "digits-cnn-mine" / "target.toml"
    assert kept.read_bytes() == (tmp_path / "mine.toml").read_bytes()
    kept.write_bytes(kept.read_bytes() + b"\n")
    done = call_here(tmp_path, "energy", "report", *GIVEN, "--json")
    message = json.loads(done.stdout)["error"]["message"]
    assert done.returncode == 1
    assert "target.toml is not the file that was built" in message


def test_a_family_that_does_not_exist_is_named(tmp_path):
    text = (target.directory() / "loihi2.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('family = "loihi"', 'family = "lohii"'))
    done = call_here(tmp_path, "export", "digits-cnn", "--target", "./mine.toml")
    assert done.returncode == 1
    assert "mine.toml: family is 'lohii', not 'loihi'" in done.stderr
