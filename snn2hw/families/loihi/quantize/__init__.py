"""Rounding a float network to a chip's integers: ``Network`` -> ``IntNetwork``.

Threshold, bias and all synapses into a population share one scale, integer units per float unit,
because the chip adds and compares them. The scale is the largest that keeps every number in its
bits and, summed over the worst input there can be, keeps the current from wrapping around: an
overflow cannot happen, whatever the data. A connection whose weights are smaller or larger than
its sisters' moves by a power of two (its exponent) to use its eight bits.

An integrator at the output (NIR's LI and I) has no threshold. One that forgets everything in each
step becomes a relay of sums (``Graded``), one that forgets nothing a running sum (``Sigma``); their
scale is limited by the weights' bits and by the size of a message.
"""

from snn2hw.families.loihi.quantize.abilities import refusals
from snn2hw.families.loihi.quantize.network import quantize

__all__ = ["quantize", "refusals"]
