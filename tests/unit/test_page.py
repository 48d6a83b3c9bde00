"""What a page and a report may claim: the better bill and proof, samples, units, what is there."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from nets import LOIHI2, images, lif, residual, tiny
from system_calls import call_here

from snn2hw import families, nir_io
from snn2hw.errors import InputError
from snn2hw.files import write_json
from snn2hw.ir.counts import Range
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.pipeline import builds, counting, folder, keeping, page
from snn2hw.pipeline.activity import LAYERS, NEURONS, activity
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Samples
from snn2hw.report import bill, tables, text
from snn2hw.report.evidence import Evidence, Step
from snn2hw.report.page import render
from snn2hw.report.pictures.activity import _marks, binned
from snn2hw.report.pictures.scatter import best
from snn2hw.report.proof import proved
from snn2hw.report.units import energy_unit, of_an_event, time_unit
from snn2hw.report.verdict import verdict

PROOF = {
    "against": "lava 0.10.0", "samples": 20, "steps": 12, "sample_steps": 8,
    "compared": 1000, "mismatches": 0, "first": None, "program": "abc", "data": "digits",
    "paths": [{"through": "program.h5", "values": ["u", "v", "spikes"], "compared": 1000,
               "mismatches": 0}],
}  # fmt: skip


def made(tmp_path, net=None, name="mine"):
    return export(Model(name, net or tiny(), {}), LOIHI2, tmp_path)


def labelled(net, count, source="made up"):
    x = images(net, count)
    return Samples(x, np.arange(count) % 2, source)


def measured(build, count=8, source="made up"):
    return builds.measure(build, labelled(build.program.network, count, source))


def test_a_proof_says_what_it_is_of_and_counts_for_its_program_only():
    words = proved(PROOF, "abc").words
    for part in ("1,000 values (u, v, spikes)", "lava", "in each of the 8 steps of 20 samples"):
        assert part in words
    of_before = {k: v for k, v in PROOF.items() if k != "sample_steps"}  # only chip steps were told
    assert "'s in 20 samples of digits." in proved(of_before, "abc").words
    assert words.startswith("Proved: all")
    assert proved(PROOF, "abc").holds
    for found, state in (
        (None, "none"), ({**PROOF, "program": "other"}, "other"),
        ({k: v for k, v in PROOF.items() if k != "program"}, "other"),
    ):  # fmt: skip
        assert proved(found, "abc").state == state
        assert proved(found, "abc").words.startswith("Not proved")
        assert not proved(found, "abc").holds
    wrong = proved({**PROOF, "mismatches": 3}, "abc")
    assert wrong.words.startswith("Disproved: 3 of 1,000 values")
    assert not wrong.holds
    parts = [
        {"populations": {"lif1": {"neurons": 3, "of": 9}, "lif2": {"neurons": 2, "of": 2}},
         "window": "0:3", "sources": {"input": 4}, "compared": 1000, "mismatches": 0}
    ]  # fmt: skip
    told = proved({**PROOF, "parts": parts, "left_out": [{"part": "x", "bytes": 1}]}, "abc")
    assert told.words.startswith("Proved for 3 of 9 neurons of lif1, lif2: all 1,000")
    assert "1 part left out" in told.words
    assert told.details == (
        "through program.h5: 1,000 compared, 0 differ",
        "lif1, lif2 [0:3], 5 of 11 neurons, fed by input: 1,000 compared, 0 differ",
        "left out: x",
    )


def test_steps_of_a_proof_are_those_in_which_each_layer_is_compared():
    first = {"layer": "lif2", "neuron": 7, "step": 9, "sample": 0, "what": "v", "ours": 1,
             "theirs": 2}  # fmt: skip
    paths = [PROOF["paths"][0] | {"processes": {"Dense": 2}, "mismatches": 1}]
    lines = text.verification({**PROOF, "mismatches": 1, "first": first, "paths": paths}, "mine")
    assert lines[0] == "mine: 20 samples of 8 steps, against lava 0.10.0"
    assert "neuron 7, chip step 9 of sample 0: v is 1 here and 2 there" in lines[2]


def test_the_better_bill_is_kept_and_it_is_said(tmp_path):
    build = made(tmp_path)

    def kept():
        return keeping.last_bill(build.path)["samples"]

    def keep(count, source="made up", **how):
        document = measured(build, count, source).document(build.digest)
        return keeping.keep_bill(build.path, document, **how)

    assert keep(8) is None
    note = keep(3)
    assert "stays: it is of 8 samples of made up, and this report of 3 samples" in note
    assert kept() == 8
    assert keep(3, replace=True) is None
    assert kept() == 3
    assert keep(8) is None
    assert keep(8) is None  # as good as the one that was there
    assert "was of 8 samples of made up and is of 9 samples of others now" in keep(9, "others")
    (build.path / "energy.json").write_text("{}")
    assert keep(2) is None  # nobody needs what was there
    assert kept() == 2
    write_json(build.path / "energy.json", measured(build, 9).document("another program"))
    assert keep(2) is None
    assert kept() == 2


def test_what_a_report_says_besides_stays_if_another_of_the_same_samples_leaves_it_out(tmp_path):
    document = {**measured(made(tmp_path)).document("abc"), "neurobench": {"a": 1}}
    keeping.keep_bill(tmp_path, document | {"against": [1]})
    keeping.keep_bill(tmp_path, document | {"neurobench": {"a": 2}})
    kept = json.loads((tmp_path / "energy.json").read_text())
    assert (kept["against"], kept["neurobench"]) == ([1], {"a": 2})
    for other in (document | {"program": "def"}, document | {"program": "def", "data": "others"}):
        keeping.keep_bill(tmp_path, other)
        assert "against" not in json.loads((tmp_path / "energy.json").read_text())


def test_the_larger_proof_is_kept_unless_something_differs(tmp_path):
    def kept():
        return keeping.last_proof(tmp_path)["compared"]

    assert keeping.keep_proof(tmp_path, PROOF) is None
    less = {**PROOF, "compared": 10}
    assert "stays: it proves 1,000 values, and this run 10" in keeping.keep_proof(tmp_path, less)
    assert kept() == 1000
    for other in ({"mismatches": 1}, {"program": "other"}, {"against": "lava 0.11"}):
        assert keeping.keep_proof(tmp_path, {**less, **other}) is None
        assert kept() == 10
        keeping.keep_proof(tmp_path, PROOF, replace=True)
    assert keeping.keep_proof(tmp_path, less, replace=True) is None
    assert kept() == 10


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


def test_the_text_fits_eighty_columns_whatever_the_names():
    report = bare(1e-9)
    longest = replace(report.layers[0], name="\u202e" + "long" * 200, neurons=10**7, synops=1e12)
    report = replace(report, layers=(longest, *report.layers[1:]), data="d" * 300, accuracy=0.5)
    lines = bill.energy(report, "n" * 300, None, proved(None, ""))
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    rows = [{"target": "xylo-audio2", "fits": False, "reasons": ["word " * 60]}]
    assert max(map(len, bill.compared(rows))) <= 80


def test_accuracies_in_a_column_are_of_the_same_samples(tmp_path):
    build = made(tmp_path)
    m = measured(build)
    evidence = replace(
        page.of_build(build, m, None, command="x", root=None),
        chain=(Step("teacher", 0.9, 100), Step("student", 0.8, 100), Step("chip", 0.7, 5),
               Step("unknown", 0.6, None)),
    )  # fmt: skip
    table = tables.chain(evidence)
    assert table.head[1:4] == (
        "accuracy % (100 samples)",
        "accuracy % (5 samples)",
        "accuracy % (samples not told)",
    )
    assert [[c.shown for c in row[1:4]] for row in table.rows] == [
        ["90.00", "–", "–"], ["80.00", "–", "–"], ["–", "70.00", "–"], ["–", "–", "60.00"],
    ]  # fmt: skip


def test_the_folder_shows_what_is_of_the_same_samples_and_why_not_the_rest(tmp_path):
    build = made(tmp_path)
    m = measured(build)
    run = {
        "accuracy": 0.9, "teacher_accuracy": None, "spikes_per_sample": 1.0,
        "synops_per_sample": 5.0, "parameters": 1, "connections": 1, "time_steps": 4,
        "method": "none", "data": "made up", "seed": 0, "seconds": 1.0,
    }  # fmt: skip
    for name, more in (
        ("same", {"samples": 8}), ("fewer", {"samples": 3}), ("silent", {}),
        ("broken", {"accuracy": "high"}), ("elsewhere", {"samples": 8, "data": "others"}),
    ):  # fmt: skip
        path = tmp_path / "runs" / name / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**run, **more}))
    for name in ("twin", "unpriced", "foreign", "stale"):
        made(tmp_path, name=name)
    for name, digest in (("twin", build.digest), ("stale", "another")):
        document = m.document(digest)
        write_json(tmp_path / "builds" / f"{name}-loihi2" / "energy.json", document)
    (tmp_path / "builds/foreign-loihi2/build.json").write_text("[]")
    found, left = folder.points(tmp_path, {"mine": m.report}, build.path)
    assert [(p.name, p.kind, p.here) for p in found] == [
        ("mine", "build", True), ("same", "run", False), ("twin-loihi2", "build", False),
    ]  # fmt: skip
    assert found[2].uj == pytest.approx(found[0].uj, rel=1e-5)
    why = dict(line.split(": ", 1) for line in left)
    assert set(why) == {
        "runs/fewer", "runs/silent", "runs/broken", "runs/elsewhere", "builds/unpriced-loihi2",
        "builds/foreign-loihi2", "builds/stale-loihi2",
    }  # fmt: skip
    assert "of 3 samples of made up" in why["runs/fewer"]
    assert "accuracy is 'high'" in why["runs/broken"]
    assert "another program" in why["builds/stale-loihi2"]


RECIPE = {"method": "hetero", "teacher": "cnn", "student": "mlp", "seed": 0, "beta": 0.5,
          "alpha": 0.7, "spike_cost": 0.0}  # fmt: skip
METRICS = {
    "accuracy": 0.9, "teacher_accuracy": 0.95, "spikes_per_sample": 1.0, "synops_per_sample": 5.0,
    "parameters": 1, "connections": 1, "time_steps": 4, "method": "hetero", "data": "made up",
    "seed": 0, "seconds": 1.0, "samples": 8,
}  # fmt: skip


def a_run(root, name, metrics=METRICS, **recipe):
    path = root / "runs" / name
    path.mkdir(parents=True)
    write_json(path / "command.json", {"command": "distill", "recipe": RECIPE | recipe})
    (path / "metrics.json").write_text(json.dumps(metrics))
    return path


@pytest.mark.parametrize(
    ("recipe", "metrics", "is_twin"),
    [
        ({}, {}, True),
        ({"teacher": "mlp", "alpha": 0.9, "prune_lr": 1.0}, {}, True),  # nobody taught it
        ({"unknown_yet": 1}, {}, True),  # by a later version
        ({"seed": 1}, {}, False),
        ({"spike_cost": 2.0}, {}, False),
        ({"method": "kd"}, {}, False),
        ({}, {"sparsity": 0.5}, False),
        ({}, {"accuracy": "high"}, False),
    ],
)
def test_a_taught_student_stands_beside_the_same_without_a_teacher(
    tmp_path, recipe, metrics, is_twin
):
    taught = a_run(tmp_path, "taught")
    labels = METRICS | {"method": "none", "teacher_accuracy": None, "accuracy": 0.8} | metrics
    a_run(tmp_path, "labels", labels, **{"method": "none", **recipe})
    steps = folder.chain({"model": str(taught)}, [], tmp_path)
    assert [(s.who, s.accuracy) for s in steps] == [
        ("teacher (a module)", 0.95),
        *([("the student without the teacher, float (labels)", 0.8)] if is_twin else []),
        ("student, float (taught)", 0.9),
    ]


def test_a_student_that_nobody_taught_has_no_such_twin(tmp_path):
    for name in ("a", "b"):
        path = a_run(tmp_path, name, METRICS | {"method": "none"}, method="none")
    assert folder.twin(folder.Run(path, METRICS), tmp_path) is None


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
    assert f"its events take {own}, against {its} for the teacher on a CPU, idle power" in said
    with pytest.raises(InputError, match=r"\[1\].*who is missing"):
        shown(row, {k: v for k, v in row.items() if k != "who"})
