"""Rounding a float network to a Xylo's integers: ``Network`` -> ``IntNetwork``.

A Xylo adds a spike to the current before the current decays: ``I <- k (I + w)``, ``k`` what is kept
of it. So its current is ``k`` times the network's ``J <- k J + w``, and the weights are divided by
``k``. The rest is as in the network: the membrane decays, takes current and bias, spikes at the
threshold and loses it.

Threshold, bias and all synapses of one neuron share a scale of its own, integer units per
threshold. It is the largest that keeps each number in its bits. All weights from the inputs are
shifted alike, so are those between hidden neurons and those to the readout; the shifts are those
that lose least, and then as large as leaves a state room for all the thresholds that a neuron may
spend in a step, as decays are the finer the larger the numbers are.
"""

from snn2hw.families.xylo.quantize.abilities import refusals
from snn2hw.families.xylo.quantize.network import quantize

__all__ = ["quantize", "refusals"]
