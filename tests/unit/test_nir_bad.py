"""NIR files that are wrong: one clear error that names every offending node."""

from __future__ import annotations

import itertools

import h5py
import nir
import numpy as np
import pytest
from nir_files import ONES, chain, lif, write

from snn2hw import nir_io
from snn2hw.errors import InputError, Snn2hwError
from snn2hw.ir.graph import wiring
from snn2hw.ir.synapses import matrix


def refusal(path):
    with pytest.raises(Snn2hwError) as caught:
        nir_io.read(path, nir_io.Choice(dt=1e-3, time_steps=2))
    return str(caught.value)


def test_bad_values_are_all_named(tmp_path):
    weight = np.eye(3)
    weight[0, 0] = np.nan
    nodes, edges = chain(
        fc=("Affine", {"weight": weight, "bias": np.array([0, np.inf, 0])}),
        slow=lif(tau=-ONES),
        scale=("Scale", {"scale": ONES * np.inf}),
        flat=lif(v_threshold=0 * ONES),
        late=("Delay", {"delay": -ONES}),
    )
    text = refusal(write(tmp_path / "a.nir", nodes, edges))
    for part in (
        "fc: weight holds 1 values that are NaN", "fc: bias holds 1 values", "slow: tau must be",
        "scale: scale holds 3", "flat: v_threshold must be positive", "late: delay must not be",
    ):  # fmt: skip
        assert part in text


def test_shapes_that_do_not_chain_are_all_named(tmp_path):
    nodes, edges = chain(
        fc=("Linear", {"weight": np.ones((4, 3))}),
        lif=lif(tau=np.array([1.0, 2.0, 3.0])),
        conv=("Conv2d", {"weight": np.ones((1, 1, 2, 2)), "bias": np.zeros(1), "stride": [1, 1],
                         "padding": [0, 0], "dilation": [1, 1], "groups": 1,
                         "input_shape": [3, 3]}),
        what=("Teleport", {}),
    )  # fmt: skip
    text = refusal(write(tmp_path / "a.nir", nodes, edges))
    assert "lif: parameters are for (3,) neurons but (4,) arrives" in text
    nodes["lif"] = lif(**{k: np.ones(4) for k in ("tau", "r", "v_leak", "v_threshold", "v_reset")})
    text = refusal(write(tmp_path / "b.nir", nodes, edges))
    assert "conv: takes 3 dimensions, channels first, but (4,) arrives" in text
    nodes["what"] = ("Teleport", {})
    lone = refusal(write(tmp_path / "c.nir", {**nodes, "lone": lif()}, edges))
    assert "conv" in lone


def test_unknown_types_missing_fields_and_lost_nodes_are_named(tmp_path):
    nodes, edges = chain(what=("Teleport", {}))
    nodes["lone"] = lif()
    text = refusal(
        write(tmp_path / "a.nir", nodes, [*edges, ("input", "nowhere"), ("ghost", "lone")])
    )
    assert "what: Teleport is not a node type of NIR" in text
    assert "edges name ghost, which does not exist" in text
    assert "edges name nowhere, which does not exist" in text
    nodes, edges = chain(fc=("Affine", {"bias": ONES}), lif=("LIF", {"r": ONES}))
    text = refusal(write(tmp_path / "b.nir", nodes, edges))
    assert "fc: has no 'weight'" in text


def test_neurons_without_synapses_are_named(tmp_path):
    nodes, edges = chain(fc=("Linear", {"weight": np.eye(3)}), lif=lif())
    nodes |= {"one": lif(), "two": lif()}
    text = refusal(write(tmp_path / "a.nir", nodes, edges))
    assert "one has no input" in text
    assert "two has no input" in text


def test_loops_without_neurons_are_named(tmp_path):
    square = ("Linear", {"weight": np.eye(3)})
    nodes, edges = chain(a=square, b=square, lif=lif())
    text = refusal(write(tmp_path / "a.nir", nodes, [*edges, ("b", "a")]))
    assert "a, b form a loop that holds no neurons" in text
    nodes["wait"] = ("Delay", {"delay": ONES * 1e-3})
    text = refusal(write(tmp_path / "b.nir", nodes, [*edges, ("b", "wait"), ("wait", "a")]))
    assert "a, b, wait form a loop" in text


