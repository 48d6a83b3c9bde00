"""The random networks of the fidelity page, and what can occur in them.

A ``Sweep`` is one kind of network for one or more chips: what is drawn, which simulator of a vendor
runs it, and what has to occur before the comparison means something. A feature counts for a network
if it showed there: a synapse if events came through it within the sample.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from nets import LOIHI1, images, pressed, random_program, read_out
from netx_files import random_file
from wide import side_by_side
from xylo_nets import CHIPS
from xylo_nets import random_program as random_xylo
from xylo_nets import spikes as random_spikes

from snn2hw import target as targets
from snn2hw.families.loihi import definition, netx
from snn2hw.families.loihi.populations import Delta, Graded, Lif, Resonator, Sigma, SigmaDelta
from snn2hw.families.loihi.words import WEIGHT_BITS, format_bits
from snn2hw.families.xylo import definition as xylo
from snn2hw.families.xylo.numbers import first_ids, group, numbers_of
from snn2hw.families.xylo.populations import Hidden
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv
from snn2hw.ir.trace import Trace
from snn2hw.pipeline.compiler import compile_network

Inputs = dict[str, np.ndarray]
Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """How much of a sweep a simulator runs.

    Args:
        networks: at least so many.
        samples: of each network.
        values: at least so many are compared.
        copies: of a network side by side in one, with inputs of their own.
        at_once: how many networks run at a time.
    """

    networks: int
    samples: int
    values: int = 0
    copies: int = 1
    at_once: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """One kind of network.

    Args:
        title: chips and networks.
        about: what is drawn, and where, in a sentence or two.
        made: draws network ``seed``, some copies of it side by side, and that many samples.
        features: says what occurred in a network, by the definition's trace.
        groups: the features that must occur, by group.
        vendor: the vendor's simulator, by name.
        ours: how much of it the fast engine runs.
        theirs: how much of it the vendor's simulator runs.
        watched: notes what a trace does not show, while the definition runs.
    """

    title: str
    about: str
    made: Callable[[int, int, int], tuple[Program, Inputs]]
    features: Callable[[Program, Inputs, Trace], set[str]]
    groups: Groups
    vendor: str
    ours: Part
    theirs: Part
    watched: Callable[[], AbstractContextManager[set[str]]] = lambda: nullcontext(set[str]())


# Leaky integrate-and-fire neurons of the Loihi family.


def shown(program: Program, seed: int, samples: int, copies: int) -> tuple[Program, Inputs]:
    """Return a program, or copies of it side by side, with random samples."""
    program = side_by_side(program, copies) if copies > 1 else program
    return program, images(program.network, samples=samples, seed=seed)


def lif_of_loihi_2(seed: int, samples: int, copies: int) -> tuple[Program, Inputs]:
    """Half of them overflow, half have loops and delays."""
    loops, extreme = seed % 2 == 1, seed % 4 > 1
    program = random_program(seed, layers=2 + seed % 5, extreme=extreme, loops=loops)
    return shown(program, seed, samples, copies)


def lif_of_loihi_1(seed: int, samples: int, copies: int) -> tuple[Program, Inputs]:
    """As those of Loihi 2, with weights of fewer bits; in a fifth of them currents climb."""
    if seed % 5 == 4:
        program = pressed(seed)
    else:
        kind = {"extreme": seed % 2 == 0, "loops": seed % 3 == 0}
        program = random_program(1000 + seed, target=LOIHI1, formats=True, **kind)
    return shown(program, seed, samples, copies)


@contextmanager
def edges() -> Iterator[set[str]]:
    """Note which edges of the number range the definition of ``Lif`` meets."""
    seen, plain = set[str](), definition.lif

    def lif(p: Any, state: Any, a: Any, written: Any, n: Any) -> Any:
        (u, v), one, top = state, 1 << n.decay_bits, 1 << (n.state_bits - 1)
        new, spikes = plain(p, state, a, written, n)
        arrived = a << n.state_shift
        kept = definition.toward_zero(u, one - (p.du + 1), n.decay_bits)
        current = kept + definition.wrapped(arrived, n.sum_bits)
        drive = new[0] + ((p.bias + written) << p.bias_exp)
        voltage = definition.toward_zero(v, one - p.dv, n.decay_bits)
        voltage = voltage + definition.wrapped(drive, n.drive_bits)
        met = {
            f"u wraps at {n.state_bits} bits": np.abs(current) > top,
            f"a sum wraps at {n.sum_bits} bits": _beyond(arrived, n.sum_bits),
            f"a drive wraps at {n.drive_bits} bits": _beyond(drive, n.drive_bits),
            "v saturates above": voltage >= top,
            "v saturates below": voltage <= -top,
        }
        seen.update(k for k, where in met.items() if where.any())
        return new, spikes

    with patch.object(definition, "lif", lif):
        yield seen


def _beyond(x: np.ndarray, bits: int) -> np.ndarray:
    return definition.wrapped(x, bits) != x


def lif_features(program: Program, x: Inputs, trace: Trace) -> set[str]:
    """Return what networks of ``Lif`` have, as far as something happened there."""
    del x
    net = program.network
    fires = [p for p in net.populations if isinstance(p, Lif) and trace.events[p.name].any()]
    has = {
        "several inputs": len(net.inputs) > 1,
        "layer deeper than the output": program.tail > program.depth,
        "sample shorter than the depth": net.time_steps < program.depth,
        "no decay of u": any(p.du == -1 for p in fires),
        "no memory in u": any(p.du == 4095 for p in fires),
        "no decay of v": any(p.dv == 0 for p in fires),
        "no memory in v": any(p.dv == 4096 for p in fires),
    }
    has |= several_outputs(program)
    live = alive(program, trace)
    posts = Counter(c.post for c, _ in live)
    found = {k for k, there in has.items() if there}
    found |= {"branches that sum"} if max(posts.values(), default=0) > 1 else set()
    return found.union(*(synapses(program, c, d) for c, d in live))


def several_outputs(program: Program) -> dict[str, bool]:
    """Return what a network of several outputs has."""
    of = list(program.network.outputs.values())
    return {
        "several outputs": len(of) > 1,
        "outputs at different depths": len({program.phase[p] for p in of}) > 1,
        "outputs of one population": len(set(of)) < len(of),
    }


def alive(program: Program, trace: Trace) -> list[tuple[Connection, int]]:
    """Return connections with their delays on the chip, if events came through in the sample."""
    return [
        (c, d)
        for c, d in zip(program.network.connections, program.delays, strict=True)
        if trace.events[c.pre][: max(0, trace.steps - c.delay)].any()
    ]


def synapses(program: Program, c: Connection, on_chip: int) -> set[str]:
    """Return what a connection is."""
    net = program.network
    graded = {p.name for p in net.inputs if p.max_value > 1}
    around = c.pre in next((names for names in net.components() if c.post in names), ())
    conv = c.synapses if isinstance(c.synapses, Conv) else None
    low, high = c.synapses.weight.min(initial=0), c.synapses.weight.max(initial=0)
    has = {
        "convolution" if conv else c.synapses.kind: True,
        "stride": conv and max(conv.stride) > 1,
        "padding": conv and max(conv.padding) > 0,
        "dilation": conv and max(conv.dilation) > 1,
        "groups": conv and conv.groups > 1,
        "groups of several channels": conv and conv.groups > 1 and conv.weight.shape[1] > 1,
        "excitatory": low == 0 < high,
        "inhibitory": low < 0 == high,
        "both signs": c.mixed,
        "all zero": low == high,
        f"exponent {c.exponent}": True,
        f"weights of {format_bits(c.synapses.weight)} bits": True,
        "graded input": c.pre in graded,
        "graded input with a delay": c.pre in graded and c.delay,
        "spike through a loop of one layer": c.pre == c.post,
        "spike through a loop of several layers": around and c.pre != c.post,
        "delay in the sample's time": c.delay,
        "delay of 63 chip steps": on_chip == 63,
    }
    return {k for k, there in has.items() if there}


KERNELS = ("convolution", "stride", "padding", "dilation", "groups", "groups of several channels")
LIF_GROUPS: Groups = {
    "synapses": [
        "dense", "sparse", *KERNELS, "excitatory", "inhibitory", "both signs", "all zero",
    ],
    "exponents": [f"exponent {e}" for e in range(-8, 8)],
    "graph": [
        "several inputs", "several outputs", "outputs at different depths",
        "outputs of one population", "branches that sum", "layer deeper than the output",
        "sample shorter than the depth", "spike through a loop of one layer",
        "spike through a loop of several layers", "delay in the sample's time",
        "delay of 63 chip steps",
    ],
    "states": [
        "u wraps at 24 bits", "v saturates above", "v saturates below", "no decay of u",
        "no memory in u", "no decay of v", "no memory in v",
    ],
}  # fmt: skip
LIF_2 = LIF_GROUPS | {
    "Loihi 2": ["graded input", "graded input with a delay", "a sum wraps at 32 bits"],
}
LIF_1 = LIF_GROUPS | {
    "Loihi 1": [
        *(f"weights of {n} bits" for n in WEIGHT_BITS), "a sum wraps at 22 bits",
        "a drive wraps at 24 bits",
    ],
}  # fmt: skip


# The other neurons of Loihi 2.


def others_of_loihi_2(seed: int, samples: int, copies: int) -> tuple[Program, Inputs]:
    """A third are read by sums, a third are sigma-delta networks, a third resonate."""
    kind = ("sums", "sdnn", "rf")[seed % 3]
    if kind == "sums":
        plain = random_program(seed, layers=2, extreme=seed % 2 == 0, loops=seed % 4 > 1)
        return shown(read_out(plain, seed), seed, samples, copies)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.net"
        random_file(path, seed, kind)
        program = compile_network(netx.read(path), targets.load("loihi2"))
    program, x = shown(program, seed, samples, copies)
    # The largest inputs would add up to more than a sum of graded spikes holds, which is refused.
    return program, {k: v // 16 if kind == "sdnn" else v for k, v in x.items()}


def other_features(program: Program, x: Inputs, trace: Trace) -> set[str]:
    """Return what the neurons did that are no ``Lif``."""
    found = {f for c, _ in alive(program, trace) for f in synapses(program, c, 1)} & {*KERNELS}
    found |= {"inputs of both signs"} if any((v < 0).any() for v in x.values()) else set()
    for p in program.network.populations:
        layer = trace.layers[p.name]
        sent, u, v = layer.spikes, layer["u"], layer["v"]
        match p:
            case Delta():
                has = {"delta encoder": True, "a change is kept until it is large": v.any()}
            case SigmaDelta():
                below = u.reshape(-1, p.size) + (p.bias.astype(int) << (p.spike_exp + 6)) < 0
                has = {
                    "sigma-delta": True, "sigma-delta that sends every change": p.vth == 0,
                    "sigma-delta with a bias": p.bias.any(),
                    "a change is kept until it is large": v.any(),
                    "the rectifier cuts a negative sum": below.any(),
                }  # fmt: skip
            case Sigma():
                has = {"sum so far": True}
            case Graded():
                has = {"sum of the step": True}
            case Resonator():
                has = {
                    "resonator that is set back" if p.resets else "resonator": True,
                    "a resonator saturates": (np.abs(np.stack([u, v])) == (1 << 23) - 1).any(),
                }  # fmt: skip
            case _:
                continue
        if sent.any():
            found |= {k for k, there in has.items() if there}
        found |= {"graded spikes below 0"} if (sent < 0).any() else set()
    return found


OTHERS: Groups = {
    "neurons that sent something": [
        "delta encoder", "sigma-delta", "sigma-delta with a bias",
        "sigma-delta that sends every change", "sum of the step", "sum so far", "resonator",
        "resonator that is set back",
    ],
    "states": [
        "a change is kept until it is large", "the rectifier cuts a negative sum",
        "graded spikes below 0",
    ],
    "inputs and synapses": ["inputs of both signs", *KERNELS],
}  # fmt: skip


# The Xylo family.


def xylo_networks(seed: int, samples: int, copies: int) -> tuple[Program, Inputs]:
    """The three chips in turn; half of the networks drive their states to both ends."""
    assert copies == 1, "a Xylo has no room for more"
    chip = list(CHIPS.values())[seed % len(CHIPS)]
    program = random_xylo(seed, chip, extreme=seed // len(CHIPS) % 2 == 1)
    return program, random_spikes(program, samples, seed)


@contextmanager
def saturating() -> Iterator[set[str]]:
    """Note whether the definition's sums meet the ends of their range."""
    seen, plain = set[str](), xylo.add

    def add(x: Any, y: Any, n: Any) -> Any:
        if (x + y > n.state_max).any():
            seen.add("a sum saturates above")
        if (x + y < -n.state_max - 1).any():
            seen.add("a sum saturates below")
        return plain(x, y, n)

    with patch.object(xylo, "add", add):
        yield seen


