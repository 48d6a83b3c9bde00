"""What Lava's processes need of memory: the constants of ``families/loihi/lava.py``.

    python tests/bench/lava_memory.py

runs one connection of each kind in Lava and prints how many bytes more than next to nothing its
processes take at their peak (proportional set size of the runner and its children, looked at every
tenth of a second), for each synapse; then the same for neurons, and for values of many steps.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from snn2hw import target as targets
from snn2hw.families.loihi import lava
from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.placement import Placement
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, Sparse, from_matrix, sizes
from snn2hw.store import program as program_file


def below(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = [int(k) for k in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
        found += [k for child in children for k in (child, *below(child))]
    return found


def resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(x.split()[1]) for x in lines if x.startswith("Pss:")), 0)


@contextmanager
def peak_of_children(found: list[int]):
    """Append the peak of the memory of this process's children."""
    import os

    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            most.append(sum(resident(pid) for pid in below(os.getpid())))

    thread = threading.Thread(target=look)
    thread.start()
    yield
    over.set()
    thread.join()
    found.append(max(most))


def peak(synapses, delay: int = 1, samples: int = 1, steps: int = 4) -> int:
    """Run a connection in Lava and return the bytes that its processes took at most."""
    post, pre = sizes(synapses)
    net = IntNetwork(
        (InputPort("in", (pre,)),), (Lif("p", (post,), 100, 100, 300, np.zeros(post, int)),),
        (Connection("in", "p", synapses),), {"p": "p"}, 1e-3, steps, Numbers(), {},
    )  # fmt: skip
    target = targets.load("loihi2")
    program = Program(net, {"in": 0, "p": delay}, (delay,), Placement((), {}, 1), target)
    x = {"in": (np.random.default_rng(0).random((samples, steps, pre)) < 0.1).astype(np.int8)}
    found: list[int] = []
    with tempfile.TemporaryDirectory() as folder, peak_of_children(found):
        program_file.write(Path(folder) / "program.h5", program)
        lava.run(program, x, program_file=Path(folder) / "program.h5")
    return found[0]


def main() -> None:
    r = np.random.default_rng(0)
    few = from_matrix(np.full((1, 1), 2))
    nothing = peak(few)
    print(f"next to nothing: {nothing / 1e9:.2f} GB")
    full = 2 * r.integers(1, 60, (3000, 3000)) * r.choice([-1, 1], (3000, 3000))
    kernel = 2 * r.integers(1, 60, (256, 128, 3, 3)) * r.choice([-1, 1], (256, 128, 3, 3))
    cases = {
        "dense": (Dense(full), 1), "dense that waits": (Dense(full), 2),
        "sparse": (from_matrix(full), 1), "sparse that waits": (from_matrix(full), 2),
        "kernel": (Conv(kernel, (128, 9, 9)), 1),
    }  # fmt: skip
    for name, (synapses, delay) in cases.items():
        count = full.size if name != "kernel" else kernel.size * 49
        print(f"{name}: {(peak(synapses, delay) - nothing) / count:.0f} bytes a synapse")
    pool = Conv(np.ones((64, 1, 2, 2), int), (64, 112, 112), (2, 2), groups=64)
    taps = 64 * 56 * 56 * 4
    print(f"taps of a pool: {(peak(pool) - nothing) / taps:.0f} bytes each, with its neurons")
    many = 400_000
    ends = np.arange(many + 1, dtype=np.int32)
    one_to_one = Sparse(np.full(many, 2), ends[:-1], ends, many)
    neurons = (peak(one_to_one) - nothing) / 2 / many
    print(f"neurons: {neurons:.0f} bytes each, with a synapse and four steps")
    ends = np.arange(1001, dtype=np.int32)
    one_to_one = Sparse(np.full(1000, 2), ends[:-1], ends, 1000)
    values = 2 * 1000 * 50 * 200
    print(f"values: {(peak(one_to_one, 1, 50, 200) - nothing) / values:.0f} bytes each")


if __name__ == "__main__":
    main()