@pytest.mark.parametrize("what", ["soft", "external", "storage", "virtual"])
def test_whatever_leads_out_of_the_file_is_refused(tmp_path, what):
    nodes, edges = chain(fc=("Linear", {"weight": np.eye(3)}), lif=lif())
    path = write(tmp_path / "a.nir", nodes, edges)
    with h5py.File(path, "r+") as file:
        group = file["node/nodes/fc"]
        del group["weight"]
        if what == "soft":
            group["weight"] = h5py.SoftLink("/node/nodes/lif/tau")
        elif what == "external":
            group["weight"] = h5py.ExternalLink("other.nir", "/weight")
        elif what == "storage":
            (tmp_path / "raw").write_bytes(bytes(72))
            group.create_dataset("weight", (3, 3), "f8", external=[(str(tmp_path / "raw"), 0, 72)])
        else:
            layout = h5py.VirtualLayout((3, 3), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "w", (3, 3))
            group.create_virtual_dataset("weight", layout)
    assert "refused" in refusal(path)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    nodes, edges = chain(fc=("Linear", {"weight": np.eye(3)}), lif=lif())
    path = write(tmp_path / "a.nir", nodes, edges)
    with h5py.File(path, "r+") as file:  # each small enough, together 4 GiB of float64
        for i in range(8):
            file["node/nodes/lif"].create_dataset(
                f"pad{i}", (1 << 26,), "i1", chunks=(1 << 20,), compression="gzip"
            )
    assert "67,108,864 values for /node/nodes/lif/pad0 that were never written" in refusal(path)
    with h5py.File(path, "r+") as file:  # written at one end, which deflates to a few bytes
        for i in range(8):
            file[f"node/nodes/lif/pad{i}"][0] = 1
    assert "values, with /node/nodes/lif/pad0 of shape (67108864,)" in refusal(path)
    path = write(tmp_path / "b.nir", {**nodes, "input": ("Input", {"shape": [1 << 40]})}, edges)
    assert "makes no sense" in refusal(path)
    path = write(tmp_path / "c.nir", {**nodes, "late": ("Delay", {"delay": ONES * 1e12})},
                 [*edges, ("lif", "late"), ("late", "lif")])  # fmt: skip
    assert "late waits 1e+15 steps" in refusal(path)
    deep = tmp_path / "d.nir"
    with h5py.File(deep, "w") as file:
        file.create_group("node/nodes/" + "/".join(["g/nodes"] * 40))
    assert "more than 32 deep" in refusal(deep)


def test_a_convolution_too_large_to_unroll_is_refused(tmp_path):
    weight, pair = np.ones((64, 64, 7, 7), np.float32), {"stride": [1, 1], "dilation": [1, 1]}
    big = {"weight": weight, "bias": np.zeros(64), "padding": [3, 3], "groups": 1, **pair}
    image = {"shape": [64, 200, 200]}
    nodes = {
        "input": ("Input", image), "one": ("Conv2d", big), "two": ("Conv2d", big),
        "if": ("IF", {k: np.ones(()) for k in ("r", "v_threshold", "v_reset")}),
        "output": ("Output", image),
    }  # fmt: skip
    names = list(nodes)
    path = write(tmp_path / "a.nir", nodes, list(itertools.pairwise(names)))
    net, _ = nir_io.read(path, nir_io.Choice(dt=1.0, time_steps=1))
    with pytest.raises(Snn2hwError, match="join to far more synapses"):
        wiring(net)
    with pytest.raises(Snn2hwError, match="too large to be written out"):
        matrix(net.nodes["one"].kernel)


@pytest.mark.parametrize(
    "metadata", [{"reset": "soft"}, {"dt": "soon"}, {"fires": "never"}, {"time_steps": -3}]
)
def test_metadata_of_ours_that_makes_no_sense_is_named(tmp_path, metadata):
    nodes = {
        "input": nir.Input(np.array([3])),
        "fc": nir.Linear(np.eye(3)),
        "lif": nir.LIF(tau=ONES, r=ONES, v_leak=0 * ONES, v_threshold=ONES),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    nir.write(tmp_path / "a.nir", nir.NIRGraph(nodes, edges, metadata={"snn2hw": metadata}))
    with pytest.raises(Snn2hwError) as caught:
        nir_io.read(tmp_path / "a.nir", nir_io.Choice(dt=None if "dt" in metadata else 1e-3))
    assert isinstance(caught.value, InputError) or "a sample lasts -3 steps" in str(caught.value)


def test_every_node_type_of_nir_is_read(tmp_path):
    every = {
        "scale": nir.Scale(ONES * 2), "delay": nir.Delay(ONES * 1e-3),
        "threshold": nir.Threshold(ONES), "i": nir.I(ONES * 1e3), "if": nir.IF(ONES * 1e3, ONES),
        "li": nir.LI(tau=ONES * 2e-3, r=ONES, v_leak=0 * ONES),
        "cuba_li": nir.CubaLI(tau_syn=ONES * 2e-3, tau_mem=ONES * 4e-3, r=ONES, v_leak=0 * ONES),
        "cuba": nir.CubaLIF(tau_syn=ONES * 2e-3, tau_mem=ONES * 4e-3, r=ONES, v_leak=0 * ONES,
                            v_threshold=ONES),
    }  # fmt: skip
    nodes = {"input": nir.Input(np.array([3])), **every, "output": nir.Output(np.array([3]))}
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(names)))
    nir.write(tmp_path / "a.nir", graph)
    net, _ = nir_io.read(tmp_path / "a.nir", nir_io.Choice(dt=1e-3))
    assert set(net.nodes) == set(names)
