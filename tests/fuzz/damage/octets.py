"""Damage to bytes, whatever they mean."""

from __future__ import annotations

import struct
from random import Random

EDGES = tuple(
    struct.pack(order + kind, value)
    for kind, values in (
        ("B", (0, 1, 0x7F, 0x80, 0xFF)),
        ("H", (0, 1, 0x7FFF, 0x8000, 0xFFFF)),
        ("I", (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
        ("Q", (0, 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
    )
    for value in values
    for order in "<>"
)


def damage(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage bytes in one to four places and say how."""
    said: list[str] = []
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        kind = r.choice(KINDS)
        at = _place(data, r)
        data = kind(data, at, r)
        said.append(f"{kind.__name__.strip('_')} at {at}")
    return data, ", ".join(said)


def _place(data: bytes, r: Random) -> int:
    """Choose a place: near an end, where most formats say what they hold, or anywhere."""
    size = max(len(data), 1)
    if r.random() < 0.5:
        return r.randrange(size)
    near = r.randrange(min(size, 1024))
    return near if r.random() < 0.6 else size - 1 - near


def _flip(data: bytes, at: int, r: Random) -> bytes:
    changed = bytearray(data)
    for i in range(at, min(at + r.choice((1, 1, 2, 8)), len(data))):
        changed[i] ^= 1 << r.randrange(8)
    return bytes(changed)


def _random(data: bytes, at: int, r: Random) -> bytes:
    length = r.choice((1, 4, 16, 100))
    return data[:at] + r.randbytes(min(length, len(data) - at)) + data[at + length :]


def _edge(data: bytes, at: int, r: Random) -> bytes:
    value = r.choice(EDGES)
    at -= at % len(value)
    return data[:at] + value + data[at + len(value) :]


def _cut(data: bytes, at: int, _r: Random) -> bytes:
    return data[:at]


def _remove(data: bytes, at: int, r: Random) -> bytes:
    return data[:at] + data[at + r.choice((1, 2, 8, 100, 1000)) :]


def _insert(data: bytes, at: int, r: Random) -> bytes:
    return data[:at] + r.randbytes(r.choice((1, 2, 8, 100))) + data[at:]


def _repeat(data: bytes, at: int, r: Random) -> bytes:
    part = data[at : at + r.choice((1, 8, 64, 512))]
    return data[:at] + part * r.choice((2, 3, 100)) + data[at + len(part) :]


def _swap(data: bytes, at: int, r: Random) -> bytes:
    length = r.choice((1, 8, 64))
    a, b = sorted((at, _place(data, r)))
    first, second = data[a : a + length], data[b : b + length]
    if b < a + length:
        return data
    return data[:a] + second + data[a + len(first) : b] + first + data[b + len(second) :]


def _zeros(data: bytes, at: int, r: Random) -> bytes:
    length = min(r.choice((1, 8, 64, 512, 4096)), len(data) - at)
    return data[:at] + bytes(length) + data[at + length :]


def _empty(_data: bytes, _at: int, _r: Random) -> bytes:
    return b""


KINDS = (
    *(_flip, _random, _edge) * 4, _cut, _cut, _remove, _insert, _repeat, _swap, _zeros, _zeros,
    _empty,
)  # fmt: skip
