"""What stands beside a build: its teacher, other runs and builds, and of which samples."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from evidence import PROOF, made, measured
from nets import LOIHI2, images, tiny
from system_calls import call_here

from snn2hw import datasets
from snn2hw.datasets import in_training
from snn2hw.files import sha256, write_json
from snn2hw.pipeline import builds, folder, keeping, page, runs
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Samples, fingerprint
from snn2hw.pipeline.pruning import of_parent
from snn2hw.pipeline.samples import samples_for
from snn2hw.report import bill, tables
from snn2hw.report.evidence import Of, Step
from snn2hw.report.page import render
from snn2hw.report.proof import proved
from snn2hw.report.units import energy_unit
from snn2hw.report.verdict import verdict
from snn2hw.store import folders
from snn2hw.train import Recipe


def test_accuracies_in_a_column_are_of_the_same_samples(tmp_path):
    build = made(tmp_path)
    m = measured(build)
    evidence = replace(
        page.of_build(build, m, None, command="x", root=None),
        chain=(Step("teacher", 0.9, Of(100, "a")), Step("student", 0.8, Of(100, "a")),
               Step("chip", 0.7, Of(5, "a")), Step("unknown", 0.6, Of(None, "a"))),
    )  # fmt: skip
    table = tables.chain(evidence)
    assert table.head[1:4] == (
        "accuracy % (100 samples)",
        "accuracy % (5 samples)",
        "accuracy % (samples not told)",
    )
    assert [[c.shown for c in row[1:4]] for row in table.rows] == [
        ["90.00", "–", "–"], ["80.00", "–", "–"], ["–", "70.00", "–"], ["–", "–", "60.00"],
    ]  # fmt: skip
    chain = (
        Step("a", 0.9, Of(8, "a")), Step("b", 0.8, Of(8, "b")), Step("c", 0.7, Of(8, "b", True)),
        Step("d", 0.6, Of(8, None)), Step("e", 0.5, Of(8, "x.npz", sha256="1" * 64)),
        Step("f", 0.4, Of(8, "x.npz", sha256="2" * 64)), Step("g", None, Of(9, "c")),
    )  # fmt: skip
    table = tables.chain(replace(evidence, chain=chain))
    assert [head.removeprefix("accuracy % (8 samples of ") for head in table.head[1:-3]] == [
        "a)", "b)", "b, trained on)", "unknown data)", "x.npz, 11111111)", "x.npz, 22222222)",
    ]  # fmt: skip
    for i, row in enumerate(table.rows[:6]):
        assert [c.shown != "–" for c in row[1:7]] == [j == i for j in range(6)]


def test_the_folder_shows_what_is_of_the_same_samples_and_why_not_the_rest(tmp_path):
    build = made(tmp_path)
    m = measured(build)
    run = {
        "accuracy": 0.9, "teacher_accuracy": None, "spikes_per_sample": 1.0,
        "synops_per_sample": 5.0, "parameters": 1, "connections": 1, "time_steps": 4,
        "method": "none", "data": "made up", "seed": 0, "seconds": 1.0,
    }  # fmt: skip
    for name, more in (
        ("same", {"samples": 8}), ("fewer", {"samples": 3}), ("silent", {}),
        ("broken", {"accuracy": "high"}), ("elsewhere", {"samples": 8, "data": "others"}),
    ):  # fmt: skip
        path = tmp_path / "runs" / name / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**run, **more}))
    for name in ("twin", "unpriced", "foreign", "stale"):
        made(tmp_path, name=name)
    for name, digest in (("twin", build.digest), ("stale", "another")):
        document = m.document(digest)
        write_json(tmp_path / "builds" / f"{name}-loihi2" / "energy.json", document)
    (tmp_path / "builds/foreign-loihi2/build.json").write_text("[]")
    found, left = folder.points(tmp_path, {"mine": m.report}, build.path)
    assert [(p.name, p.kind, p.here) for p in found] == [
        ("mine", "build", True), ("same", "run", False), ("twin-loihi2", "build", False),
    ]  # fmt: skip
    assert found[2].uj == pytest.approx(found[0].uj, rel=1e-5)
    why = dict(line.split(": ", 1) for line in left)
    assert set(why) == {
        "runs/fewer", "runs/silent", "runs/broken", "runs/elsewhere", "builds/unpriced-loihi2",
        "builds/foreign-loihi2", "builds/stale-loihi2",
    }  # fmt: skip
    assert "of 3 samples of made up" in why["runs/fewer"]
    assert "accuracy is 'high'" in why["runs/broken"]
    assert "another program" in why["builds/stale-loihi2"]


RECIPE = {"method": "hetero", "teacher": "cnn", "student": "mlp", "seed": 0, "beta": 0.5,
          "alpha": 0.7, "spike_cost": 0.0}  # fmt: skip


METRICS = {
    "accuracy": 0.9, "teacher_accuracy": 0.95, "spikes_per_sample": 1.0, "synops_per_sample": 5.0,
    "parameters": 1, "connections": 1, "time_steps": 4, "method": "hetero", "data": "made up",
    "seed": 0, "seconds": 1.0, "samples": 8,
}  # fmt: skip


def a_run(root, name, metrics=METRICS, **recipe):
    path = root / "runs" / name
    path.mkdir(parents=True)
    write_json(path / "command.json", {"command": "distill", "recipe": RECIPE | recipe})
    (path / "metrics.json").write_text(json.dumps(metrics))
    return path


@pytest.mark.parametrize(
    ("recipe", "metrics", "is_twin"),
    [
        ({}, {}, True),
        ({"teacher": "mlp", "alpha": 0.9, "prune_lr": 1.0}, {}, True),  # nobody taught it
        ({"unknown_yet": 1}, {}, False),  # by a later version, so nobody knows what it changes
        ({"smoothing": 0.0}, {}, False),  # the same
        ({}, {"data": "others"}, False),
        ({"seed": 1}, {}, False),
        ({"spike_cost": 2.0}, {}, False),
        ({"method": "kd"}, {}, False),
        ({}, {"sparsity": 0.5}, False),
        ({}, {"accuracy": "high"}, False),
    ],
)
def test_a_taught_student_stands_beside_the_same_without_a_teacher(
    tmp_path, monkeypatch, recipe, metrics, is_twin
):
    monkeypatch.setitem(sys.modules, "snn2hw.train", None)  # a page needs no PyTorch
    taught = a_run(tmp_path, "taught")
    labels = METRICS | {"method": "none", "teacher_accuracy": None, "accuracy": 0.8} | metrics
    a_run(tmp_path, "labels", labels, **{"method": "none", **recipe})
    steps, _ = folder.chain({"model": str(taught), "inputs": {}}, [], tmp_path)
    assert [(s.who, s.accuracy) for s in steps] == [
        ("teacher (a module)", 0.95),
        *([("the student without the teacher, float (labels)", 0.8)] if is_twin else []),
        ("student, float (taught)", 0.9),
    ]


def test_a_student_that_nobody_taught_has_no_such_twin(tmp_path):
    for name in ("a", "b"):
        path = a_run(tmp_path, name, METRICS | {"method": "none"}, method="none")
    assert folder.twin(folder.Run(path, METRICS), tmp_path) is None


def test_the_build_that_is_asked_for_is_looked_at_however_many_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MOST", 2)
    m = measured(made(tmp_path))
    for name in ("a", "b", "z"):
        build = made(tmp_path, name=name)
        write_json(build.path / "energy.json", m.document(build.digest))
        (tmp_path / "runs" / name).mkdir(parents=True)
        write_json(tmp_path / "runs" / name / "metrics.json", METRICS)
    keeping.keep_proof(build.path, {**PROOF, "program": build.digest})
    assert folder.proof_of(tmp_path, build.digest) is None
    assert folder.proof_of(tmp_path, build.digest, [build.path])["program"] == build.digest
    found, left = folder.points(tmp_path, {"mine": m.report}, first=["z-loihi2", "z"])
    assert [p.name for p in found] == ["mine", "z", "a", "z-loihi2", "a-loihi2"]
    assert left == ["2 of 3 runs are looked at.", "2 of 4 builds are looked at."]
    np.savez(tmp_path / "x.npz", x=images(tiny(), 4)["input"], y=np.arange(4) % 2)
    order = ["--targets", "loihi2", "--input", "x.npz", "--html", "page.html"]
    done = call_here(tmp_path, "energy", "compare", "builds/z-loihi2", *order)
    assert done.returncode == 0, done.stderr
    assert "Proved: all 1,000 values" in (tmp_path / "page.html").read_text()
    of_z = replace(build, info={**build.info, "model": "z"})
    evidence = page.of_build(of_z, m, None, command="x", root=tmp_path)
    assert "z" in [p.name for p in evidence.points]


def test_files_of_one_name_are_told_apart(tmp_path):
    made(tmp_path, name="other")
    build = made(tmp_path)
    for name, shift in (("one", 0), ("two", 1), ("same", 0)):
        (tmp_path / name).mkdir()
        x = np.roll(images(tiny(), 4)["input"], shift, axis=0)
        np.savez(tmp_path / name / "x.npz", x=x.astype(np.int32 if name == "same" else x.dtype),
                 y=np.arange(4) % 2)  # fmt: skip

    def report(name):
        taken = samples_for(build, file=tmp_path / name / "x.npz")
        return builds.measure(build, taken)

    kept = report("one").document(build.digest)
    write_json(tmp_path / "builds/other-loihi2/energy.json", kept)
    assert kept["data"] == "x.npz"
    found, left = folder.points(tmp_path, {"mine": report("two").report}, build.path)
    assert [p.name for p in found] == ["mine"]
    assert left == ["builds/other-loihi2: its accuracy is of other samples that are called x.npz."]
    found, left = folder.points(tmp_path, {"mine": report("same").report}, build.path)
    assert ([p.name for p in found], left) == (["mine", "other-loihi2"], [])


def test_labels_are_part_of_what_tells_samples_apart():
    samples = Samples({"input": np.ones((4, 2))}, None, "arrays", sha256="x")
    assert samples.labelled(None).sha256 == "x"
    assert replace(samples, sha256=None).labelled(None).sha256 == fingerprint(samples.inputs)
    one, two = (samples.labelled(np.arange(4) % n).sha256 for n in (2, 3))
    assert len({one, two, fingerprint(samples.inputs)}) == 3
    whole = {"a": np.arange(-5, 595).reshape(300, 2)}
    assert fingerprint(whole) == fingerprint({"a": whole["a"].astype(np.int16)})
    assert fingerprint(whole) != fingerprint({"a": whole["a"] + 1})
    assert fingerprint({"a": np.array([[1, 9]])}) != fingerprint({"a": np.array([[257, 9]])})
    assert fingerprint({"a": np.array([[-1, 9]])}) != fingerprint({"a": np.array([[255, 9]])})
    many = np.arange(600.0).reshape(300, 2)
    assert fingerprint({"a": many}) == fingerprint({"a": many.astype(np.float32)})
    assert fingerprint({"a": many}) != fingerprint({"a": np.r_[many[:-1], [[0, 0]]]})


def of_run(path):
    """What build.json says of a run that it was made of."""
    nir = {"file": "student.nir", "sha256": sha256(path / "student.nir")}
    return {"model": str(path), "inputs": {"nir": nir}, "run": {}, "data": "made up"}


def test_a_run_that_a_build_was_not_made_of_is_left_out(tmp_path):
    parent, path = a_run(tmp_path, "parent"), a_run(tmp_path, "mine")
    for one in (parent, path):
        (one / "student.nir").write_text(one.name)
    info = of_run(path)
    info["run"] = {"accuracy": 0.7}
    write_json(path / "command.json", {"command": "prune", "parent": "parent", "recipe": RECIPE})
    pruned = METRICS | {"sparsity": 0.5, "parent_sha256": sha256(parent / "student.nir")}
    write_json(path / "metrics.json", pruned)
    steps, left = folder.chain(info, [], tmp_path)
    assert [s.who for s in steps] == ["teacher (a module)", "student, float (parent)",
                                      "pruned, 50 % zeros, float (mine)"]  # fmt: skip
    assert left == []
    (parent / "student.nir").write_text("trained anew")
    steps, left = folder.chain(info, [], tmp_path)
    assert [s.who for s in steps[1:]] == ["pruned, 50 % zeros, float (mine)"]
    assert left == ["Run parent is left out: its student is not the one that mine was made of."]
    (path / "student.nir").write_text("trained anew")
    steps, left = folder.chain(info, [], tmp_path)
    assert [(s.who, s.accuracy) for s in steps] == [("student, float", 0.7)]
    assert left == ["Run mine is left out: its student is not the one that this build was made of."]
    build = made(tmp_path)
    evidence = replace(
        page.of_build(build, measured(build), None, command="x", root=tmp_path),
        chain=tuple(steps), chain_notes=tuple(left),
    )  # fmt: skip
    assert "Run mine is left out" in render(evidence)


def test_samples_that_were_trained_on_are_never_beside_unseen_ones(tmp_path):
    build = made(tmp_path)
    m = measured(build, source="digits@validation")
    unseen = METRICS | {"data": "digits@validation"}
    for name, more in (("unseen", {}), ("seen", {"trained_before": ["digits"]})):
        a_run(tmp_path, name, unseen | more)
    other = export(Model("of-digits", tiny(), {}, "digits"), LOIHI2, tmp_path)
    write_json(other.path / "energy.json", m.document(other.digest))
    found, left = folder.points(tmp_path, {"mine": m.report}, build.path)
    assert [p.name for p in found] == ["mine", "unseen"]
    assert left == [f"runs/seen: {folder.SEEN}", f"builds/of-digits-loihi2: {folder.SEEN}"]
    seen = replace(m.report, trained_on=True)
    found, left = folder.points(tmp_path, {"mine": seen}, build.path)
    assert [p.name for p in found] == ["mine"]
    assert "no other stands beside it" in left[0]
    steps, _ = folder.chain({"model": str(tmp_path / "runs/seen"), "inputs": {}}, [seen], tmp_path)
    assert [s.of.trained_on for s in steps] == [False, True, True]
    lines = " ".join(bill.energy(seen, "mine", None, proved(None, "")))
    assert "of digits@validation, on which it was trained." in lines
    about = page.of_build(build, replace(m, report=seen), None, command="x", root=None)
    assert "of 8 samples on which it was trained;" in verdict(about, energy_unit([seen]))
    assert "of digits@validation, on which it was trained<" in render(about)


@pytest.mark.parametrize(
    ("held", "trained", "seen"),
    [
        ("digits@validation", ["digits"], True),
        ("digits@validation", ["digits@validation"], False),
        ("digits@validation", ["digits@validation", "digits"], True),
        ("digits@validation", ["mnist"], False),
        ("digits@validation", [None], False),
        ("digits", ["digits"], False),
        ("npz:a.npz@validation", ["npz:./a.npz"], True),
        ("npz:a.npz@validation", ["npz:b.npz"], False),
        ("events:clips,window=5@validation", ["events:clips"], True),
    ],
)
def test_what_was_trained_on(held, trained, seen):
    assert in_training(held, trained) is seen


def test_a_shipped_model_says_that_validation_samples_are_not_unseen(tmp_path):
    assert call_here(tmp_path, "export", "digits-cnn").returncode == 0
    for order in (["simulate"], ["energy", "report"], ["simulate", "digits-cnn", "--on", "float"]):
        done = call_here(tmp_path, *order, "--data", "digits@validation", "--samples", "5")
        assert done.returncode == 0, done.stderr
        assert "digits-cnn" in done.stderr
        assert "was trained on these samples: digits@validation holds" in done.stderr
        assert "are held out in place" not in done.stderr
    kept = json.loads((tmp_path / "builds/digits-cnn-loihi2/energy.json").read_text())
    assert kept["trained_on"] is True
    done = call_here(tmp_path, "energy", "report", "--samples", "3")
    assert "trained on" not in done.stderr.replace("on which the model was trained", "")
    kept = json.loads((tmp_path / "builds/digits-cnn-loihi2/energy.json").read_text())
    assert (kept["samples"], kept.get("trained_on")) == (3, None)


def test_what_a_student_learned_before_is_told_by_what_is_pruned_of_it(tmp_path):
    path = a_run(tmp_path, "before", METRICS | {"data": "digits", "teacher_note": "seen"})
    data = datasets.load("digits@validation")
    found = of_parent(folders.read_run(path), data)
    assert found["trained_before"] == ["digits"]
    assert "before was trained on these samples" in found["data_note"]
    assert found["teacher_note"] == "seen"
    assert "parent_sha256" not in found
    (path / "student.nir").write_text("x")
    found = of_parent(folders.read_run(path), datasets.load("digits"))
    assert found["parent_sha256"] == sha256(path / "student.nir")
    assert not {"trained_before", "data_note"} & found.keys()


def test_a_teacher_that_has_seen_what_is_held_out_is_told(tmp_path):
    path = a_run(tmp_path, "teacher", METRICS | {"data": "digits"})
    recipe = Recipe(teacher=str(path), data="digits@validation")
    note = runs.teachers_note(recipe, None)
    assert "was trained on these samples" in note["teacher_note"]
    assert runs.teachers_note(replace(recipe, data="digits"), None) == {}
    assert runs.teachers_note(replace(recipe, teacher="cnn"), None) == {}
    student = a_run(tmp_path, "student", METRICS | {"data": "digits@validation"} | note)
    steps, _ = folder.chain({"model": str(student), "inputs": {}}, [], tmp_path)
    assert [s.of.trained_on for s in steps] == [True, False]
