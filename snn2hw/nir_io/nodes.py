# pyright: basic
"""From stored nodes to ours, following the edges, with shapes known on the way.

What real files get wrong about shapes is repaired where the graph leaves one meaning only, and
each repair is said: scalars for a whole population, a batch or time axis in a shape, a lost channel
axis, transposed weights, a Flatten that keeps a dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.hdf5 import numbers
from snn2hw.ir.arrays import Edge, Shape, size_of
from snn2hw.ir.convolution import Conv, same_padding, synapse_count
from snn2hw.ir.graph import pool_kernel
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Leaky,
    Lif,
    Node,
    Output,
    Pool2d,
    Reset,
    Scale,
    Threshold,
    output_shape,
)
from snn2hw.ir.soundness import edge_problems
from snn2hw.nir_io.flat import THROUGH, Flat, Note, new_name
from snn2hw.nir_io.stored import StoredNode

LARGEST = 1 << 24  # values of one signal, and of all together but for what the weights call for
SIGNALS_A_VALUE = 64
USES, USES_A_VALUE = 1 << 28, 1 << 16  # of weights, each at many places of an image
MOST_AXES = 8
LINEAR = ("Affine", "Linear")
CONVOLUTIONS = {"Conv1d": 2, "Conv2d": 3, "SumPool2d": 3, "AvgPool2d": 3}  # dimensions they take


def convert(
    flat: Flat, resets: Mapping[str, Reset], reset: Reset, largest: Mapping[str, int]
) -> tuple[dict[str, Node], list[Edge]]:
    """Convert nodes from the inputs on; repairs and problems are added to ``flat``.

    Args:
        flat: the graph; its ``notes`` and ``problems`` grow.
        resets: reset rule by population, where they differ.
        reset: rule of the others.
        largest: largest integer by input.

    Returns:
        Nodes, and edges (a Flatten may have come between two nodes).
    """
    notes, problems = list(flat.notes), list(flat.problems)
    found = _attempt(flat, resets, reset, largest)
    _turn_squares(flat, found[0])
    changed = _with_whole_strides(flat)
    if flat.problems and changed:
        other = Flat(flat.nodes | changed, flat.into, flat.out_of, notes, problems)
        again = _attempt(other, resets, reset, largest)
        if not other.problems:
            said = "stride 1 contradicts the shapes that follow; its window as stride fits them"
            flat.notes[:] = notes + [Note(name, said) for name in changed]
            flat.problems.clear()
            _turn_squares(flat, again[0])
            return again
    return found


def _turn_squares(flat: Flat, done: dict[str, Node]) -> None:
    """Turn square weights, which fit either way, where all others of the file were turned."""
    ways: dict[str, list[str]] = {"turned": [], "straight": [], "square": []}
    for name, node in done.items():
        if isinstance(node, Affine):
            rows, columns = np.shape(flat.nodes[name].values["weight"])
            straight = "straight" if node.weight.shape == (rows, columns) else "turned"
            ways["square" if rows == columns else straight].append(name)
    if not ways["turned"]:
        return
    for name in ways["square"]:
        say, node = _Say(flat, name), done[name]
        if ways["straight"]:
            say("its weight is square, and other weights of the file are [in, out] and [out, in]: "
                "taken as [out, in]")  # fmt: skip
        elif isinstance(node, Affine):
            say("its weight is square, and all others of the file are transposed: so is this one")
            done[name] = Affine(node.weight.T, node.bias)


def _attempt(
    flat: Flat, resets: Mapping[str, Reset], reset: Reset, largest: Mapping[str, int]
) -> tuple[dict[str, Node], list[Edge]]:
    done: dict[str, Node] = {}
    flattened: dict[str, str] = {}  # the Flatten in front, by node
    room = _Room(flat)
    for name, shape in _along_edges(flat, done):
        say = _Say(flat, name)
        try:
            node = flat.nodes[name]
            if node.kind in LINEAR and shape is not None and len(shape) > 1:
                wanted = _flattened(node, shape, say)
                if wanted is not None:
                    flattened[name] = new_name(f"{name}.flatten", flat.nodes.keys() | done.keys())
                    done[flattened[name]] = wanted
                    shape = output_shape(wanted)
            after = [flat.nodes[n] for n in flat.after(name)]
            rule = resets.get(name, reset)
            made = _node(node, shape, after, rule, largest.get(name, 1), say)
            room.take(output_shape(made))
            if isinstance(made, Pool2d | Conv2d | Conv1d):
                room.take_kernel(made)
            done[name] = made
        except KeyError as error:
            flat.problems.append(f"{name}: has no {error}")
        except (ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
            flat.problems.append(f"{name}: {error}")
    edges = [(a, flattened.get(b, b)) for a, b in flat.edges]
    edges += [(extra, name) for name, extra in flattened.items()]
    for edge in edges:
        flat.problems += edge_problems(done, *edge) if set(edge) <= done.keys() else []
    return done, edges


class _Room:
    """Counts what nodes give, which a few bytes of a file can make large without end."""

    def __init__(self, flat: Flat) -> None:
        stored = sum(
            v.size
            for node in flat.nodes.values()
            for v in node.values.values()
            if isinstance(v, np.ndarray)
        )
        self.most = self.left = LARGEST + SIGNALS_A_VALUE * stored
        self.uses = USES + USES_A_VALUE * stored

    def take_kernel(self, node: Pool2d | Conv2d | Conv1d) -> None:
        """Count the windows of a pool, which become weights, and how often weights are used."""
        if isinstance(node, Pool2d):
            self.take((node.input_shape[0], *node.kernel), "has windows of")
            kernel = pool_kernel(node)
        else:
            kernel = node.kernel
        sides = zip(kernel.weight.shape[2:], kernel.input_shape[1:], strict=True)
        if max(k * n for k, n in sides) > LARGEST:
            raise ValueError(f"has windows of {kernel.weight.shape[2:]}, too large to be read")
        self.uses -= synapse_count(kernel)
        if self.uses < 0:
            raise ValueError(
                f"has windows of {kernel.weight.shape[2:]} that look at {synapse_count(kernel):,} "
                "values, too many for a file of this size"
            )

    def take(self, shape: Shape, how: str = "gives") -> None:
        """Count a signal."""
        if min(shape, default=1) < 1:
            raise ValueError(f"{how} {shape}, which is nothing")
        if size_of(shape) > LARGEST:
            raise ValueError(f"{how} {shape}, {size_of(shape):,} values; {LARGEST:,} are the most")
        self.left -= size_of(shape)
        if self.left < 0:
            raise ValueError(
                f"{how} {shape}, which brings the network to more than {self.most:,} values"
            )


def _with_whole_strides(flat: Flat) -> dict[str, StoredNode]:
    """Give pools of stride 1 the stride of their windows, as a writer of 2023 meant them."""
    return {
        name: StoredNode(node.kind, {**node.values, "stride": node.values["kernel_size"]})
        for name, node in flat.nodes.items()
        if node.kind in ("SumPool2d", "AvgPool2d")
        and {"stride", "kernel_size"} <= set(node.values)
        and _all(node.values["stride"], lambda v: v == 1)
        and not _all(node.values["kernel_size"], lambda v: v <= 1)
    }


def _all(value: Any, holds: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and bool(holds(value).all())


_Values = Mapping[str, Any]
_Make = Callable[[_Values, Shape | None, "_Say"], Node]


class _Say:
    """Collects what was repaired about one node."""

    def __init__(self, flat: Flat, name: str) -> None:
        self.flat, self.name = flat, name

    def __call__(self, text: str) -> None:
        self.flat.notes.append(Note(self.name, text))


def _along_edges(flat: Flat, done: Mapping[str, Node]) -> Iterator[tuple[str, Shape | None]]:
    """Give (node, shape it receives or None), a node after one of those before it."""
    place = {name: i for i, name in enumerate(flat.nodes)}
    waiting = dict.fromkeys(flat.nodes)
    ready = [n for n, node in flat.nodes.items() if node.kind == "Input"]
    while waiting:
        reached: set[str] = set()
        for name in ready or [next(iter(waiting))]:
            del waiting[name]
            before = flat.before(name)
            known = [done[a] for a in before if a in done]
            # What comes after a node that could not be converted has been named with it.
            if known or all(a in waiting for a in before):
                yield name, output_shape(known[0]) if known else None
            if name in done:
                reached.update(n for n in flat.after(name) if n in waiting)
        ready = sorted((n for n in reached if n in waiting), key=place.__getitem__)


def _node(
    node: StoredNode,
    shape: Shape | None,
    after: list[StoredNode],
    reset: Reset,
    largest: int,
    say: _Say,
) -> Node:
    values = node.values
    match node.kind:
        case "Input":
            return Input(_input_shape(values, after, say), largest)
        case "Output":
            return Output(_output_shape(values, shape, say))
        case "Flatten":
            return _flatten(values, shape, after, say)
        case "I" | "LI" | "CubaLI" | "IF" | "LIF" | "CubaLIF":
            return _neuron(node, shape, reset, say)
        case _ if node.kind in SIMPLE:
            return SIMPLE[node.kind](values, shape, say)
        case kind if kind == THROUGH:
            return Scale(np.ones(_needed(shape)))
        case _:
            raise ValueError(f"{node.kind} is not a node type of NIR")


def _input_shape(values: _Values, after: list[StoredNode], say: _Say) -> Shape:
    """Take the stored shape; an axis more than the next node takes is time or batch."""
    stored = _shape(values["shape"]) if "shape" in values else None
    for node in after:
        wanted = _wanted(node)
        if wanted is None:
            continue
        if stored is None:
            say(f"shape taken from the next node: {wanted}")
            return wanted
        if len(stored) > len(wanted) and stored[-len(wanted) :] == wanted:
            say(f"shape {stored} has a time or batch axis; taken as {wanted}")
            return wanted
        if size_of(stored) == size_of(wanted) and len(stored) < len(wanted):
            say(f"shape {stored} taken as {wanted}")
            return wanted
    if stored is None:
        raise ValueError("its shape is not stored and the next node does not tell it")
    kinds = {node.kind: CONVOLUTIONS.get(node.kind) for node in after}
    for kind, dimensions in kinds.items():
        if dimensions and len(stored) == dimensions + 1:
            say(f"shape {stored} has a time or batch axis for {kind}; taken as {stored[1:]}")
            return stored[1:]
    return stored


def _wanted(node: StoredNode) -> Shape | None:
    """Return the shape a node says it takes, if it does."""
    values = node.values
    dims = {k: v.shape for k, v in values.items() if isinstance(v, np.ndarray)}
    weight = dims.get("weight", ())
    if node.kind in LINEAR and weight:
        return (weight[-1],)
    if node.kind in ("Conv1d", "Conv2d") and len(weight) > 1 and "input_shape" in dims:
        sides = _ints(values["input_shape"])
        channels = weight[1] * _int(values, "groups", 1)
        sides = sides * (CONVOLUTIONS[node.kind] - 1) if len(sides) == 1 else sides
        return (channels, *sides)
    return dims.get("v_threshold", dims.get("v_leak")) or None


def _output_shape(values: _Values, shape: Shape | None, say: _Say) -> Shape:
    stored = _ints(values["shape"]) if "shape" in values else None
    if shape is None:
        if not stored:
            raise ValueError("nothing leads to it and it has no shape")
        return _shape(stored)
    if stored is None or stored == shape:
        return shape
    batched = len(stored) > len(shape) and stored[-len(shape) :] == shape
    if size_of(stored) == size_of(shape) and not batched:
        return _shape(stored)
    say(f"shape {stored} does not match what arrives; taken as {shape}")
    return shape


def _flattened(node: StoredNode, shape: Shape, say: _Say) -> Flatten | None:
    """Return the Flatten that an image needs in front of a linear map, if it does."""
    if size_of(shape) not in np.shape(node.values["weight"]):
        return None
    say(f"takes a vector but {shape} arrives; flattened in between")
    return Flatten(shape)


def _affine(values: _Values, shape: Shape | None, say: _Say) -> Affine:
    weight = _weight(values, 2, "[out, in]")
    bias = None if values.get("bias") is None else numbers(values["bias"]).reshape(-1)
    arrives = None if shape is None else size_of(shape)
    turned = arrives == weight.shape[0] != weight.shape[1]
    if turned and (bias is None or bias.size == weight.shape[1]):
        say(f"weight {weight.shape} is transposed (as Spyx writes it); taken as [out, in]")
        weight = weight.T
    if arrives not in (None, weight.shape[1]):
        raise ValueError(f"takes {weight.shape[1]} values but {arrives} arrive")
    if bias is None:
        bias = np.zeros(weight.shape[0])
    return Affine(weight, np.broadcast_to(bias, weight.shape[:1]) if bias.size == 1 else bias)


def _conv2d(values: _Values, shape: Shape | None, say: _Say) -> Conv2d:
    weight = _weight(values, 4, "[out, in, height, width]")
    groups = _int(values, "groups", 1)
    image = _conv_input(values, shape, (weight.shape[1] * groups,), 2, say)
    stride, dilation = _pair(values["stride"]), _pair(values["dilation"])
    weight, padding = _padding(weight, values["padding"], stride, dilation)
    kernel = Conv(weight, (image[0], image[1], image[2]), stride, padding, dilation, groups)
    return Conv2d(kernel, _bias(values, weight))


def _conv1d(values: _Values, shape: Shape | None, say: _Say) -> Conv1d:
    weight = _weight(values, 3, "[out, in, length]")[:, :, None, :]
    groups = _int(values, "groups", 1)
    image = _conv_input(values, shape, (weight.shape[1] * groups,), 1, say)
    stride, dilation = ((1, _int(values, k)) for k in ("stride", "dilation"))
    given = values["padding"]
    given = given if isinstance(given, str) else np.array((0, _int(values, "padding")))
    weight, padding = _padding(weight, given, stride, dilation)
    kernel = Conv(weight, (image[0], 1, image[1]), stride, padding, dilation, groups)
    return Conv1d(kernel, _bias(values, weight))


def _conv_input(
    values: _Values, shape: Shape | None, channels: Shape, sides: int, say: _Say
) -> Shape:
    """Return what arrives; the stored sides only where nothing tells what arrives."""
    stored = _ints(values["input_shape"]) if values.get("input_shape") is not None else None
    if shape is None:
        if stored is None:
            raise ValueError("has no input_shape, and nothing before it tells it")
        return _shape((*channels, *(stored * sides if len(stored) == 1 else stored)))
    if len(shape) != sides + 1:
        raise ValueError(f"takes {sides + 1} dimensions, channels first, but {shape} arrives")
    if stored is None:
        say(f"no input_shape; {shape[1:]} from what comes before")
    elif (stored * sides if len(stored) == 1 else stored) != shape[1:]:
        say(f"input_shape {stored} taken as {shape[1:]}, which arrives")
    return shape


def _padding(
    weight: NDArray[np.float64], given: Any, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Resolve 'same' and 'valid'."""
    if not isinstance(given, str):
        return weight, _pair(given)
    if given not in ("same", "valid"):
        raise ValueError(f"unknown padding {given!r}")
    if given == "valid":
        return weight, (0, 0)
    if stride != (1, 1):
        raise ValueError("'same' padding needs stride 1")
    return same_padding(weight, dilation)


