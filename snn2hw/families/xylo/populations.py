"""Neurons of the Xylo family: one pool of hidden neurons, and the readout.

What each computes in a step is written out in ``definition.py``. All states start at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.arrays import frozen
from snn2hw.ir.populations import Neurons

NO_ALIAS = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Neurons(Neurons):
    """What both have; ``ir/populations.py`` says what ``clears`` and ``untold`` are.

    All arrays are ``[size]``. Only the host can set a neuron's states back.
    """

    untold: ClassVar[tuple[str, ...]] = (
        "threshold", "bias", "dash_mem", "dash_syn", "dash_syn2", "alias",
    )  # fmt: skip

    threshold: NDArray[np.int32]
    bias: NDArray[np.int32]
    dash_mem: NDArray[np.int32]
    dash_syn: NDArray[np.int32]

    def __post_init__(self) -> None:
        known: Any = self
        for field in fields(known):
            if field.name in self.untold:
                values = frozen(getattr(self, field.name), np.int32)
                object.__setattr__(self, field.name, values)
                if values.shape != (self.size,):
                    raise ValueError(
                        f"{self.name}: {field.name} {values.shape} for {self.size} neurons"
                    )


@dataclass(frozen=True, slots=True, eq=False)
class Hidden(_Neurons):
    """Leaky integrate-and-fire neurons that send as many spikes as the membrane holds thresholds.

    Each step a current takes its spikes, then loses ``2**-dash_syn`` of itself; the membrane loses
    ``2**-dash_mem`` of itself and takes the currents and ``bias``; every spike takes ``threshold``
    from it. What a neuron sends is also counted as sent by its ``alias``, a hidden neuron's id in
    the order of the network's populations; -1 is none. ``dash_syn2`` is that of a second current;
    it is 0 where the chip has none.
    """

    dash_syn2: NDArray[np.int32]
    alias: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Readout(_Neurons):
    """Neurons whose spikes are an output's: as ``Hidden``, with one current and no alias."""


Population = Hidden | Readout


KINDS: Mapping[str, type[Population]] = {k.__name__: k for k in get_args(Population)}
