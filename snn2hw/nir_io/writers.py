"""What NIR leaves open and each framework settles in its own way: reset, threshold, spikes a step.

Read from the frameworks' own sources: Norse 1.1.0 (``functional/lif_box.py``,
``utils/import_nir.py``), snnTorch 1.0.0 (``import_nir.py``, ``_neurons/leaky.py``), Sinabs 3
(``activation/``, ``layers/iaf.py``, ``from_torch.py``, whose lowest membrane is -1 unless told
otherwise; ``layers/lif.py``, which decays by ``exp(-1 / tau)``), SpikingJelly
(``surrogate.heaviside``, ``neuron.LIFNode``), Spyx of July 2026 (``nn.py``, where a step compares
the membrane of the step before).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from snn2hw.ir.network import Rules
from snn2hw.ir.nodes import Reset


@dataclass(frozen=True, slots=True)
class Writer:
    """A framework's rules.

    Args:
        reset: what follows a spike, as the framework itself reads a NIR file.
        rules: the others.
        dt: the step its NIR functions take, if it is fixed.
        others: how neurons may reset that it wrote, which NIR does not say; "" if in one way only.
        unsaid: what else its files lack of neurons that are set to a value.
        late: a spike leaves its neuron one step after the membrane passed the threshold.
    """

    reset: Reset
    rules: Rules
    dt: float | None = None
    others: str = ""
    late: bool = False
    unsaid: tuple[str, ...] = ()


MISSED = (
    "where a membrane holds two thresholds or more, snnTorch misses a spike that this network gives"
)
WRITERS: Mapping[str, Writer] = {
    "nir": Writer("zero", Rules()),
    "norse": Writer(
        "zero",
        Rules(),
        others="--reset subtract for reset_method=reset_subtract",
        unsaid=(
            "Norse does not write v_reset, which is taken as 0: where it is another, load the "
            "module itself (snn2hw.load in Python)",
        ),
    ),
    "snntorch": Writer(
        "zero",
        Rules(),
        1e-4,
        "neurons made with its defaults subtract the threshold one step late, --reset "
        "subtract-late; with reset_delay=False, --reset subtract; RLeaky, Synaptic and RSynaptic "
        "with reset_mechanism='zero' and not reset_delay=False, --reset zero-late",
    ),
    "sinabs": Writer(
        "subtract",
        Rules(integration="exponential", fires="at", spikes="many", v_min=-1.0),
        others="--reset zero for reset_fn=MembraneReset; norm_input=False, which no option says: "
        "load the module itself",
    ),
    "spikingjelly": Writer("zero", Rules(fires="at"), others="--reset subtract for v_reset=None"),
    "spyx": Writer("subtract-late", Rules(), 1.0, late=True),
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
    input_scale: float | None = None
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None

    def given(self) -> dict[str, Any]:
        """Return what the caller says, as JSON holds it."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items() if v is not None}

    def over(self, recorded: Mapping[str, Any]) -> Choice:
        """Return what was said before, of which ``given`` is the record, where this says nothing.

        Args:
            recorded: may hold more, such as other options of a command.
        """
        names = {f.name for f in fields(self)}
        both = {k: v for k, v in {**recorded, **self.given()}.items() if k in names}
        return replace(self, **{k: tuple(v) if isinstance(v, list) else v for k, v in both.items()})
