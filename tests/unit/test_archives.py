"""NumPy's files: what NumPy writes comes back, and what a file declares is not believed."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from snn2hw import archives
from snn2hw.archives import read_npy, read_npz, write_npz
from snn2hw.errors import InputError

numbers = arrays.arrays(
    st.one_of(
        arrays.boolean_dtypes(),
        *(make(endianness="?") for make in (arrays.integer_dtypes, arrays.unsigned_integer_dtypes)),
        arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    ),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


@given(st.dictionaries(names, numbers, max_size=3), st.booleans(), st.none() | st.integers(1, 4))
def test_what_is_written_comes_back(folder, given_arrays, fortran, rows):
    path = folder / "a.npz"
    order = "F" if fortran else "C"
    write_npz(path, {k: np.asarray(v, order=order) for k, v in given_arrays.items()})
    with np.load(path, allow_pickle=False) as stored:
        assert set(stored.files) == set(given_arrays)
    found = read_npz(path, rows=rows)
    assert list(found) == list(given_arrays)
    for name, value in given_arrays.items():
        expected = value[:rows] if value.ndim else value
        assert np.array_equal(found[name], expected, equal_nan=value.dtype.kind == "f")
        assert found[name].dtype == value.dtype.newbyteorder("=")


@given(numbers)
def test_a_single_array_comes_back(folder, value):
    np.save(folder / "a.npy", value)
    found = read_npy(folder / "a.npy")
    assert np.array_equal(found, value, equal_nan=value.dtype.kind == "f")


@pytest.mark.parametrize("name", ["file", "args", "kwds", "allow_pickle", "self", "a/b", "x.npy"])
def test_any_name_can_be_written(tmp_path, name):
    write_npz(tmp_path / "a.npz", {name: np.arange(3)}, packed=False)
    assert read_npz(tmp_path / "a.npz", [name])[name].tolist() == [0, 1, 2]


def test_the_same_arrays_have_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, {"x": np.arange(99), "y": np.zeros(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def npy(shape="(4,)", descr="'<i8'", order="False", body=bytes(32), version=1, length=None):
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    size = struct.pack("<H" if version == 1 else "<I", len(header) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + body


BAD = {
    "no array": b"some text",
    "empty": b"",
    "version 9": npy(version=9),
    "half a header": npy()[:40],
    "header of 4 GiB": npy(version=2, length=2**32 - 1),
    "header of 12 kB": npy(descr="'" + "<" * 12_000 + "i8'"),
    "header that is code": npy(descr="__import__('os').abort()"),
    "header that nests": npy(shape="(" * 3000 + ")" * 3000),
    "header of one sign": npy(shape="-" * 9000 + "1"),
    "negative": npy(shape="(-4,)"),
    "negative twice": npy(shape="(-2, -2)"),
    "fractions": npy(shape="(4.0,)"),
    "names": npy(shape="('a',)"),
    "no tuple": npy(shape="4"),
    "huge": npy(shape="(4, 1152921504606846976)"),
    "of 5,000 digits": npy(shape=f"({'9' * 5000},)"),
    "wraps around to 4": npy(shape="(4, 4611686018427387905, 4)"),
    "none of many": npy(shape="(0, 1000000000000000000000)", body=b""),
    "100 dimensions": npy(shape=f"({'1, ' * 99}4)"),
    "more than there is": npy(shape="(5,)"),
    "less than there is": npy(shape="(3,)"),
    "objects": npy(descr="'|O'"),
    "structures": npy(descr="[('a', '<i4'), ('b', '<i4')]"),
    "parts": npy(descr="('<i4', (2,))"),
    "texts": npy(descr="'<U2'"),
    "bytes": npy(descr="'|S8'"),
    "nothing": npy(descr="'|V8'"),
    "dates": npy(descr="'<M8[s]'"),
    "times": npy(descr="'<m8[s]'"),
    "complex": npy(shape="(2,)", descr="'<c16'"),
    "long double": npy(shape="(2,)", descr="'<f16'"),
    "no type": npy(descr="'<i3'"),
    "type of a list": npy(descr="[]"),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_an_array_that_is_none_is_named(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz", ["x"])
    with pytest.raises(InputError, match=r"a\.npy"):
        read_npy(tmp_path / "a.npy")


def packed(how=zipfile.ZIP_STORED, **entries):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", how) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return bytearray(memory.getvalue())


def changed(at: bytes, offset: int, new: bytes):
    whole = packed(x=npy())
    start = whole.rindex(at) + offset
    whole[start : start + len(new)] = new
    return whole


def twice():
    whole = packed(x=npy(), z=npy())
    return whole.replace(b"z.npy", b"x.npy")


DIRECTORY, END = b"PK\1\2", b"PK\5\6"

BAD_ZIPS = {
    "text": b"x" * 200,
    "empty": b"",
    "cut short": packed(x=npy())[:-30],
    "directory only": packed(x=npy())[-90:],
    "the same name twice": twice(),
    "encrypted": changed(DIRECTORY, 8, b"\1"),
    "implode": changed(DIRECTORY, 10, b"\6"),
    "lzma": packed(zipfile.ZIP_LZMA, x=npy()),
    "bzip2": packed(zipfile.ZIP_BZIP2, x=npy()),
    "deflate that is none": changed(DIRECTORY, 10, b"\x08"),
    "wrong checksum": changed(DIRECTORY, 16, b"\0\0\0\0"),
    "unpacked size": changed(DIRECTORY, 24, b"\xfe\xff\xff\xff"),
    "a zip64 size without one": changed(DIRECTORY, 24, b"\xff\xff\xff\xff"),
    "starts before the file": changed(DIRECTORY, 42, b"\xff\xff\xff\x7f"),
    "directory before the file": changed(END, 16, b"\xff\xff\xff\x7f"),
    "directory of 2 GiB": changed(END, 12, b"\xff\xff\xff\x7f"),
}


@pytest.mark.parametrize("content", BAD_ZIPS.values(), ids=BAD_ZIPS)
def test_an_archive_that_is_none_is_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz", ["x"])


def test_a_directory_of_a_million_arrays_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "DIRECTORY", 1000)
    (tmp_path / "a.npz").write_bytes(packed(**{f"x{i}": npy() for i in range(30)}))
    with pytest.raises(InputError, match=r"a\.npz .*directory has 1\d{3} bytes"):
        read_npz(tmp_path / "a.npz", ["x1"])


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("pipe.npz", "no.npz", "."):
        with pytest.raises(InputError):
            read_npz(tmp_path / name, ["x"])


def test_a_file_that_unpacks_to_far_more_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALLOWANCE", 1 << 20)
    write_npz(tmp_path / "a.npz", dict.fromkeys("abcdef", np.zeros((4, 1 << 17), np.int8)))
    assert read_npz(tmp_path / "a.npz", ["a", "b"])["b"].shape == (4, 1 << 17)
    with pytest.raises(InputError, match=r"a\.npz unpacks to 3,145,728 bytes.*fewer samples"):
        read_npz(tmp_path / "a.npz")
    some = read_npz(tmp_path / "a.npz", rows=1)
    assert {x.shape for x in some.values()} == {(1, 1 << 17)}


def test_a_name_that_is_missing_is_told_with_those_that_are_there(tmp_path):
    write_npz(tmp_path / "a.npz", {"a": np.arange(3), "b": np.arange(3)})
    with pytest.raises(InputError, match=r"a\.npz lacks x, y; it has a, b\. Save x and y"):
        read_npz(tmp_path / "a.npz", ["x", "a", "y"], hint="Save x and y.")
    assert list(read_npz(tmp_path / "a.npz", ["b"], ["a", "c"])) == ["b", "a"]


@pytest.mark.parametrize("y", [np.arange(3), np.array(2), np.zeros((4, 1, 1))])
def test_arrays_of_the_same_samples_are_equally_long(tmp_path, y):
    write_npz(tmp_path / "a.npz", {"x": np.zeros((2, 2)), "y": y})
    with pytest.raises(InputError, match=r"different number of samples .*x \[2, 2\], y \["):
        read_npz(tmp_path / "a.npz", ["x", "y"], rows=1, paired=True)
