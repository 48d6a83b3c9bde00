"""A recording of an event sensor as one sample of a network."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw.encoders import LONGEST
from snn2hw.errors import InputError, counted, listed
from snn2hw.files import about, expanded
from snn2hw.pipeline.keywords import named
from snn2hw.pipeline.port import Port, Samples, fingerprint
from snn2hw.recordings import (
    READERS,
    Binning,
    Recording,
    Tally,
    fit,
    is_recording,
    read_recording,
    show,
    told,
)

# Of 100 events, so many are to be inside a crop: fewer are a crop of another place.
FEWEST = 1
# Encoders of frames that take counts as they are, whatever the largest one of a data set was.
COUNTING = ("direct", "grid")


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording in a file, and how it is shown: what ``snn2hw.recording`` returns."""

    path: Path
    binning: Binning = field(default_factory=Binning)


@named
def recording(
    path: str | Path,
    *,
    bins: int | None = None,
    window: float | None = None,
    crop: tuple[int, int, int, int] | None = None,
    downsample: int = 1,
) -> Clip:
    """Say how a recording of an event sensor is shown, where it is not shown as a whole.

    Give what is returned to a build as samples, ``build.simulate(snn2hw.recording("a.raw", ...))``.

    Args:
        path: of the file (docs/data.md says which kinds).
        bins: steps; None for as many as the network has.
        window: milliseconds of a step, from the first event on; None for equal parts of the whole.
        crop: first column, first row, columns and rows of the part that is shown.
        downsample: so many columns and rows are added up to one.

    Raises:
        InputError: there is no such recording, or a value cannot be used.
    """
    file = expanded(path)
    if not is_recording(file) or not file.is_file():
        what = "is no file of events" if file.exists() else "is not there"
        raise InputError(f"{file} {what}.", f"Known are {listed(READERS)}.")
    try:
        place = None if crop is None else tuple(map(operator.index, crop))
        steps = None if bins is None else operator.index(bins)
        length = None if window is None else float(window)
        if (place is not None and len(place) != 4) or (steps is not None and steps < 1):
            raise ValueError
        part = operator.index(downsample)
    except (TypeError, ValueError):
        raise InputError(
            f"A recording cannot be shown with bins={bins!r}, window={window!r}, crop={crop!r}, "
            f"downsample={downsample!r}.",
            "Give whole numbers: bins=T, crop=(X, Y, W, H), downsample=N; and window= in "
            "milliseconds.",
        ) from None
    return Clip(file, Binning(steps, length, place, part))


def from_recording(file: Path, port: Port, binning: Binning) -> Samples:
    """Show a network the events of a recording.

    Args:
        file: the recording.
        port: the network's one input, and how recordings were shown in training.
        binning: steps, crop and scale.

    Raises:
        InputError: the file cannot be read, or does not go with the network's shape or steps.
    """
    found = read_recording(file)
    with about(file):
        return _shown(found, file, port, binning)


def only_for_recordings(binning: Binning, given: str) -> None:
    """Refuse options of recordings for what is none.

    Raises:
        InputError: names them.
    """
    names = [] if binning.bins is None else ["bins"]
    names += binning.options()
    if names:
        raise InputError(
            f"{listed(f'--{n}' for n in names)} cannot be used with {given}.",
            "Use it with recordings of event sensors: --input RECORDING or --data events:DIR.",
        )


def _shown(recording: Recording, file: Path, port: Port, binning: Binning) -> Samples:
    encoder = port.encoder
    if encoder is not None and encoder.name not in COUNTING:
        raise InputError(
            f"{port.owner} was trained through encoder {encoder.name!r}, which scales by the "
            "largest count of a data set, and this is a single recording.",
            "Give a folder with --data events:DIR.",
        )
    direct = encoder is None or encoder.name == "direct"
    wanted = port.shape if direct else None
    place = fit(recording.size, recording.reach, binning, wanted, port.owner)
    steps = _steps(recording, port, binning)
    tally = Tally(port.max_value if direct else np.iinfo(np.int32).max)
    frames = tally.cut(recording, show(recording, place, binning, steps), file.name)[None]
    inside = tally.events - tally.outside
    if not tally.occupied or 100 * inside < FEWEST * tally.events:
        raise InputError(
            f"The crop holds {inside:,} of its {tally.events:,} events."
            if tally.occupied
            else "None of its events is shown.",
            f"Give another --crop: its events lie in the first {recording.reach[0]} columns and "
            f"{recording.reach[1]} rows.",
        )
    if encoder is not None and not direct:
        frames = encoder.encode(frames, int(frames.max()))
    if math.prod(frames.shape[2:]) != math.prod(port.shape):
        raise InputError(
            f"It has frames of {list(frames.shape[2:])} (polarities, rows, columns), and "
            f"{port.owner} takes {list(port.shape)}.",
            "Cut out a part with --crop X,Y,W,H, or add up pixels with --downsample N.",
        )
    x = frames.reshape(*frames.shape[:2], *port.shape).astype(np.int64)
    notes = [
        _lasts(recording, binning, steps),
        *told(place, binning, recording.size, recording.reach),
        *tally.notes(),
    ]
    facts: dict[str, Any] = {
        "events": len(recording.events.t), "microseconds": recording.microseconds,
        "sensor": recording.size and list(recording.size), "steps": steps,
        "window_ms": binning.window, "crop": binning.crop and list(binning.crop),
        "downsample": binning.downsample,
        "polarity": "separate" if place.channels == 2 else "merged",
        "outside": tally.outside, "late": tally.late, "max_value": tally.most,
        "bins_with_events": tally.occupied, "bins_clipped": tally.above,
    }  # fmt: skip
    said = tuple(f"{file.name}: {n}" for n in notes)
    shown = {port.name: x}
    return Samples(shown, None, file.name, said, facts, sha256=fingerprint(shown))


def _steps(recording: Recording, port: Port, binning: Binning) -> int:
    """Return T: what was asked for, the network's, or what the window gives.

    Raises:
        InputError: nothing tells it, or it is more than a sample may have.
    """
    steps = binning.bins or port.time_steps
    if not steps and binning.window is not None:
        steps = binning.steps(recording.microseconds)
    if not steps:
        raise InputError(
            f"{port.owner} does not say how many steps a sample lasts.",
            "Give --bins, --window or --time-steps.",
        )
    if steps > LONGEST:
        raise InputError(
            f"It lasts {steps:,} steps of {binning.window:g} ms; a sample has at most {LONGEST:,}.",
            "Give --bins, or a longer --window.",
        )
    return steps


def _lasts(recording: Recording, binning: Binning, steps: int) -> str:
    events, whole = len(recording.events.t), recording.microseconds / 1000
    text = f"{counted(events, 'event')} in {whole:.6g} ms, shown in {counted(steps, 'step')} of "
    if binning.window is None:
        return f"{text}{whole / steps:.4g} ms"
    needed = binning.steps(recording.microseconds)
    full = "" if needed == steps else f", where all of it would take {needed:,}"
    return f"{text}{binning.window:g} ms{full}"
