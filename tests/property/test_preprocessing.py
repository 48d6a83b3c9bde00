"""A network with the scale of its input folded in does to integers what it did to what was fed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import DT, LOIHI2
from torch import nn

import snn2hw
from snn2hw import nir_io
from snn2hw.errors import InputError
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import (
    Affine,
    Conv2d,
    Flatten,
    Input,
    Leaky,
    Output,
    Pool2d,
    Scale,
    input_shape,
    output_shape,
)
from snn2hw.ir.synapses import Conv
from snn2hw.nir_io import Choice
from snn2hw.passes import simplify
from snn2hw.preprocessing import Preprocessing
from snn2hw.simulate import floating

STEPS = 3


def first_layers(kind, r):
    """Return nodes in a row that take ``[2, 5, 5]``."""
    conv = Conv2d(Conv(r.normal(size=(3, 2, 3, 3)), (2, 5, 5)), r.normal(size=3))
    same = Conv2d(Conv(r.normal(size=(3, 2, 3, 3)), (2, 5, 5), padding=(1, 1)), r.normal(size=3))
    deep = Conv2d(Conv(r.normal(size=(4, 1, 3, 3)), (2, 5, 5), groups=2), r.normal(size=4))
    pool = Pool2d((2, 5, 5), (2, 2), (2, 2), (1, 1), average=True)
    after = Conv2d(Conv(r.normal(size=(3, 2, 2, 2)), (2, 3, 3)), r.normal(size=3))
    dense = Affine(r.normal(size=(4, 50)), r.normal(size=4))
    of_pool = Affine(r.normal(size=(4, 18)), r.normal(size=4))
    return {
        "conv": [conv], "same": [same], "grouped": [deep], "pool": [pool, after],
        "flatten": [Flatten((2, 5, 5)), dense], "pooled": [pool, Flatten((2, 3, 3)), of_pool],
        "scale": [Scale(r.normal(size=(2, 5, 5)))], "nothing": [],
    }[kind]  # fmt: skip


def network(kind, r, shape=(2, 5, 5)):
    """Return integrators behind the first layers, which show every current they get."""
    nodes, edges, last = {"in": Input(shape, 255)}, [], "in"
    for i, node in enumerate(first_layers(kind, r)):
        nodes[f"l{i}"] = node
        edges.append((last, f"l{i}"))
        last = f"l{i}"
    size = output_shape(nodes[last])
    nodes |= {"cell": Leaky(size, np.array(np.inf), np.array(1 / DT), np.zeros(())),
              "out": Output(size)}  # fmt: skip
    return Network(nodes, (*edges, (last, "cell"), ("cell", "out")), DT, STEPS)


KINDS = ["conv", "same", "grouped", "pool", "flatten", "pooled", "scale", "nothing"]


@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 1000),
    mean=st.sampled_from([0.0, 0.25, (0.5, -0.125)]),
    std=st.sampled_from([1.0, 0.5, (0.25, 2.0)]),
    branch=st.booleans(),
)
def test_integers_give_what_was_fed_gives(kind, seed, mean, std, branch):
    r = np.random.default_rng(seed)
    net = network(kind, r)
    if branch and kind != "nothing":  # another path, which joins behind the first layers
        size = input_shape(net.nodes["cell"])
        other = Affine(r.normal(size=(int(np.prod(size)), 50)), np.zeros(int(np.prod(size))))
        side = {"flat": Flatten((2, 5, 5)), "other": other}
        edges = (("in", "flat"), ("flat", "other"), ("other", "cell"))
        net = replace(net, nodes={**net.nodes, **side}, edges=(*net.edges, *edges))
    made = Preprocessing(1 / 255, mean, std).applied(net)
    x = r.integers(0, 256, (2, STEPS, 2, 5, 5))
    port = made.inputs()["in"]
    fed = port.fed(x)
    wide = [np.reshape(np.broadcast_to(v, 2), (2, 1, 1)) for v in (mean, std)]
    assert np.allclose(fed, (x / 255 - wide[0]) / wide[1])
    assert (port.integers(fed) == x).all()
    wanted = floating.run(net, {"in": fed}).answer
    for same in (made, simplify(made)):
        assert np.allclose(floating.run(same, {"in": x}).answer, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_keeps_it(tmp_path, kind):
    net = network(kind, np.random.default_rng(0))
    nir_io.write(tmp_path / "plain.nir", replace(net, nodes={**net.nodes, "in": Input((2, 5, 5))}))
    said = Choice(input_scale=1 / 255, input_mean=(0.5, 0.25), input_std=(0.5,))
    made, notes = nir_io.read(tmp_path / "plain.nir", said)
    assert not notes
    assert made.inputs()["in"].max_value == 255
    nir_io.write(tmp_path / "made.nir", made)
    back, _ = nir_io.read(tmp_path / "made.nir")
    x = np.random.default_rng(1).integers(0, 256, (2, STEPS, 2, 5, 5))
    assert np.allclose(floating.run(back, {"in": x}).answer, floating.run(made, {"in": x}).answer)
    assert np.allclose(back.inputs()["in"].fed(x), made.inputs()["in"].fed(x))
    with pytest.raises(InputError, match="takes integers already"):
        nir_io.read(tmp_path / "made.nir", said)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"scale": 0.0}, "must be positive"),
        ({"scale": float("nan")}, "not a number"),
        ({"std": (1.0, -1.0)}, "must be positive"),
        ({"mean": (1.0, 2.0, 3.0)}, "mean holds 3 numbers; samples are"),
    ],
)
def test_what_makes_no_sense_is_refused(said, problem):
    with pytest.raises(InputError, match=problem):
        Preprocessing(**said).applied(network("conv", np.random.default_rng(0)))


def test_one_input_is_needed():
    net = network("conv", np.random.default_rng(0))
    two = replace(net, nodes={**net.nodes, "more": Input((2, 5, 5))},
                  edges=(*net.edges, ("more", "l0")))  # fmt: skip
    with pytest.raises(InputError, match="has 2 inputs"):
        Preprocessing(1 / 255).applied(two)


def trained():
    """Return a module that was trained on pixels from 0 to 1 (weights drawn, not trained)."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        snntorch.Leaky(beta=0.5, reset_mechanism="zero", init_hidden=True),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 3),
        snntorch.Leaky(beta=0.5, reset_mechanism="zero", init_hidden=True),
    )
    for layer in (module[0], module[3]):
        layer.weight.data *= 3
    return module


