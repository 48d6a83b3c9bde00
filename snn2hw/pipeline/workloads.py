"""Published workloads, built again: what each measurement of them should have been.

A builder takes a workload, and the path of its file if it has one, and returns ranges by what was
measured, in the units of ``validation/measured.toml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import nir_io
from snn2hw import target as targets
from snn2hw.estimator import EnergyReport
from snn2hw.ir.counts import Range, range_of
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Input, Lif, Node, Output
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import received, with_weight
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace
from snn2hw.pipeline import counting, floats
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.loading import load_model
from snn2hw.validation import Workload, measured

Predictions = Mapping[str, Range]
Builder = Callable[[Workload, Path | None, Path | None], Predictions]

FRAMES = 24  # of the video for sigma-delta neurons, of which the first half is warming up
BRANCH_STEPS = 200
RATES = Range(0.05, 0.02, 0.10)  # spikes of a neuron in a step, where nobody logged them


def _report(program: Program, x: NDArray[Any]) -> EnergyReport:
    (port,) = program.network.inputs
    trace, counts = counting.run(program, {port.name: x})
    return counting.report(program, trace, counts, program.target)


def _program(workload: Workload, file: Path | None, steps: int | None) -> Program:
    model = load_model(str(file), Path.cwd(), nir_io.Choice(time_steps=steps))
    return compile_network(model.network, targets.load(workload.chip), time_steps=steps)


# Columns of a layer's map that a core of Intel's placement holds, with all rows and channels.
PILOTNET_COLUMNS = {"second": ("layer2", 4), "third": ("layer3", 8), "fourth": ("layer4", 8),
                    "fifth": ("layer5", 16)}  # fmt: skip
PILOTNET_LOGGED = 10_000  # steps that the published counters counted


def pilotnet_lif(workload: Workload, file: Path | None, data_dir: Path | None) -> Predictions:
    """Run PilotNet with a silent input."""
    del data_dir
    program = _program(workload, file, None)
    (port,) = program.network.inputs
    steps = report_steps(program)
    silent = {port.name: np.zeros((1, steps, *port.shape), np.int64)}
    trace, counts = counting.run(program, silent)
    report = counting.report(program, trace, counts, program.target)
    logged = PILOTNET_LOGGED / steps * 1e-6
    of_cores = {
        f"synops of a core, {name} convolution": exactly(
            synops_in_columns(program, trace, layer, columns) * logged
        )
        for name, (layer, columns) in PILOTNET_COLUMNS.items()
    }
    chip = report.boundaries()["chip"]
    return {
        "synops": exactly(report.synops * 1e-6),
        **of_cores,
        "dynamic energy": report.dynamic_uj.times(1e-3),
        "total energy": chip["total_uj"].times(1e-3),
        "static power": range_of(program.target.prices["static"]).times(report.chips),
        "step time": report.period_us.times(1 / report.time_steps),
    }


def synops_in_columns(program: Program, trace: Trace, layer: str, columns: int) -> float:
    """Return the synops of the one sample that end in the first columns of a layer's map.

    A weight of 0 is none: Loihi 2 does not store zeros of a kernel (decision 27).
    """
    (into,) = (c for c in program.network.connections if c.post == layer)
    (shape,) = (p.shape for p in program.network.populations if p.name == layer)
    meets = with_weight(into.synapses, (np.asarray(into.synapses.weight) != 0).astype(float))
    met = received(meets, trace.events[into.pre].sum(axis=0).astype(float))
    return float(met.reshape(shape)[:, :, :columns].sum())


def report_steps(program: Program) -> int:
    """Return the steps of a sample."""
    steps = program.network.time_steps
    assert steps is not None
    return steps


def pilotnet_sdnn(workload: Workload, file: Path | None, data_dir: Path | None) -> Predictions:
    """Run three videos, and take what a frame costs once each is under way.

    Low is that of a still video at the lowest prices, high that of noise at the highest.
    """
    del data_dir
    program = _program(workload, file, FRAMES)
    (port,) = program.network.inputs
    edges = moving_edges(port.shape, FRAMES)
    still = np.broadcast_to(edges[0], edges.shape)
    noise = np.random.default_rng(0).integers(-64, 65, edges.shape)
    low, typical, high = (_of_a_frame(program, video) for video in (still, edges, noise))
    return {"dynamic energy": Range(typical.typical, low.low, high.high)}


def _of_a_frame(program: Program, video: NDArray[Any]) -> Range:
    """Return the dynamic energy of a frame in mJ, without the first half of a video."""
    whole, half = (_report(program, video[None, :n]).dynamic_uj for n in (FRAMES, FRAMES // 2))
    return _less(whole, half).times(1e-3 / (FRAMES - FRAMES // 2))


def _less(whole: Range, part: Range) -> Range:
    """Return what is left of a whole; both are of the same prices, so their ranges go together."""
    return Range(whole.typical - part.typical, whole.low - part.low, whole.high - part.high)


def exactly(value: float) -> Range:
    """Return a number that has no range."""
    return Range(value, value, value)


def moving_edges(shape: tuple[int, ...], frames: int) -> NDArray[np.int64]:
    """Return a video ``[frames, *shape]`` of edges that move a pixel a frame, -64 to 64."""
    r = np.random.default_rng(0)
    steps = r.normal(0, 1, shape).cumsum(axis=-1).cumsum(axis=-2)
    spread = steps.max(axis=(1, 2), keepdims=True) - steps.min(axis=(1, 2), keepdims=True)
    image = np.rint(128 * (steps - steps.min(axis=(1, 2), keepdims=True)) / spread - 64)
    return np.stack([np.roll(image, t, axis=-1) for t in range(frames)]).astype(np.int64)


def branches(workload: Workload, file: Path | None, data_dir: Path | None) -> Predictions:
    """Build one branch of 10 layers of 256 neurons, of which some spike in each step."""
    del file, data_dir
    target = targets.load(workload.chip)
    uj: dict[str, float] = {}
    for name in ("low", "typical", "high"):
        program, x = branch(target, getattr(RATES, name))
        uj[name] = getattr(_report(program, x).dynamic_uj, name) / BRANCH_STEPS
    return {"energy of a step": Range(**uj)}


def branch(target: Target, rate: float) -> tuple[Program, NDArray[np.int64]]:
    """Return a branch whose neurons spike at a rate, driven by their bias alone, and its input."""
    r, size, layers = np.random.default_rng(0), 256, 10
    nodes: dict[str, Node] = {"input": Input((size,))}
    edges: list[tuple[str, str]] = []
    before = "input"
    for i in range(layers):
        weight = r.choice([-1.0, 1.0], (size, size)) * r.uniform(0.5, 1, (size, size)) * 1e-4
        nodes[f"weights{i}"] = Affine(weight, np.full(size, rate * 1.02))
        one = np.ones(())
        nodes[f"layer{i}"] = Lif(
            (size,), np.full((), np.inf), one / 1e-3, one, np.zeros(()), np.zeros(())
        )
        edges += [(before, f"weights{i}"), (f"weights{i}", f"layer{i}")]
        before = f"layer{i}"
    nodes["output"] = Output((size,))
    edges.append((before, "output"))
    net = Network(nodes, tuple(edges), 1e-3, BRANCH_STEPS)
    return compile_network(net, target), np.zeros((1, BRANCH_STEPS, size), np.int64)


SPECK_STEPS = 30  # of an N-MNIST recording, as its authors bin it
# Samples a second at which its authors measured (all_results.json), by network.
SPECK_RATES = {"100": 0.8099297, "50": 0.8197785, "5": 0.8278097, "1": 0.8259819}
NMNIST_SAMPLES = 50


def speck(workload: Workload, file: Path | None, data_dir: Path | None) -> Predictions:
    """Count the synops of a network on recordings of N-MNIST, which Speck takes as events."""
    choice = nir_io.Choice(time_steps=SPECK_STEPS, dt=1e-2, written_by="sinabs")
    model = load_model(str(file), Path.cwd(), choice)
    samples = floats.samples_for(model, data="nmnist", limit=NMNIST_SAMPLES, data_dir=data_dir)
    document, _ = floats.simulate(model, samples)
    synops = document["synops_per_sample"]
    rate = SPECK_RATES[workload.name.rsplit("-", 1)[1]]
    price = range_of(measured().prices["speck_synop"])
    return {
        "synops a step": exactly(synops / SPECK_STEPS),
        "dynamic power": price.times(synops * rate * 1e-6),
    }


ROCKPOOL_STEPS = 1000
POISSON = 0.4


def rockpool(workload: Workload, file: Path | None, data_dir: Path | None) -> Predictions:
    """Build the network of Rockpool's tutorials: two layers of 4, the second recurrent."""
    del file, data_dir
    target = targets.load(workload.chip)
    channels = 15 if workload.name == "rockpool-imu" else 2
    program = compile_network(_tutorial(channels), target, time_steps=ROCKPOOL_STEPS)
    r = np.random.default_rng(1)
    x = (r.random((1, ROCKPOOL_STEPS, channels)) < POISSON).astype(np.int64)
    report = _report(program, x)
    return {"energy of a step": report.dynamic_uj.times(1e3 / ROCKPOOL_STEPS)}


