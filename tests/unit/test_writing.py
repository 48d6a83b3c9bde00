"""Files are written whole or not at all, and JSON is read as it was written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from snn2hw import files
from snn2hw.errors import InputError


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("named", "base", "wanted"),
    [
        ("/a/cache", "/b", "/a/cache"),
        ("/a/cache", None, "/a/cache"),
        (None, "/b", "/b/snn2hw"),
        (None, None, "/home/me/.cache/snn2hw"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(monkeypatch, named, base, wanted):
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("SNN2HW_CACHE", named), ("XDG_CACHE_HOME", base)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert files.cache_folder() == Path(wanted)


def test_a_new_file_replaces_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "some" / "where" / "a.txt"
    for text in ("first", "second"):
        with files.new_file(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert names(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_failed_changes_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first")

    def fail():
        with files.new_file(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_a_new_folder_replaces_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "some" / "where" / "build"
    for name in ("one", "two"):
        with files.new_folder(path) as temporary:
            (temporary / name).mkdir()
            (temporary / name / "deep.txt").write_text(name)
        assert names(path) == [name]
        assert (path / name / "deep.txt").read_text() == name
    assert names(path.parent) == ["build"]
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_failed_changes_nothing(tmp_path, there):
    path = tmp_path / "build"
    if there:
        path.mkdir()
        (path / "kept.txt").write_text("kept")

    def fail():
        with files.new_folder(path) as temporary:
            (temporary / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == (["build"] if there else [])
    assert not there or names(path) == ["kept.txt"]


def test_json_is_read_as_written(tmp_path):
    value = {"b": [1, 2.5, None, "ü"], "a": {"nested": True}}
    path = tmp_path / "a.json"
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert list(files.read_json(path)) == ["b", "a"]
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n  "b": [\n    1,')
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing"),
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'"\xff"', "JSON"),
        (b"[" * 200_000, "JSON"),
        (b"[1]", "not an object"),
        (b'"text"', "not an object"),
    ],
)
def test_json_that_is_none_is_named(tmp_path, content, said):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json") as caught:
        files.read_json(path)
    assert said in str(caught.value)


def test_a_hash_is_that_of_the_bytes(tmp_path):
    content = np.random.default_rng(0).bytes(200_000)
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one.\ntwo"), "one"),
        (ValueError("one\ntwo."), "one"),
        (ValueError(""), "ValueError"),
        (KeyError("name"), "name"),
        (ValueError(' "quoted" '), '"quoted"'),
        (ValueError("'utf-8' can't decode 0x80"), "'utf-8' can't decode 0x80"),
        (TypeError("no '<=' between 'int' and 'dict'"), "no '<=' between 'int' and 'dict'"),
    ],
)
def test_what_others_errors_say_fits_a_line(error, line):
    assert files.first_line(error) == line
