"""HDF5 files, the container of NIR, Keras, vendors' networks and our own programs.

Reading happens in a process of its own, within limits: libhdf5 has never been safe with damaged
files (docs/decisions/0010). What arrives here is a tree of plain arrays and text.
"""

from snn2hw.hdf5.read import read_hdf5
from snn2hw.hdf5.tree import Foreign, Group, Item, described, numbers
from snn2hw.hdf5.write import Hdf5, new_hdf5

__all__ = ["Foreign", "Group", "Hdf5", "Item", "described", "new_hdf5", "numbers", "read_hdf5"]
