"""The bill and the proof that a build keeps, and what is claimed from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evidence import PROOF, made, measured
from nets import LOIHI2, images, tiny
from system_calls import call_here

import snn2hw
from snn2hw.files import write_json
from snn2hw.pipeline import folder, keeping, proving
from snn2hw.pipeline.port import fingerprint
from snn2hw.report import text
from snn2hw.report.proof import proved


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
    document = measured(build, 9, "others").document(build.digest)
    assert keeping.keep_bill(build.path, document | {"data_sha256": "1"}) is None
    note = keeping.keep_bill(build.path, document | {"data_sha256": "2"})
    assert "was of 9 samples of others and is of others of this name now" in note
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
    for other in ({"program": "def"}, {"data": "others"}, {"data_sha256": "another"}):
        keeping.keep_bill(tmp_path, document | {"against": [1]}, replace=True)
        keeping.keep_bill(tmp_path, document | other)
        assert "against" not in json.loads((tmp_path / "energy.json").read_text())


def test_a_bill_of_samples_that_were_trained_on_does_not_replace_one_of_unseen_ones(tmp_path):
    build = made(tmp_path)
    unseen = measured(build, 3).document(build.digest)
    seen = measured(build, 8).document(build.digest) | {"trained_on": True}
    keeping.keep_bill(build.path, seen)
    assert keeping.keep_bill(build.path, unseen) is None
    note = keeping.keep_bill(build.path, seen)
    assert "this report of 8 samples of made up, on which the model was trained" in note
    assert keeping.last_bill(build.path)["samples"] == 3
    keeping.keep_bill(build.path, seen, replace=True)
    assert keeping.last_bill(build.path)["samples"] == 8


PART = {"populations": {"lif1": {"neurons": 5, "of": 9}}, "window": "0:5", "sources": {},
        "compared": 1000, "mismatches": 0}  # fmt: skip


WORSE = {
    "fewer values": {"compared": 999},
    "a part": {"parts": [PART], "compared": 10**6},
    "arrays": {"data": "arrays", "data_sha256": "1", "compared": 10**6},
    "a file that is called like a data set": {"data_sha256": "1", "compared": 10**6},
    "silence": {"data_sha256": "1", "silent": True, "compared": 10**6},
    "another simulator": {"against": "lava 0.11", "compared": 999},
}


@pytest.mark.parametrize("worse", WORSE.values(), ids=list(WORSE))
def test_the_proof_that_is_worth_more_is_kept(tmp_path, worse):
    less = {**PROOF, **worse}
    assert keeping.keep_proof(tmp_path, PROOF) is None
    note = keeping.keep_proof(tmp_path, less)
    assert "stays: it proves 1,000 values of the whole program on 20 samples of digits" in note
    assert keeping.last_proof(tmp_path) == PROOF
    assert keeping.keep_proof(tmp_path, less, replace=True) is None
    assert keeping.last_proof(tmp_path) == less
    keeping.keep_proof(tmp_path, PROOF)
    assert keeping.last_proof(tmp_path) == PROOF


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"data_sha256": "1", "silent": True, "compared": 10**6}, {"data_sha256": "2"}),
        ({"parts": [PART]}, {"parts": [PART, {**PART, "window": "3:9"}], "data_sha256": "1"}),
        ({"parts": [PART]}, {"data_sha256": "1", "compared": 10}),
    ],
)
def test_the_program_counts_before_the_samples_and_these_before_the_values(tmp_path, less, more):
    keeping.keep_proof(tmp_path, {**PROOF, **less})
    note = keeping.keep_proof(tmp_path, {**PROOF, **more})
    assert " proved 1,0" in note
    assert " and proves " in note
    assert "stays" in keeping.keep_proof(tmp_path, {**PROOF, **less})


def test_pieces_that_overlap_are_not_more_than_what_they_are_of(tmp_path):
    whole = {**PART, "populations": {"lif1": {"neurons": 9, "of": 9}, "b": {"neurons": 1, "of": 1}}}
    keeping.keep_proof(tmp_path, {**PROOF, "parts": [whole]})
    note = keeping.keep_proof(tmp_path, {**PROOF, "parts": [PART] * 3})
    assert "stays: it proves 1,000 values of 10 neurons" in note
    assert "this run 1,000 values of 9 neurons" in note


def test_a_difference_stays_whatever_is_proved_later(tmp_path):
    keeping.keep_proof(tmp_path, PROOF)
    wrong = {**PROOF, "compared": 10, "mismatches": 3, "parts": [PART]}
    assert keeping.keep_proof(tmp_path, wrong) is None
    note = keeping.keep_proof(tmp_path, PROOF)
    assert "stays: it found that 3 of 10 values differ" in note
    assert keeping.last_proof(tmp_path) == wrong
    again = {**wrong, "mismatches": 1}
    assert keeping.keep_proof(tmp_path, again) is None
    assert keeping.last_proof(tmp_path) == again
    assert keeping.keep_proof(tmp_path, {**PROOF, "program": "other"}) is None
    assert keeping.last_proof(tmp_path)["program"] == "other"
    keeping.keep_proof(tmp_path, wrong)
    keeping.keep_proof(tmp_path, PROOF, replace=True)
    assert keeping.last_proof(tmp_path) == PROOF


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe\x00", b"[1", b'{"against": 1}'])
def test_a_broken_proof_does_not_stop_a_report_and_it_is_said_why(tmp_path, content):
    build = made(tmp_path)
    (build.path / "verify.json").write_bytes(content)
    np.savez(tmp_path / "x.npz", x=images(tiny(), 4)["input"], y=np.arange(4) % 2)
    order = ["--input", "x.npz", "--targets", "none", "--html", "page.html"]
    done = call_here(tmp_path, "energy", "report", *order)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "Not proved: " in shown
    for said in (shown, done.stderr, (tmp_path / "page.html").read_text()):
        assert "verify.json" in said
    with pytest.warns(UserWarning, match="last proof does not count"):
        assert "proof" not in snn2hw.open(build.path)._last
    found = folder.proof_of(tmp_path, build.digest, [build.path])
    assert "verify.json" in found
    assert proved(found, build.digest).state == "none"


def test_in_python_a_proof_that_is_worth_less_does_not_hide_another(tmp_path, monkeypatch):
    built = snn2hw.build(tiny(), LOIHI2)
    x = images(built.program.network, 2)["input"]
    told = {k: v for k, v in PROOF.items() if k not in ("program", "data")}
    answers = iter([told, {**told, "parts": [PART]}, {**told, "parts": [PART]}])
    monkeypatch.setattr(proving, "compare_with_vendor", lambda *_: dict(next(answers)))
    assert built.verify(x)["data_sha256"] == fingerprint({"input": x})
    with pytest.warns(UserWarning, match="reports go on telling the proof before: it proves"):
        assert built.verify(x, part="lif1")["parts"]
    assert "Proved: all 1,000" in built.report(tmp_path / "page.html", x).read_text()
    built.verify(x, part="lif1", replace=True)
    assert "Proved for 5 of 9 neurons of lif1" in str(built.energy(x))
