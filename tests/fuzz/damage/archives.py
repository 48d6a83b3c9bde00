"""Damage to zip archives (npz, .pt), to arrays in them, and to safetensors."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np
from fuzz.damage import octets
from fuzz.damage.documents import damage_json
from fuzz.damage.values import TEXTS, array, integer, number


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive as its header tells it, which may be wrong."""

    name: bytes
    content: bytes  # as it lies in the archive
    size: int  # unpacked
    crc: int
    method: int = zipfile.ZIP_STORED
    flags: int = 0


def stored(name: str, content: bytes) -> Member:
    """Return a member that is not packed."""
    return Member(name.encode("utf-8", "surrogatepass"), content, len(content), zlib.crc32(content))


def deflated(name: str, content: bytes) -> Member:
    """Return a packed member."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    return replace(stored(name, content), content=packed, method=zipfile.ZIP_DEFLATED)


def written(members: list[Member]) -> bytes:
    """Return an archive with these headers, whatever they say."""
    body, directory = b"", b""
    for m in members:
        told = struct.pack(
            "<HHHHHIIIHH", 20, m.flags, m.method, 0, 33, m.crc, len(m.content),
            m.size & 0xFFFFFFFF, len(m.name) & 0xFFFF, 0,
        )  # fmt: skip
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + told
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + m.name
        body += b"PK\x03\x04" + told + m.name + m.content
    end = struct.pack(
        "<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0
    )  # fmt: skip
    return body + directory + b"PK\x05\x06" + end


def members(data: bytes) -> list[Member]:
    """Return the files of a sound archive, not packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [stored(i.filename, archive.read(i)) for i in archive.infolist()]


def damage_zip(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage the files of an archive or their headers and say how."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return octets.damage(data, r)
    found = members(data)
    said: list[str] = []
    for _ in range(r.choice((1, 1, 1, 2))):
        kind = r.choice(ZIP_KINDS)
        said.append(kind(found, r.randrange(len(found)), r) if found else "nothing left")
    return written(found), ", ".join(said)


def _inside(found: list[Member], at: int, r: Random) -> str:
    """Damage a file's own content, so that its sum is right."""
    m = found[at]
    content, said = octets.damage(m.content, r)
    found[at] = stored(m.name.decode("utf-8", "surrogatepass"), content)
    return f"{m.name.decode('utf-8', 'replace')[:40]}: {said}"


def _array(found: list[Member], at: int, r: Random) -> str:
    m = found[at]
    try:
        values = np.load(io.BytesIO(m.content))
    except (ValueError, OSError, EOFError):  # no array, or one that is damaged already
        return _inside(found, at, r)
    content, said = damage_array(values, r)
    pack = deflated if r.random() < 0.3 else stored
    found[at] = pack(m.name.decode("utf-8", "surrogatepass"), content)
    return f"{m.name.decode('utf-8', 'replace')[:40]}: {said}"


def _header(found: list[Member], at: int, r: Random) -> str:
    """Let a header say something else than what is there."""
    m = found[at]
    name = r.choice(("size", "crc", "method", "flags"))
    value = {
        "size": r.choice((0, 1, len(m.content) - 1, len(m.content) + 1, 1 << 20, (1 << 32) - 1)),
        "crc": r.getrandbits(32),
        "method": r.choice((1, 8, 9, 12, 14, 93, 99)),
        "flags": r.choice((1, 8, 1 << 5, 1 << 6, 1 << 11, 1 << 13)),
    }[name]
    found[at] = replace(m, **{name: max(value, 0)})
    return f"{name} of {m.name.decode('utf-8', 'replace')[:40]} is {value}"


def _name(found: list[Member], at: int, r: Random) -> str:
    m = found[at]
    name = r.choice(TEXTS).encode("utf-8", "surrogatepass")[:60_000]
    name += b".npy" if m.name.endswith(b".npy") and r.random() < 0.7 else b""
    flag = 1 << 11 if r.random() < 0.5 else 0
    found[at] = replace(m, name=name, flags=m.flags | flag)
    return f"{m.name.decode('utf-8', 'replace')[:40]} renamed {name[:40]!r}"


def _members(found: list[Member], at: int, r: Random) -> str:
    match r.randrange(5):
        case 0:
            del found[at]
            return "a file less"
        case 1:
            found.append(found[at])
            return "a file twice"
        case 2:
            a, b = found[at], r.choice(found)
            found[at] = replace(b, name=a.name)
            return "a file in the place of another"
        case 3:
            found += [stored(f"{i}.npy", b"") for i in range(5000)]
            return "5,000 files more"
        case _:
            found.append(stored(r.choice(TEXTS), r.randbytes(10)))
            return "a file more"


@cache
def zeros(size: int) -> tuple[bytes, int]:
    """Return that many zeros deflated, a multiple of 16 MiB, and their sum."""
    block, crc = bytes(1 << 24), 0
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # which may be repeated
    for _ in range(size >> 24):
        crc = zlib.crc32(block, crc)
    return packed * (size >> 24) + b"\x03\x00", crc


def _bomb(found: list[Member], at: int, r: Random) -> str:
    """A file that unpacks to a thousand times its size, with a header to match."""
    m = found[at]
    size = r.choice((1 << 26, 1 << 28, 1 << 30))
    packed, crc = zeros(size)
    wide = b"" if r.random() < 0.5 else _npy_header("|u1", (size,))
    if wide:
        # A stored block holds the header; the sum is left wrong, which shows after unpacking only.
        packed = struct.pack("<BHH", 0, len(wide), len(wide) ^ 0xFFFF) + wide + packed
    found[at] = replace(
        m, content=packed, size=size + len(wide), crc=crc, method=zipfile.ZIP_DEFLATED
    )
    if r.random() < 0.3:
        found += [replace(found[at], name=b"%d.npy" % i) for i in range(8)]
    return f"{m.name.decode('utf-8', 'replace')[:40]} unpacks to {size >> 20} MiB"


ZIP_KINDS: tuple[Callable[[list[Member], int, Random], str], ...] = (
    *(_array,) * 6, *(_inside,) * 3, _header, _header, _name, _members, _members, _bomb,
)  # fmt: skip

NPY_TYPES = (
    "|b1", "|i1", "|u1", "<i2", ">i4", "<i8", "<u8", "<f2", "<f4", ">f8", "<c8", "<U3", "|S3",
    "|O", "<M8[s]", "<m8[D]", "|V5", "<f16",
)  # fmt: skip


def _npy_header(descr: str, shape: tuple[int, ...], version: int = 1) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return _npy_head(text, version)


def _npy_head(text: str, version: int) -> bytes:
    body = text.encode("latin-1", "replace")
    body += b" " * (-(len(body) + 11) % 64) + b"\n"
    size = struct.pack("<H", len(body) & 0xFFFF) if version == 1 else struct.pack("<I", len(body))
    return b"\x93NUMPY" + bytes([version, 0]) + size + body


HEADERS = (
    "{'descr': '<f4'}", "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': 0, 'shape': (2,)}",
    "(" * 500 + ")" * 500, "[]", "{'descr': '<f4', 'fortran_order': False, 'shape': (1e9,)}",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (-1, 2), }", "__import__('os')",
    "{'descr': 'x', 'fortran_order': False, 'shape': ()}", "9" * 5000, "",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
)  # fmt: skip


