# pyright: basic
"""Constants of neurons, from what a module holds to what a node of the network does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from snn2hw.ir.arrays import Shape
from snn2hw.train.export import array
from snn2hw.train.modules.origins import Floats


def each(value: Any, shape: Shape) -> Floats:
    """Return a constant as one number, or as one for each neuron of a batch of this shape."""
    found = array(torch.as_tensor(value))
    return found.reshape(()) if found.size == 1 else np.broadcast_to(found, (1, *shape))[0]


def lif(keep: Floats, gain: Floats, alpha: Floats | None, dt: float) -> dict[str, Any]:
    """Return the fields of neurons that start at 0 and have no drift.

    One step is ``i = alpha i + x`` (or ``x``), ``v = keep v + gain i``; ``keep = 1`` never leaks.
    """
    whole = keep == 1
    tau = np.where(whole, np.inf, dt / np.where(whole, 1.0, 1 - keep))
    fields = {"tau": tau, "r": gain * np.where(whole, 1.0, tau) / dt, "v_leak": np.zeros(())}
    if alpha is not None:
        fields |= {"tau_synapse": dt / (1 - alpha), "w_in": 1 / (1 - alpha)}
    return fields


def unsound(threshold: Floats, what: str) -> list[str]:
    """Say what is wrong with a threshold."""
    return [] if (threshold > 0).all() else [f"needs a positive {what}"]
