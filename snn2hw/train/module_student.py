# pyright: basic
"""Anyone's spiking module as a student: trained in place, exported as ``from_module`` does."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw.errors import InputError, UnsupportedError, listed
from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import size_of
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network
from snn2hw.ir.synapses import synapse_count
from snn2hw.preprocessing import times
from snn2hw.train.export import OUTPUT
from snn2hw.train.modules.building import built, plan_of
from snn2hw.train.modules.calling import Plan, Time, dtype_of, forget, fresh, unwrapped
from snn2hw.train.modules.forms import sends_spikes
from snn2hw.train.modules.kinds import MaxPool
from snn2hw.train.modules.running import run as run_once
from snn2hw.train.students import SOURCE, Chw, Spiking

Floats = NDArray[np.float64]


class ModuleStudent(Spiking):
    """Anyone's module as a student: it runs as its author runs it, and its neurons are listened to.

    Args:
        module: what ``from_module`` takes; it sees integers scaled to at most 1.
        shape: of an image or a frame, ``(C, H, W)``; a module of flat samples sees them flattened.
        classes: how many outputs it has.
        max_value: largest integer of the input.
        time_steps: T, how often an image is shown; event frames bring their own.
        max_pool: as in ``from_module``.
        time: as in ``from_module``.

    Raises:
        UnsupportedError: names everything that cannot be exported.
        InputError: it gives anything but one value for each class, or its code has other steps.
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
        time: Time | None = None,
    ) -> None:
        super().__init__(shape, classes, max_value, time_steps)
        self.module = unwrapped(module)
        self.max_pool: MaxPool = max_pool
        self._time: Time | None = time
        self._flat = False
        try:
            net, self._plan = self._built(None)
        except UnsupportedError as error:
            self._flat = True
            try:
                net, self._plan = self._built(None)
            except UnsupportedError:
                raise error from None
        output, *others = net.outputs().values()
        if others:
            raise InputError(
                f"The student gives {1 + len(others)} answers ({listed(net.outputs())}), and one "
                "is trained.",
                "Return only the one with a value for each class.",
            )
        if output.shape != (classes,):
            raise InputError(
                f"The student gives values of shape {output.shape}; there are {classes} classes.",
                f"End it with a layer of {classes} neurons.",
            )
        # What a forward calls once a step is seen as all steps, once a forward.
        named = {path or type(self.module).__name__: path for path in self._plan.cells}
        self._cells = {k: p for k, p in named.items() if k in net.neurons()}
        source = self._plan.source
        self._output = OUTPUT if source is None else source or type(self.module).__name__
        self._seen = list(dict.fromkeys([*self._cells, self._output]))
        self.recorders = nn.ModuleList(nn.Identity() for _ in self._seen)

    def forward(self, x: Tensor) -> Tensor:
        """Sum the output over all steps: ``[B, classes]``."""
        frames = self.encode(x)
        frames = frames.flatten(2) if self._flat else frames
        if self._plan.time != "static":
            frames = frames.expand(self.steps(x), *frames.shape[1:])
        ran = run_once(self.module, frames, self._plan)
        forget(self.module)  # what is kept hangs on the graph of gradients
        for name, path in self._cells.items():
            if name != self._output:
                self.cell(name)(ran.sent[path])
        return self.cell(self._output)(ran.answer).sum(0)

    @property
    def output(self) -> str:
        """Name of what gives the answer."""
        return self._output

    def cell(self, name: str) -> nn.Module:
        """Return the module that gives ``[T, B, ...]`` of a population or the output."""
        return self.recorders[self._seen.index(name)]

    def populations(self) -> dict[str, nn.Module]:
        """Return, first layer first, modules that give spikes ``[T, B, ...]`` once a forward."""
        return {name: self.cell(name) for name in self._cells}

    def fan_out(self) -> dict[str, float]:
        """Return how many synapses a spike of the input or a population reaches, on average."""
        net = self.to_network()
        found = dict.fromkeys((SOURCE, *self._cells), 0.0)
        wires = wiring(net)
        for cell in wires.order:
            for source in wires.into[cell].sources:
                if source.name in found:
                    size = size_of(ir.output_shape(net.nodes[source.name]))
                    found[source.name] += synapse_count(source.synapses) / size
        return found

    def stages(self) -> list[str]:
        """Return all populations but the output."""
        return [name for name in self._cells if name != self.output]

    def to_network(self, dt: float | None = None) -> Network:
        """Export it; the scale of the input is in the first weights, and its input tells it."""
        net, _ = self._built(dt)
        net = times(net, SOURCE, np.array(1.0 / self.max_value))
        port = replace(net.inputs()[SOURCE], gain=np.array(float(self.max_value)))
        return replace(net, nodes={**net.nodes, SOURCE: port})

    def _built(self, dt: float | None) -> tuple[Network, Plan]:
        net, _, plan = built(
            self.module,
            (size_of(self.shape),) if self._flat else self.shape,
            dt=dt,
            time_steps=self.time_steps,
            input_max=self.max_value,
            max_pool=self.max_pool,
            time=self._time,
        )
        return (_flattened(net, self.shape) if self._flat else net), plan


