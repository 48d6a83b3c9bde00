"""How a part of a build is named, and what a simulator holds of it."""

from __future__ import annotations

import numpy as np
import pytest
from nets import LOIHI2, residual

from snn2hw.errors import InputError
from snn2hw.families.loihi import lava
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import part

PROGRAM = compile_network(residual(), LOIHI2)
NET = PROGRAM.network


def test_populations_by_name_and_between_two():
    assert part.chosen(NET, ["lif3", "lif1"]) == ("lif1", "lif3")
    assert part.chosen(NET, ["lif1..lif3"]) == ("lif1", "lif2", "lif3")
    assert part.chosen(NET, ["lif2..lif3"]) == ("lif2", "lif3")
    assert part.chosen(NET, ["lif1..lif2", "lif4"]) == ("lif1", "lif2", "lif4")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lif9"], "no population 'lif9'. Did you mean"),
        (["lif1..fil2"], "no population 'fil2'. Did you mean"),
        (["input"], "no population 'input'"),
        (["lif9", "x..lif1"], "no populations 'lif9' (did you mean 'lif"),
        (["lif3..lif2"], "No connection leads from lif3 to lif2"),
        (["lif3..lif2", "lif4..lif1"], "from lif3 to lif2; No connection leads from lif4 to lif1"),
    ],
)
def test_names_that_are_none(names, said):
    with pytest.raises(InputError) as raised:
        part.chosen(NET, names)
    assert said in str(raised.value)


def test_ranges_as_text_and_as_numpy_writes_them():
    wanted = (slice(0, 3), slice(2, 4), slice(5, 6))
    for given in (":,2:4,5", "0:3, 2:4 ,5:", np.s_[:, 2:4, 5], np.s_[0:3, 2:4, np.int64(5)]):
        assert part.box_of(given, "lif1", (3, 6, 6)) == wanted
    assert part.box_of("4", "lif4", (5,)) == (slice(4, 5),)


@pytest.mark.parametrize(
    "given",
    ["", "1:2", ":,:,:,:", "0:4,:,:", "2:2,:,:", "-1,:,:", "a,:,:", "1 2,:,:", ":,:,0:6:2",
     "\u0663,:,:", np.s_[:, :, ::2], np.s_[:, :, 1.5], np.s_[:, :, -1]],
)  # fmt: skip
def test_ranges_that_are_none(given):
    with pytest.raises(InputError) as raised:
        part.box_of(given, "lif1", (3, 6, 6))
    assert "no neurons of lif1, whose shape is 3x6x6" in str(raised.value)
    assert "within 0:3,0:6,0:6" in str(raised.value)


def test_of_the_last_population_some_and_what_feeds_them():
    some = part.select(NET, ("lif2", "lif3"), part.box_of(":,0:1,0:1", "lif3", (3, 6, 6)))
    assert {k: v.size for k, v in some.keep.items()} == {"lif3": 3, "lif2": 12, "lif1": 18}
    assert some.sources == ("lif1",)
    with pytest.raises(InputError) as raised:
        part.select(NET, ("lif3", "lif2"), part.box_of(":,:,:", "lif2", (3, 6, 6)))
    assert "hear nothing of lif3" in str(raised.value)


def test_windows_are_halved_between_rows_and_columns_first():
    box = (slice(0, 8), slice(0, 3), slice(2, 4))
    assert part.halves(box) == [(box[0], slice(0, 1), box[2]), (box[0], slice(1, 3), box[2])]
    box = (slice(0, 8), slice(0, 1), slice(2, 3))
    assert part.halves(box) == [(slice(0, 4), *box[1:]), (slice(4, 8), *box[1:])]
    one = (slice(3, 4),)
    assert part.halves(one) == [one]


def test_what_a_simulator_holds():
    some = part.select(NET, ("lif3", "lif4"))
    found = part.load(PROGRAM, some, 20)
    # lif3: 27 weights of a kernel for each neuron, and 72 one to one, which wait; lif4: 5 x 108.
    neurons = 5 + 108 + 108 + 72
    assert found == (5 * 108, 108 * 27 + 72, 72, 36 * 9, neurons, 20)
    everything = part.load(PROGRAM, part.everything(NET), 20)
    assert everything.neurons == neurons + 36
    more = [found._replace(**{k: getattr(found, k) + 10**9}) for k in found._fields]
    assert all(lava.memory(m) > lava.memory(found) + 1e9 for m in more)