@pytest.mark.parametrize("how", [{}, {"input_mean": 0.5, "input_std": 0.25}])
def test_a_module_is_measured_on_what_its_author_fed(how):
    module = trained()
    with_scale = snn2hw.load(module, shape=(1, 6, 6), time_steps=4, input_scale=1 / 255, **how)
    assert with_scale.inputs()["input"].max_value == 255
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 1, 6, 6)).repeat(4, axis=1)
    fed = (pixels / 255 - how.get("input_mean", 0.0)) / how.get("input_std", 1.0)
    for x in (fed, pixels):
        found = snn2hw.measure(module, with_scale, x)
        assert found["same_outputs"] == 1
        assert found["spikes_per_sample"][0] == found["spikes_per_sample"][1] > 0
    build = snn2hw.build(with_scale, LOIHI2)
    assert (build.simulate(pixels).prediction == floating.run(
        with_scale, {"input": pixels}).prediction).mean() >= 0.8  # fmt: skip


def test_integers_whose_scale_nobody_said_are_noted():
    with pytest.warns(UserWarning, match="up to 255 as they are.*input_scale 1/255"):
        network_of = snn2hw.load(trained(), shape=(1, 6, 6), time_steps=4, input_max=255)
    with pytest.warns(UserWarning, match="numbers that are not whole"):
        snn2hw.measure(trained(), network_of, np.full((1, 4, 1, 6, 6), 0.5))
    with pytest.warns(UserWarning, match="values from 0 to 300; on a chip it takes integers from"):
        snn2hw.measure(trained(), network_of, np.full((1, 4, 1, 6, 6), [[[[0, 300] * 3]]]))
