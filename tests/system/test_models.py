"""The trained students that come along reach on chip integers what their cards say."""

from __future__ import annotations

import pytest
from shared import DATA, needs_data
from system_calls import document

from snn2hw.pipeline import loading


def _marked(name: str):
    shipped = loading.model_recipe(name)["data"] == "digits"
    return pytest.param(name, marks=() if shipped else needs_data)


@pytest.mark.parametrize("name", [_marked(n) for n in loading.model_names()])
def test_accuracy_of_the_card_on_chip_integers(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SNN2HW_DATA", str(DATA))
    recipe = loading.model_recipe(name)
    document(tmp_path, "export", name, "--target", recipe.get("target", "loihi2"))
    found = document(tmp_path, "simulate")
    assert found["accuracy"] == pytest.approx(recipe["accuracy_on_chip"], abs=5e-5)
    card = (loading.models_directory() / name / "card.md").read_text()
    assert f"{100 * found['accuracy']:.2f} %" in card
    assert f"{found['synops_per_sample']:,.0f}" in card
    assert document(tmp_path, "models", name)["card"] == card
