# pyright: basic
"""What an HDF5 file of NIR holds, as it stands, whatever version wrote it.

Read with h5py and not with ``nir.read``: nir 1.0.8 refuses what older versions wrote (no ``w_in``,
no ``input_shape``, edges that dangle), and every such file that is complete can be repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snn2hw.errors import InputError
from snn2hw.hdf5 import Hdf5, open_hdf5
from snn2hw.ir.arrays import Edge

MOST_NODES = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class StoredNode:
    """A node: NIR's type name, and its arrays, numbers and texts by name."""

    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class StoredGraph:
    """A graph: nodes and sub-graphs by name, edges in stored order, metadata."""

    nodes: Mapping[str, StoredNode | StoredGraph]
    edges: tuple[Edge, ...]
    metadata: Mapping[str, Any]


def read_graph(path: Path) -> tuple[StoredGraph, str]:
    """Return the root graph and the version of nir that wrote it.

    Raises:
        InputError: says what is missing, all at once, or what is wrong with the file.
    """
    with open_hdf5(path, "a NIR file") as file:
        if "node" not in file:
            raise InputError(f"{path} is not a NIR file: it has no graph.")
        version = _plain(file["version"][()]) if "version" in file else "unknown"
        missing: list[str] = []
        graph = _graph(file["node"], "", missing)
        if missing:
            raise InputError(
                f"{path} is incomplete: {'; '.join(missing)}.",
                "It was not written to the end; write it again.",
            )
        return graph, str(version)


def _graph(group: Hdf5, place: str, missing: list[str]) -> StoredGraph:
    where = place.rstrip(".") or "the graph"
    for key, what in (("nodes", "nodes"), ("edges", "edges")):
        if key not in group:
            missing.append(f"{where} has no {what}")
    stored = dict(group["nodes"].items()) if "nodes" in group else {}
    if len(stored) > MOST_NODES:
        raise InputError(f"{where} has {len(stored)} nodes; more than {MOST_NODES} are refused.")
    nodes: dict[str, StoredNode | StoredGraph] = {}
    for name, node in stored.items():
        if "type" not in node:
            missing.append(f"{place}{name} has no type")
        elif _plain(node["type"][()]) == "NIRGraph":
            nodes[name] = _graph(node, f"{place}{name}.", missing)
        else:
            nodes[name] = StoredNode(str(_plain(node["type"][()])), _values(node))
    edges = group["edges"][()] if "edges" in group else ()
    metadata = _values(group["metadata"]) if "metadata" in group else {}
    return StoredGraph(nodes, tuple((_text(a), _text(b)) for a, b in edges), metadata)


def _values(group: Hdf5) -> dict[str, Any]:
    return {
        name: _values(item) if isinstance(item, h5py.Group) else _plain(item[()])
        for name, item in group.items()
        if name not in ("type", "metadata")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO" and value.size == 1:
        return _plain(value.reshape(-1)[0])
    return value


def _text(value: Any) -> str:
    return str(_plain(value))
