"""Options that say what a model's file does not."""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from typing import Any, get_args

import click

from snn2hw import nir_io
from snn2hw.ir.nodes import Reset
from snn2hw.pipeline.keywords import fraction


class _Fraction(click.ParamType[float]):
    name = "NUMBER"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read 0.5, or 1/255."""
        try:
            return fraction(value)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is no number such as 0.5 or 1/255.", param, ctx)


class _Numbers(click.ParamType[tuple[float, ...]]):
    name = "NUMBERS"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """Read 0.5, or 0.485,0.456,0.406."""
        return tuple(FRACTION.convert(v, param, ctx) for v in str(value).split(","))


FRACTION, NUMBERS = _Fraction(), _Numbers()


def model_options(function: Any) -> Any:
    """Add what a foreign file may not say; the command receives it as ``choice``."""
    names = [f.name for f in fields(nir_io.Choice)]

    @wraps(function)
    def gathered(*args: Any, **options: Any) -> Any:
        choice = nir_io.Choice(**{k: options.pop(k) for k in names})
        return function(*args, choice=choice, **options)

    for option in (
        click.option("--v-min", type=float, help="Lowest membrane potential (.nir)."),
        click.option("--spikes", type=click.Choice(["one", "many"]), help="Spikes a step (.nir)."),
        click.option("--fires", type=click.Choice(["above", "at"]), help="The threshold (.nir)."),
        click.option(
            "--integration", type=click.Choice(["euler", "exponential"]), help="Decay (.nir)."
        ),
        click.option(
            "--reset",
            type=click.Choice(get_args(Reset)),
            help="What follows a spike, at once or one step late (.nir).",
        ),
        click.option(
            "--written-by", type=click.Choice(list(nir_io.WRITERS)), help="Its rules (.nir)."
        ),
        click.option(
            "--dt", type=click.FloatRange(min=0, min_open=True), help="Time step in seconds (.nir)."
        ),
        click.option("--input-std", type=NUMBERS, help="And divided by (.nir)."),
        click.option(
            "--input-mean",
            type=NUMBERS,
            help="What was taken from it then, one number or one a channel, with commas (.nir).",
        ),
        click.option(
            "--input-scale",
            type=FRACTION,
            help="What pixels were multiplied by in training, such as 1/255 (.nir).",
        ),
        click.option("--input-max", type=click.IntRange(min=1), help="Largest input integer."),
        click.option(
            "--time-steps", type=click.IntRange(1, 1 << 16), help="Steps one sample lasts."
        ),
    ):
        gathered = option(gathered)
    return gathered
