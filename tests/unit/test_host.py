"""The processor of this machine: its energy counters, and an estimate from published prices."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn2hw.host import prices as published
from snn2hw.host import rapl
from snn2hw.host.timing import timed
from snn2hw.host.work import FAR, NEAR, estimated, of_events, of_layers
from snn2hw.ir.counts import Range

PRICES = published.load()


class Machine:
    """A folder as Linux shows counters, which count the energy of a clock that sleeping moves.

    Args:
        root: where it is.
        zones: by folder: name, largest value, and watts of the idle and of the busy machine.
        calls: seconds that a call takes.
    """

    def __init__(self, root, zones, calls=0.25):
        self.root, self.zones, self.now, self.calls = root, zones, 0.0, calls
        self.uj = dict.fromkeys(zones, 0.0)
        for folder, (name, largest, _, _) in zones.items():
            (root / folder).mkdir(parents=True)
            (root / folder / "name").write_text(f"{name}\n")
            (root / folder / "max_energy_range_uj").write_text(f"{largest}\n")
        self.show()

    def show(self):
        for folder, uj in self.uj.items():
            largest = self.zones[folder][1]
            (self.root / folder / "energy_uj").write_text(f"{round(uj) % (largest + 1)}\n")

    def run(self, seconds, busy):
        for folder, (_, _, idle, active) in self.zones.items():
            self.uj[folder] += 1e6 * seconds * (active if busy else idle)
        self.now += seconds
        self.show()

    def measured(self, **options):
        return rapl.measure(
            rapl.find(self.root).zones, lambda: self.run(self.calls, True),
            clock=lambda: self.now, sleep=lambda s: self.run(s, False), **options,
        )  # fmt: skip


def test_energy_of_a_call_is_what_is_above_idle(tmp_path):
    machine = Machine(tmp_path, {"intel-rapl:0": ("package-0", 10**12, 5.0, 25.0)})
    found = machine.measured()
    # 20 W above idle for a quarter of a second
    assert found.uj == Range(5e6, 5e6, 5e6)
    assert found.idle_w == pytest.approx(5.0)
    assert (found.calls, found.zones) == (4 * rapl.ROUNDS, ("package-0",))


def test_packages_and_memory_are_added_and_nothing_is_counted_twice(tmp_path):
    zones = {
        "intel-rapl:0": ("package-0", 10**12, 1.0, 11.0),
        "intel-rapl:0:0": ("core", 10**12, 0.5, 9.0),  # in its package
        "intel-rapl:0:1": ("dram", 10**12, 1.0, 3.0),  # beside it
        "intel-rapl:1": ("package-1", 10**12, 1.0, 1.0),
        "intel-rapl:2": ("psys", 10**12, 5.0, 50.0),  # all of it
        "intel-rapl-mmio:0": ("package-0", 10**12, 1.0, 11.0),  # the first, seen otherwise
    }
    machine = Machine(tmp_path, zones)
    found = machine.measured()
    assert found.zones == ("package-0", "dram", "package-1")
    assert found.uj.typical == pytest.approx(0.25e6 * (10 + 2))
    assert found.idle_w == pytest.approx(3.0)


def test_a_counter_that_starts_again(tmp_path):
    # 65 J are more than a round's idling or work, and less than both.
    machine = Machine(tmp_path, {"intel-rapl:0": ("package-0", 29_999_999, 5.0, 25.0)})
    found = machine.measured()
    assert machine.uj["intel-rapl:0"] > 4 * 30e6
    assert found.uj == Range(5e6, 5e6, 5e6)
    zone = rapl.Zone(tmp_path, "package-0", 999)
    assert (zone.since(10, 30), zone.since(990, 20), zone.since(999, 0)) == (20, 30, 1)


def test_rounds_that_differ_make_a_range(tmp_path):
    machine = Machine(tmp_path, {"intel-rapl:0": ("package-0", 10**12, 5.0, 25.0)})
    watts = iter([25, 25, 25, 25, 25, 26, 26, 26, 26, 27, 27, 27, 27])

    def call():
        machine.zones["intel-rapl:0"] = ("package-0", 10**12, 5.0, float(next(watts)))
        machine.run(0.25, True)

    found = rapl.measure(
        rapl.find(tmp_path).zones, call, rounds=3, clock=lambda: machine.now,
        sleep=lambda s: machine.run(s, False),
    )  # fmt: skip
    assert found.uj == Range(5.25e6, 5e6, 5.5e6)


def test_a_machine_without_counters(tmp_path):
    found = rapl.find(tmp_path / "none")
    assert found.zones == ()
    assert "shows no energy counters" in found.why_not
    Machine(tmp_path, {"intel-rapl:0": ("psys", 10**12, 1.0, 1.0)})
    assert rapl.find(tmp_path).zones == ()


def test_counters_that_may_not_be_read(tmp_path, monkeypatch):
    zones = {f"intel-rapl:{i}": (f"package-{i}", 10**12, 1.0, 2.0) for i in (0, 1)}
    Machine(tmp_path, zones)
    refused = tmp_path / "intel-rapl:1" / "energy_uj"
    refused.chmod(0)
    if os.geteuid() == 0:  # whom no mode keeps from reading
        opened = type(refused).open

        def refusing(path, *args, **options):
            if path == refused:
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, *args, **options)

        monkeypatch.setattr(type(refused), "open", refusing)
    found = rapl.find(tmp_path)
    # One package of two would say half of it.
    assert found.zones == ()
    assert found.why_not.endswith(f"{refused.parent} is readable by root only")


@pytest.mark.parametrize("text", ["", "many", "9" * 5000, "\xff\xfe"])
def test_counters_that_hold_no_number(tmp_path, text):
    Machine(tmp_path, {"intel-rapl:0": ("package-0", 10**12, 1.0, 2.0)})
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text(text, encoding="utf-8")
    found = rapl.find(tmp_path)
    if text.isdecimal():  # only so much of a file is read
        assert found.zones[0].read() == int(text[: rapl.LONGEST_TEXT])
    else:
        assert found.zones == ()
        assert "cannot be read" in found.why_not


def test_every_price_has_a_source_and_a_range_that_holds_it():
    for figure in (*PRICES.pj.values(), *PRICES.work.values()):
        assert figure.low <= figure.value <= figure.high
        assert len(figure.source) > 10


def test_an_estimate_by_hand():
    # 1000 products of float32, 10 additions, 100 weights and 50 values: 600 bytes
    found = estimated(of_layers(PRICES, "float32", 1000, 10, 100, 50), PRICES)
    arithmetic = 1000 * (3.7 + 0.9) + 10 * 0.9
    assert found.arithmetic.typical == pytest.approx(arithmetic * 1e-6)
    # two instructions for eight operations, one for sixteen, three for one
    instructions = [1010 * n / lanes * 70e-6 for n, lanes in ((2, 8), (1, 16), (3, 1))]
    assert _three(found.instructions) == pytest.approx(instructions)
    # one operand of four bytes for each, none, two; and all that there is once; 20 pJ for 8 bytes
    memory = [(1010 * 4 * n + 600) / 8 * 20e-6 for n in (1, 0, 2)]
    assert _three(found.memory) == pytest.approx(memory)
    total = [arithmetic * 1e-6 + i + m for i, m in zip(instructions, memory, strict=True)]
    assert _three(found.total) == pytest.approx(total)


def test_an_estimate_in_eight_bits_by_hand():
    found = estimated(of_layers(PRICES, "int8", 1000, 10, 100, 50), PRICES)
    assert found.arithmetic.typical == pytest.approx((1000 * (0.2 + 0.1) + 10 * 0.1) * 1e-6)
    instructions = [1010 * n / lanes * 70e-6 for n, lanes in ((2, 32), (1, 64), (3, 1))]
    assert _three(found.instructions) == pytest.approx(instructions)
    assert found.memory.typical == pytest.approx((1010 + 150) / 8 * 20e-6)


def test_an_estimate_of_events_by_hand():
    # 500 synops and 40 updates in 4 steps of 10 neurons with two states; 300 weights of a byte
    found = estimated(of_events(PRICES, 500, 40, 300, 1, 20, 4), PRICES)
    arithmetic = 80 * (3.1 + 0.1) + (500 + 3 * 40) * 0.1
    assert found.arithmetic.typical == pytest.approx(arithmetic * 1e-6)
    instructions = [
        (500 * s + 40 * u) / lanes * 70e-6 for s, u, lanes in ((4, 8, 8), (3, 6, 16), (6, 12, 1))
    ]
    assert _three(found.instructions) == pytest.approx(instructions)
    states = 2 * 4 * 20 * 4  # read and written, of four bytes
    memory = [
        (500 * 4 * sums + weights + states) / 8 * 20e-6
        for sums, weights in ((2, 500), (0, 300), (2, 500))
    ]
    assert _three(found.memory) == pytest.approx(memory)


@pytest.mark.parametrize(
    ("size", "each"),
    [
        (NEAR, (20, 20, 20)), (NEAR + 4, (100, 100, 100)), (FAR, (100, 100, 100)),
        (FAR + 4, (1300, 100, 2600)),
    ],
)  # fmt: skip
def test_a_larger_network_lies_farther_away(size, each):
    found = estimated(of_layers(PRICES, "float32", 0, 0, size / 4, 0), PRICES)
    assert _three(found.total) == pytest.approx([size / 8 * pj * 1e-6 for pj in each])


@given(
    st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e8), st.floats(0, 1e8),
    st.sampled_from(["float32", "int8"]),
)  # fmt: skip
def test_an_estimate_lies_in_its_range_and_grows_with_work(products, additions, weights, values, n):
    def total(factor):
        parts = (factor * p for p in (products, additions, weights, values))
        return estimated(of_layers(PRICES, n, *parts), PRICES).total

    once, twice = total(1), total(2)
    assert once.low <= once.typical <= once.high
    for a, b in zip(_three(once), _three(twice), strict=True):
        assert b == pytest.approx(2 * a) or b > 2 * a


def test_a_time_is_a_median_of_calls_that_were_warm():
    seen = []
    found = timed(lambda: seen.append(1), most=7)
    assert (found.calls, len(seen)) == (7, 10)
    slow = timed(lambda: seen.append(1), seconds=0.0)
    assert slow.calls == 5


def _three(found):
    return [found.typical, found.low, found.high]
