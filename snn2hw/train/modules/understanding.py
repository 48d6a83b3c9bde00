# pyright: basic
"""Finding out how a module takes its input, and what it does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from snn2hw.ir.arrays import Shape
from snn2hw.train.export import OUTPUT
from snn2hw.train.modules.answering import Answer, answers, choose
from snn2hw.train.modules.calling import TIMES, Plan, Stepper, Time, call, dtype_of, fresh
from snn2hw.train.modules.elementwise import ELEMENTWISE
from snn2hw.train.modules.faults import Fault, cannot_run, fault_in_code, fault_of
from snn2hw.train.modules.folding import problems, steady
from snn2hw.train.modules.kinds import MaxPool
from snn2hw.train.modules.linear import LINEAR
from snn2hw.train.modules.origins import STILL, Operand
from snn2hw.train.modules.signals import Given
from snn2hw.train.modules.tracing import Cannot, Tracer, values
from snn2hw.train.modules.watching import Misread, Watch, watch

USUAL = 25  # steps that are watched where nobody says how many a sample has
FEWEST = 5  # of which the axis of time can be told
MORE = (256, 2048)  # where the module's code wants more
SAMPLES = 2
MOST_SAMPLES = 1024  # of a batch whose size is written in the module's code


class Asked(NamedTuple):
    """What the caller of ``from_module`` said; ``steps`` of a sample, all of which are watched."""

    shape: Shape
    dt: float
    max_pool: MaxPool
    input_max: int
    steps: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A module that was watched; a plan for each of its answers, or one if there is none."""

    t: Tracer
    plans: list[Plan]
    steps: int
    heard: dict[int, Operand]
    answers: list[Answer]
    wrong: list[str]
    endless: bool = False  # as far as these steps tell

    @property
    def names(self) -> list[str]:
        """What the outputs of the network are called, in the order of the answers."""
        if len(self.answers) == 1:
            return [OUTPUT]
        return [a.name or f"{OUTPUT}{at}" for at, a in enumerate(self.answers)]


class Failed(Exception):
    """The module could not be run in one way."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.why)
        self.fault = fault


def understand(module: nn.Module, asked: Asked, time: Time | None) -> Seen:
    """Find out how a module takes its input, and what it does with it.

    Args:
        module: what is to be run.
        asked: what the caller said.
        time: how it takes its input; None to find out.

    Raises:
        UnsupportedError: it runs in none of the ways.
    """
    faults: list[Fault] = []
    doubtful: Seen | None = None
    for way in TIMES if time is None else (time,):
        try:
            seen = _in_time(module, asked, way)
        except Failed as error:
            faults.append(error.fault.given(shown(way, asked.shape)))
            continue
        if not seen.wrong or time is not None:
            return seen
        doubtful = doubtful or seen
    if doubtful is not None:
        return doubtful
    raise cannot_run(faults, module, asked.shape)


def shown(way: Time, shape: Shape) -> str:
    """Write the shape that a module is given."""
    lead = {
        "outside": ("B",),
        "static": ("B",),
        "first": ("T", "B"),
        "batch first": ("B", "T"),
        "folded": ("B T",),
    }
    return f"[{', '.join(map(str, (*lead[way], *shape)))}]"


def _in_time(module: nn.Module, asked: Asked, way: Time) -> Seen:
    """Run it with as many steps as its code wants."""
    first = max(asked.steps or USUAL, FEWEST)
    waiting = [first, *(n for n in MORE if n > first)]
    while True:
        try:
            seen = _in_batch(module, asked, way, waiting.pop(0))
            return _longer(module, asked, way, seen) if seen.endless else seen
        except _OtherSteps as error:
            waiting = waiting if error.wanted is None else [error.wanted]
            if not waiting:
                raise


def _longer(module: nn.Module, asked: Asked, way: Time, seen: Seen) -> Seen:
    """Tell what goes back a few more steps than were watched from what has no end."""
    if seen.plans[0].steps is not None:  # which are all that there are
        return seen
    try:
        longer = _in_batch(module, asked, way, 2 * seen.steps)
    except Failed:
        return seen
    return seen if longer.endless else longer


def _is_told(name: str, seen: Seen) -> bool:
    """Say whether a constant of neurons that changes is named already, by their path."""
    path = name.rpartition(".")[0]
    return any(text.startswith((f"{path} ", f"{path}:")) for text in seen.wrong)


class _OtherSteps(Failed):
    """The module's code wants more steps, or a number of them."""

    def __init__(self, fault: Fault, wanted: int | None = None) -> None:
        super().__init__(fault)
        self.wanted = wanted


