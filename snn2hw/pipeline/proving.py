"""Proofs: a build, or a part of it, compared value by value with a vendor's simulator.

A part is run with what its sources sent in our simulation of the whole. If every population is
equal to the vendor's when it is fed so, then, from the inputs on and step by step, the whole is.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snn2hw import families
from snn2hw.errors import InputError, UnsupportedError, listed, sized
from snn2hw.families.family import Run, Vendor
from snn2hw.files import scratch
from snn2hw.ir import trace as traced
from snn2hw.ir.program import Program
from snn2hw.ir.trace import Trace
from snn2hw.pipeline.port import Ints
from snn2hw.resources import check_memory, memory_left
from snn2hw.simulate import compare, part
from snn2hw.simulate.inputs import check_inputs
from snn2hw.simulate.part import Load, Selection
from snn2hw.store import program as program_file

EACH = "each"
Progress = Callable[[int, int], None]
Document = dict[str, Any]


def compare_with_vendor(
    program: Program,
    inputs: Mapping[str, Ints],
    file: Path,
    vendor_file: Path | None,
    parts: Sequence[str] = (),
    neurons: str | Sequence[Any] | None = None,
    progress: Progress | None = None,
) -> Document:
    """Run samples here and in the vendor's simulator and compare every spike and state.

    Through ``program.h5``, and, where there is one, through the vendor's own file and its loader
    as well; a part through a ``program.h5`` of its own.

    Args:
        program: the whole.
        inputs: for each input port, integers ``[N, T, *shape]``.
        file: ``program.h5``.
        vendor_file: the vendor's, if there is one.
        parts: populations (``part.chosen``), or ``each`` for all of them, one after the other;
            none is the whole.
        neurons: some of the last of them (``part.box_of``).
        progress: called with (parts done, parts).

    Returns:
        The document of ``snn2hw verify --json``. ``sample_steps`` are those of a sample, in which
        each layer is compared, in a window of its own; ``steps`` are the chip's until the last
        layer is done.

    Raises:
        InputError: names no part, or there is not the memory for it.
        UnsupportedError: the vendor's simulator runs no parts.
    """
    picked = None if not parts and neurons is None else _picked(program, parts, neurons)
    vendor = _vendor(program)
    if isinstance(vendor, str):
        nothing = {"samples": 0, "steps": 0, "compared": 0, "mismatches": 0, "first": None}
        return {"against": None, "reason": vendor, **nothing}
    against = {"against": vendor.environment.title}
    if picked is None:
        return against | _whole(program, inputs, vendor, file, vendor_file)
    if vendor.memory is None:
        raise UnsupportedError(
            f"{vendor.environment.title} runs whole builds for {program.target.title}, no parts of "
            "them.",
            "Leave out --part and --neurons, in Python part= and neurons=.",
        )
    if isinstance(picked, str):
        return against | _each(program, inputs, vendor, progress)
    load = _load(program, inputs, picked)
    check_memory(
        vendor.memory(load),
        f"{_told(picked)} in {vendor.environment.title}",
        _smaller(picked, *check_inputs(program, inputs)),
    )
    return against | _joined([_part(program, inputs, vendor, picked)])


def _smaller(picked: Selection, samples: int, steps: int) -> str:
    """Say what would need less memory than a part and these samples."""
    last = picked.names[-1]
    size = picked.keep[last].size
    ways = [
        *([f"fewer neurons of {last} than {size:,} (--neurons, in Python neurons=)"] * (size > 1)),
        *(["fewer populations (--part, in Python part=)"] * (len(picked.names) > 1)),
        *(["fewer samples"] * (samples > 1)),
        *(["samples of fewer steps"] * (steps > 1)),
    ]
    return f"Take {' or '.join(ways or ['another population'])}."


def _picked(
    program: Program, parts: Sequence[str], neurons: str | Sequence[Any] | None
) -> Selection | str:
    """Return the part that is meant, or ``each``."""
    net = program.network
    known = [p.name for p in net.populations]
    if not parts:
        raise InputError(
            "The neurons are given without their population.",
            "Name it with --part, in Python with part=.",
        )
    if EACH in parts and EACH not in known:
        if len(parts) > 1 or neurons is not None:
            raise InputError(
                "The part 'each' stands for all populations, one after the other.",
                "Give it alone, without other parts and without neurons.",
            )
        return EACH
    names = part.chosen(net, parts)
    last = names[-1]
    box = None if neurons is None else part.box_of(neurons, last, net.shape(last))
    return part.select(net, names, box)


def _vendor(program: Program) -> Vendor | str:
    """Return a simulator that counts as the target does and is installed, or why there is none."""
    family = families.of(program.target)
    simulators = families.simulators(program.target)
    if not simulators:
        why = [f"{k}: {v.why_not(program.target)}" for k, v in family.vendors.items()]
        known = f" ({listed(why, '; ')})" if why else ""
        return f"No vendor's simulator counts as {program.target.title} does{known}."
    vendor = next((v for v in simulators.values() if v.environment.interpreter is not None), None)
    if vendor is None:
        them = [v.environment for v in simulators.values()]
        ways = " or ".join(e.install_command for e in them)
        return f"{' or '.join(e.title for e in them)} is not installed. Run: {ways}"
    return vendor


def _whole(
    program: Program,
    inputs: Mapping[str, Ints],
    vendor: Vendor,
    file: Path,
    vendor_file: Path | None,
) -> Document:
    samples, steps = check_inputs(program, inputs)
    if vendor.memory is not None:
        check_memory(
            vendor.memory(_load(program, inputs, part.everything(program.network))),
            f"The whole program in {vendor.environment.title}",
            "Verify it in parts: --part NAME or --part each, in Python part=.",
        )
    ours = families.of(program.target).run(program, inputs, states=True)
    paths = [
        _path(ours, vendor.run(program, inputs, program_file=file, vendor_file=through))
        for through in dict.fromkeys((None, vendor_file))
    ]
    return {
        "samples": samples, "steps": program.chip_steps(steps), "sample_steps": steps,
        "compared": sum(p["compared"] for p in paths),
        "mismatches": sum(p["mismatches"] for p in paths),
        "first": next((p["first"] for p in paths if p["first"]), None), "paths": paths,
    }  # fmt: skip


def _path(ours: Trace, done: Run) -> Document:
    found = compare.traces(ours, done.trace)
    return {"through": done.through, "processes": dict(done.processes), **found.json()}


def _load(program: Program, inputs: Mapping[str, Ints], some: Selection) -> Load:
    samples, steps = check_inputs(program, inputs)
    return part.load(program, some, samples * steps)


def _told(some: Selection) -> str:
    """Name a part."""
    window = "" if some.window is None else f" [{_window(some)}]"
    return f"{listed(some.names, most=400)}{window}"


def _window(some: Selection) -> str:
    return ",".join(f"{r.start}:{r.stop}" for r in some.window or ())


def _part(
    program: Program, inputs: Mapping[str, Ints], vendor: Vendor, some: Selection
) -> Document:
    """Run a part with what its sources sent, and compare what its populations did."""
    values, ours = _recorded(program, inputs, some)
    small = part.as_program(program, some, values)
    with scratch(Path(tempfile.gettempdir())) as here:
        file = here / "program.h5"
        program_file.write(file, small)
        done = vendor.run(small, values, program_file=file, vendor_file=None)
    path = _path(ours, done)
    if path["first"] is not None:  # neurons are told by their numbers in the whole
        path["first"]["neuron"] = int(some.keep[path["first"]["layer"]][path["first"]["neuron"]])
    sizes = {k: some.keep[k].size for k in some.names}
    return {
        "populations": {
            k: {"neurons": n, "of": program.network.population(k).size} for k, n in sizes.items()
        },
        "window": None if some.window is None else _window(some),
        "sources": {k: some.keep[k].size for k in some.sources},
        "samples": ours.samples, "steps": small.chip_steps(ours.steps), "sample_steps": ours.steps,
        **path,
    }  # fmt: skip


def _recorded(
    program: Program, inputs: Mapping[str, Ints], some: Selection, memory: int = 1 << 28
) -> tuple[dict[str, Ints], Trace]:
    """Run the whole, some samples at a time, and keep the part: its sources, and all of its own."""
    net, run = program.network, families.of(program.target).run
    samples, steps = check_inputs(program, inputs)
    layers = {*some.names, *some.sources} - {p.name for p in net.inputs}
    each = 9 * steps * sum(net.population(k).size for k in layers)
    batch, kept = max(1, memory // each), list[tuple[dict[str, Ints], Trace]]()
    for start in range(0, samples, batch):
        piece = {k: x[start : start + batch] for k, x in inputs.items()}
        trace = run(program, piece, states=True, layers=layers)
        kept.append((part.recorded(net, some, piece, trace), part.cut(net, some, trace)))
    values = {k: np.concatenate([v[k] for v, _ in kept]) for k in kept[0][0]}
    return values, traced.join([t for _, t in kept], sum(t.seconds for _, t in kept))


def _each(
    program: Program, inputs: Mapping[str, Ints], vendor: Vendor, progress: Progress | None
) -> Document:
    """Verify every population by itself, in as many windows as memory asks for."""
    names = [p.name for p in program.network.populations]
    samples, _ = check_inputs(program, inputs)
    found, left_out = list[Document](), list[Document]()
    for i, name in enumerate(names):
        for some, need in _pieces(program, inputs, vendor, name):
            if need > memory_left():
                left_out.append({"part": _told(some), "bytes": int(need)})
            else:
                found.append(_part(program, inputs, vendor, some))
        if progress:
            progress(i + 1, len(names))
    if not found:
        first = left_out[0]
        raise InputError(
            f"No population fits into memory in {vendor.environment.title}: {first['part']} alone "
            f"needs {sized(first['bytes'])}, and {sized(memory_left())} are free.",
            "Take fewer samples (--samples)." if samples > 1 else "Take samples of fewer steps.",
        )
    return _joined(found) | {"left_out": left_out}


def _pieces(
    program: Program, inputs: Mapping[str, Ints], vendor: Vendor, name: str
) -> Iterator[tuple[Selection, float]]:
    """Cut a population into windows that fit into memory, and say how many bytes each takes."""
    assert vendor.memory is not None
    # Half of what is free now, as others take memory while the pieces run.
    shape, limit = program.network.shape(name), memory_left() / 2
    whole = tuple(slice(0, n) for n in shape)
    todo = [whole]
    while todo:
        box = todo.pop()
        some = part.select(program.network, [name], None if box == whole else box)
        need = vendor.memory(_load(program, inputs, some))
        smaller = part.halves(box)
        grown = some.keep[name].size > math.prod(r.stop - r.start for r in box)  # over a loop
        if need <= limit or grown or len(smaller) == 1:
            yield some, need
        else:
            todo += reversed(smaller)


def _joined(found: Sequence[Document]) -> Document:
    """Return the document about some parts."""
    processes, values = Counter[str](), dict[str, None]()
    for one in found:
        processes.update(one["processes"])
        values |= dict.fromkeys(one["values"])
    firsts = [one["first"] for one in found if one["first"]]
    total: Document = {k: sum(one[k] for one in found) for k in ("compared", "mismatches")}
    total["first"] = min(firsts, key=lambda first: first["step"], default=None)
    path = {
        "through": "program.h5 of the part" if len(found) == 1 else "program.h5 of each part",
        "processes": dict(processes), "values": list(values), **total,
    }  # fmt: skip
    told = ("populations", "window", "sources", "compared", "mismatches", "first")
    return {
        "samples": found[0]["samples"], "steps": max(one["steps"] for one in found),
        "sample_steps": found[0]["sample_steps"], **total,
        "paths": [path], "parts": [{k: one[k] for k in told} for one in found],
    }  # fmt: skip
