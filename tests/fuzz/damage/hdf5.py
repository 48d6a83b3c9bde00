"""Damage to the structure of HDF5 files, made with h5py, so that the file itself stays sound."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import h5py
import numpy as np
from fuzz.damage.documents import damage_json
from fuzz.damage.values import TEXTS, anything, array, integer, number

DTYPES = (
    "i1", "u1", "<i2", ">i2", "<i4", "<u4", "<i8", "<u8", "f2", "<f4", ">f8", "c8", "c16", "?",
    "S1", "S8", "V4", "text", "enum", "compound", "reference", "ragged", "longdouble",
)  # fmt: skip
HUGE = (
    (1 << 31,), (1 << 40,), (1 << 20, 1 << 20), (1 << 62,), (1 << 27,), (3, 1 << 28),
    (0, 1 << 40), (1 << 16, 1 << 16, 1 << 16), (1 << 25,), (5000, 5000),
)  # fmt: skip
ZEROS = 1 << 24  # bytes of one chunk of a bomb
IMPOSSIBLE = (
    OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError,
)  # fmt: skip


def damage(data: bytes, r: Random) -> tuple[bytes, str]:
    """Change one to three things in an HDF5 file and say which."""
    if r.random() < 0.05:
        return repeated_text(data, r)
    memory, said = io.BytesIO(data), []
    with h5py.File(memory, "r+") as file:
        for _ in range(r.choice((1, 1, 1, 2, 3))):
            kind = _do_one(file, r, said)
            if kind in HEAVY:  # which is much to read again
                break
    return memory.getvalue(), ", ".join(said)


def _do_one(file: h5py.File, r: Random, said: list[str]) -> Callable[..., str] | None:
    """Do one thing that can be done to this file; returns which."""
    for _ in range(20):
        kind = r.choice(KINDS)
        # HDF5 refuses some things, such as a name that is taken: then another is done.
        with suppress(*IMPOSSIBLE):
            told = kind(file, r)
            if told:
                said.append(told)
                return kind
    return None


def groups(file: h5py.File) -> list[h5py.Group]:
    """Return every group, the root first."""
    return [file, *_found(file, h5py.Group)]


def _found(file: h5py.File, kind: type) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda _, x: found.append(x) if isinstance(x, kind) else None)
    return found


def _dataset(file: h5py.File, r: Random, kinds: str = "") -> h5py.Dataset:
    """Choose a dataset; ValueError if there is none of such kinds of values."""
    found = [d for d in _found(file, h5py.Dataset) if not kinds or d.dtype.kind in kinds]
    if not found:
        raise ValueError("there is no such dataset")
    return r.choice(found)


def _values(file: h5py.File, r: Random) -> str:
    """Put edges into some or all values."""
    dataset = _dataset(file, r, "biuf")
    new = array(r, dataset.shape, dataset.dtype)
    if dataset.size > 1 and r.random() < 0.6:
        keep = dataset[()]
        at = [r.randrange(dataset.size) for _ in range(r.choice((1, 1, 5)))]
        keep.flat[at] = new.flat[at]
        new = keep
    dataset[...] = new
    return f"values of {dataset.name}"


def _replace(dataset: h5py.Dataset, **told: Any) -> str:
    """Put another dataset in the place of one."""
    parent, name = dataset.parent, dataset.name
    del parent[name]
    parent.create_dataset(name, **told)
    return name


def _number(file: h5py.File, r: Random) -> str:
    """Replace a dataset by one number, of the same shape or none."""
    dataset = _dataset(file, r)
    value = integer(r) if r.random() < 0.6 else number(r)
    shape = dataset.shape if r.random() < 0.6 else ()
    return f"{_replace(dataset, data=np.full(shape, value))} is {value}"


def _dtype(file: h5py.File, r: Random) -> str:
    dataset, kind = _dataset(file, r), r.choice(DTYPES)
    data, dtype = _cast(dataset, kind, r)
    return f"{_replace(dataset, data=data, dtype=dtype)} holds {kind}"


def _cast(dataset: h5py.Dataset, kind: str, r: Random) -> tuple[Any, Any]:
    shape = dataset.shape or ()
    match kind:
        case "text":
            return np.full(shape, r.choice(("1", "a", "")), object), h5py.string_dtype()
        case "enum":
            return np.zeros(shape, "i1"), h5py.enum_dtype({"A": 0, "B": 1}, basetype="i1")
        case "compound":
            return np.zeros(shape, [("a", "i4"), ("b", "f8")]), None
        case "reference":
            return np.full(shape, dataset.parent.ref, object), h5py.ref_dtype
        case "ragged":
            made = np.empty(shape if dataset.size < 1000 else (7,), object)
            for place in np.ndindex(made.shape):
                made[place] = np.arange(3, dtype=np.int32)
            return made, h5py.vlen_dtype(np.int32)
        case "V4" | "S1" | "S8":
            return np.zeros(shape, kind), None
        case _:
            with np.errstate(all="ignore"):
                held = dataset[()] if dataset.dtype.kind in "biuf" else np.zeros(shape)
                return np.asarray(held).astype(kind), None


def _shape(file: h5py.File, r: Random) -> str:
    dataset = _dataset(file, r)
    held = np.asarray(dataset[()])
    made = r.choice(SHAPES)(held)
    if held.dtype.kind == "O":
        return f"{_replace(dataset, data=made, dtype=h5py.string_dtype())} is {made.shape}"
    return f"{_replace(dataset, data=made)} is {made.shape}"


SHAPES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda x: x.reshape(-1)[:1].reshape(()),
    lambda x: x[None],
    lambda x: x[..., None],
    lambda x: x.reshape((1,) * 20 + x.shape),
    lambda x: x.reshape(-1),
    lambda x: x.T,
    lambda x: x.reshape(-1)[:0],
    lambda x: x[:0] if x.ndim else x.reshape(-1)[:0],
    lambda x: x[:-1] if x.ndim else x[None],
    lambda x: np.concatenate([x, x]) if x.ndim else np.array([x, x]),
    lambda x: np.concatenate([x, x], -1) if x.ndim else np.array([[x], [x]]),
    lambda x: np.resize(x, (7,)),
    lambda x: np.resize(x, (2, 3, 2)),
)


def _huge(file: h5py.File, r: Random) -> str:
    """Declare a shape beyond all memory, of which nothing was ever written."""
    dataset = _dataset(file, r)
    shape = r.choice(HUGE)
    told: dict[str, Any] = {"shape": shape, "dtype": r.choice(("i1", "f8", "f4", "i8"))}
    if r.random() < 0.7:
        told |= {"chunks": tuple(min(n or 1, 1 << 10) for n in shape)}
        told |= {"compression": "gzip"} if r.random() < 0.5 else {}
    if r.random() < 0.3:
        told |= {"fillvalue": r.choice((0, 1, -1))}
    return f"{_replace(dataset, **told)} declares {shape}"


def _fill(file: h5py.File, r: Random) -> str:
    """Leave a dataset unwritten, so that it reads as its fill value."""
    dataset = _dataset(file, r, "biuf")
    dtype = dataset.dtype
    value = array(r, (), dtype)[()]
    shape = dataset.shape
    return f"{_replace(dataset, shape=shape, dtype=dtype, fillvalue=value)} is filled with {value}"


def _bomb(file: h5py.File, r: Random) -> str:
    """Store zeros of which a kilobyte unpacks to a megabyte."""
    dataset = _dataset(file, r)
    kind = r.choice(("i1", "f4", "f8", "i8"))
    rows = ZEROS // np.dtype(kind).itemsize
    count = r.choice((4, 16, 60, 200))
    name, parent = dataset.name, dataset.parent
    del parent[name]
    made = parent.create_dataset(
        name, (rows * count,), kind, chunks=(rows,), compression="gzip", compression_opts=9
    )
    packed = zlib.compress(bytes(ZEROS), 9)
    for i in range(count):
        made.id.write_direct_chunk((i * rows,), packed)
    return f"{name} unpacks to {count * ZEROS >> 20} MiB"


def _filter(file: h5py.File, r: Random) -> str:
    """Store the same values through another filter."""
    dataset = _dataset(file, r, "biuf")
    held, shape = dataset[()], dataset.shape
    if not shape or 0 in shape:
        return ""
    told = r.choice(
        ({"fletcher32": True}, {"compression": "lzf"}, {"scaleoffset": 2}, {"shuffle": True},
         {"compression": "gzip"}, {"maxshape": (None,) * len(shape)}, {"chunks": (1,) * len(shape)})
    )  # fmt: skip
    return f"{_replace(dataset, data=held, **told)} through {next(iter(told))}"


def _text(file: h5py.File, r: Random) -> str:
    dataset = _dataset(file, r, "SO" if r.random() < 0.8 else "")
    text = r.choice(TEXTS).encode("utf-8", "surrogatepass")
    match r.randrange(4):
        case 0:
            data: Any = np.array(text or b"\0")
        case 1:
            data = np.full(dataset.shape, text or b"\0")
        case 2:
            return f"{_replace(dataset, data=text, dtype=h5py.string_dtype('ascii'))} is {text!r}"
        case _:
            return f"{_replace(dataset, data=text, dtype=h5py.string_dtype())} is {text[:40]!r}"
    return f"{_replace(dataset, data=data)} is {text[:40]!r}"


def _words(file: h5py.File, r: Random) -> str:
    """Replace a text by another that the file, or one of its kind, may hold."""
    dataset = _dataset(file, r, "SO")
    word = r.choice((
        "NIRGraph", "Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d",
        "AvgPool2d", "Flatten", "Delay", "Threshold", "I", "IF", "LI", "LIF", "CubaLI", "CubaLIF",
        "same", "valid", "zero", "subtract", "at", "above", "many", "one", "euler", "exponential",
        "dense", "dense_rec", "conv", "flatten", "input", "pool", "average", "CUBA", "LOIHI",
        "SDNN", "ALIF", "RF", "RF_PHASE", "RF_IZHIKEVICH", "ADRF", "relu",
    ))  # fmt: skip
    data = np.full(dataset.shape, word.encode())
    return f"{_replace(dataset, data=data)} is {word}"


def _any(file: h5py.File, r: Random) -> tuple[h5py.Group, str]:
    """Choose an object by its group and name there."""
    group = r.choice([g for g in groups(file) if len(g)] or [file])
    return group, r.choice(list(group))


def _delete(file: h5py.File, r: Random) -> str:
    group, name = _any(file, r)
    del group[name]
    return f"{group.name} lost {name}"


def _name(r: Random) -> bytes:
    text = r.choice(TEXTS).replace("\0", "0") or "0"
    return text.encode("utf-8", "surrogatepass") if r.random() < 0.95 else b"\xff\xfe"


def _rename(file: h5py.File, r: Random) -> str:
    group, name = _any(file, r)
    other = r.choice(list(group)).encode() + b"_" if r.random() < 0.3 else _name(r)
    group.move(name, other)
    return f"{group.name}: {name} renamed {other[:40]!r}"


def _move(file: h5py.File, r: Random) -> str:
    group, name = _any(file, r)
    into = r.choice(groups(file))
    group.copy(name, into, name=_name(r) if r.random() < 0.5 else name)
    if r.random() < 0.5:
        del group[name]
    return f"{group.name}/{name} moved to {into.name}"


def _add(file: h5py.File, r: Random) -> str:
    group, name = r.choice(groups(file)), _name(r)
    value = anything(r) if r.random() < 0.8 else np.arange(3)
    if isinstance(value, dict) or value is None:
        group.create_group(name)
    else:
        group[name] = value
    return f"{group.name} got {name[:40]!r}"


def _twist(file: h5py.File, r: Random) -> str:
    """A group where a dataset was, or a dataset where a group was, or a type."""
    group, name = _any(file, r)
    was = group[name]
    held = list(was) if isinstance(was, h5py.Group) else []
    del group[name]
    match r.randrange(3):
        case 0 if not held:
            group.create_group(name)
        case 1:
            group[name] = np.dtype("i4")
        case _:
            group[name] = number(r)
    return f"{group.name}/{name} became something else"


def _link(file: h5py.File, r: Random) -> str:
    """A link in the place of an object, or beside it."""
    group, name = _any(file, r)
    other, target = _any(file, r)
    place = name if r.random() < 0.5 else "again"
    match r.randrange(6):
        case 0:
            made: Any = h5py.SoftLink(f"{other.name}/{target}")
        case 1:
            made = h5py.SoftLink(r.choice(("/nowhere", name, ".", "/")))
        case 2:
            made = h5py.ExternalLink(r.choice(("a.nir", "/etc/hostname", "no.h5")), "/")
        case _:
            made = other[target] if r.random() < 0.6 else r.choice((file, group, other))
    if place in group:
        del group[place]
    group[place] = made
    return f"{group.name}/{place} is a {type(made).__name__} to {target}"


def _doubling(file: h5py.File, r: Random) -> str:
    """Groups that each hold the next twice: thirty of them stand for 2^30."""
    group = r.choice(groups(file))
    below = file.create_group("0")
    below["type"] = "LIF"
    levels = r.choice((5, 20, 30))
    for i in range(levels):
        level = file.create_group(f"{i + 1}")
        level["a"] = level["b"] = below
        if r.random() < 0.5:
            level["type"], level["nodes"] = "NIRGraph", below
        below = level
    group[r.choice(("twice", "nodes2", "layers"))] = below
    return f"{group.name} holds 2^{levels} groups"


def _deep(file: h5py.File, r: Random) -> str:
    group, depth = r.choice(groups(file)), r.choice((10, 31, 33, 200, 2000))
    step = r.choice(("g", "sub/nodes"))
    inner = group.create_group("/".join(["deep", *[step] * depth]))
    inner["type"] = "LIF"
    return f"{group.name} is {depth} deeper"


def _many(file: h5py.File, r: Random) -> str:
    """Many small objects."""
    group, count = r.choice(groups(file)), r.choice((300, 300, 2000))
    copied = r.choice(list(group)) if len(group) and r.random() < 0.5 else None
    for i in range(count):
        if copied:
            group.copy(copied, f"many{i}")
        else:
            group.create_group(f"many{i}")
    return f"{group.name} holds {count} more"


def _attributes(file: h5py.File, r: Random) -> str:
    """Change, remove or add an attribute; a JSON text in one is damaged as JSON."""
    holders = [x for x in (*groups(file), *_found(file, h5py.Dataset)) if len(x.attrs)]
    if not holders:
        return ""
    holder = r.choice(holders)
    name = r.choice(list(holder.attrs))
    if r.random() < 0.1:
        del holder.attrs[name]
        return f"{holder.name} lost {name}"
    was = holder.attrs[name]
    if isinstance(was, str) and was[:1] in "{[" and was:
        text, said = damage_json(was.encode(), r)
        _long_attribute(holder, name, text)
        return f"{name}: {said}"
    holder.attrs[name] = value = _attribute(was, r)
    return f"{holder.name}: {name} is {str(value)[:40]}"


def _long_attribute(holder: Any, name: str, text: bytes) -> None:
    """Store a text; as HDF5 holds up to 64 KiB, one longer is cut."""
    with suppress(ValueError):
        json.loads(text)
    holder.attrs.create(name, text[:60_000], dtype=h5py.string_dtype())


def _attribute(was: Any, r: Random) -> Any:
    match r.randrange(6):
        case 0:
            return r.choice(TEXTS).replace("\0", "0").encode("utf-8", "surrogatepass")
        case 1:
            return h5py.Empty(r.choice(("f4", "S4", "i8")))
        case 2 if isinstance(was, np.ndarray):
            return r.choice(SHAPES)(was)
        case 3:
            return np.asarray(number(r)).astype(r.choice(("f4", "i8", "u8", "?", "c16")))
        case _ if isinstance(was, np.ndarray) and was.dtype.kind in "iuf":
            return array(r, was.shape, was.dtype)
        case _:
            value = integer(r)
            return value if -(1 << 63) <= value < 1 << 64 else float(value)


def _edges(file: h5py.File, r: Random) -> str:
    """Damage the edges of a graph of NIR."""
    found = [d for d in _found(file, h5py.Dataset) if d.name.endswith("/edges")]
    if not found:
        return ""
    dataset = r.choice(found)
    edges = [(bytes(a), bytes(b)) for a, b in dataset[()]]
    names = sorted({x for edge in edges for x in edge} | {b"nowhere", b""})
    a, b = r.choice(names), r.choice(names)
    edge = r.choice(edges or [(a, b)])
    match r.randrange(9):
        case 0:
            edges.remove(edge)
        case 1:
            edges.append(edge)
        case 2:
            edges.append((edge[1], edge[0]))
        case 3:
            edges.append((a, a))
        case 4:
            edges = edges * r.choice((2, 5000))
        case 5:
            edges += [(a, b"nowhere%d" % i) for i in range(r.choice((1, 5000)))]
        case 6:
            edges += [(x, y) for x in names for y in names]
        case 7:
            edges = [(y, x) for x, y in edges]
        case _:
            edges.append((a, b))
    width = max((len(x) for edge in edges for x in edge), default=1) or 1
    data = np.array(edges, f"S{width}").reshape(-1, 2)
    return f"{len(data)} edges in {_replace(dataset, data=data)}"


def _outside(file: h5py.File, r: Random) -> str:
    """Keep the values of a dataset in another file."""
    dataset = _dataset(file, r, "biuf")
    shape, dtype = dataset.shape or (1,), dataset.dtype
    if r.random() < 0.5:
        size = int(np.prod(shape)) * dtype.itemsize
        told = {"shape": shape, "dtype": dtype, "external": [("/etc/hostname", 0, size)]}
        return f"{_replace(dataset, **told)} lies elsewhere"
    parent, name = dataset.parent, dataset.name
    del parent[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(r.choice((".", "a.nir", "no.h5")), name, shape)
    parent.create_virtual_dataset(name, layout)
    return f"{name} is virtual"


KINDS: tuple[Callable[[h5py.File, Random], str], ...] = (
    *(_values, _number, _dtype, _shape, _attributes) * 4,
    *(_text, _words, _delete, _rename, _edges, _link) * 2,
    _huge, _fill, _bomb, _filter, _move, _add, _twist, _doubling, _deep, _many, _outside,
)  # fmt: skip


HEAVY = (_huge, _bomb, _doubling, _deep, _many)


def repeated_text(data: bytes, r: Random) -> tuple[bytes, str]:
    """Put a long text into a dataset whose every element refers to it.

    HDF5 keeps texts of any length in a heap and their places in the dataset: the places are
    written over by hand, as h5py stores each text anew.
    """
    length, count = r.choice(((1 << 20, 300), (1 << 20, 10_000), (1 << 12, 1 << 20), (64, 1 << 20)))
    memory = io.BytesIO(data)
    with h5py.File(memory, "r+") as file:
        found = _found(file, h5py.Dataset)
        name = r.choice(found).name if found and r.random() < 0.7 else "/extra"
        if name in file:
            del file[name]
        shape = (count // 2, 2) if name.endswith("edges") else (count,)
        made = file.create_dataset(name, shape, h5py.string_dtype())
        made[(0,) * len(shape)] = "n" * length
        file.flush()
        at = made.id.get_offset()
    raw = memory.getvalue()
    if at is None or struct.unpack_from("<I", raw, at)[0] != length:
        raise ValueError("the text is not where HDF5 says")
    return raw[:at] + raw[at : at + 16] * count + raw[at + 16 * count :], (
        f"{name} holds {count} times the same {length} letters"
    )