def damage_array(values: np.ndarray, r: Random) -> tuple[bytes, str]:
    """Return the bytes of a ``.npy`` file with other values, type or shape, or a false header."""
    match r.randrange(9):
        case 0 | 1:
            shape = _other_shape(values.shape, r)
            made, said = np.resize(values, shape), f"shape {shape}"
        case 2 | 3:
            kind = r.choice(NPY_TYPES)
            with np.errstate(all="ignore"):
                made = values.astype(kind) if kind != "|V5" else np.zeros(values.shape, kind)
            said = f"type {kind}"
        case 4 | 5 if values.dtype.kind in "biuf" and values.size:
            made, said = array(r, values.shape, values.dtype), "edges"
        case 6:
            made, said = np.full(values.shape, number(r)), "one number"
        case 7:
            shape = tuple(abs(integer(r)) for _ in range(r.randrange(1, 4)))
            head = _npy_header(r.choice(NPY_TYPES), shape, r.choice((1, 2, 3, 4)))
            return head + values.tobytes()[:1000], f"declares {shape}"
        case _:
            head = _npy_head(r.choice(HEADERS), r.choice((1, 2)))
            return head + values.tobytes()[:1000], "another header"
    memory = io.BytesIO()
    np.save(memory, made, allow_pickle=True)
    return memory.getvalue(), said


def _other_shape(shape: tuple[int, ...], r: Random) -> tuple[int, ...]:
    return r.choice(
        ((), (0,), (*shape, 1), (1, *shape), shape[1:], shape[:-1], (*shape[:-1], 0), shape[::-1],
         tuple(n + 1 for n in shape), (1,) * 30, tuple(max(n - 1, 0) for n in shape))
    )  # fmt: skip


def damage_npy(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage a single array."""
    return damage_array(np.load(io.BytesIO(data)), r)


def damage_safetensors(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage the header of a safetensors file, the facts in it, or its length."""
    size = struct.unpack("<Q", data[:8])[0]
    head, body = data[8 : 8 + size], data[8 + size :]
    kind = r.randrange(6)
    told = json.loads(head)
    facts = told.get("__metadata__", {})
    if kind == 0:
        length = r.choice((0, 1, size - 1, size + 8, 1 << 31, 1 << 40, (1 << 64) - 1))
        return struct.pack("<Q", length) + head + body, f"a header of {length} bytes"
    if kind == 1:
        values, said = octets.damage(body, r)
        return data[: 8 + size] + values, said
    if kind == 2:
        return data[: 8 + size] + _numbers(body, r), "edges in the tensors"
    if kind == 3 and facts:
        key = r.choice(list(facts))
        text, said = damage_json(facts[key].encode(), r)
        told["__metadata__"] = {**facts, key: text.decode("utf-8", "surrogateescape")}
        head = json.dumps(told).encode()
    else:
        head, said = damage_json(head, r)
    return struct.pack("<Q", len(head)) + head + body, said


def _numbers(body: bytes, r: Random) -> bytes:
    """Put edges of single precision into some places."""
    values = np.frombuffer(body[: len(body) // 4 * 4], np.float32).copy()
    for _ in range(r.choice((1, 3, 30))):
        values[r.randrange(len(values))] = array(r, (), np.float32)
    return values.tobytes() + body[len(values) * 4 :]
