"""``program.h5``: a program as integers, whatever its graph.

Layout (format 4). Attributes of the root: ``format``, ``version``, ``target``, ``time_steps``,
``dt`` and the arithmetic (``numbers.*``; one of the family's later ones is left out where it is the
usual one). Groups, numbered in order:

* ``inputs/<i>``: attributes name, shape, max_value, min_value, gain, offset; fed_gain and
  fed_offset of a float network whose author fed other numbers. Where a part of a program is run
  alone, also phase; such files are for simulators and are not read back.
* ``populations/<i>``: attributes kind, phase, and the fields of that class among the family's
  populations (a text is empty where there is none); arrays, such as ``bias [size]``, are datasets.
* ``connections/<i>``: attributes pre, post, kind, part (which of a neuron's states takes it),
  exponent, delay (in the sample's own time), chip_delay (chip steps from spike to effect); dataset
  ``weight`` (dense ``[post, pre]``; conv ``[out, in / groups, kh, kw]`` with attributes
  input_shape, stride, padding, dilation, groups; sparse: values, with ``indices``, ``indptr`` and
  attribute pre_size).
* ``outputs/<i>``: attributes name, population (whose spikes or messages are its answer).

Vendors' runners read the same file with nothing but h5py, so the layout is kept plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import families
from snn2hw.errors import InputError
from snn2hw.files import reading
from snn2hw.hdf5 import Group, Hdf5, Item, described, new_hdf5, numbers, read_hdf5
from snn2hw.ir.integer import Connection, DigitPort, Fed, InputPort, IntNetwork
from snn2hw.ir.placement import Placement
from snn2hw.ir.populations import Population
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, Pair, Sparse, Synapses
from snn2hw.ir.target import Target

FORMAT, VERSION = "snn2hw-program", 4


def write(path: Path, program: Program) -> None:
    """Write a program; the same program gives the same bytes."""
    net = program.network
    with new_hdf5(path) as file:
        file.attrs.update(
            format=FORMAT, version=VERSION, target=program.target.name, time_steps=net.time_steps,
            dt=net.dt,
        )  # fmt: skip
        file.attrs.update(_arithmetic(program))
        inputs, populations, connections, outputs = (
            file.create_group(k) for k in ("inputs", "populations", "connections", "outputs")
        )
        for i, port in enumerate(net.inputs):
            group = inputs.create_group(f"{i:04d}")
            group.attrs.update({k: v for k, v in asdict(port).items() if k != "fed"})
            if program.phase[port.name]:
                group.attrs["phase"] = program.phase[port.name]
            if port.fed is not None:
                group.attrs.update(fed_gain=port.fed.gain, fed_offset=port.fed.offset)
        for i, p in enumerate(net.populations):
            group = populations.create_group(f"{i:04d}")
            group.attrs.update(kind=type(p).__name__, phase=program.phase[p.name])
            known: Any = p
            for field in fields(known):
                value = getattr(p, field.name)
                if isinstance(value, np.ndarray):
                    _dataset(group, field.name, value)
                else:
                    group.attrs[field.name] = "" if value is None else value
        for i, (c, delay) in enumerate(zip(net.connections, program.delays, strict=True)):
            group = connections.create_group(f"{i:04d}")
            group.attrs.update(
                pre=c.pre, post=c.post, kind=c.synapses.kind, part=c.part, exponent=c.exponent,
                delay=c.delay, chip_delay=delay,
            )  # fmt: skip
            _write_synapses(group, c.synapses)
        for i, (name, population) in enumerate(net.outputs.items()):
            outputs.create_group(f"{i:04d}").attrs.update(name=name, population=population)


def _arithmetic(program: Program) -> dict[str, int]:
    """Return the numbers as attributes; of those that came later, what is not as it was before."""
    schema = families.of(program.target).schema
    given: Any = program.network.numbers
    usual = {f.name: f.default for f in fields(given)}
    before = {k for k in schema.later if getattr(given, k) == usual[k]}
    return {f"numbers.{k}": v for k, v in asdict(given).items() if k not in before}


def _dataset(group: Hdf5, name: str, values: NDArray[Any]) -> None:
    group.create_dataset(
        name,
        data=values.astype("<i2" if name == "weight" else "<i4"),
        compression="gzip" if values.size else None,
    )


def _write_synapses(group: Hdf5, synapses: Synapses) -> None:
    _dataset(group, "weight", synapses.weight)
    if isinstance(synapses, Conv):
        group.attrs.update(
            input_shape=synapses.input_shape, stride=synapses.stride, groups=synapses.groups,
            padding=synapses.padding, dilation=synapses.dilation,
        )  # fmt: skip
    elif isinstance(synapses, Sparse):
        group.attrs["pre_size"] = synapses.pre_size
        _dataset(group, "indices", synapses.indices)
        _dataset(group, "indptr", synapses.indptr)


def read(path: Path, placement: Placement, target: Target) -> Program:
    """Read a program back and check it as strictly as when it was made.

    Args:
        path: the file.
        placement: which neurons sit where.
        target: the chip that it was made for.

    Raises:
        InputError: if the file is not a program of this format.
    """
    family = families.of(target)
    with reading(path, "a program", "Export the network again."):
        file = read_hdf5(path, "a program")
        about = file.attrs
        if about.get("format") != FORMAT:
            raise InputError(f"{path} is not a program of snn2hw.")
        if _int(about, "version") != VERSION:
            raise InputError(
                f"{path} is of format {about['version']}, this snn2hw reads {VERSION}.",
                "Export the network again.",
            )
        populations = [_population(g, family.populations) for g in _groups(file, "populations")]
        connections = [_connection(g) for g in _groups(file, "connections")]
        net = IntNetwork(
            inputs=tuple(_port(g) for g in _groups(file, "inputs")),
            populations=tuple(p for p, _ in populations),
            connections=tuple(c for c, _ in connections),
            outputs=_outputs(file),
            dt=float(numbers(about["dt"])),
            time_steps=_int(about, "time_steps"),
            numbers=family.schema.numbers(
                **{
                    k: _int(about, f"numbers.{k}")
                    for k in family.schema.ranges
                    if f"numbers.{k}" in about or k not in family.schema.later
                }
            ),
            rounding={},
        )
        phase = {p.name: 0 for p in net.inputs} | {p.name: at for p, at in populations}
        delays = tuple(d for _, d in connections)
        if _text(about, "target") != target.name:
            raise InputError(f"{path} is a program for {about['target']}, not for {target.name}.")
        return Program(net, phase, delays, placement, target)


Facts = Mapping[str, Item]


def _groups(file: Group, name: str) -> list[Group]:
    parts = file.get(name)
    if not isinstance(parts, Group):
        raise ValueError(f"it has no {name}")
    found = [parts[k] for k in sorted(parts)]
    return [g for g in found if isinstance(g, Group)]


def _text(facts: Facts, key: str) -> str:
    value = facts[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {described(value)}, not a text")
    return value


def _int(facts: Facts, key: str) -> int:
    (value,) = _ints(facts, key, 1)
    return value


def _ints(facts: Facts, key: str, most: int = 8) -> tuple[int, ...]:
    """Read a few whole numbers that 32 bits hold."""
    value = numbers(facts[key])
    if value.size > most or not (np.abs(value) < 1 << 31).all() or (value != np.rint(value)).any():
        raise ValueError(f"{key} holds {value.size} numbers that make no sense")
    return tuple(int(n) for n in value.reshape(-1))


def _integers(group: Group, key: str) -> NDArray[np.int32]:
    """Read an array of integers that 32 bits hold."""
    value = group[key]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        raise ValueError(f"{key} is {described(value)}, not integers")
    made = value.astype(np.int32)
    if (made != value).any():
        raise ValueError(f"{key} holds integers beyond 32 bits")
    return made


def _outputs(file: Group) -> dict[str, str]:
    facts = [g.attrs for g in _groups(file, "outputs")]
    found = [(_text(a, "name"), _text(a, "population")) for a in facts]
    if len(dict(found)) != len(found):
        raise ValueError("two outputs share a name")
    return dict(found)


def _port(group: Group) -> InputPort:
    a = group.attrs
    values: dict[str, Any] = {k: _int(a, k) for k in ("max_value", "min_value", "gain", "offset")}
    if "fed_gain" in a:
        values["fed"] = _fed(a, _ints(a, "shape"))
    if "of" in a:
        values |= {k: _int(a, k) for k in ("digit", "most")}
        return DigitPort(_text(a, "name"), _ints(a, "shape"), **values, of=_text(a, "of"))
    return InputPort(_text(a, "name"), _ints(a, "shape"), **values)


def _fed(attrs: Mapping[str, Item], shape: Sequence[int]) -> Fed:
    gain, offset = (numbers(attrs[k]).reshape(-1) for k in ("fed_gain", "fed_offset"))
    if {gain.size, offset.size} - {1, shape[0]} or not np.isfinite([*gain, *offset]).all():
        raise ValueError("what its input is made of does not fit the input")
    return Fed(tuple(gain.tolist()), tuple(offset.tolist()))


def _population(group: Group, kinds: Mapping[str, type[Any]]) -> tuple[Population, int]:
    a = group.attrs
    kind = kinds.get(_text(a, "kind"))
    if kind is None:
        raise ValueError(f"unknown kind of population {a['kind']!r}")
    values: dict[str, Any] = {}
    for field in fields(kind):
        name = field.name
        match field.type:  # as it is written in the class
            case "str":
                values[name] = _text(a, name)
            case "str | None":
                values[name] = _text(a, name) or None
            case "Shape":
                values[name] = _ints(a, name)
            case "bool":
                values[name] = bool(_int(a, name))
            case "int":
                values[name] = _int(a, name)
            case _:
                values[name] = _integers(group, name)
    return kind(**values), _int(a, "phase")


def _connection(group: Group) -> tuple[Connection, int]:
    a = group.attrs
    weight, kind = _integers(group, "weight"), _text(a, "kind")
    synapses: Synapses
    if kind == "dense":
        synapses = Dense(weight)
    elif kind == "sparse":
        ends = (_integers(group, "indices"), _integers(group, "indptr"))
        synapses = Sparse(weight, *ends, _int(a, "pre_size"))
    elif kind == "conv":
        channels, height, width = _ints(a, "input_shape")
        stride, padding, dilation = (_pair(a, k) for k in ("stride", "padding", "dilation"))
        image = (channels, height, width)
        synapses = Conv(weight, image, stride, padding, dilation, _int(a, "groups"))
    else:
        raise ValueError(f"unknown kind of synapses {kind!r}")
    ends_of = _text(a, "pre"), _text(a, "post")
    made = Connection(*ends_of, synapses, _int(a, "exponent"), _int(a, "delay"), _text(a, "part"))
    return made, _int(a, "chip_delay")


def _pair(facts: Facts, key: str) -> Pair:
    first, second = _ints(facts, key)
    return first, second
