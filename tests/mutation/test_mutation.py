"""The faults that ``make mutation`` puts in: all of them compile, and each is one change."""

from __future__ import annotations

import json

import pytest
from mutation.mutants import Mutant, mutants
from mutation.run import MODULES, REASONS, Covered, arguments, every, page

SOURCE = '''
"""A module < of + texts."""
LIMIT: int = 2**23

class C:
    def bound(self, a: int = 0, *b: float) -> float | None:
        """Return a - b."""
        if a <= LIMIT and not b:
            return -(a) * 0.5
        if b[0] < 0:
            raise ValueError(f"{a + 1}" + "x")
        a //= 3
        return max(a, self.sum(b)) if b else None
'''


def changes(tmp_path, source):
    (tmp_path / "m.py").write_text(source)
    return mutants(tmp_path, "m.py")


def test_every_operator_number_and_condition_in_turn(tmp_path):
    found = changes(tmp_path, SOURCE)
    assert [(m.where, m.old, m.new) for m in sorted(found, key=lambda m: m.start)] == [
        ("", "2", "3"), ("", "**", "*"), ("", "23", "24"),
        ("C.bound", "0", "1"),
        ("C.bound", "a <= LIMIT and not b", "not (a <= LIMIT and not b)"),
        ("C.bound", "<=", "<"), ("C.bound", "<=", ">"), ("C.bound", "and", "or"),
        ("C.bound", "not", ""),
        ("C.bound", "-", ""), ("C.bound", "*", "//"), ("C.bound", "0.5", "1.0"),
        ("C.bound", "0", "1"), ("C.bound", "<", "<="), ("C.bound", "<", ">="),
        ("C.bound", "0", "1"),
        ("C.bound", "//=", "*="), ("C.bound", "3", "4"),
        ("C.bound", "max", "min"), ("C.bound", "sum", "max"), ("C.bound", "b", "not (b)"),
    ]  # fmt: skip
    for m in found:
        compile(m.put(SOURCE.encode()), "m", "exec")
        assert m.put(SOURCE.encode()) != SOURCE.encode()


def test_names_outlast_what_changes_elsewhere(tmp_path):
    before = changes(tmp_path, "def f(a):\n    return a + 1 + 1\n")
    after = changes(tmp_path, "import sys\n\n\ndef f(a):\n    return a + 1 + 1\n")
    assert [m.key for m in before] == [m.key for m in after]
    assert len({m.key for m in before}) == len(before) == 4


def test_the_project_has_faults_to_put_in():
    keys = [m.key for m in every(MODULES)]
    assert len(set(keys)) == len(keys) > 1000
    unknown = set(json.loads(REASONS.read_text())) - set(keys)
    assert not unknown, "reasons for faults that are no longer possible"


def test_the_quickest_tests_of_a_line_come_first():
    covered = Covered({"slow": 9.0, "quick": 0.1}, {"m": {3: ["slow", "quick"], 9: ["slow"]}})

    def at(line, where="f", module="m"):
        return covered.tests(Mutant(module, line, 0, 0, "", "", where, ""))

    assert at(3) == ["quick", "slow"]
    assert at(5) == ["quick", "slow"]  # within an expression that begins on line 3
    assert at(9) == ["slow"]
    assert at(9, where="") == ["quick", "slow"]  # runs when the module is imported
    assert at(9, where="_Class") == ["quick", "slow"]
    assert at(9, where="_Class.f") == at(9)
    assert at(3, module="n") == []


def test_the_page_lists_survivors_and_reasons(tmp_path, monkeypatch):
    reasons = tmp_path / "reasons.json"
    reasons.write_text(json.dumps({"m:f: a | b: | -> &": "it is free"}))
    monkeypatch.setattr("mutation.run.REASONS", reasons)
    verdicts = {"m:f: a | b: | -> &": "survived", "m:f: x: 1 -> 2": "survived", "n:g: y": "killed"}
    text = page(verdicts | {"n:g: z": "hung", "n:g: w": "not run"}, 10, 0)
    assert "| m | 2 | 0 | 1 | 1 |" in text
    assert "| n | 3 | 2 | 0 | 1 |" in text
    assert "| all | 5 | 2 | 1 | 2 |" in text
    assert "* `m:f: x: 1 -> 2`" in text
    assert r"| `m:f: a \| b: \| -> &` | it is free |" in text


@pytest.mark.parametrize(
    "given",
    [
        ["--faults", "x"],
        ["--faults", "0"],
        ["--seed", "x"],
        ["--module", "none.py"],
        ["--covering", "/nowhere/at/all.json"],
    ],
)
def test_bad_options_are_told(given, capsys):
    with pytest.raises(SystemExit) as stop:
        arguments(given)
    assert stop.value.code == 2
    assert given[0] in capsys.readouterr().err
