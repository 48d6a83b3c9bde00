# pyright: basic
"""From other people's PyTorch modules to a ``Network``: snnTorch, Norse, our own layers.

A module is run for a few steps and watched (``tracing``, ``watching``): every number of every
tensor has an identifier that says which signal it is, of which step and which sample (``origins``).
The same operation on the same signals is the same signal at the next step, which folds time
(``signals``, ``folding``); what is left becomes nodes and edges (``joining``). ``building`` is all
of it, from a module to a network.
"""

from snn2hw.train.modules.building import from_module
from snn2hw.train.modules.kinds import MAX_POOL, MaxPool

__all__ = ["MAX_POOL", "MaxPool", "from_module"]
