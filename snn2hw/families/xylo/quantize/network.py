"""``Network`` -> ``IntNetwork``: the hidden neurons together, then the readout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.errors import UnsupportedError, listed
from snn2hw.families.shared import accepted, fed_of
from snn2hw.families.xylo.numbers import PARTS, Numbers, numbers_of
from snn2hw.families.xylo.populations import NO_ALIAS, Hidden, Population, Readout
from snn2hw.families.xylo.quantize.abilities import refusals
from snn2hw.families.xylo.quantize.decays import dashes
from snn2hw.families.xylo.quantize.scale import Group, fitted
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.graph import Source, Wiring, output_populations
from snn2hw.ir.integer import Connection, InputPort, IntNetwork, Rounding
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Lif
from snn2hw.ir.synapses import Dense, Sparse, from_matrix, matrix, with_weight
from snn2hw.ir.target import Target

Floats = NDArray[np.float64]


def quantize(net: Network, target: Target, *, time_steps: int | None = None) -> IntNetwork:
    """Round a float network to the target's integers.

    Args:
        net: the float network; its ``dt`` decides the decays.
        target: the chip.
        time_steps: steps of one sample, where the network itself does not say.

    Raises:
        UnsupportedError: lists everything that the target cannot do.
    """
    wires, steps = accepted(net, target, time_steps, refusals)
    return _integers(net, wires, target, steps)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A population in units of each neuron's own threshold.

    Args:
        name: of the population.
        node: its neurons.
        sources: synapses: what a spike adds to the chip's current before it decays.
        bias: of the membrane, ``[size]``.
        dash_mem: decay of the membrane, ``[size]``; so is ``dash_syn`` of the current.
    """

    name: str
    node: Lif
    sources: tuple[Source, ...]
    bias: Floats
    dash_mem: NDArray[np.int64]
    dash_syn: NDArray[np.int64]

    @property
    def peak(self) -> float:
        """Largest size of a weight or a bias; NaN if one is."""
        sizes = [np.abs(self.bias), *(np.abs(s.synapses.weight) for s in self.sources)]
        return float(max((a.max(initial=0.0) for a in sizes), key=lambda x: (np.isnan(x), x)))


def _integers(net: Network, wires: Wiring, target: Target, steps: int) -> IntNetwork:
    """Round a network that the target refuses nothing of.

    Args:
        net: the float network.
        wires: its wiring.
        target: the chip.
        steps: of one sample.

    Raises:
        UnsupportedError: names the layers that are driven too far beyond their thresholds.
    """
    n, outputs = numbers_of(target), output_populations(net)
    last = list(dict.fromkeys(outputs.values()))
    with np.errstate(over="ignore", invalid="ignore"):
        layers = [_layer(name, net, wires, n) for name in wires.order]
    _check([layer for layer in layers if not np.isfinite(layer.peak)])
    inner = [layer for layer in layers if layer.name not in last]
    known = {layer.name: layer for layer in layers}
    outer = [known[name] for name in last]  # one pool of neurons, in the order of the outputs
    made = [*_rounded(inner, Hidden, tuple(net.inputs()), n), *_rounded(outer, Readout, (), n)]
    # Below one unit per threshold, nothing tells one threshold from two.
    _check([known[m.population.name] for m in made if m.coarse])
    return IntNetwork(
        inputs=tuple(
            InputPort(k, p.shape, p.max_value, fed=fed_of(p)) for k, p in net.inputs().items()
        ),
        populations=tuple(m.population for m in made),
        connections=tuple(c for m in made for c in m.connections),
        outputs=outputs,
        dt=net.dt,
        time_steps=steps,
        numbers=n,
        rounding={m.population.name: m.rounding for m in made},
    )


def _check(layers: Sequence[Layer]) -> None:
    """Refuse layers that are driven too far beyond their thresholds."""
    if layers:
        found = (f"{x.name} is driven by {x.peak:.3g} times its threshold" for x in layers)
        raise UnsupportedError(
            f"No integers stand for the numbers of this network: {listed(found, '; ')}.",
            "Scale the weights, the biases and the thresholds to similar sizes.",
        )


