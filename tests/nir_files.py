"""Writing NIR's HDF5 layout by hand, without nir's checks."""

from __future__ import annotations

import itertools

import h5py
import numpy as np

ONES = np.ones(3)


def write(path, nodes, edges, **extra):
    """Write nodes as they are, without nir's checks."""
    with h5py.File(path, "w") as file:
        file["version"] = "1.0.8"
        root = file.create_group("node")
        root["type"] = "NIRGraph"
        for name, (kind, values) in nodes.items():
            group = root.create_group(f"nodes/{name}")
            group["type"] = kind
            for key, value in values.items():
                group[key] = value
        root["edges"] = np.array(edges, dtype="S") if edges else np.zeros((0, 2), "S1")
        for key, value in extra.items():
            root[key] = value
    return path


def lif(**changed):
    values = {"tau": ONES * 2e-3, "r": ONES, "v_leak": 0 * ONES, "v_threshold": ONES,
              "v_reset": 0 * ONES}  # fmt: skip
    return ("LIF", values | changed)


def chain(**nodes):
    whole = {"input": ("Input", {"shape": [3]}), **nodes, "output": ("Output", {"shape": [3]})}
    names = list(whole)
    return whole, list(itertools.pairwise(names))
