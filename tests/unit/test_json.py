"""JSON that is read is not trusted, and what is written any tool can read."""

from __future__ import annotations

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn2hw import fields
from snn2hw.errors import InputError
from snn2hw.files import LARGEST_JSON, json_text, json_value, read_json, write_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda x: st.lists(x) | st.dictionaries(TEXT, x),
)


def _no_nan(text):
    raise AssertionError(text)


@given(documents)
def test_every_document_is_json_and_comes_back_with_nulls_for_what_is_no_number(value):
    found = json.loads(json_text(value), parse_constant=_no_nan)
    assert json_value(json_text(value), "text") == found
    assert json_text(found) == json_text(value)


def test_a_document_is_indented_by_two_spaces_for_people():
    assert json_text({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}'
    assert json_text({"a": [1]}, None) == '{"a": [1]}'


def test_nan_and_infinity_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [math.inf, (1.5, -math.inf)]})
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [None, [1.5, None]]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b'{"a": NaN}', "is not JSON: NaN is no finite number"),
        (b'{"a": -Infinity}', "is not JSON: -Infinity is no finite number"),
        (b'{"a": 1e999}', "is not JSON: 1e999 is no finite number"),
        (b"[" * 100_000, "is not JSON: maximum recursion depth"),
        (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "is not JSON: it nests more than 50 deep"),
        (b'{"a": ' * 60 + b"1" + b"}" * 60, "is not JSON: it nests more than 50 deep"),
        (b'{"a": 1, "a": 2}', "is not JSON: an object has the same name twice"),
        (b'{"a": "\xff"}', "cannot|not a JSON document that snn2hw can read"),
        (rb'{"a": "\ud800"}', "is not JSON: .*surrogates not allowed"),
        (b"", "is not JSON: Expecting value"),
        (b"\0" * 99, "is not JSON"),
        (b"[]", r"holds \[\], not an object"),
        (b'"x"', "holds 'x', not an object"),
        (b'{"a": 1}', "a.json: a is 1, not a text"),
        (b"{}", "a.json: a is missing"),
        (b" " * (LARGEST_JSON + 1), "is larger than a JSON document has reason to be"),
    ],
)
def test_what_is_not_such_a_document_is_named(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_json(path, fields.table({"a": fields.text()}))
    assert "a.json" in str(caught.value)


@pytest.mark.parametrize(("left", "right"), ["[]", ('{"a":', "}")])
def test_documents_nest_fifty_deep_and_no_deeper(left, right):
    inner = "" if left == "[" else "{}"
    for deep in (50, 51):
        text = left * (deep - bool(inner)) + inner + right * (deep - bool(inner))
        if deep == 50:
            json_value(text, "a.json")
        else:
            with pytest.raises(InputError, match="nests more than 50 deep"):
                json_value(text, "a.json")


def test_a_folder_a_pipe_and_a_device_are_no_documents(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "zero"):
        if path.name == "zero":
            path.symlink_to("/dev/zero")
        with pytest.raises(InputError, match="not a JSON document"):
            read_json(path)
