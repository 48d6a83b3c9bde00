"""What the demo says of a teacher, and that its recipes are those that the results chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snn2hw.pipeline.demo import SETTINGS, gained
from snn2hw.train import defaults

WORTH = Path(__file__).parents[2] / "docs/results/worth.json"


@pytest.mark.parametrize(
    ("won", "lost", "said"),
    [
        (65, 35, "The student gets 30 more of 1,000 right with its teacher."),
        (60, 40, "The student gets 20 more of 1,000 right with its teacher, which may be chance."),
        (35, 65, "The student gets 30 fewer of 1,000 right with its teacher."),
        (4, 1, "The student gets 3 more of 1,000 right with its teacher, which may be chance."),
        (5, 0, "The student gets 5 more of 1,000 right with its teacher."),
        (7, 7, "The student gets as many of 1,000 right with its teacher as without."),
    ],
)
def test_what_a_teacher_added(won, lost, said):
    assert gained(won, lost, 1000) == said


@pytest.mark.parametrize("data", SETTINGS)
def test_a_recipe_of_the_demo_is_one_that_was_chosen_on_validation_data(data):
    setting = SETTINGS[data]
    recipe = defaults(setting.student, data, setting.teacher, seed=0, **setting.options).to_json()
    rows = json.loads(WORTH.read_text()).values()
    # what only the teacher's training reads is told of the teacher
    own = {"teacher_epochs": setting.options["teacher_epochs"]}
    chosen = [row["recipe"] | own for row in rows if row["data"] == data and row["teacher"]["name"]]
    assert any(all(known.get(k, v) == v for k, v in recipe.items()) for known in chosen)
