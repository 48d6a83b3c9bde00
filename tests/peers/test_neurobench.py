"""NeuroBench's metrics are those of the neurobench package, on the same student."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xylo_nets
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.utils.layers import single_layer_MACs
from neurobench.metrics.workload import (
    ActivationSparsity,
    ClassificationAccuracy,
    SynapticOperations,
)
from neurobench.models import TorchModel
from torch import nn

from snn2hw import datasets, families, train
from snn2hw.ir.synapses import matrix, sizes
from snn2hw.pipeline import neurobench
from snn2hw.train.neurons import Lif
from snn2hw.train.students import Neuron, Settings, make_student, predictions

STEPS, SAMPLES = 5, 40


class Shown(nn.Module):
    """A student as NeuroBench runs it: samples in, classes out.

    A still image is shown as so many equal frames: else the first layer runs once for all steps,
    and would be counted once.
    """

    def __init__(self, student):
        super().__init__()
        self.student = student

    def forward(self, x):
        return predictions(self.student(x))


def theirs(student, x, y, *, still=False):
    """Return the metrics of the neurobench package."""
    model = TorchModel(Shown(student))
    model.add_activation_module(Lif)
    model.register_hooks()
    shown = torch.from_numpy((x if still else x[:, None].repeat(STEPS, axis=1)).astype(np.int64))
    data = (shown, torch.from_numpy(y))
    with torch.no_grad():
        preds = model(shown)
        found = SynapticOperations()(model, preds, data)
        found["activation_sparsity"] = ActivationSparsity()(model, preds, data)
    found["accuracy"] = ClassificationAccuracy()(model, preds, data)
    found["footprint"] = Footprint()(model)
    found["connection_sparsity"] = ConnectionSparsity()(model)
    model.cleanup_hooks()
    return found


def ours(student, x, y):
    frames = x[:, None].repeat(STEPS, axis=1)
    return neurobench.of_network(train.to_network(student), {"input": frames}, y)


@pytest.fixture
def digits():
    found = datasets.load("digits")
    return found.x_test[:SAMPLES], found.y_test[:SAMPLES]


def student_of(name, zeros=0.6, norm="none", **options):
    """Return an untrained student in float64, as our simulator computes."""
    torch.manual_seed(4)
    settings = Settings((1, 8, 8), 10, 16, STEPS, Neuron(), norm=norm, **options)
    made = make_student(name, settings).double().eval()
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight *= torch.rand_like(module.weight) > zeros
                module.weight *= 3  # so that something spikes behind every layer
    return made


@pytest.mark.parametrize("name", ["cnn", "mlp-40-30"])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
def test_every_metric_is_that_of_the_package(digits, name, zeros):
    student = student_of(name, zeros)
    want, got = theirs(student, *digits), ours(student, *digits)
    assert got.effective_macs == want["Effective_MACs"] > 0
    assert got.effective_acs == want["Effective_ACs"] > 0
    assert got.dense == want["Dense"] > got.effective_macs + got.effective_acs
    assert got.activation_sparsity == pytest.approx(want["activation_sparsity"], rel=1e-12)
    assert 0.5 < got.activation_sparsity < 1
    assert got.accuracy == pytest.approx(want["accuracy"], rel=1e-6)
    assert got.connection_sparsity == pytest.approx(want["connection_sparsity"], abs=5e-5)
    assert 2 * got.footprint == want["footprint"]  # which counts the float64 of this test


def test_a_still_image_meets_the_first_layer_at_every_step(digits):
    # In training its current is computed once, which is all that the package's hooks see.
    student = student_of("mlp-40-30")
    still, got = theirs(student, *digits, still=True), ours(student, *digits)
    assert STEPS * still["Effective_MACs"] == got.effective_macs
    assert still["Effective_ACs"] == got.effective_acs


def test_batch_norm_is_folded_before_anything_is_counted(digits):
    student = student_of("cnn", norm="batch")
    want, got = theirs(student, *digits), ours(student, *digits)
    counted = (got.effective_macs, got.effective_acs, got.dense)
    assert counted == (want["Effective_MACs"], want["Effective_ACs"], want["Dense"])
    # Four numbers and a count a channel there, a bias a channel here.
    norms = [m for m in student.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    channels = sum(m.num_features for m in norms)
    assert want["footprint"] == 2 * got.footprint + 8 * (3 * channels + len(norms))


def test_spikes_behind_a_pool_are_not_averages(digits):
    # There the layer behind it gets averages, which are products; here it is part of the synapses,
    # and each spike meets them.
    student = student_of("cnn-6-12-20", zeros=0.0)
    want, got = theirs(student, *digits), ours(student, *digits)
    first = student.get_submodule("conv1").fan_out()
    assert got.effective_macs < want["Effective_MACs"]
    assert got.effective_macs < STEPS * 64 * first  # the first layer's
    assert got.effective_acs > want["Effective_ACs"]


@pytest.mark.parametrize("seed", range(3))
def test_several_spikes_in_a_step_are_one_product(seed):
    # The layers of a Xylo, as the package counts them: a value that is not 0 is one, and a product.
    program = xylo_nets.random_program(seed)
    x = xylo_nets.spikes(program, 3)
    trace = families.of(program.target).run(program, x, spikes=True)
    sent = {**x, **{k: layer.spikes for k, layer in trace.layers.items()}}
    want = dense = 0
    for c in program.network.connections:
        post, pre = sizes(c.synapses)
        layer, values = nn.Linear(pre, post, bias=False), sent[c.pre].reshape(-1, pre)
        layer.weight.data = torch.from_numpy(matrix(c.synapses).toarray().astype(np.float32))
        inputs = torch.from_numpy(values.astype(np.float32))
        done, additions = single_layer_MACs(inputs, layer)
        want, dense = want + done, dense + single_layer_MACs(inputs, layer, total=True)[0]
        assert not additions or values.max() == 1
    found = neurobench.of_program(program, trace, None)
    assert found.effective_macs + found.effective_acs == pytest.approx(want / 3)
    assert 0 < want <= dense


def test_an_input_of_grey_levels_makes_products_whatever_a_batch_holds(digits):
    x, y = digits
    student = student_of("mlp-40-30")
    white = np.where(x > 8, 16, 0)  # which the student sees as 0 and 1
    want, got = theirs(student, white, y), ours(student, white, y)
    assert want["Effective_MACs"] == 0 < got.effective_macs
    assert want["Effective_ACs"] == pytest.approx(got.effective_macs + got.effective_acs)
