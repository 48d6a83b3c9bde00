# pyright: basic
"""Tensors and facts on disk: one safetensors file, JSON in its header, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from snn2hw.errors import InputError
from snn2hw.files import new_file

FACTS = "snn2hw"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Any = None) -> None:
    """Write tensors, and JSON-like facts about them, as one safetensors file."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    metadata = {FACTS: json.dumps(facts, sort_keys=True)}
    with new_file(path) as temporary:
        temporary.write_bytes(save(plain, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what ``write_tensors`` wrote, or any other safetensors file (facts None).

    Raises:
        InputError: the file is missing, cut short or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get(FACTS, "null"))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from None
    return tensors, facts


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's per-parameter state as tensors named ``<index>.<key>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``flatten_optimizer`` returned; groups and rates stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        of = parameters[int(index)]
        # Files hold plain order; fused optimizers want that of the parameter.
        like = torch.empty_like(of, dtype=tensor.dtype) if of.shape == tensor.shape else tensor
        state.setdefault(int(index), {})[key] = like.copy_(tensor)
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
