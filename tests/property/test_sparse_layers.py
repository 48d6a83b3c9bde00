"""Layers of few weights between any shapes: computed, scaled, written, read and compiled."""

from __future__ import annotations

from dataclasses import replace

import naive
import nir
import numpy as np
import pytest
from hypothesis import given, settings
from nets import DT, images, lif, seeds
from scipy import sparse

import snn2hw
from snn2hw import nir_io
from snn2hw.errors import InputError, NetworkError
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Output, Scale, SparseAffine
from snn2hw.ir.synapses import Conv, from_matrix
from snn2hw.passes import fold_scales
from snn2hw.simulate import floating


def sparse_layer(r, before, after):
    size = int(np.prod(after)), int(np.prod(before))
    weight = sparse.random_array(size, density=0.3, rng=r)
    weight.data = np.round(weight.data * 16) / 8 - 1
    return SparseAffine(from_matrix(weight), r.integers(-4, 5, size[0]) / 16, before, after)


def network(seed, middle=(2, 4, 4), *, scaled=False):
    """An image, a sparse layer, neurons, a sparse layer to an image, a convolution, neurons."""
    r = np.random.default_rng(seed)
    kernel = Conv(r.integers(-8, 9, (3, 2, 2, 2)) / 8, (2, 4, 4))
    nodes = {
        "input": Input((2, 3, 5), 2),
        "spread": sparse_layer(r, (2, 3, 5), middle),
        "hidden": lif(middle),
        "map": sparse_layer(r, middle, (2, 4, 4)),
        "conv": Conv2d(kernel, r.integers(-4, 5, 3) / 16),
        "last": lif((3, 3, 3)),
        "output": Output((3, 3, 3)),
    }
    edges = [*zip(nodes, list(nodes)[1:], strict=False)]
    if scaled:
        nodes |= {"a": Scale(r.integers(1, 9, (2, 3, 5)) / 4), "b": Scale(np.full(middle, 0.5))}
        edges = [e for e in edges if e not in (("input", "spread"), ("spread", "hidden"))]
        edges += [("input", "a"), ("a", "spread"), ("spread", "b"), ("b", "hidden")]
    return Network(nodes, tuple(edges), DT, 6)


@settings(max_examples=30)
@given(seeds)
def test_what_is_composed_is_what_the_layers_compute(seed):
    net = network(seed, (32,))
    x = images(net, samples=2, seed=seed)
    trace = floating.run(net, x, record=net.cells())
    for sample in range(2):
        plain = naive.run(net, {k: v[sample] for k, v in x.items()})
        for name, found in (trace.recorded | trace.outputs).items():
            assert np.allclose(found[sample], plain[name].reshape(found[sample].shape)), name


@settings(max_examples=20)
@given(seeds)
def test_scales_are_multiplied_in(seed):
    net = network(seed, scaled=True)
    folded = fold_scales(net)
    assert not any(isinstance(n, Scale) for n in folded.nodes.values())
    x = images(net, seed=seed)
    for name, found in floating.run(net, x, record=net.cells()).recorded.items():
        assert np.allclose(found, floating.run(folded, x, record=net.cells()).recorded[name])


def test_nir_has_dense_layers_in_their_place(tmp_path):
    net = network(1, (32,))
    with pytest.raises(InputError, match=r"map gives \(2, 4, 4\), and a dense layer only a vector"):
        nir_io.write(tmp_path / "a.nir", net)
    nodes = {k: n for k, n in net.nodes.items() if k not in ("map", "conv", "last")}
    nodes["output"] = Output((32,))
    kept = [e for e in net.edges if set(e) <= set(nodes)]
    short = replace(net, nodes=nodes, edges=(*kept, ("hidden", "output")))
    nir_io.write(tmp_path / "a.nir", short)
    nir.read(tmp_path / "a.nir")
    back, _ = nir_io.read(tmp_path / "a.nir")
    assert isinstance(back.nodes["spread"], Affine)
    assert isinstance(back.nodes["spread.flatten"], Flatten)
    x = images(net, seed=1)
    assert (floating.run(short, x).answer == floating.run(back, x).answer).all()


def test_a_dense_layer_in_its_place_may_be_too_large(tmp_path):
    size = 1 << 13
    whole = SparseAffine(from_matrix(sparse.eye_array(size)), np.zeros(size), (size,), (size,))
    nodes = {"input": Input((size,)), "a": whole, "b": lif((size,)), "output": Output((size,))}
    net = Network(nodes, tuple(zip(nodes, list(nodes)[1:], strict=False)), DT)
    with pytest.raises(InputError, match="a would be a dense layer of 67,108,864 weights"):
        nir_io.write(tmp_path / "a.nir", net)


def test_a_chip_takes_them():
    net = network(3)
    found = snn2hw.build(net).simulate(np.random.default_rng(0).integers(0, 3, (3, 6, 2, 3, 5)))
    assert found.spikes.any()


def test_shapes_and_values_are_checked():
    net = network(0)
    for wrong in (
        replace(net.nodes["map"], output_shape=(2, 4, 5)),
        replace(net.nodes["map"], bias=np.zeros(3)),
        replace(net.nodes["map"], bias=np.full(32, np.nan)),
    ):
        with pytest.raises(NetworkError, match="map"):
            replace(net, nodes={**net.nodes, "map": wrong})
    assert replace(net, nodes={**net.nodes, "map": network(1).nodes["map"]}).digest() != (
        net.digest()
    )
