"""The door to lava-dl's netx container (``.net``), which ``lava.lib.dl.netx.hdf5`` loads.

Layout, from lava-dl 0.6.0 (``netx/hdf5.py``, ``netx/blocks/process.py``, ``slayer/block/base.py``):
``layer/<i>`` with ``type`` and ``shape``; convolutions in PyTorch's orientation; weights as floats
that hold integers. Its loader knows chains of these, and so does this package:

* ``input``: a shape alone, or with a neuron whose bias (LIF) or input (SDNN) the host writes each
  step; ``weight`` and ``bias`` say how the host scales its data for that.
* ``conv``, ``dense``, ``dense_rec`` and ``flatten`` before a dense layer; delays on dense ones.
* neurons CUBA and LOIHI (Lava's LIF), SDNN (Lava's Delta, SigmaDelta, Sigma), RF_PHASE and
  RF_IZHIKEVICH behind a dense layer with complex weights (Lava's RF, RF_IZ).

pool, convT, unpool, average and concat can be written by slayer and are loaded by nobody.

**Time.** In netx, layer i hears layer i - 1 one step later. Where every neuron can be reset and no
spike waits, samples are pipelined through that, and here as there a sample's steps are counted from
each layer's own first one. netx cannot reset SDNN and RF neurons or spikes in flight. Networks
with those, with delays or with recurrence are read in netx's own time: all layers start at once,
each hop is a delay of 1, and a sample has to last until the output has seen it.

**Resonators.** sinDecay and cosDecay are taken as they stand in the file. lava-dl takes them
through a period and floating point, after which Lava holds one less on some machines only.

**Weights.** The loader moves a dense matrix into 8 bits with an exponent, which loses
nothing, but for some matrices without positive weights: those are refused (``weights.py``).
"""

from snn2hw.families.loihi.loading import loading
from snn2hw.families.loihi.netx.read import notes, read
from snn2hw.families.loihi.netx.write import plan

__all__ = ["loading", "notes", "plan", "read"]
