"""The trained students that come along reach on chip integers what their cards say."""

from __future__ import annotations

import tomllib

import pytest
from system_calls import document

from snn2hw.pipeline import builds


@pytest.mark.parametrize("name", builds.model_names())
def test_accuracy_of_the_card_on_chip_integers(tmp_path, name):
    folder = builds.models_directory() / name
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    document(tmp_path, "export", name)
    found = document(tmp_path, "simulate")
    assert found["accuracy"] == pytest.approx(recipe["accuracy_on_chip"], abs=5e-5)
    card = (folder / "card.md").read_text()
    assert f"{100 * found['accuracy']:.2f} %" in card
    assert f"{found['synops_per_sample']:,.0f}" in card
    assert document(tmp_path, "models", name)["card"] == card
