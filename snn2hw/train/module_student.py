# pyright: basic
"""Anyone's spiking module as a student: trained in place, exported as ``from_module`` does."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.ir import network as ir
from snn2hw.ir.arrays import size_of
from snn2hw.ir.graph import wiring
from snn2hw.ir.synapses import synapse_count, with_weight
from snn2hw.train.modules import MaxPool, from_module
from snn2hw.train.stepping import leaves, over_time, spikes
from snn2hw.train.students import SOURCE, Chw, Spiking

Floats = NDArray[np.float64]


class ModuleStudent(Spiking):
    """A sequence of modules of snnTorch, Norse or our own layers as a student.

    Args:
        module: what ``from_module`` takes; it sees integers scaled to at most 1.
        shape: of an image or a frame, ``(C, H, W)``.
        classes: how many outputs it has.
        max_value: largest integer of the input.
        time_steps: T, how often an image is shown; event frames bring their own.
        max_pool: as in ``from_module``.

    Raises:
        UnsupportedError: names every module that cannot be exported.
        InputError: it gives anything but one value for each class.
    """

    def __init__(
        self,
        module: nn.Module,
        shape: Chw,
        classes: int,
        max_value: int,
        time_steps: int,
        *,
        max_pool: MaxPool = "refuse",
    ) -> None:
        super().__init__(shape, classes, max_value, time_steps)
        self.module = module
        self.max_pool: MaxPool = max_pool
        given = self._plain(None).outputs()
        (output,) = given.values()
        if output.shape != (classes,):
            raise InputError(
                f"The student gives values of shape {output.shape}; there are {classes} classes.",
                f"End it with a layer of {classes} neurons.",
            )
        self._names = [p or type(m).__name__ for p, m in leaves(module)]
        # Modules that step see one step at a time; these see all of them, once a forward.
        seen = [name for name, (_, m) in zip(self._names, leaves(module), strict=True) if spikes(m)]
        self._seen = list(dict.fromkeys([*seen, self._names[-1]]))
        self._spiking = seen
        self.recorders = nn.ModuleList(nn.Identity() for _ in self._seen)

    def forward(self, x: Tensor) -> Tensor:
        """Sum the output over all steps: ``[B, classes]``."""
        steps = self.steps(x)
        signal = self.encode(x)
        for name, (_, leaf) in zip(self._names, leaves(self.module), strict=True):
            signal = over_time(leaf, signal, steps)
            if name in self._seen:
                signal = self.cell(name)(signal)
        return signal.sum(0) * (steps / len(signal))

    @property
    def output(self) -> str:
        """Name of the last module."""
        return self._names[-1]

    def cell(self, name: str) -> nn.Module:
        """Return the module that gives ``[T, B, ...]`` of a population or the output."""
        return self.recorders[self._seen.index(name)]

    def populations(self) -> dict[str, nn.Module]:
        """Return, first layer first, modules that give spikes ``[T, B, ...]`` once a forward."""
        return {name: self.cell(name) for name in self._spiking}

    def fan_out(self) -> dict[str, float]:
        """Return how many synapses a spike of the input or a population reaches, on average."""
        net = self.to_network()
        found = dict.fromkeys((SOURCE, *self._spiking), 0.0)
        wires = wiring(net)
        for cell in wires.order:
            for source in wires.into[cell].sources:
                if source.name in found:
                    size = size_of(ir.output_shape(net.nodes[source.name]))
                    found[source.name] += synapse_count(source.synapses) / size
        return found

    def stages(self) -> list[str]:
        """Return all populations but the output."""
        return [name for name in self._spiking if name != self.output]

    def to_network(self, dt: float | None = None) -> ir.Network:
        """Export it; the scale of the input is in the first weights."""
        return _scaled(self._plain(dt), 1.0 / self.max_value)

    def _plain(self, dt: float | None) -> ir.Network:
        net, _ = from_module(
            self.module,
            self.shape,
            dt=dt,
            time_steps=self.time_steps,
            input_max=self.max_value,
            max_pool=self.max_pool,
        )
        return net


def _scaled(net: ir.Network, factor: float) -> ir.Network:
    """Return a chain with its input multiplied by ``factor``, in the first weights if it can be."""
    if factor == 1.0:
        return net
    after = dict(net.edges)
    name = after[SOURCE]
    while isinstance(net.nodes[name], ir.Flatten | ir.Pool2d):
        name = after[name]
    node, nodes = net.nodes[name], dict(net.nodes)
    if isinstance(node, ir.Affine):
        nodes[name] = ir.Affine(node.weight * factor, node.bias)
    elif isinstance(node, ir.Conv2d | ir.Conv1d):
        kernel = with_weight(node.kernel, node.kernel.weight * factor)
        nodes[name] = replace(node, kernel=kernel)
    else:
        nodes["scale"] = ir.Scale(np.full(net.inputs()[SOURCE].shape, factor))
        first = after[SOURCE]
        edges = [e for e in net.edges if e != (SOURCE, first)]
        added = ((SOURCE, "scale"), ("scale", first))
        return replace(net, nodes=nodes, edges=(*edges, *added))
    return replace(net, nodes=nodes)


def run(module: nn.Module, x: NDArray[Any], batch: int = 100) -> tuple[Floats, float]:
    """Run a copy of a module from fresh state, layer by layer, each over all time steps.

    Args:
        module: one that ``from_module`` takes, max pooling included.
        x: samples ``[N, T, *shape]``.
        batch: samples at a time.

    Returns:
        What it gives, ``[N, T, *out]``, and how many spikes its neurons sent in all.
    """
    # A state that hangs on a graph of gradients cannot be copied, and is not wanted.
    states = {id(b): torch.zeros(0) for b in module.buffers() if not b.is_leaf}
    module = copy.deepcopy(module, states).cpu().eval()
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    outputs: list[Floats] = []
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(x), batch):
            piece = torch.as_tensor(np.asarray(x[start : start + batch])).to(dtype)
            ours = isinstance(module, Spiking)
            out, sent = _watched(module, piece) if ours else _run(module, piece.transpose(0, 1))
            outputs.append(out.transpose(0, 1).double().numpy())
            total += sent
    return np.concatenate(outputs), total


def _run(module: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    total = 0.0
    for _, leaf in leaves(module):
        x = over_time(leaf, x, len(x))
        total += float(x.double().sum()) if spikes(leaf) else 0.0
    return x, total


def _watched(student: Spiking, x: Tensor) -> tuple[Tensor, float]:
    sent: dict[str, Tensor] = {}
    names = dict.fromkeys([*student.populations(), student.output])
    hooks = [student.cell(n).register_forward_hook(partial(_keep, sent, n)) for n in names]
    student(x)
    for hook in hooks:
        hook.remove()
    total = sum(float(sent[n].double().sum()) for n in student.populations())
    return sent[student.output], total


def _keep(sent: dict[str, Tensor], name: str, _m: nn.Module, _x: Any, out: Tensor) -> None:
    sent[name] = out
