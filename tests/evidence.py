"""Small builds, what they did on samples, and a proof, for tests of reports and pages."""

from __future__ import annotations

import numpy as np
from nets import LOIHI2, images, tiny

from snn2hw.pipeline import builds
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Samples

PROOF = {
    "against": "lava 0.10.0", "samples": 20, "steps": 12, "sample_steps": 8,
    "compared": 1000, "mismatches": 0, "first": None, "program": "abc", "data": "digits",
    "paths": [{"through": "program.h5", "values": ["u", "v", "spikes"], "compared": 1000,
               "mismatches": 0}],
}  # fmt: skip


def made(tmp_path, net=None, name="mine"):
    return export(Model(name, net or tiny(), {}), LOIHI2, tmp_path)


def labelled(net, count, source="made up"):
    x = images(net, count)
    return Samples(x, np.arange(count) % 2, source)


def measured(build, count=8, source="made up"):
    return builds.measure(build, labelled(build.program.network, count, source))
