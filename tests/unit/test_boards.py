"""How many chips a build may use: boards of a target file, --chips, and what is refused."""

from __future__ import annotations

import pytest
from nets import images, residual

import snn2hw
from snn2hw import nir_io, target
from snn2hw.errors import DoesNotFitError, InputError
from snn2hw.pipeline import counting, exporting
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.loading import load_any, load_model
from snn2hw.store import folders

LOIHI2 = (target.directory() / "loihi2.toml").read_text(encoding="utf-8")
SMALL = LOIHI2.replace("value = 120\n", "value = 2\n").replace("value = 8192", "value = 60")


@pytest.fixture
def small(tmp_path):
    """Loihi 2 with cores of 60 neurons, two a chip."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL.replace("[limits.chips]\nvalue = 8", "[limits.chips]\nvalue = 2"))
    return target.load(str(path))


def test_as_many_chips_as_are_asked_for(small):
    with pytest.raises(DoesNotFitError) as caught:
        compile_network(residual(), small)
    needed = compile_network(residual(), target.with_chips(small, 1152)).placement
    assert needed.chips > 2
    assert f"needs {needed.cores} cores ({needed.chips} chips)" in str(caught.value)
    assert "has 4 (2 chips)" in str(caught.value)
    board = "kapoho-point has 8" if needed.chips <= 8 else "hala-point has 1,152"
    assert f"{board} chips: give --chips {needed.chips} " in str(caught.value)
    again = compile_network(residual(), target.with_chips(small, needed.chips))
    assert again.placement == needed
    with pytest.raises(DoesNotFitError):
        compile_network(residual(), target.with_chips(small, needed.chips - 1))


def test_a_network_that_no_board_holds(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        SMALL.replace("value = 1152", "value = 2").replace("value = 8\n", "value = 2\n")
    )
    with pytest.raises(DoesNotFitError, match="No board has so many"):
        compile_network(residual(), target.load(str(path)))


@pytest.mark.parametrize(
    ("name", "chips", "said"),
    [
        ("loihi2", 1153, r"1,153 chips .* Intel Loihi 2, hala-point, has 1,152"),
        ("loihi1", 769, r"769 chips .* pohoiki-springs, has 768"),
        ("loihi2", 0, r"0 chips .* Give --chips a number from 1 to 1,152"),
        ("xylo-audio2", 2, r"is a single chip, on which 2 cannot be used"),
    ],
)
def test_more_chips_than_there_are(name, chips, said):
    with pytest.raises(InputError, match=said):
        target.with_chips(target.load(name), chips)


def test_what_is_asked_for_again_is_bounded_by_the_largest_board():
    assert target.at_most(target.load("loihi1"), 1000) == 768
    assert target.at_most(target.load("loihi1"), 7) == 7
    assert target.at_most(target.load("xylo-audio2"), 7) is None
    assert target.at_most(target.load("loihi2"), None) is None


@pytest.mark.parametrize("section", ["[boards.x]\nvalue = 1.5", "[boards.x]\nvalue = 0"])
def test_boards_that_make_no_sense(tmp_path, section):
    path = tmp_path / "odd.toml"
    path.write_text(f'{LOIHI2}\n{section}\nkind = "published"\nsource = "x"\n')
    with pytest.raises(InputError, match=r"boards\.x"):
        target.load(str(path))


def test_the_static_power_is_that_of_the_chips_used(small):
    program = compile_network(residual(), target.with_chips(small, 1152))
    x = images(program.network, samples=2)
    bill = counting.report(program, *counting.run(program, x), program.target)
    watts = small.prices["static"].value * program.placement.chips
    assert bill.chips == program.placement.chips
    assert bill.static_uj.typical == pytest.approx(watts * bill.period_us.typical)


def test_a_build_keeps_its_chips_and_is_exported_with_them_again(small, tmp_path):
    nir_io.write(tmp_path / "net.nir", residual())
    model = load_model(str(tmp_path / "net.nir"), tmp_path)
    made = exporting.export(model, small, tmp_path, chips=100)
    opened = folders.read_build(made.path)
    assert opened.info["options"]["chips"] == 100
    assert opened.program.placement == made.program.placement
    assert made.program.placement.chips > 2
    assert load_any(str(made.path), tmp_path).chips == 100


def test_python_takes_chips_too(small):
    built = snn2hw.build(residual(), small, chips=50)
    assert built.program.placement.chips > 2
    assert built.options["chips"] == 50
    with pytest.raises(DoesNotFitError):
        snn2hw.build(residual(), small)
