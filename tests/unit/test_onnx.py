"""ONNX files: read, refused, run in any layout, taught from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_files import (
    classifier,
    helper,
    linear_digits,
    network,
    onnx,
    outside,
    port,
    save,
    weight,
)  # fmt: skip
from shared import DATA, needs_data

import snn2hw
from snn2hw import datasets, onnx_io, train
from snn2hw.errors import InputError
from snn2hw.onnx_io import session
from snn2hw.train import evaluation, foreign, teaching
from snn2hw.train.scaling import Scale, find_scaling, scalings
from snn2hw.train.teachers import Settings

IMAGE = (2, 3, 5)
SIZE = 2 * 3 * 5


def matrix(classes=4, size=SIZE):
    return np.random.default_rng(0).normal(size=(size, classes))


def logits(path, x, wanted=None, classes=4):
    model = onnx_io.read(path)
    name = onnx_io.find_logits(model, classes, wanted).name
    return onnx_io.run(onnx_io.start(model, [name], x.shape[1:]), x)[0]


@pytest.mark.parametrize(
    ("layout", "image"),
    [("NCHW", IMAGE), ("NHWC", IMAGE), ("flat", IMAGE), ("NHW", (1, 6, 5))],
)
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_layouts_and_batches_give_the_same(tmp_path, layout, image, batch):
    x = np.random.default_rng(1).normal(size=(7, *image)).astype(np.float32)
    path = save(classifier(matrix(), image, layout=layout, batch=batch), tmp_path / "a.onnx")
    assert np.allclose(logits(path, x), x.reshape(7, -1) @ matrix(), atol=1e-5)


def test_a_free_batch_that_is_reshaped_to_one(tmp_path):
    model = classifier(matrix(), IMAGE, batch=1)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    x = np.random.default_rng(1).normal(size=(5, *IMAGE)).astype(np.float32)
    found = logits(save(model, tmp_path / "a.onnx"), x)
    assert np.allclose(found, x.reshape(5, -1) @ matrix(), atol=1e-5)


def test_logits_are_taken_before_a_softmax(tmp_path):
    path = save(classifier(matrix(), IMAGE, softmax=True), tmp_path / "a.onnx")
    chosen = onnx_io.find_logits(onnx_io.read(path), 4)
    assert chosen.name == "logits"
    assert "likely is a softmax" in chosen.notes[0]
    assert "its logits are logits" in "".join(onnx_io.describe(path)["notes"])


def test_features_are_the_tensors_of_the_graph(tmp_path):
    settings_ = Settings(IMAGE, 4, 255)
    relu = helper.make_node("Relu", ["logits"], ["active"])
    path = save(classifier(matrix(), IMAGE, extra=[relu]), tmp_path / "a.onnx")
    teacher = foreign.open_file(path, settings_, None).teacher
    x = torch.randint(0, 256, (4, *IMAGE), dtype=torch.uint8)
    found = teacher.features(x, ["active", "flat"])
    assert torch.allclose(found["flat"], x.flatten(1) / 255)
    assert torch.equal(found["active"], teacher(x).relu())
    assert not any(v.requires_grad for v in found.values())
    with pytest.raises(InputError, match="Did you mean 'active'"):
        teacher.features(x, ["activ"])


@given(st.data())
@settings(max_examples=50)
def test_scaling_is_the_formula(data):
    shape, top = (3, 2, 2), data.draw(st.sampled_from([1, 16, 255, 65535]))
    x = np.array(data.draw(st.lists(st.integers(0, top), min_size=24, max_size=24)))
    assume(x.min() < x.max())
    x = x.reshape(2, *shape)
    part = datasets.checked("t", x, np.array([0, 1]), x, np.array([0, 1]), max_value=top)
    mean = data.draw(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3))
    std = data.draw(st.lists(st.floats(0.125, 4, width=32), min_size=3, max_size=3))
    text = f"{','.join(map(str, mean))}/{','.join(map(str, std))}"
    for scaling in (*scalings(part), find_scaling(text, part)):
        wide = [np.broadcast_to(v, 3)[:, None, None] for v in (scaling.mean, scaling.std)]
        expected = (x / scaling.top - wide[0]) / wide[1]
        assert np.allclose(Scale(scaling)(torch.from_numpy(x)), expected, rtol=1e-5, atol=1e-5)
    standard = Scale(find_scaling("standard", part))(torch.from_numpy(x))
    if (x.std((0, 2, 3)) > 0.01 * top).all():
        assert np.allclose(standard.mean((0, 2, 3)), 0, atol=0.02)
        assert np.allclose(standard.std((0, 2, 3), correction=0), 1, atol=0.02)


NONSENSE = ["rawer", "1/0", "0,0/1", "nan/1", "0.5", "0/1/2", "/", "imagenet"]


@pytest.mark.parametrize("text", NONSENSE)
def test_scalings_that_cannot_be(text):
    x, y = np.arange(8).reshape(2, 1, 2, 2), np.array([0, 1])
    with pytest.raises(InputError, match="Known: unit, raw, signed, standard; or MEAN/STD"):
        find_scaling(text, datasets.checked("t", x, y, x, y))


# What is refused, and what the message must say.


def two_inputs():
    nodes = [helper.make_node("Add", ["x", "y"], ["z"])]
    return network(nodes, [port("x", ["N", 4]), port("y", ["N", 4])], [port("z", ["N", 4])])


def words():
    nodes = [helper.make_node("Gather", ["w", "x"], ["z"])]
    ids = port("x", ["N", *IMAGE], onnx.TensorProto.INT64)
    return network(nodes, [ids], [port("z", ["N", 4])], [weight("w", np.eye(4, dtype="f4"))])


def two_outputs():
    model = classifier(matrix(), IMAGE)
    model.graph.node.append(helper.make_node("Relu", ["logits"], ["other"]))
    model.graph.output.append(port("other", ["N", 4]))
    return model


def nan_weights():
    values = matrix()
    values[3, 1] = np.nan
    return classifier(values, IMAGE)


def foreign_operators():
    nodes = [
        helper.make_node("Spike", ["x"], ["s"], domain="me"),
        helper.make_node("Rotate", ["s"], ["t"], name="turn"),
        helper.make_node("Spike", ["t"], ["z"], domain="me"),
    ]
    return network(nodes, [port("x", ["N", *IMAGE])], [port("z", ["N", 4])],
                   opsets=(("", 17), ("me", 1)))  # fmt: skip


def wrong_size():
    model = classifier(matrix(), IMAGE)
    model.graph.initializer[1].dims[0] = 1 << 40
    return model


def unfolding():
    """Each of forty functions calls the one before twice."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("me", 1)]
    model = network(
        [helper.make_node("F39", ["x"], ["z"], domain="me")], [port("x", ["N", *IMAGE])],
        [port("z", ["N", *IMAGE])], opsets=(("", 17), ("me", 1)),
    )  # fmt: skip
    for i in range(40):
        inner = {"op_type": f"F{i - 1}", "domain": "me"} if i else {"op_type": "Relu"}
        calls = [
            helper.make_node(inputs=["a"], outputs=["t"], **inner),
            helper.make_node(inputs=["t"], outputs=["b"], **inner),
        ]
        model.functions.append(helper.make_function("me", f"F{i}", ["a"], ["b"], calls, opsets))
    return model


