"""The demo as a stranger runs it: the whole story on the digits, with the accuracy it promises."""

from __future__ import annotations

import json

import pytest
from readme import difference, shown
from system_calls import call, call_here


@pytest.mark.long
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_demo_on_digits(tmp_path):
    done = call(tmp_path, "demo")
    assert done.returncode == 0, done.stderr
    assert difference(shown()["demo"], done.stdout, end=True) == ""
    logs = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/log.jsonl")}
    assert len(logs) == 3
    again = call_here(tmp_path, "demo", "--json", "-q")
    assert {p: p.stat().st_mtime_ns for p in logs} == logs  # what is trained is not trained again
    found = json.loads(again.stdout)
    rows = {r["network"].split(",")[0].split(" (")[0]: r for r in found["rows"]}
    assert found["samples"] == 599  # the held-out third of 1,797
    assert found["gained"] in done.stdout.splitlines()
    with_it, without = (rows[k]["accuracy"] for k in ("student", "student without the teacher"))
    more = round(599 * (with_it - without))
    which = "as many" if not more else f"{abs(more)} {'more' if more > 0 else 'fewer'}"
    assert found["gained"].startswith(f"The student gets {which} of 599 right")
    assert found["accuracy"] >= 0.95
    assert abs(found["accuracy"] - rows["pruned"]["accuracy"]) <= 0.01
    metrics = json.loads((tmp_path / found["runs"][1] / "metrics.json").read_text())
    assert metrics["sparsity"] >= 0.70
    assert metrics["time_steps"] <= 8
    verified = found["verification"]
    assert verified["samples"] >= 20
    assert verified["mismatches"] == 0
    assert [p["through"] for p in verified["paths"]] == ["program.h5", "netx, model.net"]
    page = (tmp_path / found["page"]).read_text()
    assert "every value that was compared with the vendor&#39;s simulator is equal" in page
    assert "From the teacher to the chip" in page
    for name in ("program.h5", "model.net", "placement.json", "energy.json", "build.json"):
        assert (tmp_path / found["build"] / name).exists()
    (told,) = (x for x in done.stdout.splitlines() if x.startswith("on chip"))
    assert f"{100 * found['accuracy']:.2f} %" in told
