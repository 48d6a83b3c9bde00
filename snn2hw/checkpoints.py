"""Files of weights: what is in them, for those who took one for a network.

A pickle is a program. It is gone through here by an unpickler that imports nothing: whatever the
file names becomes an inert object, and numbers are not read at all.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snn2hw.archives import check_zip
from snn2hw.errors import InputError, listed
from snn2hw.files import reading
from snn2hw.processes import bounded

SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".safetensors")
MOST_DESCRIPTION = 8 << 20  # bytes that name tensors: thousands take less than one MB
ROOM = 512 << 20  # bytes that going through a description may take
LEGACY = 0x1950A86A20F9469CFC6C  # what torch.save wrote first before PyTorch 1.6
INSIDE = ("state_dict", "model_state_dict", "model", "net", "module", "weights")
SHOWN = 4


class Held(NamedTuple):
    """What a file holds.

    Args:
        tensors: shape of each, by name.
        key: under which they lie in the file's dictionary; empty if they are the whole of it.
        lightning: PyTorch Lightning wrote it.
        module: class of the module that was pickled whole; empty for none.
        others: what else the pickle names that ``torch.load(weights_only=True)`` refuses.
    """

    tensors: Mapping[str, tuple[int, ...]]
    key: str = ""
    lightning: bool = False
    module: str = ""
    others: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What all names begin with, up to their first full stop; empty if they differ."""
        starts = {name.partition(".")[0] for name in self.tensors if "." in name}
        alike = len(starts) == 1 and all("." in name for name in self.tensors)
        return f"{starts.pop()}." if alike else ""


def is_weights(path: Path) -> bool:
    """Say whether a file's name ends like that of a file of weights."""
    return path.suffix.lower() in SUFFIXES


def no_network(path: Path, way_out: str = "") -> InputError:
    """Return the error for a file of weights where a network belongs: what it holds, what to do.

    Args:
        path: the file.
        way_out: what to do with weights; by default how a module gets them in Python.

    Raises:
        InputError: it is damaged, or holds something else.
    """
    held = describe(path)
    if held.module:
        return InputError(
            f"{path} holds a whole pickled module, of class {held.module}: that is code, and is "
            "not opened.",
            "Where the class is known, snn2hw.load(module, shape=...) takes the module itself; "
            "torch.save(module.state_dict(), FILE) stores its weights alone.",
        )
    tensors = [f"{k} {list(v)}" for k, v in held.tensors.items()]
    more = f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else ""
    kind = "a Lightning checkpoint, with" if held.lightning else "weights,"
    where = f" in its {held.key!r}" if held.key else ""
    return InputError(
        f"{path} holds {kind} {len(tensors)} tensors{where} ({listed(tensors[:SHOWN])}{more}), "
        "but no network.",
        way_out or _way_out(path, held),
    )


def _way_out(path: Path, held: Held) -> str:
    """Say how a module gets its weights, in Python."""
    inside = f"[{held.key!r}]" if held.key else ""
    file = json.dumps(path.name)
    if path.suffix.lower() == ".safetensors":
        loaded = f"safetensors.torch.load_file({file})"
    else:
        loaded = f"torch.load({file}, weights_only=True){inside}"
    prefix = held.prefix if held.lightning else ""
    if prefix:
        loaded = f"{{k.removeprefix({prefix!r}): v for k, v in {loaded}.items()}}"
    whole = (
        f" Their names begin with {prefix!r}, the module in the LightningModule." if prefix else ""
    )
    return (
        f"{_allowed(held.others)}module = ..., the class that it was trained as; "
        f"module.load_state_dict({loaded}); snn2hw.load(module, shape=(C, H, W)).{whole}"
    )


# What checkpoints hold beside weights, and what unpickling cannot make do anything.
_HARMLESS = (
    "argparse.Namespace", "collections.defaultdict", "datetime.datetime", "datetime.timedelta",
    "numpy.dtype", "numpy.ndarray", "pathlib.PosixPath", "pathlib.WindowsPath",
    *(f"builtins.{name}" for name in ("dict", "float", "frozenset", "int", "list", "range", "slice",
                                      "str", "tuple")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
      for name in ("scalar", "_reconstruct")),
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)  # fmt: skip


def _allowed(others: Sequence[str]) -> str:
    """Say what else a file names that PyTorch refuses, and the code that allows what is harmless.

    Names are whatever the file's author wrote: of others there is no code to copy.
    """
    if not others:
        return "In Python: "
    what = f"It also names {listed(others, most=400)}, which PyTorch loads only if it is told to"
    strange = [name for name in others if name not in _HARMLESS]
    if strange:
        return (
            f"{what}: such a file may do anything. If you trust whoever made it, allow these names "
            "with torch.serialization.add_safe_globals. In Python: "
        )
    known = list(others)
    if "numpy.dtype" in known:  # each dtype has a class, which the file does not name
        known.append("*map(vars(numpy.dtypes).get, numpy.dtypes.__all__)")
    modules = sorted({name.rpartition(".")[0] for name in others} | {"torch"})
    return (
        f"{what}. In Python: import {', '.join(modules)}; "
        f"torch.serialization.add_safe_globals([{', '.join(known)}]); "
    )


