"""NIR files of many nodes, and small ones that stand for large networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from nir_files import write

from snn2hw import nir_io
from snn2hw.errors import InputError, NetworkError, Snn2hwError
from snn2hw.nir_io.flat import THROUGH, flatten
from snn2hw.nir_io.stored import StoredGraph, StoredNode
from snn2hw.pipeline.inspect import inspect_file

ONE = np.ones(())
LIF = ("LIF", {"tau": ONE * 1e-2, "r": ONE, "v_leak": 0 * ONE, "v_threshold": ONE,
               "v_reset": 0 * ONE})  # fmt: skip
CHOICE = nir_io.Choice(dt=1e-3, time_steps=2)


def ends(size):
    return {"input": ("Input", {"shape": [size]}), "output": ("Output", {"shape": [size]})}


def chain(path, nodes, size=2):
    names = ["input", *nodes, "output"]
    return write(path, {**ends(size), **nodes}, list(itertools.pairwise(names)))


def conv(out, into, side, padding=0, stride=1, dilation=1):
    return ("Conv2d", {"weight": np.ones((out, into, side, side)), "bias": np.zeros(out),
                       "stride": [stride] * 2, "padding": [padding] * 2,
                       "dilation": [dilation] * 2, "groups": 1})  # fmt: skip


def pool(side, padding=0, stride=1):
    windows = {"kernel_size": side, "stride": stride, "padding": padding}
    return ("SumPool2d", {k: [n, n] for k, n in windows.items()})


class Counted(dict):
    """Counts how often the edges of a node are looked up."""

    looked = 0

    def get(self, *key):
        type(self).looked += 1
        return super().get(*key)


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_nodes_are_walked_a_few_times_each(shape):
    counts = []
    for size in (200, 800):
        names = [f"n{i}" for i in range(size)]
        nodes = {n: StoredNode("Scale", {"scale": np.ones(2)}) for n in names}
        nodes |= {"input": StoredNode("Input", {"shape": np.array([2])})}
        nodes |= {"output": StoredNode("Output", {"shape": np.array([2])})}
        path = ["input", *names, "output"]
        edges = list(itertools.pairwise(path))
        if shape == "fan":
            edges = [e for n in names for e in (("input", n), (n, "output"))]
        flat = flatten(StoredGraph(nodes, tuple(edges), {}))
        flat.into, flat.out_of = Counted(flat.into), Counted(flat.out_of)
        Counted.looked = 0
        from snn2hw.nir_io.nodes import convert

        done, made = convert(flat, {}, "zero", {})
        assert (len(done), len(made)) == (size + 2, len(edges))
        counts.append(Counted.looked)
    assert counts[1] < 5 * counts[0]


@pytest.mark.parametrize("kind", ["chain", "fan", "neurons"])
def test_thousands_of_nodes_are_inspected(tmp_path, kind):
    """Ten times as many take seconds too: see docs/results/robustness.md."""
    names = [f"n{i}" for i in range(1000)]
    scale = ("Scale", {"scale": np.full(2, 0.999)})
    if kind == "fan":
        nodes = {**ends(2), **dict.fromkeys(names, scale), "last": LIF}
        edges = [e for n in names for e in (("input", n), (n, "last"))] + [("last", "output")]
        path = write(tmp_path / "a.nir", nodes, edges)
    else:
        path = chain(tmp_path / "a.nir", dict.fromkeys(names, LIF if kind == "neurons" else scale))
    found = inspect_file(str(path), tmp_path, None, CHOICE)
    assert len(found["layers"]) == 1002 + (kind == "fan")
    whys = found["targets"]
    if kind == "neurons":
        assert whys["loihi2"] == []  # of which several share a core
    assert all(len(w) < 2000 for why in whys.values() for w in why)


def test_many_edges_to_nowhere_are_named_in_few_words(tmp_path):
    edges = [("input", "lif"), ("lif", "output"), *(("lif", f"x{i}") for i in range(5000))]
    path = write(tmp_path / "a.nir", {**ends(2), "lif": LIF}, edges)
    with pytest.raises(InputError, match=r"and 4,\d\d\d more") as caught:
        nir_io.read(path, CHOICE)
    assert len(str(caught.value)) < 2000


def test_populations_that_all_hear_each_other_are_refused_in_time(tmp_path):
    names = [f"n{i}" for i in range(129)]
    nodes = {**ends(2), **dict.fromkeys(names, LIF)}
    edges = [("input", "n0"), ("n0", "output"), *((a, b) for a in names for b in names)]
    path = write(tmp_path / "a.nir", nodes, edges)
    with pytest.raises(NetworkError, match="joins its populations in 16,643 ways; at most 16,384"):
        inspect_file(str(path), tmp_path, None, CHOICE)


def test_sub_graphs_of_many_ends_do_not_multiply():
    def graph(count):
        nodes = {f"i{k}": StoredNode("Input", {"shape": np.array([2])}) for k in range(count)}
        nodes |= {f"o{k}": StoredNode("Output", {"shape": np.array([2])}) for k in range(count)}
        return StoredGraph(nodes, tuple((f"i{k}", f"o{k}") for k in range(count)), {})

    nodes = {"a": graph(600), "b": graph(600)}
    flat = flatten(StoredGraph(nodes, (("a", "b"),), {}))
    assert flat.problems[0].startswith("b has several Inputs (i0, i1, ")
    assert len(flat.edges) == 3 * 1200  # inside, and to the ends that the graph was given
    assert sum(map(len, flat.problems)) < 5000
    many = {f"s{k}": StoredNode("Scale", {"scale": np.ones(2)}) for k in range(40)}
    inner = StoredGraph({"in": StoredNode("Input", {}), "out": StoredNode("Output", {})},
                        (("in", "out"),), {})  # fmt: skip
    names = list(many)
    edges = [*((n, "door") for n in names[:20]), *(("door", n) for n in names[20:])]
    flat = flatten(StoredGraph({**many, "door": inner}, tuple(edges), {}))
    assert [n.kind for n in flat.nodes.values()].count(THROUGH) == 1
    assert len(flat.edges) < 100


@pytest.mark.parametrize(
    ("nodes", "size", "said"),
    [
        ({"c": conv(1, 1, 3, padding=15_000), "lif": LIF}, [1, 8, 8], "900,360,036 values"),
        ({"p": pool(20_000, 10_000), "lif": LIF}, [1, 8, 8], "windows of"),
        ({"p": pool(300, 150, stride=2), "lif": LIF}, [1, 512, 512], "look at"),
        ({"s": ("Scale", {"scale": ONE}), "lif": LIF}, [1 << 23], "more than 16,777"),
        ({"lif": LIF}, [1 << 25], "makes no sense"),
    ],
)
def test_small_files_of_large_networks_are_refused_with_the_number(tmp_path, nodes, size, said):
    path = write(tmp_path / "a.nir", {**ends(1), "input": ("Input", {"shape": size}), **nodes},
                 list(itertools.pairwise(["input", *nodes, "output"])))  # fmt: skip
    with pytest.raises(InputError) as caught:
        nir_io.read(path, CHOICE)
    assert said in str(caught.value)


def affine(post, pre):
    return ("Affine", {"weight": np.ones((post, pre)), "bias": np.ones(post)})


@pytest.mark.parametrize(
    ("nodes", "size"),
    [
        ({"a": affine(1, 20_000), "b": affine(20_000, 1), "lif": LIF}, 20_000),
        ({"d": ("Delay", {"delay": np.arange(5000) * 1e-3}), "a": affine(200, 5000), "lif": LIF},
         5000),
        ({f"n{i}": affine(40, 40) if i % 2 else ("Delay", {"delay": np.full(40, 1e-3)})
          for i in range(1500)} | {"lif": LIF}, 40),
    ],
    ids=["outer product", "delays", "constants"],
)  # fmt: skip
def test_linear_nodes_that_join_without_end_are_refused(tmp_path, nodes, size):
    path = chain(tmp_path / "a.nir", nodes, size)
    found = inspect_file(str(path), tmp_path, None, CHOICE)
    for why in found["targets"].values():
        assert "join to far more synapses" in " ".join(why)
    assert any("synapses are not counted" in n for n in found["notes"])


def test_a_kernel_is_not_unrolled_to_be_inspected(tmp_path, monkeypatch):
    def never(conv):
        raise AssertionError("unrolled")

    nodes = {"c": conv(4, 1, 3, padding=1), "lif": LIF}
    whole = {**ends(1), "input": ("Input", {"shape": [1, 60, 60]}), **nodes}
    path = write(tmp_path / "a.nir", whole, list(itertools.pairwise(["input", *nodes, "output"])))
    monkeypatch.setattr("snn2hw.ir.convolution.matrix", never)
    found = inspect_file(str(path), tmp_path, None, CHOICE)
    assert found["targets"]["loihi2"] == found["targets"]["loihi1"] == []


VALUES = {
    "text": "x", "nothing": np.zeros(0), "nan": np.full(2, np.nan), "huge": np.full(2, 2.0**62),
    "complex": np.ones(2, complex), "many": np.ones(99), "flat": ONE, "wide": np.ones((2, 2, 2)),
    "fraction": np.full(2, 0.5), "negative": np.full(2, -1), "zero": np.zeros(2),
    "texts": np.array([b"a", b"b"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", VALUES)
def test_values_of_every_wrong_type_are_named(tmp_path, wrong):
    """Each field of each node in turn: read, or refused with the node's name."""
    image = {"conv": conv(1, 1, 2), "pool": pool(2), "cuba": ("CubaLIF", {
        k: np.ones(1) for k in ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "w_in")}),
        "flat": ("Flatten", {"start_dim": 0, "end_dim": -1, "input_type": [1, 2, 2]}),
        "fc": ("Affine", {"weight": np.ones((2, 4)), "bias": np.zeros(2)}),
        "one": ("Conv1d", {"weight": np.ones((2, 2, 1)), "bias": np.zeros(2), "stride": [1],
                           "padding": [0], "dilation": [1], "groups": 1, "input_shape": 1}),
        "scale": ("Scale", {"scale": np.ones(2)}), "wait": ("Delay", {"delay": np.zeros(2)}),
        "fires": ("Threshold", {"threshold": np.ones(2)}), "lif": LIF,
    }  # fmt: skip
    whole = {**ends(2), "input": ("Input", {"shape": [1, 4, 4]}), **image}
    edges = list(itertools.pairwise(["input", *image, "output"]))
    for name, (kind, values) in whole.items():
        for key in values:
            changed = {**whole, name: (kind, {**values, key: VALUES[wrong]})}
            path = write(tmp_path / "a.nir", changed, edges)
            said = ""
            try:
                nir_io.read(path, CHOICE)
            except Snn2hwError as error:
                said = str(error)
            # What nobody foresaw is told with the name of its exception.
            assert "Error)." not in said, (name, key)
