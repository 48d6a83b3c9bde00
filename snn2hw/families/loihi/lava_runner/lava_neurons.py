"""Lava's own models of neurons, which also note what they do; and what is written into them."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv
from lava.proc.graded.models import PyGradedVecModelFixed
from lava.proc.graded.process import GradedVec
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.models import PyLifResetModelBitAcc
from lava.proc.lif.process import LIFReset
from lava.proc.rf.models import PyRFModelFixed
from lava.proc.rf.process import RF
from lava.proc.rf_iz.models import PyRF_IZModelFixed
from lava.proc.rf_iz.process import RF_IZ
from lava.proc.sdn.models import (
    PyDeltaModelFixed,
    PySigmaDeltaModelFixed,
    PySigmaModelFixed,
)
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta


class Recorded:
    """Writes two states and what was sent in each step to a file; Lava counts steps from 1."""

    shown = ()  # states, None for a 0

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.record = np.lib.format.open_memmap(proc_params["record"], mode="r+")
        path = proc_params.get("drive")
        self.drive = None if path is None else np.load(path, mmap_mode="r")
        self.tapped = False

    def run_spk(self):
        """Write what the host writes, run Lava's step, then note it."""
        if not self.tapped:
            self.tap(self.s_out.send)
        if self.drive is not None:
            self.bias_mant[...] = self.drive[self.time_step - 1].reshape(self.bias_mant.shape)
        super().run_spk()
        row = self.record[self.time_step - 1]
        for i, name in enumerate(self.shown):
            row[i] = np.ravel(getattr(self, name)) if name else 0
        row[2] = np.ravel(self.sent)

    def tap(self, send):
        """Keep what goes through the output port."""

        def keep_and_send(values):
            self.sent = values
            send(values)

        self.s_out.send, self.tapped = keep_and_send, True


def recorded(process, model, *shown):
    """Make Lava's own fixed-point model of a process, which also notes the two states named."""
    made = type("Recorded" + process.__name__, (Recorded, model), {"shown": shown})
    return tag("fixed_pt")(requires(CPU)(implements(process, LoihiProtocol)(made)))


RECORDED = {
    LIFReset: recorded(LIFReset, PyLifResetModelBitAcc, "u", "v"),
    Delta: recorded(Delta, PyDeltaModelFixed, "act", "residue"),
    SigmaDelta: recorded(SigmaDelta, PySigmaDeltaModelFixed, "sigma", "residue"),
    Sigma: recorded(Sigma, PySigmaModelFixed, "sigma", None),
    GradedVec: recorded(GradedVec, PyGradedVecModelFixed, None, "v"),
    RF: recorded(RF, PyRFModelFixed, "real", "imag"),
    RF_IZ: recorded(RF_IZ, PyRF_IZModelFixed, "real", "imag"),
}
# What a sample leaves behind; LIFReset clears itself.
STATES = ("sigma", "act", "residue", "error", "real", "imag")


def record_into(process, path, steps):
    """Give a neuron process its file."""
    size = int(np.prod(process.proc_params["shape"]))
    np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(steps, 3, size)).flush()
    process.proc_params["record"] = path


def stream(x, tail, period):
    """[N, T, ...] -> [..., N * period + tail]: samples back to back, zeros where there is none."""
    samples, steps = x.shape[:2]
    padded = np.zeros((samples, period, *x.shape[2:]), np.int32)
    padded[:, :steps] = x
    flat = padded.reshape((samples * period, *x.shape[2:]))
    flat = np.concatenate([flat, np.zeros((tail, *x.shape[2:]), np.int32)])
    return np.moveaxis(flat, 0, -1)


def drive(process, x, bias, path):
    """Write ``x [*shape, steps]`` into neurons: LIF's bias or a Delta's input."""
    if isinstance(process, Delta):
        Source(data=x).s_out.connect(process.a_in)
    else:
        np.save(path, np.moveaxis(x, -1, 0).reshape(x.shape[-1], -1) + bias)
        process.proc_params["drive"] = path


def clearing(neurons, connections):
    """Return the variables that a sample leaves something in, with zeros for them."""
    left = [getattr(n, k) for n in neurons for k in STATES if hasattr(n, k)]
    left += [c.a_buf if isinstance(c, Conv) else c.a_buff for c in connections]
    return [(var, np.zeros(var.shape, int)) for var in left]