def not_acyclic():
    nodes = [helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    return network(nodes, [port("x", ["N", 4])], [port("z", ["N", 4])])


def wide():
    """Four terabytes in between."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["r"]),
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Add", ["f", "r"], ["z"]),
    ]
    sizes = weight("s", np.array([1 << 20, 1 << 20]))
    return network(nodes, [port("x", ["N", *IMAGE])], [port("z", ["N", SIZE])], [sizes])


def endless():
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])],
        "body",
        [port("i", [], onnx.TensorProto.INT64), port("c", [], onnx.TensorProto.BOOL),
         port("v", None)],
        [port("c2", [], onnx.TensorProto.BOOL), port("v2", None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Loop", ["n", "t", "f"], ["z"], body=body),
    ]
    weights = [weight("n", np.array(1 << 60)), weight("t", np.array(True))]
    return network(nodes, [port("x", ["N", *IMAGE])], [port("z", ["N", SIZE])], weights)


@pytest.mark.parametrize(
    ("make", "image", "classes", "parts"),
    [
        (two_inputs, (1, 2, 2), 4, ["2 inputs", "x float32 [N, 4]; y float32 [N, 4]"]),
        (words, IMAGE, 4, ["x int64 [N, 2, 3, 5] takes no pixels"]),
        (two_outputs, IMAGE, 4, ["2 outputs of 4 classes", "--teacher-output"]),
        (lambda: classifier(matrix(), IMAGE), IMAGE, 5, ["no outputs of 5 classes", "[N, 4]"]),
        (lambda: classifier(matrix(), IMAGE), (3, 32, 32), 4, ["[N, 2, 3, 5]", "[3, 32, 32]"]),
        (nan_weights, IMAGE, 4, ["logits holds NaN"]),
        (foreign_operators, IMAGE, 4, ["me.Spike (s, z)", "Rotate (turn)"]),
        (unfolding, IMAGE, 4, ["unfolds to more than 20000 nodes"]),
        (wrong_size, IMAGE, 4, ["a.onnx", "w"]),
        (not_acyclic, IMAGE, 4, ["a.onnx is not a valid ONNX model"]),
        (wide, IMAGE, SIZE, ["ONNX Runtime cannot run", "Failed to allocate"]),
    ],
)
def test_refused_with_a_reason(tmp_path, make, image, classes, parts):
    path = save(make(), tmp_path / "a.onnx")
    with pytest.raises(InputError) as caught:
        foreign.open_file(path, Settings(image, classes, 255), None)
    for part in (*parts, "a.onnx"):
        assert part in str(caught.value)


@pytest.mark.parametrize("by", ["SECONDS", "PATIENCE"])
def test_a_model_without_end_is_stopped(tmp_path, monkeypatch, by):
    """By the processor's time, or by the clock."""
    monkeypatch.setattr(session, by, {"SECONDS": 3, "PATIENCE": 0.4}[by])
    path = save(endless(), tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"a\.onnx did not finish"):
        foreign.open_file(path, Settings(IMAGE, SIZE, 255), None)


def refusal(path):
    """Return why a file is refused, or "" if it is not; anything else is a bug."""
    try:
        json.dumps(onnx_io.describe(path))
    except InputError as error:
        return str(error)
    return ""


def test_every_truncation_is_refused_or_whole(tmp_path):
    whole = classifier(matrix(), IMAGE, softmax=True).SerializeToString()
    path = tmp_path / "a.onnx"
    whys = []
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        whys.append(refusal(path))
    assert all("a.onnx" in why for why in whys if why)
    assert whys.count("") < 10  # what is left out without harm stands at the end


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200)
def test_damage_never_escapes(tmp_path_factory, changes):
    whole = bytearray(classifier(matrix(), IMAGE, softmax=True).SerializeToString())
    for at, byte in changes:
        whole[at % len(whole)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(whole)
    why = refusal(path)
    assert not why or "damaged.onnx" in why


def test_weights_in_another_file_of_the_folder(tmp_path):
    model = classifier(matrix(), IMAGE)
    x = np.random.default_rng(1).normal(size=(3, *IMAGE)).astype(np.float32)
    (tmp_path / "in").mkdir()
    data = outside(model, "w", location="in/w.bin", offset=8, length=SIZE * 4 * 4)
    (tmp_path / "in/w.bin").write_bytes(bytes(8) + data)
    path = save(model, tmp_path / "a.onnx")
    assert np.allclose(logits(path, x), x.reshape(3, -1) @ matrix(), atol=1e-5)
    before = onnx_io.read(path).sha256
    (tmp_path / "in/w.bin").write_bytes(bytes(8) + bytes(len(data)))
    assert onnx_io.read(path).sha256 != before


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"location": "{}/secret"}, "not a path below"),
        ({"location": "../secret"}, "not a path below"),
        ({"location": "in/../../secret"}, "not a path below"),
        ({"location": "..\\secret"}, "not a path below"),
        ({"location": ""}, "not a path below"),
        ({"location": "link"}, "a link out of"),
        ({"location": "folder/secret"}, "a link out of"),
        ({"location": "missing"}, "there is no file"),
        ({"location": "pipe"}, "there is no file"),
        ({"location": "small", "offset": 4}, "has 8 bytes, not 4 from 4"),
        ({"location": "small", "length": 1 << 62}, "has 8 bytes"),
        ({"location": "small", "offset": -1}, "has 8 bytes"),
        ({"location": "small", "offset": "x"}, "is no number"),
    ],
)
def test_weights_outside_the_folder_are_refused(tmp_path, told, why):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_bytes(bytes(480))
    (home / "small").write_bytes(bytes(8))
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "folder").symlink_to(tmp_path)
    os.mkfifo(home / "pipe")
    model = classifier(matrix(), IMAGE)
    told = {k: v.format(tmp_path) if isinstance(v, str) else v for k, v in told.items()}
    if "offset" in told and why == "has 8 bytes, not 4 from 4":
        told["length"] = 5
        why = "has 8 bytes, not 5 from 4"
    outside(model, "w", **told)
    outside(model, "b", location="/etc/passwd")
    with pytest.raises(InputError) as caught:
        onnx_io.read(save(model, home / "a.onnx"))
    for part in ("w: ", why, "b: '/etc/passwd'"):
        assert part in str(caught.value)


