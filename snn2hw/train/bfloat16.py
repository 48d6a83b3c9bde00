# pyright: basic
"""bfloat16 in compiled code, which has no such type: arrays hold its bits (uint16)."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload


@intrinsic
def _float_of(_context: Any, bits: Any) -> Any:
    """Take 32 bits for a float32."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), code


@intrinsic
def _bits_of(_context: Any, value: Any) -> Any:
    """Take a float32 for its 32 bits."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), code


def wide(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return a number to compute with."""
    raise NotImplementedError  # compiled code has the overload below


@overload(wide, inline="always")
def _wide_code(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if isinstance(value, types.Integer):
        return lambda value: _float_of(np.uint32(value) << np.uint32(16))  # type: ignore[call-arg]
    return lambda value: value


def narrow(value, like):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return a number as it is stored in arrays of the kind of ``like``."""
    raise NotImplementedError


@overload(narrow, inline="always")
def _narrow_code(value, like):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if isinstance(like, types.Integer):

        def rounded(value, like):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            bits: Any = _bits_of(value)  # type: ignore[call-arg]  # to the nearest, ties to even
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, like: value
