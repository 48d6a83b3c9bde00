# pyright: basic
"""What Sinabs' layers compute, read from the sources of 3.1.3.

``layers/functional/lif.py``: ``i = alpha_syn (i + x)`` (or ``x``), ``v = alpha_mem v + i``, where
``i`` counts ``1 - alpha_mem`` with ``norm_input``; ``IAF`` has ``alpha_mem = 1``. A spike for each
threshold that the membrane holds (``MultiSpike``), no more than a number (``MaxSpike``), or one at
or above it (``SingleSpike``); then the threshold of each is taken off, or ``v`` is set to
``reset_value``. At last ``v`` is at least ``min_v_mem``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape
from snn2hw.ir.network import Rules
from snn2hw.train.export import array
from snn2hw.train.modules.constants import each, lif, unsound
from snn2hw.train.modules.joining import Neurons
from snn2hw.train.modules.kinds import kind
from snn2hw.train.modules.tracing import Cannot


def neurons(m: Any, shape: Shape, dt: float, _notes: list[str], _name: str) -> Neurons:
    """Return what one of Sinabs' layers becomes; arguments as for ``of_snntorch.neurons``."""
    which = kind(m).removeprefix("sinabs.").removesuffix("Squeeze")
    keep = each(m.alpha_mem_calculated, shape)
    alpha = None if m.alpha_syn_calculated is None else each(m.alpha_syn_calculated, shape)
    gain = 1 - keep if m.norm_input else np.ones(())
    constants = lif(keep, gain if alpha is None else gain * alpha, alpha, dt)
    floor = None if m.min_v_mem is None else float(array(m.min_v_mem))
    if which == "ExpLeak":
        if floor is not None:
            raise Cannot(
                "holds its membrane above min_v_mem, which is what it answers: leave it out"
            )
        return Neurons(ir.Leaky(shape, **constants))
    threshold = each(m.spike_threshold, shape)
    spikes, most, why = _spikes(m.spike_fn)
    reset, start, wrong = _reset(m.reset_fn)
    why += wrong + unsound(threshold, "spike_threshold")
    if why:
        raise Cannot(" and ".join(why))
    none = np.array(start)
    node = ir.Lif(shape, v_threshold=threshold, v_reset=none, reset=reset, fires="at", **constants)
    rules = Rules(fires="at", spikes=spikes, v_min=floor, most=most, most_out=most)
    return Neurons(node, rules=rules)


def _spikes(function: Any) -> tuple[Any, int | None, list[str]]:
    name = getattr(function, "__name__", type(function).__name__)
    if name == "SingleSpike":
        return "one", None, []
    if name in ("MultiSpike", "MaxSpike"):
        return "many", getattr(function, "max_num_spikes_per_bin", None), []
    return "one", None, [f"spikes by {name}: use SingleSpike, MultiSpike or MaxSpike"]


def _reset(function: Any) -> tuple[ir.Reset, float, list[str]]:
    name = type(function).__name__
    if name == "MembraneReset":
        return "zero", float(function.reset_value), []
    if name == "MembraneSubtract" and function.subtract_value is None:
        return "subtract", 0.0, []
    return "zero", 0.0, ["resets by another value than its threshold: leave out subtract_value"]
