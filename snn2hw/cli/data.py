"""Options that choose samples, and how recordings and images become them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from snn2hw.cli.common import PLACE
from snn2hw.recordings import Binning

F = TypeVar("F", bound=Callable[..., Any])
CROP = "X,Y,W,H"


class _Crop(click.ParamType[tuple[int, int, int, int]]):
    """Four whole numbers with commas."""

    name = CROP

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        parts = [p.strip() for p in str(value).split(",")]
        if len(parts) != 4 or not all(p.isascii() and p.isdecimal() and len(p) < 8 for p in parts):
            self.fail(f"{value!r} is not {CROP}: first column, first row, columns, rows.")
        x, y, width, height = map(int, parts)
        return x, y, width, height


def shown_options(function: F) -> F:
    """Add what is done to recordings and images; the command receives ``binning, resize``."""

    @wraps(function)
    def gathered(
        *args: Any,
        window: float | None,
        crop: tuple[int, int, int, int] | None,
        downsample: int,
        **options: Any,
    ) -> Any:
        merged = True if options.pop("polarity", None) == "merged" else None
        binning = Binning(options.pop("bins", None), window, crop, downsample, merged)
        return function(*args, binning=binning, **options)

    for option in (
        click.option("--resize", metavar="W,H", help="Stretch images of a folder to this size."),
        click.option(
            "--downsample", type=click.IntRange(1, 1024), default=1, metavar="N",
            help="Recordings: add up N x N pixels to one.",
        ),
        click.option(
            "--crop", type=_Crop(), metavar=CROP,
            help="Recordings: show W columns and H rows from column X and row Y on.",
        ),
        click.option(
            "--window", type=click.FloatRange(min=0, min_open=True), metavar="MS",
            help="Recordings: milliseconds of a step, from the first event on; by default the "
            "steps share the whole time.",
        ),
    ):  # fmt: skip
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


def data_options(function: F) -> F:
    """Add the options that choose samples."""
    command = shown_options(function)
    for option in (
        click.option(
            "--bins", type=click.IntRange(1, 1 << 16), metavar="N",
            help="Recordings: steps; by default as many as the network has.",
        ),
        click.option("--data-dir", type=PLACE, help="Look for data here."),
        click.option(
            "--input", "file", type=PLACE,
            help="npz with x [N, S, *in] of integers (and y [N], if known); or a recording of "
            "events: .aedat4, .bin, .dat, .es, .raw.",
        ),
        click.option("--samples", type=click.IntRange(min=1), help="How many samples at most."),
        click.option("--data", help="Data set; by default the one the model was trained on."),
    ):  # fmt: skip
        command = option(command)
    return command
