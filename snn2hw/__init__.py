"""snn2hw: from a trained neural network to a spiking one on a chip, with proof and a bill.

The same verbs as on the command line::

    network = snn2hw.load("student.nir")          # or a PyTorch module
    build = snn2hw.build(network, "loihi2")
    build.simulate(x).accuracy(y)                 # x [N, T, *shape], y [N]
    build.verify(x)                               # against the vendor's simulator
    build.energy(x)                               # with the source of every price
    build.report("page.html")
    build.save("builds/mine")                     # snn2hw.open("builds/mine")

Importing this is cheap: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own, whose import would take longer than the rest of this
if TYPE_CHECKING:
    from typing import Any

    from snn2hw.errors import Snn2hwError
    from snn2hw.ir.target import Target
    from snn2hw.pipeline.api import (
        Built,
        Network,
        Proof,
        Simulation,
        Student,
        build,
        distill,
        energy,
        load,
        measure,
        prune,
        recording,
        refusals,
    )
    from snn2hw.pipeline.api import open_build as open  # noqa: A004

    __version__: str

_API = "snn2hw.pipeline.api"
_HOMES = {
    "Built": (_API, "Built"),
    "Network": (_API, "Network"),
    "Proof": (_API, "Proof"),
    "Simulation": (_API, "Simulation"),
    "Snn2hwError": ("snn2hw.errors", "Snn2hwError"),
    "Student": (_API, "Student"),
    "Target": ("snn2hw.target", "Target"),
    "build": (_API, "build"),
    "distill": (_API, "distill"),
    "energy": (_API, "energy"),
    "load": (_API, "load"),
    "measure": (_API, "measure"),
    "open": (_API, "open_build"),
    "prune": (_API, "prune"),
    "recording": (_API, "recording"),
    "refusals": (_API, "refusals"),
}

__all__ = [
    "Built", "Network", "Proof", "Simulation", "Snn2hwError", "Student", "Target", "build",
    "distill", "energy", "load", "measure", "open", "prune", "recording", "refusals",
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
