"""Students under noise at the input and on the chip, as tables in docs/results/noise.md.

  python tests/results/noise.py --work DIR            # computes what is not there, writes
  python tests/results/noise.py --table               # only writes the page

Rows are kept in docs/results/noise.json; a stopped command goes on where it was. The students are
those of distillation.py, found if it ran with the same --work.
"""

from __future__ import annotations

import argparse
import copy
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import distillation
import grid
import numpy as np
import torch
from grid import Case
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw import train
from snn2hw.encoders import Encoder
from snn2hw.train.export import folded
from snn2hw.train.neurons import Lif
from snn2hw.train.students import Synapse

FILE = grid.RESULTS / "noise.json"
PAGE = grid.RESULTS / "noise.md"

STEPS = 4
ROWS = (
    "none", "kd, tau 4", "hetero, tau 4 and 1", "features", "kd+features", "sakd",
    "steps (TWD)", "cost 2", distillation.TOGETHER,
)  # fmt: skip
BITS = 8  # of a weight, its sign included

Pixels = NDArray[np.integer]


def gaussian(x: Pixels, top: int, level: float, chance: np.random.Generator) -> Pixels:
    """Add normal noise to every pixel, of deviation ``level`` of the whole range, and clip."""
    added = x + chance.normal(0.0, level * top, x.shape)
    return np.clip(np.rint(added), 0, top).astype(x.dtype)


def salt_and_pepper(x: Pixels, top: int, level: float, chance: np.random.Generator) -> Pixels:
    """Make each pixel black or white, half and half, with probability ``level``."""
    drawn = chance.random(x.shape)
    return np.where(drawn < level / 2, 0, np.where(drawn < level, top, x)).astype(x.dtype)


def poisson(x: Pixels, top: int, level: float, _chance: np.random.Generator) -> Pixels:
    """Show spikes instead of pixels: white or black at each step, white as often as it is light."""
    return (Encoder("rate", STEPS, seed=int(level)).encode(x, top) * top).astype(x.dtype)


def dropped(student: nn.Module, level: float, chance: torch.Generator) -> nn.Module:
    """Lose each spike with probability ``level`` on its way."""

    def lose(_module: nn.Module, _given: Any, spikes: Tensor) -> Tensor:
        return spikes * (torch.rand(spikes.shape, generator=chance) >= level)

    for module in student.modules():
        if isinstance(module, Lif):
            module.register_forward_hook(lose)
    return student


def flipped(student: nn.Module, level: float, chance: torch.Generator) -> nn.Module:
    """Round weights to 8 bits, one scale a layer, and flip each bit with probability ``level``.

    Weights that are zero before rounding are no synapses: a chip holds nothing for them.
    """
    for module in student.modules():
        if not isinstance(module, Synapse):
            continue
        weight, bias = (torch.from_numpy(a).float() for a in folded(module))
        scale = weight.abs().max() / (2 ** (BITS - 1) - 1)
        bits = (weight / scale).round().to(torch.int16) & 0xFF
        for bit in range(BITS):
            hit = (torch.rand(weight.shape, generator=chance) < level) & (weight != 0)
            bits = bits ^ (hit.to(torch.int16) << bit)
        signed = torch.where(bits >= 1 << (BITS - 1), bits - (1 << BITS), bits)
        module.without_norm()
        with torch.no_grad():
            module.weight.weight.copy_(signed * scale)
            if module.weight.bias is not None:
                module.weight.bias.copy_(bias)
    return student


