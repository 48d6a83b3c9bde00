"""What in a network a Xylo cannot do: its rules, its neurons, its graph, its size."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import NetworkError, listed, named
from snn2hw.families.xylo.numbers import numbers_of
from snn2hw.families.xylo.place import Needs, misfits
from snn2hw.families.xylo.quantize.decays import NONE, dashes, tau_of
from snn2hw.families.xylo.schedule import phases, untimely
from snn2hw.ir.arrays import size_of
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.graph import Wiring, output_populations
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import RESETS, Cell, Leaky, Lif, Threshold
from snn2hw.ir.target import Target


def refusals(net: Network, wires: Wiring, target: Target) -> list[str]:
    """List everything in a network that the target cannot do, all at once."""
    found = [*_ends(net, target), *_rules(net, target), *_cells(net, wires, target)]
    try:
        outputs = list(dict.fromkeys(output_populations(net).values()))
    except NetworkError:  # which is among what was found
        return found
    return [*found, *_graph(net, wires, outputs), *misfits(_needs(net, wires, outputs), target)]


def _ends(net: Network, target: Target) -> Iterator[str]:
    most = numbers_of(target).input_spikes
    if len(net.inputs()) > 1:
        yield f"it has {len(net.inputs())} inputs ({listed(net.inputs())}); join them to one"
    for name, port in net.inputs().items():
        if port.max_value > most:
            yield (
                f"{name} sends numbers up to {port.max_value:,}, an input channel takes at most "
                f"{most} spikes a step"
            )
    try:
        output_populations(net)
    except NetworkError as error:
        yield str(error).rstrip(".")


def _rules(net: Network, target: Target) -> Iterator[str]:
    rules, able, n = net.rules, target.abilities, numbers_of(target)
    fires = {node.fires or rules.fires for node in net.neurons().values()}
    if any(not able[f"fires_{f}"] for f in fires):
        yield "its neurons spike above the threshold only, the chip's at it already"
    if not able[f"spikes_{rules.spikes}"]:
        yield (
            "its neurons send one spike a step at most, the chip's as many as the membrane holds "
            f"thresholds, up to {n.hidden_spikes}"
        )
    for what, said, most in (
        ("neurons", rules.most, n.hidden_spikes), ("outputs", rules.most_out, n.readout_spikes)
    ):  # fmt: skip
        if rules.spikes == "many" and said not in (None, most):
            yield f"its {what} send at most {said} spikes a step, the chip's {most}"
    if rules.v_min is not None:
        yield f"its membranes stay above {rules.v_min:g}, the chip's do not"


def _cells(net: Network, wires: Wiring, target: Target) -> list[str]:
    """Name what neurons cannot do, each reason once with all layers that it holds for."""
    of: dict[str, list[str]] = {}
    cells = net.cells()
    known: dict[tuple[Cell, bool], list[str]] = {}
    for name in wires.order:
        cell, into = cells[name], wires.into[name]
        biased = bool(into.bias.any() or into.late)
        if (cell, biased) not in known:
            known[cell, biased] = list(_cell(cell, net, target, biased=biased))
        for reason in known[cell, biased]:
            of.setdefault(reason, []).append(name)
    return [f"{named(names, 'populations')}: {reason}" for reason, names in of.items()]


def _cell(cell: Cell, net: Network, target: Target, *, biased: bool) -> Iterator[str]:
    match cell:
        case Leaky():
            yield (
                "gives its membrane potential, the chip's readout sends spikes (end the network "
                "with spiking neurons, which may leak as these do)"
            )
        case Threshold():
            yield "remembers nothing, the chip's neurons have a membrane and a synaptic current"
        case Lif():
            yield from _lif(cell, net, target, biased=biased)
        case _:
            assert_never(cell)


def _lif(cell: Lif, net: Network, target: Target, *, biased: bool) -> Iterator[str]:
    if not target.abilities.get(f"reset_{cell.reset}"):
        to = f" ({cell.v_reset.flat[0]:g})" if cell.reset == "zero" else ""
        yield f"a spike {RESETS[cell.reset]}{to}, on the chip it takes the threshold at once"
    step = coefficients(cell, net.dt, net.rules.integration)
    slowest = numbers_of(target).dash_max
    yield from _decay("membrane", 1 - step.keep_voltage, (0, slowest), net)
    if cell.tau_synapse is None:
        yield (
            "no synaptic current, the chip's neurons have one (the nearest has a tau_synapse of "
            f"{tau_of(1, net):.4g} s)"
        )
        return
    yield from _decay("synaptic current", 1 - step.keep_current, (1, slowest), net)
    if biased:
        yield (
            "a bias on the synaptic current, the chip's acts on the membrane (as with --rewrite "
            "settled-bias)"
        )


def _decay(what: str, lost: NDArray[Any], span: tuple[int, int], net: Network) -> Iterator[str]:
    """Name the shares of a state lost in a step that are not among the chip's powers of two."""
    values = np.unique(lost)
    off = values[dashes(values, span) == NONE]
    if not off.size:
        return
    x = float(off[0])
    more = f" (the smallest of {off.size:,} different values)" if off.size > 1 else ""
    nearest = int(np.clip(np.rint(-np.log2(x)) if x else span[1], *span))
    share = "nothing" if x == 0 else "all" if x == 1 else f"{x:.4g}"
    yield (
        f"loses {share} of its {what} in a step{more}, the chip a power of two from "
        f"1/{2 ** span[0]} to 1/{2 ** span[1]} (the nearest is 1/{2**nearest}, a time constant of "
        f"{tau_of(nearest, net):.4g} s)"
    )


def _graph(net: Network, wires: Wiring, outputs: Collection[str]) -> Iterator[str]:
    """Name the connections that do not go from the input over hidden neurons to the readout."""
    inputs = set(net.inputs())
    for name in wires.order:
        for source in wires.into[name].sources:
            if source.name in outputs:
                yield (
                    f"{source.name} is heard by {name}, the chip's readout by nobody (give the "
                    "output neurons of its own)"
                )
            elif source.name in inputs and name in outputs:
                yield (
                    f"{name} receives {source.name} directly, the chip's readout only hidden "
                    "neurons (put a layer of neurons between them)"
                )
    links = _links(wires)
    names = sorted(wires.order, key=lambda name: name in outputs)
    found = untimely(links, inputs, phases(links, list(inputs), names))
    if found:
        yield (
            f"{listed(found, '; ')} (a spike of an input arrives in the same step, one of a neuron "
            "in the next: give branches that meet equally many layers, and a loop a delay for each)"
        )


def _links(wires: Wiring) -> list[tuple[str, str, int]]:
    return [(s.name, name, s.delay) for name in wires.order for s in wires.into[name].sources]


def _needs(net: Network, wires: Wiring, outputs: Collection[str]) -> Needs:
    sizes = {name: wires.into[name].bias.size for name in wires.order}
    return Needs(
        {k: size_of(n.shape) for k, n in net.inputs().items()},
        {k: n for k, n in sizes.items() if k not in outputs},
        {k: sizes[k] for k in outputs},
        [(s.name, name, s.synapses) for name in wires.order for s in wires.into[name].sources],
    )
