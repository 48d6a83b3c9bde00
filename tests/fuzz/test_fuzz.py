"""A few hundred damaged files of every family; and that the fuzzer finds what is there to find."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import multiprocessing
import os
import subprocess
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from fuzz import damage, kills, page, process, run, worker
from fuzz.damage import archives, documents, hdf5, octets, protobuf
from fuzz.families import FAMILIES, Case, make, seal
from fuzz.process import Limits
from fuzz.seeds import packed
from fuzz.seeds.teachers import branching, keras_model
from fuzz.verdicts import BAD, Outcome, Result
from nets import tiny

from snn2hw import nir_io

FILES = 110


def digests(seed):
    """Hash a few cases of each family, from valid files that this process makes."""
    return {
        (family, i): hashlib.sha256(
            repr(sorted(make(family, seed, i, worker.valid_files(family)).files.items())).encode()
        ).hexdigest()
        for family in FAMILIES
        for i in range(3)
    }


@pytest.mark.long
def test_files_of_every_family():
    """As many as half a minute allows; ``make fuzz`` takes 20,000.

    One test, as all of it needs the worker, which takes seconds to start.
    """
    counts = run.shares(FILES, list(FAMILIES))
    assert sum(counts.values()) == FILES
    assert min(counts.values()) >= 2
    with run.workers(1) as (worker_,):
        here = worker_.submit(digests, 1).result()
        assert here == elsewhere(digests, 1)
        other = worker_.submit(digests, 2).result()
        assert sum(other[k] != v for k, v in here.items()) > 30
        results = list(run.examine_all([worker_], run.schedule(counts), seed=1))
    assert len(results) == FILES
    assert [page.line(r) for r in results if r.worst.verdict in BAD] == []
    assert {r.worst.verdict for r in results} == {"fine", "refused"}


def test_a_case_that_cannot_be_made_is_replaced(monkeypatch):
    """The library that writes damaged HDF5 files may itself crash on them."""

    def crashing(*given):
        if given[-1] < 2:
            os.abort()
        return given

    valid = {"x": {"a": b""}}
    monkeypatch.setattr(worker, "valid_files", lambda _: valid)
    monkeypatch.setattr(worker, "make", crashing)
    assert worker.made("nir", 3, 7) == ("nir", 3, 7, valid, 2)
    monkeypatch.setattr(worker, "make", lambda *_: os.abort())
    with pytest.raises(RuntimeError, match="nir 7 cannot be made"):
        worker.made("nir", 3, 7)


def elsewhere(function, *arguments):
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as made:
        return made.submit(function, *arguments).result()


# Planted faults: what a command may do, and the verdict.


def hold(megabytes):
    """Allocate and touch memory."""
    return np.ones(megabytes << 17)


def print_and_exit(text, code=1, out=""):
    sys.stderr.write(text)
    sys.stdout.write(out)
    raise SystemExit(code)


def spin():
    while True:
        pass


def below(code):
    """Do something in a process of its own."""
    subprocess.run([sys.executable, "-c", code], check=False)


def resident():
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


FAULTS = {
    "bug KeyError": lambda: {}["weight"],
    "bug RecursionError": lambda: json.loads("[" * 100_000),
    "bug exit code 2": lambda: print_and_exit("Usage", 2),
    "bug exit code 1 without": lambda: print_and_exit("", 1),
    "crash SIGABRT": os.abort,
    "crash SIGSEGV": lambda: os.kill(os.getpid(), 11),
    "crash the process ended": lambda: os._exit(0),
    "large more than": lambda: hold(600),
    # A child counts where it is larger than the process that started it.
    "large ": lambda: below(f"x = bytearray(b'1') * {resident() + (700 << 20)}"),
    "slow 0.5 s of processor": spin,
    "slow 0.5 s of  processor": lambda: below("while True: pass"),
    "slow 1 s by": lambda: time.sleep(60),
    "slow 1 s  by": lambda: below("import time; time.sleep(60)"),
    "garbled several": lambda: print_and_exit("error: a\nerror: b\n"),
    "garbled a line": lambda: print_and_exit("error: " + "a" * 3000),
    "garbled control": lambda: print_and_exit("error: \x1b[31m"),
    "refused ": lambda: print_and_exit("error: a.nir is damaged."),
    "fine ": lambda: None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_gets_its_verdict(tmp_path, fault):
    slow = fault.startswith("slow")
    limits = Limits(cpu=0.5 if slow else 20, clock=1 if slow else 60, memory=500 << 20)
    began = time.monotonic()
    found = worker.run(["inspect"], tmp_path, "a.nir", limits, call=lambda _: FAULTS[fault]())
    assert f"{found.verdict} {found.kind}".startswith(fault.replace("  ", " ")), found
    assert found.named
    assert time.monotonic() - began < 50  # what sleeps was stopped


def test_a_refusal_without_the_files_name_is_noted(tmp_path):
    found = worker.run(
        ["inspect"], tmp_path, "a.nir", Limits(), lambda _: print_and_exit("error: it is damaged.")
    )
    assert (found.verdict, found.named) == ("refused", False)


def test_no_process_is_left_of_what_was_stopped(tmp_path):
    def start(_):
        child = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
        below(child)

    worker.run(["inspect"], tmp_path, "a", Limits(clock=4), start)
    pid = int((tmp_path / "pid").read_text())
    assert process.below(pid) == [pid]
    assert process.cpu_seconds(pid) == 0 or process.stat(pid)[0] == "Z"


@pytest.mark.parametrize(
    ("out", "verdict"), [("{}", "fine"), ('{"a": NaN}', "bug"), ("", "bug"), ("{} {}", "bug")]
)
def test_json_is_read_strictly(tmp_path, out, verdict):
    found = worker.run(
        ["inspect", "--json"], tmp_path, "a", Limits(), lambda _: print_and_exit("", 0, out)
    )
    assert found.verdict == verdict


@pytest.fixture
def case(tmp_path):
    nir_io.write(tmp_path / "a.nir", tiny())
    files = {"a.nir": (tmp_path / "a.nir").read_bytes()}
    return Case("nir", 0, files, "a.nir", "tiny", (("inspect", "a.nir"),))


def test_a_fault_of_a_reader_is_found_through_the_command_line(case, monkeypatch):
    assert worker.run_case(case).worst.verdict == "fine"

    def read(*_args, **_more):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(nir_io, "read", read)
    found = worker.run_case(case).worst
    assert (found.verdict, found.kind) == ("bug", "ZeroDivisionError")
    assert found.place.startswith("snn2hw/pipeline/loading.py:")
    monkeypatch.setattr(nir_io, "read", lambda *_args, **_more: hold(900))
    found = worker.run_case(case, Limits(memory=500 << 20)).worst
    assert found.verdict == "large"
    assert found.place.startswith("snn2hw/pipeline/loading.py:")


def test_a_chain_ends_where_it_is_refused(case):
    commands = (("inspect", "no.nir"), ("inspect", "a.nir"))
    result = worker.run_case(Case("nir", 0, case.files, "a.nir", "", commands))
    assert [o.verdict for o in result.outcomes] == ["refused"]


def nir_bytes(tmp_path):
    nir_io.write(tmp_path / "a.nir", tiny())
    return (tmp_path / "a.nir").read_bytes()


def test_every_kind_of_damage_to_hdf5_can_be_done(tmp_path):
    data = keras_model(tmp_path / "k.h5", graph=True), nir_bytes(tmp_path)
    for kind in set(hdf5.KINDS):
        said = ""
        for i in range(200):
            with h5py.File(io.BytesIO(data[i % 2]), "r+") as file:
                try:
                    said = said or kind(file, Random(i))
                except hdf5.IMPOSSIBLE:
                    continue
            if said:
                break
        assert said, kind.__name__


def test_repeated_text_is_read_as_often_as_said(tmp_path):
    data = nir_bytes(tmp_path)
    changed, said = hdf5.repeated_text(data, Random(3))
    with h5py.File(io.BytesIO(changed)) as file:
        dataset = file[said.split()[0]]
        flat = dataset if dataset.ndim == 1 else dataset[:, 0]
        first, last = flat[0], flat[-1]
    assert first == last
    assert len(first) * dataset.size > 16 * len(changed)


@pytest.mark.parametrize("kind", dict.fromkeys(protobuf.KINDS))
def test_every_kind_of_damage_to_onnx_can_be_done(tmp_path, kind):
    before, changed = branching().SerializeToString(), 0
    for i in range(20):
        model = branching()
        with contextlib.suppress(ValueError, TypeError, IndexError):
            kind(model, Random(i))
        changed += model.SerializeToString() != before
    assert changed >= 5


def test_damage_changes_nearly_every_file(tmp_path):
    small = {
        ".nir": nir_bytes(tmp_path),
        ".json": json.dumps({"a": [1, 2.5, "x"], "b": {"c": None}}).encode(),
        ".jsonl": b'{"a": 1}\n{"a": 2}\n',
        ".toml": b'schema = 1\n[limits.x]\nvalue = 3\nkind = "fitted"\n',
        ".npz": packed(x=np.arange(6), y=np.ones(2)),
        ".onnx": branching().SerializeToString(),
        ".safetensors": seeds_safetensors(),
    }
    for suffix, data in small.items():
        same = sum(damage.STRUCTURE[suffix](data, Random(i))[0] == data for i in range(60)) + sum(
            octets.damage(data, Random(i))[0] == data for i in range(60)
        )
        assert same <= 12, suffix


def seeds_safetensors():
    from safetensors.numpy import save

    return save({"w": np.ones((2, 3), np.float32)}, {"snn2hw": '{"a": 1}'})


def test_a_zip_that_is_written_by_hand_is_a_zip(tmp_path):
    members = [archives.deflated("a.npy", b"a" * 1000), archives.stored("b", b"b")]
    data = archives.written(members)
    assert [m.content for m in archives.members(data)] == [b"a" * 1000, b"b"]


def test_packed_zeros_are_zeros():
    data, crc = archives.zeros(1 << 25)
    unpacked = zlib.decompress(data, -15)
    assert (unpacked == bytes(1 << 25), zlib.crc32(unpacked)) == (True, crc)


def test_raw_json_goes_where_it_is_said():
    text = documents.RAW["lists 900 deep"]
    found = [documents.damage_json(b'{"a": 1}', Random(i)) for i in range(300)]
    assert any(text.encode() in data for data, _ in found)
    assert not any(b"fuzz-" in data for data, _ in found)


def test_hashes_are_made_right_again():
    files = {"b/build.json": b'{"outputs": {"program.h5": "old"}}', "b/program.h5": b"new"}
    seal(files, "b/program.h5")
    told = json.loads(files["b/build.json"])["outputs"]["program.h5"]
    assert told == hashlib.sha256(b"new").hexdigest()


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--family", "nirr"], "invalid choice: 'nirr' (choose from"),
        (["--only", "3"], "--only needs one --family"),
        (["--files", "0"], "0 is not 1 or more"),
        (["--family", "nir", "--only", "-1"], "--only counts from 0"),
    ],
)
def test_wrong_usage_is_exit_code_2(capsys, given, part):
    with pytest.raises(SystemExit) as stop:
        run.main(given)
    assert stop.value.code == 2
    assert part in capsys.readouterr().err


def test_a_run_holds_all_families_in_every_part():
    cases = list(run.schedule({"nir": 30, "net": 15, "npz": 3}))
    assert len(cases) == len(set(cases)) == 48
    assert {f for f, _ in cases[:16]} == {"nir", "net", "npz"}
    assert sorted(i for f, i in cases if f == "nir") == list(range(30))


def test_the_page_counts_by_family_and_names_each_place_once():
    bad = [
        Outcome(("inspect",), "bug", "KeyError", "snn2hw/a.py:3"),
        Outcome(("inspect",), "slow", "11 s of processor time", "snn2hw/b.py:9"),
        Outcome(("inspect",), "slow", "12 s of processor time", "snn2hw/b.py:9"),
    ]
    results = [Result("nir", i, "a.nir", "", (o,)) for i, o in enumerate(bad)]
    results += [Result("net", 0, "a.net", "", (Outcome(("inspect",), "fine"),))]
    text = page.page(results, None, 0, 2, 60.0)
    assert "| .nir networks (`nir`) | 3 | 0 | 0 | 0 | 1 | 0 | 2 | 0 |" in text
    assert "| **all** | 4 | 1 | 0 | 0 | 1 | 0 | 2 | 0 |" in text
    assert text.count("snn2hw/b.py:9 | nir | 2 | 1 |") == 1
    assert text.count("snn2hw/a.py:3 | nir | 1 | 0 |") == 1


def test_what_a_kill_leaves_is_counted(tmp_path):
    (tmp_path / "whole").write_text("1")
    expected, kind = kills.left_by(tmp_path), kills.Kind("targets", ("targets",), lambda _: None)
    count = kills.Count()
    kills._compare(kind, tmp_path, expected, count)
    assert count.bad == 0
    (tmp_path / "whole").write_text("2")
    (tmp_path / ".whole.x7").write_text("half")
    kills._compare(kind, tmp_path, expected, count)
    assert (count.different, count.left, count.failed) == (1, 1, 0)
    kills._compare(kills.Kind("no", ("export", "no"), lambda _: None), tmp_path, expected, count)
    assert (count.failed, count.bad) == (1, 3)
    assert any(".whole.x7 left behind" in e for e in count.examples)


@pytest.mark.slow
def test_killed_commands_leave_what_others_leave():
    killed = kills.trial(12, seed=1)
    assert sum(c.kills for c in killed.counts.values()) == 12
    assert killed.bad == 0, killed.lines()
