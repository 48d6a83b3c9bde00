"""Files of runs and weights from elsewhere: whatever is wrong with them is named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch
from odd import refuses, variants
from safetensors.torch import save

from snn2hw import datasets, train
from snn2hw.encoders import Encoder
from snn2hw.errors import InputError, Interrupted
from snn2hw.train import loop, storage, teachers
from snn2hw.train.checkpoint import state_path
from snn2hw.train.job import Job
from snn2hw.train.state import FACTS, read_tensors, write_tensors
from snn2hw.train.teachers import make_teacher
from snn2hw.train.weights import load_weights

RECIPE = train.defaults("mlp-8", teacher="mlp-8", time_steps=2, epochs=3, teacher_epochs=1)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits").subset(64, 20)


class Stop:
    def update(self, stage, done, total, **info):
        if stage == "student" and info.get("epoch") == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, digits):
    """A run that was stopped after two epochs of its student."""
    path = tmp_path_factory.mktemp("stopped")
    teacher, _ = train.train_teacher(RECIPE, digits, path)
    with pytest.raises(Interrupted):
        train.distill_student(RECIPE, digits, teacher, path, Stop())
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits, stopped):
    """The same run when it is over."""
    path = tmp_path_factory.mktemp("finished")
    shutil.copytree(stopped, path, dirs_exist_ok=True)
    train.distill_student(RECIPE, digits, train.load_teacher(path), path)
    return path


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_recipes(run):
    path, refused = run / "recipe.json", 0
    assert train.load_recipe(run) == RECIPE
    for change, document in variants(RECIPE.to_json()):
        path.write_text(json.dumps(document))
        refused += refuses(lambda: train.load_recipe(run), "", change)
    assert refused > 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": "fast"}, "lr is 'fast', not a number"),
        ({"flip": 1}, "flip is 1, not true or false"),
        ({"time_steps": 2.0}, "time_steps is 2.0, not a whole number"),
        ({"width": 1e9}, "width is 1000000000.0, not a number up to 1024"),
        ({"teacher": None, "epochs": "x"}, "teacher is None, not a text; epochs is 'x'"),
        ({"student": []}, r"student is \[\], not a text"),
    ],
)
def test_types_of_a_recipe_are_named(change, said):
    with pytest.raises(InputError, match=f"The recipe cannot be used: {said}"):
        train.Recipe.from_json(RECIPE.to_json() | change)


@pytest.mark.parametrize("what", ["student", "teacher"])
def test_facts_of_what_is_finished(run, what):
    path, refused = run / "checkpoint" / f"{what}.safetensors", 0
    tensors, facts = read_tensors(path)
    load = {"student": train.load_student, "teacher": train.load_teacher}[what]
    load(run)
    few = {**facts, "recipe": {k: facts["recipe"][k] for k in ("student", "teacher", "width")}}
    for change, document in variants(few):
        write_tensors(path, tensors, document)
        refused += refuses(lambda: load(run), path.name, change)
    assert refused > 70


SPOILED = {
    "missing": lambda t: t.pop(next(iter(t))),
    "unexpected": lambda t: t.update(more=torch.zeros(3)),
    "misshapen": lambda t: t.update({next(iter(t)): torch.zeros(3, 4)}),
    "NaN": lambda t: t[next(k for k in t if t[k].is_floating_point())].fill_(np.nan),
    "empty": lambda t: t.clear(),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("what", ["student", "teacher"])
def test_tensors_of_what_is_finished(run, what, spoil):
    path = run / "checkpoint" / f"{what}.safetensors"
    tensors, facts = read_tensors(path)
    spoil(tensors)
    write_tensors(path, tensors, facts)
    load = {"student": train.load_student, "teacher": train.load_teacher}[what]
    with pytest.raises(InputError, match=rf"{what}\.safetensors.*Distill again"):
        load(run)


def test_a_recipe_of_any_size_takes_no_memory(run):
    path = run / "checkpoint" / "student.safetensors"
    tensors, facts = read_tensors(path)
    facts["recipe"]["student"] = "mlp-40000-20000"
    write_tensors(path, tensors, facts)
    with pytest.raises(InputError, match=r"student\.safetensors does not match its recipe"):
        train.load_student(run)
    with pytest.raises(InputError, match=r"'mlp-999999-999999' has 1,0\d\d,\d{3},\d{3},\d{3} para"):
        make_teacher("mlp-999999-999999", teachers.Settings((1, 8, 8), 10, 16))
    with pytest.raises(InputError, match="no teacher 'mlp-1"):
        make_teacher(f"mlp-{'1' * 5000}", teachers.Settings((1, 8, 8), 10, 16))


def test_teachers_that_came_as_a_file(run):
    facts = read_tensors(run / "checkpoint" / "teacher.safetensors")[1]
    (run / "checkpoint" / "teacher.onnx").write_bytes(b"no network")
    path, refused = run / "checkpoint" / "teacher.json", 0
    digest = storage.sha256(run / "checkpoint" / "teacher.onnx")
    for change, document in variants(facts | {"file": "teacher.onnx", "sha256": digest}):
        path.write_text(json.dumps(document))
        refused += refuses(lambda: train.load_teacher(run), "teacher", change)
    assert refused > 300  # all: there is no teacher in this file


def test_a_stopped_run_goes_on_or_says_what_is_wrong_with_its_checkpoint(stopped, tmp_path, digits):
    teacher = train.load_teacher(stopped)
    run = shutil.copytree(stopped, tmp_path / "run")
    path = state_path(run, "student")
    tensors, facts = read_tensors(path)

    def go_on():
        train.distill_student(RECIPE, digits, teacher, run)

    few = facts | {"job": {"lr": 1}}
    for change, document in variants(few, (None, ["x"])):
        write_tensors(path, tensors, document)
        assert refuses(go_on, path.name, change)
    for name in ("model.lif1._beta", "optimizer.0.exp_avg", "optimizer.1.step"):
        for value in (torch.zeros(2, 3, 5), torch.zeros((), dtype=torch.int64)):
            write_tensors(path, tensors | {name: value}, facts)
            assert refuses(go_on, path.name, name)
    for more in ("optimizer.x.step", "optimizer.99.step", "optimizer.0.more", "model.x"):
        write_tensors(path, tensors | {more: torch.zeros(())}, facts)
        assert refuses(go_on, path.name, more)
    write_tensors(path, {}, facts)
    assert refuses(go_on, path.name, "empty")
    write_tensors(path, tensors, facts)
    go_on()


def test_a_changed_byte_of_a_checkpoint_is_noticed(run):
    path = run / "checkpoint" / "student.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"student\.safetensors is not what was written"):
        train.load_student(run)


LINE = json.dumps({"stage": "student", "epoch": 0, "loss": 1.0, "seconds": 1.0})


@pytest.mark.parametrize(
    "line",
    ["{", "3", "[]", '{"stage": "student"}', LINE.replace("1.0", '"x"'), "\xff", "NaN",
     LINE.replace("1.0", "1e999")],
)  # fmt: skip
def test_logs(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_text(f"{LINE}\n", encoding="latin-1")
    assert train.read_log(path)[0]["loss"] == 1.0
    path.write_text(f"{LINE}\n{line}\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"log\.jsonl"):
        train.read_log(path)


def test_encoders_of_documents():
    document = Encoder("latency", 4, 1).to_json()
    refused = sum(
        refuses(lambda value=value: Encoder.from_json(value), "ncoder", change)
        for change, value in variants(document)
    )
    assert refused > 50


def tensors_file(header, body=b"", length=None):
    packed = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(packed) if length is None else length) + packed + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


BAD_TENSORS = {
    "empty": b"",
    "text": b"no tensors at all",
    "no header": struct.pack("<Q", 0),
    "header of 2^63": tensors_file(entry(), bytes(8), 2**63),
    "header of 2^40": tensors_file(entry(), bytes(8), 2**40),
    "header beyond the end": tensors_file(entry(), b"", 999),
    "no JSON": tensors_file(b"{" * 99, bytes(8)),
    "no UTF-8": tensors_file(b'{"\xff": 1}', bytes(8)),
    "deep": tensors_file(b'{"a":' * 100_000, bytes(8)),
    "a list": tensors_file(b"[]", bytes(8)),
    "unknown type": tensors_file(entry("F33"), bytes(8)),
    "negative shape": tensors_file(entry(shape=(-2,)), bytes(8)),
    "huge shape": tensors_file(entry(shape=(2**62, 2**62)), bytes(8)),
    "shape of text": tensors_file(entry(shape="2"), bytes(8)),
    "shape too large": tensors_file(entry(shape=(3,)), bytes(8)),
    "offsets backwards": tensors_file(entry(offsets=(8, 0)), bytes(8)),
    "offsets beyond": tensors_file(entry(offsets=(8, 16)), bytes(8)),
    "offsets missing": tensors_file({"w": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "overlap": tensors_file(entry() | {"v": entry()["w"]}, bytes(8)),
    "metadata that is none": tensors_file({"__metadata__": 3, **entry()}, bytes(8)),
    "cut short": tensors_file(entry(), bytes(4)),
    "bytes behind": tensors_file(entry(), bytes(12)),
    "facts that are none": save({"w": torch.zeros(2)}, {FACTS: "{"}),
    "facts with NaN": save({"w": torch.zeros(2)}, {FACTS: '{"a": NaN}'}),
    "facts that nest": save({"w": torch.zeros(2)}, {FACTS: "[" * 100_000}),
    "another hash": save({"w": torch.zeros(2)}, {FACTS: "{}", "sha256": "0"}),
}


@pytest.mark.parametrize("content", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_safetensors(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors"):
        read_tensors(tmp_path / "w.safetensors")


@pytest.fixture(scope="module")
def small():
    return make_teacher("mlp-8", teachers.Settings((1, 8, 8), 10, 16))


def kept(change):
    def make(path, state):
        torch.save(state | {next(iter(state)): change(next(iter(state.values())))}, path)

    return make


def deflated(path, state):
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        entries = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/99", bytes(1 << 24))


WEIGHTS = {
    "a module": lambda path, state: torch.save(torch.nn.Linear(2, 2), path),
    "a number": lambda path, state: torch.save(3, path),
    "a list": lambda path, state: torch.save(list(state.values()), path),
    "numbers for tensors": lambda path, state: torch.save(dict.fromkeys(state, 3), path),
    "no names": lambda path, state: torch.save(dict(enumerate(state.values())), path),
    "complex": kept(lambda t: t + 0j),
    "sparse": kept(lambda t: t.to_sparse()),
    "quantized": kept(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
    "meta": kept(lambda t: t.to("meta")),
    "texts": lambda path, state: torch.save(dict.fromkeys(state, "a"), path),
    "NaN": kept(lambda t: t * torch.nan),
    "cut short": lambda path, state: (torch.save(state, path), os.truncate(path, 999)),
    "old and cut short": lambda path, state: (
        torch.save(state, path, _use_new_zipfile_serialization=False),
        os.truncate(path, 999),
    ),
    "a bomb": deflated,
    "one value for all": kept(lambda t: torch.zeros(1).expand(1 << 40)),
    "a pipe": lambda path, state: os.mkfifo(path),
    "a folder": lambda path, state: path.mkdir(),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of what is being written
@pytest.mark.parametrize("make", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_pytorch(tmp_path, small, make, monkeypatch):
    monkeypatch.setattr("snn2hw.archives.ALLOWANCE", 1 << 20)
    make(tmp_path / "w.pt", dict(small.state_dict()))
    with pytest.raises(InputError, match=r"w\.pt"):
        load_weights(small, tmp_path / "w.pt")


def test_a_description_without_end_is_not_read(tmp_path, small):
    for start in (b"", b"PK"):
        (tmp_path / "w.pt").write_bytes(start + b"\x80\x02(" + b"}" * 3_000_000 + b"e.")
        with pytest.raises(InputError, match=r"w\.pt"):
            load_weights(small, tmp_path / "w.pt")
    archive = tmp_path / "v.pt"
    torch.save(dict(small.state_dict()), archive)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("v/more.pkl", b"\x80\x02(" + b"}" * 3_000_000 + b"e.")
    with pytest.raises(InputError, match="its description has more than 2,097,152 bytes"):
        load_weights(small, archive)


def test_tensors_that_the_file_does_not_hold_take_no_memory(tmp_path, small):
    """In the old format a storage says how large it is before it comes."""
    torch.save({"w": torch.ones(70_000)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pt").read_bytes()
    told = (70_000).to_bytes(4, "little")
    assert content.count(told) >= 2
    for many in (1 << 30, (1 << 31) - 1):
        (tmp_path / "w.pt").write_bytes(content.replace(told, many.to_bytes(4, "little")))
        with pytest.raises(InputError, match=r"w\.pt"):
            load_weights(small, tmp_path / "w.pt")
    length = b"\x80\x02X" + (1 << 31).to_bytes(4, "little")
    (tmp_path / "w.pt").write_bytes(length + content)
    with pytest.raises(InputError, match=r"w\.pt.*tells of 2,147,483,648 bytes"):
        load_weights(small, tmp_path / "w.pt")


@pytest.mark.parametrize("protocol", [2, 4])
def test_nobody_is_told_how_to_run_what_is_in_a_pickle(tmp_path, small, protocol):
    class Call:
        def __reduce__(self):
            return os.system, ("true",)

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Call(), protocol))
    with pytest.raises(InputError, match="could run code: it is not loaded") as caught:
        load_weights(small, tmp_path / "w.pt")
    assert "weights_only" not in str(caught.value)


def test_weights_of_the_old_format_are_read(tmp_path, small):
    state = {k: torch.ones_like(v) for k, v in small.state_dict().items()}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    fresh = make_teacher("mlp-8", teachers.Settings((1, 8, 8), 10, 16))
    load_weights(fresh, tmp_path / "w.pth")
    assert all((v == 1).all() for v in fresh.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64, torch.int8])
def test_weights_of_other_types_are_read(tmp_path, small, dtype):
    state = {k: torch.ones_like(v).to(dtype) for k, v in small.state_dict().items()}
    write_tensors(tmp_path / "w.safetensors", state)
    fresh = make_teacher("mlp-8", teachers.Settings((1, 8, 8), 10, 16))
    load_weights(fresh, tmp_path / "w.safetensors")
    assert all((v == 1).all() for v in fresh.state_dict().values())


def test_a_shift_beyond_the_image_is_refused(digits):
    job = Job("student", 1, shift=9)
    with pytest.raises(InputError, match="shifted by up to 9 pixels; their side is 8"):
        loop.fit(job, make_teacher("mlp-8", teachers.Settings((1, 8, 8), 10, 16)), digits, None)


def test_images_too_small_for_a_teacher_are_refused():
    with pytest.raises(InputError, match="Images of 3x8 are too small to be halved 2 times"):
        make_teacher("cnn-4-4-4", teachers.Settings((1, 3, 8), 10, 16))
    make_teacher("cnn-4-4", teachers.Settings((1, 2, 2), 10, 16))
