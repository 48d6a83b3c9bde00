"""What NIR files leave out or get wrong, and what it is taken for."""

from __future__ import annotations

import itertools
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from nets import seeds
from nir_files import ONES, chain, lif, write

from snn2hw import nir_io
from snn2hw.errors import InputError
from snn2hw.ir.graph import wiring
from snn2hw.ir.nodes import Conv1d, Conv2d, Flatten
from snn2hw.ir.synapses import matrix

once = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(path):
    return nir_io.read(path, nir_io.Choice(dt=1e-3, reset="zero", time_steps=4))


def test_weights_in_the_other_order_are_turned(tmp_path):
    weight = np.arange(12.0).reshape(3, 4)  # Spyx: [in, out]
    nodes = {
        "input": ("Input", {"shape": [3]}),
        "fc": ("Affine", {"weight": weight, "bias": np.zeros(4)}),
        "output": ("Output", {"shape": [4]}),
    }
    net, notes = load(write(tmp_path / "a.nir", nodes, [("input", "fc"), ("fc", "output")]))
    assert (net.nodes["fc"].weight == weight.T).all()
    assert "fc: weight (3, 4) is transposed (as Spyx writes it)" in notes[0]


def test_sub_graphs_are_inlined_however_deep(tmp_path):
    square = np.eye(3) * 2
    nodes, edges = chain(fc=("Linear", {"weight": square}), lif=lif())
    path = write(tmp_path / "a.nir", nodes, edges)
    with h5py.File(path, "r+") as file:
        for depth in ("node/nodes/deep", "node/nodes/deep/nodes/deeper"):
            group = file.create_group(depth)
            group["type"] = "NIRGraph"
            inner = "deeper" if depth.endswith("deep") else "fc"
            group["edges"] = np.array([("in", inner), (inner, "out")], "S")
            for end, kind in (("in", "Input"), ("out", "Output")):
                group[f"nodes/{end}/type"] = kind
                group[f"nodes/{end}/shape"] = [3]
        fc = file.create_group("node/nodes/deep/nodes/deeper/nodes/fc")
        fc["type"], fc["weight"] = "Linear", square
        del file["node/edges"]
        file["node/edges"] = np.array([*edges[:-1], ("lif", "deep"), ("deep", "output")], "S")
    net, _ = load(path)
    assert set(net.nodes) == {"input", "fc", "lif", "deep.deeper.fc", "output"}
    (source,) = wiring(net).into["output"].sources
    assert (matrix(source.synapses).toarray() == square).all()


def test_two_ways_through_a_sub_graph_count_twice(tmp_path):
    """One past it and one straight through: the same two nodes, but two paths."""
    nodes, edges = chain(lif=lif())
    path = write(tmp_path / "a.nir", nodes, edges)
    with h5py.File(path, "r+") as file:
        group = file.create_group("node/nodes/skip")
        group["type"] = "NIRGraph"
        group["edges"] = np.array([("in", "out")], "S")
        for end, kind in (("in", "Input"), ("out", "Output")):
            group[f"nodes/{end}/type"], group[f"nodes/{end}/shape"] = kind, [3]
        del file["node/edges"]
        file["node/edges"] = np.array([*edges, ("input", "skip"), ("skip", "lif")], "S")
    net, _ = load(path)
    sources = wiring(net).into["lif"].sources
    assert sum(float(s.synapses.weight.sum()) for s in sources) == 6.0


def test_ends_that_are_missing_are_added(tmp_path):
    nodes = {"fc": ("Linear", {"weight": np.ones((3, 2))}), "lif": lif()}
    net, notes = load(write(tmp_path / "a.nir", nodes, [("fc", "lif")]))
    assert net.nodes["input"].shape == (2,)
    assert net.nodes["output"].shape == (3,)
    assert any("there was no Input node: added before fc" in note for note in notes)


def test_fields_that_older_versions_left_out(tmp_path):
    old = {k: v for k, v in lif()[1].items() if k != "v_reset"} | {"tau_syn": ONES * 1e-2}
    old["tau_mem"] = old.pop("tau")
    nodes, edges = chain(fc=("Linear", {"weight": np.eye(3)}), cuba=("CubaLIF", old))
    net, notes = load(write(tmp_path / "a.nir", nodes, edges))
    assert net.nodes["cuba"].w_in == 1.0
    assert net.nodes["cuba"].v_reset == 0.0
    assert notes == ["cuba: no v_reset, taken as 0", "cuba: no w_in, taken as 1"]


