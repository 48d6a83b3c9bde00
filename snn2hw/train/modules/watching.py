# pyright: basic
"""Watching modules with a memory: each call of their forward is one step, or several."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from snn2hw.errors import listed
from snn2hw.train.modules.as_made import altered, constants
from snn2hw.train.modules.forms import FORMS, Form, States, in_precision, in_steps
from snn2hw.train.modules.kinds import kind
from snn2hw.train.modules.origins import Ids, Operand, operand
from snn2hw.train.modules.signals import Call, Cells, State
from snn2hw.train.modules.tracing import Tracer, values

NONE = np.zeros(0)


class Misread(Exception):
    """The module takes its input in another way than it was given."""


class Watch:
    """What is seen of one module with a memory."""

    def __init__(self, t: Tracer, path: str, module: nn.Module, form: Form) -> None:
        self.t, self.at, self.form = t, path, form
        self.module: Any = module
        self.path = path or type(module).__name__
        self.number: int | None = None
        self.steps = 0
        self.left: dict[str, Ids] = {}
        self._heard: dict[bytes, Operand] = {}
        self._constants: dict[str, Any] = {}
        self.last = np.zeros((0, 0), np.int64)  # of its last answer
        changed = altered(module)
        if changed:
            t.wrong.append(
                f"{self.path}: the {listed(changed)} of its {type(module).__name__} "
                f"{'is' if len(changed) == 1 else 'are'} not what the class says (replaced, or "
                "hooked), and only the class is known: use it as it is"
            )
        self._forward = module.forward
        module.forward = self._called

    def _called(self, *args: Any, **kwargs: Any) -> Any:
        t = self.t
        x = args[0] if args else next(iter(kwargs.values()))
        rest = args[1:]
        with t.unwatched():
            line = t.line()
            self._check_constants(line)
            given = self.form.given(self.module, rest, kwargs)
            out = self._forward(*args, **kwargs)
            answer, states = self.form.made(self.module, out)
            if answer is x:  # what never spikes may give what it gets
                out = answer = x.clone()
            elif answer.dtype != x.dtype:
                answer, out = in_precision(x, answer, out)
        self._notice_folding(x)
        heard, sent = (in_steps(v, self.form, self.module) for v in (x, answer))
        frames = list(zip(heard, sent, strict=True))
        self._check_start(given, line)
        for took, gave in frames:
            self._step(took, gave, line)
        for name, state in states.items():
            if isinstance(state, Tensor) and state.shape == frames[-1][1].shape:
                self._leave(name, state, answer)
        return out

    def _notice_folding(self, x: Tensor) -> None:
        """See how many samples or steps a module takes the first axis for."""
        if self.form.many(self.module) != "folded":
            return
        samples, steps = self.module.batch_size, self.module.num_timesteps
        self.t.batch = samples if samples > 0 else None
        self.t.steps = steps if steps > 0 else None
        if samples not in (-1, self.t.samples) or (steps > 0 and len(x) != steps * self.t.samples):
            raise Misread(f"{self.path} takes batch_size={samples} and num_timesteps={steps}")

    def _step(self, x: Tensor, answer: Tensor, line: str) -> None:
        t = self.t
        ids, numbers, given = t.ids(x), values(x), values(answer)
        if x.ndim == 0 or len(x) != t.samples:
            raise Misread(f"{self.path} is given {tuple(x.shape)}, not one step of a batch")
        if t.calls is not None and self.steps >= t.calls:
            raise Misread(f"{self.path} makes several steps in one call")
        if self.number is None:
            shape = tuple(answer.shape[1:])
            cells = Cells(self.path, self.module, shape, self.form.spikes(self.module))
            self.number = t.signals.add(cells)
        cells = t.signals[self.number]
        assert isinstance(cells, Cells)
        for sample in range(t.followed):
            row = ids[sample].reshape(-1)
            where = t.rows.find(np.maximum(row, 0))
            if (where.sample[where.known] != sample).any():
                raise Misread(f"{self.path} is given numbers of several samples as one")
            heard = None
            if row.min() >= 0:  # else the problem is known, and is not to be told of all behind it
                heard = operand(where, numbers[sample].reshape(-1), self.steps)
                heard = self._heard.setdefault(heard.key, heard)
            took, gave = (v[sample].reshape(-1).astype(np.float32) for v in (numbers, given))
            call = Call(heard, line, took, gave) if sample == 0 else Call(heard, line, NONE, NONE)
            cells.calls.setdefault(sample, []).append(call)
            t.reached.update(np.unique(row[row < 0]).tolist())
        self.last = t.make_rows(self.number, self.steps, cells.size)
        t.put(answer, self.last.reshape(answer.shape))
        self.steps += 1

    def _check_constants(self, line: str) -> None:
        """Ask that the module computes with the same numbers at each step."""
        now = constants(self.module)
        self._constants = self._constants or now
        changed = [name for name, value in self._constants.items() if now.get(name) != value]
        text = (
            f"{self.path}{f' ({line})' if line else ''}: the {listed(changed)} of its "
            f"{type(self.module).__name__} changes from step to step, and neurons of a network "
            "keep theirs: set it before"
        )
        if changed and text not in self.t.wrong:
            self.t.wrong.append(text)

    def _check_start(self, given: States, line: str) -> None:
        """Ask that each call goes on where the one before it ended."""
        for name, state in given.items():
            if self.steps == 0:
                good = state is None or not isinstance(state, Tensor) or self._is_new(name, state)
                why = f"starts from a {name} of its own: start it from its rest"
            elif state is None:
                good, why = False, "starts anew at each step: hand over the state that it returned"
            else:
                expected = self.left.get(name)
                found = self.t.ids(state) if isinstance(state, Tensor) else None
                good = expected is None or (
                    found is not None and np.array_equal(found.reshape(-1), expected.reshape(-1))
                )
                why = f"is given another {name} than the one that it left"
            text = f"{self.path}{f' ({line})' if line else ''}: {type(self.module).__name__} {why}"
            if not good and text not in self.t.wrong:
                self.t.wrong.append(text)

    def _is_new(self, name: str, state: Tensor) -> bool:
        if self.t.knows(state):
            return False
        start = values(self.form.start(self.module, name))
        return state.numel() == 0 or bool((values(state) == start).all())

    def _leave(self, name: str, state: Tensor, answer: Tensor) -> None:
        t, mine = self.t, self.number
        assert mine is not None
        if state is answer or name in ("spk", "z"):
            self.left[name] = self.last
            t.put(state, self.last.reshape(state.shape))
            return
        shape = tuple(state.shape[1:])
        number = t.signals.find(("state", mine, name), lambda: State(mine, name, shape))
        signal = t.signals[number]
        assert isinstance(signal, State)
        signal.gave[self.steps - 1] = values(state[0]).astype(np.float32).reshape(-1)
        ids = t.make_rows(number, self.steps - 1, signal.size)
        self.left[name] = ids
        t.put(state, ids.reshape(state.shape))


def watch(t: Tracer, module: nn.Module) -> list[Watch]:
    """Watch all modules below one, which is a copy: its forwards are replaced."""
    found: list[Watch] = []
    for path, part in module.named_modules():
        part.register_forward_pre_hook(lambda m, a, p=path: t.enter(p, m, a))
        part.register_forward_hook(lambda _m, _a, _o: t.paths.pop() and None)
        if isinstance(part, nn.LPPool2d) and part.norm_type == 1:
            vars(part)["forward"] = partial(_summed, part)
        form = FORMS.get(kind(part))
        if form is not None:
            found.append(Watch(t, path, part, form))
    return found


def _summed(pool: nn.LPPool2d, x: Tensor) -> Tensor:
    """Add up windows, which is what a pool of norm 1 does."""
    size = pool.kernel_size
    count = size[0] * size[1] if isinstance(size, tuple) else size**2
    return functional.avg_pool2d(x, size, pool.stride, 0, pool.ceil_mode) * count
