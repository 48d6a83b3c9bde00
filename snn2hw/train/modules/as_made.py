# pyright: basic
"""Whether modules with a memory are still what their class says: it is all that is read of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.ir.nodes import Fires
from snn2hw.train.modules.calling import STATES
from snn2hw.train.modules.kinds import LIBRARIES

SMALL = 1 << 12  # numbers of a constant whose values are compared at each call
OF_A_STEP = (*STATES, "reset")  # what modules keep and change at each step
# In units of the threshold; whether a membrane that is exactly there spikes is what differs.
NEAR = (-1.0, -(2.0**-10), 0.0, 2.0**-10, 1.0)


def altered(module: nn.Module) -> list[str]:
    """Name the methods that were replaced, of an object or of its class, and hooks inside."""
    found = [name for name in vars(module) if callable(getattr(type(module), name, None))]
    for made in type(module).__mro__:
        if made.__module__.split(".")[0] in LIBRARIES[1:]:
            found += [
                name
                for name, value in vars(made).items()
                if isinstance(value, FunctionType)
                and value.__module__.split(".")[0] not in LIBRARIES
            ]
    for path, part in module.named_modules():
        if path and (part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)):
            found.append(f"{path}.forward")
    return found


def constants(module: nn.Module) -> dict[str, Any]:
    """Return what a module computes with and does not keep from step to step, to be compared."""
    return dict(_constants(module, ""))


def _constants(module: nn.Module, before: str) -> Iterator[tuple[str, Any]]:
    held: dict[str, Any] = {**module._parameters, **module._buffers, **vars(module)}
    for name, value in held.items():
        if name in OF_A_STEP or name.startswith("_"):
            continue
        named: Any = getattr(value, "_asdict", None)  # parameters of Norse
        if named is not None:
            yield from ((f"{name}.{k}", _shown(v)) for k, v in named().items())
        elif isinstance(value, Tensor | bool | int | float | str):
            yield before + name, _shown(value)
    for name, part in module.named_children():
        yield from _constants(part, f"{before}{name}.")


def _shown(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.numel() > SMALL:
        return value.data_ptr(), value._version
    return tuple(value.shape), value.detach().double().cpu().numpy().tobytes()


def fires(function: Callable[[Tensor], Any]) -> Fires | None:
    """Say where a spike function spikes: above 0 or at it; None if it does anything else."""
    try:
        with torch.no_grad():
            found = torch.as_tensor(function(torch.tensor(NEAR))).double().tolist()
    except Exception:  # of the user's own code, whatever it is
        return None
    at = {0.0: "above", 1.0: "at"}.get(found[2]) if len(found) == len(NEAR) else None
    return at if at and found[:2] + found[3:] == [0, 0, 1, 1] else None  # type: ignore[return-value]


ODD_SPIKES = (
    "spikes by a function that is no step from 0 to 1 at its threshold: take one that is, such as "
)
