"""What a program takes as inputs, and what the host makes of what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, listed
from snn2hw.ir.arrays import different_steps
from snn2hw.ir.integer import DigitPort, InputPort, IntNetwork, given
from snn2hw.ir.nodes import Input
from snn2hw.ir.program import Program

Ints = NDArray[np.integer[Any]]


def outside(port: Input, name: str, x: NDArray[Any]) -> list[str]:
    """Say which values a chip's input would not take, though a float network does.

    Args:
        port: the input.
        name: of it.
        x: ``[N, T, *shape]``.
    """
    found: list[str] = []
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > port.max_value:
        found.append(
            f"{name} gets values from {low:g} to {high:g}; on a chip it takes integers from 0 to "
            f"{port.max_value:,} (input_max)"
        )
    elif x.dtype.kind == "f" and (x != np.rint(x)).any():
        found.append(f"{name} gets numbers that are not whole; on a chip it takes integers")
    return found


def check_inputs(program: Program, inputs: Mapping[str, NDArray[np.integer]]) -> tuple[int, int]:
    """Return (samples, steps), or say what is wrong with the inputs."""
    return _checked(program.network.inputs, inputs)


def sent(net: IntNetwork, values: Mapping[str, NDArray[np.integer]]) -> dict[str, Ints]:
    """Return what the host sends to each port, of the values that it is given.

    Args:
        net: whose ports they are.
        values: for each input, integers ``[N, T, *shape]``.

    Raises:
        InputError: they do not fit the inputs.
    """
    _checked(tuple(given(net.inputs).values()), values)
    return {
        p.name: _digit(values[p.of], p.digit) if isinstance(p, DigitPort) else values[p.name]
        for p in net.inputs
    }


def _digit(x: NDArray[np.integer[Any]], digit: int) -> Ints:
    """Return a binary digit of values ``[N, T, *shape]``, of a still image one too."""
    return np.broadcast_to((different_steps(x) >> digit & 1).astype(np.uint8), x.shape)


def _checked(
    ports: Sequence[InputPort], inputs: Mapping[str, NDArray[np.integer]]
) -> tuple[int, int]:
    if set(inputs) != {p.name for p in ports}:
        raise InputError(
            f"The program takes inputs {listed(p.name for p in ports)}, "
            f"not {listed(inputs) or 'none'}."
        )
    lengths = {x.shape[:2] for x in inputs.values()}
    for port in ports:
        x = inputs[port.name]
        if x.ndim != 2 + len(port.shape) or x.shape[2:] != port.shape or 0 in x.shape[:2]:
            raise InputError(
                f"Input {port.name} must be [samples, steps, "
                f"{', '.join(map(str, port.shape))}], got {list(x.shape)}."
            )
        if not np.issubdtype(x.dtype, np.integer) and x.dtype != np.bool_:
            raise InputError(
                f"Input {port.name} must hold integers, got {x.dtype}.",
                "If the network was trained on scaled pixels, say their scale where it is loaded: "
                "--input-scale 1/255, in Python input_scale=1/255. If not, round them.",
            )
        once = different_steps(x)
        low, high = int(once.min()), int(once.max())
        if low < port.min_value or high > port.max_value:
            raise InputError(
                f"Input {port.name} holds values from {low} to {high}, "
                f"the program takes {port.min_value} to {port.max_value}.",
                "Say the largest value where the network is exported (--input-max) or loaded "
                "(input_max=), or scale the values.",
            )
    if len(lengths) != 1:
        raise InputError("All inputs must have the same number of samples and steps.")
    return lengths.pop()
