"""Time and memory against size: a spiking ResNet-34 from its file to a bill, at five image sizes.

  python tests/bench/size.py            # what docs/results/size.json lacks; writes size.md
  python tests/bench/size.py --sides 64 # one of them, printed

Each size runs in a process of its own, and each of the commands in one more. Peaks of stages are
the largest resident memory while a stage runs, which Linux counts anew (``/proc/self/clear_refs``).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parents[2] / "docs" / "results" / "size.json"
SIDES = (64, 96, 128, 160, 224)  # the stem of smaller images is another
CHIPS = 1152
SHORTEST = 0.1  # seconds whose growth is said
STEPS = 4
# Parts of the largest that run in Lava: a window of a middle layer, and the whole layer.
PARTS = (
    ("--part", "layer3.0.lif1", "--neurons", ":,4:8,4:8"),
    ("--part", "layer3.0.lif1"),
)
PARTS_TEXT = """In Lava the largest runs in parts only (`snn2hw verify`): the whole is refused for
want of memory. Each part is fed with what its sources send in our simulation of the whole, and
every value of it is compared. Seconds are of the processor, Lava's among them; the peak is that of
the largest process."""
TEXT = """# Time and memory against size

    rm docs/results/size.json; python tests/bench/size.py

measures all of this page and writes it. The network is a spiking ResNet-34 (student
`spiking-resnet34`, {parameters} parameters, 1,000 classes, T = {steps}) with random weights whose
batch norm was fitted to random images, so that its layers spike; its NIR file holds single
precision. One sample of random pixels is simulated. Seconds are of the processor (user and system,
all threads), as other work on the machine changes those of the clock; peaks are resident memory.

