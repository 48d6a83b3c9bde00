"""Runs and builds on disk: what was written comes back, and what was changed is named."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from nets import LOIHI2, images, residual
from odd import refuses, variants

from snn2hw.errors import InputError
from snn2hw.files import sha256
from snn2hw.pipeline import builds, demo, keeping, page, run_folders
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.samples import Samples
from snn2hw.report import text
from snn2hw.store import folders

METRICS = {
    "accuracy": 0.5, "teacher_accuracy": None, "spikes_per_sample": 1.5, "synops_per_sample": 9.0,
    "parameters": 9, "connections": 8, "time_steps": 4, "method": "kd", "data": "digits", "seed": 0,
    "seconds": 1, "sparsity": 0.5, "teacher": "cnn", "student": "cnn", "data_note": "a note",
    "encoder": {"name": "rate", "time_steps": 4, "seed": 0, "constants": {}},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A build, and what it was made of."""
    root = tmp_path_factory.mktemp("made")
    (root / "a.nir").write_bytes(b"stands for the network")
    model = Model("small", residual(), {"nir": root / "a.nir"}, "digits", METRICS)
    return export(model, LOIHI2, root)


@pytest.fixture
def build(made, tmp_path):
    return shutil.copytree(made.path, tmp_path / "builds" / made.name)


def rewritten(path, document):
    """Write a document with a hash that is right."""
    if isinstance(document, dict):
        document["sha256"] = folders._seal(document)
    path.write_text(json.dumps(document))


def test_a_build_comes_back(made, build):
    back = folders.read_build(build)
    assert back.info == json.loads((build / "build.json").read_text())
    assert back.program.digest() == made.program.digest()
    assert back.vendor_file is None


@pytest.mark.parametrize("change", [{"data": "mnist"}, {"run": {}}, {"sha256": None}, {"x": 1}])
def test_a_changed_build_document_is_refused(build, change):
    path = build / "build.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info, indent=None))  # a document is the same however it is laid out
    folders.read_build(build)
    path.write_text(json.dumps(info | change))
    with pytest.raises(InputError, match=r"build\.json is not what was written.*Export"):
        folders.read_build(build)
    path.write_text(json.dumps(info | {"format": 1}))
    with pytest.raises(InputError, match=r"build\.json is of format 1, this snn2hw reads 6"):
        folders.read_build(build)


def test_files_of_different_builds_do_not_go_together(made, build, tmp_path):
    smaller = Model("small", residual(), {}, "digits", METRICS)
    few = replace(LOIHI2.limits["neurons_per_core"], value=20.0)
    target = replace(LOIHI2, limits={**LOIHI2.limits, "neurons_per_core": few})
    other = export(smaller, target, tmp_path / "other")
    shutil.copy(other.path / "placement.json", build / "placement.json")
    info = json.loads((build / "build.json").read_text())
    info["outputs"]["placement.json"] = sha256(build / "placement.json")
    rewritten(build / "build.json", info)
    with pytest.raises(InputError, match="of different programs"):
        folders.read_build(build)


def test_a_file_that_the_build_does_not_list_is_not_used(build):
    (build / "model.net").write_bytes(b"from elsewhere")
    assert folders.read_build(build).vendor_file is None


def use(path):
    """Do with a build what the commands do."""
    opened = folders.read_build(path)
    samples = Samples(images(opened.program.network, 2), None, "random")
    measured = builds.measure(opened, samples)
    proof = keeping.last_proof(path)
    evidence = page.of_build(opened, measured, proof, command="a test", root=path.parents[1])
    page.write(path / "page.html", evidence)
    text.build(opened.info)


def test_whatever_a_build_document_holds_is_named_or_harmless(build):
    use(build)
    path, refused = build / "build.json", 0
    for change, document in variants(json.loads(path.read_text())):
        rewritten(path, document)
        refused += refuses(lambda: use(build), build.name, change)
    assert refused > 300


def test_whatever_a_placement_holds_is_named_or_harmless(build):
    info = json.loads((build / "build.json").read_text())
    path, refused = build / "placement.json", 0
    for change, document in variants(json.loads(path.read_text())):
        path.write_text(json.dumps(document))
        info["outputs"]["placement.json"] = sha256(path)
        rewritten(build / "build.json", info)
        refused += refuses(lambda: use(build), build.name, change)
    assert refused > 50


def test_whatever_metrics_hold_is_named_or_harmless(tmp_path):
    def use_run():
        run = folders.read_run(tmp_path)
        text.pairs(run.metrics)
        demo.story_rows(run, run, run, 0.5, report=_Nothing())

    refused = 0
    for change, document in variants(METRICS):
        (tmp_path / "metrics.json").write_text(json.dumps(document))
        refused += refuses(use_run, "metrics.json", change)
    assert refused > 50


class _Nothing:
    target, spikes, synops = "loihi2", 0.0, 0.0


@pytest.mark.parametrize("name", ["build.json", "placement.json", "program.h5"])
def test_parts_of_a_build_that_are_no_files_are_named(build, name):
    (build / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        folders.read_build(build)
    os.mkfifo(build / name)
    with pytest.raises(InputError, match=f"{name} is a pipe or a device"):
        folders.read_build(build)
    (build / name).unlink()
    (build / name).mkdir()
    with pytest.raises(InputError, match=f"{name} is a folder"):
        folders.read_build(build)


def test_whatever_a_command_document_holds_it_is_another_command(tmp_path):
    pytest.importorskip("torch")
    from snn2hw.train import Recipe

    recipe = Recipe().to_json()
    command = {"command": "distill", "recipe": recipe, "parent": "a"}
    for _, document in variants(command | {"recipe": {"lr": recipe["lr"]}}):
        (tmp_path / "command.json").write_text(json.dumps(document))
        run_folders.differences(run_folders.asked(tmp_path), command)


def test_labels_are_saved_with_a_trace(made, tmp_path):
    x = images(made.program.network, 3)
    for labels in (None, np.array([2, 0, 1])):
        trace = builds.simulate(made, Samples(x, labels, "random"))
        builds.save_trace(tmp_path / "a.npz", trace, labels, layers=True)
        with np.load(tmp_path / "a.npz") as saved:
            assert ("label" in saved) == (labels is not None)
            if labels is not None:
                assert saved["label"].tolist() == [2, 0, 1]


def test_a_folder_of_something_else_does_not_hide_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, document in (("clips", "notes.json"), ("runs/clips", "metrics.json")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / document).write_text("{}")
    assert folders.find("runs", "clips", tmp_path) == tmp_path / "runs" / "clips"
    (tmp_path / "clips" / "metrics.json").write_text("{}")
    assert folders.find("runs", "clips", tmp_path).resolve() == tmp_path / "clips"
