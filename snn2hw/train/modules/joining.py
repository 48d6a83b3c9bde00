# pyright: basic
"""From signals to a network: which nodes there are, and the edges between them.

What a node hears is a sum of signals through sparse matrices of their elements: 1 where it hears
all of a signal in its order, a selection behind slices and concatenations, a factor behind
products. A dense layer takes such a matrix into its weights, a convolution takes whole channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Edge, Shape, size_of
from snn2hw.ir.network import Rules
from snn2hw.ir.synapses import from_matrix, matrix
from snn2hw.train.modules.channels import taken_channels
from snn2hw.train.modules.origins import Floats, Operand
from snn2hw.train.modules.signals import Applied, Cells, Given, Signal, Signals, State, Sum
from snn2hw.train.students import SOURCE

Matrix = Any  # a SciPy sparse matrix [post, pre]


class Neurons(NamedTuple):
    """What cells become.

    Args:
        node: spiking neurons or integrators.
        threshold: of spikes that do not reset an integrator; None for none.
        into: a linear node between what they hear and the neurons.
        recurrent: a linear node from their own spikes, a step later.
        factor: what a spike counts for those who hear it; None for 1.
        rules: that all of the network has to have; None for the usual ones.
    """

    node: ir.Lif | ir.Leaky
    threshold: Floats | None = None
    into: ir.Linear | None = None
    recurrent: ir.Linear | None = None
    factor: Floats | None = None
    rules: Rules | None = None


class Join:
    """Makes the nodes and edges of everything that leads to the answer.

    Args:
        signals: all of them.
        heard: what each of the cells hears, by number.
        neurons: what they become.
        dt: seconds of a step.
        input_max: the largest number in the input.
        wait: put a Delay on the edges of loops, instead of leaving it to their closing.
    """

    def __init__(
        self,
        signals: Signals,
        heard: dict[int, Operand],
        neurons: dict[int, Neurons],
        dt: float,
        input_max: int,
        *,
        wait: bool,
    ) -> None:
        self.signals, self.heard, self.neurons = signals, heard, neurons
        self.dt, self.input_max, self.wait = dt, input_max, wait
        self.nodes: dict[str, ir.Node] = {}
        self.edges: list[Edge] = []
        self.waits = False  # something is heard a step later or more
        self._made: dict[Any, tuple[str, ...]] = {}
        self._sums: dict[int, Any] = {}

    def add(self, name: str, node: ir.Node, *before: str) -> str:
        """Add a node under a free name and return it."""
        while name in self.nodes:
            name += "_"
        self.nodes[name] = node
        self.edges += [(b, name) for b in before]
        return name

    def signal(self, number: int, delay: int) -> tuple[str, ...]:
        """Return the nodes whose sum is a signal, so many steps later."""
        signal = self.signals[number]
        delay = 0 if self.signals.still(number) else delay
        if isinstance(signal, Applied) and not signal.spikes:
            key = number, delay
            if key not in self._made:
                self._made[key] = self._applied(signal, delay)
            return self._made[key]
        if (number, 0) not in self._made:
            self._cell(number, signal)
        return tuple(self._delayed(name, delay) for name in self._made[number, 0])

    def _delayed(self, name: str, delay: int) -> str:
        if delay == 0:
            return name
        self.waits = True
        if delay == 1 and not self.wait:
            return name
        if (name, delay) not in self._made:
            wait = ir.Delay(np.full(ir.output_shape(self.nodes[name]), delay * self.dt))
            self._made[name, delay] = (self.add(f"{name}.delay", wait, name),)
        return self._made[name, delay][0]

    def _cell(self, number: int, signal: Signal) -> None:
        match signal:
            case Given():
                node = ir.Input(signal.shape, self.input_max)
                self._made[number, 0] = (self.add(SOURCE, node),)
            case State():
                self.signal(signal.cells, 0)
                self._made[number, 0] = self._made[signal.cells, "membrane"]
            case Applied():
                name = self.add(signal.name, signal.node)
                self._made[number, 0] = (name,)
                self.feed(name, ir.input_shape(signal.node), signal.heard)
            case Cells():
                self._cells(number, signal)
            case Sum():
                raise AssertionError("a sum is edges, and no node")

    def _cells(self, number: int, cells: Cells) -> None:
        made, heard = self.neurons[number], self.heard[number]
        name = sends = self.add(cells.name, made.node)
        self._made[number, "membrane"] = (name,)
        if made.threshold is not None:
            limit = np.broadcast_to(made.threshold, cells.shape)
            sends = self.add(f"{name}.spikes", ir.Threshold(limit), name)
        own = sends
        if made.factor is not None:
            scale = ir.Scale(np.broadcast_to(made.factor, cells.shape))
            sends = self.add(f"{name}.factor", scale, sends)
        self._made[number, 0] = (sends,)
        if made.recurrent is not None:
            back = self.add(f"{name}.recurrent", made.recurrent, self._delayed(own, 1))
            self.edges.append((back, name))
        if made.into is None:
            self.feed(name, cells.shape, heard)
        else:
            applied = Applied(f"{name}.input", made.into, heard)
            self.edges += [(before, name) for before in self._applied(applied, 0)]

    def _applied(self, signal: Applied, delay: int) -> tuple[str, ...]:
        """Return a linear node of what it hears, so many steps ago, or several to be summed."""
        matrices, constant = flattened(self.signals, signal.heard, self._sums)
        parts = self._parts(signal.node, matrices, constant)
        if parts is None:
            name = self.add(signal.name, signal.node)
            self.feed(name, ir.input_shape(signal.node), signal.heard, delay)
            return (name,)
        return tuple(
            self._layer(signal.name, node, number, late + delay)
            for (number, late), node in zip(matrices, parts, strict=True)
        )

    def _parts(self, node: Any, matrices: dict[Any, Matrix], constant: Floats) -> list[Any] | None:
        """Let copies of a layer take what lies before it into their weights, if they can."""
        if not isinstance(node, ir.Affine | ir.SparseAffine | ir.Conv2d | ir.Conv1d):
            return None
        whole = None
        if isinstance(node, ir.Affine | ir.SparseAffine):
            whole = node.weight if isinstance(node, ir.Affine) else matrix(node.synapses)
        if all(map(_is_identity, matrices.values())) if not constant.any() else whole is None:
            return None
        parts = [self._taken(node, m, number) for (number, _), m in matrices.items()]
        if None in parts:
            return None
        if whole is not None and constant.any():
            parts[0] = replace(parts[0], bias=parts[0].bias + whole @ constant)
        return parts[:1] + [replace(p, bias=np.zeros_like(p.bias)) for p in parts[1:]]

    def _layer(self, name: str, node: ir.Node, number: int, delay: int) -> str:
        name = self.add(name, node)
        for before in self.signal(number, delay):
            self._edge(before, name, ir.input_shape(node))
        return name

    def _taken(self, node: Any, m: Matrix, number: int) -> Any:
        """Multiply a selection of a signal into weights; None where they have no room for it."""
        shape = self._shape(number)
        if isinstance(node, ir.Affine):
            return node if _is_identity(m) else replace(node, weight=(m.T @ node.weight.T).T)
        if isinstance(node, ir.SparseAffine):
            joined = from_matrix(matrix(node.synapses) @ m)
            return replace(node, synapses=joined, input_shape=shape)
        return taken_channels(node, m, shape)

    def _shape(self, number: int) -> Shape:
        """Return the shape that a signal's node gives."""
        signal = self.signals[number]
        match signal:
            case Applied():
                return ir.output_shape(signal.node)
            case Sum():
                return (signal.size,)
            case _:
                return signal.shape

    def feed(self, target: str, shape: Shape, heard: Operand, delay: int = 0) -> None:
        """Lead to a node what it hears.

        Args:
            target: its name.
            shape: that it takes.
            heard: as many numbers.
            delay: how many steps ago.
        """
        matrices, constant = flattened(self.signals, heard, self._sums)
        for (number, late), m in matrices.items():
            for name in self.signal(number, late + delay):
                self._lead(name, target, shape, m, constant)
                constant = np.zeros(size_of(shape))

    def _lead(self, name: str, target: str, shape: Shape, m: Matrix, constant: Floats) -> None:
        given = ir.output_shape(self.nodes[name])
        if constant.any() or not _is_diagonal(m):
            chosen = ir.SparseAffine(from_matrix(m), constant, given, shape)
            self.edges.append((self.add(f"{target}.in", chosen, name), target))
        elif _is_identity(m):
            self._edge(name, target, shape)
        else:
            scale = ir.Scale(m.diagonal().reshape(given))
            self._edge(self.add(f"{target}.scale", scale, name), target, shape)

    def _edge(self, before: str, target: str, shape: Shape) -> None:
        """Join two nodes of the same size, of whatever shapes."""
        given = ir.output_shape(self.nodes[before])
        if given == shape or isinstance(self.nodes[target], ir.Output | ir.Cell):
            self.edges.append((before, target))
        elif len(shape) == 1:
            flat = ir.Flatten(given)
            if (before, "flat") not in self._made:
                self._made[before, "flat"] = (self.add(f"{target}.flatten", flat, before),)
            self.edges.append((self._made[before, "flat"][0], target))
        else:
            size = size_of(shape)
            same = ir.SparseAffine(
                from_matrix(sparse.eye_array(size)), np.zeros(size), given, shape
            )
            self.edges.append((self.add(f"{target}.reshape", same, before), target))


