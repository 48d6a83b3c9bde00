# pyright: basic
"""A module, watched and folded, as a network."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.errors import InputError, UnsupportedError, unknown_name
from snn2hw.ir import network as ir
from snn2hw.ir.arrays import Shape
from snn2hw.ir.graph import wiring
from snn2hw.train.export import OUTPUT, cell_node, to_network
from snn2hw.train.modules import of_norse, of_snntorch
from snn2hw.train.modules.calling import TIMES, Plan, Time, call, dtype_of, fresh
from snn2hw.train.modules.elementwise import ELEMENTWISE
from snn2hw.train.modules.folding import Answer, answers, choose, problems, reached, steady, told
from snn2hw.train.modules.joining import Join, Neurons
from snn2hw.train.modules.kinds import MaxPool, kind
from snn2hw.train.modules.linear import LINEAR
from snn2hw.train.modules.origins import STILL, Operand
from snn2hw.train.modules.signals import Cells, Given, State
from snn2hw.train.modules.tracing import LIBRARIES, Cannot, Tracer, values
from snn2hw.train.modules.watching import FORMS, Misread, Watch, watch
from snn2hw.train.students import Spiking

STEPS = (5, 32, 256, 2048)  # that are watched: more where the module's code wants more
SNNTORCH_DT = 1e-4  # what snnTorch's own NIR functions take a step to last
SAMPLES = 2
MOST_SAMPLES = 1024  # of a batch whose size is written in the module's code

Make = Callable[[Any, Shape, float, list[str], str], Neurons]


class Asked(NamedTuple):
    """What the caller of ``from_module`` said."""

    shape: Shape
    dt: float
    max_pool: MaxPool
    input_max: int


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A module that was watched."""

    t: Tracer
    plan: Plan
    steps: int
    heard: dict[int, Operand]
    answer: Answer | None
    wrong: list[str]


class Failed(Exception):
    """The module could not be run in one way: why."""


def understand(module: nn.Module, asked: Asked, time: Time | None) -> Seen:
    """Find out how a module takes its input, and what it does with it.

    Args:
        module: what is to be run.
        asked: what the caller said.
        time: how it takes its input; None to find out.

    Raises:
        UnsupportedError: it runs in none of the ways.
    """
    ways = TIMES if time is None else (time,)
    failures: list[str] = []
    doubtful: Seen | None = None
    for way in ways:
        try:
            seen = _in_time(module, asked, way)
        except (Failed, Misread) as why:
            failures.append(f"given {shown(way, asked.shape)}: {why}")
            continue
        if not seen.wrong or time is not None:
            return seen
        doubtful = doubtful or seen
    if doubtful is not None:
        return doubtful
    raise UnsupportedError(
        f"The module cannot be run: {told(failures)}.",
        f"Say how it takes its input: time= {', '.join(map(repr, TIMES))}.",
    )


def shown(way: Time, shape: Shape) -> str:
    """Write the shape that a module is given."""
    lead = {"outside": ("B",), "static": ("B",), "first": ("T", "B"), "batch first": ("B", "T")}
    return f"[{', '.join(map(str, (*lead[way], *shape)))}]"


def _in_time(module: nn.Module, asked: Asked, way: Time) -> Seen:
    """Run it with as many steps as its code wants."""
    why = ""
    for count in STEPS:
        try:
            return _in_batch(module, asked, way, count)
        except _TooShort as error:
            why = str(error)
    raise Failed(why)


class _TooShort(Exception):
    """The module's code wants more steps."""


def _in_batch(module: nn.Module, asked: Asked, way: Time, steps: int) -> Seen:
    """Run it with as many samples as its code wants."""
    samples = SAMPLES
    while True:
        copied = fresh(module)
        t = Tracer(
            copied, ELEMENTWISE | LINEAR, samples, asked.max_pool, asked.dt,
            spiking_input=asked.input_max == 1,
        )  # fmt: skip
        try:
            return _seen(copied, t, asked, way, steps)
        except (Failed, Misread):
            wanted = t.batch
            if samples != SAMPLES or wanted is None or wanted > MOST_SAMPLES:
                raise
            samples = wanted


