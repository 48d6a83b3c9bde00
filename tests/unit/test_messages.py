"""What a person is told: on one line, nothing a terminal obeys, and short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn2hw.errors import LONGEST, InputError, listed, nearest, shortened, unknown_name, visible

texts = st.text(st.characters(), max_size=60)  # surrogates and control characters too


@given(texts)
def test_what_is_visible_can_be_printed_anywhere(text):
    shown = visible(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert visible(shown) == shown
    assert visible(f"a {text} b") == f"a {shown} b"


@given(texts, texts)
def test_different_names_look_different(one, two):
    if "\\" not in one + two:
        assert (visible(one) == visible(two)) == (one == two)


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nerror: b", "a\\nerror: b"),
        ("\r\x07\x9b", "\\r\\x07\\x9b"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2028\u2066\udcff", "\\u2028\\u2066\\udcff"),
        ("Größe 4 µJ × 中", "Größe 4 µJ × 中"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(hidden, shown):
    assert visible(hidden) == shown
    assert str(InputError(hidden, hidden)) == f"{shown} {shown}"


@given(st.integers(0, 5000), st.integers(100, 3000))
def test_a_shortened_text_says_how_much_is_missing(length, most):
    text = "x" * length
    short = shortened(text, most)
    assert len(short) <= most
    if length <= most:
        assert short == text
    else:
        kept, _, rest = short.partition("... (")
        assert len(kept) + int(rest.split()[0]) == length


@given(st.integers(0, 400), st.integers(1, 30))
def test_a_list_says_how_many_are_missing(count, size):
    items = [f"{i}".rjust(size, "n") for i in range(count)]
    shown = listed(items, "; ")
    parts = shown.split("; ") if shown else []
    if parts and parts[-1].startswith("... and "):
        more = int(parts.pop().split()[2].replace(",", ""))
        assert parts == items[: count - more]
        assert more > 0
    else:
        assert parts == items
    assert len(shown) <= 1530


@given(st.integers(0, 9000), st.integers(0, 9000))
def test_no_error_is_longer_than_the_limit(message, hint):
    error = InputError("m" * message, "h" * hint)
    assert len(f"error: {error}") <= LONGEST
    assert len(f"error: {error.message} {error.hint}") <= LONGEST


def test_an_unknown_name_lists_some_of_very_many():
    error = unknown_name("layer", "layer 7x", [f"layer {i}" for i in range(50_000)])
    assert "Did you mean 'layer 7'" in error.hint
    assert "... and 49,9" in error.hint
    assert len(str(error)) < LONGEST


@pytest.mark.parametrize("name", ["loihi2", "Loihi2", "LOIHI2", "LOIHI", "loihi_2"])
def test_the_nearest_name_is_found_in_any_case_of_letters(name):
    assert nearest(name, ["xylo-audio2", "Xylo-IMU", "loihi2"]) == "loihi2"
    assert nearest("XYLO-IMU", ["xylo-audio2", "Xylo-IMU", "loihi2"]) == "Xylo-IMU"
    assert nearest(name, ["zzz", "qqq"]) is None
    assert nearest(name, []) is None


def test_an_unknown_name_where_there_are_none():
    error = unknown_name("build", "a", [], "Run: snn2hw export")
    assert str(error) == "There is no build 'a'. Run: snn2hw export"
    error = unknown_name("build", "a", ["A", "b"], "Run: snn2hw export")
    assert error.hint == "Did you mean 'A'? Known: A, b. Run: snn2hw export"