def flattened(
    signals: Signals, heard: Operand, known: dict[int, Any] | None = None
) -> tuple[dict[tuple[int, int], Matrix], Floats]:
    """Return what an operand hears of each signal that is no sum, by number and delay, and more.

    Args:
        signals: all of them.
        heard: the operand.
        known: what sums were found to be, to which is added.

    Returns:
        Matrices ``[n, size of the signal]``, and constants ``[n]``.
    """
    known = {} if known is None else known
    n = heard.signal.size
    constant = heard.constant.copy()
    found: dict[tuple[int, int], Any] = {}
    for number, delay in heard.pairs:
        signal = signals[number]
        at = np.flatnonzero((heard.signal == number) & (heard.delay == delay))
        whole = heard.whole(signal.size)
        pick: Any = sparse.csr_array(
            (np.ones(at.size), (at, heard.element[at])), shape=(n, signal.size)
        )
        if not isinstance(signal, Sum):
            terms, add = {(number, 0): pick}, None
        else:
            if number not in known:
                known[number] = _of_sum(signals, signal, known)
            terms, add = known[number]
            terms = terms if whole else {key: pick @ m for key, m in terms.items()}
        if add is not None:
            constant += pick @ add
        for (source, late), m in terms.items():
            key = source, 0 if signals.still(source) else late + delay
            found[key] = found[key] + m if key in found else m
    return found, constant


def _of_sum(
    signals: Signals, signal: Sum, known: dict[int, Any]
) -> tuple[dict[tuple[int, int], Matrix], Floats]:
    constant = signal.constant.copy()
    found: dict[tuple[int, int], Any] = {}
    for inner, factor in zip(signal.heard, signal.factors, strict=True):
        matrices, more = flattened(signals, inner, known)
        constant += factor * more
        for key, m in matrices.items():
            scaled = m if (factor == 1).all() else sparse.diags_array(factor) @ m
            found[key] = found[key] + scaled if key in found else scaled
    return found, constant


def _is_identity(m: Matrix) -> bool:
    return _is_diagonal(m) and bool((m.diagonal() == 1).all())


def _is_diagonal(m: Matrix) -> bool:
    rows: Any = sparse.csr_array(m)
    return (
        rows.shape[0] == rows.shape[1] == rows.nnz
        and bool((np.diff(rows.indptr) == 1).all())
        and bool((rows.indices == np.arange(rows.nnz)).all())
    )
