"""Damage to files: to their bytes, and to what their bytes say.

Everything random comes from the ``Random`` that is handed over: the same gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from random import Random

import numpy as np
from fuzz.damage import archives, documents, hdf5, octets, pictures, protobuf

Damage = Callable[[bytes, Random], tuple[bytes, str]]

# By what a file's name ends with; everything else is damaged as bytes only.
STRUCTURE: dict[str, Damage] = {
    ".nir": hdf5.damage,
    ".net": hdf5.damage,
    ".h5": hdf5.damage,
    ".onnx": protobuf.damage,
    ".npz": archives.damage_zip,
    ".pt": archives.damage_zip,
    ".npy": archives.damage_npy,
    ".safetensors": archives.damage_safetensors,
    ".json": documents.damage_json,
    ".jsonl": documents.damage_lines,
    ".toml": documents.damage_toml,
    "": documents.damage_text,
    ".gz": pictures.damage_gzip,
    **{f".{kind}": pictures.damage for kind in pictures.KINDS},
}

BYTES_SHARE = 0.4
WHOLE_SHARE = 0.02  # not damaged at all: what is valid must not do harm either


def damaged(name: str, data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage a file in one of the two ways and say how."""
    if r.random() < WHOLE_SHARE:
        return data, f"{name} as it is"
    change = STRUCTURE.get(PurePath(name).suffix)
    if change is None or r.random() < BYTES_SHARE:
        changed, said = octets.damage(data, r)
        return changed, f"bytes of {name}: {said}"
    with np.errstate(all="ignore"):  # numbers at the edge overflow
        changed, said = change(data, r)
    return changed, f"{name}: {said}"
