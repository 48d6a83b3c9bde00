"""Predictions of published measurements: what is rebuilt, what it comes to, how it is summed up."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from nets import classifier, images, random_program
from shared import DATA, needs_data

from snn2hw import target
from snn2hw.cli import commands
from snn2hw.errors import InputError
from snn2hw.ir.synapses import Conv, matrix
from snn2hw.pipeline import counting, validating, workloads
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.workloads import BUILDERS
from snn2hw.report import validation as told
from snn2hw.validation import measured

KNOWN = measured()


def test_every_measurement_has_a_workload_that_is_rebuilt():
    assert set(BUILDERS) == set(KNOWN.workloads)
    assert {m.workload for m in KNOWN.measurements} == set(KNOWN.workloads)
    assert {w.chip for w in KNOWN.workloads.values()} - {"speck"} <= set(target.names())
    known = [(m.workload, m.what, m.run) for m in KNOWN.measurements]
    assert len(set(known)) == len(known)
    for m in KNOWN.measurements:
        assert len(m.source) > 10, m


def test_every_range_of_a_target_says_how_it_came_about():
    for name in target.names():
        chip = target.load(name)
        for f in (*chip.prices.values(), *chip.timing.values()):
            both = "Low and high:" in f.source
            assert f.low == f.value or both or "Low:" in f.source, (name, f.name)
            assert f.high == f.value or both or "High:" in f.source, (name, f.name)


@needs_data
def test_prices_reproduce_what_they_were_fitted_to():
    found = validating.validate(data_dir=DATA)
    assert not found["missing"]
    for row in found["rows"]:
        # Step time, and with it static energy, is of Intel's placement, not of ours.
        if row["fitted"] and row["what"] not in ("step time", "total energy"):
            assert row["ratio"] == pytest.approx(1, abs=3e-3), row
            assert row["within_range"], row
        assert row["predicted"]["low"] <= row["predicted"]["typical"] <= row["predicted"]["high"]
    assert {(r["workload"], r["what"]) for r in found["rows"]} == {
        (m.workload, m.what) for m in KNOWN.measurements
    }
    page = told.page(found)
    assert all(w.title in page for w in KNOWN.workloads.values())
    json.dumps(found)


@needs_data
def test_pilotnet_counts_what_the_chip_counted():
    """Million synops a core over 10,000 steps; a pixel of the published plot is 4.3 million."""
    workload = KNOWN.workloads["pilotnet-lif"]
    found = workloads.pilotnet_lif(workload, DATA / workload.file, None)
    of_cores = [m for m in KNOWN.measurements if m.what.startswith("synops of a core")]
    assert len(of_cores) == 4
    for m in of_cores:
        assert found[m.what].typical == pytest.approx(m.value, abs=9), m.what


@pytest.mark.parametrize("seed", [5, 6, 8, 15, 17, 18])  # networks with such a convolution
def test_synops_of_columns_are_those_of_weights_that_are_not_0(seed):
    program = random_program(seed, layers=4)
    net = program.network
    trace, _ = counting.run(program, images(net, samples=1, seed=seed))
    posts, compared = [c.post for c in net.connections], 0
    shapes = {p.name: p.shape for p in net.populations}
    for c in net.connections:
        if isinstance(c.synapses, Conv) and posts.count(c.post) == 1:
            met = matrix(c.synapses) != 0
            ends = (met @ trace.events[c.pre].sum(axis=0).reshape(-1)).reshape(shapes[c.post])
            for columns in (1, ends.shape[2]):
                found = workloads.synops_in_columns(program, trace, c.post, columns)
                assert found == ends[:, :, :columns].sum()
                compared += 1
    assert compared


def test_a_frame_costs_what_it_adds_to_a_video():
    """Neurons that hear nothing are updated in each step, and pay for nothing else."""
    chip = target.load("loihi2")
    price = replace(chip.prices["update"], low=10.0)
    chip = replace(chip, prices={**chip.prices, "update": price})
    program = compile_network(classifier(bias=False, steps=workloads.FRAMES), chip)
    (port,) = program.network.inputs
    still = np.zeros((workloads.FRAMES, *port.shape), np.int64)
    neurons = sum(p.size for p in program.network.populations)
    found = workloads._of_a_frame(program, still)
    for end in ("low", "high"):
        assert getattr(found, end) == pytest.approx(neurons * getattr(price, end) * 1e-9)
    assert found.typical == pytest.approx(neurons * price.value * 1e-9)


@needs_data
@pytest.mark.parametrize("name", ["synop", "update"])
def test_a_prediction_follows_the_prices(name, monkeypatch):
    """Twice a price, and what it stands for costs twice as much."""
    chip = target.load("loihi2")
    price = chip.prices[name]
    dear = replace(price, value=2 * price.value, high=3 * price.high)
    changed = replace(chip, prices={**chip.prices, name: dear})
    workload = KNOWN.workloads["pilotnet-lif"]
    before = workloads.pilotnet_lif(workload, DATA / workload.file, None)
    monkeypatch.setattr(workloads.targets, "load", lambda _: changed)
    after = workloads.pilotnet_lif(workload, DATA / workload.file, None)
    of_it = {"synop": 36_318_000, "update": 158_509 * 16}[name] * price.value * 1e-9
    grown = after["dynamic energy"].typical - before["dynamic energy"].typical
    assert grown == pytest.approx(of_it, rel=1e-3)
    assert after["synops"] == before["synops"]


def test_a_branch_spikes_at_the_rate_that_is_assumed():
    chip = target.load("loihi1")
    for rate in (0.02, 0.05, 0.1):
        program, x = workloads.branch(chip, rate)
        trace, counts = counting.run(program, {"input": x})
        report = counting.report(program, trace, counts, chip)
        assert report.spikes / (2560 * trace.steps) == pytest.approx(rate, rel=0.06)
        # all are accessed and, with a bias, updated in every step, and each spike meets 256 weights
        prices = {k: f.value for k, f in chip.prices.items()}
        sure = 2560 * trace.steps * (prices["soma_access"] + prices["soma_update"])
        sure += 0.9 * report.spikes * (256 * prices["synop_dense"] + prices["spike"])
        assert sure * 1e-6 < report.dynamic_uj.typical < 1.2 * sure * 1e-6


rows = st.lists(
    st.builds(
        lambda workload, chip, what, value, predicted, fitted: {
            "chip": chip, "workload": f"{chip}-{workload}", "what": what, "measured": value,
            "predicted": {"typical": predicted, "low": predicted / 2, "high": predicted * 2},
            "ratio": predicted / value, "fitted": fitted,
            "within_range": predicted / 2 <= value <= predicted * 2, "stand_in": workload == "z",
        },
        st.sampled_from("abcz"), st.sampled_from(["x", "y"]),
        st.sampled_from(["energy", "power", "synops"]),
        st.floats(0.1, 10), st.floats(0.1, 10), st.booleans(),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(rows)
def test_the_summary_counts_what_was_not_fitted(rows):
    found = validating.summary(rows)
    counted = [r for r in rows if not r["stand_in"]]
    held = [r for r in counted if not r["fitted"] and r["what"] != "synops"]
    assert_sums_up(found, held)
    assert found["counts"]["compared"] == sum(r["what"] == "synops" for r in counted)
    used = {r["workload"] for r in counted if r["fitted"]}
    assert_sums_up(found["other_workloads"], [r for r in held if r["workload"] not in used])
    assert found["pairs_in_order"] + len(found["out_of_order"]) == found["pairs"]
    assert told.verdict(found)


def assert_sums_up(found, held):
    """Hold a part of the summary against the rows that it is of."""
    assert found["predicted"] == len(held)
    assert found["within_2_times"] == sum(0.5 <= r["ratio"] <= 2 for r in held)
    assert found["within_range"] == sum(r["within_range"] for r in held)
    if held:
        ratios = [r["predicted"]["typical"] / r["measured"] for r in held]
        factors = [max(x, 1 / x) for x in ratios]
        assert found["median_factor"] == pytest.approx(np.median(factors), abs=1e-3)
        errors = [abs(x - 1) for x in ratios]
        assert found["median_error"] == pytest.approx(np.median(errors), abs=1e-3)


def test_the_order_of_two_workloads():
    def row(workload, measured, predicted):
        return {
            "chip": "c", "workload": workload, "what": "energy", "measured": measured,
            "predicted": {"typical": predicted}, "ratio": 1.0, "fitted": False,
            "within_range": True, "stand_in": False,
        }  # fmt: skip

    found = validating.summary([row("a", 1, 5), row("b", 2, 4), row("c", 3, 6), row("a", 1.5, 5)])
    assert (found["pairs"], found["pairs_in_order"]) == (3, 2)
    assert found["out_of_order"] == [["a", "b", "energy"]]


def test_workloads_without_their_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_DATA", str(tmp_path))
    monkeypatch.setenv("SNN2HW_CACHE", str(tmp_path))
    found = validating.validate(data_dir=tmp_path)
    with_file = [w.name for w in KNOWN.workloads.values() if w.file]
    assert [m["workload"] for m in found["missing"]] == with_file
    assert {r["workload"] for r in found["rows"]} == set(KNOWN.workloads) - set(with_file)
    with pytest.raises(InputError, match=r"models/lava-dl/pilotnet_lif\.net was not found.*"):
        validating.validate("loihi2", data_dir=tmp_path)
    ran = CliRunner().invoke(commands.load("energy"), ["validate", "--json"])
    assert ran.exit_code == 0
    assert "pilotnet-lif is left out: models/lava-dl/pilotnet_lif.net was not found" in ran.stderr


@needs_data
def test_another_file_under_the_name_of_a_published_one_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_DATA", str(tmp_path))
    monkeypatch.setenv("SNN2HW_CACHE", str(tmp_path))
    for name in ("pilotnet-lif", "speck-nmnist-1"):
        path = tmp_path / KNOWN.workloads[name].file
        path.parent.mkdir(parents=True)
        path.write_bytes((DATA / "models/lava-dl/tiny.net").read_bytes())
    found = validating.validate(data_dir=tmp_path)
    why = {m["workload"]: m["why"] for m in found["missing"]}
    for name in ("pilotnet-lif", "speck-nmnist-1"):
        assert why[name] == "is another file than the published one (by its SHA-256)"
    assert not {"pilotnet-lif", "speck-nmnist-1"} & {r["workload"] for r in found["rows"]}
    page = told.page(found)
    assert f"pilotnet-lif: `{tmp_path / KNOWN.workloads['pilotnet-lif'].file}` is another" in page


@needs_data
def test_without_recordings_the_other_workloads_are_still_predicted(monkeypatch):
    def gone(name, *_, **__):
        raise InputError(f"Data set {name!r} is nowhere.")

    monkeypatch.setattr(validating.datasets, "load", gone)
    found = validating.validate(data_dir=DATA)
    speck = [w.name for w in KNOWN.workloads.values() if w.chip == "speck"]
    assert [(m["workload"], m["file"]) for m in found["missing"]] == [
        (name, "data set nmnist") for name in speck
    ]
    assert "loihi2" in {r["chip"] for r in found["rows"]}


def test_a_chip_that_was_not_measured():
    with pytest.raises(InputError, match="Did you mean 'loihi2'"):
        validating.validate("lohi2")


def test_the_page(tmp_path):
    path = tmp_path / "page.md"
    ran = CliRunner().invoke(commands.load("energy"), ["validate", "xylo-imu", "--page", str(path)])
    assert ran.exit_code == 0
    assert "xylo-imu: rockpool-imu\n  energy of a step: predicted " in ran.stdout
    assert re.search(r"^    6\.54  \d\.\d\d times  3dde86e7$", ran.stdout, re.MULTILINE)
    assert max(len(line) for line in ran.stdout.splitlines()) <= 80
    assert "| energy of a step | 3dde86e7 | 6.54 nJ |" in path.read_text()