def test_integers_scalars_and_batch_axes_in_parameters(tmp_path):
    values = {
        "tau": np.array([2, 2, 2]), "r": np.float32(1.0), "v_leak": np.zeros((1, 3)),
        "v_threshold": np.ones(1), "v_reset": np.zeros(3),
    }  # fmt: skip
    nodes, edges = chain(fc=("Linear", {"weight": np.eye(3, dtype=np.int64)}), lif=("LIF", values))
    net, notes = load(write(tmp_path / "a.nir", nodes, edges))
    assert net.nodes["lif"].tau.dtype == np.float64
    assert {"lif: scalar parameters, taken for each of its neurons",
            "lif: parameters of shape (1, 3) for (3,) neurons; reshaped"} == set(notes)  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding")
@once
@given(seeds)
def test_same_padding_is_that_of_torch(tmp_path, seed):
    """Even kernels pad one more at the end."""
    r = np.random.default_rng(seed)
    side = [int(n) for n in r.integers(1, 5, 2)]
    weight = r.integers(-4, 5, (2, 1, *side)).astype(float)
    values = {"weight": weight, "bias": np.zeros(2), "stride": [1, 1], "padding": "same",
              "dilation": [1, 1], "groups": 1, "input_shape": [5, 6]}  # fmt: skip
    nodes = {"input": ("Input", {"shape": [1, 5, 6]}), "conv": ("Conv2d", values),
             "output": ("Output", {"shape": [2, 5, 6]})}  # fmt: skip
    net, _ = load(write(tmp_path / "a.nir", nodes, list(itertools.pairwise(nodes))))
    x = r.integers(0, 5, (1, 5, 6)).astype(float)
    wanted = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(weight), padding="same")
    (source,) = wiring(net).into["output"].sources
    assert isinstance(net.nodes["conv"], Conv2d)
    assert np.allclose(matrix(source.synapses) @ x.reshape(-1), wanted.numpy().reshape(-1))


@pytest.mark.parametrize(("padding", "length"), [("valid", 6), ("same", 8), (2, 10)])
def test_one_dimensional_convolutions(tmp_path, padding, length):
    weight = np.arange(6.0).reshape(1, 2, 3)
    values = {"weight": weight, "bias": np.ones(1), "stride": 1, "padding": padding,
              "dilation": 1, "groups": 1, "input_shape": 8}  # fmt: skip
    nodes = {"input": ("Input", {"shape": [2, 8]}), "conv": ("Conv1d", values),
             "output": ("Output", {"shape": [1, length]})}  # fmt: skip
    net, notes = load(write(tmp_path / "a.nir", nodes, list(itertools.pairwise(nodes))))
    assert notes == []
    assert isinstance(net.nodes["conv"], Conv1d)
    x = np.arange(16.0).reshape(2, 8)
    wanted = torch.nn.functional.conv1d(torch.tensor(x), torch.tensor(weight), padding=padding)
    (source,) = wiring(net).into["output"].sources
    assert np.allclose(matrix(source.synapses) @ x.reshape(-1), wanted.numpy().reshape(-1))


@pytest.mark.parametrize(
    ("dims", "shape"), [((0, 0), (2, 3, 4)), ((0, 1), (6, 4)), ((1, 2), (2, 12)), ((0, -1), (24,))]
)
def test_flatten_joins_the_dimensions_it_names(tmp_path, dims, shape):
    values = {"start_dim": dims[0], "end_dim": dims[1], "input_type": [2, 3, 4]}
    nodes = {"input": ("Input", {"shape": [2, 3, 4]}), "flat": ("Flatten", values),
             "output": ("Output", {"shape": list(shape)})}  # fmt: skip
    net, notes = load(write(tmp_path / "a.nir", nodes, list(itertools.pairwise(nodes))))
    assert notes == []
    assert net.nodes["flat"] is not None
    assert isinstance(net.nodes["flat"], Flatten)
    assert net.nodes["output"].shape == shape


def test_each_population_may_have_a_reset_of_its_own(tmp_path):
    nodes, edges = chain(
        fc=("Linear", {"weight": np.eye(3)}), one=lif(), fc2=("Linear", {"weight": np.eye(3)}),
        two=lif(),
    )  # fmt: skip
    net, _ = load(write(tmp_path / "a.nir", nodes, edges))

    mixed = replace(net, nodes={**net.nodes, "two": replace(net.nodes["two"], reset="subtract")})
    nir_io.write(tmp_path / "b.nir", mixed)
    back, notes = nir_io.read(tmp_path / "b.nir")
    assert notes == []
    assert {k: n.reset for k, n in back.neurons().items()} == {"one": "zero", "two": "subtract"}


@pytest.mark.parametrize("choice", [{"fires": "never"}, {"reset": "soft"}, {"written_by": "ghost"}])
def test_choices_that_do_not_exist_are_refused(tmp_path, choice):
    nodes, edges = chain(lif=lif())
    path = write(tmp_path / "a.nir", nodes, edges)
    with pytest.raises(InputError, match=next(iter(choice.values()))):
        nir_io.read(path, nir_io.Choice(dt=1e-3, **choice))
