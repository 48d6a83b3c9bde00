"""HDF5 files are read by a process of its own, within limits of their size."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from snn2hw.errors import InputError
from snn2hw.hdf5 import Foreign, Group, new_hdf5, numbers, read, read_hdf5, reader
from snn2hw.recordings import decoder

FIXTURES = Path(__file__).parents[1] / "fixtures"


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        read_hdf5(path, "a file")
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path):
    r = np.random.default_rng(0)
    arrays = {
        "floats": r.normal(size=(2, 3)).astype(">f4"), "ints": np.arange(4, dtype=np.int8),
        "flags": np.array([True, False]), "one": np.float64(2.5), "empty": np.zeros((0, 3)),
        "packed": np.arange(10_000).reshape(100, 100), "complex": np.array([1 + 2j]),
    }  # fmt: skip
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            how = {"compression": "gzip"} if name == "packed" else {}
            file.create_dataset(f"deep/er/{name}", data=value, **how)
        file["text"], file["texts"] = "häl\tlo", np.array([[b"a", b"bc"]], dtype="S2")
        file.create_dataset("many", data=["x" * i for i in range(3000)], dtype=h5py.string_dtype())
        file["structure"] = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
        file["nothing"] = h5py.Empty("f4")
        file["type"] = np.dtype("i4")
        file["deep"].attrs.update(name="n", shape=(1, 2), size=3)
    tree = read_hdf5(path, "a file")
    group = tree["deep"]["er"]
    assert isinstance(group, Group)
    assert list(group) == sorted(arrays)
    for name, value in arrays.items():
        assert group[name].shape == np.shape(value)
        assert (group[name] == value).all()
        assert not group[name].flags.writeable
    assert tree["text"] == "häl\tlo"
    assert tree["texts"].tolist() == [["a", "bc"]]
    assert [len(t) for t in tree["many"]] == list(range(3000))
    assert tree["deep"].attrs["name"] == "n"
    assert tree["deep"].attrs["shape"].tolist() == [1, 2]
    for name in ("structure", "nothing", "type"):
        assert isinstance(tree[name], Foreign)
    assert numbers(group["ints"]).dtype == np.float64
    for wrong in (tree["text"], tree["texts"], tree["structure"], group, group["complex"], None):
        with pytest.raises(ValueError, match="numbers belong"):
            numbers(wrong)


def test_the_reader_is_kept_and_replaced(tmp_path):
    with new_hdf5(tmp_path / "a.h5") as file:
        file["x"] = np.arange(3)
    read_hdf5(tmp_path / "a.h5", "a file")
    first = read._READER.process
    read_hdf5(tmp_path / "a.h5", "a file")
    assert read._READER.process is first
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n nonsense")
    assert "is not a file" in refusal(tmp_path / "b.h5")
    assert read_hdf5(tmp_path / "a.h5", "a file")["x"].tolist() == [0, 1, 2]
    assert read._READER.process is not first
    os.kill(read._READER.process.pid, signal.SIGKILL)
    read._READER.process.wait()
    assert read_hdf5(tmp_path / "a.h5", "a file")["x"].tolist() == [0, 1, 2]


def test_several_threads_read_at_once(tmp_path):
    for i in range(8):
        with new_hdf5(tmp_path / f"{i}.h5") as file:
            file["x"] = np.full(1000, i)
    found: dict[int, bool] = {}

    def look(i):
        found[i] = bool((read_hdf5(tmp_path / f"{i}.h5", "a file")["x"] == i).all())

    threads = [threading.Thread(target=look, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(8), True)


def test_an_endless_loop_in_the_library_ends(tmp_path):
    path = shutil.copy(FIXTURES / "heap_size_m16.nir", tmp_path / "a.nir")
    assert "did not come to an end" in refusal(path)


def test_groups_that_are_linked_twice(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:  # each level doubles the walk
        group = file.create_group("g")
        for _ in range(20):
            below = group.create_group("a")
            group["b"] = below
            group = below
    assert "links the group" in refusal(path)
    with h5py.File(path, "w") as file:
        file.create_group("g")["itself"] = file["/"]
    assert "links the group" in refusal(path)


def test_text_that_repeats(tmp_path):
    """A megabyte of references to one text would be 10 GB."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("many", (60_000,), h5py.string_dtype())
        file["many"][0] = "y" * 100_000
        file.flush()
    raw = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        at = file["many"].id.get_offset()
    raw[at : at + 16 * 60_000] = raw[at : at + 16] * 60_000
    path.write_bytes(raw)
    assert "bytes of text, with /many" in refusal(path)


