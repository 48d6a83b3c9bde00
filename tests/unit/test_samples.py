"""Samples from a file: what NumPy wrote is run, and whatever else there is gets named."""

from __future__ import annotations

import numpy as np
import pytest
from nets import LOIHI2, images, lif, tiny

from snn2hw.archives import read_npz, write_npz
from snn2hw.errors import InputError
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.pipeline import builds, floats
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.samples import samples_for

NAMES = ["file", "prediction", "spikes", "label", "args", "allow_pickle", "self", "x", "y"]


def of_two(first, second, cell="lif"):
    """Two inputs of four values, and three neurons."""
    nodes = {
        first: Input((4,)), second: Input((4,)), "fc1": Affine(np.ones((3, 4)) / 2, np.zeros(3)),
        "fc2": Affine(np.eye(3, 4), np.zeros(3)), cell: lif((3,)), "output": Output((3,)),
    }  # fmt: skip
    edges = [(first, "fc1"), (second, "fc2"), ("fc1", cell), ("fc2", cell), (cell, "output")]
    return Network(nodes, tuple(edges), 1e-3, 4)


def built(net, root):
    return export(Model("a", net, {}), LOIHI2, root)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return built(tiny(), tmp_path_factory.mktemp("build"))


X = np.random.default_rng(0).integers(0, 2, (5, 4, 4))
Y = np.array([0, 1, 0, 1, 1])


@pytest.mark.parametrize("dtype", ["?", "u1", ">i4", "<i8", ">u8", "i2", "f4", ">f8"])
def test_whole_numbers_of_any_type_are_the_same_samples(tmp_path, build, dtype):
    write_npz(tmp_path / "a.npz", {"x": np.asfortranarray(X.astype(dtype)), "y": Y.astype(">u2")})
    for limit in (None, 3):
        found = samples_for(build, file=tmp_path / "a.npz", limit=limit)
        assert np.array_equal(found.inputs["input"], X[:limit])
        assert found.labels.tolist() == Y[:limit].tolist()
        assert builds.simulate(build, found).samples == len(X[:limit])


BAD = {
    "no x": ({"x": None}, r"lacks x; it has y.*Store x \[N, S, \*in\] with integers"),
    "fractions": ({"x": X * 0.5}, "must hold integers, got float64"),
    "NaN": ({"x": np.where(X, np.nan, X)}, "x holds NaN or infinity"),
    "infinity": ({"x": np.where(X, np.inf, X)}, "x holds NaN or infinity"),
    "texts": ({"x": X.astype(str)}, "x.npy holds <U21, not plain numbers"),
    "complex": ({"x": X + 1j}, "x.npy holds complex128, not plain numbers"),
    "too large": ({"x": X + 1}, "takes 0 to 1"),
    "far too large": ({"x": X.astype(np.uint64) + 2**63}, "takes 0 to 1"),
    "negative": ({"x": -X}, "takes 0 to 1"),
    "no samples": ({"x": X[:0], "y": None}, r"must be \[samples, steps, 4\]"),
    "no steps": ({"x": X[:, :0]}, r"must be \[samples, steps, 4\]"),
    "one number": ({"x": np.array(1)}, "different number of samples"),
    "one number alone": ({"x": np.array(1), "y": None}, r"must be \[samples, steps, 4\]"),
    "labels of texts": ({"y": Y.astype(str)}, "y.npy holds <U21, not plain numbers"),
    "labels of floats": ({"y": Y * 1.0}, "y holds float64, not integers"),
    "labels of NaN": ({"y": Y * np.nan}, "y holds float64, not integers"),
    "labels of truth": ({"y": Y.astype(bool)}, "y holds bool, not integers"),
    "too few labels": ({"y": Y[:4]}, r"different number of samples .* x \[5, 4, 4\], y \[4\]"),
    "a table of labels": ({"y": Y[:, None]}, r"y has shape \(\d, 1\)"),
    "negative labels": ({"y": Y - 1}, "y runs from -1 to 0"),
    "labels from 1": ({"y": Y + 1}, "y runs from 1 to 2"),
    "huge labels": ({"y": Y * 10**18}, "y runs from 0 to 1000000000000000000"),
    "objects": ({"x": X.astype(object)}, "objects, not plain numbers"),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_what_are_no_samples_is_named(tmp_path, build, change, said):
    arrays = {k: v for k, v in ({"x": X, "y": Y} | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    for limit in (None, 2):
        with pytest.raises(InputError, match=rf"a\.npz.*{said}"):
            samples_for(build, file=tmp_path / "a.npz", limit=limit)


def test_a_file_for_a_float_network_is_judged_alike(tmp_path):
    model = Model("tiny", tiny(), {})
    for change, said in (
        ({"x": X * np.nan}, "x holds NaN"),
        ({"y": Y + 1}, "y runs from 1 to 2"),
        ({"y": Y[:1]}, "different number"),
        ({"x": X[:, :, :3]}, r"must be \[samples, steps, 4\]"),
    ):
        np.savez(tmp_path / "a.npz", **({"x": X, "y": Y} | change))
        with pytest.raises(InputError, match=rf"a\.npz.*{said}"):
            floats.samples_for(model, file=tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=X * 0.5, y=Y)
    taken = floats.samples_for(model, file=tmp_path / "a.npz", limit=4)
    _, trace = floats.simulate(model, taken, record=True)
    floats.save(tmp_path / "out.npz", trace, taken.labels)
    assert read_npz(tmp_path / "out.npz")["label"].tolist() == Y[:4].tolist()


def test_a_packed_file_of_a_few_bytes_has_no_endless_sample(tmp_path, build):
    x = np.zeros((1, 9000, 4), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError, match=r"a\.npz: x has 9,000 steps, too many .*not compress"):
        samples_for(build, file=tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=x)
    assert samples_for(build, file=tmp_path / "a.npz").inputs["input"].shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_layers_of_any_name(tmp_path, name):
    other = "x" if name == "y" else "y"
    build = built(of_two(name, other, cell=f"{name}.spikes"), tmp_path)
    x = images(build.program.network, 3)
    labels = np.array([2, 0, 1])
    # An input that is called y leaves no name for labels.
    named = {} if "y" in x else {"y": labels}
    write_npz(tmp_path / "in.npz", {**x, **named})
    taken = samples_for(build, file=tmp_path / "in.npz", limit=2)
    assert {k: v.tolist() for k, v in taken.inputs.items()} == {
        k: v[:2].tolist() for k, v in x.items()
    }
    assert taken.labels is None
    trace = builds.simulate(build, taken, states=True)
    builds.save_trace(tmp_path / "out.npz", trace, labels[:2], layers=True)
    saved = read_npz(tmp_path / "out.npz")
    last = f"{name}.spikes"
    assert {"spikes", "prediction", "label"} < set(saved)
    assert np.array_equal(saved[f"{last}.spikes"], saved["spikes"])
    assert saved["prediction"].tolist() == trace.prediction.tolist()


def test_an_input_alone_is_x_whatever_it_is_called(tmp_path):
    net = tiny()
    nodes = {("y" if k == "input" else k): v for k, v in net.nodes.items()}
    edges = tuple(("y" if a == "input" else a, b) for a, b in net.edges)
    build = built(Network(nodes, edges, net.dt, net.time_steps), tmp_path)
    write_npz(tmp_path / "in.npz", {"x": X, "y": Y})
    found = samples_for(build, file=tmp_path / "in.npz")
    assert np.array_equal(found.inputs["y"], X)
    assert found.labels.tolist() == Y.tolist()
