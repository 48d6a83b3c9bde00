# pyright: basic
"""What Norse's cells compute, read from the sources of Norse 1.1.0.

``functional/lif_box.py``, ``lif.py``, ``iaf.py``, ``leaky_integrator.py``: a cell starts at
``v_leak`` (IAF: at ``v_reset``), so its membrane is measured from there. Recurrent cells have the
weights of their input, and hear their own spikes of the step before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape
from snn2hw.train.export import array
from snn2hw.train.modules.constants import each, lif, unsound
from snn2hw.train.modules.joining import Neurons
from snn2hw.train.modules.kinds import kind
from snn2hw.train.modules.origins import Floats
from snn2hw.train.modules.tracing import Cannot

_HEAVISIDE = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")


def neurons(m: Any, shape: Shape, dt: float, _notes: list[str], _name: str) -> Neurons:
    """Return what one of Norse's modules becomes; arguments as for ``of_snntorch.neurons``."""
    which, p = kind(m).removeprefix("norse.").removesuffix("Cell"), m.p
    if which in ("LI", "LIBox"):
        return Neurons(_integrators(m, which, shape, dt))
    integrates = which == "IAF"
    origin = each(p.v_reset if integrates else p.v_leak, shape)
    threshold = each(p.v_th, shape) - origin
    rule = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    rates, why = _rates(m, which, shape)
    why += unsound(threshold, f"v_th above {'v_reset' if integrates else 'v_leak'}")
    if rule == "reset_subtract" and origin.any():
        why.append(
            "takes v_th off a membrane that rests at another v_leak than 0, where a network takes "
            "off what lies between the two: set v_leak to 0, or take reset_value"
        )
    if rule not in ("reset_value", "reset_subtract"):
        why.append("resets by a function of its own: use reset_value or reset_subtract")
    if p.method not in _HEAVISIDE:
        why.append(f"spikes by method {p.method!r}: use one of {', '.join(_HEAVISIDE)}")
    if why:
        raise Cannot(" and ".join(why))
    node = ir.Lif(
        shape,
        v_threshold=threshold,
        v_reset=each(p.v_reset, shape) - origin,
        reset="zero" if rule == "reset_value" else "subtract",
        **_fields(rates, dt),
    )
    if not which.endswith("Recurrent"):
        return Neurons(node)
    into, back = array(m.input_weights), array(m.recurrent_weights)
    none = np.zeros(len(back))
    return Neurons(node, into=ir.Affine(into, none), recurrent=ir.Affine(back, none))


def _rates(m: Any, which: str, shape: Shape) -> tuple[dict[str, Floats], list[str]]:
    """Return what a step takes of membrane and current, and what is wrong with it."""
    names = {"IAF": [], "LIFBox": ["tau_mem_inv"], "LIBox": ["tau_mem_inv"]}
    wanted = names.get(which, ["tau_mem_inv", "tau_syn_inv"])
    rates = {name: float(m.dt) * each(getattr(m.p, name), shape) for name in wanted}
    why = [f"has {k} that is not positive: choose one" for k, v in rates.items() if (v <= 0).any()]
    return rates, why


def _fields(rates: dict[str, Floats], dt: float) -> dict[str, Any]:
    if not rates:
        return lif(np.ones(()), np.ones(()), None, dt)
    membrane = rates["tau_mem_inv"]
    fields: dict[str, Any] = {"tau": dt / membrane, "r": np.ones(()), "v_leak": np.zeros(())}
    if "tau_syn_inv" in rates:
        current = rates["tau_syn_inv"]
        fields |= {"tau_synapse": dt / current, "w_in": 1 / current}
    return fields


def _integrators(m: Any, which: str, shape: Shape, dt: float) -> ir.Leaky:
    rates, why = _rates(m, which, shape)
    if each(m.p.v_leak, shape).any():
        why.append("rests at another membrane than 0, which is what it answers: set v_leak to 0")
    if why:
        raise Cannot(" and ".join(why))
    return ir.Leaky(shape, **_fields(rates, dt))