def test_numbers_that_deflate_to_nothing_or_were_never_written(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        zeros = file.create_dataset("zeros", (1 << 26,), "i1", chunks=(1 << 20,), compression=9)
        zeros[:1000] = 1
    assert "values, with /zeros of shape (67108864,)" in refusal(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("never", (1 << 30,), "f8")
    assert "1,073,741,824 values for /never that were never written" in refusal(path)


def test_files_of_honest_size_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        weight = np.random.default_rng(0).integers(-99, 99, 1 << 22)
        file.create_dataset("w", data=weight * (np.arange(weight.size) % 10 == 0), compression=9)
    assert read_hdf5(path, "a file")["w"].size == 1 << 22


def test_depth_and_number_of_objects(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("/".join(["g"] * 40))
    assert "more than 32 deep" in refusal(path)
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(201):
            file.attrs[f"a{i}"] = np.zeros(5000)
    found = read_hdf5(path, "a file")
    assert len(found.attrs) == 201


@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / "a.h5"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    assert "a.h5" in refusal(path)


def test_names_that_are_no_text(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group(b"\xff\x1b[31m")
    assert list(read_hdf5(path, "a file")) == ["\\xff\x1b[31m"]


def under(limit, command, *arguments):
    """Run Python in a process whose address space is limited to so many bytes."""

    def lower():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments)],
        capture_output=True, text=True, check=False, preexec_fn=lower,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


READ = """
import sys
from pathlib import Path
from snn2hw.errors import Snn2hwError
from snn2hw.hdf5 import read_hdf5
for path in map(Path, sys.argv[1:]):
    try:
        print(read_hdf5(path, "a file")["x"].size)
    except Snn2hwError as error:
        print(error)
"""


def test_a_limit_of_memory_is_kept_and_told(tmp_path):
    """A file may be granted more than a process may take; the limit is named if that matters."""
    paths = [tmp_path / "small.h5", tmp_path / "large.h5", tmp_path / "small_again.h5"]
    for path, count in zip(paths, (3, 1 << 26, 3), strict=True):
        with h5py.File(path, "w") as file:
            file["x"] = np.ones(count, np.int8)
    assert under(8 << 30, READ, *paths).stdout.split() == ["3", str(1 << 26), "3"]
    with h5py.File(paths[1], "w") as file:
        file.create_dataset("x", data=np.ones(1 << 28, np.int8), compression=1, chunks=True)
        file["y"] = np.ones(1 << 26, np.int8)  # so large a file may ask for all of x
    first, told, again = under(400_000_000, READ, *paths).stdout.splitlines()
    assert first == again == "3"
    assert told == (
        f"{paths[1]} cannot be read: memory is limited to 400.0 MB here (ulimit -v), and it needs "
        "more. Raise the limit."
    )


SECONDS_LEFT = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_CPU, (50, 100))
script = runpy.run_path(sys.argv[1])
assert script["bound"](resource.RLIMIT_CPU, 70) == 50
assert resource.getrlimit(resource.RLIMIT_CPU) == (50, 100)
assert script["bound"](resource.RLIMIT_CPU, 40) is None
assert resource.getrlimit(resource.RLIMIT_CPU) == (40, 100)
assert script["bound"](resource.RLIMIT_CPU, 45) is None
assert resource.getrlimit(resource.RLIMIT_CPU) == (45, 100)
"""


@pytest.mark.parametrize("script", [reader.__file__, decoder.__file__])
def test_no_limit_is_raised_above_what_was_given(script):
    done = subprocess.run(
        [sys.executable, "-c", SECONDS_LEFT, script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
