"""A run is a function of its seed, however often it was stopped."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from snn2hw import datasets, train
from snn2hw.errors import InputError, Interrupted
from snn2hw.train import loop
from snn2hw.train.augmenting import augmented, shifted
from snn2hw.train.checkpoint import state_path
from snn2hw.train.state import read_tensors
from snn2hw.train.students import Settings, make_student, predictions

RECIPE = train.defaults(
    "cnn",
    time_steps=2,
    epochs=3,
    teacher_epochs=2,
    prune_epochs=4,
    width=0.25,
    shift=1,
    batch=32,
)
NO_TEACHER = replace(RECIPE, method="none", epochs=1)
TRAIN, TEST = 96, 40  # three steps an epoch


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits").subset(TRAIN, TEST)


@pytest.fixture(scope="module")
def teacher(digits):
    return train.train_teacher(RECIPE, digits)[0]


class StopAt:
    """Presses Ctrl-C once, at a step of a stage."""

    def __init__(self, stage, step):
        self.stage, self.step = stage, step

    def update(self, stage, done, total, **_info):
        assert 0 <= done <= total
        if (stage, done) == (self.stage, self.step):
            self.step = -1
            raise KeyboardInterrupt


def same(one, two):
    a, b = one.state_dict(), two.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def epochs(run):
    return [(r["stage"], r["epoch"]) for r in train.read_log(run / "log.jsonl")]


@pytest.mark.parametrize("step", [1, 3, 8])
def test_interrupted_student_ends_the_same(tmp_path, digits, teacher, step):
    whole = train.distill_student(RECIPE, digits, teacher)
    stop = StopAt("student", step)
    with pytest.raises(Interrupted, match="same command"):
        train.distill_student(RECIPE, digits, teacher, tmp_path, stop)
    again = train.distill_student(RECIPE, digits, teacher, tmp_path, stop)
    same(whole, again)
    same(whole, train.load_student(tmp_path))
    assert epochs(tmp_path) == [("student", e) for e in range(3)]
    assert not list((tmp_path / "checkpoint").glob("*.state.*"))


def test_a_run_goes_on_from_a_checkpoint_that_is_epochs_old(tmp_path, digits, teacher, monkeypatch):
    # Large networks are not written after every epoch. Momentum and augmentation come back too.
    monkeypatch.setattr(loop, "SAVE_EVERY", 1e9)
    recipe = replace(RECIPE, epochs=4, optimizer="sgd", lr=0.05, flip=True, cutout=3)
    whole = train.distill_student(recipe, digits, teacher)
    with pytest.raises(Interrupted):
        train.distill_student(recipe, digits, teacher, tmp_path, StopAt("student", 11))
    state, facts = read_tensors(state_path(tmp_path, "student"))
    assert [row["epoch"] for row in facts["history"]] == [0]
    assert any(k.endswith("momentum_buffer") for k in state)
    again = train.distill_student(recipe, digits, teacher, tmp_path)
    same(whole, again)
    assert epochs(tmp_path) == [("student", e) for e in range(4)]


def test_interrupted_pruning_ends_the_same(tmp_path, digits, teacher):
    student = train.new_student(RECIPE, digits)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    arguments = (student, teacher, RECIPE, 0.8, 4, digits)
    whole = train.prune_student(*arguments)
    stop = StopAt("prune", 7)
    with pytest.raises(Interrupted):
        train.prune_student(*arguments, tmp_path, stop)
    again = train.prune_student(*arguments, tmp_path, stop)
    same(whole, again)
    assert train.sparsity(again) >= 0.8
    assert train.sparsity(train.load_student(tmp_path)) >= 0.8
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


KILLED = """
import os, signal, sys
from pathlib import Path
from snn2hw import datasets, train
class Dies:
    def update(self, stage, done, total, **info):
        if info.get("epoch") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
