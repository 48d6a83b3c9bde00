"""Cutting a layer into parts that fit a core: as few as can be, and then as few messages.

A layer is cut into runs of neurons, or, if it is an image ``[C, H, W]``, into blocks of some
channels by some rows or places. Whichever takes the fewest cores is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.placement import Span

Uses = dict[str, int]


class Cost(Protocol):
    """What some neurons of a layer use of a core, by limit, and what for; empty if not to say.

    ``image`` is the shape ``[C, H, W]`` in which a convolution ends. ``hears`` returns how many
    neurons send to some of the layer, exactly or about, to compare ways of cutting.
    """

    @property
    def image(self) -> tuple[int, int, int] | None: ...  # noqa: D102

    def __call__(self, span: Span) -> tuple[Uses, str]: ...  # noqa: D102

    def hears(self, span: Span) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Part:
    """Neurons of a layer for one core, and what they use."""

    span: Span
    uses: Uses


@dataclass(frozen=True, slots=True)
class Layer:
    """A population to be cut.

    Args:
        name: of the population.
        shape: of the population.
        costs: of its connections, and of what else its neurons use.
        limits: of a core.
        blocks: whether only blocks of an image may be cut from it where it is one.
    """

    name: str
    shape: Shape
    costs: Sequence[Cost]
    limits: Mapping[str, int]
    blocks: bool = False

    @property
    def size(self) -> int:
        """Number of neurons."""
        return size_of(self.shape)

    @property
    def image(self) -> tuple[int, int, int] | None:
        """The shape ``[C, H, W]`` that it has or that a convolution into it gives it."""
        for cost in self.costs:
            if cost.image is not None:
                return cost.image
        return (self.shape[0], self.shape[1], self.shape[2]) if len(self.shape) == 3 else None

    @property
    def only_blocks(self) -> bool:
        """Whether each part must be some rows of some channels."""
        return self.blocks and any(c.image is not None for c in self.costs)

    def uses(self, span: Span) -> Uses:
        """Return what some of its neurons use of each limit."""
        used = Counter({"neurons": span.size, "neuron_groups": 1})
        for cost in self.costs:
            used.update(cost(span)[0])
        return {k: used[k] for k in self.limits}

    def fits(self, span: Span) -> bool:
        """Say whether a core holds some of its neurons."""
        return not over(self.uses(span), self.limits)

    def part(self, span: Span) -> Part:
        """Return some of its neurons as a part."""
        return Part(span, self.uses(span))

    def hears(self, spans: Sequence[Span]) -> int:
        """Return how many axons lead to parts, one for each sender, connection and part."""
        return sum(cost.hears(span) for cost in self.costs for span in spans)


def over(uses: Mapping[str, int], limits: Mapping[str, int]) -> bool:
    """Say whether something is more than its limit."""
    return any(n > limits[k] for k, n in uses.items())


def fullest(uses: Mapping[str, int], limits: Mapping[str, int]) -> tuple[float, str]:
    """Return the largest share of a limit that is used, and of which."""
    return max((n / limits[k], k) for k, n in uses.items())


def cut(layer: Layer, least: int, axons: Callable[[int], float]) -> list[Part] | None:
    """Cut a layer into the fewest parts that fit.

    Args:
        layer: what to cut.
        least: no fewer parts than these.
        axons: says for how many cores the axons that lead to all parts take room in the layers
            before, beyond what these have.

    Returns:
        The parts, or None if some neuron alone fits no core.
    """
    if least <= 1:
        whole = layer.part(Span(0, layer.size))
        if not over(whole.uses, layer.limits):
            return [whole]
    most = min(-(-layer.size // least), layer.limits["neurons"])
    ways = [] if layer.only_blocks else [_runs(layer, most)]
    ways += [
        _Grid(layer, groups, most, rows=rows)
        for groups in _groupings(layer)
        for rows in (True, False)
    ]
    tried: list[tuple[tuple[float, ...], int, _Way]] = []
    for i, way in enumerate(ways):
        sample, times = way.sample()
        if sample is not None:
            heard = layer.hears(sample) * times
            shares = [fullest(layer.uses(s), layer.limits)[0] for s in sample]
            key = (len(shares) * times + axons(heard), int(10 * min(shares)), sum(shares) * times)
            tried.append(((*key, heard), i, way))
    for _, _, way in sorted(tried, key=lambda t: t[:2]):
        spans = way.spans()
        if spans is not None:
            return [layer.part(s) for s in spans]
    return None


class _Way(Protocol):
    """A way to cut a layer."""

    def sample(self) -> tuple[Sequence[Span] | None, int]:
        """Return the parts of a piece of the layer, and how many such pieces it has."""
        ...

    def spans(self) -> Sequence[Span] | None:
        """Return all parts, or None if some neuron alone fits no core."""
        ...


@dataclass(frozen=True, slots=True)
class _Whole:
    """Runs of neurons in their order."""

    found: Sequence[Span] | None

    def sample(self) -> tuple[Sequence[Span] | None, int]:
        return self.found, 1

    def spans(self) -> Sequence[Span] | None:
        return self.found


def _runs(layer: Layer, most: int) -> _Whole:
    def made(start: int, stop: int) -> Span:
        return Span(start, stop)

    ends = greedy(0, layer.size, most, lambda a, b: layer.fits(made(a, b)))
    return _Whole(None if ends is None else [made(a, b) for a, b in pairwise([0, *ends])])


class _Grid:
    """Blocks of some channels by some rows, or by places that may begin and end within a row."""

    def __init__(self, layer: Layer, groups: int, most: int, *, rows: bool) -> None:
        assert layer.image is not None
        self.layer, self.most = layer, most
        channels, height, width = layer.image
        self.plane, self.step = height * width, width if rows else 1
        self.bounds = [channels * i // groups for i in range(groups + 1)]

    def sample(self) -> tuple[Sequence[Span] | None, int]:
        groups = len(self.bounds) - 1  # the last one is as large as any
        return self._group(self.bounds[-2], self.bounds[-1]), groups

    def spans(self) -> Sequence[Span] | None:
        found: list[Span] = []
        for first, last in pairwise(self.bounds):
            group = self._group(first, last)
            if group is None:
                return None
            found += group
        return found

    def _group(self, first: int, last: int) -> list[Span] | None:
        """Cut some channels by places."""
        plane, step = self.plane, self.step

        def block(start: int, stop: int) -> Span:
            at = first * plane
            start, stop = start * step, stop * step
            if stop - start == plane:
                return Span(at, last * plane)
            one = last - first == 1
            return Span(at + start, at + stop, last - first, 0 if one else plane)

        def fits(start: int, stop: int) -> bool:
            return self.layer.fits(block(start, stop))

        ends = greedy(0, plane // step, self.most // ((last - first) * step), fits)
        if ends is None:
            return None
        if self.layer.blocks:
            ends = _even(ends, fits)
        return [block(a, b) for a, b in pairwise([0, *ends])]


def _groupings(layer: Layer) -> Iterator[int]:
    """Yield into how many groups channels may be cut, one number for each size of a group."""
    if layer.image is None:
        return
    channels = layer.image[0]
    sizes = {-(-channels // n) for n in range(1, channels + 1)}
    for size in sorted(sizes, reverse=True):
        yield -(-channels // size)


def greedy(start: int, stop: int, most: int, fits: Callable[[int, int], bool]) -> list[int] | None:
    """Cut a range into the longest pieces that fit, one after another.

    What is part of something that fits must fit too. Then no way of cutting it needs fewer pieces.

    Args:
        start: of the range.
        stop: of the range (exclusive).
        most: no piece is longer.
        fits: says whether a piece fits.

    Returns:
        Where the pieces end, or None if one of length 1 does not fit.
    """
    ends: list[int] = []
    last, length = start, max(1, min(most, stop - start))
    while last < stop:
        length = _longest(last, min(most, stop - last), length, fits)
        if length == 0:
            return None
        last += length
        ends.append(last)
    return ends


def _longest(start: int, most: int, guess: int, fits: Callable[[int, int], bool]) -> int:
    """Return the largest length that fits, 0 if none does; quickly if it is near the guess."""
    low, high, step = 0, most + 1, 1  # low fits, high does not or may not be
    at = min(guess, most)
    while low < at < high:
        if fits(start, start + at):
            low, at = at, min(at + step, most)
        else:
            high, at = at, at - step
        step *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(start, start + middle) else (low, middle)
    return low


def _even(ends: list[int], fits: Callable[[int, int], bool]) -> list[int]:
    """Return as many pieces of about one length, if these fit, else the same ends."""
    parts, size = len(ends), ends[-1]
    bounds = [size * i // parts for i in range(parts + 1)]
    return bounds[1:] if all(fits(a, b) for a, b in pairwise(bounds)) else ends


def evened(layer: Layer, parts: Sequence[Part]) -> list[Part]:
    """Return the same number of parts of about one size, if they are runs and these fit.

    A step lasts as long as its busiest core, so that cores that no other layer shares are best
    filled alike.
    """
    if any(p.span.repeats > 1 for p in parts) or layer.only_blocks:
        return list(parts)
    ends = [p.span.stop for p in parts]
    bounds = _even(ends, lambda a, b: layer.fits(Span(a, b)))
    return [layer.part(Span(a, b)) for a, b in pairwise([0, *bounds])]