def _seen(copied: nn.Module, t: Tracer, asked: Asked, way: Time, steps: int) -> Seen:
    watched = watch(t, copied, FORMS)
    frames = _input(t, asked, way, steps, dtype_of(copied))
    returned = _run(copied, t, frames, way)
    counts = {w.steps for w in watched if w.number is not None}
    if not counts:
        return Seen(t, Plan(way), steps, {}, None, problems(t))
    usual = max(counts, key=lambda n: sum(w.steps == n for w in watched))
    count = usual if way == "static" else min(usual, steps)
    if way == "static" and count == 1:
        raise Failed("it is one step")
    if way == "outside" and counts != {steps}:
        raise Failed(
            f"its neurons step {', '.join(str(c // steps) for c in sorted(counts))} times a call"
        )
    heard, wrong = steady(t, count)
    outside = way == "outside"
    found = answers(t, returned, count, listed_steps=outside)
    answer, why = choose(t, found, count, listed_steps=outside)
    wrong = [*problems(t), *wrong]
    if answer is None and not wrong:
        wrong.append(why)
    own = way == "static" or (way != "outside" and count != steps)
    plan = Plan(
        way,
        count if own else None,
        answer.index if answer else 0,
        answer.axis if answer else None,
        tuple(w.at for w in watched if w.number is not None),
        _source(t, answer, watched),
        t.samples if t.samples != SAMPLES else None,
        answer.factor if answer else 1.0,
    )
    return Seen(t, plan, count, heard, answer, wrong)


def _source(t: Tracer, answer: Answer | None, watched: list[Watch]) -> str | None:
    """Return the path of the cells that give the answer, all of them in their order."""
    signal = None if answer is None else t.whole(answer.heard)
    return next(
        (w.at for w in watched if w.number is not None and t.signals[w.number] is signal), None
    )


def _input(t: Tracer, asked: Asked, way: Time, steps: int, dtype: torch.dtype) -> Tensor:
    """Make random spikes ``[T, B, ...]``, one step if all are the same."""
    count = 1 if way == "static" else steps
    drawn = np.random.default_rng(0).random((count, t.samples, *asked.shape)) < 0.5
    frames = torch.as_tensor(drawn).to(dtype)
    ids = np.zeros(frames.shape, np.int64)
    number = t.signals.add(
        Given(asked.shape, values(frames.transpose(0, 1)).reshape(t.samples, count, -1))
    )
    for step in range(count):
        for sample in range(t.samples):
            start = t.rows.add(number, STILL if way == "static" else step, sample, ids[0, 0].size)
            ids[step, sample] = start + np.arange(ids[step, sample].size).reshape(asked.shape)
    t.put(frames, ids)
    return frames


def _run(module: nn.Module, t: Tracer, frames: Tensor, way: Time) -> Any:
    try:
        with torch.no_grad(), t:
            return call(module, frames, way)
    except (Misread, Cannot):
        raise
    except Exception as error:  # of the user's own code, whatever it is
        text = _told(t, error)
        text += "".join(f", behind {problem}" for problem in t.problems)
        if isinstance(error, IndexError) and way in ("first", "batch first"):
            raise _TooShort(text) from error
        raise Failed(text) from error


def _told(t: Tracer, error: BaseException) -> str:
    """Say where in the user's code, or in which layer, an error came up."""
    said = str(error).splitlines() or [""]
    (path, module), line = t.paths[-1], _line_of(error)
    at = f"{path} ({line})" if path and line else path or line or type(module).__name__
    text = f"{at}: {type(error).__name__}: {said[0]}"
    wanted = module.in_features if isinstance(module, nn.Linear) else None
    if wanted is not None and wanted == t.arrived:
        text += ", put an nn.Flatten before it"
    return text


