"""Reading files: our reader against h5py alone, and how the time of `inspect` grows with a file.

python tests/bench/files.py
"""

from __future__ import annotations

import itertools
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


def scales(path: Path, count: int, fan: bool) -> None:
    """Write a NIR file of so many Scale nodes."""
    names = [f"n{i}" for i in range(count)]
    edges = list(itertools.pairwise(["input", *names, "output"]))
    if fan:
        edges = [e for n in names for e in (("input", n), (n, "output"))]
    with h5py.File(path, "w") as file:
        root = file.create_group("node")
        root["type"] = "NIRGraph"
        for name in ("input", "output"):
            group = root.create_group(f"nodes/{name}")
            group["type"], group["shape"] = name.capitalize(), np.array([2])
        for name in names:
            group = root.create_group(f"nodes/{name}")
            group["type"], group["scale"] = "Scale", np.full(2, 0.999)
        root["edges"] = np.array(edges, dtype="S")


def inspect(path: Path) -> None:
    command = [sys.executable, "-m", "snn2hw", "inspect", str(path), "-q"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def growing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for fan, shape in ((False, "chain"), (True, "fan")):
            took: list[float] = []
            for count in (1000, 10_000):
                path = Path(folder) / f"{shape}{count}.nir"
                scales(path, count, fan)
                command = [sys.executable, "-m", "snn2hw", "inspect", str(path), "-q"]
                runs = [
                    seconds(
                        lambda c: subprocess.run(c, stdout=subprocess.DEVNULL, check=True), command
                    )
                    for _ in range(TIMES)
                ]
                took.append(median(runs))
                print(f"inspect a {shape} of {count:,} nodes: {took[-1]:.1f} s")
            print(f"ten times the nodes: {took[1] / took[0]:.1f} times the time")


if __name__ == "__main__":
    reading()
    growing()
