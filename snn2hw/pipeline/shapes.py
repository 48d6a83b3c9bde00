"""Samples in the shape of the input that they are for."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.ir.arrays import Shape, size_of


def fitted(name: str, shape: Shape, x: NDArray[Any], time_steps: int | None = None) -> NDArray[Any]:
    """Return samples as ``[N, T, *shape]``.

    Values in a row, ``[N, T, features]``, stand for ``shape`` in C order, as a data set of time
    series is trained on.

    Args:
        name: of the input, for messages.
        shape: of a step.
        x: samples.
        time_steps: of one sample, if the network says.

    Raises:
        InputError: they are of another shape; says what is needed, and how to get there.
    """
    if x.ndim == 2 + len(shape) and x.shape[2:] == shape and 0 not in x.shape:
        return x
    if x.ndim > 2 and 0 not in x.shape and x.shape[2:] in _in_a_row(shape):
        return x.reshape(*x.shape[:2], *shape)
    raise InputError(
        f"Input {name} must be [samples, steps, {', '.join(map(str, shape))}], got "
        f"{list(x.shape)}.",
        _way_out(shape, x.shape, time_steps),
    )


def _in_a_row(shape: Shape) -> list[tuple[int, ...]]:
    """Return what else a step may look like: values in a row, with axes of one behind them."""
    return [(size_of(shape), *[1] * more) for more in range(len(shape))]


def _way_out(shape: Shape, given: tuple[int, ...], time_steps: int | None) -> str:
    """Say what to do with samples that have no steps, or another order of axes."""
    moves: list[str] = []
    if len(shape) == 3 and given[-3:] == (*shape[1:], shape[0]) != shape:
        moves.append(f"x = numpy.moveaxis(x, -1, {len(given) - 3})")
        given = (*given[:-3], *shape)
    still = size_of(given[1:]) == size_of(shape)
    if not still and size_of(given[2:]) != size_of(shape):
        return ""
    if given[1 if still else 2 :] != shape:
        lead = "len(x)" if still else "*x.shape[:2]"
        moves.append(f"x = x.reshape({lead}, {', '.join(map(str, shape))})")
    if still:
        moves.append(f"x = numpy.stack([x] * {time_steps or 'T'}, axis=1)")
    why = "Show each sample at every step" if still else "Bring them into this shape"
    return f"{why}: {'; '.join(moves)}." if moves else ""
