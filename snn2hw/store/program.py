"""``program.h5``: a program as integers, whatever its graph.

Layout (format 3). Attributes of the root: ``format``, ``version``, ``target``, ``time_steps``,
``dt``, ``output`` and the arithmetic (``numbers.*``). Groups, numbered in order:

* ``inputs/<i>``: attributes name, shape, max_value, min_value, gain, offset.
* ``populations/<i>``: attributes kind (Lif, Delta, SigmaDelta, Sigma, Graded, Resonator), phase,
  and the fields of that class in ``ir/populations.py`` (driven_by is empty where there is none);
  dataset ``bias [size]``.
* ``connections/<i>``: attributes pre, post, kind, part (real or imag: of a complex state),
  exponent, delay (in the sample's own time), chip_delay (chip steps from spike to effect); dataset
  ``weight`` (dense ``[post, pre]``; conv ``[out, in / groups, kh, kw]`` with attributes
  input_shape, stride, padding, dilation, groups; sparse: values, with ``indices``, ``indptr`` and
  attribute pre_size).

The Lava runner reads the same file with nothing but h5py, so the layout is kept plain.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.hdf5 import Hdf5, new_hdf5, open_hdf5
from snn2hw.ir import populations as chip
from snn2hw.ir.integer import Connection, InputPort, IntNetwork, Numbers, Part
from snn2hw.ir.placement import Placement
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, Sparse, Synapses

KINDS = {k.__name__: k for k in get_args(chip.Population)}
FORMAT, VERSION = "snn2hw-program", 3


def write(path: Path, program: Program) -> None:
    """Write a program; the same program gives the same bytes."""
    net = program.network
    with new_hdf5(path) as file:
        file.attrs.update(
            format=FORMAT, version=VERSION, target=program.target, time_steps=net.time_steps,
            dt=net.dt, output=net.output,
        )  # fmt: skip
        file.attrs.update({f"numbers.{k}": v for k, v in asdict(net.numbers).items()})
        inputs, populations, connections = (
            file.create_group(k) for k in ("inputs", "populations", "connections")
        )
        for i, port in enumerate(net.inputs):
            group = inputs.create_group(f"{i:04d}")
            group.attrs.update(asdict(port))
        for i, p in enumerate(net.populations):
            group = populations.create_group(f"{i:04d}")
            group.attrs.update(kind=type(p).__name__, phase=program.phase[p.name])
            for field in fields(p):
                value = getattr(p, field.name)
                if field.name == "bias":
                    _dataset(group, "bias", value)
                else:
                    group.attrs[field.name] = "" if value is None else value
        for i, (c, delay) in enumerate(zip(net.connections, program.delays, strict=True)):
            group = connections.create_group(f"{i:04d}")
            group.attrs.update(
                pre=c.pre, post=c.post, kind=c.synapses.kind, part=c.part, exponent=c.exponent,
                delay=c.delay, chip_delay=delay,
            )  # fmt: skip
            _write_synapses(group, c.synapses)


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


def read(path: Path, placement: Placement) -> Program:
    """Read a program back and check it as strictly as when it was made.

    Raises:
        InputError: if the file is not a program of this format.
    """
    with open_hdf5(path, "a program") as file:
        if file.attrs.get("format") != FORMAT:
            raise InputError(f"{path} is not a program of snn2hw.")
        if int(file.attrs["version"]) != VERSION:
            raise InputError(
                f"{path} is of format {file.attrs['version']}, this snn2hw reads {VERSION}.",
                "Export the network again.",
            )
        populations = [_population(g) for g in _groups(file, "populations")]
        connections = [_connection(g) for g in _groups(file, "connections")]
        net = IntNetwork(
            inputs=tuple(_port(g) for g in _groups(file, "inputs")),
            populations=tuple(p for p, _ in populations),
            connections=tuple(c for c, _ in connections),
            output=str(file.attrs["output"]),
            dt=float(file.attrs["dt"]),
            time_steps=int(file.attrs["time_steps"]),
            numbers=Numbers(
                **{f.name: int(file.attrs[f"numbers.{f.name}"]) for f in fields(Numbers)}
            ),
            rounding={},
        )
        phase = {p.name: 0 for p in net.inputs} | {p.name: at for p, at in populations}
        delays = tuple(d for _, d in connections)
        return Program(net, phase, delays, placement, str(file.attrs["target"]))


def _groups(file: Hdf5, name: str) -> list[Hdf5]:
    return [file[name][k] for k in sorted(file[name])]


def _ints(value: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in np.atleast_1d(value))


def _port(group: Hdf5) -> InputPort:
    a = group.attrs
    numbers = {k: int(a[k]) for k in ("max_value", "min_value", "gain", "offset")}
    return InputPort(str(a["name"]), _ints(a["shape"]), **numbers)


def _population(group: Hdf5) -> tuple[chip.Population, int]:
    a = group.attrs
    if a["kind"] not in KINDS:
        raise ValueError(f"unknown kind of population {a['kind']!r}")
    kind = KINDS[a["kind"]]
    values: dict[str, Any] = {}
    for field in fields(kind):
        match field.name:
            case "bias":
                values["bias"] = group["bias"][()]
            case "shape":
                values["shape"] = _ints(a["shape"])
            case "name":
                values["name"] = str(a["name"])
            case "driven_by":
                values["driven_by"] = str(a["driven_by"]) or None
            case "resets":
                values["resets"] = bool(a["resets"])
            case _:
                values[field.name] = int(a[field.name])
    return kind(**values), int(a["phase"])


def _connection(group: Hdf5) -> tuple[Connection, int]:
    a = group.attrs
    weight = group["weight"][()].astype(np.int32)
    synapses: Synapses
    if a["kind"] == "dense":
        synapses = Dense(weight)
    elif a["kind"] == "sparse":
        synapses = Sparse(weight, group["indices"][()], group["indptr"][()], int(a["pre_size"]))
    elif a["kind"] == "conv":
        shape, stride, padding, dilation = (
            _ints(a[k]) for k in ("input_shape", "stride", "padding", "dilation")
        )
        synapses = Conv(
            weight,
            (shape[0], shape[1], shape[2]),
            (stride[0], stride[1]),
            (padding[0], padding[1]),
            (dilation[0], dilation[1]),
            int(a["groups"]),
        )
    else:
        raise ValueError(f"unknown kind of synapses {a['kind']!r}")
    part: Part = "imag" if a["part"] == "imag" else "real"
    made = Connection(
        str(a["pre"]), str(a["post"]), synapses, int(a["exponent"]), int(a["delay"]), part
    )
    return made, int(a["chip_delay"])
