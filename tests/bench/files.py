"""Reading files: our reader against h5py alone, and how the time of `inspect` grows with a file.

python tests/bench/files.py
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import h5py
import numpy as np

from snn2hw.hdf5 import read_hdf5

TIMES = 5
MODELS = Path(__file__).parents[2] / "models"


def whole(group: h5py.Group) -> dict:
    return {k: whole(v) if isinstance(v, h5py.Group) else v[()] for k, v in group.items()}


def by_h5py(path: Path) -> None:
    with h5py.File(path) as file:
        whole(file)


def seconds(action, *arguments) -> float:
    start = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - start


def reading() -> None:
    started = seconds(read_hdf5, MODELS / "digits-cnn/network.nir", "a file")
    print(f"first file, with the reader's start: {started:.2f} s")
    for path in sorted(MODELS.glob("*/network.nir")):
        rows = [(seconds(read_hdf5, path, "a file"), seconds(by_h5py, path)) for _ in range(TIMES)]
        ours, theirs = (median(r[i] for r in rows) for i in (0, 1))
        print(
            f"{path.parent.name}: {1e3 * ours:.1f} ms, h5py {1e3 * theirs:.1f} ms, "
            f"{median(a / b for a, b in rows):.1f} times"
        )


Edges = list[tuple[str, str]]
LIF = {k: np.zeros(2, np.float32) for k in ("v_leak", "v_reset")} | {
    "tau": np.full(2, 0.02, np.float32),
    "r": np.ones(2, np.float32),
    "v_threshold": np.ones(2, np.float32),
}
IMAGE = np.array([2, 8, 8])
IF = {"r": np.full(IMAGE, 1000, np.float32), "v_threshold": np.ones(IMAGE, np.float32)}
ARRAYS = {
    "Input": {},
    "Output": {},
    "Scale": {"scale": np.full(2, 0.999)},
    "Affine": {
        "weight": np.array([[0.9, -0.4], [0.3, 1.2]], np.float32),
        "bias": np.zeros(2, np.float32),
    },
    "LIF": LIF,
    "Conv2d": {
        "input_shape": IMAGE[1:],
        "weight": np.linspace(-0.1, 0.3, 36, dtype=np.float32).reshape(2, 2, 3, 3),
        "bias": np.zeros(2, np.float32),
        **{k: np.full(2, 1) for k in ("stride", "padding", "dilation")},
        "groups": np.array(1),
    },
    "IF": IF,
}


def scale_chain(count: int) -> Edges:
    return list(itertools.pairwise(["input", *(f"Scale.{i}" for i in range(count)), "output"]))


def scale_fan(count: int) -> Edges:
    return [e for i in range(count) for e in (("input", f"Scale.{i}"), (f"Scale.{i}", "output"))]


def chain(count: int) -> Edges:
    names = [f"{kind}.{i}" for i in range(count // 2) for kind in ("Affine", "LIF")]
    return list(itertools.pairwise(["input", *names, "output"]))


def convolutions(count: int) -> Edges:
    names = [f"{kind}.{i}" for i in range(count // 2) for kind in ("Conv2d", "IF")]
    return list(itertools.pairwise(["input", *names, "output"]))


def fan(count: int) -> Edges:
    """Many populations beside each other, which one map hears."""
    ways = [("input", f"Affine.{i}", f"LIF.{i}", "Affine.last") for i in range(count // 2 - 1)]
    last = ("Affine.last", "LIF.last", "output")
    return [e for way in (*ways, last) for e in itertools.pairwise(way)]


def residual(count: int) -> Edges:
    """Blocks of two layers with a way around them."""
    edges: Edges = []
    before = "input"
    for i in range(count // 5):
        after = f"LIF.b{i}"
        edges += itertools.pairwise((before, f"Affine.a{i}", f"LIF.a{i}", f"Affine.b{i}", after))
        edges += itertools.pairwise((before, f"Affine.c{i}", after))
        before = after
    return [*edges, (before, "output")]


def recurrent(count: int) -> Edges:
    """Layers that hear themselves."""
    edges: Edges = []
    before = "input"
    for i in range(count // 3):
        layer = f"LIF.{i}"
        edges += itertools.pairwise((before, f"Affine.{i}", layer, f"Affine.back{i}", layer))
        before = layer
    return [*edges, (before, "output")]


SHAPES = {
    "chain of Scale": scale_chain,
    "fan of Scale": scale_fan,
    "chain of Affine and LIF": chain,
    "chain of Conv2d and IF": convolutions,
    "fan of Affine and LIF": fan,
    "chain of residual blocks": residual,
    "chain of recurrent layers": recurrent,
}


def write(path: Path, edges: Edges) -> None:
    """Write a NIR file of nodes that are named after their kind."""
    with h5py.File(path, "w") as file:
        root = file.create_group("node")
        root["type"] = "NIRGraph"
        images = any(name.startswith("Conv2d") for edge in edges for name in edge)
        shape = IMAGE if images else np.array([2])
        for name in dict.fromkeys(itertools.chain.from_iterable(edges)):
            kind = name.split(".")[0]
            kind = {"input": "Input", "output": "Output"}.get(kind, kind)
            group = root.create_group(f"nodes/{name}")
            group["type"] = kind
            for key, value in ARRAYS[kind].items():
                group[key] = value
            if kind in ("Input", "Output"):
                group["shape"] = shape
        root["edges"] = np.array(edges, dtype="S")


def inspect(path: Path) -> tuple[float, float]:
    """Return the seconds of a run, and those that processors were busy for it."""
    command = [sys.executable, "-m", "snn2hw", "inspect", str(path), "-q"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    took = seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
    return took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def growing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            busy: list[float] = []
            for count in (1000, 10_000 if shape is not convolutions else 5000):
                path = Path(folder) / f"{shape.__name__}{count}.nir"
                write(path, shape(count))
                runs = [inspect(path) for _ in range(TIMES)]
                wall, user = (median(r[i] for r in runs) for i in (0, 1))
                busy.append(user)
                print(f"inspect a {name}, {count:,} nodes: {wall:.1f} s, {user:.1f} s of user time")
            print(f"{count // 1000} times the nodes: {busy[1] / busy[0]:.1f} times the user time")


if __name__ == "__main__":
    reading()
    growing()
