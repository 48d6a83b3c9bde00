"""Several processes train as one does."""

import json
import os
import subprocess
import sys

import numpy as np
import torch

from snn2hw import datasets, train
from snn2hw.train.devices import Devices

SCRIPT = """
import sys
from pathlib import Path
from snn2hw import datasets, train
recipe = train.defaults(
    "resnet8", time_steps=2, epochs=2, teacher_epochs=1, width=0.25, batch=31, method="kd",
    spike_cost=0.5, shift=1,
)
data = datasets.load("digits").subset(94, 40)  # parts of unequal size, and a last batch of one
where = train.Devices("cpu", devices=int(sys.argv[1]))
teacher, _ = train.train_teacher(recipe, data, Path(sys.argv[2]), devices=where)
train.distill_student(recipe, data, teacher, Path(sys.argv[2]), devices=where)
"""


def _alone(tmp_path, monkeypatch):
    run = tmp_path / "alone"
    monkeypatch.setattr(sys, "argv", ["script.py", "1", str(run)])
    exec(SCRIPT, {})
    return train.read_log(run / "log.jsonl"), train.load_student(run)


def _with_another(tmp_path):
    script, run = tmp_path / "script.py", tmp_path / "both"
    script.write_text(SCRIPT, encoding="utf-8")
    hidden = {"RANK", "LOCAL_RANK", "WORLD_SIZE"}
    made = subprocess.run(
        [sys.executable, script, "2", run],
        env={k: v for k, v in os.environ.items() if k not in hidden},
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return train.read_log(run / "log.jsonl"), train.load_student(run)


def test_two_processes_have_the_losses_of_one(tmp_path, monkeypatch):
    (one, alone), (two, both) = _alone(tmp_path, monkeypatch), _with_another(tmp_path)
    assert [r["stage"] for r in two] == ["teacher", "student", "student"]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
        assert a.get("parts", {}).keys() == b.get("parts", {}).keys()
    # Sums in another order move a spike now and then; weights stay together.
    for (name, x), y in zip(alone.state_dict().items(), both.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0.05, atol=0.01, msg=lambda m, n=name: f"{n}: {m}")
    assert json.loads(json.dumps(one))  # plain numbers


def test_one_process_is_not_shared():
    data = datasets.load("digits").subset(64, 20)
    recipe = train.defaults("cnn", time_steps=2, epochs=1, width=0.25, method="none")
    made = train.distill_student(recipe, data, None, devices=Devices("cpu"))
    assert type(made.conv1.norm) is torch.nn.BatchNorm2d
