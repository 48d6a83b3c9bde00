"""Files of weights where a network belongs: what they hold is said, and nothing in them runs."""

from __future__ import annotations

import argparse
import collections
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import snn2hw
from snn2hw import checkpoints, train
from snn2hw.checkpoints import describe
from snn2hw.errors import InputError
from snn2hw.pipeline.loading import load_model

NET = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Flatten(), nn.Linear(8, 10))
STATE = NET.state_dict()
SHAPES = {k: tuple(v.shape) for k, v in STATE.items()}


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def refusal(path):
    with pytest.raises(InputError) as caught:
        load_model(str(path), path.parent)
    assert str(path) in str(caught.value)
    return str(caught.value)


def lightning():
    state = {f"model.{k}": v for k, v in STATE.items()}
    told = argparse.Namespace(lr=0.1)
    return {"epoch": 3, "pytorch-lightning_version": "2.4.0", "state_dict": state,
            "hyper_parameters": told, "callbacks": {}}  # fmt: skip


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.th", "w.ckpt", "w.safetensors"])
def test_weights_alone(tmp_path, name):
    path = tmp_path / name
    save_file(STATE, path) if name.endswith("tensors") else torch.save(STATE, path)
    assert describe(path).tensors == SHAPES
    said = refusal(path)
    assert "holds weights, 4 tensors (0." in said
    assert "0.weight [8, 2, 3, 3]" in said
    assert "but no network. In Python: module = " in said
    loaded = "safetensors.torch.load_file" if name.endswith("tensors") else "torch.load"
    assert f'module.load_state_dict({loaded}("{name}"' in said
    with pytest.raises(InputError, match="but no network"):
        snn2hw.load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_other_ways_to_save_them(tmp_path, zipped):
    path = tmp_path / "w.pt"

    def saved(what):
        torch.save(what, path, _use_new_zipfile_serialization=zipped)
        return describe(path)

    assert saved(STATE).tensors == SHAPES
    assert saved({k: nn.Parameter(v) for k, v in STATE.items()}).tensors == SHAPES
    optimizer = torch.optim.Adam(NET.parameters()).state_dict()
    held = saved({"epoch": 1, "model_state_dict": STATE, "optimizer": optimizer})
    assert (held.tensors, held.key, held.lightning) == (SHAPES, "model_state_dict", False)
    assert "in its 'model_state_dict'" in refusal(path)
    assert "weights_only=True)['model_state_dict']" in refusal(path)


def test_a_checkpoint_of_lightning(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(lightning(), path)
    held = describe(path)
    assert (held.key, held.lightning, held.prefix) == ("state_dict", True, "model.")
    said = refusal(path)
    assert (
        "holds a Lightning checkpoint, with 4 tensors in its 'state_dict' (model.0.weight" in said
    )
    assert "k.removeprefix('model.')" in said
    assert "['state_dict']" in said


def test_what_is_said_works(tmp_path, monkeypatch):
    """The line of Python, as it is printed."""
    monkeypatch.chdir(tmp_path)
    torch.save(lightning() | {"hyper_parameters": {}}, "a.ckpt")
    torch.save(lightning(), "named.ckpt")
    more = {"args": argparse.Namespace(lr=1, out=Path("runs")), "best": np.float64(0.9),
            "curve": np.zeros(3, np.int32), "by": collections.defaultdict(list)}  # fmt: skip
    torch.save({"model": STATE, **more}, "more.pth")
    torch.save(STATE, "w.pth")
    save_file(STATE, "w.safetensors")
    for name in ("a.ckpt", "named.ckpt", "more.pth", "w.pth", "w.safetensors"):
        said = refusal(tmp_path / name)
        assert ("add_safe_globals" in said) == (name in ("named.ckpt", "more.pth"))
        before, _, line = said.partition("In Python: ")[2].partition("module = ")
        line = before + line[line.index("module.load_state_dict") : line.index("; snn2hw.load")]
        module = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Flatten(), nn.Linear(8, 10))
        import safetensors.torch

        with torch.serialization.safe_globals([]):  # what is added is taken away behind it
            exec(line, {"module": module, "torch": torch, "safetensors": safetensors})
        assert all(torch.equal(v, STATE[k]) for k, v in module.state_dict().items())


def test_no_code_is_offered_for_strange_names(tmp_path):
    """A name may be a program, or no name at all."""
    path = tmp_path / "odd.pth"
    torch.save({"model": STATE, "more": Bomb(), "args": argparse.Namespace()}, path)
    said = refusal(path)
    assert "It also names argparse.Namespace, builtins.getattr, pathlib.Path" in said
    assert "such a file may do anything. If you trust whoever made it" in said
    assert "add_safe_globals([" not in said
    assert "import " not in said


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_not_opened(tmp_path, zipped):
    path = tmp_path / "net.pt"
    for module, name in ((Mine(), "Mine"), (NET, "torch.nn.modules.container.Sequential")):
        for what in (module, {"epoch": 1, "model": module}):
            torch.save(what, path, _use_new_zipfile_serialization=zipped)
            said = refusal(path)
            assert "holds a whole pickled module, of class " in said
            assert f"{name}: that is code, and is not opened" in said
            assert "torch.save(module.state_dict(), FILE)" in said
    path.write_bytes(pickle.dumps(Mine()))
    assert "holds a whole pickled module" in refusal(path)
    torch.jit.save(torch.jit.script(NET), path)
    assert "is a TorchScript program: that is code" in refusal(path)


def test_nothing_in_a_file_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    for what in (Bomb(), {"state_dict": STATE, "more": Bomb()}, {**STATE, "bomb": Bomb()}):
        for content in (lambda w: torch.save(w, path), lambda w: path.write_bytes(pickle.dumps(w))):
            content(what)
            refusal(path)
            assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Bomb()))  # as it would
    assert Path("ran").exists()


def test_damaged_and_other_files(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    for content, said in (
        (b"junk", "is not a file of weights"),
        (b"", "is not a file of weights"),
        (pickle.dumps([1]), "it holds list, not tensors by name"),
        (pickle.dumps({"a": 1}), "it holds no tensors by name"),
    ):
        path.write_bytes(content)
        assert said in refusal(path)
    torch.save(torch.zeros(3), path)
    assert "a single tensor, without a name" in refusal(path)
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-300])
    assert "is not a file of weights" in refusal(path)
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    assert "its description has 1,099,511,627,776 bytes" in refusal(path)
    monkeypatch.setattr(checkpoints, "MOST_DESCRIPTION", 100)
    torch.save(STATE, tmp_path / "w.pth")
    assert "its description has more than 100 bytes" in refusal(tmp_path / "w.pth")


def test_a_teacher_of_weights_alone(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(STATE, path)
    with pytest.raises(InputError, match=r"but no network\. Name .*--teacher-weights .*w\.pth"):
        train.defaults("cnn", "digits", str(path))


def test_weights_of_lightning_fit_the_module_inside(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(lightning() | {"hyper_parameters": {"lr": 0.1}}, path)
    module = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Flatten(), nn.Linear(8, 10))
    from snn2hw.train.weights import load_weights

    assert set(load_weights(module, path).taken) == set(STATE)
    assert torch.equal(module[0].weight, NET[0].weight)
