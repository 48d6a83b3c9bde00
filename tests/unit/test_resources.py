"""What does not fit the memory or the disk is refused before it is begun."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from nets import residual

from snn2hw import resources
from snn2hw import target as targets
from snn2hw.archives import npz_by_rows, read_npz
from snn2hw.errors import InputError
from snn2hw.families.loihi import engine
from snn2hw.pipeline import builds
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.port import Samples
from snn2hw.store.folders import Build


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that says what is written here of its memory."""
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "GROUP", tmp_path)
    monkeypatch.setattr(resources, "SMALL", 0)
    return tmp_path


def test_the_less_of_machine_and_container(machine):
    assert resources.memory_left() == float("inf")
    (machine / "meminfo").write_text("MemTotal:  99 kB\nMemAvailable:   40 kB\n")
    assert resources.memory_left() == 40 * 1024
    (machine / "memory.max").write_text("max\n")
    assert resources.memory_left() == 40 * 1024
    (machine / "memory.max").write_text("30000\n")
    (machine / "memory.current").write_text("20000\n")
    (machine / "memory.stat").write_text("anon 7\ninactive_file 500\n")
    assert resources.memory_left() == 10500


def test_a_sample_that_the_memory_cannot_hold_is_refused(machine):
    program = compile_network(residual(), targets.load("loihi2"))
    (port,) = program.network.inputs
    x = {port.name: np.zeros((2, 4, *port.shape), np.uint8)}
    (machine / "meminfo").write_text("MemAvailable: 8 kB\n")
    with pytest.raises(
        InputError, match=r"2 samples of 4 steps needs \d+\.\d kB .* 8\.2 kB are free"
    ):
        engine.run(program, x)
    (machine / "meminfo").write_text("MemAvailable: 800 kB\n")
    assert engine.run(program, x, states=True).samples == 2
    with pytest.raises(InputError, match="samples") as refused:
        engine.run(program, {port.name: np.repeat(x[port.name], 500, axis=0)}, states=True)
    assert "fewer samples" in str(refused.value.hint)


def test_the_way_out_of_too_little_memory_leads_out_of_it(monkeypatch):
    program = compile_network(residual(), targets.load("loihi2"))
    (port,) = program.network.inputs

    asked = []
    monkeypatch.setattr(engine, "check_memory", lambda *given: asked.append(given))

    def run(samples: int, steps: int, threads: int, states: bool = True):
        monkeypatch.setattr(engine, "threads_there", lambda: threads)
        x = np.zeros((samples, steps, *port.shape), np.uint8)
        engine.run(program, {port.name: x}, states=states)
        return asked[-1]

    one, what, _ = run(1, 4, 1)
    assert what == "The simulation of 1 sample of 4 steps"
    need, _, way_out = run(8, 4, 8)
    alone, _, _ = run(8, 4, 1)
    assert one < alone < need
    fewer, thread, shorter = (
        "fewer samples (--samples)", "one thread (NUMBA_NUM_THREADS=1)", "samples of fewer steps"
    )  # fmt: skip
    assert way_out(alone) == f"Take {fewer} or {thread} or {shorter}."
    assert way_out(alone - 1) == way_out(one) == f"Take {fewer} or {shorter}."
    assert way_out(one - 1) == f"Take {shorter}."
    assert run(1, 1, 8)[2](1) == "Take a smaller network."


def test_a_small_run_does_not_ask(machine, monkeypatch):
    (machine / "meminfo").write_text("MemAvailable: 1 kB\n")
    monkeypatch.setattr(resources, "SMALL", 5000)
    resources.check_memory(4999, "This", "")
    with pytest.raises(InputError, match="This needs"):
        resources.check_memory(5000, "This", "")


def test_a_trace_that_the_disk_cannot_hold_is_refused(tmp_path, monkeypatch):
    program = compile_network(residual(), targets.load("loihi2"))
    (port,) = program.network.inputs
    samples = Samples({port.name: np.zeros((9, 4, *port.shape), np.uint8)}, None, "zeros")
    build = Build(tmp_path, program, {})
    assert program.depth == 4
    each = 12 * (4 + 4) * sum(p.size for p in program.network.populations)
    room = shutil.disk_usage(tmp_path)._replace(free=each * 3 + 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    with pytest.raises(InputError, match="trace of 9 samples") as refused:
        builds.simulate_into(tmp_path / "a.npz", build, samples)
    assert "at most 3 samples (--samples)" in str(refused.value.hint)
    room = room._replace(free=each + 1)
    with pytest.raises(InputError) as refused:
        builds.simulate_into(tmp_path / "a.npz", build, samples)
    assert "at most 1 sample (--samples)" in str(refused.value.hint)
    room = room._replace(free=each - 1)
    with pytest.raises(InputError) as refused:
        builds.simulate_into(tmp_path / "a.npz", build, samples)
    assert refused.value.hint == (
        "Take samples of fewer steps, as not even one fits, leave out --trace, or save it on "
        "another disk."
    )
    assert not (tmp_path / "a.npz").exists()


def test_pieces_of_a_trace_are_the_whole(tmp_path):
    program = compile_network(residual(), targets.load("loihi2"))
    (port,) = program.network.inputs
    x = np.random.default_rng(0).integers(0, 2, (7, 4, *port.shape), np.uint8)
    samples, build = Samples({port.name: x}, np.arange(7), "random"), Build(tmp_path, program, {})
    seen: list[int] = []
    trace = builds.simulate_into(
        tmp_path / "pieces.npz", build, samples, memory=1, progress=lambda n, _: seen.append(n)
    )
    whole = engine.run(program, samples.inputs, states=True)
    builds.save_trace(tmp_path / "whole.npz", whole, samples.labels, layers=True)
    pieces, wanted = (read_npz(tmp_path / f"{k}.npz") for k in ("pieces", "whole"))
    assert list(pieces) == list(wanted)
    assert all((pieces[k] == v).all() and pieces[k].dtype == v.dtype for k, v in wanted.items())
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert (trace.spikes == whole.spikes).all()
    assert all((trace.events[k] == v).all() for k, v in whole.events.items())


def test_rows_of_arrays_become_an_archive(tmp_path):
    with npz_by_rows(tmp_path / "a.npz") as add:
        add({"file": np.arange(6).reshape(2, 3), "y": np.array([1.5])})
        add({"file": np.arange(3).reshape(1, 3).T.T, "y": np.zeros(0)})
    found = read_npz(tmp_path / "a.npz")
    assert found["file"].tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    assert found["y"].tolist() == [1.5]
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
