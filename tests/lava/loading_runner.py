"""Runs a netx file as a user of lava-dl does. Executed by Lava's own Python 3.10.

    python loading_runner.py JOB.json

The job names ``net`` (model.net), ``arguments`` (of netx.hdf5.Network), ``inputs`` (npz with
``x [size, steps]``), ``output`` (npz to write, ``spikes [size, steps]``) and ``helper``, a
folder with a module that imports netx where there is no PyTorch.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main():
    """Run one job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    sys.path.insert(0, job["helper"])
    from lava_netx import netx_loader

    netx = netx_loader()
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    x = np.load(job["inputs"])["x"]
    network = netx.Network(job["net"], **job["arguments"])
    source, sink = Source(data=x), Sink(shape=network.out.shape, buffer=x.shape[-1])
    source.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    config = Loihi2SimCfg(select_tag="fixed_pt", select_sub_proc_model=True)
    network.run(condition=RunSteps(num_steps=x.shape[-1]), run_cfg=config)
    spikes = sink.data.get()
    network.stop()
    np.savez(job["output"], spikes=spikes)


if __name__ == "__main__":
    main()
