"""Files are written whole or not at all; archives are read only if they are what they declare."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snn2hw import archives, files
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
        (b'"\xff"', "is not JSON"),
        (b"[" * 200_000, "JSON"),
        (b"[1]", "holds a list, not an object"),
        (b'"text"', "holds a str, not an object"),
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
        (ValueError(' "quoted" '), "quoted"),
    ],
)
def test_what_others_errors_say_fits_a_line(error, line):
    assert files.first_line(error) == line


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)


def npy(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version)
    return out.getvalue()


def test_arrays_are_read_whatever_the_version_of_their_header(tmp_path):
    found = {"one": np.arange(6.0).reshape(2, 3), "two": np.arange(4, dtype=np.int8)}
    for version in ((1, 0), (2, 0)):
        archive(tmp_path / "a.npz", **{k: npy(v, version) for k, v in found.items()})
        read = archives.read_npz(tmp_path / "a.npz")
        assert list(read) == list(found)
        for name, array in found.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)


def test_an_archive_may_unpack_to_its_limit_and_no_more(tmp_path):
    archive(tmp_path / "a.npz", one=b"0" * 700, two=b"0" * 300)
    archives.check_zip(tmp_path / "a.npz", 1000)
    with pytest.raises(InputError, match=r"a.npz unpacks to 1000 bytes"):
        archives.check_zip(tmp_path / "a.npz", 999)
    assert archives.LARGEST_ARCHIVE == 8 * 2**30


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_an_array_that_is_larger_than_its_bytes_is_refused(tmp_path, version):
    whole = npy(np.zeros(100, np.int64), version)
    for missing, fits in ((0, True), (len(whole) - 799, False), (8, False)):
        archive(tmp_path / "a.npz", x=whole[: len(whole) - missing])
        if fits:
            archives.read_npz(tmp_path / "a.npz")
            continue
        with pytest.raises(InputError, match=r"a.npz cannot be read as plain NumPy arrays"):
            archives.read_npz(tmp_path / "a.npz")
    archive(tmp_path / "a.npz", x=whole[: len(whole) - 400])
    with pytest.raises(InputError, match=r"x.npy declares 800 bytes, more than there are"):
        archives.read_npz(tmp_path / "a.npz")


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"x.npy declares objects"):
        archives.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nonsense", b"no"])
def test_what_is_no_archive_is_said(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a.npz cannot be read"):
        archives.read_npz(tmp_path / "a.npz")
