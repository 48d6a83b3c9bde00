# pyright: basic
"""Watching modules with a memory: each call of their forward is one step, or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from snn2hw.train.modules.kinds import kind
from snn2hw.train.modules.origins import Ids, operand
from snn2hw.train.modules.signals import Call, Cells, State
from snn2hw.train.modules.tracing import Tracer, values

States = dict[str, Any]


class Form(NamedTuple):
    """How a kind of cells is called.

    Args:
        given: the states that a call starts from, by name, from the module and the arguments
            behind the input; None for what is new, or not yet made.
        made: the answer and the states of what a call returned.
        start: the value that a state has before the first step, 0 if it is not named.
        many: says whether a call takes all steps at once, ``[T, B, ...]``.
        spikes: says whether the answer is spikes.
        lasts: a state that is not handed over stays in the module.
    """

    given: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], States]
    made: Callable[[Any, Any], tuple[Tensor, States]]
    start: Callable[[Any, str], Any] = lambda _m, _s: 0.0
    many: Callable[[Any], bool] = lambda _m: False
    spikes: Callable[[Any], bool] = lambda _m: True
    lasts: bool = True


class Misread(Exception):
    """The module takes its input in another way than it was given."""


class Watch:
    """What is seen of one module with a memory."""

    def __init__(self, t: Tracer, path: str, module: nn.Module, form: Form) -> None:
        self.t, self.at, self.module, self.form = t, path, module, form
        self.path = path or type(module).__name__
        self.number: int | None = None
        self.steps = 0
        self.left: dict[str, Ids] = {}
        self.spikes: list[Tensor] = []
        self._forward = module.forward
        module.forward = self._called

    def _called(self, *args: Any, **kwargs: Any) -> Any:
        t = self.t
        x = args[0] if args else next(iter(kwargs.values()))
        rest = args[1:]
        with t.unwatched():
            line = t.line()
            given = self.form.given(self.module, rest, kwargs)
            out = self._forward(*args, **kwargs)
            answer, states = self.form.made(self.module, out)
            if answer is x:  # what never spikes may give what it gets
                out = answer = x.clone()
            elif answer.dtype != x.dtype:
                answer, out = in_precision(x, answer, out)
        many = self.form.many(self.module)
        frames = list(zip(x, answer, strict=True)) if many else [(x, answer)]
        self._check_start(given, line)
        for heard, sent in frames:
            self._step(heard, sent, line)
        for name, state in states.items():
            if isinstance(state, Tensor) and state.shape == frames[-1][1].shape:
                self._leave(name, state, answer)
        return out

    def _step(self, x: Tensor, answer: Tensor, line: str) -> None:
        t = self.t
        ids, numbers = t.ids(x), values(x)
        if x.ndim == 0 or len(x) != t.samples:
            raise Misread(f"{self.path} is given {tuple(x.shape)}, not one step of a batch")
        if self.number is None:
            shape = tuple(answer.shape[1:])
            cells = Cells(self.path, self.module, shape, self.form.spikes(self.module))
            self.number = t.signals.add(cells)
        cells = t.signals[self.number]
        assert isinstance(cells, Cells)
        sent = np.zeros((t.samples, cells.size), np.int64)
        for sample in range(t.samples):
            row = ids[sample].reshape(-1)
            where = t.rows.find(np.maximum(row, 0))
            if (where.sample[where.known] != sample).any():
                raise Misread(f"{self.path} is given numbers of several samples as one")
            heard = operand(where, numbers[sample].reshape(-1), self.steps)
            if (row < 0).any():  # the problem is known; it is not to be told of all that follows
                heard = None
            took, gave = (v[sample].reshape(-1) for v in (numbers, values(answer)))
            cells.calls.setdefault(sample, []).append(Call(heard, line, took, gave))
            start = t.rows.add(self.number, self.steps, sample, cells.size)
            sent[sample] = start + np.arange(cells.size)
        bad = ids[ids < 0]
        if bad.size:
            t.reached.update(int(b) for b in np.unique(bad))
        t.put(answer, sent.reshape(answer.shape))
        self.last = sent
        self.steps += 1

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
        size = t.signals[number].size
        ids = np.zeros((t.samples, size), np.int64)
        for sample in range(t.samples):
            start = t.rows.add(number, self.steps - 1, sample, size)
            ids[sample] = start + np.arange(size)
        self.left[name] = ids
        t.put(state, ids.reshape(state.shape))


def in_precision(x: Tensor, answer: Tensor, out: Any) -> tuple[Tensor, Any]:
    """Give spikes the precision of the input, which snnTorch's have in float32 alone."""
    found = answer.to(x.dtype)
    return found, (found, *out[1:]) if isinstance(out, tuple) else found