def jittered(student: nn.Module, level: float, chance: torch.Generator) -> nn.Module:
    """Give each neuron a threshold of its own, normal around 1 with deviation ``level``."""

    def shift(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        current, *rest = given
        if not hasattr(module, "drawn"):
            module.drawn = torch.randn(current.shape[2:], generator=chance)
        # A neuron that resets to zero cannot tell a higher threshold from smaller currents.
        return (current / (1.0 + level * module.drawn).clamp_min(0.1), *rest)

    for module in student.modules():
        if isinstance(module, Lif):
            module.register_forward_pre_hook(shift)
    return student


# name -> levels, what is done to pixels or to the student
INPUT: dict[str, tuple[tuple[float, ...], Callable[..., Pixels]]] = {
    "gaussian": ((0.05, 0.1, 0.2, 0.4), gaussian),
    "salt and pepper": ((0.01, 0.05, 0.1), salt_and_pepper),
    "poisson": ((0,), poisson),
}
CHIP: dict[str, tuple[tuple[float, ...], Callable[..., nn.Module]]] = {
    "spikes dropped": ((0.05, 0.1, 0.2, 0.4), dropped),
    "weight bits flipped": ((0.0, 0.001, 0.01, 0.03), flipped),
    "threshold jitter": ((0.05, 0.1, 0.2), jittered),
}


def compute(case: Case, seed: int, work: Path) -> dict[str, Any]:
    """Measure one student under every noise."""
    student, data = grid.trained(case, seed, work).eval(), grid.data(case.data)
    x, y = data.x_test, data.y_test
    accuracy = {"clean": {"0": train.evaluate(student, x, y).accuracy}}
    for name, (levels, change) in INPUT.items():
        found = accuracy[name] = {}
        for level in levels:
            chance = np.random.default_rng([seed, zlib.crc32(f"{name}{level}".encode())])
            noisy = change(x, data.max_value, level, chance)
            found[str(level)] = train.evaluate(student, noisy, y).accuracy
    for name, (levels, change) in CHIP.items():
        found = accuracy[name] = {}
        for level in levels:
            chance = torch.Generator().manual_seed(zlib.crc32(f"{name}{level}{seed}".encode()))
            hurt = change(copy.deepcopy(student), level, chance)
            found[str(level)] = train.evaluate(hurt, x, y).accuracy
    return {"recipe": case.recipe(seed).to_json(), "accuracy": accuracy}


HEAD = f"""# What noise costs

    python tests/results/noise.py --work build/results

The students of [distillation](distillation.md), {distillation.MLP}, T = {STEPS}, none of them
trained with noise. Accuracy in %, mean over seeds, on the whole test part;
[noise.json](noise.json) holds every seed.

* Gaussian: of that deviation, where black is 0 and white 1, clipped. Salt and pepper: that share
  of the pixels becomes black or white. Poisson: each pixel is white or black at each step, white
  with the probability of its lightness.
* Spikes dropped: each one with that probability. Weight bits flipped: weights with batch norm
  folded in are rounded to 8 bits (0: rounding alone), and each bit of each weight that is a
  synapse is flipped with that probability. Threshold jitter: each neuron's threshold is normal
  around 1, with that deviation.
"""


def page() -> str:
    """Return the page of all rows that are there."""
    tables: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in grid.rows(FILE).values():
        tables[row["data"]][row["case"]].append(row)
    parts = [HEAD]
    for data, rows in sorted(tables.items()):
        parts += [f"## {data}", "Noise at the input", _table(rows, ("clean", *INPUT))]
        parts += ["Noise on the chip", _table(rows, ("clean", *CHIP))]
    return "\n\n".join(p.rstrip("\n") for p in parts) + "\n"


def _table(rows: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str]) -> str:
    levels = {"clean": (0,)} | {k: v for k, (v, _) in (*INPUT.items(), *CHIP.items())}
    columns = [(n, str(level)) for n in names for level in levels[n]]
    heads = [n if n in ("clean", "poisson") else f"{n} {level}" for n, level in columns]
    lines = [
        "| student | seeds | " + " | ".join(heads) + " |",
        "| --- | --- |" + " --- |" * len(heads),
    ]
    for name in (n for n in ROWS if n in rows):
        found = rows[name]
        cells = [
            f"{100 * float(np.mean([r['accuracy'][n][level] for r in found])):.2f}"
            for n, level in columns
        ]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/results"))
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="compute nothing")
    asked = parser.parse_args()
    if not asked.table:
        cases = [c for d in asked.data for c in distillation.cases(d, STEPS) if c.name in ROWS]
        grid.run(FILE, cases, asked.seeds, asked.work, compute)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
