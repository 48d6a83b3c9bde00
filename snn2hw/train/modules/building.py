# pyright: basic
"""A module, watched and folded, as a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from torch import nn

from snn2hw.errors import InputError, UnsupportedError, listed, unknown_name
from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape
from snn2hw.ir.graph import along_edges, wiring
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.trace import chosen
from snn2hw.passes import drop_unheard
from snn2hw.train.export import cell_node, to_network
from snn2hw.train.modules import of_norse, of_sinabs, of_snntorch, of_spikingjelly
from snn2hw.train.modules.answering import Answer
from snn2hw.train.modules.calling import TIMES, Plan, Time
from snn2hw.train.modules.folding import reached, told
from snn2hw.train.modules.forms import FORMS, strangers
from snn2hw.train.modules.joining import Join, Neurons
from snn2hw.train.modules.kinds import MaxPool, kind
from snn2hw.train.modules.signals import Applied, Cells, Given, State
from snn2hw.train.modules.tracing import Cannot
from snn2hw.train.modules.understanding import Asked, Seen, understand
from snn2hw.train.students import Spiking

SNNTORCH_DT = 1e-4  # what snnTorch's own NIR functions take a step to last

Make = Callable[[Any, Shape, float, list[str], str], Neurons]


def from_module(
    module: nn.Module,
    shape: Shape | None = None,
    *,
    dt: float | None = None,
    time_steps: int | None = None,
    input_max: int = 1,
    max_pool: MaxPool = "refuse",
    time: Time | None = None,
) -> tuple[Network, list[str]]:
    """Turn a spiking module, in evaluation mode, into a network; nodes keep the modules' paths.

    A copy of it runs a few steps of random spikes, and what it does is written down.

    Args:
        module: any of snnTorch, Norse or our own layers, with a forward of its own or none; a
            ``Spiking`` student of ours.
        shape: of one sample at one step, without batch: ``(C, H, W)``, ``(C, L)`` or ``(n,)``.
        dt: seconds of a step; None takes that of Norse's cells, else 1e-4, which snnTorch takes.
        time_steps: steps of one sample, if it is to be said.
        input_max: largest integer that a step of the input may carry.
        max_pool: ``neurons`` makes max pooling of spikes a neuron for each window, which spikes in
            the same step as the pooling would, exactly; ``average`` pools by average instead, which
            changes the spikes (``measure`` says how much).
        time: how it takes its input: ``outside``, a call is a step, ``[B, ...]``; ``static``, a
            call shows ``[B, ...]`` at all steps; ``first``, ``[T, B, ...]``; ``batch first``,
            ``[B, T, ...]``. None finds out which of these runs, in this order.

    Returns:
        The network, and notes on what was replaced or may differ.

    Raises:
        UnsupportedError: names everything that cannot be expressed, with its module or its line,
            and what to do.
        InputError: an argument that cannot be used.
    """
    network, notes, _ = built(
        module,
        shape,
        dt=dt,
        time_steps=time_steps,
        input_max=input_max,
        max_pool=max_pool,
        time=time,
    )
    return network, notes


def built(
    module: Any,
    shape: Shape | None,
    *,
    dt: float | None,
    time_steps: int | None,
    input_max: int,
    max_pool: MaxPool,
    time: Time | None,
) -> tuple[Network, list[str], Plan]:
    """Do what ``from_module`` does, and say how the module is called as well."""
    if not isinstance(module, nn.Module):
        raise InputError(f"{type(module).__name__} is neither a path nor a PyTorch module.")
    if empty := [k for k, p in module.state_dict(keep_vars=True).items() if p.is_meta]:
        raise InputError(
            f"The module has no numbers in {listed(empty)}: they are on the device meta.",
            "Load its weights first: module.to_empty(device='cpu'), module.load_state_dict(...).",
        )
    if max_pool not in get_args(MaxPool):
        raise unknown_name("way with max pooling", str(max_pool), get_args(MaxPool))
    if time is not None and time not in TIMES:
        raise unknown_name("way to take time", str(time), TIMES)
    if isinstance(module, Spiking):
        return to_network(module, dt), [], Plan("first")
    shape = _shape(shape)
    dt = dt or _step_of(module)
    unknown = strangers(module)
    seen = _watched(module, Asked(shape, dt, max_pool, input_max, time_steps), time, unknown)
    steps = seen.plans[0].steps
    if steps and time_steps and steps != time_steps:
        raise InputError(
            f"The module's own code has {steps} steps, not {time_steps}.",
            f"Say time_steps={steps}, or change the module to {time_steps}.",
        )
    notes: list[str] = []
    neurons, rules, wrong = _neurons(seen, dt, notes)
    wrong = [*seen.wrong, *wrong]
    if wrong:
        raise _not_expressed([*unknown, *wrong])
    net = _joined(seen, neurons, rules, dt, time_steps or steps, input_max)
    return net, [*seen.t.notes, *notes], seen.plans[0]


def _watched(module: nn.Module, asked: Asked, time: Time | None, unknown: list[str]) -> Seen:
    """Watch a module; where it cannot be run, or does not spike, unknown neurons are the reason."""
    try:
        seen = understand(module, asked, time)
    except UnsupportedError:
        if unknown:
            raise _not_expressed(unknown) from None
        raise
    if seen.answers or seen.wrong:
        return seen
    if unknown:
        raise _not_expressed(unknown)
    raise UnsupportedError(
        "The module has no spiking neurons that are known.",
        "If it spikes by functions or classes of its own, take modules of snnTorch, Norse, "
        "SpikingJelly or Sinabs in their place. If not, distill a student from it: "
        "snn2hw.distill.",
    )


def _not_expressed(wrong: list[str]) -> UnsupportedError:
    return UnsupportedError(f"The module cannot be expressed: {told(wrong)}.", reasons=wrong)


def plan_of(module: nn.Module, shape: Shape, time: Time | None, output: str | None = None) -> Plan:
    """Find out how a module is called and what it returns, also if it cannot be expressed.

    Args:
        module: what is to be run.
        shape: of a sample at one step.
        time: as in ``from_module``.
        output: of several answers, the one that is meant, by the name of the network's output.

    Raises:
        UnsupportedError: it runs in no known way, or gives no known answer.
        InputError: it gives several answers, and none of them is named.
    """
    seen = understand(module, Asked(shape, SNNTORCH_DT, "average", 1, steps=1), time)
    if not seen.answers:
        raise UnsupportedError(f"The module's answer is not known: {told(seen.wrong)}.")
    return seen.plans[seen.names.index(chosen(seen.names, output))]


def _shape(shape: Shape | None) -> Shape:
    if not shape or any(int(n) != n or n < 1 for n in shape):
        raise InputError(
            f"The shape of a sample is {shape}, not positive numbers.",
            "Give it without batch and time: shape=(C, H, W).",
        )
    return tuple(int(n) for n in shape)


def _step_of(module: nn.Module) -> float:
    """Return the seconds of a step: those of the first of Norse's cells, or snnTorch's."""
    cells = (m for m in module.modules() if kind(m).startswith("norse.") and kind(m) in FORMS)
    return next((float(m.dt) for m in cells), SNNTORCH_DT)  # type: ignore[arg-type]


def _neurons(
    seen: Seen, dt: float, notes: list[str]
) -> tuple[dict[int, Neurons], Rules, list[str]]:
    """Return what each of the cells becomes, and what cannot be."""
    t, found, wrong = seen.t, dict[int, Neurons](), list[str]()
    for number, cells in enumerate(t.signals.all):
        if not isinstance(cells, Cells):
            continue
        make = _MAKE[kind(cells.module).split(".")[0]]
        try:
            found[number] = make(cells.module, cells.shape, dt, notes, cells.name)
        except Cannot as why:
            wrong.append(f"{cells.name}: {type(cells.module).__name__} {why}")
    starts = [*seen.heard.values(), *(a.heard for a in seen.answers)]
    for number in sorted(reached(t, starts)):
        state = t.signals[number]
        if isinstance(state, State):
            made = found.get(state.cells)
            resets = made is not None and isinstance(made.node, ir.Lif)
            if resets or state.name not in ("mem", "v"):
                cells: Any = t.signals[state.cells]
                wrong.append(
                    f"{cells.name}: its {state.name} is used as a signal, and neurons that reset "
                    "send nothing but spikes: use its spikes, or take reset_mechanism='none'"
                )
    rules = {
        t.signals[k].name: made.rules or Rules()  # type: ignore[union-attr]
        for k, made in found.items()
        if isinstance(made.node, ir.Lif)
    }
    first = next(iter(rules.values()), Rules())
    others = [name for name, other in rules.items() if other != first]
    if others:
        wrong.append(
            f"{listed(others)} and {next(iter(rules))} follow different rules (spikes of a step, "
            "min_v_mem), and a network has one: make all neurons alike"
        )
    if first.spikes == "many" and any(isinstance(s, Applied) and s.spikes for s in t.signals.all):
        wrong.append("max pooling of several spikes a step is no sum: take max_pool='average'")
    return found, first, wrong


def _joined(
    seen: Seen, neurons: dict[int, Neurons], rules: Rules, dt: float, steps: int | None,
    input_max: int,
) -> Network:  # fmt: skip
    """Join everything that leads to the answer; a loop closes by itself where that is the same."""
    found: list[Network] = []
    for wait in (True, False):
        join = Join(seen.t.signals, seen.heard, neurons, dt, input_max, wait=wait)
        for number in sorted(_needed(seen)):
            join.signal(number, 0)
        for name, answer in zip(seen.names, seen.answers, strict=True):
            shape = _answer_shape(seen, answer)
            join.feed(join.add(name, ir.Output(shape)), shape, answer.heard)
        found.append(Network(join.nodes, tuple(join.edges), dt, steps, rules))
        if not join.waits:
            return _in_order(found[0])
    delays = [
        {k: {(s.name, s.delay) for s in i.sources} for k, i in wiring(net).into.items()}
        for net in found
    ]
    return _in_order(found[1] if delays[0] == delays[1] else found[0])


def _in_order(net: Network) -> Network:
    """Put sources before targets, as people read a list of layers, without what nobody hears."""
    net = drop_unheard(net)
    return replace(net, nodes={name: net.nodes[name] for name in along_edges(net)})


def _needed(seen: Seen) -> set[int]:
    """Return the cells and inputs that lead to the answer."""
    t, found = seen.t, set[int]()
    waiting = [a.heard for a in seen.answers]
    while waiting:
        fresh = {
            i
            for i in reached(t, [waiting.pop()])
            if isinstance(t.signals[i], Cells | State | Given)
        } - found
        found |= fresh
        for number in fresh:
            signal = t.signals[number]
            if isinstance(signal, State):
                found.add(signal.cells)
                number = signal.cells
            if number in seen.heard:
                waiting.append(seen.heard[number])
    return found


def _answer_shape(seen: Seen, answer: Answer) -> Shape:
    """Return the shape of an answer: of the cells that give it, else of the tensor."""
    whole = seen.t.whole(answer.heard)
    return whole.shape if isinstance(whole, Cells | State) else answer.shape


def _own(m: Any, shape: Shape, dt: float, _notes: list[str], _name: str) -> Neurons:
    if type(m).__name__ == "Lif" and (m.rules.several or m.fires == "at"):
        raise Cannot("has the rules of a chip, which whole students have: take one by its name")
    return Neurons(cell_node(m, shape, dt))


_MAKE: dict[str, Make] = {
    "snntorch": of_snntorch.neurons,
    "norse": of_norse.neurons,
    "spikingjelly": of_spikingjelly.neurons,
    "sinabs": of_sinabs.neurons,
    "snn2hw": _own,
}
