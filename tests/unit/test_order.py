"""Orders and loops of names along edges, against their definitions."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from snn2hw.ir.order import components, depth_first, looped

NAMES = list("abcdefg")
graphs = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=14)


def reaches(edges):
    """Which name reaches which, by a path of at least one edge."""
    found = set(edges)
    for middle, a, b in itertools.product(NAMES, repeat=3):
        if (a, middle) in found and (middle, b) in found:
            found.add((a, b))
    return found


@given(graphs)
def test_names_that_reach_each_other_stand_together_and_sources_first(edges):
    parts, paths = components(NAMES, edges), reaches(edges)
    assert sorted(itertools.chain(*parts)) == NAMES
    at = {name: i for i, part in enumerate(parts) for name in part}
    for a, b in itertools.permutations(NAMES, 2):
        assert (at[a] == at[b]) == ((a, b) in paths and (b, a) in paths)
        assert (a, b) not in paths or at[a] <= at[b]
    assert all(part == sorted(part) for part in parts)


@given(graphs)
def test_loops_are_names_that_reach_themselves(edges):
    paths = reaches(edges)
    assert looped(NAMES, edges) == [n for n in NAMES if (n, n) in paths]
    some = NAMES[:4]
    inner = reaches([(a, b) for a, b in edges if a in some and b in some])
    assert looped(some, edges) == [n for n in some if (n, n) in inner]


@given(graphs)
def test_a_walk_puts_sources_first_but_for_edges_that_close_loops(edges):
    after = {n: [b for a, b in edges if a == n] for n in NAMES}
    order, closing = depth_first(NAMES, after)
    assert sorted(order) == NAMES
    at = {name: i for i, name in enumerate(order)}
    kept = [e for e in edges if e not in closing]
    assert all(at[a] < at[b] for a, b in kept)
    assert bool(closing) == any((n, n) in reaches(edges) for n in NAMES)
