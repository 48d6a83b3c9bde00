"""One unit for each quantity of a report, chosen by its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snn2hw.estimator import EnergyReport
from snn2hw.ir.counts import Range
from snn2hw.ir.target import Figure
from snn2hw.report.text import number


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its name in ASCII, and its size in microjoules or microseconds."""

    name: str
    size: float

    @property
    def sign(self) -> str:
        """Its name with the letter for micro."""
        return self.name.replace("u", "µ")

    def of(self, value: float) -> str:
        """Write a value given in microjoules or microseconds, without a power of ten."""
        scaled = value / self.size
        return "<0.001" if 0 < scaled < 0.001 else number(scaled)

    def spread(self, value: Range) -> str:
        """Write a range: ``typical (low to high) unit``."""
        return (
            f"{self.of(value.typical)} ({self.of(value.low)} to {self.of(value.high)}) {self.name}"
        )


ENERGY = (Unit("J", 1e6), Unit("mJ", 1e3), Unit("uJ", 1.0), Unit("nJ", 1e-3), Unit("pJ", 1e-6))
TIME = (Unit("s", 1e6), Unit("ms", 1e3), Unit("us", 1.0), Unit("ns", 1e-3))
# What the deciding value is at least, in the unit that is chosen for it.
LEAST_ENERGY, LEAST_TIME = 0.1, 1.0
# What one event takes is told in these: prices and times as target files have them.
PER_EVENT = {"us": ("ns", 1e3), "ms": ("ns", 1e6), "nJ": ("pJ", 1e3), "mW": ("W", 1e-3)}


def energy_unit(reports: Sequence[EnergyReport]) -> Unit:
    """Choose the unit of all energies of some reports, by the smallest dynamic energy."""
    dynamic = [r.dynamic_uj.typical for r in reports if r.dynamic_uj.typical]
    static = [r.static_uj.typical for r in reports if r.static_uj.typical]
    return _fitting(ENERGY, dynamic or static, LEAST_ENERGY)


def time_unit(reports: Sequence[EnergyReport]) -> Unit:
    """Choose the unit of all times of some reports, by the shortest period."""
    periods = [r.period_us.typical for r in reports if r.period_us.typical]
    return _fitting(TIME, periods, LEAST_TIME)


def _fitting(units: Sequence[Unit], values: Sequence[float], least: float) -> Unit:
    smallest = min(values, default=1.0)
    return next((u for u in units if smallest / u.size >= least), units[-1])


def of_an_event(figure: Figure) -> tuple[tuple[float, float, float], str]:
    """Return value, low and high of a price, in the one unit for its kind, and that unit."""
    unit, factor = PER_EVENT.get(figure.unit, (figure.unit, 1.0))
    value, low, high = (float(f"{v * factor:.6g}") for v in (figure.value, figure.low, figure.high))
    return (value, low, high), unit
