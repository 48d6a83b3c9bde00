# pyright: basic
"""From what was seen at every step to what happens at each: time is folded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from torch import Tensor
from torch.utils._pytree import MappingKey, tree_flatten_with_path

from snn2hw.errors import listed
from snn2hw.ir import network as ir
from snn2hw.ir.graph import pool_kernel
from snn2hw.ir.synapses import received
from snn2hw.train.modules.joining import flattened
from snn2hw.train.modules.origins import Floats, Operand, Where, operand
from snn2hw.train.modules.signals import Applied, Cells, Given, State, Sum
from snn2hw.train.modules.tracing import BEYOND, Tracer, values

TOLERANCE = 2e-3  # of half precision, whose sums round at 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a module returns: which tensor it is, what it holds of a step, where its steps are.

    ``name`` is the key that it has in what is returned, nothing if it has none; ``factor`` is what
    a step counts where they are added up.
    """

    name: str
    index: int
    heard: Operand
    axis: int | None
    shape: tuple[int, ...]
    factor: float = 1.0


def steady(t: Tracer, steps: int) -> tuple[dict[int, Operand], list[str]]:
    """Return what each of the cells hears at every step, and what is wrong."""
    heard: dict[int, Operand] = {}
    wrong: list[str] = []
    for number, cells in enumerate(t.signals.all):
        if not isinstance(cells, Cells):
            continue
        of_first = cells.calls[0]
        if len(of_first) != steps:
            wrong.append(
                f"{_at(cells, 0)}: {_kind(cells)} is called {len(of_first)} times in {steps} "
                "steps: make a module for each use, and call each at every step"
            )
            continue
        if any(call.heard is None for calls in cells.calls.values() for call in calls):
            continue  # what it hears cannot be expressed, which is said elsewhere
        last = of_first[-1].heard
        assert last is not None
        if (last.signal < 0).all():
            wrong.append(
                f"{_at(cells, 0)}: {_kind(cells)} hears nothing that comes from the input, or that "
                "PyTorch computes"
            )
            continue
        heard[number] = last
        wrong += _unsteady(t, cells, last, steps)
    return heard, wrong


def _unsteady(t: Tracer, cells: Cells, last: Operand, steps: int) -> list[str]:
    """Say at which step cells hear something else than at the last one.

    The first steps hear of nothing where later ones hear of those before: of 0, or a bias.
    """
    youngest, oldest = _delays(t, last)
    if youngest < 0:
        return [f"{_at(cells, -1)}: {_kind(cells)} hears of later steps"]
    longest = min(oldest, steps - 1)
    for step in range(longest, steps):
        heard = [calls[step].heard for calls in cells.calls.values()]
        if any(h is None or h.key != last.key for h in heard):
            return [
                f"{_at(cells, step)}: {_kind(cells)} hears something else at step {step} than at "
                f"step {steps - 1}: every step has to be the same"
            ]
    unknown = t.replaced or any(isinstance(t.signals[i], State) for i in reached(t, [last]))
    for step in () if unknown else {*range(longest), steps - 1}:
        took = cells.calls[0][step].took
        wanted = evaluated(t, last, step, t.numbers)
        if np.abs(took - wanted).max() > TOLERANCE * max(1.0, np.abs(wanted).max()):
            return [
                f"{_at(cells, step)}: {_kind(cells)} gets other numbers at step {step} than what "
                "it hears at the other steps would give: states have to start from 0, and code may "
                "not compute outside PyTorch"
            ]
    return []


def _delays(t: Tracer, heard: Operand) -> tuple[int, int]:
    """Return how many steps ago the youngest and the oldest are that an operand is made of."""
    found = [0]
    for number, delay in heard.pairs:
        if number not in t.delays:
            signal = t.signals[number]
            inner = signal.heard if isinstance(signal, Sum) else ()
            inner = (signal.heard,) if isinstance(signal, Applied) else inner
            each = [_delays(t, h) for h in inner]
            t.delays[number] = (
                min((a for a, _ in each), default=0),
                max((b for _, b in each), default=0),
            )
        youngest, oldest = t.delays[number]
        found += [delay + youngest, delay + oldest]
    return min(found), max(found)


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
            return frames[min(step, len(frames) - 1)] if step >= 0 else np.zeros(signal.size)
        case Cells():
            return signal.calls[0][step].gave if step >= 0 else np.zeros(signal.size)
        case Sum():
            each = zip(signal.heard, signal.factors, strict=True)
            return signal.constant + sum(f * evaluated(t, h, step, known) for h, f in each)
        case Applied():
            return _through(signal.node, evaluated(t, signal.heard, step, known))
        case State():
            raise AssertionError("states are not kept")
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


