"""Target files: complete, sourced, and refused with every problem at once."""

from __future__ import annotations

import pytest

from snn2hw import target
from snn2hw.errors import InputError


@pytest.mark.parametrize("name", target.names())
def test_every_shipped_target_loads(name):
    chip = target.load(name)
    figures = [*chip.limits.values(), *chip.prices.values(), *chip.timing.values()]
    assert all(f.source and f.low <= f.value <= f.high for f in figures)


def test_unknown_target_suggests_the_nearest():
    with pytest.raises(InputError, match=r"no target 'loihi'.*Did you mean 'loihi2'"):
        target.load("loihi")


def test_a_file_that_changes_is_read_again(tmp_path, monkeypatch):
    text = (target.directory() / "loihi2.toml").read_text()
    monkeypatch.chdir(tmp_path)
    for title in ("one", "two"):
        (tmp_path / "mine.toml").write_text(text.replace("title = ", f'title = "{title}" #', 1))
        assert target.load("mine.toml").title == title


def test_every_problem_is_named_at_once(tmp_path):
    text = (target.directory() / "loihi2.toml").read_text()
    text = text.replace("state_shift = 6\n", "").replace("[timing.step]", "[timing.stop]")
    text = text.replace('kind = "measured"', 'kind = "guessed"', 1)
    text += "\n[extra]\nx = 1\n"
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        target.load(str(path))
    for part in (
        "unknown key extra", "numbers.state_shift is missing", "timing.stop is unknown",
        "timing.step is missing", "needs kind = one of",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_a_price_without_a_source_is_refused(tmp_path):
    text = (target.directory() / "loihi2.toml").read_text()
    before, _, after = text.partition("[prices.update]")
    after = "\n".join(x for x in after.split("\n") if not x.startswith('source = "as for synop'))
    path = tmp_path / "mine.toml"
    path.write_text(before + "[prices.update]" + after)
    with pytest.raises(InputError, match=r"prices.update has no source"):
        target.load(str(path))


def test_a_chip_of_a_known_family_is_one_file(tmp_path):
    from nets import residual

    from snn2hw.pipeline.compiler import compile_network

    text = (target.directory() / "loihi2.toml").read_text()
    path = tmp_path / "smaller.toml"
    path.write_text(text.replace("value = 8192", "value = 50"))
    program = compile_network(residual(), target.load(str(path)))
    assert program.target == "smaller"
    images = [p for p in program.network.populations if len(p.shape) == 3]
    assert program.placement.cores == sum(-(-p.size // 50) for p in images) + 1