def _bias(values: _Values, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    bias = values.get("bias")
    return np.broadcast_to(numbers(0.0 if bias is None else bias), weight.shape[:1])


def _flatten(values: _Values, shape: Shape | None, after: list[StoredNode], say: _Say) -> Flatten:
    if shape is None:
        shape = _shape(values["input_type"])
    first, last = _int(values, "start_dim", 1), _int(values, "end_dim", -1)
    whole = Flatten(shape)
    try:
        exact = Flatten(shape, first, last)
    except ValueError:
        exact = None
    wants_vector = any(
        n.kind in LINEAR and size_of(shape) in np.shape(n.values.get("weight", 0)) for n in after
    )
    if exact is None or (len(output_shape(exact)) > 1 and wants_vector):
        say(f"start_dim {first} counts a batch axis that is not there; {shape} flattened whole")
        return whole
    return exact


NEURONS: Mapping[str, tuple[str, ...]] = {  # NIR's fields, in its names
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak", "w_in"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
}
OURS = {"tau_mem": "tau", "tau_syn": "tau_synapse"}
ABSENT = {"v_reset": 0.0, "w_in": 1.0}  # what older versions did not store


def _neuron(node: StoredNode, shape: Shape | None, reset: Reset, say: _Say) -> Lif | Leaky:
    raw: dict[str, NDArray[np.float64]] = {}
    for key in NEURONS[node.kind]:
        value = node.values.get(key)
        if value is None and key in ABSENT:
            say(f"no {key}, taken as {ABSENT[key]:g}")
            value = ABSENT[key]
        raw[OURS.get(key, key)] = numbers(node.values[key] if value is None else value)
    full = _population(raw, shape)
    fields: dict[str, Any] = {k: _fitted(k, v, full, say) for k, v in raw.items()}
    fields.setdefault("tau", np.array(np.inf))
    fields.setdefault("v_leak", np.zeros(()))
    if node.kind in ("I", "LI", "CubaLI"):
        return Leaky(full, **fields)
    return Lif(full, reset=reset, **fields)


def _population(raw: Mapping[str, NDArray[np.float64]], shape: Shape | None) -> Shape:
    """Return the population's shape: the parameters' own if as many arrive, or what arrives."""
    own = max((v.shape for v in raw.values()), key=lambda s: (size_of(s), len(s)))
    if shape is None:
        return own or (1,)
    batched = len(own) > len(shape) and own[-len(shape) :] == shape
    return own if size_of(own) == size_of(shape) and own and not batched else shape


def _fitted(key: str, value: NDArray[np.float64], shape: Shape, say: _Say) -> NDArray[np.float64]:
    """Fit a parameter to its population; one value stays a scalar."""
    if value.shape == shape:
        return value
    if value.size == 1:
        if value.ndim == 0 and key not in ABSENT:
            say("scalar parameters, taken for each of its neurons")
        return value.reshape(())
    if value.size == size_of(shape):
        say(f"parameters of shape {value.shape} for {shape} neurons; reshaped")
        return value.reshape(shape)
    if value.ndim < len(shape) and value.shape == shape[-value.ndim :]:
        say(f"parameters of shape {value.shape} lost an axis of {shape}; repeated along it")
        return np.broadcast_to(value, shape)
    if value.ndim == len(shape) == 1 and np.unique(value).size == 1:
        say(f"parameters for {value.size} neurons, {shape[0]} are there; all equal, so taken")
        return value[0].reshape(())
    raise ValueError(f"parameters are for {value.shape} neurons but {shape} arrives")


def _spread(value: Any, shape: Shape | None, key: str, say: _Say) -> NDArray[np.float64]:
    array = numbers(value)
    shape = shape or array.shape or (1,)
    return np.broadcast_to(_fitted(key, array, shape, say), shape)


def _weight(values: _Values, dimensions: int, meaning: str) -> NDArray[np.float64]:
    weight = numbers(values["weight"])
    if weight.ndim != dimensions:
        raise ValueError(f"weight has {weight.ndim} dimensions; only {meaning} is read")
    return weight


def _needed(shape: Shape | None) -> Shape:
    if shape is None:
        raise ValueError("nothing before it tells its shape")
    return shape


def _image(shape: Shape | None) -> tuple[int, int, int]:
    shape = _needed(shape)
    if len(shape) != 3:
        raise ValueError(f"takes an image [C, H, W], but {shape} arrives")
    return (shape[0], shape[1], shape[2])


def _ints(value: Any) -> tuple[int, ...]:
    """Return a few whole numbers, such as a shape."""
    found = numbers(value).reshape(-1)
    if found.size > MOST_AXES:
        raise ValueError(f"holds {found.size} numbers where a few belong")
    if not (np.abs(found) < 1 << 31).all() or (found != np.rint(found)).any():
        raise ValueError(f"holds {found.tolist()} for whole numbers, which makes no sense")
    return tuple(int(n) for n in found)


def _int(values: _Values, key: str, default: int | None = None) -> int:
    if default is not None and values.get(key) is None:
        return default
    found = _ints(values[key])
    if len(found) != 1:
        raise ValueError(f"{key} holds {len(found)} numbers, not one")
    return found[0]


def _shape(value: Any) -> Shape:
    shape = _ints(value)
    if not shape or min(shape) < 1 or size_of(shape) > LARGEST:
        raise ValueError(f"shape {shape} makes no sense")
    return shape


def _pair(value: Any) -> tuple[int, int]:
    found = _ints(value)
    if len(found) not in (1, 2):
        raise ValueError(f"holds {len(found)} numbers where one or two belong")
    return found[0], found[-1]


def _pool(average: bool) -> _Make:
    def make(values: _Values, shape: Shape | None, say: _Say) -> Pool2d:
        windows = (_pair(values[k]) for k in ("kernel_size", "stride", "padding"))
        return Pool2d(_image(shape), *windows, average=average)

    return make


SIMPLE: Mapping[str, _Make] = {
    "Affine": _affine,
    "Linear": _affine,
    "Conv1d": _conv1d,
    "Conv2d": _conv2d,
    "SumPool2d": _pool(average=False),
    "AvgPool2d": _pool(average=True),
    "Scale": lambda v, shape, say: Scale(_spread(v["scale"], shape, "scale", say)),
    "Delay": lambda v, shape, say: Delay(_spread(v["delay"], shape, "delay", say)),
    "Threshold": lambda v, shape, say: Threshold(_spread(v["threshold"], shape, "", say)),
}
