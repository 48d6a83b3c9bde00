"""Checks of documents: what is right passes, whatever else there is gets named."""

from __future__ import annotations

import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn2hw import fields
from snn2hw.errors import InputError

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3),
)
CHECK = fields.table(
    {
        "n": fields.whole(1, 9),
        "x": fields.real(0, 1),
        "rows": fields.many(fields.table({"at": fields.many(fields.whole(), 2)}, closed=True)),
    },
    {"by": fields.named(fields.text()), "on": fields.flag, "kind": fields.maybe(fields.text("a"))},
)
RIGHT = {"n": 1, "x": 1, "rows": [{"at": [1, 2]}], "by": {"a": "b"}, "on": True, "kind": None}


def test_what_is_right_passes():
    fields.require(RIGHT, CHECK, "a file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 0}, r"n is 0, not a whole number from 1 to 9"),
        ({"n": True}, r"n is True, not a whole number"),
        ({"n": 1.0}, r"n is 1.0, not a whole number"),
        ({"n": 16**9999}, r"n is a number of 39997 bits, not"),
        ({"x": math.nan}, r"x is nan, not a number from 0 to 1"),
        ({"x": 10**400}, r"x is a number of 1329 bits, not a number"),
        ({"x": "1" * 999}, r"x is '1+\.\.\.1+', not a number"),
        ({"rows": {}}, r"rows is \{\}, not a list"),
        ({"rows": [{"at": [1]}]}, r"rows\[0\]\.at is \[1\], not a list of 2"),
        ({"rows": [{"at": [1, ""]}]}, r"rows\[0\]\.at\[1\] is '', not a whole number"),
        ({"rows": [{"at": [1, 2], "b": 1}]}, r"rows\[0\]\.b is unknown"),
        ({"rows": [3]}, r"rows\[0\] is 3, not an object"),
        ({"by": {"a": 1}}, r"by\.a is 1, not a text"),
        ({"by": []}, r"by is \[\], not an object"),
        ({"on": 1}, r"on is 1, not true or false"),
        ({"kind": "b"}, r"kind is 'b', not 'a'"),
        ({"n": date(2020, 1, 1)}, r"n is datetime\.date\(2020, 1, 1\), not"),
        ({"n": 0, "x": 2}, r"a file: n is .*; x is"),
    ],
)
def test_each_problem_is_named(change, said):
    with pytest.raises(InputError, match=said):
        fields.require(RIGHT | change, CHECK, "a file")


def test_what_is_missing_is_named_and_of_many_problems_the_first():
    with pytest.raises(InputError, match=r"a file: x is missing; rows is missing\."):
        fields.require({"n": 1}, CHECK, "a file")
    with pytest.raises(InputError, match=r"\[7\] is 0, not a text; and more\.$"):
        fields.require([0] * 100, fields.many(fields.text()), "a file")


@given(anything)
def test_no_value_whatsoever_makes_a_check_fail(value):
    for name in RIGHT:
        said = fields.listed(CHECK(RIGHT | {name: value}))
        assert len(said) < 1500
    fields.listed(CHECK(value))
