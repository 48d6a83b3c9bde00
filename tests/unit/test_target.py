"""Target files: complete, sourced, and refused with every problem at once."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace

import pytest
from nets import images, tiny
from odd import refuses

from snn2hw import target
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.families import FAMILIES
from snn2hw.families.loihi import engine
from snn2hw.families.loihi.numbers import RANGES, Numbers
from snn2hw.families.loihi.place import most_inputs
from snn2hw.pipeline import counting
from snn2hw.pipeline.compiler import compile_network


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
        "extra is unknown", "numbers.state_shift is missing", "timing.stop is unknown",
        "timing.step is missing", "kind is 'guessed', not 'measured' or",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_a_price_without_a_source_is_refused(tmp_path):
    text = (target.directory() / "loihi2.toml").read_text()
    before, _, after = text.partition("[prices.update]")
    after = "\n".join(x for x in after.split("\n") if not x.startswith('source = "as for synop'))
    path = tmp_path / "mine.toml"
    path.write_text(before + "[prices.update]" + after)
    with pytest.raises(InputError, match=r"prices.update.source is missing"):
        target.load(str(path))


def test_a_chip_of_a_known_family_is_one_file(tmp_path):
    from nets import residual

    from snn2hw.pipeline.compiler import compile_network

    text = (target.directory() / "loihi2.toml").read_text()
    path = tmp_path / "smaller.toml"
    path.write_text(text.replace("value = 8192", "value = 50"))
    program = compile_network(residual(), target.load(str(path)))
    assert program.target.name == "smaller"
    neurons = sum(p.size for p in program.network.populations)
    assert program.placement.cores == -(-neurons // 50)


LOIHI2 = (target.directory() / "loihi2.toml").read_text(encoding="utf-8")


@pytest.fixture
def mine(tmp_path):
    def write(content):
        path = tmp_path / "mine.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


# What TOML has for values, wherever a number, a text or a truth value belongs.
LITERALS = (
    "true", "0", "-1", "1000000", "0x" + "f" * 1900, "0.5", "1e300", "1e999", "nan", "' '", "'x'",
    "[1]", "{value = 1}", "1979-05-27",
)  # fmt: skip


def use(path):
    """Do with a target what the commands do."""
    chip = target.load(path)
    program = compile_network(tiny(), chip)
    trace, counts = counting.run(program, images(program.network, 2))
    counting.report(program, trace, counts, chip).json()
    most_inputs(chip)


def test_whatever_a_value_is_it_is_named_or_harmless(mine):
    lines = LOIHI2.splitlines()
    values, section = {}, ""
    for i, line in enumerate(lines):
        section = line.partition(".")[0] if line.startswith("[") else section
        if re.match(r"\w+ = [^\"]|\w+ = \"[^\"]", line):
            values.setdefault((section, line.partition(" ")[0]), i)  # of each section, one figure
    refused = 0
    for i in values.values():
        key = lines[i].partition(" = ")[0]
        for literal in (None, *LITERALS):
            line = "" if literal is None else f"{key} = {literal}"
            path = mine("\n".join([*lines[:i], line, *lines[i + 1 :]]))
            refused += refuses(lambda path=path: use(path), "", f"{key} = {literal}")
    assert refused > 11 * len(values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "schema is missing; family is missing; numbers is missing"),
        (LOIHI2.replace("schema = 1", "schema = 2"), "schema is 2, not"),
        (LOIHI2.replace("schema = 1", "schema = true"), "schema is True, not"),
        (LOIHI2.replace("state_bits = 24", "state_bits = 64"), "state_bits is 64, .* 2 to 31"),
        (LOIHI2.replace("state_bits = 24", "state_bits = 7"), "leaves no weight in 7 bits"),
        (LOIHI2.replace("high = 128", "high = 119"), "cores_per_chip is not between its low"),
        (LOIHI2.replace("value = 8192", "value = 8192.5"), r"neurons_per_core is 8192\.5, not a w"),
        (LOIHI2.replace("value = 8192", "value = 0"), "neurons_per_core.value is 0, not a number"),
        (LOIHI2 + "\n[limits.more]\nvalue = 1", "limits.more is unknown"),
        (LOIHI2 + "more = 1", "more is unknown"),
        ("schema = 1\nschema = 1", "Cannot overwrite a value"),
        ("x = " + "[" * 1000, "RecursionError"),
        ("x = 0x" + "f" * 1900, "x is unknown"),
        ("x = " + "9" * 1900, "x is unknown"),
        ("a" + ".a" * 30_000 + " = 1", "line of more than 2000 characters"),
        ("#\n" * (1 << 15) + "#", "larger than a target has reason to be"),
        (b"title = '\xff'", "UnicodeDecodeError"),
        (b"\0", "TOMLDecodeError"),
    ],
)
def test_a_file_that_is_no_target_is_named(mine, content, said):
    with pytest.raises(InputError, match=rf"mine\.toml.*{said}"):
        target.load(mine(content))


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    for name, said in (
        ("pipe.toml", "is a pipe or a device"),
        ("folder.toml", "is a folder, not a target"),
        ("no/where/x.toml", "There is no file"),
    ):
        with pytest.raises(InputError, match=said):
            target.load(str(tmp_path / name))


@pytest.mark.parametrize("name", RANGES)
def test_numbers_are_such_as_simulators_count(name):
    chip = target.load("loihi2")
    for end, outside in zip(RANGES[name], (-1, 1), strict=True):
        numbers = replace(chip.numbers, **{name: end}, **_room(name, end))
        with suppress(UnsupportedError):  # of few bits some are too few for this network
            program = compile_network(tiny(), replace(chip, numbers=numbers))
            engine.run(program, images(program.network, 2))
        with pytest.raises(ValueError, match=f"{name} is {end + outside}"):
            replace(Numbers(), **{name: end + outside})


def _room(name, end):
    """Return what goes with so few bits of a state."""
    return {"state_shift": 0} if name == "state_bits" and end == 2 else {}


@pytest.mark.parametrize("name", target.names())
def test_an_ability_that_no_neuron_of_the_family_has_is_refused(tmp_path, name):
    """Else a network that needs it would be computed by other rules, without a word."""
    shipped = target.load(name)
    never = FAMILIES[shipped.family].schema.never
    assert never
    for ability in never:
        text, found = re.subn(rf"(?m)^{ability} = false", f"{ability} = true", shipped.text)
        assert found == 1
        (tmp_path / "mine.toml").write_text(text)
        with pytest.raises(InputError, match=rf"abilities\.{ability} is true, which no neuron of"):
            target.load(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("loihi1", {"graded_input = false": "graded_input = true"},
         "abilities.graded_input is true, but numbers.message_bits is 0"),
        ("loihi1", {"message_bits = 0": "message_bits = 24"},
         "numbers.message_bits is 24, but no ability is graded"),
        ("xylo-imu", {"graded_input = true": "graded_input = false"},
         "abilities.graded_input is false, but numbers.input_spikes is 15"),
        ("xylo-imu", {"input_spikes = 15": "input_spikes = 1"},
         "abilities.graded_input is true, but numbers.input_spikes is 1"),
    ],
)  # fmt: skip
def test_what_a_file_says_in_two_ways_is_refused(tmp_path, name, changes, said):
    text = target.load(name).text
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(said)):
        target.load(str(tmp_path / "mine.toml"))