n is the number of neurons. The last column says how a time grows from the smallest to the largest
size: its ratio over that of n log n. A row that does not grow faster has 1 or less there; one of
less than 0.1 s is not said."""


def student(side: int, path: Path) -> int:
    """Write the network for images of ``side`` pixels; return how many parameters it has."""
    import h5py
    import torch

    from snn2hw import nir_io
    from snn2hw.train.export import to_network
    from snn2hw.train.students import Settings, make_student

    torch.manual_seed(0)
    made = make_student("spiking-resnet34", Settings((3, side, side), 1000, 255, STEPS))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        made.train()(torch.randint(0, 256, (2, 3, side, side)))
    double = path.with_suffix(".double")
    nir_io.write(double, to_network(made.eval()))
    with h5py.File(double) as source, h5py.File(path, "w") as target:
        in_single(source, target)
    double.unlink()
    return sum(p.numel() for p in made.parameters())


def in_single(source: Any, target: Any) -> None:
    """Copy a file with its weights in single precision, as training has them."""
    for name, item in source.items():
        if name == "weight":
            target.create_dataset(name, data=item[()].astype(np.float32))
        elif hasattr(item, "shape"):
            source.copy(name, target)
        else:
            in_single(item, target.create_group(name))


@contextmanager
def stage(name: str, found: dict[str, Any]) -> Generator[None]:
    """Measure seconds of the processor, and the peak of memory in GiB."""
    Path("/proc/self/clear_refs").write_text("5")
    began = _seconds()
    yield
    status = Path("/proc/self/status").read_text()
    peak = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM"))
    found[name] = {"seconds": round(_seconds() - began, 3), "gib": round(peak / 2**20, 3)}


def _seconds() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def stages(path: Path) -> dict[str, Any]:
    """Run every stage on one file, in this process."""
    from snn2hw import estimator, families, nir_io, silence
    from snn2hw import target as targets
    from snn2hw.ir.graph import wiring
    from snn2hw.ir.program import Program
    from snn2hw.passes import simplify
    from snn2hw.store import program as program_file

    target = targets.with_chips(targets.load("loihi2"), CHIPS)
    family, found = families.of(target), dict[str, Any]()
    with stage("read NIR", found):
        net, _ = nir_io.read(path)
    with stage("passes and wiring", found):
        simple = simplify(net)
        wiring(simple)
    with stage("dead neurons, float", found):
        silence.notes(net)
    with stage("quantize", found):
        rounded = family.quantize(simple, target)
    with stage("remove dead neurons", found):
        ints = family.exact(rounded)
    with stage("place", found):
        placement = family.place(ints, target)
    with stage("schedule", found):
        times = family.schedule(ints, target)
    program = Program(ints, times.phase, times.delays, placement, target)
    with stage("write program.h5", found):
        program_file.write(path.with_suffix(".h5"), program)
    port = ints.inputs[0]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, *port.shape))
    x = {port.name: np.repeat(pixels, STEPS, axis=1)}
    tiny = {port.name: np.zeros_like(x[port.name])}
    family.run(program, tiny)  # compiles the kernels, or loads them
    with stage("simulate a sample", found):
        trace = family.run(program, x, spikes=True)
    with stage("count events", found):
        counts = family.count(program, x, trace)
    with stage("price them", found):
        estimator.priced(program, trace, counts, family.time(program, counts, target), target)
    neurons = sum(p.size for p in ints.populations)
    return {
        "neurons": neurons, "cores": placement.cores, "chips": placement.chips, "stages": found,
        "file_mb": round(path.stat().st_size / 1e6, 1),
    }  # fmt: skip


def command(words: list[str], work: Path) -> dict[str, float]:
    """Run a command of snn2hw and measure its process."""
    began = time.perf_counter()
    log = work / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "snn2hw", *words, "-q"], cwd=work, stdout=out, stderr=out
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: {log.read_text()}")
    return {
        "seconds": round(used.ru_utime + used.ru_stime, 3),
        "clock": round(time.perf_counter() - began, 3),
        "gib": round(used.ru_maxrss / 2**20, 3),
    }


def measured(side: int, work: Path) -> dict[str, Any]:
    """Make the network of one size, and run its stages and the commands."""
    file = work / f"resnet34-{side}.nir"
    # In processes of their own, as a process inherits the peak of the one that starts it.
    parameters = json.loads(_own("--make", str(side), str(file)))
    row = json.loads(_own("--stages", str(file)))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, 3, side, side))
    np.savez(work / "x.npz", x=np.repeat(pixels, STEPS, axis=1))
    build, shown = f"{file.stem}-loihi2", ["--input", str(work / "x.npz")]
    row["commands"] = {
        "export": command(["export", file.name, "--chips", str(CHIPS)], work),
        "simulate": command(["simulate", build, *shown], work),
        "energy report": command(["energy", "report", build, *shown], work),
    }
    if side == SIDES[-1]:
        row["parts"] = [verified(work, file, part) for part in PARTS]
    return {"side": side, "parameters": parameters, **row}


def parts(side: int) -> list[dict[str, Any]]:
    """Verify the parts of one size alone, whose other figures are known."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        file = work / f"resnet34-{side}.nir"
        _own("--make", str(side), str(file))
        pixels = np.random.default_rng(0).integers(0, 256, (1, 1, 3, side, side))
        np.savez(work / "x.npz", x=np.repeat(pixels, STEPS, axis=1))
        command(["export", file.name, "--chips", str(CHIPS)], work)
        return [verified(work, file, part) for part in PARTS]


def verified(work: Path, file: Path, part: tuple[str, ...]) -> dict[str, Any]:
    """Verify a part of a build in Lava."""
    words = ["verify", f"{file.stem}-loihi2", "--input", str(work / "x.npz"), *part]
    found = command([*words, "--json"], work)
    proof = json.loads((work / "builds" / f"{file.stem}-loihi2" / "verify.json").read_text())
    (told,) = proof["parts"]
    return {
        "words": " ".join(part), **found, "compared": proof["compared"],
        "mismatches": proof["mismatches"],
        "neurons": sum(n["neurons"] for n in told["populations"].values()),
    }  # fmt: skip


