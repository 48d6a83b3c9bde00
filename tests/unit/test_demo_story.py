"""What the demo says of a teacher, and that its recipes are those that the results chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snn2hw.pipeline.demo import SETTINGS, gained
from snn2hw.store.folders import Run
from snn2hw.train import defaults

WORTH = Path(__file__).parents[2] / "docs/results/worth.json"


@pytest.mark.parametrize(
    ("wrong", "wrong_taught", "said"),
    [
        (100, 70, "The student gets 30 more of 1,000 right with its teacher."),
        (100, 74, "The student gets 26 more of 1,000 right with its teacher, which may be chance."),
        (70, 100, "The student gets 30 fewer of 1,000 right with its teacher."),
        (6, 3, "The student gets 3 more of 1,000 right with its teacher, which may be chance."),
        (7, 7, "The student gets as many of 1,000 right with its teacher as without."),
    ],
)
def test_what_a_teacher_added(wrong, wrong_taught, said):
    runs = [Run(Path(), {"accuracy": 1 - n / 1000}) for n in (wrong, wrong_taught)]
    assert gained(*runs, 1000) == said


@pytest.mark.parametrize("data", SETTINGS)
def test_a_recipe_of_the_demo_is_one_that_was_chosen_on_validation_data(data):
    setting = SETTINGS[data]
    recipe = defaults(setting.student, data, setting.teacher, seed=0, **setting.options).to_json()
    rows = json.loads(WORTH.read_text()).values()
    # what only the teacher's training reads is told of the teacher
    own = {"teacher_epochs": setting.options["teacher_epochs"]}
    chosen = [row["recipe"] | own for row in rows if row["data"] == data and row["teacher"]["name"]]
    assert any(all(known.get(k, v) == v for k, v in recipe.items()) for known in chosen)
