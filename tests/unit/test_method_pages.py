"""Every method and pruner has its page, and what the pages command exists."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest

from snn2hw import train
from snn2hw.cli.commands import load
from snn2hw.train import METHODS, PRUNERS
from snn2hw.train.methods import Weights
from snn2hw.train.recipe import Recipe

PAGES = Path(__file__).parents[2] / "docs" / "methods"


def commands(page):
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("snn2hw ")]


def test_every_method_has_a_page():
    assert {p.stem for p in PAGES.glob("*.md")} >= set(METHODS)
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert [n for n in METHODS if f"[{n}]({n}.md)" not in index] == []


def test_every_pruner_has_a_section():
    sections = re.findall(r"^## (\S+)$", (PAGES / "pruning.md").read_text("utf-8"), re.MULTILINE)
    assert sections == list(PRUNERS)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda p: p.stem)
def test_commands_of_a_page_can_be_read(page):
    for name, *rest in commands(page):
        command = load(name)
        assert isinstance(command, click.Command)
        context = command.make_context(name, list(rest), resilient_parsing=False)
        method = context.params.get("method")
        assert method is None or set(method.split("+")) <= set(METHODS)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda p: p.stem)
def test_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("method", METHODS)
def test_defaults_of_a_page_are_those_of_the_code(method):
    text = (PAGES / f"{method}.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE))
    recipe = train.defaults("mlp", method=method, data="mnist")
    for name, value in listed.items():
        assert getattr(recipe, name) == float(value), name


def test_the_constants_of_losses_are_by_default_those_of_a_recipe():
    told = {f.name: f.default for f in fields(Recipe)}
    assert Weights()._asdict() == {n: told[n] for n in Weights._fields}


def test_every_constant_of_a_loss_is_on_a_page():
    pages = "".join((PAGES / f"{m}.md").read_text(encoding="utf-8") for m in METHODS)
    assert [n for n in Weights._fields if f"`{n}`" not in pages] == []
