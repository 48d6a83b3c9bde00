"""Loihi 1's energy beside SANA-FE's, event by event.

    python tests/sanafe/page.py

runs samples of networks in our engine, replays what happened on SANA-FE's model of the chip, and
writes ``docs/results/sanafe.md``. Installs SANA-FE in an environment of its own; N-MNIST has to be
at hand (docs/data.md).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":
    sys.path[:1] = [str(Path(__file__).parents[1])]  # this folder holds no modules to import

from sanafe_runs import SANAFE, Told, recurrent, replayed

from snn2hw import target
from snn2hw.estimator import EnergyReport
from snn2hw.families.loihi import cost
from snn2hw.families.loihi.cost import FINE
from snn2hw.ir.program import Program
from snn2hw.pipeline import counting, workloads
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import load_model
from snn2hw.pipeline.samples import samples_for

PAGE = Path(__file__).parents[2] / "docs/results/sanafe.md"
MODELS = {"digits-cnn": 20, "nmnist-cnn": 5}  # shipped models that fit Loihi 1, and samples of each
SIZES, STEPS, SAMPLES, NEURONS = (20, 400, 300, 10), 12, 5, 16
Inputs = Mapping[str, NDArray[np.integer[Any]]]

HEAD = """\
# SANA-FE: the energy of Loihi 1 beside that of another simulator

    make sanafe

writes this page. [SANA-FE](https://github.com/SLAM-Lab/SANA-FE) 2.2.9 (GPL 3: it runs in an
environment of its own, and nothing of it is in snn2hw) simulates the units and messages of a chip.
Samples run in our engine. Then SANA-FE is given the same neurons on the same cores, the stored
synapses, and for each step which neurons fire, have a bias or hold a potential
(`tests/sanafe_runs.py`); what is read, sent, passed on and updated it finds out itself. It reports
energies, so a chip that charges one event and no other counts that event.

The prices of `targets/loihi1.toml` are those of SANA-FE's `loihi.yaml`. So this compares what is
counted, and how long steps take, not what an event costs on silicon. SANA-FE's energies are its
counts at these prices; that a chip with all the prices gives their sum is checked when this page is
written. Figures are of one inference, on average over samples. `tests/sanafe/test_sanafe.py`
asserts the counts that must be equal.
"""

TAIL = """\
## What differs, and why

* **Updates.** Both look at each neuron in each step (`soma_access`), and both leave one at rest at
  that: 51.2 pJ instead of 72.8. For SANA-FE a neuron is updated that has a bias, a potential from
  the step before, or an event through a stored synapse, be it a zero or one of several whose sum is
  0. Ours is updated by what is left of its current too, but not by a sum of 0. Where a network has
  delays, SANA-FE also updates neurons that hear spikes of a sample's last step after their own
  steps are over, which ours counts as rest. All neurons of the shipped models have a bias, so
  all are updated in every step.
* **A message** is in both what goes from a neuron that fired to a core that hears it, however many
  synapses it meets there. Where two connections lead from one layer to another, ours are two
  messages, as each has an axon of its own on the chip (`words.py`), and SANA-FE's is one. No
  network here has that; the test shows it.
* **Inputs.** In SANA-FE's own examples, inputs are neurons of a core whose messages cost what
  others do. Here they leave from cores of the host, in the tile that hears them, for free: we count
  their arrival, and the way to it is part of the time that the host takes. "Inputs on a core" is
  what their messages would cost where they leave (`axon_out`), without hops.
* **Hops.** Both count the tiles from sender to receiver along x and along y, whatever the route. We
  number tiles along the rows of the mesh, SANA-FE along its columns. In the tables they are
  where we put them; "tiles by columns" is what hops cost with SANA-FE's numbers. Which way the chip
  numbers them, neither source says.
* **The barrier** is a table of four numbers of tiles. Between them we draw a straight line, and
  SANA-FE takes that of the next smaller number.
* **Time of a step.** In both, a core sends its neurons' spikes while it receives others and reads
  their synapses, and a step lasts as the longest of all these sides. SANA-FE reads a spike in the
  step in which it was sent; ours is read in the step in which it counts, the next one, so it may
  fall together with other work. SANA-FE's "detailed" model adds that a spike has to travel (4.1 and
  6.5 ns a tile, for which the target file has no figure), to queue, and to be sent before it is
  read; it varies a little from one run of SANA-FE to the next.