def _line_of(error: BaseException) -> str:
    """Return the user's line in which an error came up."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        home = frame.f_globals.get("__name__", "").split(".")[0]
        if home not in LIBRARIES:
            return f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}"
    return ""


def from_module(
    module: nn.Module,
    shape: Shape | None = None,
    *,
    dt: float | None = None,
    time_steps: int | None = None,
    input_max: int = 1,
    max_pool: MaxPool = "refuse",
    time: Time | None = None,
) -> tuple[ir.Network, list[str]]:
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
) -> tuple[ir.Network, list[str], Plan]:
    """Do what ``from_module`` does, and say how the module is called as well."""
    if not isinstance(module, nn.Module):
        raise InputError(f"{type(module).__name__} is neither a path nor a PyTorch module.")
    if max_pool not in get_args(MaxPool):
        raise unknown_name("way with max pooling", str(max_pool), get_args(MaxPool))
    if time is not None and time not in TIMES:
        raise unknown_name("way to take time", str(time), TIMES)
    if isinstance(module, Spiking):
        return to_network(module, dt), [], Plan("first")
    shape = _shape(shape)
    dt = dt or _step_of(module)
    seen = understand(module, Asked(shape, dt, max_pool, input_max), time)
    steps = seen.plan.steps
    if seen.answer is None and not seen.wrong:
        raise UnsupportedError(
            "The module has no spiking neurons.", "Distill a student from it: snn2hw.distill."
        )
    if steps and time_steps and steps != time_steps:
        raise InputError(
            f"The module's own code has {steps} steps, not {time_steps}.",
            f"Say time_steps={steps}, or change the module to {time_steps}.",
        )
    notes: list[str] = []
    neurons, rules, wrong = _neurons(seen, dt, notes)
    wrong = [*seen.wrong, *wrong]
    if wrong:
        raise UnsupportedError(f"The module cannot be expressed: {told(wrong)}.", reasons=wrong)
    assert seen.answer is not None
    net = _joined(seen, neurons, rules, dt, time_steps or steps, input_max)
    return net, [*seen.t.notes, *notes], seen.plan


def plan_of(module: nn.Module, shape: Shape, time: Time | None) -> Plan:
    """Find out how a module is called and what it returns, also if it cannot be expressed.

    Raises:
        UnsupportedError: it runs in no known way, or gives no known answer.
    """
    seen = understand(module, Asked(shape, SNNTORCH_DT, "average", 1), time)
    if seen.answer is None:
        raise UnsupportedError(f"The module's answer is not known: {told(seen.wrong)}.")
    return seen.plan


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
) -> tuple[dict[int, Neurons], ir.Rules, list[str]]:
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
    starts = [h for h in seen.heard.values()] + ([seen.answer.heard] if seen.answer else [])
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
    return found, ir.Rules(), wrong


def _joined(
    seen: Seen, neurons: dict[int, Neurons], rules: ir.Rules, dt: float, steps: int | None,
    input_max: int,
) -> ir.Network:  # fmt: skip
    """Join everything that leads to the answer; a loop closes by itself where that is the same."""
    assert seen.answer is not None
    found: list[ir.Network] = []
    for wait in (True, False):
        join = Join(seen.t.signals, seen.heard, neurons, dt, input_max, wait=wait)
        for number in sorted(_needed(seen)):
            join.signal(number, 0)
        shape = _answer_shape(seen)
        output = join.add(OUTPUT, ir.Output(shape))
        join.feed(output, shape, seen.answer.heard)
        found.append(ir.Network(join.nodes, tuple(join.edges), dt, steps, rules))
        if not join.waits:
            return found[0]
    delays = [
        {k: {(s.name, s.delay) for s in i.sources} for k, i in wiring(net).into.items()}
        for net in found
    ]
    return found[1] if delays[0] == delays[1] else found[0]


def _needed(seen: Seen) -> set[int]:
    """Return the cells and inputs that lead to the answer."""
    t, found = seen.t, set[int]()
    assert seen.answer is not None
    waiting = [seen.answer.heard]
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


def _answer_shape(seen: Seen) -> Shape:
    """Return the shape of the answer: of the cells that give it, else of the tensor."""
    assert seen.answer is not None
    whole = seen.t.whole(seen.answer.heard)
    if isinstance(whole, Cells | State):
        return whole.shape
    return seen.answer.shape


def _own(m: Any, shape: Shape, dt: float, _notes: list[str], _name: str) -> Neurons:
    if type(m).__name__ == "Lif" and (m.rules.several or m.fires == "at"):
        raise Cannot("has the rules of a chip, which whole students have: take one by its name")
    return Neurons(cell_node(m, shape, dt))


_MAKE: dict[str, Make] = {
    "snntorch": of_snntorch.neurons,
    "norse": of_norse.neurons,
    "snn2hw": _own,
}
