"""The order in which the fast simulator holds an image: the channels of a place side by side.

Outside, a population is in C order of its shape, channels first. Inside, ``[places, channels]``:
then what an event adds to the channels of a place is one run of memory. A population that no
convolution knows is one place, and so in the same order inside and outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.arrays import Shape
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.synapses import Conv


def channels(net: IntNetwork) -> dict[str, int]:
    """Return how many channels a place of each input and population has.

    Where two convolutions see different images in one population, the first is followed.
    """
    found: dict[str, int] = {}
    for c in net.connections:
        if isinstance(c.synapses, Conv):
            found.setdefault(c.pre, c.synapses.input_shape[0])
            found.setdefault(c.post, c.synapses.weight.shape[0])
    return {p.name: found.get(p.name, p.size) for p in (*net.inputs, *net.populations)}


def outer(size: int, channels: int) -> NDArray[np.int64]:
    """Return where each element of the inner order is in the outer one, ``[size]``."""
    return np.arange(size).reshape(channels, -1).T.reshape(-1)


def inward(x: NDArray[Any], channels: int, dtype: Any) -> NDArray[Any]:
    """Bring samples ``[N, T, *shape]`` to the inner order, ``[N, T, size]``."""
    flat = x.reshape(*x.shape[:2], channels, -1)
    inner = flat if 1 in flat.shape[2:] else flat.swapaxes(2, 3)
    if inner.dtype.itemsize == 1 == np.dtype(dtype).itemsize:
        inner = inner.view(dtype)
    return np.ascontiguousarray(inner, dtype).reshape(*x.shape[:2], -1)


def outward(x: NDArray[Any], channels: int, shape: Shape) -> NDArray[Any]:
    """Show what is held in the inner order ``[N, T, size]`` as ``[N, T, *shape]``, uncopied."""
    return x.reshape(*x.shape[:2], -1, channels).swapaxes(2, 3).reshape(*x.shape[:2], *shape)
