"""snn2hw: from a trained neural network to a spiking one on a chip, with proof and a bill.

The same verbs as on the command line::

    network = snn2hw.load("student.nir")
    build = snn2hw.build(network, target="loihi2")
    trace = build.simulate(x)          # x [N, T, *shape], integers
    report = snn2hw.energy(trace, "loihi2")

Importing this is cheap: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own, whose import would take longer than the rest of this
if TYPE_CHECKING:
    from typing import Any

    from snn2hw.errors import Snn2hwError
    from snn2hw.ir.network import Network
    from snn2hw.ir.target import Target
    from snn2hw.pipeline.api import Built, Simulation, build, distill, energy, load, measure

    __version__: str

_HOMES = {
    "Built": ("snn2hw.pipeline.api", "Built"),
    "Network": ("snn2hw.ir.network", "Network"),
    "Simulation": ("snn2hw.pipeline.api", "Simulation"),
    "Snn2hwError": ("snn2hw.errors", "Snn2hwError"),
    "Target": ("snn2hw.target", "Target"),
    "build": ("snn2hw.pipeline.api", "build"),
    "distill": ("snn2hw.pipeline.api", "distill"),
    "energy": ("snn2hw.pipeline.api", "energy"),
    "load": ("snn2hw.pipeline.api", "load"),
    "measure": ("snn2hw.pipeline.api", "measure"),
}

__all__ = [
    "Built", "Network", "Simulation", "Snn2hwError", "Target", "build", "distill", "energy",
    "load", "measure",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("snn2hw")
    if name not in _HOMES:
        raise AttributeError(f"module 'snn2hw' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
