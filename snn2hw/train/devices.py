# pyright: basic
"""Where a training runs: one process or several, through Lightning Fabric."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn2hw.errors import InputError, unknown_name
from snn2hw.fields import shown
from snn2hw.files import first_line
from snn2hw.processes import start_with

ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
FEWEST = 8  # devices that may always be asked for; more, where there are as many processors
MOST_NODES = 4096
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")


@dataclass(frozen=True)
class Devices:
    """Where to train, in Lightning Fabric's words.

    With several devices Fabric starts the other processes by repeating the command; under
    ``torchrun`` they are there already. Each takes its part of a batch.

    Args:
        accelerator: ``cpu``, ``cuda``, ``auto``.
        devices: processes on this machine, a whole number, or ``auto``.
        nodes: machines.
        precision: one of ``PRECISIONS``.

    Raises:
        InputError: names what is none of these, or too much for this machine.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    nodes: int = 1
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if self.accelerator not in ACCELERATORS:
            raise unknown_name("accelerator", self.accelerator, ACCELERATORS)
        most = max(FEWEST, os.cpu_count() or 1)
        told = str(self.devices)
        count = int(told) if told.isascii() and told.isdecimal() and len(told) < 9 else 0
        problems: list[str] = []
        if told != "auto" and not 1 <= count <= most:
            problems.append(f"devices is {shown(self.devices)}, not auto or 1 to {most}")
        if not 1 <= self.nodes <= MOST_NODES:
            problems.append(f"the number of nodes is {self.nodes}, not 1 to {MOST_NODES}")
        if problems:
            raise InputError(
                f"A training cannot run there: {'; '.join(problems)}.",
                "Each device is a process of its own.",
            )
        object.__setattr__(self, "devices", count or "auto")

    def fabric(self) -> Fabric:
        """Return this process's Fabric, launched; there is one for each choice of devices."""
        return _launched(self)


@functools.cache  # a second launch would start the other processes again
def _launched(devices: Devices) -> Fabric:
    try:
        fabric = Fabric(
            accelerator=devices.accelerator,
            devices=devices.devices,
            num_nodes=devices.nodes,
            precision=devices.precision,  # type: ignore[arg-type]
        )
    except Exception as error:  # Fabric raises whatever its parts do
        raise InputError(
            f"Lightning Fabric cannot train there: {first_line(error)}",
            "Leave out --accelerator, --devices, --num-nodes and --precision, or say what this "
            "machine has.",
        ) from error
    start_with(getattr(fabric.strategy.launcher, "procs", []))
    fabric.launch()
    if fabric.device.type == "cuda":
        # Batches are alike, so the fastest convolutions are worth looking for; and dense layers may
        # round products to 10 bits, as PyTorch's convolutions do there unless they are told not to.
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return fabric


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, and of its gradient."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        whole = x.clone()
        torch.distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        whole = grads[0].clone()
        torch.distributed.all_reduce(whole)
        return whole


class _Shared:
    """Batch norm whose statistics are those of the whole batch, over all processes.

    PyTorch's own (SyncBatchNorm) needs GPUs. Sums of values and of squares are exchanged, and their
    gradients (Ioffe and Szegedy, 2015, arXiv:1502.03167, on the batch that one process would have).
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        """Normalize ``[B, C, ...]``."""
        if not self.training:
            return super().forward(x)  # type: ignore[misc]
        wide = x.double()  # the difference of sums below loses half the digits
        axes = [0, *range(2, x.ndim)]
        added = wide.sum(axes)
        held = torch.full_like(added, wide[:, 0].numel())
        mine = torch.stack([added, wide.square().sum(axes), held])
        total, squares, count = cast("Tensor", _Sum.apply(mine))
        mean = total / count
        variance = squares / count - mean.square()
        with torch.no_grad():
            self.num_batches_tracked += 1
            step = self.momentum
            unbiased = variance * count / (count - 1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), step)
        scale = self.weight * torch.rsqrt(variance + self.eps).to(self.weight.dtype)
        shape = (1, -1, *(1 for _ in axes[1:]))
        moved = self.bias - mean.to(scale.dtype) * scale
        return (x * scale.view(shape) + moved.view(shape)).to(x.dtype)


class _Shared1d(_Shared, nn.BatchNorm1d):
    pass


class _Shared2d(_Shared, nn.BatchNorm2d):
    pass


_KINDS: dict[type, type] = {nn.BatchNorm1d: _Shared1d, nn.BatchNorm2d: _Shared2d}


def share_batch_norm(network: nn.Module, processes: int) -> None:
    """Let a network's batch norms see the whole batch, if several processes hold parts of it.

    Only their classes change: weights, names and state stay.
    """
    if processes > 1:
        for module in network.modules():
            module.__class__ = _KINDS.get(type(module), type(module))


def plain_batch_norm(network: nn.Module) -> None:
    """Undo ``share_batch_norm``."""
    back = {v: k for k, v in _KINDS.items()}
    for module in network.modules():
        module.__class__ = back.get(type(module), type(module))
