"""What a page and a report show: the verdict, units, pictures, names, sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from evidence import PROOF, labelled, made, measured
from nets import LOIHI2, images, lif, residual, tiny
from system_calls import call_here

from snn2hw import families, nir_io
from snn2hw.errors import InputError
from snn2hw.ir.counts import Range
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.pipeline import builds, counting, page
from snn2hw.pipeline.activity import LAYERS, NEURONS, activity
from snn2hw.pipeline.compiler import compile_network
from snn2hw.report import bill, tables, text
from snn2hw.report.evidence import Evidence
from snn2hw.report.page import render
from snn2hw.report.pictures.activity import _marks, binned, by_step
from snn2hw.report.pictures.scatter import WIDTH, best, scatter
from snn2hw.report.proof import proved
from snn2hw.report.units import energy_unit, of_an_event, time_unit
from snn2hw.report.verdict import verdict


@pytest.mark.parametrize(
    ("dynamic", "unit"), [(2e6, "J"), (900.0, "mJ"), (3.0, "uJ"), (0.09, "nJ"), (1e-5, "pJ")]
)
def test_one_unit_for_all_energies_of_a_report(dynamic, unit):
    report = bare(dynamic)
    found = energy_unit([report])
    assert found.name == unit
    assert energy_unit([report, bare(dynamic * 1e6)]) == found  # the smallest decides
    assert found.of(found.size) == "1.00"
    assert found.of(found.size * 1e-9) == "<0.001"
    assert found.of(0) == "0.000"


def bare(dynamic):
    """A report with a dynamic energy, in uJ."""
    program = compile_network(tiny(), LOIHI2)
    ran = counting.run(program, images(program.network, 2))
    found = counting.report(program, *ran, program.target)
    return replace(found, dynamic_uj=Range(dynamic, dynamic, dynamic))


def test_times_of_events_are_told_in_one_unit():
    units = {of_an_event(f)[1] for f in LOIHI2.timing.values()}
    assert units == {"ns"}
    (value, low, high), _ = of_an_event(LOIHI2.timing["step"])
    step = LOIHI2.timing["step"]
    assert (value, low, high) == pytest.approx((step.value * 1e3, step.low * 1e3, step.high * 1e3))
    assert time_unit([replace(bare(1.0), period_us=Range(999.0, 1, 99))]).name == "us"
    assert time_unit([replace(bare(1.0), period_us=Range(1000.0, 1, 999))]).name == "ms"


@pytest.mark.parametrize("name", ["layer" * 30, "\u6f22\u5b57" * 30, "a\u6f22" * 40])
def test_a_long_name_is_cut_to_columns_of_a_terminal(name):
    cut = text.short(name, 20)
    assert 18 <= text.columns(cut) <= 20
    assert cut.startswith(name[:3])
    assert cut.endswith(name[-3:])
    lines = text.table(["layer", "n"], [[cut, "1"], ["b", "10"]])
    assert {text.columns(line) for line in lines} == {text.columns(lines[1])}


def test_letters_and_lines_by_columns():
    assert [text.columns(x) for x in ("ab", "a\u6f22", "\uff76")] == [2, 3, 1]
    words = "  " + "word " * 30
    assert {line[:3] for line in text.wrapped(words)} == {"  w"}  # as the first line begins
    first, *others = text.wrapped(words, "      ")
    assert first.startswith("  w")
    assert {line[:7] for line in others} == {"      w"}
    assert max(map(len, text.wrapped(words))) <= 80


def test_the_text_fits_eighty_columns_whatever_the_names():
    report = bare(1e-9)
    longest = replace(report.layers[0], name="\u202e" + "long" * 200, neurons=10**7, synops=1e12)
    report = replace(report, layers=(longest, *report.layers[1:]), data="d" * 300, accuracy=0.5)
    lines = bill.energy(report, "n" * 300, None, proved(None, ""))
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    rows = [{"target": "xylo-audio2", "fits": False, "reasons": ["word " * 60]}]
    assert max(map(len, bill.compared(rows))) <= 80


def test_the_best_for_their_cost():
    spots = [("a", 1, 0.5, 0, 0), ("b", 2, 0.4, 0, 0), ("c", 3, 0.7, 0, 0), ("d", 3, 0.6, 0, 0)]
    assert [s[0] for s in best(spots)] == ["a", "c"]


def test_activity_adds_up_to_the_report():
    net = residual()
    program = compile_network(net, LOIHI2)
    samples = labelled(program.network, 6)
    trace, counts = counting.run(program, samples.inputs)
    report = counting.report(program, trace, counts, program.target)
    seen = activity(program, builds.Measured(report, trace, counts, samples))
    for layer in report.layers:
        assert seen.spikes[layer.name].sum() == pytest.approx(layer.spikes)
    assert seen.core_uj.sum() == pytest.approx(report.dynamic_uj.typical)
    assert seen.core_sent.sum() == pytest.approx(report.spikes)
    pairs = list(zip(samples.labels.tolist(), trace.prediction.tolist(), strict=True))
    assert seen.confusion.sum() == 6
    assert all(seen.confusion[pair] == pairs.count(pair) for pair in pairs)
    assert any(seen.confusion[a, b] != seen.confusion[b, a] for a, b in pairs)
    right = (trace.prediction == samples.labels).sum()
    assert np.trace(seen.confusion) == right
    whole = families.of(program.target).run(program, samples.inputs, states=True)
    assert len(seen.samples) == 4
    for shown in seen.samples:
        assert shown.predicted == trace.prediction[shown.number]
        for layer in shown.layers:
            own = whole.layers[layer.layer]
            sent = own.spikes[shown.number].reshape(program.network.time_steps, -1)
            assert (layer.spikes == sent[:, layer.neurons]).all()
            v = own["v"][shown.number].reshape(program.network.time_steps, -1)
            assert layer.state == "v"
            assert (layer.membranes == v[:, layer.watched]).all()


def test_neighbouring_steps_share_a_column():
    shown, each = binned(np.arange(200.0)[:, None], 96)
    assert each == 3
    assert len(shown) == 67
    assert shown[0, 0] == 1.0
    assert shown[-1, 0] == 198.5  # of the two that are left


def test_a_raster_of_many_spikes_shows_fewer_neurons():
    sent = np.zeros((64, 48))
    sent[::2] = 1  # 32 marks of each neuron
    marks, neurons = _marks(sent, 400)
    assert (neurons, len(marks)) == (12, 12 * 32)
    assert marks[0] == (0, 0, 1)
    every = np.ones((64, 48))
    assert _marks(every, 400) == ([(n, 0, 64) for n in range(48)], 48)


def test_cells_are_shaded_by_the_largest(tmp_path):
    report = measured(made(tmp_path)).report
    table = tables.layer_by_event(report, energy_unit([report]), 80)
    cells = [c for row in table.rows for c in row if c.shade]
    assert max(c.shade for c in cells) == 1.0
    first, second = (c.value for c in cells[:2])
    assert cells[0].shade / cells[1].shade == pytest.approx(first / second)
    last = [row[-2].value for row in table.rows]
    parts = [sum(c.value for c in row[5:-2]) for row in table.rows]
    assert parts == pytest.approx(last)


def test_a_layer_that_never_spikes_has_a_page(tmp_path):
    nodes = dict(tiny().nodes)
    nodes["lif2"] = replace(nodes["lif2"], v_threshold=np.array(50.0))
    build = made(tmp_path, replace(tiny(), nodes=nodes), "mute")
    evidence = page.of_build(build, measured(build), None, command="x", root=tmp_path)
    text = page.write(tmp_path / "page.html", evidence).read_text()
    shown = text[: text.index("<script>")]
    assert not re.search(r"\b(nan|inf|NaN|Infinity)\b", shown)
    assert "mute-loihi2" in text


def test_a_page_of_a_large_network_stays_small(tmp_path):
    """Many layers with long names, many steps, many samples that are wrong."""
    size, count, steps = 64, 60, 300
    r = np.random.default_rng(0)
    names, nodes = ["input"], {"input": Input((size,))}
    for i in range(count):
        long = f"{'layer' * 60}{i}"
        nodes |= {
            f"w{long}": Affine(r.normal(0, 0.4, (size, size)), np.zeros(size)),
            long: lif((size,)),
        }
        names += [f"w{long}", long]
    nodes["output"] = Output((size,))
    net = replace(tiny(), nodes=nodes, edges=tuple(pairwise([*names, "output"])), time_steps=steps)
    build = made(tmp_path, net, "large")
    evidence = page.of_build(build, measured(build, 6), None, command="x", root=tmp_path)
    text = render(evidence)
    assert len(text.encode()) < 500_000
    (shown, *_) = evidence.subjects[0].activity.samples
    assert len(shown.layers) == LAYERS
    assert max(len(x.neurons) for x in shown.layers) == NEURONS
    assert f"{count - LAYERS} layers between are left out" in text
    several = render(replace(evidence, subjects=evidence.subjects * 4))
    assert len(several.encode()) < 500_000
    assert 'id="b3-energy"' in several
    drawn = re.findall(r"The first (\d+) of 60 layers are drawn", several)
    assert len(drawn) == 2 * 4  # the bars and the picture by step of each
    assert all(4 <= int(n) < 32 for n in drawn)


def test_the_verdict_says_cost_range_comparison_and_proof(tmp_path):
    build = made(tmp_path)
    m = measured(build)
    proof = {**PROOF, "program": build.digest}
    mine = {"fits": True, **m.document(build.digest)}
    far = {**mine, "target": "far", "chip": {"total_uj": {"typical": 9.0, "low": 1, "high": 99}}}
    refused = {"target": "no", "fits": False, "reasons": ["too large"]}

    def said(proof, *targets):
        about = page.of_build(build, m, proof, command="x", root=None, targets=targets)
        return verdict(about, energy_unit([m.report])).replace("\u00a0", " ")

    total = m.report.boundaries()["chip"]["total_uj"]
    first = said(proof, mine, far)
    for part in (f"{total.typical * 1e3:,.0f} nJ", f"{total.low * 1e3:.1f} and", "9,000 nJ on far",
                 "of 8 samples", "every value that was compared"):  # fmt: skip
        assert part in first
    assert "it fits no other target" in said(None, mine, refused)
    assert "compared with nothing else" in said(None)
    assert "nothing is proved" in said(None)
    assert "nothing is proved" in said({**proof, "program": "other"})
    assert "fits none of 1 targets" in verdict(
        Evidence(title="x", subjects=(), targets=(refused,)), energy_unit([])
    )


def test_a_page_of_several_targets_and_of_none(tmp_path):
    nir_io.write(tmp_path / "tiny.nir", tiny())
    np.savez(tmp_path / "x.npz", x=images(tiny(), 4)["input"], y=np.arange(4) % 2)
    order = ["energy", "compare", "tiny.nir", "--input", "x.npz", "--html", "page.html"]
    done = call_here(tmp_path, *order, "--targets", "loihi1,loihi2,xylo-imu")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.html").read_text()
    for part in ("Intel Loihi 1</h2>", "Intel Loihi 2</h2>", "Why it does not fit xylo-imu",
                 "snn2hw energy compare tiny.nir", "--input x.npz"):  # fmt: skip
        assert part in text
    assert call_here(tmp_path, *order, "--targets", "xylo-imu").returncode == 0
    assert "fits none of 1 targets" in (tmp_path / "page.html").read_text()


def test_no_samples_and_no_build_are_refused(tmp_path):
    made(tmp_path)
    for order, why in (
        (("--samples", "0", "--data", "digits"), "samples"),
        (("--targets", "none", "--html", "nowhere/p.html", "--input", "x.npz"), "nowhere"),
    ):  # fmt: skip
        done = call_here(tmp_path, "energy", "report", *order)
        assert done.returncode != 0
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "builds/empty").mkdir()
    done = call_here(tmp_path, "energy", "report", "empty")
    assert "build.json is missing" in done.stderr


def test_what_stands_beside_a_build_is_checked(tmp_path):
    build = made(tmp_path)
    row = {
        "who": "teacher", "runs_on": "a CPU", "accuracy": None, "latency_us": None,
        "energy_uj": {"low": 1.0, "typical": 2.0, "high": 3.0}, "how": "measured",
    }  # fmt: skip

    def shown(*rows):
        about = page.of_build(build, measured(build), None, command="x", root=None, others=rows)
        return render(about)

    assert "teacher, a CPU" in shown(row)
    unknown = {**row, "runs_on": "a sundial", "energy_uj": None}
    assert "a sundial" in shown(unknown)
    title = build.program.target.title
    about = page.of_build(
        build, measured(build), None, command="x", root=None,
        others=[unknown, {**row, "runs_on": title}, row],
    )  # fmt: skip
    bill = about.subjects[0].report
    unit = energy_unit([bill])
    said = verdict(about, unit).replace("\u00a0", " ")
    # The chip's static power is left out, as the idle power of the processor is.
    own, its = (f"{unit.of(uj)} {unit.sign}" for uj in (bill.dynamic_uj.typical, 2.0))
    assert f"its events take {own}, against {its} for the teacher on a CPU, whose acc" in said
    with pytest.raises(InputError, match=r"\[1\].*who is missing"):
        shown(row, {k: v for k, v in row.items() if k != "who"})


@pytest.mark.parametrize("others", [[1], "x", 5, [None]])
def test_what_stands_beside_a_build_has_to_be_rows(tmp_path, others):
    build = made(tmp_path)
    with pytest.raises(InputError, match="stands beside the build") as refused:
        page.of_build(build, measured(build), None, command="x", root=None, others=others)
    assert "Give each row these fields" in str(refused.value)


def beside(who, accuracy, uj, **more):
    return {
        "who": who, "runs_on": "a CPU " + "with a long name " * 5 + "of its own",
        "accuracy": accuracy, "latency_us": 1.0, "how": "measured",
        "energy_uj": {"low": uj, "typical": uj, "high": uj}, **more,
    }  # fmt: skip


def test_the_verdict_names_the_cheapest_of_what_is_as_accurate(tmp_path):
    build = made(tmp_path)
    m = measured(build)  # right for half of 8 samples
    assert m.report.accuracy == 0.5

    def said(*rows):
        about = page.of_build(build, m, None, command="x", root=None, others=rows)
        return verdict(about, energy_unit([m.report])).replace("\u00a0", " ")

    dear, cheap = beside("dear", 0.9, 30.0, samples=8), beside("cheap", 0.5, 20.0)
    wrong, few = beside("wrong", 0.4, 1.0, samples=8), beside("few", 0.9, 2.0, samples=3)
    text = said(dear, cheap, wrong, few)
    assert f"for the cheap on {cheap['runs_on']}, idle power" in text  # its name is whole
    assert "for the wrong on" in said(few, wrong)
    assert "which is right for 40.00 % of 8 samples, idle power" in said(few, wrong)


def test_chips_and_processors_stand_side_by_side_by_what_a_sample_adds(tmp_path):
    build = made(tmp_path)
    m = measured(build)
    mine = {"fits": True, **m.document(build.digest)}
    rows = [beside("teacher", 0.9, 2.0, samples=8), beside("unknown", None, 1.0, energy_uj=None)]
    about = page.of_build(
        build, m, None, command="x", root=None, targets=[mine], others=rows
    )  # fmt: skip
    unit = energy_unit([m.report])
    table = tables.targets(about, unit, time_unit([m.report]))
    names = [h.split(" ")[0].strip(",") + h.split(" ")[-1] for h in table.head[5:11]]
    assert names == [
        f"dynamic{unit.sign}", "dynamiclow", "dynamichigh",
        f"total{unit.sign}", "totallow", "totalhigh",
    ]  # fmt: skip
    chip, teacher, unknown = table.rows
    dynamic, total = m.report.dynamic_uj, m.report.boundaries()["chip"]["total_uj"]
    assert [c.value for c in chip[5:11]] == pytest.approx(
        [uj / unit.size for r in (dynamic, total) for uj in (r.typical, r.low, r.high)], rel=1e-5
    )
    assert [c.value for c in teacher[5:11]] == [2.0 / unit.size] * 3 + [None] * 3
    assert (teacher[1].shown, unknown[1].shown) == ("8", "–")
    assert all(c.shown == "–" for c in unknown[5:11])
    assert tables.hows(about) == [("teacher; unknown", "measured")]
    assert "neither a chip's static power nor a processor's idle power" in table.note


@pytest.mark.parametrize("value", [1214724, 1214724.125, 0.1 + 0.2, 3e-7, 0, 7.0])
def test_numbers_of_a_csv_read_back_the_same(value):
    text = tables.Cell("", value).exact
    assert float(text) == value
    assert len(text) <= len(repr(value))


def test_a_layer_that_never_spikes_has_no_colour():
    spikes = {"loud": np.array([5.0, 10.0]), "silent": np.zeros(2)}
    drawn = by_step(spikes, {"loud": 10, "silent": 10}, 8)
    paths = re.findall(r'<path d="([^"]*)" class="heat" fill-opacity="([^"]*)"', drawn)
    assert [(d.count("M"), opacity) for d, opacity in paths] == [(1, "0.5"), (1, "1")]
    assert "silent" in drawn
    assert "silent" not in by_step(spikes, {"loud": 10, "silent": 10}, 1)


def test_names_of_points_do_not_meet():
    spots = [
        (f"a-student-with-a-name-{i}", 85_000 + 10 * i, 0.99 + 0.001 * (i % 2), i == 0, False)
        for i in range(5)
    ]
    boxes = boxes_of(scatter(spots, "synops"))
    assert len(boxes) >= 3
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= WIDTH
        for x, y, r, b in boxes[:i]:
            assert right <= x or r <= left or bottom <= y or b <= top


def boxes_of(drawn):
    """Where the names in a picture of accuracy against cost stand, at the size of a telephone."""
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]*)<', drawn)
    return [
        (float(x) - 8 * len(t) * (side == "end"), float(y) - 11,
         float(x) + 8 * len(t) * (side == "start"), float(y) + 3)
        for x, y, side, t in found if t.startswith("a-stu")
    ]  # fmt: skip


def test_stored_zeros_are_explained_where_they_are_paid_for(tmp_path):
    report = bare(1.0)
    note = tables.events(report, energy_unit([report])).note
    (paid,) = (p.count for p in report.paid() if p.event == "synop")
    assert note.startswith(f"These are {paid - report.synops:.1f} synops more than the layers have")
    layers = tuple(replace(x, synops=x.counts["synop"]) for x in report.layers)
    exact = replace(report, layers=layers)
    assert tables.events(exact, energy_unit([report])).note == ""
