"""What a person is told: on one line, nothing a terminal obeys, and short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn2hw import errors
from snn2hw.errors import (
    LONGEST,
    InputError,
    counted,
    listed,
    named,
    nearest,
    shortened,
    sized,
    unknown_name,
    visible,
)

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


def test_numbers_of_things_and_bytes():
    assert [counted(n, "step") for n in (0, 1, 2, 2000)] == [
        "0 steps", "1 step", "2 steps", "2,000 steps"
    ]  # fmt: skip
    sizes = (0, 1, 999, 1000, 41_449_000, 2.5e9, 3e12, 1.5e15)
    assert [sized(n) for n in sizes] == [
        "0 bytes", "1 byte", "999 bytes", "1.0 kB", "41.4 MB", "2.5 GB", "3.0 TB", "1,500.0 TB"
    ]  # fmt: skip


def test_many_names_are_counted():
    assert named(["a", "b", "c", "d"], "nodes") == "a, b, c, d"
    names = [f"n{i}" for i in range(2500)]
    assert named(names, "populations") == "2,500 populations (n0, n1, ... n2499)"
    long = ["a" * 200, "b" * 200]
    assert named(long, "nodes") == ", ".join(long)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ImportError("x.so: failed to map segment from shared object")],
)
def test_a_package_without_memory_is_told_as_that(error, monkeypatch):
    monkeypatch.setattr(errors, "memory_limit", lambda: 700_000_000)
    told = errors.start_error(error)
    assert told.hint == (
        "There is too little memory for the packages: it is limited to 700.0 MB here (ulimit -v)."
    )
    monkeypatch.setattr(errors, "memory_limit", lambda: None)
    assert errors.start_error(error).hint == "There is too little memory for the packages."
    assert "environment variable" in errors.start_error(ValueError("x")).hint


def test_code_that_a_package_loads_late_is_told_like_its_import():
    error = ImportError("x.so: failed to map segment from shared object")
    assert errors.of_import(error) is not None
    assert errors.of_import(ImportError("no such name")) is None
