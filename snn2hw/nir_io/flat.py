# pyright: basic
"""From stored graphs to one flat graph: sub-graphs inlined, dangling edges and ends repaired."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from snn2hw.errors import listed
from snn2hw.ir.arrays import Edge
from snn2hw.nir_io.stored import StoredGraph, StoredNode

THROUGH = "\0through"  # no type of NIR's: the door of a sub-graph, which hands its input on
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
    subs = {k: n for k, n in graph.nodes.items() if isinstance(n, StoredGraph)}
    inputs, outputs = ({k: _ends(n, kind) for k, n in subs.items()} for kind in ("Input", "Output"))
    flat.problems += [
        *_unnamed([(b, a) for a, b in edges], inputs, "Inputs", place),
        *_unnamed(edges, outputs, "Outputs", place),
    ]
    for a, b in edges:
        starts = [f"{a}.{door}" for door in outputs[a]] if a in subs else [a]
        ends = [f"{b}.{door}" for door in inputs[b]] if b in subs else [b]
        # Where it has to name one, it is led to all: then shapes are known, and only it is off.
        if len(starts) * len(ends) <= MOST_JOINED:
            flat.connect((place + start, place + end) for start in starts for end in ends)
    doors = [f"{place}{k}.{door}" for k, some in inputs.items() for door in some]
    unfed = [door for door in doors if not flat.before(door)]
    if unfed:
        flat.problems.append(f"no edge leads to {listed(unfed)}, where a sub-graph has an Input")


def _ends(graph: StoredGraph, kind: str) -> list[str]:
    return [k for k, n in graph.nodes.items() if isinstance(n, StoredNode) and n.kind == kind]


def _unnamed(
    edges: Iterable[Edge], doors: Mapping[str, list[str]], kind: str, place: str
) -> list[str]:
    """Name the sub-graphs with several doors on a side to which an edge leads as a whole.

    NIR gives the Inputs and Outputs of a graph no order (nir 1.0.8, ``ir/graph.py``: its check of
    types is not implemented for several).

    Args:
        edges: pairs of a node and the one at its other end.
        doors: of each sub-graph, on the side of the first.
        kind: what these are.
        place: where the graph is.
    """
    others: dict[str, list[str]] = {}
    for name, other in edges:
        if len(doors.get(name, ())) > 1:
            others.setdefault(name, []).append(other)
    return [
        f"{place}{name} has several {kind} ({listed(doors[name])}), for which NIR has no order, so "
        f"the edges between it and {listed(found, ' and ')} must name one, as in "
        f"{name}.{doors[name][0]}"
        for name, found in others.items()
    ]


def _repair_edges(graph: StoredGraph, place: str, flat: Flat) -> list[Edge]:
    """Turn edges that name no node to the one they can only mean."""
    edges = list(dict.fromkeys(graph.edges))
    known = set(edges)
    ports = _ports(graph, edges)
    wrong = [f"{a} -> {b}" for a, b in edges if ports.get(a) == "Input" or ports.get(b) == "Output"]
    if wrong:
        flat.problems.append(
            f"edges of {place.rstrip('.') or 'the graph'} leave an Input of a sub-graph or lead to "
            f"an Output of one: {listed(wrong)}"
        )
    named = {name for edge in edges for name in edge}
    used = named | {port[: port.rindex(".")] for port in ports}
    unused = [
        name
        for name, node in graph.nodes.items()
        if name not in used and not (isinstance(node, StoredNode) and node.kind == "Input")
    ]
    leaves: dict[str, str] = {}  # where an edge that leaves a lost node starts
    enters: dict[str, str] = {}
    lost_for_good: set[str] = set()
    for lost in sorted(named - set(graph.nodes) - set(ports)):
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


def _ports(graph: StoredGraph, edges: Iterable[Edge]) -> dict[str, str]:
    """Return the names in edges that are those of a sub-graph's ends, and their kinds.

    Such a name is what the end is called once the sub-graph is inlined.
    """
    ends = {
        f"{name}.{end}": kind
        for name, node in graph.nodes.items()
        if isinstance(node, StoredGraph)
        for kind in ("Input", "Output")
        for end in _ends(node, kind)
    }
    named = {name for edge in edges for name in edge if name not in graph.nodes}
    return {name: ends[name] for name in named if name in ends}


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
