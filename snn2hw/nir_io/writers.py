"""What NIR leaves open and each framework settles in its own way: reset, threshold, spikes a step.

Read from the frameworks' own sources: Norse 1.1.0 (``functional/lif_box.py``,
``utils/import_nir.py``), snnTorch 1.0.0 (``import_nir.py``, ``_neurons/leaky.py``), Sinabs 3
(``activation/``, ``layers/iaf.py``, ``from_torch.py``, whose lowest membrane is -1 unless told
otherwise), SpikingJelly (``surrogate.heaviside``, ``neuron.LIFNode``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snn2hw.ir.network import Reset, Rules


@dataclass(frozen=True, slots=True)
class Writer:
    """A framework's reset rule, its other rules, and the step its NIR functions take, if fixed."""

    reset: Reset
    rules: Rules
    dt: float | None = None


WRITERS: Mapping[str, Writer] = {
    "nir": Writer("zero", Rules()),
    "norse": Writer("zero", Rules()),
    "snntorch": Writer("zero", Rules(), 1e-4),
    "sinabs": Writer("subtract", Rules(fires="at", spikes="many", v_min=-1.0)),
    "spikingjelly": Writer("zero", Rules(fires="at")),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the caller says about a file; None leaves it to the file, or to a guess."""

    dt: float | None = None
    time_steps: int | None = None
    reset: Reset | None = None
    written_by: str | None = None
    integration: str | None = None
    fires: str | None = None
    spikes: str | None = None
    v_min: float | None = None
    input_max: int | None = None
