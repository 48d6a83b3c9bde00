"""The float network in continuous time: what training ends with and NIR holds.

A ``Network`` is a graph of nodes (``ir.nodes``). Edges carry the topology; several edges into
a node are summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from snn2hw.errors import NetworkError, counted, listed
from snn2hw.ir.arrays import Edge, digest
from snn2hw.ir.nodes import Cell, Fires, Input, Integration, Lif, Node, Output, output_shape
from snn2hw.ir.soundness import problems
from snn2hw.ir.synapses import Conv, Sparse

ROWS = 12  # nodes that are shown of either end of a network


@dataclass(frozen=True, slots=True)
class Rules:
    """What one time step does where the equations leave it open (NIR paper, methods).

    Args:
        integration: ``euler`` (forward) decays by ``1 - dt / tau``, ``exponential`` by
            ``exp(-dt / tau)``, exact for inputs that are constant over a step.
        fires: a spike where the membrane is ``above`` the threshold, or already ``at`` it.
        spikes: at most ``one`` a step, or ``many``: as many as the membrane holds thresholds,
            which the next layer receives as one number.
        v_min: the membrane never goes below, None if it may.
        most: of ``many`` spikes, how many a neuron sends in a step at most; what it could not
            send stays in a membrane that resets by subtraction. None for any number.
        most_out: the same of neurons that an Output hears.
    """

    integration: Integration = "euler"
    fires: Fires = "above"
    spikes: Literal["one", "many"] = "one"
    v_min: float | None = None
    most: int | None = None
    most_out: int | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Network:
    """A float network: nodes by name, edges, and the time step it was trained with.

    Args:
        nodes: node by name; at least one ``Input`` and one ``Output``.
        edges: ``(from, to)``; several edges into one node are summed. Loops are recurrence: see
            ``graph.wiring`` for where a step passes.
        dt: time step in seconds.
        time_steps: how many steps one sample lasts, or None if the network does not say.
        rules: what a time step does.

    Raises:
        NetworkError: names every dangling edge, shape that does not chain and bad value.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    dt: float
    time_steps: int | None = None
    rules: Rules = Rules()
    _before: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))
        object.__setattr__(self, "edges", tuple(sorted(set(self.edges))))
        before: dict[str, list[str]] = {}
        for a, b in self.edges:
            before.setdefault(b, []).append(a)
        object.__setattr__(self, "_before", {k: tuple(v) for k, v in before.items()})
        if found := problems(self):
            raise NetworkError(f"The network is not sound: {listed(found, '; ')}.")

    def predecessors(self, name: str) -> tuple[str, ...]:
        """Return the names of the nodes with an edge into ``name``."""
        return self._before.get(name, ())

    def neurons(self) -> dict[str, Lif]:
        """Return the populations of spiking neurons by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Lif)}

    def cells(self) -> dict[str, Cell]:
        """Return everything between which linear nodes lie: neurons, integrators, thresholds."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Cell)}

    def inputs(self) -> dict[str, Input]:
        """Return the input nodes by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Input)}

    def outputs(self) -> dict[str, Output]:
        """Return the output nodes by name."""
        return {k: n for k, n in self.nodes.items() if isinstance(n, Output)}

    def __repr__(self) -> str:
        """Say in a line each what it is and what its nodes are."""
        steps = "" if self.time_steps is None else f", {counted(self.time_steps, 'step')} a sample"
        rows = [f"{counted(len(self.nodes), 'node')}, {self.dt:g} s a step{steps}"]
        for name, node in self.nodes.items():
            shape = "x".join(map(str, output_shape(node)))
            before = ", ".join(self.predecessors(name))
            rows.append(f"  {name}: {type(node).__name__} {shape}{before and f' from {before}'}")
        if len(rows) > 2 * ROWS + 1:
            rows[ROWS + 1 : -ROWS] = [f"  ... {len(rows) - 1 - 2 * ROWS} more"]
        return "\n".join(rows)

    def digest(self) -> str:
        """Return a hash of structure and values."""
        parts: list[Any] = [self.dt, self.time_steps, self.edges, self.rules]
        for name in sorted(self.nodes):
            node = self.nodes[name]
            parts += [name, type(node).__name__, *_content(node)]
        return digest(*parts)


def _content(value: Any) -> list[Any]:
    out: list[Any] = []
    for name in value.__dataclass_fields__:
        item = getattr(value, name)
        out += _content(item) if isinstance(item, Conv | Sparse) else [name, item]
    return out