def _own(*words: str) -> bytes:
    """Run this script with other words and return what it printed."""
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE)
    return done.stdout


def growth(rows: list[dict[str, Any]], part: str, name: str) -> str:
    """Say how much faster a time grows than n log n does: 1 for as fast, "" if it is too short."""
    before, after = (row[part][name]["seconds"] for row in (rows[0], rows[-1]))
    if before < SHORTEST:
        return ""
    n, m = rows[0]["neurons"], rows[-1]["neurons"]
    return f"{after / before / (m * math.log(m) / (n * math.log(n))):.2f}"


def page(rows: list[dict[str, Any]]) -> str:
    """Return the page."""
    head = ["", *(f"{r['side']}x{r['side']}" for r in rows), "growth over n log n"]
    lines = [
        TEXT.format(parameters=f"{rows[-1]['parameters']:,}", steps=STEPS), "",
        f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(rows) + 1)}",
        _line("neurons", [f"{r['neurons']:,}" for r in rows]),
        _line("file, MB", [str(r["file_mb"]) for r in rows]),
        _line("cores", [f"{r['cores']:,}" for r in rows]),
        _line("chips", [str(r["chips"]) for r in rows]),
    ]  # fmt: skip
    for part, title in (("commands", "`snn2hw {}`"), ("stages", "{}")):
        for name in rows[0][part]:
            each = [
                f"{r[part][name]['seconds']:.2f} s, {r[part][name]['gib']:.2f} GiB" for r in rows
            ]
            lines.append(_line(title.format(name), each, growth(rows, part, name)))
    clock = ", ".join(
        f"`{k}` {v['clock']:.1f} s" for k, v in rows[-1]["commands"].items()
    )  # fmt: skip
    lines += ["", f"By the clock, at the largest size: {clock}.", "", PARTS_TEXT, ""]
    lines += ["| part | neurons | values compared | differ | seconds | by the clock | peak |",
              f"| --- |{' ---: |' * 6}"]  # fmt: skip
    lines += [
        f"| `{p['words']}` | {p['neurons']:,} | {p['compared']:,} | {p['mismatches']} "
        f"| {p['seconds']:.1f} s | {p['clock']:.1f} s | {p['gib']:.2f} GiB |"
        for p in rows[-1].get("parts", ())
    ]
    return "\n".join([*lines, ""])


def _line(title: str, cells: list[str], last: str = "") -> str:
    return f"| {title} | {' | '.join(cells)} | {last} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sides", type=int, nargs="+", help="printed, and nothing is written")
    parser.add_argument("--stages", type=Path, help="of this file, as JSON")
    parser.add_argument("--make", nargs=2, help="a network: side and file")
    given = parser.parse_args()
    if given.stages is not None:
        sys.stdout.write(json.dumps(stages(given.stages)))
        return
    if given.make is not None:
        sys.stdout.write(json.dumps(student(int(given.make[0]), Path(given.make[1]))))
        return
    if given.sides is not None:
        sys.stdout.write(page([_measured(side) for side in given.sides]))
        return
    rows: list[dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else []
    for side in SIDES:
        if side not in {row["side"] for row in rows}:
            rows.append(_measured(side))
            _keep(rows)
    last = next(row for row in rows if row["side"] == SIDES[-1])
    if "parts" not in last:
        last["parts"] = parts(last["side"])
        _keep(rows)
    FILE.with_suffix(".md").write_text(page(sorted(rows, key=lambda row: row["side"])))


def _keep(rows: list[dict[str, Any]]) -> None:
    FILE.write_text(json.dumps(sorted(rows, key=lambda row: row["side"]), indent=1) + "\n")


def _measured(side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        row = measured(side, Path(work))
    sys.stderr.write(f"{json.dumps(row)}\n")
    return row


if __name__ == "__main__":
    main()
