"""The door to NIR, the Neuromorphic Intermediate Representation (Pedersen et al. 2024).

NIR has no time step, no reset rule and no input range, so they travel in the graph's metadata under
``snn2hw``; for a foreign file the caller supplies them, or they are guessed, aloud.
"""

from snn2hw.nir_io.read import FOR_LISTING, NOTHING, read
from snn2hw.nir_io.write import write
from snn2hw.nir_io.writers import WRITERS, Choice

__all__ = ["FOR_LISTING", "NOTHING", "WRITERS", "Choice", "read", "write"]
