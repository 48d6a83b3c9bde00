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
    ("alone", "taught", "said"),
    [
        (0.90, 0.93, "The student gets 3 more of 100 right with its teacher."),
        (0.93, 0.90, "The student gets 3 fewer of 100 right with its teacher."),
        (0.93, 0.93, "The student gets as many of 100 right with its teacher as without."),
    ],
)
def test_what_a_teacher_added(alone, taught, said):
    runs = [Run(Path(), {"accuracy": a}) for a in (alone, taught)]
    assert gained(*runs, 100) == said


@pytest.mark.parametrize("data", SETTINGS)
def test_a_recipe_of_the_demo_is_one_that_was_chosen_on_validation_data(data):
    setting = SETTINGS[data]
    recipe = defaults(setting.student, data, setting.teacher, seed=0, **setting.options).to_json()
    rows = json.loads(WORTH.read_text()).values()
    # what only the teacher's training reads is told of the teacher
    own = {"teacher_epochs": setting.options["teacher_epochs"]}
    chosen = [row["recipe"] | own for row in rows if row["data"] == data and row["teacher"]["name"]]
    assert any(all(known.get(k, v) == v for k, v in recipe.items()) for known in chosen)
