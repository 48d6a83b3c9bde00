"""``spec.json`` by hand; what Rockpool makes of it is in ``tests/xylo/test_rockpool.py``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from xylo_nets import (
    AUDIO2,
    AUDIO3,
    CHIPS,
    dense,
    float_chain,
    hidden,
    network,
    program_of,
    random_program,
    readout,
)

from snn2hw.families.xylo import spec
from snn2hw.families.xylo.numbers import Numbers
from snn2hw.pipeline import builds
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model

ARGUMENTS = (
    "weights_in", "weights_out", "weights_rec", "dash_mem", "dash_mem_out", "dash_syn",
    "dash_syn_2", "dash_syn_out", "threshold", "threshold_out", "bias", "bias_out",
    "weight_shift_in", "weight_shift_rec", "weight_shift_out", "aliases", "dt",
)  # fmt: skip


def told(program, folder):
    spec.plan(program)(folder / "spec.json")
    return json.loads((folder / "spec.json").read_text())


def test_every_argument_by_hand(tmp_path):
    parts = [
        hidden("a", 2, threshold=[10, 20], bias=[1, -2], dash_mem=[3, 4], dash_syn=5, dash_syn2=6,
               alias=[1, -1]),
        hidden("b", 1, threshold=30, alias=2),
        readout("out", 2, threshold=[7, 8], bias=9, dash_mem=2, dash_syn=1),
    ]  # fmt: skip
    links = [
        dense("in", "a", [[1, 2, 3], [4, 5, 6]], exponent=1),
        dense("in", "a", [[0, 0, 7], [-8, 0, 0]], exponent=1, part="isyn2"),
        dense("a", "b", [[9, -10]], exponent=2),
        dense("b", "b", [[11]], exponent=2, delay=1),
        dense("b", "out", [[-127], [127]], exponent=3),
    ]
    assert told(program_of(network(parts, links)), tmp_path) == {
        "weights_in": [[[1, 0], [4, -8], [0, 0]], [[2, 0], [5, 0], [0, 0]],
                       [[3, 7], [6, 0], [0, 0]]],
        "weights_out": [[0, 0], [0, 0], [-127, 127]],
        "weights_rec": [[[0, 0], [0, 0], [9, 0]], [[0, 0], [0, 0], [-10, 0]],
                        [[0, 0], [0, 0], [11, 0]]],
        "dash_mem": [3, 4, 4],
        "dash_mem_out": [2, 2],
        "dash_syn": [5, 5, 2],
        "dash_syn_2": [6, 6, 0],
        "dash_syn_out": [1, 1],
        "threshold": [10, 20, 30],
        "threshold_out": [7, 8],
        "bias": [1, -2, 0],
        "bias_out": [9, 9],
        "weight_shift_in": 1,
        "weight_shift_rec": 2,
        "weight_shift_out": 3,
        "aliases": [[1], [], [2]],
        "dt": 1e-3,
    }  # fmt: skip


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_names_and_bytes(tmp_path, chip):
    assert tuple(told(random_program(4, chip), tmp_path)) == ARGUMENTS
    first = (tmp_path / "spec.json").read_bytes()
    told(random_program(4, chip), tmp_path)
    assert first == (tmp_path / "spec.json").read_bytes()
    assert first.count(b"\n") == len(ARGUMENTS) + 2


def test_only_what_inputs_and_readout_reach_is_told(tmp_path):
    """XyloAudio 3 holds input weights of the first 128 hidden neurons, readout's of the last."""
    one = np.ones((200, 100), int)
    parts = [hidden("a", 100), hidden("b", 200), hidden("c", 100), readout("out", 1)]
    links = [
        dense("in", "a", np.ones((100, 3), int)), dense("a", "b", np.eye(200, 100, dtype=int)),
        dense("b", "c", np.eye(100, 200, dtype=int)), dense("c", "out", one[:1] * 2),
    ]  # fmt: skip
    found = told(program_of(network(parts, links, numbers=AUDIO3.numbers), AUDIO3), tmp_path)
    n = AUDIO3.numbers.synapses
    assert np.shape(found["weights_in"]) == (3, 128, n)
    assert np.shape(found["weights_rec"]) == (400, 400, n)
    assert np.shape(found["weights_out"]) == (128, 1)
    assert [w for (w,) in found["weights_out"]] == [0] * 28 + [2] * 100
    assert np.array(found["weights_in"])[0, :, 0].tolist() == [1] * 100 + [0] * 28


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state_bits": 10, "weight_bits": 6, "shift_max": 2},
         "the chip's state_bits is 10, XyloSim's always 16"),
        ({"hidden_spikes": 3, "readout_spikes": 2},
         "the chip's hidden_spikes is 3, XyloSim's always 31; "
         "the chip's readout_spikes is 2, XyloSim's always 1"),
        ({"input_spikes": 16}, "the chip's input_spikes is 16, XyloSim's always 15"),
    ],
)  # fmt: skip
def test_what_no_argument_says_is_a_reason(changes, reason):
    parts = [hidden("h", 1), readout("out", 1)]
    links = [dense("in", "h", [[1]]), dense("h", "out", [[1]])]
    net = network(parts, links, 1, numbers=Numbers(**changes))
    assert spec.plan(program_of(net)) == reason
    assert callable(spec.plan(program_of(network(parts, links, 1, numbers=Numbers(input_spikes=3),
                                                 most=3))))  # fmt: skip


def test_without_hidden_neurons_there_is_none():
    assert spec.plan(program_of(network([readout("out", 1)], []))) == (
        "it has no hidden neurons, XyloSim needs one"
    )


def test_a_build_holds_it(tmp_path):
    r = np.random.default_rng(2)
    net = float_chain([r.normal(0, 0.3, (20, 16)), r.normal(0, 0.2, (5, 20))])
    build = export(Model("mine", net, {}), AUDIO2, tmp_path)
    assert build.vendor_file == tmp_path / "builds" / "mine-xylo-audio2" / "spec.json"
    found = json.loads(build.vendor_file.read_text())
    assert found == spec.specification(build.program)
    assert len(found["threshold"]) == 20
    assert builds.load_build("mine-xylo-audio2", tmp_path).vendor_file == build.vendor_file
