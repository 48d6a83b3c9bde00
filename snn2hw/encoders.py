"""What a network is shown of an image or of a recording over time, as integers.

A pixel p of largest value m has the intensity a = p / m. ``direct`` shows p itself at every step,
``rows`` one row of the image after another: row floor(t H / T) of H at step t, and of its pixels
with ``levels`` n round(n a), halves to even. ``grid`` adds up the pixels of a frame in R x C cells,
those of a channel by themselves, and shows no sum larger than ``most``: cell (i, j) holds the rows
from floor(i H / R) up to, and without, floor((i + 1) H / R), and columns likewise, of a frame
without its ``margin`` of pixels. The others turn pixels into spikes, and the largest integer that
they show is 1. Their formulas are those of snnTorch's ``spikegen`` (J. K. Eshraghian
et al., Proceedings of the IEEE 111:1016, 2023), so that networks trained there find their input
here:

- ``rate``: a spike at each step with the probability a.
- ``latency``: one spike, at step round((T - 1) (1 - a)): the brighter, the earlier.
- ``latency-log``: one spike, when a leaky neuron with constant input a reaches the threshold h:
  at ln(a / (a - h)), scaled so that the last step is that of a = h.
- ``delta``: a spike where a frame is brighter than the one before by h or more, and in channels of
  their own (as the polarities of an event camera) where it is darker by h or more.

They are computed in double precision. The spikes of a sample are a function of (seed, epoch,
index) and of its pixels alone: a part of a data set is encoded like the whole, in any order and
in any batches. Nothing here needs PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, unknown_name
from snn2hw.fields import named, real, require, table, text, whole

Ints = NDArray[Any]
Shape = tuple[int, int, int]

LONGEST = 1 << 16  # steps of a sample
MOST_LEVELS = 65535  # the largest pixel that there is
_WHOLE = {"levels": 0, "most": 1, "rows": 1, "columns": 1, "margin": 0}  # and the least of each
_DOCUMENT = table(
    {"name": text(), "time_steps": whole(1, LONGEST)}, {"seed": whole(), "constants": named(real())}
)


class Batch(NamedTuple):
    """What a formula works on.

    Args:
        x: pixels, ``[N, C, H, W]``, or frames ``[N, T, C, H, W]``.
        max_value: largest integer that a pixel can take.
        time_steps: T.
        constants: of the encoder, all of them.
        keys: (seed, epoch), and index of each sample.
    """

    x: Ints
    max_value: int
    time_steps: int
    constants: Mapping[str, float]
    keys: tuple[int, int, Sequence[int]]


Constants = Mapping[str, float]


def _as_it_is(image: Shape, _constants: Constants) -> Shape:
    return image


def _one_row(image: Shape, _constants: Constants) -> Shape:
    channels, _, width = image
    return channels, 1, width


def _cells(image: Shape, constants: Constants) -> Shape:
    return image[0], int(constants["rows"]), int(constants["columns"])


def _two_polarities(image: Shape, _constants: Constants) -> Shape:
    channels, height, width = image
    return 2 * channels, height, width


class Entry(NamedTuple):
    """One row of ``ENCODERS``.

    Args:
        function: from a batch to ``[N, T, C', H, W]``.
        description: for a list.
        source: where the formula is from.
        takes: what it encodes, ``images``, ``frames`` or both.
        constants: names with default values.
        spikes: it shows zeros and ones, not pixels.
        shape: of a step, for images ``(C, H, W)`` and all constants.
    """

    function: Callable[[Batch], Ints]
    description: str
    source: str
    takes: tuple[str, ...]
    constants: Mapping[str, float]
    spikes: bool = True
    shape: Callable[[Shape, Constants], Shape] = _as_it_is


@dataclass(frozen=True, slots=True)
class Encoder:
    """A way to show images for T steps.

    Args:
        name: a key of ``ENCODERS``.
        time_steps: T; frames bring their own.
        seed: of the encoders that draw.
        constants: those that are not the defaults; all of them once it is made.

    Raises:
        InputError: there is no such encoder or constant, or a value that cannot be used.
    """

    name: str = "direct"
    time_steps: int = 1
    seed: int = 0
    constants: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        entry = ENCODERS.get(self.name)
        if entry is None:
            raise unknown_name("encoder", self.name, ENCODERS)
        problems = [f"it has no {k}" for k in self.constants if k not in entry.constants]
        whole = dict(entry.constants) | dict(self.constants)
        if self.time_steps < 1:
            problems.append(f"{self.time_steps} time steps")
        if "threshold" in whole and not 0 < whole["threshold"] < 1:
            problems.append(f"threshold {whole['threshold']:g} is not between 0 and 1")
        if whole.get("clip", 0) not in (0, 1):
            problems.append(f"clip {whole['clip']:g} is neither 0 nor 1")
        problems += [
            f"{k} {whole[k]:g} is not a whole number from {least} to {MOST_LEVELS}"
            for k, least in _WHOLE.items()
            if k in whole and whole[k] not in range(least, MOST_LEVELS + 1)
        ]
        if problems:
            known = ", ".join(f"{k}={v:g}" for k, v in entry.constants.items())
            raise InputError(
                f"Encoder {self.name!r} cannot be used: {'; '.join(problems)}.",
                f"Its constants: {known or 'none'}.",
            )
        object.__setattr__(self, "constants", whole)

    def encode(
        self,
        x: Ints,
        max_value: int,
        indices: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        epoch: int = 0,
    ) -> Ints:
        """Encode samples.

        Args:
            x: integers ``[N, C, H, W]``, or frames over time ``[N, T, C, H, W]``.
            max_value: the largest integer that a pixel can take.
            indices: which samples of their part of the data set these are, ``[N]``; by default
                the first ones.
            epoch: for spikes drawn anew in every epoch; 0 is what tests see.

        Returns:
            ``[N, T, C', H', W]``, uint8 for spikes and as ``x`` for ``direct``, where it is a view.

        Raises:
            InputError: it does not encode this kind of samples, not these values, or not in so many
                steps.
        """
        kind = "frames" if x.ndim == 5 else "images"
        takes = ENCODERS[self.name].takes
        if x.ndim not in (4, 5) or kind not in takes:
            what = kind if x.ndim in (4, 5) else f"arrays of {x.ndim} dimensions"
            ways = [k for k, v in ENCODERS.items() if kind in v.takes]
            raise InputError(
                f"Encoder {self.name!r} takes {' or '.join(takes)}, not {what}.",
                f"For {kind} there are {', '.join(ways)}.",
            )
        if x.size and not 0 <= x.min() <= x.max() <= max_value:
            raise InputError(
                f"Pixels run from {x.min()} to {x.max()}; encoder {self.name!r} was told that they "
                f"go from 0 to {max_value}."
            )
        chosen = range(len(x)) if indices is None else [int(i) for i in indices]
        keys = (self.seed, epoch, chosen)
        return ENCODERS[self.name].function(
            Batch(x, max_value, self.time_steps, self.constants, keys)
        )

    def max_value(self, pixels: int) -> int:
        """Return the largest integer it shows of pixels that go to ``pixels``."""
        if ENCODERS[self.name].spikes:
            return 1
        return int(self.constants.get("most") or self.constants.get("levels") or pixels)

    def shape(self, image: Shape) -> Shape:
        """Return the shape ``(C', H', W)`` of a step for images ``(C, H, W)``."""
        return ENCODERS[self.name].shape(image, self.constants)

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as a JSON object."""
        return {
            "name": self.name, "time_steps": self.time_steps, "seed": self.seed,
            "constants": dict(self.constants),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Any) -> Encoder:
        """Make an encoder from ``to_json``'s object.

        Raises:
            InputError: it is something else.
        """
        require(value, _DOCUMENT, "The encoder")
        constants = {k: float(v) for k, v in value.get("constants", {}).items()}
        return cls(value["name"], value["time_steps"], value.get("seed", 0), constants)


def parse(written: str, time_steps: int, seed: int = 0) -> Encoder:
    """Make an encoder of what a user writes: ``rate``, or ``latency:threshold=0.1,clip=0``.

    Raises:
        InputError: there is no such encoder or constant, or a value that cannot be used.
    """
    name, _, rest = written.partition(":")
    constants: dict[str, float] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        try:
            constants[key.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not math.isfinite(constants[key.strip()]):
            raise InputError(
                f"Encoder {written!r}: {item!r} is not NAME=NUMBER.",
                "Write NAME:constant=number,...",
            )
    return Encoder(name, time_steps, seed, constants)


def _direct(batch: Batch) -> Ints:
    x = batch.x
    if x.ndim == 5:
        return x
    return np.broadcast_to(x[:, None], (len(x), batch.time_steps, *x.shape[1:]))


def _rows(batch: Batch) -> Ints:
    x, steps, levels = batch.x, batch.time_steps, int(batch.constants["levels"])
    height = x.shape[2]
    if steps < height:
        raise InputError(
            f"{height} rows of pixels are not shown in {steps} time steps.",
            f"Take {height} time steps or more.",
        )
    if levels:
        told = np.rint(np.arange(batch.max_value + 1) * levels / batch.max_value)
        x = told.astype(np.min_scalar_type(levels))[x]
    row = np.arange(steps) * height // steps
    return x.swapaxes(1, 2)[:, row, :, None]


def _grid(batch: Batch) -> Ints:
    names = ("rows", "columns", "margin", "most")
    rows, columns, margin, most = (int(batch.constants[name]) for name in names)
    height, width = (side - 2 * margin for side in batch.x.shape[3:])
    if height < rows or width < columns:
        frame = " x ".join(map(str, batch.x.shape[3:]))
        raise InputError(
            f"{rows} x {columns} cells and a margin of {margin} do not fit into frames of {frame} "
            "pixels.",
            "Take fewer rows and columns, or a smaller margin.",
        )
    x = batch.x[:, :, :, margin : margin + height, margin : margin + width]
    x = np.add.reduceat(x, np.arange(rows) * height // rows, axis=3, dtype=np.int64)
    x = np.add.reduceat(x, np.arange(columns) * width // columns, axis=4)
    return np.minimum(x, most).astype(np.min_scalar_type(most))


def _rate(batch: Batch) -> Ints:
    seed, epoch, indices = batch.keys
    shape = _direct(batch).shape
    # A 32-bit draw below a * 2^32 is a spike: all of them for a = 1, none for a = 0.
    below = (np.arange(batch.max_value + 1, dtype=np.uint64) << 32) // np.uint64(batch.max_value)
    spikes = np.empty(shape, np.uint8)
    for i, index in enumerate(indices):
        drawn = _draws(seed, epoch, index, spikes[i].size).reshape(shape[1:])
        np.less(drawn, below[batch.x[i]], out=spikes[i].view(bool))
    return spikes


def _draws(seed: int, epoch: int, index: int, count: int) -> NDArray[np.uint32]:
    """Return 32-bit numbers of Philox, a counter-based generator (J. Salmon et al., SC 2011).

    Seed and epoch are the key, and the index is the upper half of the counter, so that no two
    samples share a number. NumPy promises the raw numbers for all its versions.
    """
    low, high = seed % 2**64, epoch % 2**64
    raw = np.random.Philox(key=low | high << 64, counter=(index % 2**64) << 128)
    words = raw.random_raw(-(-count // 2))
    return words.astype("<u8").view("<u4")[:count]


def _latency(batch: Batch) -> Ints:
    a = np.arange(batch.max_value + 1) / batch.max_value
    h, last = batch.constants["threshold"], batch.time_steps - 1
    return _once(batch, np.minimum(-last * (a - 1), -last * (h - 1)))


def _latency_log(batch: Batch) -> Ints:
    a = np.arange(batch.max_value + 1) / batch.max_value
    h, last = batch.constants["threshold"], batch.time_steps - 1
    # Below the threshold a neuron never fires; EPSILON above it is taken for the latest time.
    seen = np.maximum(a, h + EPSILON)
    latest = np.log((h + EPSILON) / EPSILON)
    return _once(batch, np.log(seen / (seen - h)) * last / latest)


EPSILON = 1e-7


def _once(batch: Batch, time: NDArray[np.float64]) -> Ints:
    """Spike once, at the rounded time of the pixel's value (``time [max_value + 1]``)."""
    step = np.round(time).astype(np.int64)
    if batch.constants["clip"]:
        a = np.arange(batch.max_value + 1) / batch.max_value
        step[a < batch.constants["threshold"]] = -1
    return np.stack([(step == t).astype(np.uint8)[batch.x] for t in range(batch.time_steps)], 1)


def _delta(batch: Batch) -> Ints:
    x = batch.x.astype(np.int32)
    before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    change = (x - before) / batch.max_value
    h = batch.constants["threshold"]
    return np.concatenate([change >= h, change <= -h], axis=2).astype(np.uint8)


SPIKEGEN = "snnTorch's spikegen: J. K. Eshraghian et al., Proceedings of the IEEE 111:1016, 2023"

ENCODERS: dict[str, Entry] = {
    "direct": Entry(
        _direct,
        "the pixel's integer at every step: no loss, and input that is not spikes",
        "N. Rathi and K. Roy, IEEE TNNLS 34:3174, 2023",
        ("images", "frames"),
        {},
        spikes=False,
    ),
    "rate": Entry(
        _rate,
        "a spike at each step with the pixel's intensity as its probability, drawn from a seed",
        SPIKEGEN,
        ("images", "frames"),
        {},
    ),
    "latency": Entry(
        _latency,
        "one spike, the earlier the brighter, linear in the intensity; none below the threshold",
        f"linear latency code of {SPIKEGEN}",
        ("images",),
        {"threshold": 0.01, "clip": 1},
    ),
    "latency-log": Entry(
        _latency_log,
        "one spike, when a leaky neuron that the pixel charges would reach the threshold",
        f"logarithmic latency code of {SPIKEGEN}",
        ("images",),
        {"threshold": 0.01, "clip": 1},
    ),
    "delta": Entry(
        _delta,
        "spikes where a frame is brighter (and in further channels darker) than the one before",
        SPIKEGEN,
        ("frames",),
        {"threshold": 0.1},
        shape=_two_polarities,
    ),
    "rows": Entry(
        _rows,
        "one row of pixels after another: their integers, or with levels=n as many from 0 to n",
        "images as sequences: Q. V. Le, N. Jaitly and G. E. Hinton, arXiv:1504.00941 (of pixels)",
        ("images",),
        {"levels": 0},
        spikes=False,
        shape=_one_row,
    ),
    "grid": Entry(
        _grid,
        "sums over a grid of cells, each channel by itself, cut at most=n: few inputs for events",
        "A. Gruel et al., Event Data Downscaling for Embedded Computer Vision, VISAPP 2022",
        ("frames",),
        {"rows": 2, "columns": 2, "margin": 0, "most": 15},
        spikes=False,
        shape=_cells,
    ),
}
