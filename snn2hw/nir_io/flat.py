# pyright: basic
"""From stored graphs to one flat graph: sub-graphs inlined, dangling edges and ends repaired."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from snn2hw.ir.arrays import Edge
from snn2hw.nir_io.stored import StoredGraph, StoredNode

THROUGH = "Through"  # not NIR's: the door of a sub-graph, which hands its input on


@dataclass(slots=True)
class Flat:
    """Nodes by name, edges, what was repaired, and what could not be."""

    nodes: dict[str, StoredNode]
    edges: list[Edge]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def before(self, name: str) -> list[str]:
        """Return the nodes with an edge into one."""
        return [a for a, b in self.edges if b == name]

    def after(self, name: str) -> list[str]:
        """Return the nodes that one has an edge to."""
        return [b for a, b in self.edges if a == name]


def flatten(graph: StoredGraph) -> Flat:
    """Inline every sub-graph and repair what can only be meant in one way."""
    flat = Flat({}, [])
    _inline(graph, "", flat)
    _close_doors(flat)
    _add_ends(flat)
    return flat


def _inline(graph: StoredGraph, place: str, flat: Flat) -> None:
    """Add a graph's nodes under ``place``; a sub-graph's ends become its doors."""
    edges = _repair_edges(graph, place, flat)
    doors = {
        f"{place}{name}": _ends(node, f"{place}{name}.")
        for name, node in graph.nodes.items()
        if isinstance(node, StoredGraph)
    }
    for name, node in graph.nodes.items():
        full = f"{place}{name}"
        if isinstance(node, StoredGraph):
            _inline(node, f"{full}.", flat)
        elif place and node.kind in ("Input", "Output"):
            flat.nodes[full] = StoredNode(THROUGH, {})
        else:
            flat.nodes[full] = node
    for a, b in edges:
        starts = doors[place + a][1] if place + a in doors else [place + a]
        ends = doors[place + b][0] if place + b in doors else [place + b]
        flat.edges += [(start, end) for start in starts for end in ends]


def _ends(graph: StoredGraph, place: str) -> tuple[list[str], list[str]]:
    def named(kind: str) -> list[str]:
        return [
            place + k
            for k, n in graph.nodes.items()
            if isinstance(n, StoredNode) and n.kind == kind
        ]

    return named("Input"), named("Output")


def _repair_edges(graph: StoredGraph, place: str, flat: Flat) -> list[Edge]:
    """Turn edges that name no node to the one they can only mean."""
    edges = list(dict.fromkeys(graph.edges))
    named = {name for edge in edges for name in edge}
    for lost in sorted(named - set(graph.nodes)):
        doors = (f"{lost}.input", f"{lost}.output")
        unused = [
            name
            for name, node in graph.nodes.items()
            if name not in named and not (isinstance(node, StoredNode) and node.kind == "Input")
        ]
        if all(door in graph.nodes for door in doors):
            flat.notes.append(
                f"edges name {place}{lost}, a sub-graph that was flattened away: "
                f"led through {doors[0]} and {doors[1]}"
            )
            if (lost, lost) in edges:
                flat.notes.append(f"the edge of {place}{lost} to itself was dropped with it")
            edges = [
                (doors[1] if a == lost else a, doors[0] if b == lost else b)
                for a, b in edges
                if (a, b) != (lost, lost)
            ]
        elif len(unused) == 1:
            flat.notes.append(
                f"edges name {place}{lost}, which does not exist; taken for {place}{unused[0]}, "
                "the only node without an edge"
            )
            meant = {lost: unused[0]}
            edges = [(meant.get(a, a), meant.get(b, b)) for a, b in edges]
            named = {name for edge in edges for name in edge}
        else:
            flat.problems.append(f"edges name {place}{lost}, which does not exist")
            edges = [e for e in edges if lost not in e]
    return edges


def _close_doors(flat: Flat) -> None:
    """Take away doors of sub-graphs, flattened ones included, and join what they joined."""
    for name, node in list(flat.nodes.items()):
        inner = node.kind == "Input" and flat.before(name)
        inner = inner or (node.kind == "Output" and flat.after(name))
        if node.kind != THROUGH and not inner:
            continue
        joined = [(a, b) for a in flat.before(name) for b in flat.after(name)]
        if set(joined) & set(flat.edges):
            flat.nodes[name] = StoredNode(THROUGH, {})  # a second path between the same two
            continue
        del flat.nodes[name]
        flat.edges = [e for e in flat.edges if name not in e] + list(dict.fromkeys(joined))


def _add_ends(flat: Flat) -> None:
    kinds = {node.kind for node in flat.nodes.values()}
    for kind, taken, other in (("Input", 1, 0), ("Output", 0, 1)):
        if kind in kinds:
            continue
        linked = {edge[taken] for edge in flat.edges}
        free = [n for n, node in flat.nodes.items() if n not in linked and node.kind != kind]
        free = [n for n in free if any(edge[other] == n for edge in flat.edges)] or free
        name = _new_name(kind.lower(), flat.nodes)
        if not free:
            flat.problems.append(f"there is no {kind} node and no place for one")
            continue
        flat.nodes[name] = StoredNode(kind, {})
        ends = [(name, n) if kind == "Input" else (n, name) for n in free]
        flat.edges += ends
        where = "before" if kind == "Input" else "after"
        flat.notes.append(f"there was no {kind} node: added {where} {', '.join(free)}")


def _new_name(wanted: str, taken: Iterable[str]) -> str:
    while wanted in set(taken):
        wanted += "_"
    return wanted
