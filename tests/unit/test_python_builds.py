"""Builds of the Python interface: where they may be written, what they remember, their page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import images, tiny

import snn2hw
from snn2hw.errors import InputError

# Of the small networks here, which are made up.
pytestmark = pytest.mark.filterwarnings("ignore:.*can never spike")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def late():
    """A network whose first neurons the chip does not have, and its samples."""
    net = tiny()
    nodes = {k: replace(n, reset="subtract") if k == "lif1" else n for k, n in net.nodes.items()}
    return replace(net, nodes=nodes)


def longer(net, steps):
    return snn2hw.Network.of(replace(net, time_steps=steps))


def document(folder):
    return json.loads((folder / "build.json").read_text())


@pytest.fixture
def build():
    return snn2hw.build(tiny())


def test_nothing_but_a_build_is_replaced(here, build):
    Path("thesis").mkdir()
    Path("thesis/ch1.tex").write_text("x")
    Path("notes.txt").write_text("x")
    for place, why in (
        ("thesis", "thesis is no build, and holds ch1.tex, which a build would replace"),
        ("notes.txt", "notes.txt is a file, and a build is a folder"),
        (".", "A build cannot replace .*Name a folder inside it"),
        ("..", "A build cannot replace"),
        (here / "thesis" / "..", "A build cannot replace"),
    ):
        with pytest.raises(InputError, match=why):
            build.save(place)
        with pytest.raises(InputError, match=why):
            build.save(place, replace=True)
    assert [p.read_text() for p in (Path("thesis/ch1.tex"), Path("notes.txt"))] == ["x", "x"]
    Path("empty").mkdir()
    assert snn2hw.open(build.save("empty")).program.digest() == build.program.digest()


def test_files_of_others_in_a_build_are_not_lost(here, build):
    folder = build.save("mine")
    (folder / "a.txt").write_text("x")
    (folder / "notes").mkdir()
    with pytest.raises(InputError, match=r"mine holds a.txt, notes beside a build"):
        build.save("mine", replace=True)
    (folder / "a.txt").unlink()
    (folder / "notes").rmdir()
    (folder / "page.html").write_text("a page of this program")
    build.save("mine")
    assert (folder / "page.html").read_text() == "a page of this program"


def test_another_build_is_not_replaced_without_a_word(here, build):
    folder = build.save("mine")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    build.save("mine")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    other = snn2hw.build(longer(tiny(), 9))
    with pytest.raises(InputError, match=r"time_steps is 9 now and was \d+. .*replace=True"):
        other.save("mine")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with pytest.warns(UserWarning, match="mine held another program, which is gone"):
        other.save("mine", replace=True)
    assert document(folder)["time_steps"] == 9
    nodes = dict(tiny().nodes)
    nodes["fc1"] = replace(nodes["fc1"], weight=-nodes["fc1"].weight)
    trained_on = snn2hw.build(longer(replace(tiny(), nodes=nodes), 9))
    with pytest.warns(UserWarning, match="mine held another program, which is gone"):
        trained_on.save("mine")  # the same options


def test_the_name_of_a_build_cannot_be_that_of_the_pointer(here, build):
    with pytest.raises(InputError, match="'latest' cannot be the name of a build"):
        build.save("builds/latest")


def test_a_path_is_no_other_build_of_its_name(here, build):
    build.save("builds/mine")
    for given in ("/no/such/place/mine", "results/mine", "./mine", "mine/"):
        with pytest.raises(InputError, match=f"There is no build '{given}'"):
            snn2hw.open(given)
    assert snn2hw.open("mine").program.digest() == build.program.digest()
    net = snn2hw.Network.of(tiny())
    Path("sub").mkdir()
    for file in ("net.nir", "sub/net.nir"):
        net.save(file)
    snn2hw.build(snn2hw.load("net.nir")).save("builds/one")
    for given in ("net", "net.nir", "./net.nir", here / "net.nir"):
        assert snn2hw.open(given).program.digest() == build.program.digest()
    with pytest.raises(InputError, match=r"There is no build 'sub/net.nir'"):
        snn2hw.open("sub/net.nir")


def test_a_build_remembers_what_it_was_made_of(here):
    """So that the command line exports it again."""
    snn2hw.Network.of(tiny()).save("net.nir")
    net = snn2hw.load("net.nir", time_steps=5, reset="zero")
    found = document(snn2hw.build(net).save("builds/a"))
    assert found["model"] == "net.nir"
    assert list(found["inputs"]) == ["nir"]
    assert found["options"] == {"time_steps": 5, "reset": "zero", "rewrite": []}
    longer = snn2hw.build(net, time_steps=6)
    assert document(longer.save("builds/b"))["options"]["time_steps"] == 6
    snn2hw.load("digits-cnn").save("net.nir")  # it is another network now
    found = document(snn2hw.build(net).save("builds/c"))
    assert (found["model"], found["inputs"]) == ("", {})


def test_a_network_that_was_changed_is_of_no_file(here):
    snn2hw.Network.of(tiny()).save("net.nir")
    changed = replace(snn2hw.load("net.nir"), time_steps=7)
    assert document(snn2hw.build(changed).save("a"))["model"] == ""


def test_options_of_a_module_are_recorded(here):
    import snntorch
    from torch import nn

    module = nn.Sequential(nn.Linear(4, 2), snntorch.Leaky(beta=0.5, reset_mechanism="zero"))
    net = snn2hw.load(module, shape=4, input_scale="1/255", input_mean=0.5, time_steps=3)
    folder = snn2hw.build(net).save("builds/a")
    assert document(folder)["options"] == {
        "time_steps": 3, "rewrite": [], "shape": [4], "input_scale": 1 / 255, "input_mean": [0.5],
    }  # fmt: skip
    other = snn2hw.load(module, shape=4, input_scale=1 / 16, time_steps=3)
    with pytest.raises(InputError, match=r"input_scale is 0.0625 now and was 0.0039"):
        snn2hw.build(other).save("builds/a")
    assert snn2hw.open("builds/a").options["shape"] == [4]


def test_results_go_where_a_file_can_be(here, build):
    x = next(iter(images(tiny()).values()))
    Path("builds").mkdir()
    with pytest.raises(InputError, match="there is no folder nodir"):
        build.report("nodir/page.html", x)
    with pytest.raises(InputError, match="builds cannot be written: it is a folder"):
        build.report("builds", x)
    net = snn2hw.Network.of(tiny())
    for name in ("x.onnx", "saved", "builds"):
        with pytest.raises(InputError, match=rf"Name it {Path(name).stem}.nir"):
            net.save(name)
    with pytest.raises(InputError, match="there is no folder nodir"):
        net.save("nodir/a.nir")
    assert list(here.iterdir()) == [here / "builds"]


def test_the_page_and_the_bill_tell_of_rewrites(here):
    net = late()
    x, y = next(iter(images(net).values())), None
    y = np.zeros(len(x), int)
    with pytest.warns(UserWarning, match="hard-reset"):
        changed = snn2hw.build(net, rewrite=["hard-reset"], x=x, y=y)
    page = changed.report("page.html", x, y).read_text()
    found = changed.rewrites
    assert ">Rewrites</h2>" in page
    assert found["applied"]["hard-reset"] in page
    for share in (found["same_predictions"], found["accuracy"][0], found["on_chip"]["accuracy"]):
        assert f">{100 * share:.2f} %</td>" in page
    assert "Random inputs say little" not in page
    with pytest.warns(UserWarning, match="hard-reset"):
        blind = snn2hw.build(net, rewrite=["hard-reset"])
    assert "Random inputs say little" in blind.report("page.html", x).read_text()
    assert "Rewrites" not in snn2hw.build(tiny()).report("page.html", x).read_text()


def test_the_page_says_whose_samples_were_counted(here):
    """Not which data the student was trained on."""
    build = snn2hw.build(snn2hw.load("digits-cnn"))
    x = np.zeros((3, 8, 1, 8, 8), int)
    assert "mean of 3 samples of arrays" in build.report("page.html", x).read_text()
