"""What a build is compared with on this machine, and what it would be otherwise: by command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from system_calls import call_here, document

from snn2hw import datasets
from snn2hw.host import rapl
from snn2hw.pipeline import against

FIELDS = ["who", "runs_on", "accuracy", "latency_us", "energy_uj", "how"]
FEW = ("--samples", "40")


@pytest.fixture
def idle(monkeypatch, tmp_path):
    """A machine without energy counters."""
    monkeypatch.setattr(rapl.find, "__defaults__", (tmp_path / "none",))


@pytest.fixture
def counters(monkeypatch, tmp_path):
    """A machine whose package takes 2 W, and 12 W whenever it is not asleep, by its own clock."""
    zone = tmp_path / "rapl" / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "1000000000000")):
        (zone / name).write_text(text)
    state = {"now": 0.0, "uj": 0.0}

    def passes(seconds, watts):
        state["now"] += seconds
        state["uj"] += 1e6 * seconds * watts
        (zone / "energy_uj").write_text(f"{state['uj']:.0f}")

    passes(0, 0)
    measure = rapl.measure

    def counted(zones, call):
        def busy():
            call()
            passes(0.5, 12.0)

        return measure(zones, busy, clock=lambda: state["now"], sleep=lambda s: passes(s, 2.0))

    monkeypatch.setattr(rapl.find, "__defaults__", (tmp_path / "rapl",))
    monkeypatch.setattr(rapl, "measure", counted)


def test_the_teacher_and_the_student_on_this_processor(workshop, idle):
    told = document(workshop, "energy", "report", "cnn-digits-s75", "--against", "cpu", *FEW)
    rows = told["against"]
    assert [row["who"] for row in rows] == [
        "student", "student, dynamic", "teacher cnn, float32", "teacher cnn, int8",
        "student, the chip's integers",
    ]  # fmt: skip
    chip, dynamic, plain, small, ours = rows
    for row in rows:
        assert list(row)[:6] == FIELDS
        uj = row["energy_uj"]
        assert 0 < uj["low"] <= uj["typical"] <= uj["high"]
        assert row["energy_kind"] == "estimated"
        assert "estimated" in row["how"]
    assert chip["energy_uj"] == told["chip"]["total_uj"]
    assert dynamic["energy_uj"] == told["chip"]["dynamic_uj"]
    # The same samples: the student's answers are the chip's, the teacher's its own.
    assert ours["accuracy"] == chip["accuracy"] == told["accuracy"]
    metrics = json.loads((workshop / "runs" / "cnn-digits" / "metrics.json").read_text())
    everything = document(workshop, "energy", "report", "cnn-digits-s75", "--against", "cpu")
    assert everything["against"][2]["accuracy"] == pytest.approx(metrics["teacher_accuracy"])
    assert abs(small["accuracy"] - plain["accuracy"]) < 0.1
    for row in (plain, small, ours):
        assert row["latency_us"] > 0
        assert row["batch"]["each_us"] > 0
        assert "latency measured, the median of" in row["how"]
        assert "shows no energy counters" in row["how"]
    # As many products and a quarter of the bytes, of less energy.
    assert small["work"]["products"] == plain["work"]["products"] > 100_000
    assert plain["work"]["bytes"] == pytest.approx(4 * small["work"]["bytes"], rel=1e-5)
    assert small["energy_uj"]["typical"] < plain["energy_uj"]["typical"] / 2
    assert ours["work"]["additions"] > told["synops"]
    kept = json.loads((workshop / "builds" / "cnn-digits-s75-loihi2" / "energy.json").read_text())
    assert kept["against"] == everything["against"]
    assert kept["neurobench"] == everything["neurobench"]


def test_energy_is_measured_where_counters_can_be_read(workshop, counters):
    rows = document(workshop, "energy", "report", "--against", "cpu", *FEW)["against"]
    for row in rows[2:]:
        assert row["energy_kind"] == "measured"
        # 10 W above idle for half a second
        assert row["energy_uj"] == {"typical": 5e6, "low": 5e6, "high": 5e6}
        assert row["idle_w"] == 2.0
        assert "measured by the processor's counters (package-0) above the 2 W" in row["how"]
    assert rows[0]["energy_kind"] == "estimated"


def test_text_fits_eighty_columns(workshop, idle):
    every = ("steps=4", "sparsity=0.8123", "activity=0.5123", "chips=2")
    options = [word for change in every for word in ("--what-if", change)]
    done = call_here(workshop, "energy", "report", "--against", "cpu", *options, *FEW)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    start = next(i for i, x in enumerate(lines) if x.startswith("NeuroBench's metrics"))
    assert max(map(len, lines[start:])) <= 80
    assert any(x.startswith("what if steps=4, sparsity=0.8123") for x in lines)


def test_without_the_teacher_there_is_a_reason(workshop, idle):
    export = document(workshop, "export", "digits-cnn")
    rows = document(workshop, "energy", "report", export["build"], "--against", "cpu", *FEW)
    chip, _, teacher, student = rows["against"]
    assert (teacher["accuracy"], teacher["latency_us"], teacher["energy_uj"]) == (None,) * 3
    assert "is not a run here" in teacher["how"]
    assert student["accuracy"] == chip["accuracy"]
    for row in (workshop / "runs" / "cnn-digits" / "checkpoint").glob("teacher*"):
        row.unlink()
    gone = document(workshop, "energy", "report", "cnn-digits-s75", "--against", "cpu", *FEW)
    assert "The teacher of" in gone["against"][2]["how"]


def test_samples_of_a_file_are_not_the_teachers(workshop, idle, tmp_path):
    x = datasets.load("digits").x_test[:5, None].repeat(8, axis=1)
    np.savez(tmp_path / "x.npz", x=x)
    rows = document(
        workshop, "energy", "report", "--input", str(tmp_path / "x.npz"), "--against", "cpu"
    )["against"]
    assert "the samples are of x.npz, the teacher was trained on digits" in rows[2]["how"]
    assert rows[-1]["accuracy"] is None
    assert rows[-1]["energy_uj"]["typical"] > 0


def test_onnx_runtime_is_asked_for_by_its_extra(workshop, idle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    rows = document(workshop, "energy", "report", "--against", "cpu", *FEW)["against"]
    for row in rows[2:4]:
        assert 'pip install "snn2hw[onnx]"' in row["how"]
    assert rows[4]["latency_us"] > 0


def test_what_if_by_command(workshop):
    plain = document(workshop, "energy", "report", *FEW)
    kept = (workshop / "builds" / "cnn-digits-s75-loihi2" / "energy.json").read_bytes()
    told = document(
        workshop, "energy", "report", *FEW, "--what-if", "steps=4", "--what-if", "chips=2"
    )
    found = told.pop("what_if")
    assert told == plain
    assert found["extrapolation"] is True
    assert found["changes"] == {"steps": 4, "chips": 2}
    assert len(found["assumptions"]) == 2
    assert found["time_steps"] == 4
    assert 0 < found["accuracy"] <= 1
    assert found["synops"] < plain["synops"]
    # What nobody built is no part of the build.
    assert (workshop / "builds" / "cnn-digits-s75-loihi2" / "energy.json").read_bytes() == kept


def test_more_steps_show_the_samples_anew(workshop):
    found = document(workshop, "energy", "report", *FEW, "--what-if", "steps=16")
    assert found["what_if"]["time_steps"] == 16
    assert found["what_if"]["input_events"] == pytest.approx(2 * found["input_events"])


def test_nothing_is_kept_where_changes_are_wrong(workshop):
    bill = workshop / "builds" / "cnn-digits-s75-loihi2" / "energy.json"
    bill.unlink(missing_ok=True)
    for wrong, said in (
        (["step=4"], "there is no change 'step'"), (["steps=0"], "steps is 0"),
        (["steps=4", "steps=2"], "given twice: steps=4, steps=2"),
        (["sparsity=0.1"], "sparsity=0.1 is less than the build has: 75.0%"),
        (["chips=100000"], "Give chips= a number from 1 to"),
        (["activity=1000"], "Write activity="),
    ):  # fmt: skip
        options = [word for change in wrong for word in ("--what-if", change)]
        done = call_here(workshop, "energy", "report", *FEW, *options)
        assert done.returncode == 1
        assert said in done.stderr
        assert "--chips" not in done.stderr
        assert not bill.exists()


def test_as_many_zeros_as_a_build_has_change_nothing(workshop):
    told = document(workshop, "energy", "report", *FEW, "--what-if", "sparsity=0.75")
    found = told["what_if"]
    assert found["chip"] == told["chip"]
    assert found["synops"] == told["synops"]


def test_the_rows_stand_for_themselves():
    row = against.Row("teacher", "a chip", None, None, None, "not run: it is gone")
    assert list(row.json()) == FIELDS


def test_all_targets_stand_beside_this_processor(workshop, idle):
    order = ("energy", "compare", "cnn-digits-s75", "--targets", "loihi1,loihi2", *FEW)
    told = document(workshop, *order, "--against", "cpu", "--html", "cpu.html")
    rows = told["against"]
    assert [row["who"] for row in rows] == [
        "student", "student, dynamic", "student", "student, dynamic",
        "teacher cnn, float32", "teacher cnn, int8",
        "student, the integers of Intel Loihi 1", "student, the integers of Intel Loihi 2",
    ]  # fmt: skip
    assert [row["samples"] for row in rows[4:]] == [40] * 4
    text = (workshop / "cpu.html").read_text()
    assert "No processor was measured" not in text
    assert "student, the integers of Intel Loihi 2, " in text
    assert "idle power left out of both" in text
