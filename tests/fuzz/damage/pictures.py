"""Damage to images, and to IDX files, that a checksum does not notice."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from functools import cache
from random import Random

import numpy as np
from fuzz.damage import octets
from PIL import Image

SIDES = (0, 1, 3, 5, 64, 4096, 20_000, 65_535, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
KINDS = {"png": "png", "jpg": "jpeg", "bmp": "bmp", "webp": "webp", "gif": "gif", "tif": "tiff",
         "pgm": "ppm", "ppm": "ppm"}  # fmt: skip
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F", "CMYK", "YCbCr")


def damage(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage an image and say how: its header, its mode, its size or its kind."""
    if r.random() < 0.05:
        side = r.choice((9000, 12_000, 20_000))
        return _wide(side), f"{side}x{side} white pixels"
    if data[:8] == b"\x89PNG\r\n\x1a\n" and r.random() < 0.7:
        return _png(data, r)
    if data[:2] in (b"P5", b"P6") and r.random() < 0.7:
        return _netpbm(data, r)
    return _saved(data, r)


def _saved(data: bytes, r: Random) -> tuple[bytes, str]:
    """Save the image as another kind, in another mode or size."""
    mode, kind = r.choice(MODES), r.choice(tuple(KINDS.values()))
    size = r.choice(((4, 4), (4, 4), (1, 1), (5, 4), (300, 1), (500, 500)))
    memory = io.BytesIO()
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB").resize(size)
        image = _in_mode(image, mode)
        frames = [image] * r.choice((0, 0, 2)) if kind in ("gif", "tiff", "webp", "png") else []
        image.save(memory, kind, **({"save_all": True, "append_images": frames} if frames else {}))
    except (OSError, ValueError, KeyError, OverflowError):  # not every kind holds every mode
        return octets.damage(data, r)
    return memory.getvalue(), f"{kind} of {size[0]}x{size[1]} in {mode}"


@cache
def _wide(side: int) -> bytes:
    memory = io.BytesIO()
    Image.new("1", (side, side), 1).save(memory, "png")
    return memory.getvalue()


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(data: bytes, r: Random) -> tuple[bytes, str]:
    """Change a PNG's chunks, with sums that are right."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    match r.randrange(5):
        case 0 | 1:
            head = bytearray(chunks[0][1])
            where = r.choice((0, 4))
            side = r.choice(SIDES)
            struct.pack_into(">I", head, where, side)
            chunks[0], said = (b"IHDR", bytes(head)), f"a side of {side}"
        case 2:
            head = bytearray(chunks[0][1])
            head[r.randrange(8, 13)] = r.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
            chunks[0], said = (b"IHDR", bytes(head)), "another depth or colour"
        case 3:
            body = r.choice((b"", b"\xff" * 40, zlib.compress(bytes(1 << 24))))
            chunks[-2], said = (b"IDAT", body), "other pixels"
        case _:
            bomb = zlib.compress(bytes(1 << 26))
            extra = r.choice(
                ((b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"acTL", b"\xff" * 8),
                 (b"PLTE", b"\1\2\3" * 256), (b"tRNS", b"\0" * 300), (b"tEXt", b"no end"),
                 (b"iTXt", b"a\0\1\0\0\0" + bomb), (b"eXIf", r.randbytes(40)))
            )  # fmt: skip
            chunks.insert(r.randrange(1, len(chunks) + 1), extra)
            said = f"a chunk {extra[0].decode()}"
    return data[:8] + b"".join(_chunk(*c) for c in chunks), said


def _netpbm(data: bytes, r: Random) -> tuple[bytes, str]:
    sides = [str(r.choice((*SIDES, 4, 4, 4, -1))) for _ in range(2)]
    top = r.choice(("255", "65535", "0", "1", "99999999", "-1", "9" * 5000))
    kind = r.choice(("P5", "P6", "P2", "P3", "P4", "P1", "Pf", "P7"))
    head = f"{kind} {' '.join(sides)} {top}\n"
    return head.encode() + data[-48:], head[:40].strip()


def damage_gzip(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage what is packed in a gzip file: the numbers of an IDX header first of all."""
    inner = gzip.decompress(data)
    match r.randrange(6):
        case 0 | 1 if inner[:2] == b"\0\0":
            where = 4 * r.randrange(1, inner[3] + 1)
            side = r.choice((*SIDES, 20, 28, 27, 29))
            inner = inner[:where] + struct.pack(">I", side) + inner[where + 4 :]
            said = f"a side of {side}"
        case 2:
            return data + data * r.choice((1, 50)), "several parts"
        case 3:
            return gzip.compress(inner + bytes(1 << 27), mtime=0), "128 MiB of zeros more"
        case 4 if inner[:2] == b"\0\0":
            inner = inner[:3] + bytes([r.choice((0, 1, 2, 3, 4, 255))]) + inner[4:]
            said = f"{inner[3]} axes"
        case _:
            inner, said = octets.damage(inner, r)
    return gzip.compress(inner, mtime=0), said
