# pyright: basic
"""What an HDF5 file of NIR holds, as it stands, whatever version wrote it.

Read as a tree and not with ``nir.read``: nir 1.0.8 refuses what older versions wrote (no ``w_in``,
no ``input_shape``, edges that dangle), and every such file that is complete can be repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw.errors import InputError, listed
from snn2hw.hdf5 import Group, Item, described, read_hdf5
from snn2hw.ir.arrays import Edge

MOST_NODES = 20_000


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
    file = read_hdf5(path, "a NIR file")
    root = file.get("node")
    if not isinstance(root, Group):
        raise InputError(f"{path} is not a NIR file: it has no graph.")
    missing: list[str] = []
    graph = _graph(root, "", missing)
    if missing:
        raise InputError(
            f"{path} is incomplete: {listed(missing, '; ')}.",
            "It was not written to the end; write it again.",
        )
    version = _plain(file.get("version", "unknown"))
    return graph, version if isinstance(version, str) else "unknown"


def _graph(group: Group, place: str, missing: list[str]) -> StoredGraph:
    where = place.rstrip(".") or "the graph"
    stored = group.get("nodes")
    if not isinstance(stored, Group):
        missing.append(f"{where} has no nodes")
        stored = Group({}, {})
    if len(stored) > MOST_NODES:
        raise InputError(f"{where} has {len(stored)} nodes; more than {MOST_NODES} are refused.")
    nodes: dict[str, StoredNode | StoredGraph] = {}
    for name, node in stored.items():
        kind = _plain(node["type"]) if isinstance(node, Group) and "type" in node else None
        if not isinstance(node, Group) or kind is None:
            missing.append(f"{place}{name} has no type")
        elif isinstance(kind, str) and kind == "NIRGraph":
            nodes[name] = _graph(node, f"{place}{name}.", missing)
        elif isinstance(kind, str):
            nodes[name] = StoredNode(kind, _values(node))
        else:
            missing.append(f"{place}{name} has a type that {described(kind)} cannot name")
    metadata = group.get("metadata")
    return StoredGraph(
        nodes,
        _edges(group, where, missing),
        _values(metadata) if isinstance(metadata, Group) else {},
    )


def _edges(group: Group, where: str, missing: list[str]) -> tuple[Edge, ...]:
    stored = group.get("edges")
    if stored is None:
        missing.append(f"{where} has no edges")
        return ()
    if not isinstance(stored, np.ndarray) or (stored.size and stored.shape != (len(stored), 2)):
        missing.append(f"{where} has edges that are no pairs of names")
        return ()
    return tuple((str(a), str(b)) for a, b in stored.tolist())


def _values(group: Group) -> dict[str, Any]:
    return {
        name: _values(item) if isinstance(item, Group) else _plain(item)
        for name, item in group.items()
        if name not in ("type", "metadata")
    }


def _plain(item: Item) -> Any:
    """Take one text out of its array, as some writers store each text in one."""
    if isinstance(item, np.ndarray) and item.dtype.kind == "O" and item.size == 1:
        return item.item()
    return item
