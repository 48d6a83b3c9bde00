"""A Sinabs network converted to integrate-and-fire neurons, on DVS128 Gesture recordings."""

from __future__ import annotations

import itertools
import json

import numpy as np
from shared import DATA, needs_data

from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Lif, Output, Pool2d
from snn2hw.ir.nodes import output_shape as shape_of
from snn2hw.ir.synapses import Conv
from snn2hw.simulate import floating

NAME = "sinabs_dvs_gesture_cnn.npz"
# Number in the state dict: stride, padding, whether average pooling follows its neurons.
LAYERS = {"0": (2, 0, False), "2": (1, 1, True), "5": (1, 1, True), "8": (1, 1, True),
          "11": (1, 1, True), "14": (1, 1, True), "18": (1, 0, False)}  # fmt: skip


def network():
    """IF everywhere, threshold 1, as the manifest describes the conversion."""
    with np.load(DATA / "models" / "ann" / NAME) as stored:
        weight = {k.removesuffix(".weight"): stored[k] for k in stored.files}
    nodes = {"input": Input((2, 128, 128))}

    def add(name, node):
        nodes[name] = node
        return shape_of(node)

    def fire(name, shape):
        one, none = np.ones(()), np.zeros(())
        return add(f"if{name}", Lif(shape, np.array(np.inf), one, one, none, none, "subtract"))

    shape = (2, 128, 128)
    for name, (stride, padding, pools) in LAYERS.items():
        kernel = Conv(weight[name], shape, (stride, stride), (padding, padding))
        shape = fire(name, add(f"conv{name}", Conv2d(kernel, np.zeros(len(weight[name])))))
        if pools:
            shape = add(f"pool{name}", Pool2d(shape, (2, 2), (2, 2), (0, 0), average=True))
    add("flatten", Flatten(shape))
    for name in ("22", "24"):
        shape = fire(name, add(f"fc{name}", Affine(weight[name], np.zeros(len(weight[name])))))
    add("output", Output(shape))
    rules = Rules(fires="at", spikes="many", v_min=-1.0)
    return Network(nodes, tuple(itertools.pairwise(nodes)), 1.0, 145, rules)


def clips():
    """``[10, 145, 2, 128, 128]``: event counts in 10 ms."""
    with np.load(DATA / "events" / "dvs128-gesture" / "dvs_gesture_10clips.npz") as z:
        stored = {k: z[k] for k in z.files}
    frames = np.zeros((10, 145, 2, 128, 128), np.float32)
    for i in range(10):
        a, b = stored["start"][i : i + 2]
        step = np.cumsum(stored["dt"][a:b].astype(np.int64)) // 10_000
        inside = step < 145
        at = (step, *(stored[k][a:b] for k in "pyx"))
        np.add.at(frames[i], tuple(v[inside] for v in at), 1)
    return frames


@needs_data
def test_ten_gestures_are_told_as_sinabs_tells_them():
    for line in (DATA / "models" / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file"] == f"ann/{NAME}":
            expected = entry["expected"]
    trace = floating.run(network(), {"input": clips()})
    assert list(trace.prediction) == expected["predictions"]
    assert expected["correct_of_10_clips"] == 9
