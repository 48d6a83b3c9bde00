# pyright: basic
"""Watching a module run: every operation on tensors is seen, and what it makes is written down.

The operations are those of ATen, of which there are few: whatever a module calls (methods,
operators, ``torch.nn.functional``, layers) ends in them. ``operations.py`` has the table.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import size_of
from snn2hw.train.modules.kinds import LIBRARIES, MaxPool, kind
from snn2hw.train.modules.origins import Floats, Ids, Operand, Rows, Shadows, Where, operand
from snn2hw.train.modules.over_time import parts
from snn2hw.train.modules.signals import Applied, Cells, Given, Signal, Signals

HERE = "snn2hw.train.modules.calling"  # which calls the user's module
RANDOM = (
    "is random at each call: encode the data before, and drop with nn.Dropout, which does nothing "
    "in evaluation mode"
)
FOLLOWED = 2  # samples of a batch
BEYOND = -1  # identifies numbers of the other samples
MANY = 1 << 12  # numbers of a constant from which its place tells it from others

Operation = Callable[["Tracer", Any, tuple[Any, ...], dict[str, Any], Any], "Ids | None"]


class Tracer(TorchDispatchMode):
    """What is known of a running module.

    Args:
        module: what runs; its parameters are known by their place.
        operations: by the name that ATen has for them.
        samples: how many there are in the batch.
        max_pool: as in ``from_module``.
        dt: seconds of a step.
        spiking_input: the input has no other values than 0 and 1.
    """

    def __init__(
        self,
        module: nn.Module,
        operations: dict[str, Operation],
        samples: int,
        max_pool: MaxPool,
        dt: float,
        *,
        spiking_input: bool,
    ) -> None:
        super().__init__()
        self.samples, self.max_pool, self.dt = samples, max_pool, dt
        self.spiking_input = spiking_input
        self.rows, self.signals, self.shadows = Rows(), Signals(), Shadows()
        # Of numbers that cannot be expressed, by -id - 1. The first are of samples that nobody
        # follows: a batch may be large, if its size is written in the code.
        self.problems: list[str] = ["The module mixes the samples of a batch"]
        self.calls: int | None = None  # of the module so far, if each is to be a step
        self.followed = min(samples, FOLLOWED)
        self.reached: set[int] = set()  # those that neurons or the answer hear
        self.behind: dict[int, set[int]] = {}  # those that others hear of
        self.places: dict[int, str] = {}  # of those that are operations without a form
        self.wrong: list[str] = []  # what concerns all of the module
        self.batch: int | None = None  # the size of a batch that is written in the code
        self.steps: int | None = None  # the number of steps likewise
        self.notes: list[str] = []
        self.replaced = False  # something by what gives other numbers
        self.paths: list[tuple[str, nn.Module]] = [("", module)]
        self.entered: set[str] = set()  # modules that were called
        self.arrived: tuple[int, ...] | None = None  # the shape that the last one was given
        self.delays: list[tuple[int, int]] = []  # of signals, see folding
        self.numbers: dict[tuple[int, int], Floats] = {}  # of signals at a step, see folding
        self._operations = operations
        self._off = 0
        held = [*module.parameters(), *module.buffers()]
        self._places = {p.untyped_storage()._cdata for p in held if p.numel() > MANY}

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Take note of a module that is called."""
        self.paths.append((path, module))
        self.entered.add(path)
        first = args[0] if args and isinstance(args[0], Tensor) else None
        self.arrived = None if first is None or not first.ndim else tuple(first.shape)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Leave out what happens inside."""
        self._off += 1
        try:
            yield
        finally:
            self._off -= 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._off:
            return func(*args, **kwargs)
        self._notice_batch(func, args)
        changed = _changed(func, args)
        traced = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and self.knows(t)]
        seen = args
        if changed is not None and traced:  # what it held before is an operand as well
            before = changed.clone()
            self.shadows.put(before, _tensor(self.ids(changed)))
            seen = (before, *args[1:])
        out = func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._refuse(func, out, RANDOM)
        elif traced and not _is_view(func, out, args):
            self._record(func, seen, kwargs, out)
        return out

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        name = _name(func)
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if not made:
            self.wrong.append(
                f"{self.place(name)} makes what the code does depend on the data, which no network "
                "can: compute with tensors"
            )
            return
        ids = None
        operation = self._operations.get(name)
        if operation is not None:
            try:
                ids = operation(self, func, args, kwargs, made[0])
            except Cannot as why:
                ids = np.full(made[0].shape, self.problem(f"{self.place(name)} {why}"))
        if ids is None:
            self._refuse(func, out, why_not(name), args)
            return
        self.shadows.put(made[0], _tensor(ids))
        for other in made[1:]:
            if other.numel():
                self._refuse(func, other, "chooses by values")

    def _refuse(self, func: Any, out: Any, why: str, args: tuple[Any, ...] = ()) -> None:
        place = self.place(_name(func))
        number = self.problem(f"{place} {why}")
        self.places[number] = place
        for x in tree_leaves(args):
            if isinstance(x, Tensor) and self.knows(x):
                ids = self.ids(x)
                self.behind.setdefault(number, set()).update(np.unique(ids[ids < BEYOND]).tolist())
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.shadows.put(tensor, torch.full(tensor.shape, number, dtype=torch.float64))

    def _notice_batch(self, func: Any, args: tuple[Any, ...]) -> None:
        """See a view that puts the samples of the batch into a number of rows that it names."""
        module = self.paths[-1][1]
        if _name(func) not in ("view", "_unsafe_view") or kind(module) != type(module).__name__:
            return
        if not self.knows(args[0]):
            return
        x, size = args[0], args[1]
        if size and size[0] > 1 and x.shape[0] == self.samples != size[0] and len(size) < x.ndim:
            self.batch = int(size[0])

    def problem(self, text: str) -> int:
        """Return the identifier of what cannot be expressed; the text says why."""
        if text not in self.problems:
            self.problems.append(text)
        return -1 - self.problems.index(text)

    def knows(self, tensor: Tensor) -> bool:
        """Say whether a tensor holds anything but constants."""
        ids = self.shadows.of(tensor)
        return ids is not None and bool(ids.numpy().any())

    def ids(self, value: Any) -> Ids:
        """Return the identifiers of a tensor, or of a number, in its shape."""
        found = self.shadows.of(value) if isinstance(value, Tensor) else None
        if found is None:
            return np.zeros(getattr(value, "shape", ()), np.int64)
        return found.numpy().astype(np.int64)

    def put(self, tensor: Tensor, ids: Ids) -> None:
        """Say where a tensor's numbers come from."""
        self.shadows.put(tensor, _tensor(ids))

    def make_rows(self, signal: int, step: int, size: int) -> Ids:
        """Add a row for each sample that is followed: ``[B, size]`` identifiers."""
        ids = np.full((self.samples, size), BEYOND, np.int64)
        for sample in range(self.followed):
            ids[sample] = self.rows.add(signal, step, sample, size) + np.arange(size)
        return ids

    def line(self) -> str:
        """Return the place in the user's code that runs, or nothing if it is all in libraries."""
        frame = sys._getframe(1)
        while frame is not None:
            home = frame.f_globals.get("__name__", "")
            if home == HERE:
                return ""
            if home.split(".")[0] not in LIBRARIES:
                return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def place(self, operation: str) -> str:
        """Say what runs: a layer with its path, or an operation with its line."""
        path, module = self.paths[-1]
        line = self.line()
        if kind(module) == type(module).__name__:  # the user's own class
            called = operation.removeprefix("native_").removesuffix("_with_indices").strip("_")
            return f"{line or path or type(module).__name__}: torch.{called}"
        return f"{self.name('')}{f' ({line})' if line else ''}: {type(module).__name__}"

    def name(self, otherwise: str) -> str:
        """Return the name of a node that is made now: the path of the module that makes it."""
        path, module = self.paths[-1]
        if kind(module) != type(module).__name__:
            return path or type(module).__name__
        return f"{path}.{otherwise}" if path else otherwise

    def key(self, constant: Any) -> Any:
        """Return what tells a constant from others: its values, or where it is kept."""
        if not isinstance(constant, Tensor):
            return constant
        storage = constant.untyped_storage()
        if storage._cdata in self._places:
            at = constant.storage_offset(), constant.shape, constant.stride()
            return storage._cdata, *at
        values = constant.detach().contiguous().double().numpy().tobytes()
        return constant.shape, hashlib.blake2b(values).digest()

    def apply(
        self, key: Any, x: Tensor, rows: int, build: Callable[[Operand], Signal], out: Tensor
    ) -> Ids:
        """Apply one operation to each row of a tensor.

        Args:
            key: what tells the operation from others.
            x: ``[*lead, *features]``.
            rows: the product of the leading axes.
            build: makes the signal of what it hears.
            out: what it gives, with as many rows.

        Returns:
            The identifiers of ``out``.
        """
        ids = self.ids(x).reshape(rows, -1)
        numbers = values(x).reshape(rows, -1)
        found = np.zeros((rows, out.numel() // max(rows, 1)), np.int64)
        for row in range(rows):
            if not ids[row].any():
                continue
            if ids[row].min() < 0:
                found[row] = ids[row].min()
                continue
            where = self.rows.find(ids[row])
            sample, step = where.sample[where.known], int(where.step.max())
            if np.ptp(sample):
                raise Cannot("mixes the samples of a batch")
            heard = operand(where, numbers[row], step)
            if where.known.any() and (where.step[where.known] != step).any():
                found[row] = self._over_time(build(heard), where, numbers[row], int(sample[0]))
                continue
            signal = self.signals.find((key, heard.key), lambda h=heard: build(h))
            start = self.rows.add(signal, step, int(sample[0]), found.shape[1])
            found[row] = start + np.arange(found.shape[1])
        return found.reshape(out.shape)

    def _over_time(self, applied: Signal, where: Where, numbers: Floats, sample: int) -> Ids:
        """Return what a layer gives that hears several steps."""
        assert isinstance(applied, Applied)
        found = np.zeros(size_of(ir.output_shape(applied.node)), np.int64)
        try:
            for part in parts(applied, where, numbers):
                signal = self.signals.find(part.key, part.signal)
                start = self.rows.add(signal, part.step, sample, part.at.size)
                found[part.at] = start + np.arange(part.at.size)
        except ValueError as why:
            raise Cannot(str(why)) from None
        return found

    def whole(self, heard: Operand) -> Signal | None:
        """Return the signal that an operand is, all of it and in its order, or None."""
        if heard.signal[0] < 0:
            return None
        signal = self.signals[int(heard.signal[0])]
        return signal if heard.whole(signal.size) else None

    def spikes(self, heard: Operand) -> bool:
        """Say whether there are only spikes among some numbers."""
        if heard.constant.any():
            return False
        return all(self._sends_spikes(self.signals[i]) for i, _ in heard.pairs)

    def _sends_spikes(self, signal: Signal) -> bool:
        match signal:
            case Given():
                return self.spiking_input
            case Cells():
                return signal.spikes
            case Applied():
                return signal.spikes
            case _:
                return False


class Cannot(Exception):
    """An operation that cannot be expressed: why, and what to do."""


def values(x: Any) -> Floats:
    """Return a constant's values in float64."""
    return torch.as_tensor(x).detach().double().numpy()


def _tensor(ids: Ids) -> Tensor:
    return torch.from_numpy(np.array(ids, np.float64))


def _name(func: Any) -> str:
    name = func._schema.name.split("::")[-1]
    return name.removesuffix("_") if func._schema.is_mutable else name


def _changed(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """Return the tensor that an operation writes into."""
    return args[0] if func._schema.is_mutable and args and isinstance(args[0], Tensor) else None


_IN_PLACE_VIEWS = ("squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_")


def _is_view(func: Any, out: Any, args: tuple[Any, ...]) -> bool:
    """Say whether an operation only looks at a tensor in another way."""
    if func._schema.is_mutable:
        return func._schema.name.split("::")[-1] in _IN_PLACE_VIEWS
    first = next((t for t in tree_leaves(out) if isinstance(t, Tensor)), None)
    if first is None:
        return False
    storage = first.untyped_storage()._cdata
    return any(
        isinstance(a, Tensor) and a.untyped_storage()._cdata == storage for a in tree_leaves(args)
    )


_ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "_softmax", "hardtanh",
    "_log_softmax", "softplus", "hardswish", "mish", "_prelu_kernel", "prelu", "rrelu_with_noise",
)  # fmt: skip
_NORMS = ("native_group_norm", "native_layer_norm", "_fused_rms_norm", "rms_norm")


def why_not(name: str) -> str:
    """Say why an operation of ATen cannot be expressed, and what to do."""
    if name in _ACTIVATIONS:
        return "does not spike: distill a student from the network (snn2hw.distill)"
    if name in _NORMS:
        return "divides by what each sample has itself: use BatchNorm, whose statistics are fixed"
    return "has no form in a spiking network: leave it out before training"