def xylo_features(program: Program, x: Inputs, trace: Trace) -> set[str]:
    """Return what a network of Xylo neurons has and did."""
    net, n = program.network, numbers_of(program.network)
    found = {program.target.title}
    heads = several_outputs(program)
    found |= {k for k in ("several outputs", "outputs at different depths") if heads[k]}
    found |= {"several spikes of an input in a step"} if next(iter(x.values())).max() > 1 else set()
    for p in net.populations:
        layer, hidden = trace.layers[p.name], isinstance(p, Hidden)
        dashes = np.concatenate([p.dash_mem, p.dash_syn])
        has = {
            "several spikes of a neuron in a step": layer.spikes.max() > 1,
            "the most spikes of a neuron in a step": hidden
            and layer.spikes.max() == n.hidden_spikes,
            "a readout neuron": not hidden and layer.spikes.any(),
            "alias of a later neuron": hidden and _alias(net, p, later=True),
            "alias of an earlier neuron, or of itself": hidden and _alias(net, p, later=False),
            "bias": p.bias.any(),
            "decay by 2^-0": (dashes == 0).any(),
            "decay by 2^-15": (dashes == 15).any(),
            "membrane at its smallest": layer["vmem"].min() == -n.state_max - 1,
        }
        found |= {k for k, there in has.items() if there}
    for c, _ in alive(program, trace):
        to = group(net, c)
        found |= {f"shift {c.exponent}", f"{to} weights", f"spikes into {c.part}"}
        found |= {"recurrent layer"} if c.pre == c.post else set()
    return found