def answers(t: Tracer, returned: Any, steps: int, *, listed_steps: bool) -> list[Answer]:
    """Return everything that a module returns and that comes from its input.

    Args:
        t: what watched it.
        returned: what it returned; a list of that for each step, if ``listed_steps``.
        steps: how many there were.
        listed_steps: a call was a step.
    """
    found: list[Answer] = []
    trees = returned if listed_steps else [returned]
    for index, (keys, leaf) in enumerate(tree_flatten_with_path(trees[-1])[0]):
        if not isinstance(leaf, Tensor):
            continue
        ids = t.ids(leaf)
        t.reached.update(np.unique(ids[ids < BEYOND]).tolist())
        if ids.size and ids.min() >= BEYOND and (ids > 0).any():
            name = ".".join(str(k.key) for k in keys if isinstance(k, MappingKey))
            found.append(_answer(t, name, index, leaf, steps, alone=listed_steps))
    return found


def _answer(t: Tracer, name: str, index: int, leaf: Tensor, steps: int, *, alone: bool) -> Answer:
    where = t.rows.find(np.maximum(t.ids(leaf), 0))
    mine = where.known & (where.sample == 0)
    axis = None
    if not alone:
        seen = [a for a in range(min(2, leaf.ndim)) if leaf.shape[a] == steps]
        axis = next((a for a in seen if _runs_along(where, a)), None)
    last = int(where.step[mine].max())
    at = mine & (where.step == last)
    heard = operand(
        Where(*(getattr(where, k)[at] for k in where.__dataclass_fields__)),
        values(leaf)[at],
        last,
    )
    shape = tuple(n for a, n in enumerate(leaf.shape) if a not in _lead(axis))
    return Answer(name, index, heard, axis, shape)


def _lead(axis: int | None) -> tuple[int, ...]:
    return (0,) if axis is None else (0, 1)


def _runs_along(where: Where, axis: int) -> bool:
    """Say whether an axis is that of the steps, in their order."""
    step, known = (np.moveaxis(v, axis, -1) for v in (where.step, where.known))
    return step.shape[-1] > 1 and bool((step == np.arange(step.shape[-1]))[known].all())


def choose(
    t: Tracer, found: list[Answer], steps: int, *, listed_steps: bool
) -> tuple[list[Answer], str]:
    """Choose the answers among what a module returns: spikes before membranes, and the last ones.

    Returns:
        What they are of one step, more than one if the module has several heads; and what is wrong.
    """
    whole = [_of_a_step(t, a, steps) if a.axis is None and not listed_steps else a for a in found]
    usable = [a for a in whole if a is not None]
    heard_by_others = _heard(t)
    spikes = [a for a in usable if not _is_state(t, a)]
    ends = [a for a in spikes if not {i for i, _ in a.heard.pairs} & heard_by_others]
    for group in (ends, spikes, [a for a in usable if _is_state(t, a)]):
        if group:
            return list({a.heard.key: a for a in reversed(group)}.values())[::-1], ""
    if found:
        return [], (
            "The module returns what its last step gives, and a network's answer is that of all "
            "steps: return the spikes of every step (torch.stack), or their sum or mean"
        )
    return [], "The module returns nothing that comes from its input"


def _is_state(t: Tracer, answer: Answer) -> bool:
    return any(isinstance(t.signals[i], State) for i, _ in answer.heard.pairs)


def _heard(t: Tracer) -> set[int]:
    """Return the cells that others hear, directly or through what lies between."""
    found: set[int] = set()
    for number, signal in enumerate(t.signals.all):
        if isinstance(signal, Cells):
            for calls in signal.calls.values():
                heard = calls[-1].heard
                if heard is not None:
                    found |= {i for i in reached(t, [heard]) if i != number}
    return found


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


def _of_a_step(t: Tracer, answer: Answer, steps: int) -> Answer | None:
    """Turn a sum or a mean over all steps into what it adds up; None if it is no such thing."""
    if steps == 1:
        return answer
    matrices, constant = flattened(t.signals, answer.heard)
    now = {number: m.tocoo() for (number, late), m in matrices.items() if late == 0}
    every = {(number, late) for number in now for late in range(steps)}
    if constant.any() or not now or set(matrices) != every:
        return None
    factor = next(iter(now.values())).data[0]
    if any(abs(m - now[n]).max() > 1e-12 * abs(factor) for (n, _), m in matrices.items()):
        return None
    rows = np.concatenate([m.row for m in now.values()])
    data = np.concatenate([m.data for m in now.values()])
    if factor <= 0 or (data != factor).any() or sorted(rows) != list(range(constant.size)):
        return None
    signal, element = np.zeros((2, constant.size), np.int64)
    for number, m in now.items():
        signal[m.row], element[m.row] = number, m.col
    heard = Operand(signal, np.zeros_like(signal), element, np.zeros(constant.size))
    return Answer(answer.name, answer.index, heard, None, answer.shape, float(factor))


def problems(t: Tracer) -> list[str]:
    """Return everything that cannot be expressed, of what the cells or the answer hear."""
    found, waiting = set[int](), set(t.reached)
    while waiting:
        found |= waiting
        waiting = {i for number in waiting for i in t.behind.get(number, ())} - found
    return [*(t.problems[-1 - i] for i in sorted(found, reverse=True)), *t.wrong]


def told(found: list[str]) -> str:
    """Write problems as one sentence."""
    return listed(list(dict.fromkeys(found)), "; ")
