# pyright: basic
"""From what was seen at every step to what happens at each: time is folded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, assert_never

import numpy as np

from snn2hw.errors import listed
from snn2hw.ir import nodes as ir
from snn2hw.ir.graph import pool_kernel
from snn2hw.ir.synapses import received
from snn2hw.train.modules.origins import Floats, Operand
from snn2hw.train.modules.signals import Applied, Cells, Given, State, Sum
from snn2hw.train.modules.tracing import Tracer

SHORT = 4  # steps, of which fewer do not tell a state without an end from a loop
TOLERANCE = 2e-3  # of half precision, whose sums round at 1e-3


class Steady(NamedTuple):
    """What cells hear at every step.

    Args:
        heard: by their number.
        wrong: what is not the same at every step.
        endless: who hears of all steps since the first, as far as that can be told.
    """

    heard: dict[int, Operand]
    wrong: list[str]
    endless: list[str]


def steady(t: Tracer, steps: int) -> Steady:
    """Return what each of the cells hears at every step, and what is wrong."""
    found = Steady({}, [], [])
    for number, cells in enumerate(t.signals.all):
        if not isinstance(cells, Cells):
            continue
        of_first = cells.calls[0]
        if len(of_first) != steps:
            found.wrong.append(
                f"{_at(cells, 0)}: {_kind(cells)} is called {len(of_first)} times in {steps} "
                "steps: make a module for each use, and call each at every step"
            )
            continue
        heard = [[call.heard for call in calls] for calls in cells.calls.values()]
        if any(h is None for of_sample in heard for h in of_sample):
            continue  # what it hears cannot be expressed, which is said elsewhere
        last = of_first[-1].heard
        assert last is not None
        if (last.signal < 0).all():
            found.wrong.append(
                f"{_at(cells, 0)}: {_kind(cells)} hears nothing that comes from the input, or that "
                "PyTorch computes"
            )
            continue
        found.heard[number] = last
        differs = difference(t, heard, [call.took for call in of_first], "hears")  # type: ignore[arg-type]
        if differs is not None:
            said = found.endless if differs.endless else found.wrong
            said.append(f"{_at(cells, differs.step)}: {_kind(cells)} {differs.text}")
    return found


class Difference(NamedTuple):
    """A step that is not as the last one, and why."""

    step: int
    text: str
    endless: bool = False


def difference(
    t: Tracer, heard: list[list[Operand]], took: list[Floats], verb: str
) -> Difference | None:
    """Say at which step something else is heard than at the last one.

    The first steps hear of nothing where later ones hear of those before: of 0, or a bias.

    Args:
        t: what watched.
        heard: of each sample, the operands of all steps.
        took: the numbers of each step, for the first sample.
        verb: what is done with them, ``hears`` or ``gives``.
    """
    steps, last = len(took), heard[0][-1]
    youngest, oldest = delays(t, last)
    if youngest < 0:
        return Difference(steps - 1, f"{verb} what later steps bring")
    if steps >= SHORT and all(
        delays(t, heard[0][step])[1] == step for step in range(steps - SHORT + 1, steps)
    ):
        state = _state(t, last, oldest)
        return Difference(
            steps - 1,
            f"{verb} a sum of all steps since the first{f' ({state})' if state else ''}: code that "
            "keeps a state without an end is no layer of a network; let a module hold it, such as "
            "the membrane of snntorch.Leaky(reset_mechanism='none')",
            endless=True,
        )
    longest = min(oldest, steps - 1)
    for step in range(longest, steps):
        if any(of_sample[step].key != last.key for of_sample in heard):
            return Difference(
                step,
                f"{verb} something else at step {step} than at step {steps - 1}: every step has to "
                "be the same",
            )
    states = [s for s in (t.signals[i] for i in reached(t, [last])) if isinstance(s, State)]
    unknown = t.replaced or any(len(s.gave) < steps for s in states)
    for step in () if unknown else {*range(longest), steps - 1}:
        wanted = evaluated(t, last, step, t.numbers)
        if np.abs(took[step] - wanted).max() > TOLERANCE * max(1.0, np.abs(wanted).max()):
            return Difference(
                step,
                f"{verb} other numbers at step {step} than the other steps tell: states have to "
                "start from 0, and code may not compute outside PyTorch",
            )
    return None


def _state(t: Tracer, heard: Operand, oldest: int) -> str:
    """Return the line where a sum is made that goes back the furthest."""
    for number in sorted(reached(t, [heard]), reverse=True):
        signal = t.signals[number]
        if isinstance(signal, Sum) and t.delays[number][1] == oldest:
            return signal.line
    return ""


def delays(t: Tracer, heard: Operand) -> tuple[int, int]:
    """Return how many steps ago the youngest and the oldest are that an operand is made of."""
    for number in range(len(t.delays), len(t.signals.all)):  # each hears of those before it
        signal = t.signals[number]
        inner = signal.heard if isinstance(signal, Sum) else ()
        inner = (signal.heard,) if isinstance(signal, Applied) else inner
        t.delays.append(_furthest(t, inner))
    return _furthest(t, (heard,))


def _furthest(t: Tracer, heard: Iterable[Operand]) -> tuple[int, int]:
    pairs = [(late, *t.delays[number]) for operand in heard for number, late in operand.pairs]
    return (
        min((late + youngest for late, youngest, _ in pairs), default=0),
        max((late + oldest for late, _, oldest in pairs), default=0),
    )


def evaluated(t: Tracer, heard: Operand, step: int, known: dict[Any, Floats]) -> Floats:
    """Compute what an operand is at a step for the first sample, from what cells gave.

    ``known`` holds what signals were found to be, by number and step, and gets more.
    """
    result = heard.constant.copy()
    for number, delay in heard.pairs:
        at = (heard.signal == number) & (heard.delay == delay)
        key = number, step - delay
        if key not in known:
            known[key] = _gave(t, *key, known)
        result[at] += known[key][heard.element[at]]
    return result


def _gave(t: Tracer, number: int, step: int, known: dict[Any, Floats]) -> Floats:
    signal = t.signals[number]
    match signal:
        case Given():
            frames = signal.frames
            if len(frames) == 1:
                return frames[0]
            return frames[step] if step >= 0 else np.zeros(signal.size)
        case Cells():
            return signal.calls[0][step].gave if step >= 0 else np.zeros(signal.size)
        case Sum():
            each = zip(signal.heard, signal.factors, strict=True)
            return signal.constant + sum(f * evaluated(t, h, step, known) for h, f in each)
        case Applied():
            return _through(signal.node, evaluated(t, signal.heard, step, known))
        case State():
            return signal.gave[step].astype(float) if step >= 0 else np.zeros(signal.size)
        case _:
            assert_never(signal)


def _through(node: ir.Node, x: Floats) -> Floats:
    match node:
        case ir.Affine():
            return node.weight @ x + node.bias
        case ir.SparseAffine():
            return received(node.synapses, x) + node.bias
        case ir.Conv2d() | ir.Conv1d():
            given = received(node.kernel, x)
            return given + np.repeat(node.bias, given.size // node.bias.size)
        case ir.Pool2d():
            return received(pool_kernel(node), x)
        case ir.Lif():  # of max pooling
            return (x > node.v_threshold).astype(float)
        case _:
            raise AssertionError(f"{type(node).__name__} is not made of operations")


def _at(cells: Cells, step: int) -> str:
    line = cells.calls[0][step].line
    return f"{cells.name}{f' ({line})' if line else ''}"


def _kind(cells: Cells) -> str:
    return type(cells.module).__name__


def reached(t: Tracer, starts: Iterable[Operand]) -> set[int]:
    """Return the signals that operands come from, back to the cells."""
    found: set[int] = set()
    waiting = list(starts)
    while waiting:
        fresh = {number for number, _ in waiting.pop().pairs} - found
        found |= fresh
        for signal in (t.signals[i] for i in fresh):
            if isinstance(signal, Applied):
                waiting.append(signal.heard)
            elif isinstance(signal, Sum):
                waiting += signal.heard
    return found


def problems(t: Tracer, of_cells: set[int]) -> list[str]:
    """Return everything that cannot be expressed, of what the cells or the answer hear.

    Args:
        t: what watched the module.
        of_cells: the problems that the cells hear; others come behind them.
    """
    within = _and_behind(t, of_cells)
    found = sorted(_and_behind(t, t.reached), reverse=True)
    last = [i for i in found if i not in within and i in t.places]
    told = [t.problems[-1 - i] for i in found if i not in last]
    if last:
        places = listed(t.places[i] for i in last)
        told.append(
            f"{places} {'change' if len(last) > 1 else 'changes'} the answer behind the last "
            "neurons, where a chip ends: return the spikes or the membranes of every step "
            "(torch.stack), or their sum, and do this outside the module"
        )
    return [*told, *t.wrong]


def _and_behind(t: Tracer, numbers: set[int]) -> set[int]:
    """Return problems, and those that were there before them."""
    found, waiting = set[int](), set(numbers)
    while waiting:
        found |= waiting
        waiting = {i for number in waiting for i in t.behind.get(number, ())} - found
    return found


def told(found: list[str]) -> str:
    """Write problems as one sentence."""
    return listed(list(dict.fromkeys(found)), "; ")
