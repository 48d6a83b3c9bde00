"""What an ONNX model computes, and its eight bits: counted naively, and run."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import classifier, helper, network, port, save, weight
from torch import nn

from snn2hw import onnx_io, train
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.train.foreign import open_file
from snn2hw.train.scaling import find_scaling
from snn2hw.train.students import Settings as Pupil
from snn2hw.train.students import make_student
from snn2hw.train.teachers import TEACHERS, Settings, make_teacher


def content(nodes, shape, weights):
    outputs = [port("y", None)]
    return network(nodes, [port("x", ["N", *shape[1:]])], outputs, weights).SerializeToString()


@settings(max_examples=60)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(3, 7), st.integers(1, 3),
    st.integers(1, 2), st.integers(0, 2), st.integers(1, 2),
)  # fmt: skip
def test_products_of_convolutions_are_those_of_loops(
    into, out, groups, side, kernel, stride, padding, dilation
):
    into, out = into * groups, out * groups
    if side + 2 * padding < dilation * (kernel - 1) + 1:
        return
    values = np.ones((out, into // groups, kernel, kernel), np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=groups, strides=[stride] * 2, pads=[padding] * 4,
        dilations=[dilation] * 2,
    )  # fmt: skip
    found = onnx_io.operations(
        content([node], (1, into, side, side), [weight("w", values)]), (1, into, side, side)
    )
    wide, span = side + 2 * padding, dilation * (kernel - 1) + 1
    places = range(0, wide - span + 1, stride)
    products = 0
    for _, _, _ in itertools.product(range(out), places, places):
        for _ in itertools.product(range(into // groups), range(kernel), range(kernel)):
            products += 1
    assert found.products == products
    assert found.weights == values.size
    assert found.values == into * side * side + out * len(places) ** 2
    assert found.additions == 0


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_products_of_dense_layers_are_those_of_loops(sizes):
    nodes, weights, before = [], [], "x"
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        weights += [weight(f"w{i}", np.ones((b, a), np.float32)),
                    weight(f"b{i}", np.ones(b, np.float32))]  # fmt: skip
        name = "y" if last else f"z{i}"
        nodes.append(helper.make_node("Gemm", [before, f"w{i}", f"b{i}"], [name], transB=1))
        before = name
        if not last:
            nodes.append(helper.make_node("Relu", [name], [f"r{i}"]))
            before = f"r{i}"
    found = onnx_io.operations(content(nodes, (1, sizes[0]), weights), (1, sizes[0]))
    assert found.products == sum(a * b for a, b in itertools.pairwise(sizes))
    assert found.additions == sum(sizes[1:-1])  # the rectifiers, which move nothing
    assert found.weights == sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert found.values == sum(a + b for a, b in itertools.pairwise(sizes))


def test_pools_and_sums_add():
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Add", ["p", "p"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    found = onnx_io.operations(content(nodes, (1, 3, 8, 8), []), (1, 3, 8, 8))
    assert found.products == found.weights == 0
    assert found.additions == 3 * (16 * 4 + 16 + 16)
    assert found.values == 3 * ((64 + 16) + (16 + 16 + 16) + (16 + 1))


def test_what_cannot_be_counted_is_refused():
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["z"]),
        helper.make_node("Einsum", ["z"], ["y"], equation="ncij->nc"),
    ]
    model = content(nodes, (1, 2, 4, 4), [weight("w", np.ones((2, 2, 3, 3), np.float32))])
    with pytest.raises(InputError, match="ConvTranspose, Einsum cannot be counted"):
        onnx_io.operations(model, (1, 2, 4, 4))
    sizes = [helper.make_node("Reshape", ["x", "s"], ["z"]),
             helper.make_node("Relu", ["z"], ["y"])]  # fmt: skip
    graph = network(sizes, [port("x", ["N", 4])], [port("y", None)])
    graph.graph.node[0].input[1] = "x2"
    graph.graph.node.insert(0, helper.make_node("Shape", ["x"], ["x2"]))
    graph.graph.node.insert(1, helper.make_node("Relu", ["x"], ["unused"]))
    assert onnx_io.operations(graph.SerializeToString(), (1, 4)).products == 0


def test_eight_bits_are_near_to_float(tmp_path):
    r = np.random.default_rng(0)
    w = r.normal(size=(6, 20)).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    model = content([node], (1, 20), [weight("w", w), weight("b", np.zeros(6, np.float32))])
    x = r.integers(0, 17, (120, 20)).astype(np.float32)
    before = logging.root.manager.disable
    small = onnx_io.quantized(model, x[:100], tmp_path)
    assert logging.root.manager.disable == before
    exact, rounded = onnx_io.Session(model)(x), onnx_io.Session(small)(x)
    assert np.allclose(exact, x @ w.T, atol=1e-3)
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.05  # it is rounded, and not much


def test_a_model_that_cannot_be_quantized_or_run(tmp_path):
    broken = content([helper.make_node("Gemm", ["x", "nothing"], ["y"])], (1, 3), [])
    with pytest.raises(InputError, match="cannot quantize the teacher"):
        onnx_io.quantized(broken, np.zeros((4, 3), np.float32), tmp_path)
    with pytest.raises(InputError, match="cannot run the teacher"):
        onnx_io.Session(broken)


SHAPE = (3, 16, 16)


DEEPER = ("resnet32", "resnet44", "resnet56", "resnet110")  # of the same blocks as resnet20


@pytest.mark.parametrize("name", [n for n in TEACHERS if n not in DEEPER])
def test_a_teacher_is_the_same_as_onnx(name):
    torch.manual_seed(0)
    teacher = make_teacher(name, Settings(SHAPE, 10, 255)).eval()
    products = 0

    def count(layer, _, out):
        nonlocal products
        each = layer.weight[0].numel()
        products += out.numel() * each

    for layer in teacher.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(count)
    x = np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    with torch.no_grad():
        teacher(torch.from_numpy(x[:1]))
        one, products = products, 0
        want = teacher(torch.from_numpy(x)).numpy()
    found = train.as_onnx(teacher, SHAPE)
    assert np.allclose(onnx_io.Session(found.content)(found.shown(x)), want, rtol=1e-3, atol=1e-4)
    assert onnx_io.operations(found.content, (1, *SHAPE)).products == one > 0


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "flat"])
def test_a_teacher_that_came_as_onnx_stays_what_it_was(tmp_path, layout):
    r = np.random.default_rng(0)
    matrix = r.normal(size=(2 * 3 * 5, 4)).astype(np.float32)
    path = save(classifier(matrix, (2, 3, 5), layout=layout, softmax=True), tmp_path / "t.onnx")
    images = r.integers(0, 256, (6, 2, 3, 5)).astype(np.uint8)
    data = Dataset("d", images, np.arange(6) % 4, images, np.arange(6) % 4, 4, 255)
    teacher = open_file(path, Settings((2, 3, 5), 4, 255, find_scaling("signed", data)), None)
    found = train.as_onnx(teacher.teacher, (2, 3, 5))
    want = teacher.teacher(torch.from_numpy(images)).numpy()
    shown = found.shown(images)
    assert np.allclose(onnx_io.Session(found.content)(shown), want, atol=1e-5)
    assert onnx_io.operations(found.content, (1, *shown.shape[1:])).products == matrix.size


def test_teachers_that_cannot_run_sample_by_sample(tmp_path):
    matrix = np.ones((2 * 3 * 5, 4), np.float32)
    path = save(classifier(matrix, (2, 3, 5), batch=8), tmp_path / "t.onnx")
    fixed = open_file(path, Settings((2, 3, 5), 4, 255), None).teacher
    with pytest.raises(UnsupportedError, match=r"takes x float32 \[8, 2, 3, 5\], not any number"):
        train.as_onnx(fixed, (2, 3, 5))
    spiking = make_student("mlp-20", Pupil((1, 4, 4), 4, 16, 4))
    with pytest.raises(UnsupportedError, match="the teacher spikes"):
        train.as_onnx(spiking, (1, 4, 4))
