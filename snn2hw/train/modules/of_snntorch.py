# pyright: basic
"""What snnTorch's neurons compute, read from the sources of snnTorch 1.0.0.

``_neurons/leaky.py``, ``synaptic.py``: ``syn = alpha syn + x``, ``mem = beta mem + syn`` (or
``x``), a spike where ``mem > threshold``. Reset to zero: ``Leaky`` gives the same spikes with
``reset_delay`` or without, as a delayed reset comes before the next decay; a delayed one of the
others throws away the next step's input too. Reset by subtraction: a delayed one takes the
threshold away after the next decay; one without delay takes a membrane that still holds a threshold
for one that is yet to be reset, and misses a spike. ``rleaky.py``, ``rsynaptic.py``: the spikes of
the step before are added to the input, through ``recurrent``. ``lapicque.py``: ``beta = 1 -
time_step / (R C)``, the input counts ``time_step / C``, and every reset is delayed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape
from snn2hw.ir.synapses import Conv
from snn2hw.nir_io.writers import MISSED
from snn2hw.train.export import array, image, pair
from snn2hw.train.modules.as_made import ODD_SPIKES, fires
from snn2hw.train.modules.constants import each, lif, unsound
from snn2hw.train.modules.joining import Neurons
from snn2hw.train.modules.kinds import kind
from snn2hw.train.modules.origins import Floats
from snn2hw.train.modules.tracing import Cannot


def neurons(m: Any, shape: Shape, dt: float, notes: list[str], name: str) -> Neurons:
    """Return what one of snnTorch's modules becomes.

    Args:
        m: the module.
        shape: of its neurons.
        dt: seconds of a step.
        notes: to which what may differ is added.
        name: of the module.

    Raises:
        Cannot: says why there is no such node.
    """
    which = kind(m).removeprefix("snntorch.")
    if which == "Alpha":
        raise Cannot(
            "resets two currents of opposite sign, which no neuron of a chip has: use Synaptic"
        )
    keep, gain, alpha = _decays(m, which, shape)
    threshold = each(m.threshold, shape)
    spikes = fires(m.spike_grad)
    reset, why = _reset(m, which, keep)
    why += [text for wrong, text in (
        (m.inhibition, "inhibits its neighbours: leave out inhibition"),
        (m.state_quant, "quantizes its state: leave out state_quant"),
        (alpha is not None and (alpha == 1).any(),
         "has a current that never decays: choose alpha below 1"),
        (spikes is None, f"{ODD_SPIKES}those of snntorch.surrogate (which also has random ones)"),
        ((keep < 0).any(), "has a time step longer than R C: choose a shorter one"),
    ) if wrong]  # fmt: skip
    why += unsound(threshold, "threshold")
    if why:
        raise Cannot(" and ".join(why))
    factor = each(m.graded_spikes_factor, shape)
    recurrent = _recurrent(m, shape) if which.startswith("R") else None
    if spikes == "at" and reset is None:  # a Threshold spikes above
        threshold = np.nextafter(threshold, -np.inf)
    at = {"fires": "at"} if spikes == "at" and reset is not None else {}
    found = Neurons(
        _node(shape, lif(keep, gain, alpha, dt) | at, threshold, reset),
        threshold=threshold if reset is None else None,
        factor=None if (factor == 1).all() else factor,
        recurrent=recurrent if recurrent is None else _scaled(recurrent, factor),
    )
    if reset == "subtract" and not _is_late(m, which):
        notes.append(f"{name}: {MISSED}")
    return found


def _decays(m: Any, which: str, shape: Shape) -> tuple[Floats, Floats, Floats | None]:
    """Return what is kept of the membrane, what the input counts, and what is kept of a current."""
    if which == "Lapicque":
        step, r, c = (each(v, shape) for v in (m.time_step, m.R, m.C))
        return 1 - step / (r * c), step / c, None
    keep = np.clip(each(m.beta, shape), 0.0, 1.0)
    alpha = np.clip(each(m.alpha, shape), 0.0, 1.0) if "Synaptic" in which else None
    return keep, np.ones(()), alpha


def _node(
    shape: Shape, constants: dict[str, Any], threshold: Floats, reset: ir.Reset | None
) -> ir.Lif | ir.Leaky:
    if reset is None:
        return ir.Leaky(shape, **constants)
    none = np.zeros(())
    return ir.Lif(shape, v_threshold=threshold, v_reset=none, reset=reset, **constants)


def _reset(m: Any, which: str, keep: Floats) -> tuple[ir.Reset | None, list[str]]:
    """Return the rule of a reset, None for none, and what is wrong with it."""
    # The constructor chose what a step does; a reset_mechanism set later is ignored in part.
    name = getattr(m.state_function, "__name__", "")
    made = {"_base_sub": 0, "_base_zero": 1, "_base_int": 2}.get(name, -1)
    if getattr(m.state_function, "__func__", None) is not getattr(type(m), name, m):
        return None, ["has a state_function of its own, and only the class is known: leave it out"]
    known, now = dict(enumerate(("subtract", "zero", "none"))), int(m.reset_mechanism_val)
    if made != now:
        made_with, says = repr(known.get(made)), repr(known.get(now))
        return None, [
            f"was made with reset_mechanism={made_with} and now says {says} (a state dict that is "
            f"loaded brings its own): set its reset_mechanism to {made_with}, or make it anew with "
            f"{says}"
        ]
    if made == 2:
        return None, []
    late = _is_late(m, which)
    if made == 1:
        return ("zero-late" if late and which != "Leaky" else "zero"), []
    return ("subtract-late" if late and bool((keep < 1).any()) else "subtract"), []


def _is_late(m: Any, which: str) -> bool:
    return which == "Lapicque" or bool(getattr(m, "reset_delay", True))


def _recurrent(m: Any, shape: Shape) -> ir.Linear:
    """Return the map from a population's spikes to itself."""
    if not m.all_to_all:
        weight = np.broadcast_to(each(m.recurrent.V, shape), shape)
        return ir.Scale(weight)
    layer = m.recurrent
    bias = np.zeros(len(layer.weight)) if layer.bias is None else array(layer.bias)
    if m.linear_features:
        return ir.Affine(array(layer.weight), bias)
    padding = pair(layer.padding)
    return ir.Conv2d(Conv(array(layer.weight), image(shape), padding=padding), bias)


def _scaled(node: ir.Linear, factor: Floats) -> ir.Linear:
    """Let a map take spikes that count ``factor`` each."""
    if (factor == 1).all():
        return node
    if isinstance(node, ir.Affine):
        return ir.Affine(node.weight * factor, node.bias)
    if isinstance(node, ir.Scale):
        return ir.Scale(node.scale * factor)
    raise Cannot("scales spikes that a convolution brings back: leave out graded_spikes_factor")
