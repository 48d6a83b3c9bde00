"""What callers of the Python interface give, checked before anything is done with it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import target as targets
from snn2hw.errors import InputError
from snn2hw.ir.integer import InputPort, IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Input
from snn2hw.ir.target import Target
from snn2hw.pipeline.shapes import fitted

OFF_GRID = 0.1  # of an integer; real numbers of few digits (float16) are moved by less
LOAD = "Load it first: snn2hw.load"


def warn(notes: Iterable[str]) -> None:
    """Warn, as of the line that called this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("snn2hw."):
        frame, level = frame.f_back, level + 1
    for note in notes:
        warnings.warn(note, stacklevel=level)


def network(given: Any) -> Network | IntNetwork:
    """Return a network.

    Raises:
        InputError: it is something else: what to do with it.
    """
    if isinstance(given, Network | IntNetwork):
        return given
    what, way = f"{_kind(given)} is no network.", "Give what snn2hw.load returned."
    if isinstance(given, str | Path):
        what, way = f"{str(given)!r} is a name, not a network.", f"{LOAD}({str(given)!r})."
    elif hasattr(given, "program"):
        way = "Give the network that it was made of."
    elif _is_module(given):
        what = f"{_kind(given)} is a PyTorch module, not a network yet."
        way = f"{LOAD}(module, shape=...)."
    raise InputError(what, way)


def float_network(given: Any) -> Network:
    """Return a float network.

    Raises:
        InputError: it is something else: what to do with it.
    """
    found = network(given)
    if isinstance(found, Network):
        return found
    raise InputError("The network holds a chip's integers.", "Build and simulate it.")


def module(given: Any) -> Any:
    """Return what may be a module, or the name of one.

    Raises:
        InputError: it is a class, weights alone, or a network, build or graph already.
    """
    kind = _kind(given)
    what, way = "", ""
    if isinstance(given, type):
        what = f"{kind} is a class, and an instance of it is needed."
        way = f"Give a trained {kind}()."
    elif isinstance(given, Mapping):
        what = f"The {kind} holds weights, and no network."
        way = "Give the module: module.load_state_dict(weights), then snn2hw.load(module, ...)."
    elif isinstance(given, Network | IntNetwork):
        what, way = "This is a network already.", "Use it as it is, or give the module itself."
    elif hasattr(given, "program"):
        what, way = f"A {kind} is compiled already.", "Use it as it is."
    elif kind == "NIRGraph":
        what = "A NIRGraph in memory is not taken."
        way = "Write it, nir.write('x.nir', graph), and load the file: snn2hw.load('x.nir')."
    if what:
        raise InputError(what, way)
    return given


def chip(given: Any) -> Target:
    """Return a target, by name, by its file, or as it is.

    Raises:
        InputError: it is none.
    """
    if isinstance(given, Target):
        return given
    if isinstance(given, str | Path):
        return targets.load(str(given))
    raise InputError(
        f"A target is a name or a TOML file, not {_kind(given)}.",
        f"Give one, such as {targets.names()[0]!r}; build for several one after the other.",
    )


def array(what: str, given: Any) -> NDArray[Any]:
    """Return numbers as an array.

    Args:
        what: they are, for messages.
        given: an array of NumPy, a tensor of PyTorch wherever it is, or nested lists.

    Raises:
        InputError: there are no such numbers, or some are NaN or infinite.
    """
    found = given.detach().cpu() if hasattr(given, "detach") else given
    if str(getattr(found, "dtype", "")) == "torch.bfloat16":  # which NumPy lacks
        found = found.float()
    way = f"Give {what} as an array of numbers."
    if not hasattr(found, "__array__") and not isinstance(found, Sequence):
        raise InputError(f"{what} is of type {_kind(given)}, not an array.", way)
    try:
        found = np.asarray(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} cannot be made an array: {error}.", way) from None
    if found.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {found.dtype}, not numbers.", way)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise InputError(f"{what} holds NaN or infinity.", "Replace them.")
    return found


def four_arrays(given: Any) -> list[NDArray[Any]]:
    """Return ``x_train, y_train, x_test, y_test``, also of ``(x, y), (x, y)``.

    Raises:
        InputError: it is something else.
    """
    way = "Give a data set's name, or four arrays: x_train, y_train, x_test, y_test."
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError(f"The data are of type {_kind(given)}.", way)
    parts: list[Any] = list(given)
    if len(parts) == 2 and all(isinstance(p, Sequence) and len(p) == 2 for p in parts):
        parts = [part for pair in parts for part in pair]
    if len(parts) != 4:
        raise InputError(f"There are {len(parts)} arrays of data.", way)
    return [array(("x_train", "y_train", "x_test", "y_test")[i], p) for i, p in enumerate(parts)]


