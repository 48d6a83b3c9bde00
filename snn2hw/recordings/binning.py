"""Frames of event counts: which events, in which steps, in which places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from snn2hw.errors import InputError
from snn2hw.recordings.recording import Events, Ints, Recording

MOST_VALUES = 1 << 27  # of the frames of one recording: counting takes 8 bytes for each
MOST_SIDE = 1 << 16


@dataclass(frozen=True, slots=True)
class Binning:
    """How recordings become frames ``[T, C, H, W]``.

    Args:
        bins: T; None for as many as the network has, or as ``window`` gives.
        window: milliseconds of a step, from the first event on; None for T equal parts of the time
            from the first event to the last.
        crop: first column, first row, columns and rows of the part that is shown; None for all.
        downsample: so many columns and rows are added up to one.
        merged: both polarities in one channel; None for whatever the network has.

    Raises:
        InputError: a window that is no whole number of microseconds, or a crop outside 2^16.
    """

    bins: int | None = None
    window: float | None = None
    crop: tuple[int, int, int, int] | None = None
    downsample: int = 1
    merged: bool | None = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        if self.window is not None and (
            not 1e-3 <= self.window < 1e9 or abs(self.window * 1000 - self.microseconds) > 1e-6
        ):
            problems.append(f"--window {self.window:g} is no whole number of microseconds")
        if self.crop is not None:
            x, y, width, height = self.crop
            if min(x, y) < 0 or min(width, height) < 1 or max(self.crop) > MOST_SIDE:
                told = ",".join(map(str, self.crop))
                problems.append(f"--crop {told} is not X,Y,W,H with X, Y >= 0 and W, H >= 1")
        if not 1 <= self.downsample <= MOST_SIDE:
            problems.append(f"--downsample {self.downsample} is no whole number from 1")
        if problems:
            raise InputError(f"{'; '.join(problems)}.", "Windows are in milliseconds.")

    @property
    def microseconds(self) -> int:
        """The window as a whole number of microseconds; 0 for none."""
        return round(self.window * 1000) if self.window is not None else 0

    def steps(self, microseconds: int) -> int:
        """Return how many windows a recording of so many microseconds takes."""
        return max(1, math.ceil(microseconds / self.microseconds))

    def options(self) -> dict[str, str]:
        """Return what differs from the defaults, but for ``bins``, as in a data set's name."""
        found = {
            "window": None if self.window is None else f"{self.window:g}",
            "crop": self.crop and ",".join(map(str, self.crop)),
            "downsample": str(self.downsample) if self.downsample > 1 else None,
            "polarity": "merged" if self.merged else None,
        }
        return {k: v for k, v in found.items() if v}

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Binning:
        """Return what ``options`` of a data set's name say.

        Raises:
            InputError: a value that is not of its option's kind.
        """
        try:
            crop = tuple(int(v) for v in options["crop"].split(",")) if "crop" in options else None
            window = float(options["window"]) if "window" in options else None
            downsample = int(options.get("downsample", 1))
            if crop is not None and len(crop) != 4:
                raise ValueError(f"crop has {len(crop)} numbers, not X,Y,W,H")
        except ValueError as error:
            raise InputError(f"Options of recordings cannot be read: {error}.") from None
        polarity = options.get("polarity", "separate")
        if polarity not in ("merged", "separate"):
            raise InputError(f"Polarity is {polarity!r}, not merged or separate.")
        return cls(None, window, crop, downsample, polarity == "merged" or None)


