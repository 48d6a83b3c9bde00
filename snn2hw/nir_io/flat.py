# pyright: basic
"""From stored graphs to one flat graph: sub-graphs inlined, dangling edges and ends repaired."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from snn2hw.errors import listed
from snn2hw.ir.arrays import Edge
from snn2hw.nir_io.stored import StoredGraph, StoredNode

THROUGH = "\0through"  # no type of NIR's: the door of a sub-graph, which hands its input on
MOST_EDGES = 200_000
MOST_JOINED = 64  # a door of so many ways is taken away, one of more stays


class Note(NamedTuple):
    """Something that was repaired or assumed, about a node or (``""``) the whole file."""

    node: str
    text: str


@dataclass(slots=True)
class Flat:
    """Nodes by name, edges in both directions, what was repaired, and what could not be."""

    nodes: dict[str, StoredNode]
    into: dict[str, dict[str, None]] = field(default_factory=dict)
    out_of: dict[str, dict[str, None]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def edges(self) -> list[Edge]:
        """All edges."""
        return [(a, b) for a, targets in self.out_of.items() for b in targets]

    def before(self, name: str) -> list[str]:
        """Return the nodes with an edge into one."""
        return list(self.into.get(name, ()))

    def after(self, name: str) -> list[str]:
        """Return the nodes that one has an edge to."""
        return list(self.out_of.get(name, ()))

    def connect(self, edges: Iterable[Edge]) -> None:
        """Add edges; those that are there stay as they are."""
        for a, b in edges:
            self.out_of.setdefault(a, {})[b] = None
            self.into.setdefault(b, {})[a] = None

    def remove(self, name: str) -> None:
        """Take a node and its edges away."""
        del self.nodes[name]
        for a in self.into.pop(name, ()):
            self.out_of.get(a, {}).pop(name, None)
        for b in self.out_of.pop(name, ()):
            self.into.get(b, {}).pop(name, None)

    def note(self, text: str) -> None:
        """Say something about the whole file."""
        self.notes.append(Note("", text))


def flatten(graph: StoredGraph) -> Flat:
    """Inline every sub-graph and repair what can only be meant in one way."""
    flat = Flat({})
    _inline(graph, "", flat)
    if not flat.problems:
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
        if full in flat.nodes:
            flat.problems.append(f"two nodes are called {full}")
        if isinstance(node, StoredGraph):
            _inline(node, f"{full}.", flat)
        elif place and node.kind in ("Input", "Output"):
            flat.nodes[full] = StoredNode(THROUGH, {})
        else:
            flat.nodes[full] = node
    made = 0
    for a, b in edges:
        starts = doors[place + a][1] if place + a in doors else [place + a]
        ends = doors[place + b][0] if place + b in doors else [place + b]
        made += len(starts) * len(ends)
        if made > MOST_EDGES:
            flat.problems.append(f"its sub-graphs unfold to more than {MOST_EDGES:,} edges")
            return
        flat.connect((start, end) for start in starts for end in ends)


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
    known = set(edges)
    named = {name for edge in edges for name in edge}
    unused = [
        name
        for name, node in graph.nodes.items()
        if name not in named and not (isinstance(node, StoredNode) and node.kind == "Input")
    ]
    leaves: dict[str, str] = {}  # where an edge that leaves a lost node starts
    enters: dict[str, str] = {}
    lost_for_good: set[str] = set()
    for lost in sorted(named - set(graph.nodes)):
        doors = (f"{lost}.input", f"{lost}.output")
        if all(door in graph.nodes for door in doors):
            flat.note(
                f"edges name {place}{lost}, a sub-graph that was flattened away: "
                f"led through {doors[0]} and {doors[1]}"
            )
            if (lost, lost) in known:
                flat.note(f"the edge of {place}{lost} to itself was dropped with it")
                known.discard((lost, lost))
            enters[lost], leaves[lost] = doors
        elif len(unused) == 1:
            flat.note(
                f"edges name {place}{lost}, which does not exist; taken for {place}{unused[0]}, "
                "the only node without an edge"
            )
            enters[lost] = leaves[lost] = unused.pop()
        else:
            flat.problems.append(f"edges name {place}{lost}, which does not exist")
            lost_for_good.add(lost)
    return [
        (leaves.get(a, a), enters.get(b, b))
        for a, b in edges
        if (a, b) in known and a not in lost_for_good and b not in lost_for_good
    ]


def _close_doors(flat: Flat) -> None:
    """Take away doors of sub-graphs, flattened ones included, and join what they joined."""
    for name, node in list(flat.nodes.items()):
        before, after = flat.before(name), flat.after(name)
        inner = (node.kind == "Input" and before) or (node.kind == "Output" and after)
        if node.kind != THROUGH and not inner:
            continue
        many = min(len(before), len(after)) > 1 and len(before) * len(after) > MOST_JOINED
        # A second path between the same two would be lost among the edges.
        if many or any(b in flat.out_of.get(a, ()) for a in before for b in after):
            flat.nodes[name] = StoredNode(THROUGH, {})
            continue
        flat.remove(name)
        flat.connect((a, b) for a in before for b in after)


def _add_ends(flat: Flat) -> None:
    kinds = {node.kind for node in flat.nodes.values()}
    for kind, linked, other in (
        ("Input", flat.into, flat.out_of),
        ("Output", flat.out_of, flat.into),
    ):
        if kind in kinds:
            continue
        free = [n for n, node in flat.nodes.items() if not linked.get(n) and node.kind != kind]
        free = [n for n in free if other.get(n)] or free
        name = new_name(kind.lower(), flat.nodes)
        if not free:
            flat.problems.append(f"there is no {kind} node and no place for one")
            continue
        flat.nodes[name] = StoredNode(kind, {})
        flat.connect((name, n) if kind == "Input" else (n, name) for n in free)
        where = "before" if kind == "Input" else "after"
        flat.note(f"there was no {kind} node: added {where} {listed(free)}")


def new_name(wanted: str, taken: Container[str]) -> str:
    """Return a name that nobody has."""
    while wanted in taken:
        wanted += "_"
    return wanted
