# pyright: basic
"""Why a module cannot be run, and the way out: most often the shape of a sample is not its own."""

from __future__ import annotations

import inspect
import math
import traceback
from dataclasses import dataclass, replace

from torch import nn

from snn2hw.errors import UnsupportedError, listed
from snn2hw.ir.arrays import Shape
from snn2hw.train.modules.calling import TIMES
from snn2hw.train.modules.folding import told
from snn2hw.train.modules.kinds import LIBRARIES
from snn2hw.train.modules.tracing import Tracer

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a module did not run in one way.

    Args:
        why: what happened, and where.
        reached: how many modules had been called.
        layer: the one that was given numbers of another shape than its own, if that is why.
    """

    why: str
    reached: int
    layer: nn.Module | None = None

    def given(self, shown: str) -> Fault:
        """Return the same fault, with the shape that the module was given."""
        return replace(self, why=f"given {shown}: {self.why}")


def fault_of(t: Tracer, why: str) -> Fault:
    """Return a fault of a module that was watched."""
    return Fault(why, len(t.entered - {""}))


def fault_in_code(t: Tracer, error: BaseException) -> Fault:
    """Return the fault that an error of the user's code, or of a layer, is."""
    (path, module), line = t.paths[-1], _line_of(error)
    at = f"{path} ({line})" if path and line else path or line or type(module).__name__
    misfit = None if t.arrived is None else _misfit(module, t.arrived)
    said = (str(error).splitlines() or [""])[0]
    why = f"{at}: {type(error).__name__}: {said}" if misfit is None else f"{at} {misfit}"
    # The first problem is that of samples which nobody follows.
    why += "".join(f"; before that, {problem}" for problem in t.problems[1:])
    return Fault(why, len(t.entered - {""}), None if misfit is None else module)


def cannot_run(faults: list[Fault], module: nn.Module, shape: Shape) -> UnsupportedError:
    """Return the error for a module that runs in no way.

    Args:
        faults: one for each way, with what it was given.
        module: what did not run.
        shape: of a sample, as the caller said.
    """
    furthest = max(f.reached for f in faults)
    misfit = next((f for f in faults if f.reached == furthest and f.layer is not None), None)
    if misfit is not None and misfit.layer is not None:
        return UnsupportedError(
            f"The module cannot be run on samples of shape {list(shape)}: {misfit.why}.",
            _better(misfit.layer, shape),
        )
    unset = _unset(module)
    if unset and all("NoneType" in f.why for f in faults):
        return UnsupportedError(
            f"The module cannot be run: its forward wants {listed(unset)} as well, and gets None: "
            f"{faults[0].why}.",
            f"Give {listed(unset)} a default value, or load a module that calls it with one.",
        )
    return UnsupportedError(
        f"The module cannot be run: {told([f.why for f in faults if f.layer is None])}.",
        f"Say how it takes its input: time= {', '.join(map(repr, TIMES))}.",
    )


def _misfit(layer: nn.Module, shape: tuple[int, ...]) -> str | None:
    """Say what a layer takes and gets, if that is not the same."""
    if isinstance(layer, nn.Linear) and shape[-1] != layer.in_features:
        return f"takes {layer.in_features} numbers in a row, and gets {shape[-1]}"
    if isinstance(layer, _CONVOLUTIONS):
        sides = ["H", "W"] if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else ["L"]
        if len(shape) != 2 + len(sides) or shape[1] != layer.in_channels:
            wanted = ", ".join(["B", str(layer.in_channels), *sides])
            return f"takes [{wanted}], and gets {list(shape)}"
    return None


def _better(layer: nn.Module, shape: Shape) -> str:
    """Say which shape the caller means, if that can be seen, else which ones there are."""
    near = [shape[1:], (*shape[-1:], *shape[:-1]), (1, *shape)]
    if isinstance(layer, nn.Linear):
        if math.prod(shape) == layer.in_features:
            return f"Put an nn.Flatten before it, or give shape=({layer.in_features},)."
        fits = [s for s in near if s and math.prod(s) == layer.in_features]
    else:
        axes = 3 if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 2
        fits = [s for s in near if len(s) == axes and s[0] == layer.in_channels]
    meant = f" Is it shape={fits[0]}?" if fits else ""
    return (
        "Give the shape of a sample at one step, without batch and time, channels first: "
        f"shape=(C, H, W), (C, L) or (n,).{meant}"
    )


def _unset(module: nn.Module) -> list[str]:
    """Return the parameters of a forward behind its input that have no default value."""
    given = list(inspect.signature(type(module).forward).parameters.values())[2:]
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in given if p.kind in plain and p.default is inspect.Parameter.empty]


def _line_of(error: BaseException) -> str:
    """Return the user's line in which an error came up."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        home = frame.f_globals.get("__name__", "").split(".")[0]
        if home not in LIBRARIES:
            return f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}"
    return ""