def inputs(
    ports: Mapping[str, Any], x: Any, time_steps: int | None = None
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the integers of samples by input, and notes on what making them changed.

    Args:
        ports: the inputs by name: ``Input`` or ``InputPort``.
        x: ``[N, T, *shape]``, a mapping if there are several inputs.
        time_steps: of one sample, if the network says.

    Raises:
        InputError: they are no numbers, or not of the input's shape.
    """
    values = x if isinstance(x, Mapping) else {next(iter(ports)): x}
    known: dict[str, NDArray[Any]] = {}
    notes: list[str] = []
    for name, value in values.items():
        fed = array("x" if value is x else f"x[{name!r}]", value)
        port: Input | InputPort | None = ports.get(name)
        if port is not None:
            fed = fitted(name, port.shape, fed, time_steps)
            notes += moved(name, port, fed)
            fed = port.taken(fed) if isinstance(port, Input) else port.integers(fed)
        known[name] = fed
    return known, notes


def moved(name: str, port: Input | InputPort, fed: NDArray[Any]) -> list[str]:
    """Say by how much integers differ from what an author fed, if they do.

    Args:
        name: of the input.
        port: the input, of a chip or of a float network.
        fed: samples ``[N, T, *shape]``.

    Raises:
        InputError: a chip would not take the integers.
    """
    if not port.is_fed(fed) or not fed.size or fed.shape[2:] != port.shape:
        return []
    exact = port.unrounded(fed)
    low, high = float(exact.min()), float(exact.max())
    lowest = port.min_value if isinstance(port, InputPort) else 0
    if high > port.max_value + 0.5 or low < lowest - 0.5:
        what = (
            f"{name} holds real numbers from {fed.min():g} to {fed.max():g}. Real numbers are "
            f"taken as scaled like those of the training, here as the integers from {low:,.6g} to "
            f"{high:,.6g}; the chip takes {lowest} to {port.max_value:,}"
        )
        way = (
            "Give integers as integers, or real numbers as in training. If the scale or the "
            "largest integer is wrong, load the network with another: --input-scale, --input-max, "
            "in Python input_scale=, input_max=."
        )
        if isinstance(port, InputPort):
            raise InputError(f"Input {what}.", way)
        return [f"{what}. {way}"]
    far = float(np.abs(exact - np.rint(exact)).max())
    if far <= OFF_GRID:
        return []
    return [
        f"{name}: the samples are not integers times the input's scale; rounding to the nearest "
        f"moves them by up to {far:.2f} of an integer. If pixels were scaled otherwise in "
        "training, input_scale is wrong"
    ]


def labels(y: Any, samples: int, classes: int) -> NDArray[np.int64]:
    """Return labels ``[N]``.

    Args:
        y: what was given.
        samples: N.
        classes: of the output that they are for.

    Raises:
        InputError: there is not one whole number for each sample, or one is of no class.
    """
    found = array("y", y)
    if found.shape != (samples,):
        rows = found.ndim == 2 and found.shape[0] == samples and found.shape[1] > 1
        raise InputError(
            f"There are {samples} samples, and labels of shape {list(found.shape)}.",
            "Give one label for each sample" + (", such as y.argmax(1)." if rows else ", [N]."),
        )
    if found.dtype.kind == "f" and (found != np.rint(found)).any():
        raise InputError("The labels are no whole numbers.", "Give the number of each class.")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"The labels run from {low} to {high}, and the output has the classes 0 to "
            f"{classes - 1}.",
            "Number the classes from 0.",
        )
    return found.astype(np.int64)


def labels_need_samples(x: Any, y: Any) -> None:
    """Refuse labels without the samples that they are of.

    Raises:
        InputError: there are such.
    """
    if x is None and y is not None:
        raise InputError("There are labels, y, without samples.", "Give x as well.")


def _kind(given: Any) -> str:
    named = given if isinstance(given, type) else type(given)
    return "None" if given is None else named.__name__


def _is_module(given: Any) -> bool:
    """Say whether something looks like a PyTorch module, without importing PyTorch."""
    return hasattr(given, "state_dict") and hasattr(given, "forward")
