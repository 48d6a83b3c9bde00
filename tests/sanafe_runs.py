"""Replaying what a program did on SANA-FE's model of Loihi 1: what it counts, in energy and time.

SANA-FE (GPL 3) runs in an environment of its own and is told by files: chips in its YAML format,
written here from a target file, and the neurons, stored synapses and spikes of a run of ours.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nets import DT, LOIHI1, placed
from numpy.typing import NDArray

from snn2hw.environments import Environment
from snn2hw.families.loihi.cost import BARRIERS, FINE, FINE_TIMING, READS
from snn2hw.families.loihi.place import DENSE
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.arrays import size_of
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, Synapses, from_matrix, matrix
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace

RUNNER = Path(__file__).parent / "sanafe/sanafe_runner.py"
SANAFE = Environment(
    name="sanafe",
    title="SANA-FE 2.2.9",
    about="on Python 3.11",
    python=(3, 11),
    requirements=RUNNER.with_name("sanafe-requirements.txt"),
    bare=(),
    proof="import sanafe",
    size="about 20 MB",
)
HOLDS, BIASED, FIRES = 1, 2, 4  # what a neuron has in a step, as in the runner
UNIT = 1024  # neurons that a soma of SANA-FE's has room for
WAYS = {"east": "hop_x", "west": "hop_x", "north": "hop_y", "south": "hop_y"}
HOP_NS = {"hop_x": 4.1, "hop_y": 6.5}  # latency_east_hop, latency_north_hop of its loihi.yaml
Inputs = Mapping[str, NDArray[np.integer[Any]]]
Costs = Mapping[str, float]


class Told(NamedTuple):
    """What SANA-FE says of a run.

    Args:
        counts: events by name, from an energy that charges nothing else.
        energy_uj: of all events, at the prices of the target.
        barrier_us: until all tiles have met, of all steps.
        time_us: of all steps, by timing model.
    """

    counts: Costs
    energy_uj: float
    barrier_us: float
    time_us: Costs


@dataclass(frozen=True, slots=True)
class Mesh:
    """Cores and tiles as SANA-FE numbers them: tiles go down a column before the next one.

    Each tile has cores of the host at its end, where inputs are, whose messages leave for free.

    Args:
        cores: of a tile, without the host's.
        hosts: of a tile.
        columns: of tiles.
        rows: of tiles.
    """

    cores: int
    hosts: int
    columns: int
    rows: int

    @classmethod
    def of(cls, program: Program) -> Mesh:
        """Return what a program runs on."""
        limit = program.target.limit
        tiles = limit("cores_per_chip") // limit("cores_per_tile")
        inputs = sum(size_of(p.shape) for p in program.network.inputs)
        across = limit("tiles_per_row")
        return cls(limit("cores_per_tile"), -(-inputs // UNIT), across, tiles // across)

    def core(self, ours: int, *, theirs: bool) -> int:
        """Return SANA-FE's number of a core; ``theirs`` takes our number of its tile for its own.

        Ours go along a row of tiles.
        """
        tile, place = divmod(ours, self.cores)
        if not theirs:
            row, column = divmod(tile, self.columns)
            tile = column * self.rows + row
        return tile * (self.cores + self.hosts) + place


@dataclass(frozen=True, slots=True)
class Replay:
    """What the runner is told: groups of neurons on cores, and connections of pairs of them."""

    groups: list[str] = field(default_factory=list[str])
    connections: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def add(self, name: str, cores: NDArray[np.int64], have: NDArray[Any]) -> None:
        """Add neurons: the core of each, and what it has at each chip step ``[steps, size]``."""
        self.groups.append(name)
        self.arrays[f"core.{name}"] = cores
        self.arrays[f"have.{name}"] = have.astype(np.uint8)

    def connect(self, ends: tuple[str, str], unit: str, pairs: NDArray[np.int64]) -> None:
        """Add synapses ``[n, 2]`` from one group to another that a unit reads."""
        self.arrays[f"pairs.{len(self.connections)}"] = pairs
        self.connections.append((*ends, unit))


def small_cores(neurons: int) -> Target:
    """Return Loihi 1 with so few neurons a core that a small network is on many tiles."""
    limits = LOIHI1.limits
    few = replace(limits["neurons_per_core"], value=float(neurons))
    return replace(LOIHI1, limits={**limits, "neurons_per_core": few})


def recurrent(seed: int, sizes: Sequence[int], steps: int, neurons_per_core: int) -> Program:
    """Return a random network without biases whose first layer is connected to itself.

    Args:
        seed: of its weights.
        sizes: of the input and of three layers.
        steps: of a sample.
        neurons_per_core: at most.
    """
    r = np.random.default_rng(seed)

    def weights(pre: int, post: int, density: float) -> NDArray[np.int64]:
        there = r.random((sizes[post], sizes[pre])) < density
        return np.where(there, 2 * r.integers(-60, 120, there.shape), 0)

    layers = [Lif(f"layer{i}", (n,), 2047, 512, 600, np.zeros(n)) for i, n in enumerate(sizes[1:])]
    into = (
        Connection("in", "layer0", from_matrix(weights(0, 1, 0.2))),
        Connection("layer0", "layer0", from_matrix(weights(1, 1, 0.02)), delay=1),
        Connection("layer0", "layer1", from_matrix(weights(1, 2, 0.1))),
        Connection("layer1", "layer2", Dense(weights(2, 3, 1.0))),
    )
    ports = (InputPort("in", (sizes[0],)),)
    net = IntNetwork(ports, tuple(layers), into, {"out": "layer2"}, DT, steps, LOIHI1.numbers, {})
    return placed(net, small_cores(neurons_per_core))


def replayed(program: Program, inputs: Inputs, trace: Trace, *, theirs: bool = False) -> Told:
    """Let SANA-FE count and price what a program did.

    Args:
        program: what ran, on one chip, with no spike that waits longer than a connection takes.
        inputs: what its ports were sent, ``[N, T, *shape]``.
        trace: of all layers, with states.
        theirs: fill the columns of the mesh, as SANA-FE numbers tiles, instead of its rows.

    Raises:
        RuntimeMissingError: SANA-FE is not installed, or stopped.
    """
    if program.placement.chips > 1 or set(program.delays) != {1}:
        raise ValueError("SANA-FE is given one chip, and connections of one step")
    net, mesh, replay = program.network, Mesh.of(program), Replay()
    for p in net.populations:
        layer = trace.layers[p.name]
        before = np.zeros_like(layer["v"])
        before[:, 1:] = layer["v"][:, :-1]
        have = HOLDS * (before != 0) + BIASED * (p.bias.reshape(p.shape) != 0)
        have += FIRES * (layer.spikes != 0)
        cores = np.empty(p.size, np.int64)
        for s in program.placement.of(p.name):
            cores[s.span.where] = mesh.core(s.core, theirs=theirs)
        replay.add(
            p.name,
            cores,
            _in_a_row(have, program.phase[p.name], program),
        )  # fmt: skip
    ports = {p.name: _in_a_row(FIRES * (inputs[p.name] != 0), 0, program) for p in net.inputs}
    ends = dict(zip(ports, accumulate(x.shape[1] for x in ports.values()), strict=True))
    whole = mesh.cores + mesh.hosts
    for c, form in zip(net.connections, program.placement.stored, strict=True):
        unit = "synop_conv" if isinstance(c.synapses, Conv) else f"synop_{form}"
        pairs = stored(c.synapses, zeros=form == DENSE)
        if c.pre not in ports:
            replay.connect((c.pre, c.post), unit, pairs)
            continue
        tile = replay.arrays[f"core.{c.post}"][pairs[:, 1]] // whole
        for at in np.unique(tile).tolist():  # an input has a neuron in each tile that hears it
            name, have = f"{c.pre} in tile {at}", ports[c.pre]
            if name not in replay.groups:
                place = np.arange(ends[c.pre] - have.shape[1], ends[c.pre]) // UNIT
                replay.add(name, at * whole + mesh.cores + place, have)
            replay.connect((name, c.post), unit, pairs[tile == at])
    return _told(program.target, mesh, replay)


def stored(synapses: Synapses, *, zeros: bool) -> NDArray[np.int64]:
    """Return the neurons ``(pre, post)`` of each synapse in memory, ``[n, 2]``."""
    every = replace(synapses, weight=np.ones_like(synapses.weight)) if zeros else synapses
    there = matrix(every).tocoo()
    return np.stack([there.col, there.row], axis=1).astype(np.int64)


def _in_a_row(own: NDArray[Any], phase: int, program: Program) -> NDArray[Any]:
    """Put a layer's own steps ``[N, T, *shape]`` at chip steps ``[steps, size]``.

    As counting takes it: where samples follow each other without a gap, what the last ones leave
    to do meets the first.
    """
    samples, steps = own.shape[:2]
    flat = own.reshape(samples, steps, -1)
    if program.streams:
        return np.roll(flat.reshape(samples * steps, -1), phase, axis=0)
    after = program.period(steps) - steps - phase
    padded = np.pad(flat, ((0, 0), (phase, after), (0, 0)))
    return padded.reshape(-1, flat.shape[2])


def _told(target: Target, mesh: Mesh, replay: Replay) -> Told:
    """Write what the runner reads, run it, and read what it found.

    A chip that charges a joule for one event, and nothing for the others, counts that event.
    """
    free = dict.fromkeys(FINE, 0.0)
    barriers = {k: target.timing[k].value * 1e-6 for k in FINE_TIMING if k.startswith("barrier")}
    ns = {k: f.value for k, f in target.timing.items() if k in FINE} | HOP_NS
    prices = {k: target.prices[k].value * 1e-12 for k in FINE}
    chips = {event: (free | {event: 1.0}, barriers) for event in FINE}
    chips["chip"] = (prices, barriers | {k: x * 1e-9 for k, x in ns.items()})
    runs = {event: (event, "simple") for event in FINE}
    runs |= {timing: ("chip", timing) for timing in ("simple", "detailed")}
    job = {"groups": replay.groups, "connections": replay.connections, "runs": runs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for chip, (prices, times) in chips.items():
            (folder / f"{chip}.yaml").write_text(chip_file(mesh, prices, times))
        (folder / "job.json").write_text(json.dumps(job))
        np.savez(folder / "arrays.npz", **replay.arrays)
        SANAFE.run(RUNNER, [str(folder)])
        found = json.loads((folder / "found.json").read_text())
    return Told(
        counts={event: found[event]["energy"] for event in FINE},
        energy_uj=found["simple"]["energy"] * 1e6,
        barrier_us=found[FINE[0]]["time"] * 1e6,
        time_us={k: found[k]["time"] * 1e6 for k in ("simple", "detailed")},
    )


def chip_file(mesh: Mesh, prices: Costs, times: Costs) -> str:
    """Write a chip in SANA-FE's format.

    Args:
        mesh: how many cores and tiles there are.
        prices: of each event, in joules.
        times: of events and of barriers, in seconds; what is left out takes none.
    """
    barriers = ", ".join(f"{n}: {times[f'barrier_{n}']}" for n in BARRIERS)
    hops = ", ".join(
        f"energy_{way}_hop: {prices[hop]}, latency_{way}_hop: {times.get(hop, 0.0)}"
        for way, hop in WAYS.items()
    )
    return "\n".join([
        "architecture:",
        "  name: chip",
        f"  attributes: {{topology: mesh, width: {mesh.columns}, height: {mesh.rows}, "
        f"link_buffer_size: 16, sync_model: table, latency_sync: {{{barriers}}}}}",
        "  tile:",
        f"    - name: tile[0..{mesh.columns * mesh.rows - 1}]",
        f"      attributes: {{{hops}}}",
        "      core:",
        *_core(f"core[0..{mesh.cores - 1}]", prices, times),
        *_core(f"host[0..{mesh.hosts - 1}]", {}, {}),
    ])  # fmt: skip


def _core(name: str, prices: Costs, times: Costs) -> Iterator[str]:
    """Write cores that are alike: their units and what these cost, which is nothing if not told."""
    soma = {"access_neuron": "soma_access", "update_neuron": "soma_update", "spike_out": "spike"}
    units: dict[str, list[tuple[str, dict[str, str], dict[str, str]]]] = {
        "axon_in": [("in", {}, {"message_in": "axon_in"})],
        "synapse": [(k, {"model": "current_based"}, {"process_spike": k}) for k in READS],
        "dendrite": [("sums", {"model": "accumulator"}, {"update": ""})],
        "soma": [("soma", {"model": "leaky_integrate_fire"}, soma)],
        "axon_out": [("out", {}, {"message_out": "axon_out"})],
    }
    yield f"        - name: {name}"
    yield "          attributes: {buffer_position: soma, buffer_inside_unit: false, "
    yield f"            max_neurons_supported: {UNIT}}}"
    for section, made in units.items():
        yield f"          {section}:"
        for unit, model, events in made:
            costs = {f"energy_{of}": prices.get(event, 0.0) for of, event in events.items()}
            costs |= {f"latency_{of}": times.get(event, 0.0) for of, event in events.items()}
            told = ", ".join(f"{k}: {v}" for k, v in (model | costs).items())
            yield f"            - {{name: {unit}, attributes: {{{told}}}}}"
