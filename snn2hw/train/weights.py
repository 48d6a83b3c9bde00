# pyright: basic
"""Weights that others trained: read without running what a file holds, and put into a teacher."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn2hw.archives import check_zip, read_npz
from snn2hw.errors import InputError, listed
from snn2hw.files import check_file, reading
from snn2hw.processes import bounded
from snn2hw.train.state import not_finite, read_tensors


class Loaded(NamedTuple):
    """What ``load_weights`` did: entries it took, and those it left as they were, with why."""

    taken: tuple[str, ...]
    kept: Mapping[str, str]


TORCH_SUFFIXES = (".pt", ".pth", ".th", ".ckpt")
# Bytes that describe a file's tensors (a thousand take 100 kB), and how small the pieces are that
# they are read in. PyTorch takes a second and 160 MB for each 2 MB.
MOST_DESCRIPTION, PIECE = 2 << 20, 1 << 16
ROOM = 512 << 20  # bytes that reading any file may take; more, four times what the file has

# Published weights are for other images and other classes: these two ends may differ.
ENDS = ("conv1.weight", "fc.weight", "fc.bias", "linear.weight", "linear.bias")


def load_weights(module: nn.Module, path: Path) -> Loaded:
    """Put weights from a file into a module: see ``read_weights`` for the kinds.

    Names must match exactly. A first convolution or last dense layer of another shape is left
    as it was (trained anew), and said so in the answer.

    Raises:
        InputError: the file cannot be read safely, or names or shapes differ.
    """
    found = _strip(read_weights(path))
    wanted = module.state_dict()
    optional = {k for k in wanted if k.endswith("num_batches_tracked")}
    differ = {
        k: f"{tuple(found[k].shape)} in the file, {tuple(wanted[k].shape)} in the network"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    }
    kept = {k: v for k, v in differ.items() if k in ENDS}
    for last in ("fc", "linear"):
        if f"{last}.weight" in kept and f"{last}.bias" in found:
            kept.setdefault(f"{last}.bias", f"goes with {last}.weight")
    missing = sorted(wanted.keys() - found.keys() - optional)
    unexpected = sorted(found.keys() - wanted.keys())
    misshapen = [f"{k}: {v}" for k, v in differ.items() if k not in ENDS]
    if missing or unexpected or misshapen:
        raise _mismatch(path, missing, unexpected, misshapen)
    taken = {k: v for k, v in found.items() if k not in kept}
    broken = not_finite(taken)
    if broken:
        raise InputError(f"{path} holds NaN or infinity in {listed(broken)}.")
    module.load_state_dict(taken, strict=False)
    return Loaded(tuple(sorted(taken)), kept)


def _mismatch(
    path: Path, missing: list[str], unexpected: list[str], misshapen: list[str]
) -> InputError:
    parts = []
    for what, names in (
        ("lacks", missing),
        ("has, unexpected,", unexpected),
        ("has in another shape", misshapen),
    ):
        if names:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            parts.append(f"{what} {', '.join(names[:6])}{more}")
    return InputError(
        f"{path} does not hold this network's weights: it {'; it '.join(parts)}.",
        "Choose the teacher that the file was made with: see `snn2hw models`.",
    )


def _strip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what is in front of every name: ``module.`` after training on several devices.

    In a checkpoint of Lightning it is ``model.``, by habit.
    """
    for prefix in ("module.", "model."):
        if tensors and all(k.startswith(prefix) for k in tensors):
            return {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors without running code from the file.

    Raises:
        InputError: there is no such file, or it is not what its ending says.
    """
    known = {".safetensors": lambda: read_tensors(path)[0], ".npz": lambda: _read_npz(path)}
    known |= dict.fromkeys(TORCH_SUFFIXES, lambda: _read_torch(path))
    check_file(path, "a file of weights")
    if path.suffix not in known:
        raise InputError(f"{path} is of no kind known for weights.", f"Known: {', '.join(known)}.")
    found = known[path.suffix]()
    odd = [k for k, v in found.items() if not _is_plain(v)]
    if odd:
        raise InputError(f"{path} holds what is no array of numbers: {', '.join(odd[:6])}.")
    return found


def _is_plain(tensor: Tensor) -> bool:
    kind = tensor.is_complex() or tensor.is_quantized or tensor.is_meta
    return not kind and tensor.layout == torch.strided


def _read_npz(path: Path) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in read_npz(path).items()}


class _Described(io.BufferedReader):
    """A file of tensors whose description, which PyTorch reads in small pieces, is limited."""

    left = MOST_DESCRIPTION

    def count(self, size: int) -> None:
        """Count bytes of the description."""
        self.left -= size
        if self.left < 0:
            raise ValueError(f"its description has more than {MOST_DESCRIPTION:,} bytes")

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and 0 <= size < PIECE:
            self.count(size)
        if size is not None and size > max(MOST_DESCRIPTION, os.fstat(self.fileno()).st_size):
            raise EOFError(f"it tells of {size:,} bytes, which it does not have")
        return super().read(size)


def _read_torch(path: Path) -> dict[str, Tensor]:
    hint = "Save module.state_dict(), not the module."
    with reading(path, "a file of tensors only", hint), _Described(io.FileIO(path)) as file:
        if zipfile.is_zipfile(path):
            check_zip(path, ratio=1)  # PyTorch does not compress
            with zipfile.ZipFile(path) as archive:
                sizes = [i.file_size for i in archive.infolist() if i.filename.endswith(".pkl")]
            file.count(sum(sizes))
        try:
            room = ROOM + 4 * path.stat().st_size
            with warnings.catch_warnings(), bounded(room):
                warnings.simplefilter("ignore")  # of odd pickles: they are judged here
                content = torch.load(file, map_location="cpu", weights_only=True)
        except MemoryError:
            raise InputError(
                f"{path} asks for more memory than a file of its size should.", hint
            ) from None
        except pickle.UnpicklingError:  # PyTorch's text says how to run what is in the file
            raise InputError(
                f"{path} holds more than tensors, and could run code: it is not loaded.", hint
            ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path} holds no state_dict.", hint)
    return {str(k): v for k, v in content.items()}