def describe(path: Path) -> Held:
    """Say what a file of weights holds.

    Raises:
        InputError: it is damaged, or holds no tensors.
    """
    with reading(path, "a file of weights"), bounded(ROOM):
        if path.suffix.lower() == ".safetensors":
            return Held(_safetensors(path))
        named: set[str] = set()
        top = _pickled(path, named)
        if isinstance(top, _Named) and top.shape is not None:
            raise ValueError("it holds a single tensor, without a name")
        if isinstance(top, _Named):
            return Held({}, module=top.told())
        if not isinstance(top, dict):
            raise ValueError(f"it holds {type(top).__name__}, not tensors by name")
        for key in ("", *INSIDE):
            inner = top if not key else top.get(key)
            if isinstance(inner, _Named) and inner.shape is None:
                return Held({}, key, module=inner.told())
            found = dict(_shapes(inner))
            if found:
                others = tuple(sorted(n for n in named if not _loads(n)))
                return Held(found, key, "pytorch-lightning_version" in top, others=others)
        raise ValueError("it holds no tensors by name")


def _shapes(held: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, value in held.items() if isinstance(held, dict) else ():
        if isinstance(value, _Named) and value.shape is not None:
            yield str(name), value.shape


def _safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_DESCRIPTION:
            raise ValueError(f"its description has {length:,} bytes")
        told = json.loads(file.read(length))
    return {k: _numbers(v["shape"]) for k, v in told.items() if k != "__metadata__"}


# What PyTorch loads of a pickle without being told, beside what is its own.
_LOADED = (
    "_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set",
    "collections.Counter", "collections.OrderedDict",
)  # fmt: skip


# Modules as old protocols of pickles call them.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def _loads(name: str) -> bool:
    own = name.startswith("torch.") and not name.startswith("torch.nn.modules.")
    return own or name in _LOADED


def _pickled(path: Path, named: set[str]) -> Any:
    """Go through the pickle of a file of PyTorch's; everything that it names goes to ``named``."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            content = io.BytesIO(file.read(MOST_DESCRIPTION))
        first = _Reader(content, named).load()
        if first != LEGACY:
            return first
        for _ in range(2):  # the protocol's version, and the machine it was written on
            _Reader(content, named).load()
        return _Reader(content, named).load()
    check_zip(path, ratio=1)  # PyTorch does not compress
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("/code/" in n for n in names):
            raise InputError(
                f"{path} is a TorchScript program: that is code, and is not opened.",
                "Export the module to ONNX as a teacher, or load it in Python from its class.",
            )
        inside = next((n for n in names if n.endswith("data.pkl")), None)
        if inside is None:
            raise ValueError("it is a zip archive without PyTorch's data.pkl")
        if archive.getinfo(inside).file_size > MOST_DESCRIPTION:
            raise ValueError(f"its description has more than {MOST_DESCRIPTION:,} bytes")
        return _Reader(io.BytesIO(archive.read(inside)), named).load()


class _Dict(dict[Any, Any]):
    """In place of ``OrderedDict``: may get attributes."""


class _Named:
    """In place of anything else that a pickle names; keeps what it is made from."""

    name = ""
    args: tuple[Any, ...] = ()

    def __new__(cls, *args: Any, **_kwargs: Any) -> _Named:
        made = object.__new__(cls)
        made.args = args
        return made

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def __call__(self, *_args: Any, **_kwargs: Any) -> _Named:
        return self

    def __setstate__(self, _state: Any) -> None: ...

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def append(self, _value: Any) -> None:
        """Take an entry of a list."""

    extend = add = append

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a tensor; None for everything else."""
        if self.name.startswith("torch._utils._rebuild_parameter"):
            inner = self.args[0] if self.args else None
            return inner.shape if isinstance(inner, _Named) else None
        if self.name.startswith("torch._utils._rebuild_tensor") and len(self.args) > 2:
            return _numbers(self.args[2])
        return None

    def told(self) -> str:
        """Name the class that it is an object of."""
        first = self.args[0] if self.args else None
        if self.name == "copyreg._reconstructor" and isinstance(first, type):
            return str(getattr(first, "name", ""))
        return self.name


def _numbers(given: Any) -> tuple[int, ...]:
    sides = tuple(given)
    if not all(isinstance(n, int) and 0 <= n < 1 << 48 for n in sides) or len(sides) > 64:
        raise ValueError("a tensor has sides that are no numbers")
    if math.prod(sides) >= 1 << 62:
        raise ValueError("a tensor is larger than any memory")
    return sides


class _Reader(pickle.Unpickler):
    """An unpickler for which no name means anything."""

    def __init__(self, file: io.BytesIO, named: set[str]) -> None:
        super().__init__(file)
        self.named = named
        self.known: dict[str, type[_Named]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        self.named.add(f"{_RENAMED.get(module, module)}.{name}")
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        whole = f"{module}.{name}"
        if whole not in self.known:
            self.known[whole] = type("_Named", (_Named,), {"name": whole})
        return self.known[whole]

    def persistent_load(self, pid: Any, /) -> Any:
        # What is kept beside the pickle: numbers, and before PyTorch 1.6 the source of classes.
        return pid[1] if isinstance(pid, tuple) and pid[:1] == ("module",) else None
