"""What was done to recordings, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from snn2hw.errors import listed
from snn2hw.recordings.binning import Binning, Fit, Shown
from snn2hw.recordings.recording import Ints, Recording


def told(
    place: Fit, binning: Binning, size: tuple[int, int] | None, reach: tuple[int, int]
) -> Iterator[str]:
    """Say where pixels and polarities go.

    Args:
        place: from ``fit``.
        binning: as given to it.
        size: columns and rows of the sensor; None if no file says.
        reach: columns and rows that hold all events.
    """
    if size is None and binning.crop is None:
        yield (
            f"the file does not say how large its sensor is; all events lie in {reach[0]} x "
            f"{reach[1]} pixels (columns x rows)"
        )
    if binning.crop is not None:
        x, y, width, height = binning.crop
        yield f"cut to columns {x} to {x + width - 1} and rows {y} to {y + height - 1}"
    if binning.downsample > 1:
        yield f"{binning.downsample} x {binning.downsample} pixels are added up to one"
    if place.shown != place.size:
        yield (
            f"{place.shown[0]} x {place.shown[1]} pixels are the first columns and rows of "
            f"{place.size[0]} x {place.size[1]}, and the others stay empty"
        )
    if place.channels == 2:
        yield "off events are channel 0, on events channel 1"
    else:
        yield "off and on events are counted together in one channel"


@dataclass(slots=True)
class Tally:
    """What was left out or cut of one recording or many.

    Args:
        most: that a bin, a place in a step, may hold.
    """

    most: int
    events: int = 0
    outside: int = 0
    late: int = 0
    occupied: int = 0
    above: int = 0
    said: list[str] = field(default_factory=list[str])

    def cut(self, recording: Recording, shown: Shown, name: str) -> Ints:
        """Count what is lost of a recording, and return its frames with at most ``most``."""
        self.events += len(recording.events.t)
        self.outside += shown.outside
        self.late += shown.late
        self.occupied += int(np.count_nonzero(shown.frames))
        self.above += int(np.count_nonzero(shown.frames > self.most))
        self.said += [f"{name}: {n}" for n in recording.notes]
        return np.minimum(shown.frames, self.most)

    def notes(self) -> Iterator[str]:
        """Say it."""
        if self.outside:
            yield f"{share(self.outside, self.events)} events are outside the crop"
        if self.late:
            yield f"{share(self.late, self.events)} events come after the last step"
        if self.above:
            yield clipped(self.above, self.occupied, self.most)
        if self.said:
            yield listed(self.said, "; ", most=500)


def clipped(above: int, occupied: int, most: int) -> str:
    """Say how many of the bins with events were cut."""
    return f"{share(above, occupied)} bins with events hold more than {most}, and count as {most}"


def share(part: int, whole: int) -> str:
    """Write a part of a whole as numbers and as a percentage with two significant digits.

    With more of them where a part would look like the whole.
    """
    rounded = (float(f"{100 * part / whole:.{digits}g}") for digits in range(2, 18))
    return f"{part:,} of {whole:,} ({next(r for r in rounded if r < 100 or part == whole):.15g} %)"