def _layer(name: str, net: Network, wires: Wiring, n: Numbers) -> Layer:
    """Gather what drives a population.

    The chip's current is what it keeps in a step times the network's, so weights are divided by it.
    """
    node = cast("Lif", net.nodes[name])
    step = coefficients(node, net.dt, net.rules.integration)
    size = wires.into[name].bias.size

    def each(values: Any) -> Floats:
        return np.broadcast_to(np.asarray(values, np.float64), node.shape).reshape(-1)

    dash_mem = dashes(1 - each(step.keep_voltage), (0, n.dash_max))
    dash_syn = dashes(1 - each(step.keep_current), (1, n.dash_max))
    threshold = each(node.v_threshold)
    kept = 1 - 2.0 ** -dash_syn.astype(np.float64)
    gain = each(step.gain_voltage) * each(step.gain_current) / (kept * threshold)
    sources = tuple(
        Source(s.name, _scaled(s, gain, size), s.delay) for s in wires.into[name].sources
    )
    return Layer(name, node, sources, each(step.drift) / threshold, dash_mem, dash_syn)


def _scaled(source: Source, gain: Floats, size: int) -> Dense | Sparse:
    """Multiply what each neuron receives; a convolution is written out, as the chip holds it."""
    if isinstance(source.synapses, Dense):
        return Dense(source.synapses.weight * gain[:, None])
    rows: Any = scipy.sparse.diags_array(gain, shape=(size, size))
    return from_matrix(rows @ matrix(source.synapses))


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    population: Population
    connections: list[Connection]
    rounding: Rounding
    coarse: bool


def _rounded(
    layers: Sequence[Layer], kind: type[Population], inputs: Sequence[str], n: Numbers
) -> list[_Made]:
    """Round populations that share their shifts: the hidden ones, or the readout.

    Args:
        layers: the populations.
        kind: what they become.
        inputs: whose synapses are a group of their own.
        n: the arithmetic.
    """
    if not layers:
        return []
    first = np.cumsum([0, *(layer.bias.size for layer in layers)])
    groups = [Group(int(first[-1])), Group(int(first[-1]))]
    for begin, layer in zip(first, layers, strict=False):
        for s in layer.sources:
            groups[s.name not in inputs].add(int(begin), abs(matrix(s.synapses)))
    bias = np.concatenate([layer.bias for layer in layers])
    scale, shifts, limits = fitted(groups, bias, n)
    made: list[_Made] = []
    for begin, layer in zip(first, layers, strict=False):
        own = slice(int(begin), int(begin) + layer.bias.size)
        links = [
            _connection(s, layer.name, scale[own], shifts[s.name not in inputs], n)
            for s in layer.sources
        ]
        made.append(_made(layer, kind, links, scale[own], limits[own], n))
    return made


def _made(
    layer: Layer, kind: type[Population], links: list[Connection], scale: Floats,
    limits: NDArray[Any], n: Numbers,
) -> _Made:  # fmt: skip
    threshold = np.maximum(np.rint(scale), 1).astype(np.int64)
    numbers: dict[str, Any] = {
        "threshold": threshold,
        "bias": np.rint(layer.bias * scale).astype(np.int64),
        "dash_mem": layer.dash_mem,
        "dash_syn": layer.dash_syn,
    }
    if kind is Hidden:
        none = np.zeros_like(threshold)
        numbers |= {"dash_syn2": none, "alias": none + NO_ALIAS}
    counted = np.unique(limits, return_counts=True)
    limited_by = str(counted[0][np.argmax(counted[1])])
    weights = [s.synapses.weight for s in layer.sources]
    rounded = [_back(c, scale) for c in links]
    rounding = Rounding.of(float(np.median(scale)), limited_by, weights, rounded)
    population = kind(layer.name, layer.node.shape, **numbers)
    return _Made(population, links, rounding, bool(scale.min() < 1))


def _connection(source: Source, post: str, scale: Floats, shift: int, n: Numbers) -> Connection:
    synapses = cast("Dense | Sparse", source.synapses)
    rows = _per_weight(synapses, scale)
    whole = np.rint(synapses.weight * rows / 2.0**shift)
    whole = np.clip(whole, -n.weight_max, n.weight_max).astype(np.int32)
    made = with_weight(synapses, whole)
    return Connection(source.name, post, made, shift, source.delay, PARTS[0])


def _per_weight(synapses: Dense | Sparse, values: Floats) -> Floats:
    """Return the value of each weight's target neuron, in the shape of the weights."""
    if isinstance(synapses, Dense):
        return values[:, None]
    return np.repeat(values, np.diff(synapses.indptr))


def _back(link: Connection, scale: Floats) -> Floats:
    """Return what rounded weights stand for, in thresholds."""
    synapses = cast("Dense | Sparse", link.synapses)
    return synapses.weight * 2.0**link.exponent / _per_weight(synapses, scale)
