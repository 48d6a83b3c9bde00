# pyright: basic
"""What SpikingJelly's neurons compute, read from the sources of 0.0.0.0.14.

``activation_based/neuron.py``: a spike where ``v >= v_threshold``. ``IFNode``: ``v = v + x``;
``LIFNode``: ``v = v + (x - (v - v_reset)) / tau``, or ``x`` undivided without ``decay_input``;
``ParametricLIFNode``: ``sigmoid(w)`` in the place of ``1 / tau``. A spike sets ``v`` to
``v_reset``, where it also starts, so it is measured from there; without a ``v_reset`` it takes the
threshold off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape
from snn2hw.train.export import array
from snn2hw.train.modules.as_made import ODD_SPIKES, fires
from snn2hw.train.modules.constants import lif, unsound
from snn2hw.train.modules.joining import Neurons
from snn2hw.train.modules.kinds import kind
from snn2hw.train.modules.tracing import Cannot


def neurons(m: Any, shape: Shape, dt: float, _notes: list[str], _name: str) -> Neurons:
    """Return what one of SpikingJelly's nodes becomes; arguments as for ``of_snntorch``."""
    which = kind(m).removeprefix("spikingjelly.")
    lost, gain = np.zeros(()), np.ones(())
    if which == "LIFNode":
        lost = np.array(1.0 / m.tau)
    elif which == "ParametricLIFNode":
        lost = array(m.w.sigmoid()).reshape(())
    if which != "IFNode" and m.decay_input:
        gain = lost
    origin = 0.0 if m.v_reset is None else m.v_reset
    threshold = np.array(m.v_threshold - origin)
    why = unsound(threshold, "v_threshold above v_reset")
    spikes = fires(m.surrogate_function)
    if spikes is None:
        why.append(f"{ODD_SPIKES}those of spikingjelly's surrogate with spiking=True")
    if why:
        raise Cannot(" and ".join(why))
    return Neurons(
        ir.Lif(
            shape,
            v_threshold=threshold,
            v_reset=np.zeros(()),
            reset="subtract" if m.v_reset is None else "zero",
            fires=spikes,
            **lif(1 - lost, gain, None, dt),
        )
    )