def test_weights_outside_are_found_in_branches(tmp_path):
    secret = helper.make_node("Constant", [], ["k"], value=weight("k", np.zeros(4, "f4")))
    secret.attribute[0].t.ClearField("raw_data")
    secret.attribute[0].t.data_location = onnx.TensorProto.EXTERNAL
    secret.attribute[0].t.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph([secret], "branch", [], [port("k", [4])])
    model = classifier(matrix(), IMAGE)
    model.graph.node.append(
        helper.make_node("If", ["t"], ["more"], then_branch=branch, else_branch=branch)
    )
    model.graph.initializer.append(weight("t", np.array(True)))
    with pytest.raises(InputError, match="k: '/etc/passwd'"):
        onnx_io.read(save(model, tmp_path / "a.onnx"))


def test_without_the_extra(tmp_path, monkeypatch):
    path = save(classifier(matrix(), IMAGE), tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r'pip install "snn2hw\[onnx\]"'):
        onnx_io.read(path)


def test_looking_into_a_file_imports_no_torch(tmp_path):
    save(classifier(matrix(), IMAGE), tmp_path / "a.onnx")
    code = (
        "import sys; from pathlib import Path; from snn2hw.pipeline.inspect import inspect_file\n"
        "found = inspect_file('a.onnx', Path(), None)\n"
        "print({'torch', 'onnxruntime'} & set(sys.modules), found['classes'], found['parameters'])"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert out.strip() == f"set() 4 {SIZE * 4 + 4}"


# Teaching.


class Heard:
    """A progress that keeps what it was told."""

    def __init__(self):
        self.notes, self.doubts = [], []

    def update(self, _stage, _done, _total, **info):
        self.notes += info.get("notes", [])
        self.doubts += info.get("doubts", [])


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits").subset(300, 100)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    data = datasets.load("digits")
    weights, bias = linear_digits(data)
    model = classifier(weights, data.shape, batch=1, bias=bias, softmax=True)
    return save(model, tmp_path_factory.mktemp("teacher") / "linear.onnx")


def recipe(path, **own):
    few = {"epochs": 1, "prune_epochs": 1, "time_steps": 2, "width": 0.25}
    return train.defaults("cnn", "digits", str(path), **few | own)


def test_the_right_scaling_is_found_and_said(teacher_file, digits):
    heard = Heard()
    teacher, accuracy = train.train_teacher(recipe(teacher_file), digits, progress=heard)
    assert teacher.scale.scaling.name == "unit"
    assert accuracy > 0.85
    assert "likely is a softmax" in heard.notes[0]
    assert "sees pixels as unit; right on 300 training images" in heard.notes[1]
    assert not heard.doubts


def test_a_wrong_scaling_is_visible(teacher_file, digits):
    heard = Heard()
    wrong = recipe(teacher_file, teacher_input="0.5/0.0625")
    _, accuracy = train.train_teacher(wrong, digits, progress=heard)
    assert accuracy < 0.85
    assert "does better with --teacher-input unit than 0.5/0.0625" in heard.doubts[0]
    with pytest.warns(UserWarning, match="does better"):
        train.train_teacher(wrong, digits)


def test_a_teacher_without_parameters_is_where_its_scaling_is(teacher_file, digits):
    teacher, _ = train.train_teacher(recipe(teacher_file), digits)
    assert not list(teacher.parameters())
    assert evaluation.device_of(teacher.to("meta")).type == "meta"


def test_a_bad_teacher_is_visible(tmp_path, digits):
    bad = classifier(-linear_digits(datasets.load("digits"))[0], digits.shape)
    with pytest.warns(UserWarning, match=r"nearer to chance \(10 %\) than to right"):
        train.train_teacher(recipe(save(bad, tmp_path / "bad.onnx")), digits)


def test_integers_are_fed_as_they_are(tmp_path, digits):
    weights, bias = linear_digits(datasets.load("digits"))
    model = classifier(weights / 16, digits.shape, bias=bias, dtype=onnx.TensorProto.UINT8)
    path = save(model, tmp_path / "bytes.onnx")
    teacher, accuracy = train.train_teacher(recipe(path), digits)
    assert teacher.scale.scaling.name == "raw"
    assert accuracy > 0.85
    wide = datasets.checked("wide", digits.x_train, digits.y_train, digits.x_test, digits.y_test,
                            max_value=256)  # fmt: skip
    with pytest.raises(InputError, match="pixels of 'wide' go to 256"):
        train.train_teacher(recipe(path), wide)
    with pytest.raises(InputError, match="takes integers"):
        train.train_teacher(recipe(path, teacher_input="unit"), digits)
    with pytest.raises(InputError, match="has its own weights"):
        train.train_teacher(recipe(path, teacher_weights="w.npz"), digits)
    with pytest.raises(InputError, match="has one output"):
        train.train_teacher(recipe("cnn", teacher_output="logits"), digits)


def test_a_run_keeps_its_teacher(tmp_path, digits):
    weights, bias = linear_digits(datasets.load("digits"))
    model = classifier(weights, digits.shape, bias=bias)
    (tmp_path / "w.bin").write_bytes(outside(model, "w", location="w.bin"))
    path, run = save(model, tmp_path / "a.onnx"), tmp_path / "run"
    first, accuracy = train.train_teacher(recipe(path), digits, run)
    path.unlink()
    again, same = train.train_teacher(recipe(path), digits, run)
    assert same == accuracy
    assert again.scale.scaling == first.scale.scaling
    x = torch.from_numpy(digits.x_test)
    assert torch.equal(train.load_teacher(run)(x), first(x))
    with pytest.raises(InputError, match="another teacher: teacher_input"):
        train.train_teacher(recipe(path, teacher_input="raw"), digits, run)
    kept = run / "checkpoint/teacher.onnx"
    kept.write_bytes(kept.read_bytes() + b"\0")
    with pytest.raises(InputError, match="was changed"):
        train.load_teacher(run)


def test_distillation_goes_through(teacher_file, digits):
    made = snn2hw.distill(
        teacher_file, "cnn", digits, epochs=1, time_steps=2, width=0.25, seed=1, shift=0
    )
    named = recipe(teacher_file, seed=1, shift=0)
    teacher, _ = train.train_teacher(named, digits)
    again = train.to_network(train.distill_student(named, digits, teacher))
    assert made.nodes.keys() == again.nodes.keys()
    assert json.dumps(sorted(made.nodes)) != "[]"


@needs_data
def test_mnist_8_gives_its_own_test_pair_and_accuracy():
    pair = np.load(DATA / "models/ann/mnist-8_test.npz")
    path = DATA / "models/ann/mnist-8.onnx"
    found = logits(path, pair["input_0"], classes=10)
    assert np.abs(found - pair["output_0"]).max() < 0.002
    data = datasets.load("mnist", DATA)
    x = data.x_test[:300].astype(np.float32)
    assert (logits(path, x, classes=10).argmax(1) == data.y_test[:300]).sum() == 297
    heard = Heard()
    asked = train.defaults("cnn", "mnist", str(path))
    ready = train.open_teacher(asked, data)
    teaching.settle_scaling(ready, asked, data, heard)
    assert "unit 100.0 %, raw 100.0 %, signed 97.8 %" in heard.notes[0]
