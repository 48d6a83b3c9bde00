# pyright: basic
"""What a module answers, of one step: which of the tensors that it returns, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._pytree import MappingKey, tree_flatten_with_path, tree_leaves

from snn2hw.train.modules.folding import difference, reached
from snn2hw.train.modules.joining import flattened
from snn2hw.train.modules.origins import Operand, Where, operand
from snn2hw.train.modules.signals import Cells, State
from snn2hw.train.modules.tracing import BEYOND, Tracer, values

SHOWN = 5  # places of constants that are named


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a module returns: which tensor it is, what it holds of a step, where its steps are.

    ``name`` is the key that it has in what is returned, nothing if it has none; ``factor`` is what
    a step counts where they are added up; ``wrong`` says why no network gives it, ``endless`` that
    it may be a state without an end.
    """

    name: str
    index: int
    heard: Operand
    axis: int | None
    shape: tuple[int, ...]
    factor: float = 1.0
    wrong: str = ""
    endless: bool = False


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
    leaves = [tree_leaves(tree) for tree in trees]
    for index, (keys, leaf) in enumerate(tree_flatten_with_path(trees[-1])[0]):
        if not isinstance(leaf, Tensor):
            continue
        if any(len(of_step) != len(leaves[-1]) for of_step in leaves):
            t.wrong.append("The module does not return as many tensors at each step")
            break
        every = [of_step[index] for of_step in leaves]
        ids = np.concatenate([t.ids(x).reshape(-1) for x in every])
        t.reached.update(np.unique(ids[ids < BEYOND]).tolist())
        if ids.size and ids.min() >= BEYOND and (ids > 0).any():
            name = ".".join(str(k.key) for k in keys if isinstance(k, MappingKey))
            found.append(_answer(t, name, index, every, steps, alone=listed_steps))
    return found


def _answer(
    t: Tracer, name: str, index: int, every: list[Tensor], steps: int, *, alone: bool
) -> Answer:
    leaf, axis = every[-1], None
    if not alone:
        where = t.rows.find(np.maximum(t.ids(leaf), 0))
        seen = [a for a in range(min(2, leaf.ndim)) if leaf.shape[a] == steps]
        axis = next((a for a in seen if _runs_along(where, a)), None)
        every = [leaf] if axis is None else list(leaf.unbind(axis))
    shape = tuple(every[-1].shape[1:])
    if any(x.shape != every[-1].shape or not x.ndim or len(x) != t.samples for x in every):
        none = np.zeros(0, np.int64)
        nothing = Operand(none, none, none, np.zeros(0))
        wrong = f"is {tuple(every[-1].shape)}, which has no axis of the {t.samples} samples"
        return Answer(name, index, nothing, axis, shape, wrong=wrong)
    heard = [
        [
            _of_sample(t, x[sample], None if len(every) == 1 else step)
            for step, x in enumerate(every)
        ]
        for sample in range(t.followed)
    ]
    last = heard[0][-1]
    if any(_is_of_others(t, x) for x in every):
        wrong = "has the samples of the batch in another order"
        return Answer(name, index, last, axis, shape, wrong=wrong)
    if len(every) > 1:
        differs = difference(t, heard, [values(x[0]).reshape(-1) for x in every], "gives")
        if differs is not None:
            text, endless = differs.text, differs.endless
            return Answer(name, index, last, axis, shape, wrong=text, endless=endless)
    return Answer(name, index, last, axis, shape, wrong=_constants(last))


def _of_sample(t: Tracer, x: Tensor, step: int | None) -> Operand:
    """Return what a tensor of one sample is made of, at a step; None for the last that it has."""
    where = t.rows.find(np.maximum(t.ids(x).reshape(-1), 0))
    at = int(where.step.max()) if step is None else step
    return operand(where, values(x).reshape(-1), at)


def _is_of_others(t: Tracer, x: Tensor) -> bool:
    """Say whether a tensor ``[B, ...]`` has numbers of a sample in the place of another."""
    where = t.rows.find(np.maximum(t.ids(x).reshape(len(x), -1), 0))
    return bool((where.sample != np.arange(len(x))[:, None])[where.known].any())


def _constants(heard: Operand) -> str:
    """Say which numbers of an answer nothing gives: others would move into their places."""
    at = np.flatnonzero(heard.signal < 0).tolist()
    if not at:
        return ""
    more = f" and {len(at) - SHOWN} more" if len(at) > SHOWN else ""
    return (
        f"has constants among its {heard.signal.size} numbers (at {', '.join(map(str, at[:SHOWN]))}"
        f"{more}), which no neuron gives, and without them classes would have other numbers: "
        "return what neurons give, and nothing else"
    )


def _runs_along(where: Where, axis: int) -> bool:
    """Say whether an axis is that of the steps, in their order."""
    step, known = (np.moveaxis(v, axis, -1) for v in (where.step, where.known))
    return step.shape[-1] > 1 and bool((step == np.arange(step.shape[-1]))[known].all())


def choose(
    t: Tracer, found: list[Answer], steps: int, *, listed_steps: bool
) -> tuple[list[Answer], str]:
    """Choose the answers among what a module returns: spikes before membranes, and the last ones.

    Returns:
        What they are of one step, more than one if the module has several heads; and what is wrong
        if there are none.
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


def _of_a_step(t: Tracer, answer: Answer, steps: int) -> Answer | None:
    """Turn a sum or a mean over all steps into what it adds up; None if it is no such thing."""
    if steps == 1:
        return answer
    matrices, constant = flattened(t.signals, answer.heard)
    now = {number: m.tocoo() for (number, late), m in matrices.items() if late == 0}
    every = {(number, late) for number in now for late in range(steps)}
    known = answer.heard.signal >= 0
    if constant[known].any() or not now or set(matrices) != every:
        return None
    factor = next(iter(now.values())).data[0]
    if any(abs(m - now[n]).max() > 1e-12 * abs(factor) for (n, _), m in matrices.items()):
        return None
    rows = np.concatenate([m.row for m in now.values()])
    data = np.concatenate([m.data for m in now.values()])
    if factor <= 0 or (data != factor).any() or sorted(rows) != np.flatnonzero(known).tolist():
        return None
    signal, element = np.where(known, 0, -1), np.zeros(constant.size, np.int64)
    for number, m in now.items():
        signal[m.row], element[m.row] = number, m.col
    heard = Operand(signal, np.zeros_like(element), element, constant)
    return replace(answer, heard=heard, factor=float(factor))
