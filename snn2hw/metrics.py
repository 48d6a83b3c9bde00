"""NeuroBench's metrics of a model and a workload, from what was counted here.

Definitions: Yik et al., The neurobench framework for benchmarking neuromorphic computing,
arXiv:2304.04640, and the package neurobench 2.3.0. A test compares with that package. Where ours
differ, and why, says docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.counts import synops
from snn2hw.ir.synapses import Synapses, fan_out, with_weight


class Link(NamedTuple):
    """Synapses from a population or input, by its name."""

    pre: str
    synapses: Synapses


@dataclass(frozen=True, slots=True)
class Metrics:
    """NeuroBench's metrics.

    Args:
        footprint: bytes of the parameters.
        connection_sparsity: share of the weights that are 0.
        activation_sparsity: share of the neurons' outputs that are 0, over steps and samples; None
            where no neuron spikes.
        effective_macs: products of a value that is not 0 with a weight that is not, for a sample,
            where what is sent may be other than 0, 1 and -1.
        effective_acs: the same where nothing else is sent: additions.
        dense: synaptic operations if no value and no weight were 0.
        accuracy: None without labels.
    """

    footprint: int
    connection_sparsity: float
    activation_sparsity: float | None
    effective_macs: float
    effective_acs: float
    dense: float
    accuracy: float | None

    def json(self) -> dict[str, Any]:
        """Return them by NeuroBench's names."""
        sparsity = self.activation_sparsity
        return {
            "footprint": self.footprint,
            "connection_sparsity": float(f"{self.connection_sparsity:.6g}"),
            "activation_sparsity": None if sparsity is None else float(f"{sparsity:.6g}"),
            "synaptic_operations": {
                "Effective_MACs": float(f"{self.effective_macs:.6g}"),
                "Effective_ACs": float(f"{self.effective_acs:.6g}"),
                "Dense": float(f"{self.dense:.6g}"),
            },
            "classification_accuracy": self.accuracy,
        }


def measured(
    links: Iterable[Link],
    active: Mapping[str, NDArray[Any]],
    neurons: Collection[str],
    graded: Collection[str],
    *,
    footprint: int,
    samples: int,
    steps: int,
    accuracy: float | None,
) -> Metrics:
    """Compute the metrics.

    Args:
        links: all synapses.
        active: of each input and population, how many values that are not 0 each of its elements
            sent over all samples and steps, ``[size]``; several spikes in a step are one value.
        neurons: the populations whose outputs are activations.
        graded: inputs and populations that may send other values than 0, 1 and -1, such as several
            spikes in a step.
        footprint: bytes of the parameters.
        samples: how many there were.
        steps: of a sample.
        accuracy: on these samples.
    """
    macs = acs = dense = 0.0
    weights = zeros = 0
    for pre, synapses in links:
        done = synops(active[pre], synapses)
        macs, acs = (macs + done, acs) if pre in graded else (macs, acs + done)
        dense += steps * float(fan_out(with_weight(synapses, np.ones_like(synapses.weight))).sum())
        weights += synapses.weight.size
        zeros += synapses.weight.size - int(np.count_nonzero(synapses.weight))
    outputs = samples * steps * sum(active[n].size for n in neurons)
    sent = sum(float(active[n].sum()) for n in neurons)
    sparsity = 1.0 - sent / outputs if outputs else None
    return Metrics(
        footprint=footprint,
        connection_sparsity=zeros / weights if weights else 0.0,
        activation_sparsity=sparsity,
        effective_macs=macs / samples,
        effective_acs=acs / samples,
        dense=dense,
        accuracy=accuracy,
    )