data = datasets.load("digits").subset(96, 40)
recipe = train.Recipe.from_json({recipe})
train.train_teacher(recipe, data, Path(sys.argv[1]), Dies())
"""


def test_killed_teacher_ends_the_same(tmp_path, digits):
    recipe = replace(RECIPE, teacher_epochs=4)
    whole, accuracy = train.train_teacher(recipe, digits)
    code = KILLED.format(recipe=recipe.to_json())
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    log = tmp_path / "log.jsonl"
    assert epochs(tmp_path) == [("teacher", 0), ("teacher", 1)]
    # As if it had died between checkpoint and log, and once more within a write.
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    (tmp_path / "checkpoint" / ".teacher.state.safetensors.x").write_bytes(b"half")
    again, found = train.train_teacher(recipe, digits, tmp_path)
    same(whole, again)
    assert found == accuracy
    assert epochs(tmp_path) == [("teacher", e) for e in range(4)]


def test_finished_teacher_is_not_trained_again(tmp_path, digits):
    first, accuracy = train.train_teacher(RECIPE, digits, tmp_path)
    second, again = train.train_teacher(RECIPE, digits, tmp_path, StopAt("teacher", 1))
    same(first, second)
    assert accuracy == again
    with pytest.raises(InputError, match="seed 0 instead of 1"):
        train.train_teacher(replace(RECIPE, seed=1), digits, tmp_path)


def test_seed_decides(digits, teacher):
    one, two = (
        train.distill_student(replace(RECIPE, epochs=1, seed=s), digits, teacher) for s in (0, 1)
    )
    assert not torch.equal(one.conv1.weight.weight, two.conv1.weight.weight)


def test_checkpoint_of_another_job_is_refused(tmp_path, digits, teacher):
    with pytest.raises(Interrupted):
        train.distill_student(RECIPE, digits, teacher, tmp_path, StopAt("student", 4))
    with pytest.raises(InputError, match="other options"):
        train.distill_student(replace(RECIPE, lr=1e-3), digits, teacher, tmp_path)
    state = tmp_path / "checkpoint" / "student.state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(InputError, match=r"student\.state\.safetensors"):
        train.distill_student(RECIPE, digits, teacher, tmp_path)


def test_log_says_what_happened(tmp_path, digits, teacher):
    train.distill_student(replace(RECIPE, epochs=1), digits, teacher, tmp_path)
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    record = json.loads(line)
    keys = {"epoch", "loss", "train_accuracy", "test_accuracy", "spikes_per_sample", "seconds"}
    assert keys <= set(record)


def test_any_module_teaches_and_any_module_learns(digits):
    class Foreign(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(64, 10)

        def forward(self, x):
            return self.fc(x.flatten(1) / 16.0)

    recipe = replace(RECIPE, epochs=1)
    train.distill_student(recipe, digits, Foreign())
    learned = train.distill_student(recipe, digits, Foreign(), student=Foreign())
    assert train.evaluate(learned, digits.x_test, digits.y_test).spikes == {}


def test_a_missing_teacher_is_said(digits):
    with pytest.raises(InputError, match="needs a teacher"):
        train.distill_student(RECIPE, digits, None)
    train.distill_student(replace(RECIPE, method="none", epochs=1), digits, None)


class Losses:
    """Keeps what is told of every step, and of every epoch's end."""

    def __init__(self):
        self.steps, self.epochs = {}, {}

    def update(self, _stage, done, _total, **info):
        if "loss" in info:
            (self.epochs if "epoch" in info else self.steps)[done] = info["loss"]


def test_the_loss_of_an_epoch_so_far_is_its_mean_over_samples(digits):
    told = Losses()
    recipe = replace(NO_TEACHER, batch=64)  # of 96: the last batch is half as large
    train.distill_student(recipe, digits, None, progress=told)
    assert list(told.steps) == [1, 2]
    assert told.steps[2] == pytest.approx(told.epochs[2], rel=1e-9)


def _diverging_teacher(digits, run, progress):
    recipe = replace(RECIPE, teacher_lr=1e30, teacher_epochs=1, batch=4)
    train.train_teacher(recipe, digits, run, progress)


def _diverging_student(digits, run, progress):
    # Its neurons fall silent, so its loss is that of chance.
    recipe = replace(NO_TEACHER, student="mlp-32", lr=1e30, batch=4)
    train.distill_student(recipe, digits, None, run, progress)


def _diverging_pruning(digits, run, progress):
    student = make_student("mlp-32", Settings((1, 8, 8), 10, 16, 2))
    recipe = replace(NO_TEACHER, student="mlp-32", prune_lr=1e30, batch=4)
    train.prune_student(student, None, recipe, 0.5, 1, digits, run, progress)


