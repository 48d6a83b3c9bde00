"""Orders of names along edges, and the loops among them: what every network's graph is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

import numpy as np
import scipy

from snn2hw.ir.arrays import Edge


def depth_first(
    roots: Sequence[str], after: Mapping[str, Iterable[str]]
) -> tuple[list[str], frozenset[Edge]]:
    """Walk depth first from some names along edges.

    Args:
        roots: where walks start, one after another.
        after: the targets of each name's edges.

    Returns:
        What was met, sources before targets where no loop joins them; and the edges that lead back
        to where a walk came from, without which there is no loop.
    """
    done: list[str] = []
    state: dict[str, str] = {}
    closing: set[Edge] = set()
    for root in roots:
        if root in state:
            continue
        state[root] = "open"
        stack = [(root, iter(after[root]))]
        while stack:
            name, rest = stack[-1]
            for follower in rest:
                if state.get(follower) == "open":
                    closing.add((name, follower))
                elif follower not in state:
                    state[follower] = "open"
                    stack.append((follower, iter(after[follower])))
                    break
            else:
                state[name] = "done"
                done.append(name)
                stack.pop()
    return done[::-1], frozenset(closing)


def components(names: Sequence[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Return all names, those on common loops together, so that sources come first.

    These are the strongly connected components, each in the order of ``names``. Edges from or to
    other names are left out.
    """
    inner, part = _strong(names, edges)
    members: dict[int, list[str]] = {}
    for name, i in zip(names, part, strict=True):
        members.setdefault(i, []).append(name)
    order = TopologicalSorter[int]({i: () for i in members})
    for a, b in inner:
        if part[a] != part[b]:
            order.add(part[b], part[a])
    return [members[i] for i in order.static_order()]


def looped(names: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Return the names on loops that pass through none but these."""
    alone = {a for a, b in edges if a == b}
    _, part = _strong(names, edges)
    size = Counter(part)
    return [name for name, i in zip(names, part, strict=True) if size[i] > 1 or name in alone]


def _strong(names: Sequence[str], edges: Iterable[Edge]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the edges between names, by their places, and each name's strong component."""
    at = {name: i for i, name in enumerate(names)}
    inner = [(at[a], at[b]) for a, b in edges if a in at and b in at]
    rows, columns = zip(*inner, strict=True) if inner else ((), ())
    size = (len(names), len(names))
    graph = scipy.sparse.csr_array((np.ones(len(inner)), (rows, columns)), size)
    _, part = scipy.sparse.csgraph.connected_components(graph, connection="strong")
    return inner, part.tolist()
