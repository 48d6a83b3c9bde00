"""Files of other tools whose numbers are not what the tool computed with; right values are theirs.

``fixtures/networks``: made with snnTorch 1.0.0, Norse 1.1.0 and a loop of a few lines in NumPy.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
from nets import DT, lif

from snn2hw import nir_io
from snn2hw.errors import InputError, NetworkError
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Delay, Input, Lif, Output
from snn2hw.nir_io import Choice
from snn2hw.simulate import floating

FOLDER = Path(__file__).parents[1] / "fixtures" / "networks"


def opened(name, **choice):
    return nir_io.read(FOLDER / f"{name}.nir", Choice(**choice))


def ran(net, name):
    (port,) = net.inputs()
    with np.load(FOLDER / f"{name}_in.npz") as data:
        return floating.run(net, {port: data["x"]})


@pytest.mark.parametrize(
    ("name", "inputs", "choice", "note"),
    [
        ("norse_dt", "norse_dt", {"written_by": "norse", "dt": 1e-3}, "time constants divided by"),
        ("norse_dt", "norse_dt", {"dt": 1e-6}, ""),
        ("spyx_square", "spyx_square", {}, "all others of the file are transposed: so is this"),
        ("snntorch_leaky", "snntorch_leaky", {"written_by": "snntorch", "reset": "subtract-late"},
         ""),
        ("snntorch_beta1", "snntorch_beta1", {"written_by": "snntorch"}, "does not say how"),
        ("millivolts_rest", "millivolts", {"dt": 1e-3}, "membranes start at rest, v_leak = -0.065"),
    ],
)  # fmt: skip
def test_spikes_are_those_of_the_tool_that_wrote_the_file(name, inputs, choice, note):
    net, notes = opened(name, **choice)
    answer = ran(net, inputs).answer
    assert (answer == np.load(FOLDER / f"{name}_want.npy")).all()
    assert answer.any()
    assert any(note in said for said in notes) or not note


def test_a_recurrent_network_of_snntorch_loses_the_step_after_a_spike():
    """``RLeaky`` with its default; its neurons without a loop forget at once, which is the same."""
    net, _ = opened("rleaky", written_by="snntorch", reset="zero-late")
    assert {k: n.reset for k, n in net.neurons().items()} == {"1.lif": "zero-late", "3": "zero"}
    prediction = ran(net, "rleaky").prediction
    assert (prediction == np.load(FOLDER / "rleaky_want_prediction.npy")).all()


def test_zero_for_neurons_that_may_have_been_late_is_noted():
    _, notes = opened("rleaky", written_by="snntorch", reset="zero")
    assert any(n.startswith("1.lif: taken to reset at once") and "zero-late" in n for n in notes)
    for name, reset in (("rleaky", "zero-late"), ("snntorch_leaky", "zero")):
        assert not any("at once" in n for n in opened(name, written_by="snntorch", reset=reset)[1])


def test_what_nobody_said_about_resets_is_asked_for():
    _, notes = opened("snntorch_leaky", written_by="snntorch")
    (note,) = notes
    assert "does not say how neurons reset" in note
    for way in ("subtract-late", "zero-late", "subtract;"):
        assert f"--reset {way}" in note


def test_currents_exactly_at_the_threshold():
    net, _ = opened("tie", written_by="snntorch")
    x = np.eye(4)[:, None, :]  # one after another: each weight is the threshold, or not
    (first,) = (n for k, n in net.nodes.items() if k == "0")
    currents = x[:, 0] @ first.weight.T
    assert (currents == 1).any()
    assert (floating.run(net, {"input": x}).answer[:, 0] == (currents > 1)).all()


def test_a_time_constant_of_a_step_forgets_at_once():
    net, _ = opened("tau_is_dt_float32", dt=1e-4)
    for neuron in net.neurons().values():
        assert (coefficients(neuron, net.dt).keep_voltage == 0).all()


def test_time_constants_below_the_step_are_refused():
    with pytest.raises(
        InputError, match=r"below the time step of 0.001 s.* -99 .*written-by norse"
    ):
        opened("norse_dt", dt=1e-3)
    net, _ = opened("norse_dt", dt=1e-3, integration="exponential")
    assert net.rules.integration == "exponential"
    cell = lif((2,), tau=np.array([DT, 0.9 * DT]), r=np.ones(2))
    ends = {"in": Input((2,)), "cell": cell, "out": Output((2,))}
    with pytest.raises(NetworkError, match=r"cell has a time constant of 0.0009 s, below the"):
        Network(ends, (("in", "cell"), ("cell", "out")), DT)


def test_delays_of_no_whole_steps_are_said():
    _, notes = opened("delay_fraction", dt=1e-3)
    said = "d: delays are no whole number of steps: 2.5 is taken as 2, 0.4 is taken as 0"
    assert said in notes
    _, notes = opened("delay_fraction", dt=1e-4)
    assert not any("delays" in note for note in notes)


def written(path, *neurons, weight=None):
    """Write neurons in a row, three each, one after another behind identities."""
    nodes = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    edges, last = [], "input"
    for i, neuron in enumerate(neurons):
        nodes |= {f"w{i}": nir.Linear(np.eye(3) if weight is None else weight), f"n{i}": neuron}
        edges += [(last, f"w{i}"), (f"w{i}", f"n{i}")]
        last = f"n{i}"
    nir.write(path, nir.NIRGraph(nodes, [*edges, (last, "output")], type_check=False))
    return path


def test_what_spyx_writes_runs_as_there(tmp_path):
    """Its step compares the membrane of the step before (``nn.py``), and clips decays to 0..1.

    It writes ``tau = dt / (1 - beta)``, which is negative for a decay above 1, and ``r = beta``.
    """
    beta = np.array([0.5, 1.25, 1.0 - 2.0**-10])
    cells = [nir.LIF(tau=1 / (1 - beta), r=beta, v_leak=np.zeros(3), v_threshold=np.full(3, 0.75))
             for _ in range(2)]  # fmt: skip
    path = written(tmp_path / "spyx.nir", *cells)
    with pytest.raises(NetworkError, match=r"n0: tau must be positive.*--written-by spyx"):
        nir_io.read(path, Choice(dt=1.0))
    net, notes = nir_io.read(path, Choice(written_by="spyx"))
    assert sum(isinstance(n, Delay) for n in net.nodes.values()) == 2
    assert any("one step late" in note for note in notes)
    x = np.random.default_rng(0).integers(0, 2, (4, 12, 3))
    sent = x.astype(float)
    for _ in cells:
        v, out = np.zeros((4, 3)), np.zeros(sent.shape)
        for t in range(12):
            out[:, t] = v > 0.75
            v = np.clip(beta, 0, 1) * v + sent[:, t] - 0.75 * out[:, t]
        sent = out
    assert sent.any()
    assert (floating.run(net, {"input": x}).answer == sent).all()


def test_norses_currents_take_inputs_whole(tmp_path):
    """``functional/lif.py``: ``i = i + x`` then ``dv = dt tau_mem_inv (v_leak - v + i)``."""
    one = np.ones(3)
    cell = nir.CubaLIF(tau_mem=1e-5 * one, tau_syn=2e-5 * one, r=one, v_leak=0.25 * one,
                       v_threshold=one, w_in=one)  # fmt: skip
    path = written(tmp_path / "norse.nir", cell, weight=4.0 * np.eye(3))
    net, _ = nir_io.read(path, Choice(written_by="norse", dt=1e-3))
    x = np.random.default_rng(1).integers(0, 2, (5, 20, 3))
    v, i, wanted = np.full((5, 3), 0.25), np.zeros((5, 3)), np.zeros(x.shape)
    for t in range(20):
        i = i + 4.0 * x[:, t]
        v = v + 0.1 * (0.25 - v + i)
        wanted[:, t] = v > 1
        v = np.where(v > 1, 0.0, v)
        i = 0.95 * i
    assert wanted.any()
    trace = floating.run(net, {"input": x}, record=["n0"])
    assert (trace.answer == wanted).all()


@pytest.mark.parametrize("reset", ["zero", "subtract", "zero-late", "subtract-late"])
def test_resets_and_rules_of_populations_come_back(tmp_path, reset):
    nodes = {"in": Input((2,)), "a": lif((2,), reset=reset, fires="at"),
             "b": lif((2,), reset="zero"), "out": Output((2,))}  # fmt: skip
    net = Network(nodes, (("in", "a"), ("a", "b"), ("b", "out")), DT, 4)
    nir_io.write(tmp_path / "a.nir", net)
    back, notes = nir_io.read(tmp_path / "a.nir")
    assert not notes
    cells = {k: (n.reset, n.fires) for k, n in back.nodes.items() if isinstance(n, Lif)}
    assert cells == {"a": (reset, "at"), "b": ("zero", None)}
    (said, _) = nir_io.read(tmp_path / "a.nir", Choice(fires="above"))
    assert said.neurons()["a"].fires is None


def small(tmp_path, neurons, weight=4.0):
    nodes = {
        "input": nir.Input({"input": np.array([1])}),
        "w": nir.Linear(np.array([[weight]])),
        "n": neurons,
        "output": nir.Output({"output": np.array([1])}),
    }
    nir.write(
        tmp_path / "small.nir",
        nir.NIRGraph(nodes, [("input", "w"), ("w", "n"), ("n", "output")]),
    )
    return tmp_path / "small.nir"


def test_membranes_that_never_leak_start_where_a_spike_sets_them(tmp_path):
    """In millivolts: 15 above the reset, by steps of 4."""
    one = np.ones(1)
    path = small(tmp_path, nir.IF(r=one, v_threshold=-50 * one, v_reset=-65 * one))
    net, notes = nir_io.read(path, Choice(dt=1.0, reset="zero"))
    assert any("start where a spike sets them, v_reset = -65" in note for note in notes)
    answer = floating.run(net, {"input": np.ones((1, 9, 1), int)}).answer
    assert answer.ravel().tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 0]


def test_membranes_that_are_driven_above_a_threshold_below_zero(tmp_path):
    """They rise from -65 towards -45 by a half of what is left, and spike above -50."""
    one = np.ones(1)
    neurons = nir.LIF(
        tau=2 * one, r=one, v_leak=-45 * one, v_threshold=-50 * one, v_reset=-65 * one
    )
    net, _ = nir_io.read(small(tmp_path, neurons), Choice(dt=1.0, reset="zero"))
    v, wanted = -65.0, []
    for _ in range(9):
        v = 0.5 * v - 0.5 * 45
        wanted.append(float(v > -50))
        v = -65.0 if v > -50 else v
    answer = floating.run(net, {"input": np.zeros((1, 9, 1), int)}).answer
    assert answer.ravel().tolist() == wanted
    assert sum(wanted) == 3


@pytest.mark.parametrize(
    ("reset", "v_reset"), [("subtract", -65.0), ("zero", -45.0), ("zero-late", -65.0)]
)
def test_thresholds_below_zero_that_have_no_start_say_why(tmp_path, reset, v_reset):
    one = np.ones(1)
    path = small(tmp_path, nir.IF(r=one, v_threshold=-50 * one, v_reset=v_reset * one))
    with pytest.raises(InputError, match="n its threshold of -50 is not above 0, where its memb"):
        nir_io.read(path, Choice(dt=1.0, reset=reset))