@pytest.mark.parametrize(
    ("what", "stage"),
    [(_diverging_teacher, "teacher"), (_diverging_student, "student"),
     (_diverging_pruning, "prune")],
)  # fmt: skip
def test_divergence_is_said_within_the_epoch_whenever_it_is_tried(digits, tmp_path, what, stage):
    for run, way_out in ((tmp_path, "1e+30, under another name."), (tmp_path, "name."),
                         (None, "1e+30.")):  # fmt: skip
        told = Losses()
        with pytest.raises(InputError) as caught:
            what(digits, run, told)
        assert f"diverged in stage '{stage}', epoch 0: NaN or infinity in" in caught.value.message
        assert caught.value.hint.endswith(way_out)
        assert 0 < max(told.steps) < TRAIN / 4
        assert not list(tmp_path.rglob("*.safetensors"))


def test_divergence_is_said_after_a_short_epoch(digits, tmp_path):
    for recipe in (replace(NO_TEACHER, lr=1e30), replace(NO_TEACHER, lr=1e30, student="mlp-32")):
        with pytest.raises(InputError, match="diverged in stage 'student', epoch 0: "):
            train.distill_student(recipe, digits, None, tmp_path)


def test_evaluation_counts_spikes(digits):
    student = make_student("cnn", Settings((1, 8, 8), 10, 16, 3))
    found = train.evaluate(student, digits.x_test, digits.y_test, batch=17)
    assert list(found.spikes) == ["lif1", "lif2", "lif3", "lif4"]
    assert [s.size for s in found.spikes.values()] == [1024, 512, 128, 10]
    whole = train.evaluate(student, digits.x_test, digits.y_test, batch=40)
    assert np.allclose(found.spikes["lif2"], whole.spikes["lif2"])
    assert found.accuracy == (found.predictions == digits.y_test).mean()
    assert student.training


def test_ties_go_to_the_first_class():
    counts = torch.tensor([[0.0, 3.0, 3.0], [0.0, 0.0, 0.0], [1.0, 2.0, 4.0]])
    assert predictions(counts).tolist() == [1, 0, 2]


@pytest.mark.parametrize("shape", [(5, 1, 6, 7), (5, 3, 2, 6, 7)])
def test_shifts_move_whole_samples(shape):
    x = torch.arange(1, 1 + int(np.prod(shape))).reshape(shape)
    generator = torch.Generator().manual_seed(0)
    moved = shifted(x, 1, generator)
    assert moved.shape == x.shape
    generator.manual_seed(0)
    by = torch.randint(0, 3, (5, 2), generator=generator)
    for sample, (down, right) in enumerate(by.tolist()):
        padded = torch.nn.functional.pad(x[sample], (1, 1, 1, 1))
        assert torch.equal(moved[sample], padded[..., down : down + 6, right : right + 7])


@pytest.mark.parametrize("shape", [(40, 1, 6, 9), (40, 3, 2, 6, 9)])
def test_a_square_is_hidden_in_every_image(shape):
    x = torch.full(shape, 7, dtype=torch.uint8)
    seen = augmented(x, 0, False, 3, torch.Generator().manual_seed(0))
    assert seen.dtype == torch.uint8
    hidden = (seen == 0).flatten(1, -3)
    assert torch.equal(hidden.any(1), hidden.all(1))  # the same place in all channels and frames
    areas = set()
    for image in hidden[:, 0]:
        rows, columns = image.any(1), image.any(0)
        assert torch.equal(image, rows[:, None] & columns[None])
        for side in (rows, columns):
            places = side.nonzero().flatten()
            assert 1 <= len(places) <= 3
            assert places[-1] - places[0] == len(places) - 1
        areas.add(int(image.sum()))
    assert 9 in areas
    assert min(areas) < 9  # it may lie partly outside


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "adam"},
        {"cutout": -1},
        {"epochs": 0},
        {"batch": 1},
        {"alpha": 2.0},
        {"lr": float("nan")},
        {"method": "kdd"},
    ],
)
def test_bad_recipes_are_refused(wrong):
    with pytest.raises(InputError):
        replace(RECIPE, **wrong)


def test_recipe_survives_json():
    assert train.Recipe.from_json(json.loads(json.dumps(RECIPE.to_json()))) == RECIPE
    with pytest.raises(InputError, match="no colour"):
        train.Recipe.from_json({"colour": 1})