def _alias(net: IntNetwork, p: Hidden, *, later: bool) -> bool:
    ids = first_ids(net)[p.name] + np.arange(p.size)
    there = p.alias >= 0
    return bool((there & ((p.alias > ids) == later)).any())


XYLO: Groups = {
    "chips": [t.title for t in CHIPS.values()],
    "synapses": [
        "input weights", "recurrent weights", "readout weights", "recurrent layer",
        "spikes into isyn", "spikes into isyn2", *(f"shift {s}" for s in range(8)),
    ],
    "graph": ["several outputs", "outputs at different depths"],
    "neurons": [
        "several spikes of an input in a step", "several spikes of a neuron in a step",
        "the most spikes of a neuron in a step", "a readout neuron", "alias of a later neuron",
        "alias of an earlier neuron, or of itself", "bias", "decay by 2^-0", "decay by 2^-15",
    ],
    "states": ["a sum saturates above", "a sum saturates below", "membrane at its smallest"],
}  # fmt: skip

LOIHI_2_LIF = Sweep(
    "Loihi 2: leaky integrate-and-fire neurons",
    "Chains and branches; half of the networks overflow, half have loops and delays.",
    lif_of_loihi_2, lif_features, LIF_2, "lava",
    ours=Part(1000, 256, 300_000_000), theirs=Part(100, 64, 50_000_000, copies=32), watched=edges,
)  # fmt: skip
LOIHI_2_OTHERS = Sweep(
    "Loihi 2: its other neurons",
    "A third are read by graded sums, a third are sigma-delta networks and a third resonators.",
    others_of_loihi_2, other_features, OTHERS, "lava",
    ours=Part(300, 256, 300_000_000), theirs=Part(99, 64, 50_000_000, copies=32),
)  # fmt: skip
LOIHI_1 = Sweep(
    "Loihi 1",
    "As those of Loihi 2, with weights of 1 to 8 bits and spikes without a value; in a fifth of "
    "the networks currents climb until they wrap.",
    lif_of_loihi_1, lif_features, LIF_1, "nengo-loihi",
    ours=Part(1000, 256, 300_000_000), theirs=Part(100, 15), watched=edges,
)  # fmt: skip
XYLOS = Sweep(
    "Xylo: Audio 2, IMU and Audio 3",
    "Hidden layers with recurrence, aliases, biases and, on Audio 2, two synapses; half of the "
    "networks drive their states to both ends.",
    xylo_networks, xylo_features, XYLO, "xylosim",
    ours=Part(300, 1024, 100_000_000), theirs=Part(300, 64), watched=saturating,
)  # fmt: skip
SWEEPS = (LOIHI_2_LIF, LOIHI_2_OTHERS, LOIHI_1, XYLOS)