def _tutorial(channels: int) -> Network:
    """Return both layers as one recurrent population, as Xylo holds them; all 8 are heard."""
    r, dt = np.random.default_rng(0), 1e-2
    first = np.zeros((8, channels))
    first[:4] = r.uniform(-1, 1, (4, channels)) * np.sqrt(3 / channels)
    back = np.zeros((8, 8))
    back[4:, :4] = r.uniform(-1, 1, (4, 4)) * np.sqrt(3 / 4)
    back[4:, 4:] = r.uniform(-1, 1, (4, 4)) * np.sqrt(3 / 4)
    out = r.uniform(-1, 1, (2, 8)) * np.sqrt(3 / 4)
    tau, one, zero = np.full((), 2 * dt), np.ones(()), np.zeros(())

    def neurons(size: int) -> Lif:
        return Lif(
            (size,), tau, tau / dt, one, zero, zero, "subtract", tau_synapse=tau, w_in=tau / dt
        )

    nodes: dict[str, Node] = {
        "input": Input((channels,)), "first": Affine(first, np.zeros(8)), "hidden": neurons(8),
        "back": Affine(back, np.zeros(8)), "last": Affine(out, np.zeros(2)), "out": neurons(2),
        "output": Output((2,)),
    }  # fmt: skip
    edges = (
        ("input", "first"), ("first", "hidden"), ("hidden", "back"), ("back", "hidden"),
        ("hidden", "last"), ("last", "out"), ("out", "output"),
    )  # fmt: skip
    return Network(nodes, edges, dt, ROCKPOOL_STEPS, Rules(fires="at", spikes="many"))


BUILDERS: Mapping[str, Builder] = {
    "pilotnet-lif": pilotnet_lif,
    "pilotnet-sdnn": pilotnet_sdnn,
    "kws-branches": branches,
    **dict.fromkeys(
        ("speck-nmnist-100", "speck-nmnist-50", "speck-nmnist-5", "speck-nmnist-1"), speck
    ),
    **dict.fromkeys(("rockpool-audio2", "rockpool-imu", "rockpool-audio3"), rockpool),
}