def watch(t: Tracer, module: nn.Module, forms: Mapping[str, Form]) -> list[Watch]:
    """Watch all modules below one, which is a copy: its forwards are replaced."""
    found: list[Watch] = []
    for path, part in module.named_modules():
        part.register_forward_pre_hook(lambda m, a, p=path: t.enter(p, m, a))
        part.register_forward_hook(lambda _m, _a, _o: t.paths.pop() and None)
        form = forms.get(kind(part))
        if form is not None:
            found.append(Watch(t, path, part, form))
    return found


def sends_spikes(module: nn.Module) -> bool:
    """Say whether a module with a memory gives spikes."""
    return FORMS[kind(module)].spikes(module)


def _of_snntorch(*names: str) -> Form:
    def given(m: Any, rest: tuple[Any, ...], kwargs: Mapping[str, Any]) -> States:
        handed = dict(zip(names, rest, strict=False)) | dict(kwargs)
        return {n: getattr(m, n) if handed.get(n) is None else handed[n] for n in names}

    def made(m: Any, out: Any) -> tuple[Tensor, States]:
        answer = out[0] if isinstance(out, tuple) else out
        return answer, {n: getattr(m, n) for n in names}

    return Form(given, made, spikes=lambda m: True)


def _handed(_m: Any, rest: tuple[Any, ...], kwargs: Mapping[str, Any]) -> States:
    state = rest[0] if rest else kwargs.get("state")
    return {"state": None} if state is None else dict(state._asdict())


def _returned(_m: Any, out: Any) -> tuple[Tensor, States]:
    return out[0], dict(out[1]._asdict())


def _rest(m: Any, name: str) -> Any:
    if name != "v":
        return 0.0
    return m.p.v_leak if hasattr(m.p, "v_leak") else m.p.v_reset


def _of_norse(*, many: bool = False, spikes: bool = True) -> Form:
    return Form(_handed, _returned, _rest, lambda _m: many, lambda _m: spikes, lasts=False)


_OWN = Form(
    lambda _m, _a, _k: {}, lambda _m, out: (out, {}), many=lambda _m: True,
    spikes=lambda m: type(m).__name__ == "Lif",
)  # fmt: skip

FORMS: Mapping[str, Form] = {
    "snntorch.Leaky": _of_snntorch("mem"),
    "snntorch.Lapicque": _of_snntorch("mem"),
    "snntorch.Synaptic": _of_snntorch("syn", "mem"),
    "snntorch.Alpha": _of_snntorch("syn_exc", "syn_inh", "mem"),
    "snntorch.RLeaky": _of_snntorch("spk", "mem"),
    "snntorch.RSynaptic": _of_snntorch("spk", "syn", "mem"),
    **{f"norse.{n}": _of_norse() for n in ("LIFBoxCell", "LIFCell", "IAFCell", "LIFRecurrentCell")},
    **{f"norse.{n}": _of_norse(many=True) for n in ("LIF", "IAF", "LIFRecurrent")},
    **{f"norse.{n}": _of_norse(spikes=False) for n in ("LICell", "LIBoxCell")},
    "norse.LI": _of_norse(many=True, spikes=False),
    "snn2hw.Lif": _OWN,
    "snn2hw.Readout": _OWN,
}
