"""Sub-graphs of several Inputs and Outputs: their edges name one, or are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from nets import LOIHI2
from nir_files import write

from snn2hw import nir_io
from snn2hw.errors import InputError
from snn2hw.families.loihi import engine
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import floating

FIXTURES = Path(__file__).parents[1] / "fixtures"
CHOICE = nir_io.Choice(dt=1.0, time_steps=6, reset="zero")


def case(name):
    return nir_io.read(FIXTURES / f"{name}.nir", CHOICE)[0]


def test_ports_of_a_sub_graph_are_named():
    net = case("subgraph_named_ports")
    assert set(net.edges) >= {("a", "sub.w1"), ("b", "sub.w2"), ("sub.n1", "o1"), ("sub.n2", "o2")}
    x = {"a": np.ones((1, 6, 2), int), "b": np.zeros((1, 6, 3), int)}
    sent = floating.run(net, x).outputs
    assert sent["o1"].any()
    assert not sent["o2"].any()
    program = compile_network(net, LOIHI2)
    assert program.network.outputs == {"o1": "sub.n1", "o2": "sub.n2"}
    trace = engine.run(program, x)
    assert (trace.answer("o1").spikes == sent["o1"]).all()
    assert not trace.answer("o2").spikes.any()


def test_a_sub_graph_of_several_inputs_is_not_wired_by_guess():
    with pytest.raises(InputError) as caught:
        case("subgraph_two_inputs")
    assert caught.value.message.endswith(
        "cannot be read: sub has several Inputs (in1, in2), for which NIR has no order, so the "
        "edges between it and a and b must name one, as in sub.in1."
    )


def lif():
    return "LIF", {k: np.ones(2) for k in ("r", "tau", "v_leak", "v_threshold", "v_reset")}


def sub_graph(tmp_path, edges):
    """Read a file with a sub-graph of two Inputs and two Outputs."""
    two, ends = {"shape": [2]}, {"in1": "Input", "in2": "Input", "out1": "Output", "out2": "Output"}
    whole = {"a": ("Input", two), "b": ("Input", two), "n": lif(), "o": ("Output", two)}
    path = write(tmp_path / "sub.nir", whole, [*edges, ("n", "o")])
    with h5py.File(path, "a") as file:
        sub = file.create_group("node/nodes/sub")
        sub["type"] = "NIRGraph"
        for name, kind in ends.items():
            sub[f"nodes/{name}/type"], sub[f"nodes/{name}/shape"] = kind, [2]
        sub["nodes/w/type"], sub["nodes/w/weight"] = "Linear", np.eye(2)
        inner = [("in1", "w"), ("in2", "w"), ("w", "out1"), ("in2", "out2")]
        sub["edges"] = np.array(inner, "S")
    return nir_io.read(path, CHOICE)[0]


RIGHT = [("a", "sub.in1"), ("b", "sub.in2"), ("sub.out1", "n")]


@pytest.mark.parametrize(
    ("edges", "said"),
    [([*RIGHT[:2], ("sub", "n")], r"sub has several Outputs \(out1, out2\)"),
     ([("a", "sub"), *RIGHT[1:]], r"several Inputs .* between it and a must name one"),
     ([("a", "sub.in1"), RIGHT[2]], r"no edge leads to sub\.in2, where a sub-graph has an Input"),
     ([*RIGHT, ("a", "sub.w")], r"edges name sub\.w, which does not exist"),
     ([*RIGHT, ("a", "sub.out2")], r"lead to an Output of one: a -> sub\.out2"),
     ([*RIGHT, ("sub.in1", "n")], r"leave an Input of a sub-graph .*: sub\.in1 -> n")],
)  # fmt: skip
def test_edges_that_a_sub_graph_does_not_have_are_named(tmp_path, edges, said):
    assert sub_graph(tmp_path, RIGHT).edges
    with pytest.raises(InputError, match=said):
        sub_graph(tmp_path, edges)