class Fit(NamedTuple):
    """Where pixels go.

    Args:
        size: columns and rows of a frame.
        shown: those of them that the sensor fills, from the first on.
        channels: 2 (off, on), or 1 for both.
    """

    size: tuple[int, int]
    shown: tuple[int, int]
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a frame."""
        return self.channels, self.size[1], self.size[0]


def fit(
    size: tuple[int, int] | None,
    reach: tuple[int, int],
    binning: Binning,
    wanted: Sequence[int] | None = None,
    owner: str = "the network",
) -> Fit:
    """Decide what frames of a recording look like.

    A sensor whose size nobody says has the network's size, if its events lie within that.

    Args:
        size: columns and rows of the sensor; None if unknown.
        reach: columns and rows that hold all events.
        binning: crop, scale and polarities.
        wanted: the network's shape of a step; None for whatever the recording gives.
        owner: whose shape that is, for messages.

    Raises:
        InputError: the two do not go together; names both sizes.
    """
    if binning.crop is not None and size is not None:
        x, y, width, height = binning.crop
        if x + width > size[0] or y + height > size[1]:
            raise InputError(
                f"--crop {binning.options()['crop']} ends at column {x + width} and row "
                f"{y + height}, and the sensor has {_times(size)} pixels (columns x rows)."
            )
    known = binning.crop[2:] if binning.crop is not None else size
    width, height = (math.ceil(n / binning.downsample) for n in known or reach)
    here = (width, height)
    if wanted is None:
        return Fit(here, here, 1 if binning.merged else 2)
    picture = tuple(wanted) if len(wanted) == 3 else (1, *wanted)
    said = f"{_times(here)} pixels (columns x rows)"
    if known is None:
        said = f"events in {said}"
    if len(picture) == 3 and picture[0] in (1, 2):
        channels, rows, columns = picture
        if width > columns or height > rows:
            n = binning.downsample * max(math.ceil(width / columns), math.ceil(height / rows))
            raise InputError(
                f"It has {said}, and {owner} takes {columns} x {rows}.",
                f"Cut out a part with --crop X,Y,{columns},{rows}, or add up pixels with "
                f"--downsample {n}.",
            )
        found = Fit((columns, rows), here, channels)
    else:
        found = _flat(here, known is not None, math.prod(wanted), said, owner)
    if binning.merged and found.channels == 2:
        raise InputError(
            f"{owner} takes two polarities, which are to be counted together.",
            "Leave out polarity=merged.",
        )
    return found


def _flat(here: tuple[int, int], known: bool, values: int, said: str, owner: str) -> Fit:
    """Decide for an input that is no picture: its values are channels, rows and columns in turn."""
    if not known:
        raise InputError(
            f"{owner} takes {values} values in a row, and the recording does not say how many "
            "columns and rows its sensor has.",
            "Say so with --crop 0,0,COLUMNS,ROWS.",
        )
    channels, rest = divmod(values, math.prod(here))
    if rest or channels not in (1, 2):
        raise InputError(
            f"It has {said} and two polarities, and {owner} takes {values} values in a row: not as "
            "many, nor twice as many.",
            "Cut out a part with --crop X,Y,W,H, or add up pixels with --downsample N.",
        )
    return Fit(here, here, channels)


class Shown(NamedTuple):
    """A recording as frames.

    Args:
        frames: event counts ``int64 [T, C, H, W]``.
        outside: events outside the crop.
        late: events after the last step.
    """

    frames: Ints
    outside: int
    late: int


def show(recording: Recording, place: Fit, binning: Binning, steps: int) -> Shown:
    """Count the events of a recording in every step and place.

    Args:
        recording: the events.
        place: from ``fit``.
        binning: crop, scale and window.
        steps: T.

    Raises:
        InputError: events lie outside the sensor, or there would be too many counts.
    """
    t, p, y, x = (np.asarray(v).astype(np.int64) for v in recording.events)
    if binning.window is None:
        step = equal_parts(t, steps)
    else:
        step = (t - t.min()) // binning.microseconds
    chosen = step < steps
    late = int(len(t) - chosen.sum())
    outside = 0
    if binning.crop is not None:
        left, top, width, height = binning.crop
        x, y = x - left, y - top
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        outside = int(len(t) - inside.sum())
        chosen &= inside
    elif recording.size is not None:
        width, height = recording.size
        if x.max() >= width or y.max() >= height:
            raise InputError(
                f"It has events in {_times(recording.reach)} pixels, and its sensor has "
                f"{_times(recording.size)} (columns x rows)."
            )
    polarity = p if place.channels == 2 else np.zeros_like(p)
    scaled = (polarity, y // binning.downsample, x // binning.downsample)
    where = Events(step[chosen], *(v[chosen] for v in scaled))
    return Shown(counted(where, (steps, *place.shape)), outside, late)


def equal_parts(t: Ints, parts: int) -> Ints:
    """Return in which of equal parts of the time from the first event to the last each one is.

    Raises:
        InputError: the time is too long for 64 bits.
    """
    lasts = int(t.max()) - int(t.min()) + 1
    if lasts * parts >= 1 << 63:
        raise InputError(f"A recording lasts {lasts} units of time, which cannot be counted.")
    return (t - t.min()) * parts // lasts


def counted(events: Events, shape: tuple[int, int, int, int]) -> Ints:
    """Count events: ``events.t`` is their step.

    Returns:
        ``int64 [T, C, H, W]``.

    Raises:
        InputError: there are too many counts, or an event lies outside.
    """
    values = math.prod(shape)
    if values > MOST_VALUES:
        raise InputError(
            f"Frames of {' x '.join(map(str, shape))} (steps, polarities, rows, columns) are "
            f"{values:,} counts; at most {MOST_VALUES:,} are kept of a recording.",
            "Use fewer --bins or a longer --window, or --crop or --downsample.",
        )
    try:
        places = np.ravel_multi_index(tuple(events), shape)
    except ValueError:
        raise InputError(
            f"A recording has events outside its sensor of {' x '.join(map(str, shape[1:]))} "
            f"(polarities, rows, columns)."
        ) from None
    return np.bincount(places, minlength=values).reshape(shape)


def _times(size: tuple[int, int]) -> str:
    return " x ".join(map(str, size))
