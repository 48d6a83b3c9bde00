"""Small valid files of every kind, made with the project and its test helpers.

A family's seeds are folders held in memory: what lies at which path. The same code gives the same
bytes; what a clock says in them is set to one second.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np
from nets import images
from nir_files import ONES
from system_calls import call_here

from snn2hw.ir.program import Program

Files = dict[str, bytes]


def contents(folder: Path) -> Files:
    """Return every file below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def packed(**arrays: Any) -> bytes:
    """Return arrays as the bytes of an npz file."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getvalue()


def inputs(ports: Mapping[str, Any]) -> bytes:
    """Return samples as ``--input`` reads them: ``x``, or an array for each of several ports."""
    return packed(**({"x": next(iter(ports.values()))} if len(ports) == 1 else ports))


def samples_of(program: Program) -> bytes:
    made = images(program.network, samples=2)
    return inputs({k: v // 16 if v.min() < 0 else v for k, v in made.items()})


def digits(classes: int = 2, shape: tuple[int, ...] = (1, 4, 4)) -> dict[str, Any]:
    """Return the arrays of a small data set."""
    r = np.random.default_rng(0)
    x = r.integers(0, 256, (12, *shape)).astype(np.uint8)
    y = np.arange(12) % classes
    return {"x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4]}


def taking(shape: tuple[int, ...], scratch: Path, steps: int = 2) -> Files:
    """Return a build of three neurons that takes images of a shape from 0 to 255."""
    r, size = np.random.default_rng(0), int(np.prod(shape))
    listens = np.arange(size) % 3 == np.arange(3)[:, None]  # all are too many for one neuron
    nodes = {
        "in": nir.Input(np.array([size])),
        "fc": nir.Affine(r.normal(0, 0.01, (3, size)) * listens, np.zeros(3)),
        "lif": nir.LIF(tau=ONES * 2e-3, r=ONES, v_leak=0 * ONES, v_threshold=ONES),
        "out": nir.Output(np.array([3])),
    }
    ours = {"dt": 1e-3, "time_steps": steps, "input_max": {"in": 255}}
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), metadata={"snn2hw": ours})
    where = scratch / f"takes{size}"
    where.mkdir()
    nir.write(where / "a.nir", graph)
    must(call_here(where, "export", "a.nir"))
    return contents(where)


def must(call: Any) -> None:
    """Refuse to go on if a command that makes a seed failed."""
    if call.returncode:
        raise RuntimeError(f"a seed could not be made: {call.args}: {call.stderr}")