* **Static power** SANA-FE has none of. Ours is in the report of `snn2hw energy`, and not here.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One network: what ran, what we say of it, and what SANA-FE says."""

    title: str
    program: Program
    samples: int
    ours: EnergyReport
    theirs: Told
    columns: Told


def compared(title: str, program: Program, x: Inputs) -> Row:
    """Run samples and replay them.

    Raises:
        ArithmeticError: SANA-FE's energy is not its counts at the target's prices.
    """
    trace, counts = counting.run(program, x, states=True)
    told, columns = (replayed(program, x, trace, theirs=by) for by in (False, True))
    for found in (told, columns):
        uj = sum(n * program.target.prices[e].value * 1e-6 for e, n in found.counts.items())
        if abs(uj - found.energy_uj) > 1e-9 * uj:
            raise ArithmeticError(f"{title}: SANA-FE charges {found.energy_uj} uJ, not {uj}")
    report = counting.report(program, trace, counts, program.target)
    return Row(title, program, counts.samples, report, told, columns)


def rows() -> Iterator[Row]:
    """Compare every network."""
    for name, number in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            model = load_model(name, Path(folder))
            build = export(model, target.load("loihi1"), Path(folder))
            samples = samples_for(build, limit=number)
            yield compared(name, build.program, samples.inputs)
    r = np.random.default_rng(0)
    x = {"in": (r.random((SAMPLES, STEPS, SIZES[0])) < 0.15).astype(np.int32)}
    title = f"A random recurrent network, {NEURONS} neurons a core at most"
    yield compared(title, recurrent(0, SIZES, STEPS, NEURONS), x)
    rate = workloads.RATES.typical
    title = f"A branch of the keyword spotter of energy-validation.md, spiking at {100 * rate:g} %"
    program, x = workloads.branch(target.load("loihi1"), rate)
    yield compared(title, program, {"input": x})


def section(row: Row) -> list[str]:
    """Write one network."""
    chip, n = row.program.target, row.samples
    paid = {p.event: p for p in row.ours.paid()}
    cores = row.program.placement.cores
    tiles = -(-cores // chip.limit("cores_per_tile"))
    lines = [
        f"## {row.title}",
        "",
        f"Cores: {cores}. Tiles: {tiles}. Time steps: {row.ours.time_steps}. Samples: {n}.",
        "",
        "| event | ours | SANA-FE | ratio | pJ | ours, uJ | SANA-FE, uJ |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for event in FINE:
        price, theirs = chip.prices[event].value, row.theirs.counts[event] / n
        count = paid[event].count
        ratio = f"{count / theirs:.3f}" if theirs else ""
        cells = (f"{count:,.1f}", f"{theirs:,.1f}", ratio, f"{price:g}", f"{paid[event].uj:.3f}")
        lines.append(f"| {event} | {' | '.join(cells)} | {theirs * price * 1e-6:.3f} |")
    ours, theirs = row.ours.dynamic_uj.typical, row.theirs.energy_uj / n
    lines.append(f"| **dynamic energy** | | | {ours / theirs:.3f} | | {ours:.3f} | {theirs:.3f} |")
    inputs = paid["axon_in"].count - paid["axon_out"].count
    lines += [
        "",
        f"Inputs on a core would add {inputs * chip.prices['axon_out'].value * 1e-6:.3f} uJ. "
        f"Hops cost {_hops(row.theirs, row):.3f} uJ in SANA-FE, and {_hops(row.columns, row):.3f} "
        "uJ with tiles by columns.",
        "",
        "| time of one inference | ours, us | SANA-FE, us | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    steps = row.program.period(row.ours.time_steps)
    times = {k: f.value for k, f in chip.timing.items()}
    met = cost.barrier(row.program, chip, times) * steps
    lines.append(_time_row("barrier", met, row.theirs.barrier_us / n))
    for name, us in row.theirs.time_us.items():
        lines.append(_time_row(f'all steps, "{name}"', row.ours.period_us.typical, us / n))
    return [*lines, ""]


def _hops(told: Told, row: Row) -> float:
    """Return what hops cost in one inference, in microjoules."""
    prices = row.program.target.prices
    return sum(told.counts[e] * prices[e].value for e in ("hop_x", "hop_y")) * 1e-6 / row.samples


def _time_row(name: str, ours: float, theirs: float) -> str:
    return f"| {name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.3f} |"


def page(found: list[Row]) -> str:
    """Write the results as Markdown."""
    lines = [HEAD]
    for row in found:
        lines += section(row)
    lines.append(TAIL)
    lines.append(f"Versions: snn2hw {version('snn2hw')}, numpy {version('numpy')}, {SANAFE.title}.")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Compare and write the page."""
    SANAFE.install()
    found: list[Row] = []
    for row in rows():
        found.append(row)
        ratio = row.ours.dynamic_uj.typical * row.samples / row.theirs.energy_uj
        sys.stdout.write(f"{row.title}: ours is {ratio:.4f} of SANA-FE's energy\n")
    PAGE.write_text(page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