def _in_batch(module: nn.Module, asked: Asked, way: Time, steps: int) -> Seen:
    """Run it with as many samples as its code wants."""
    samples = SAMPLES
    while True:
        copied = fresh(module)
        before = {name: p.detach().clone() for name, p in copied.named_parameters()}
        t = Tracer(
            copied, ELEMENTWISE | LINEAR, samples, asked.max_pool, asked.dt,
            spiking_input=asked.input_max == 1,
        )  # fmt: skip
        try:
            seen = _seen(copied, t, asked, way, steps)
            seen.wrong.extend(
                f"{name} changes while the module runs, and weights of a network do not: compute "
                "what is used from it instead"
                for name, p in copied.named_parameters()
                if not torch.equal(p, before[name]) and not _is_told(name, seen)
            )
            return seen
        except _OtherSteps:
            raise
        except (Failed, Misread) as error:
            fault = error.fault if isinstance(error, Failed) else fault_of(t, str(error))
            if t.steps is not None and t.steps != steps:
                raise _OtherSteps(fault, t.steps) from error
            wanted = t.batch
            if samples != SAMPLES or wanted is None or wanted > MOST_SAMPLES:
                raise Failed(fault) from error
            samples = wanted


def _seen(copied: nn.Module, t: Tracer, asked: Asked, way: Time, steps: int) -> Seen:
    watched = watch(t, copied)
    frames = _input(t, asked, way, steps, dtype_of(copied))
    returned = _run(copied, t, frames, way)
    counts = {w.steps for w in watched if w.number is not None}
    if not counts:
        return Seen(t, [Plan(way)], steps, {}, [], problems(t, t.reached))
    usual = max(counts, key=lambda n: sum(w.steps == n for w in watched))
    count = usual if way == "static" else min(usual, steps)
    if way == "static" and count == 1:
        raise Failed(fault_of(t, "it is one step"))
    if way == "outside" and counts != {steps}:
        each = ", ".join(str(c // steps) for c in sorted(counts))
        raise Failed(fault_of(t, f"its neurons step {each} times a call"))
    found = steady(t, count)
    outside = way == "outside"
    if way == "folded":
        returned = tree_map(lambda x: _unfolded(x, t.samples), returned)
    of_cells = set(t.reached)
    given = answers(t, returned, count, listed_steps=outside)
    ends, why = choose(t, given, count, listed_steps=outside)
    wrong = [*problems(t, of_cells), *found.wrong, *found.endless]
    wrong += [f"The answer {f'{a.name!r} ' * bool(a.name)}{a.wrong}" for a in ends if a.wrong]
    if not ends and not wrong:
        wrong.append(why)
    own = way == "static" or (way != "outside" and count != steps)
    plans = [
        Plan(
            way,
            count if own else None,
            answer.index if answer else 0,
            answer.axis if answer else None,
            tuple(w.at for w in watched if w.number is not None),
            _source(t, answer, watched),
            t.samples if t.samples != SAMPLES else None,
            _factor(answer, count),
        )
        for answer in ends or [None]
    ]
    endless = bool(found.endless) or any(a.endless for a in ends)
    return Seen(t, plans, count, found.heard, ends, wrong, endless)


def _factor(answer: Answer | None, steps: int) -> float | None:
    """Return what a step counts in an answer that adds them up; None if it is their mean."""
    factor = 1.0 if answer is None else answer.factor
    return None if np.isclose(factor * steps, 1) else factor


def _unfolded(x: Any, samples: int) -> Any:
    """Return ``[B T, ...]`` as ``[B, T, ...]``."""
    return x.unflatten(0, (samples, -1)) if isinstance(x, Tensor) and x.ndim else x


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
    number = t.signals.add(Given(asked.shape, values(frames[:, 0]).reshape(count, -1)))
    size = t.signals[number].size
    steps_of = [STILL] if way == "static" else range(count)
    ids = np.stack([t.make_rows(number, step, size) for step in steps_of]).reshape(frames.shape)
    t.put(frames, ids)
    return frames


def _run(module: nn.Module, t: Tracer, frames: Tensor, way: Time) -> Any:
    try:
        with torch.no_grad(), t:
            if way != "outside":
                return call(module, frames, way)
            stepper, returned = Stepper(), []
            for t.calls, frame in enumerate(frames, 1):
                returned.append(stepper(module, frame))
            return returned
    except (Misread, Cannot):
        raise
    except Exception as error:  # of the user's own code, whatever it is
        fault = fault_in_code(t, error)
        if isinstance(error, IndexError) and way in ("first", "batch first"):
            raise _OtherSteps(fault) from error
        raise Failed(fault) from error
