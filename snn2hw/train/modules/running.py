# pyright: basic
"""Running a module as its author does, with what its neurons sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from snn2hw.errors import InputError
from snn2hw.train.modules.calling import Plan, call, forget
from snn2hw.train.modules.forms import FORMS, in_precision, in_steps
from snn2hw.train.modules.kinds import kind


class Ran(NamedTuple):
    """What a module gave.

    Args:
        answer: ``[T, B, ...]``; ``[1, B, ...]`` if the module adds up its steps.
        sent: what each module with a memory gave, ``[T, B, ...]``, by path.
    """

    answer: Tensor
    sent: dict[str, Tensor]


def run(module: nn.Module, frames: Tensor, plan: Plan) -> Ran:
    """Run a module from fresh states.

    Args:
        module: without wrappers.
        frames: ``[T, B, ...]``; ``[1, B, ...]`` will do for a module that shows its input.
        plan: how it is called.

    Raises:
        InputError: the frames are not as many, or not the same, as the module takes them.
    """
    if plan.steps is not None and len(frames) not in ({1, plan.steps} if plan.time == "static"
                                                       else {plan.steps}):  # fmt: skip
        raise InputError(
            f"The module's own code has {plan.steps} steps, and the samples have {len(frames)}.",
            f"Give samples of {plan.steps} steps.",
        )
    if plan.time == "static" and (frames != frames[:1]).any():
        raise InputError(
            "The module shows one input at all of its steps, and the samples change.",
            "Give the same frame at each step.",
        )
    whole = plan.samples or frames.shape[1]
    parts = [_run(module, piece, plan) for piece in frames.split(whole, dim=1)]
    if len(parts) == 1:
        return parts[0]
    sent = {path: torch.cat([p.sent[path] for p in parts], 1) for path in parts[0].sent}
    return Ran(torch.cat([p.answer for p in parts], 1), sent)


def _run(module: nn.Module, frames: Tensor, plan: Plan) -> Ran:
    count = frames.shape[1]
    if plan.samples and count < plan.samples:  # the module's code wants a batch of this size
        more = frames[:, :1].expand(-1, plan.samples - count, *frames.shape[2:])
        frames = torch.cat([frames, more], 1)
    forget(module)
    with recorded(module, plan.cells) as sent:
        returned = call(module, frames, plan.time)
    found = {path: _stacked(sent[path]) for path in plan.cells}
    answer = (
        _answer(returned, plan, plan.steps or len(frames), frames.shape[1])
        if plan.source is None
        else found[plan.source]
    )
    return Ran(answer[:, :count], {path: x[:, :count] for path, x in found.items()})


def _stacked(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _answer(returned: Any, plan: Plan, steps: int, samples: int) -> Tensor:
    """Return the answer ``[T, B, ...]``, or ``[1, B, ...]``."""
    if plan.time == "outside":
        return torch.stack([_leaf(one, plan.answer) for one in returned])
    answer = _leaf(returned, plan.answer)
    if plan.time == "folded":
        answer = answer.unflatten(0, (samples, -1))
    if plan.axis is not None:
        return answer.movedim(plan.axis, 0)
    return answer[None] * steps if plan.factor is None else answer[None] / plan.factor


def _leaf(tree: Any, index: int) -> Tensor:
    return tree_leaves(tree)[index]


@contextmanager
def recorded(module: nn.Module, paths: tuple[str, ...]) -> Iterator[dict[str, list[Tensor]]]:
    """Keep what modules with a memory give, a part ``[steps, B, ...]`` for each call."""
    kept: dict[str, list[Tensor]] = {path: [] for path in paths}

    def keep(path: str) -> Any:
        def hook(m: nn.Module, args: Any, out: Any) -> Any:
            form = FORMS[kind(m)]
            answer, _ = form.made(m, out)
            if args and answer.dtype != args[0].dtype:
                answer, out = in_precision(args[0], answer, out)
            kept[path].append(in_steps(answer, form, m))
            return out

        return hook

    hooks = [module.get_submodule(p).register_forward_hook(keep(p)) for p in paths]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()