def _flattened(net: Network, shape: Chw) -> Network:
    """Give a network of flat samples images, which it flattens."""
    (given,) = net.inputs().values()
    nodes = {**net.nodes, SOURCE: replace(given, shape=shape), "flatten": ir.Flatten(shape)}
    edges = tuple(("flatten", b) if a == SOURCE else (a, b) for a, b in net.edges)
    return replace(net, nodes=nodes, edges=(*edges, (SOURCE, "flatten")))


def run(
    module: nn.Module,
    x: NDArray[Any],
    batch: int = 100,
    *,
    time: Time | None = None,
    counted: Container[str] | None = None,
    output: str | None = None,
) -> tuple[Floats, float]:
    """Run a copy of a module from fresh states, as its author does.

    Args:
        module: one that ``from_module`` takes, max pooling included.
        x: samples ``[N, T, *shape]``; a module of flat samples sees them flattened.
        batch: samples at a time.
        time: as in ``from_module``.
        counted: names of the neurons whose spikes count; None for all of them.
        output: of several answers, the one that is meant, by the name of the network's output.

    Returns:
        What it gives, ``[N, T, *out]``, or ``[N, 1, *out]`` if it adds up its steps itself; and how
        many spikes its neurons sent in all.

    Raises:
        UnsupportedError: it runs in no known way, or gives no known answer.
        InputError: the samples have other steps than the module's code, or it gives several answers
            and none of them is named.
    """
    plan = None
    if not isinstance(module, Spiking):
        plan, x = _planned(module, x, time, output)
    copied = fresh(module)
    outputs: list[Floats] = []
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(x), batch):
            piece = torch.as_tensor(np.asarray(x[start : start + batch])).to(dtype_of(copied))
            out, sent = (
                _watched(copied, piece) if plan is None else _run(copied, piece, plan, counted)
            )
            outputs.append(out.transpose(0, 1).double().numpy())
            total += sent
    return np.concatenate(outputs), total


def _planned(
    module: nn.Module, x: NDArray[Any], time: Time | None, output: str | None
) -> tuple[Plan, NDArray[Any]]:
    """Find out how a module is called on samples, flattened if it does not run on them."""
    try:
        return plan_of(module, tuple(x.shape[2:]), time, output), x
    except UnsupportedError as error:
        flat = x.reshape(*x.shape[:2], -1)
        try:
            return plan_of(module, tuple(flat.shape[2:]), time, output), flat
        except UnsupportedError:
            raise error from None


def _run(
    module: nn.Module, x: Tensor, plan: Plan, counted: Container[str] | None
) -> tuple[Tensor, float]:
    ran = run_once(module, x.transpose(0, 1), plan)
    spiking = [p for p in plan.cells if sends_spikes(module.get_submodule(p))]
    if counted is not None:
        spiking = [p for p in spiking if (p or type(module).__name__) in counted]
    return ran.answer, sum(_count(ran.sent[p]) for p in spiking)


def _count(sent: Tensor) -> float:
    return float(sent.double().sum())


def _watched(student: Any, x: Tensor) -> tuple[Tensor, float]:
    sent: dict[str, Tensor] = {}
    names = dict.fromkeys([*student.populations(), student.output])
    hooks = [student.cell(n).register_forward_hook(partial(_keep, sent, n)) for n in names]
    student(x)
    for hook in hooks:
        hook.remove()
    total = sum(_count(sent[n]) for n in student.populations())
    return sent[student.output], total


def _keep(sent: dict[str, Tensor], name: str, _m: nn.Module, _x: Any, out: Tensor) -> None:
    sent[name] = out
