# pyright: basic
"""Tensors and facts on disk: one safetensors file, JSON in its header, written atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from snn2hw.errors import InputError
from snn2hw.files import LARGEST_JSON, json_text, json_value, new_file, reading

FACTS, DIGEST = "snn2hw", "sha256"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Any = None) -> None:
    """Write tensors, and JSON-like facts about them, as one safetensors file."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    told = json_text(facts, indent=None)
    metadata = {FACTS: told, DIGEST: _digest(plain, told)}
    with new_file(path) as temporary:
        temporary.write_bytes(save(plain, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what ``write_tensors`` wrote, or any other safetensors file (facts None).

    Raises:
        InputError: the file is missing, cut short, not safetensors, or not what was written.
    """
    with reading(path, "a safetensors file"), safe_open(path, framework="pt") as file:
        told = file.metadata() or {}
        facts = told.get(FACTS, "null")
        if len(facts) > LARGEST_JSON:
            raise InputError(f"{path} holds more than {LARGEST_JSON} bytes of facts.")
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if told.get(DIGEST) not in (None, _digest(tensors, facts)):
            raise InputError(f"{path} is not what was written: its hash differs.")
        return tensors, json_value(facts, path)


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """Return a hash of all that a file tells."""
    digest = hashlib.sha256(facts.encode("utf-8"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that hold NaN or infinity, sorted."""
    return sorted(k for k, v in tensors.items() if v.is_floating_point() and not _finite(v))


def _finite(tensor: Tensor) -> bool:
    """Say whether a tensor of floats, of 8 bits too, holds numbers only."""
    whole = tensor if tensor.element_size() > 1 else tensor.float()
    return bool(whole.isfinite().all())


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's per-parameter state as tensors named ``<index>.<key>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
    }


# What each optimizer keeps of a parameter: in its shape, or as one number.
KEPT = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``flatten_optimizer`` returned; groups and rates stay as they are.

    Raises:
        ValueError: it is not of this optimizer and its parameters.
    """
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        of = parameters[int(index)]
        shape = torch.Size() if key == "step" else of.shape
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}")
        # Files hold plain order; fused optimizers want that of the parameter.
        like = tensor if key == "step" else torch.empty_like(of, dtype=tensor.dtype)
        state.setdefault(int(index), {})[key] = like.copy_(tensor)
    kept = KEPT[type(optimizer)]
    odd = [i for i, entry in state.items() if set(entry) != kept]
    if odd:
        raise ValueError(f"parameter {odd[0]} has {sorted(state[odd[0]])}, not {sorted(kept)}")
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
