# pyright: basic
"""Reading NIR files, those of older versions and other frameworks included."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from snn2hw import preprocessing
from snn2hw.errors import InputError, NetworkError, listed, named, unknown_name
from snn2hw.files import reading
from snn2hw.hdf5 import numbers
from snn2hw.ir.arrays import Edge
from snn2hw.ir.discrete import coefficients, contents
from snn2hw.ir.graph import steps_of
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Delay, Fires, Leaky, Lif, Node, Reset
from snn2hw.nir_io.flat import Flat, Note, flatten, new_name
from snn2hw.nir_io.meant import Meant, meant, with_unsound
from snn2hw.nir_io.nodes import convert
from snn2hw.nir_io.stored import read_graph
from snn2hw.nir_io.writers import MISSED, WRITERS, Choice, Writer

KEY = "snn2hw"
NOTHING = Choice()
TIMED = ("r", "tau", "tau_mem", "tau_syn")
SPIKING = ("IF", "LIF", "CubaLIF")
LISTING_DT = 1e-4  # what the NIR paper and snnTorch step by
FOR_LISTING = "for this listing; an export asks for it (--dt)"  # as notes end


def read(
    path: Path, choice: Choice = NOTHING, *, must_know_dt: bool = True
) -> tuple[Network, list[str]]:
    """Read a NIR file; the caller's choice goes before the file's metadata, this before guesses.

    Args:
        path: the file.
        choice: what the file may not say.
        must_know_dt: raise where nothing tells the time step; False takes 1e-4 s, or the shortest
            time constant, and says so.

    Returns:
        The network, and a sentence for everything that was repaired or assumed.

    Raises:
        InputError: names everything that is wrong with the file, or that it lacks.
        NetworkError: names every node that is not sound.
    """
    with reading(path, "a NIR file"):
        graph, version = read_graph(path)
        try:
            ours = _metadata(graph.metadata.get(KEY, {}))
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise InputError(f"{path}: its metadata of snn2hw cannot be read: {error}.") from None
        flat = flatten(graph)
        reset, rules, notes = _rules(flat, choice, ours)
        if choice.written_by == "snntorch" and reset == "zero-late":
            # Its Leaky forgets the membrane a step late, which is before the next decay: at once.
            ours["resets"] |= dict.fromkeys(_feedforward(flat), "zero")
        done = preprocessing.said(
            choice.input_scale, choice.input_mean, choice.input_std, choice.input_max
        )
        input_max = choice.input_max or (done and done.input_max)
        ends = [k for k, n in flat.nodes.items() if n.kind == "Input" and input_max]
        largest = ours["input_max"] | dict.fromkeys(ends, input_max)
        nodes, edges = convert(flat, ours["resets"], reset, largest)
        if flat.problems:
            raise InputError(
                f"{path} (nir {version}) cannot be read: {listed(flat.problems, '; ')}.",
                "Correct these nodes where the file was written.",
            )
        dt = _time_step(path, flat, choice, ours, notes, must_know_dt)
        try:
            nodes = _meant(path, flat, nodes, dt, rules, choice, ours["fires"])
        except InputError as error:
            raise with_unsound(error, nodes, edges, dt) from None
        if choice.written_by and WRITERS[choice.written_by].late:
            nodes, edges = _sent_late(nodes, edges, dt)
            notes.append(f"spikes leave their neurons one step late, as in {choice.written_by}")
        try:
            steps = choice.time_steps or ours.get("time_steps")
            net = Network(nodes, tuple(edges), dt, steps, rules)
        except NetworkError as error:
            if not _negative(nodes):
                raise
            raise NetworkError(
                error.message,
                "A negative tau stands for a decay above 1. If Spyx wrote the file, which takes "
                "it as 1, give --written-by spyx, in Python written_by='spyx'.",
            ) from None
        net = _scaled(path, net, done, ours["input_gain"], ours["input_offset"])
        if done is None and not ours["input_max"]:
            notes += preprocessing.unsaid(net, "--input-scale")
        return net, _gathered(flat.notes) + notes


def _scaled(
    path: Path,
    net: Network,
    done: preprocessing.Preprocessing | None,
    gains: Mapping[str, NDArray[np.float64]],
    offsets: Mapping[str, NDArray[np.float64]],
) -> Network:
    """Say what the author fed, as the file tells it or the caller does."""
    if done is not None and (gains or offsets):
        raise InputError(
            f"{path} takes integers already: a scale of its input is in its first layer.",
            "Leave out --input-scale, --input-mean and --input-std (in Python input_scale= and so "
            "on).",
        )
    if done is not None:
        return done.applied(net)
    ports = net.inputs()
    known = {k: n for k, n in ports.items() if k in gains or k in offsets}
    for name, port in known.items():
        gain, offset = gains.get(name, port.gain), offsets.get(name, port.offset)
        known[name] = replace(port, gain=gain, offset=offset)
    return replace(net, nodes={**net.nodes, **known}) if known else net


def _meant(
    path: Path,
    flat: Flat,
    nodes: Mapping[str, Node],
    dt: float,
    rules: Rules,
    choice: Choice,
    fires: Mapping[str, Fires],
) -> dict[str, Node]:
    """Return the nodes with the numbers that were meant, and say what a step makes of them."""
    made = dict(nodes)
    short: dict[str, float] = {}
    wrong: list[str] = []
    moves = rules.v_min is None
    known: dict[Hashable, Meant] = {}  # equal populations become one object: what follows is quick
    for name, node in nodes.items():
        if isinstance(node, Lif | Leaky):
            key = contents(node)
            found = known.get(key) or meant(
                node, dt, rules.integration, choice.written_by, moves=moves
            )
            known[key] = found
            made[name] = node = found.neuron
            flat.notes += [Note(name, found.said)] if found.said else []
            wrong += [f"{name} {found.wrong}"] if found.wrong else []
            kept = coefficients(node, dt, rules.integration)
            least = min(kept.keep_voltage.min(), kept.keep_current.min())
            short |= {name: float(least)} if least < 0 else {}
            if isinstance(node, Lif) and name in fires:
                made[name] = replace(node, fires=fires[name])
        elif isinstance(node, Delay):
            flat.notes += [Note(name, text) for text in _fractions(node, dt)]
    if wrong:
        raise InputError(f"{path}: {listed(wrong, '; ')}.")
    if short:
        name, least = next(iter(short.items()))
        norse = (
            " If Norse wrote the file, give --written-by norse, in Python written_by='norse'."
            * (choice.written_by is None)
        )
        raise InputError(
            f"{path}: {named(short, 'nodes')}: a time constant is below the time step of {dt:g} "
            f"s, which would multiply a membrane or a current by {least:.3g} in each step.",
            f"Give a smaller --dt (in Python dt=), or --integration exponential.{norse}",
        )
    return made


def _negative(nodes: Mapping[str, Node]) -> list[str]:
    return [k for k, n in nodes.items() if isinstance(n, Lif | Leaky) and (n.tau < 0).any()]


def _fractions(node: Delay, dt: float) -> list[str]:
    """Say which delays are no whole steps."""
    exact, whole = node.delay.reshape(-1) / dt, steps_of(node, dt)
    off = np.flatnonzero(np.abs(exact - whole) > 1e-6 * np.maximum(exact, 1.0))
    if not off.size:
        return []
    shown = [f"{exact[i]:.4g} is taken as {whole[i]}" for i in off[:3]]
    more = f" and {off.size - 3:,} more" * (off.size > 3)
    return [f"delays are no whole number of steps: {', '.join(shown)}{more}"]


def _sent_late(
    nodes: Mapping[str, Node], edges: Sequence[Edge], dt: float
) -> tuple[dict[str, Node], list[Edge]]:
    """Put a delay of one step behind every population that spikes."""
    made, behind = dict(nodes), {}
    for name, node in nodes.items():
        if isinstance(node, Lif):
            behind[name] = new_name(f"{name}.late", made)
            made[behind[name]] = Delay(np.full(node.shape, dt))
    return made, [*((behind.get(a, a), b) for a, b in edges), *behind.items()]


def _perhaps_late(flat: Flat) -> list[str]:
    """Name the neurons of snnTorch that reset to zero otherwise, unless they were told not to."""
    plain = {*_feedforward(flat), *(k for k, n in flat.nodes.items() if n.kind == "IF")}
    late = [k for k, n in flat.nodes.items() if n.kind in SPIKING and k not in plain]
    if not late:
        return []
    return [
        f"{named(late, 'nodes')}: taken to reset at once, as with reset_delay=False; with its "
        "default, reset_delay=True, snnTorch's RLeaky, Synaptic and RSynaptic lose the step after "
        "a spike: --reset zero-late"
    ]


def _feedforward(flat: Flat) -> list[str]:
    """Name the neurons without a synapse that no map joins to themselves."""
    return [
        name
        for name, node in flat.nodes.items()
        if node.kind == "LIF" and not any(name in flat.before(w) for w in flat.before(name))
    ]


def _metadata(raw: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "resets": {},
        "fires": {
            str(k): _one_of(str(v), get_args(Fires))
            for k, v in dict(raw.get("fires_of", {})).items()
        },
        "input_max": {k: _whole(v) for k, v in dict(raw.get("input_max", {})).items()},
        "rules": {},
    }
    for key in ("input_gain", "input_offset"):
        found = {str(k): numbers(v) for k, v in dict(raw.get(key, {})).items()}
        out[key] = {k: v.reshape(()) if v.size == 1 else v for k, v in found.items()}
    if "dt" in raw:
        out["dt"] = _number(raw["dt"])
    if "time_steps" in raw:
        out["time_steps"] = _whole(raw["time_steps"])
    reset = raw.get("reset")
    if isinstance(reset, Mapping):
        out["resets"] = {str(k): _one_of(str(v), get_args(Reset)) for k, v in reset.items()}
        out["reset"] = "zero"
    elif reset is not None:
        out["reset"] = _one_of(str(reset), get_args(Reset))
    for name, allowed in _rule_values().items():
        if name in raw:
            value = raw[name]
            out["rules"][name] = _one_of(str(value), allowed) if allowed else _number(value)
    for name in _MOST:
        if name in raw:
            out["rules"][name] = _whole(raw[name])
    return out


def _number(value: Any) -> float:
    found = numbers(value)
    if found.size != 1 or not np.isfinite(found).all():
        raise ValueError(f"{found.tolist()} is not a number")
    return float(found.item())


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number) or abs(number) >= 1 << 31:
        raise ValueError(f"{number:g} is not a whole number of 32 bits")
    return int(number)


def _rule_values() -> dict[str, tuple[Any, ...]]:
    """Return the values that each field of Rules may have; none for a number."""
    hints = get_type_hints(Rules)
    names = [f.name for f in fields(Rules) if f.name not in _MOST]
    return {n: () if n == "v_min" else get_args(hints[n]) for n in names}


_MOST = ("most", "most_out")  # which only a file of ours says


def _one_of(value: str, allowed: tuple[Any, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value


def _rules(flat: Flat, choice: Choice, ours: Mapping[str, Any]) -> tuple[Reset, Rules, list[str]]:
    if choice.written_by is not None and choice.written_by not in WRITERS:
        raise unknown_name("framework", choice.written_by, WRITERS)
    if choice.v_min is not None and not np.isfinite(choice.v_min):
        raise InputError(f"The lowest membrane potential is {choice.v_min}, not a finite number.")
    writer = WRITERS[choice.written_by or "nir"]
    said = {k: getattr(choice, k) for k in _rule_values() if getattr(choice, k) is not None}
    for name, allowed in {**_rule_values(), "reset": get_args(Reset)}.items():
        given = getattr(choice, name)
        if allowed and given is not None and given not in allowed:
            raise unknown_name(f"rule for {name}", str(given), allowed)
    rules = replace(writer.rules, **({} if choice.written_by else ours["rules"]), **said)
    if choice.reset is not None or choice.written_by:
        ours["resets"].clear()
    if choice.fires is not None or choice.written_by:
        ours["fires"].clear()
    by_file = None if choice.written_by else ours.get("reset")
    return choice.reset or by_file or writer.reset, rules, _of_resets(flat, choice, ours, writer)


def _of_resets(flat: Flat, choice: Choice, ours: Mapping[str, Any], writer: Writer) -> list[str]:
    """Say what was taken for resets that nobody stated, or that may have been others."""
    spiking = [n for n in flat.nodes.values() if n.kind in SPIKING]
    if not spiking:
        return []
    if choice.written_by == "snntorch" and choice.reset == "zero":
        return _perhaps_late(flat)
    if choice.written_by == "snntorch" and choice.reset == "subtract":
        return [f"reset by subtraction: {MISSED}"]
    if not (choice.reset or choice.written_by or ours.get("reset")):
        note = "the file does not say how neurons reset: taken as setting v_reset (--reset)"
        if all(n.kind == "IF" and "v_reset" not in n.values for n in spiking):
            note += "; if Sinabs wrote it, give --written-by sinabs"
        return [note]
    if choice.reset is None and choice.written_by and writer.others:
        return [
            f"the file does not say how neurons reset: taken as --reset {writer.reset}, as "
            f"{choice.written_by} itself reads it; if it was made otherwise, say so: "
            f"{writer.others}",
            *writer.unsaid,
        ]
    return [] if (choice.reset or "zero").startswith("subtract") else [*writer.unsaid]


def _time_step(
    path: Path,
    flat: Flat,
    choice: Choice,
    ours: Mapping[str, Any],
    notes: list[str],
    must_know: bool,
) -> float:
    by_writer = WRITERS[choice.written_by].dt if choice.written_by else None
    known = choice.dt or ours.get("dt") or by_writer
    if known:
        return float(known)
    guess, why = _guess_dt(flat)
    if guess is None and must_know:
        raise InputError(
            f"{path} does not say its time step.", "Give --dt, in Python dt=, in seconds."
        )
    if guess is None:
        step = min(LISTING_DT, *_time_constants(flat))
        notes.append(f"the file does not say its time step: {step:g} s {FOR_LISTING}")
        return step
    notes.append(f"the file does not say its time step: taken as {guess:g} s, {why} (--dt)")
    return guess


def _time_constants(flat: Flat) -> list[float]:
    """Return every time constant above 0."""
    found = [_parameters(n.values) for n in flat.nodes.values() if "r" in n.values]
    taus = [v[k] for v in found for k in ("tau", "tau_mem", "tau_syn") if k in v]
    return [float(t) for t in np.concatenate([*taus, [LISTING_DT]]) if t > 0]


def _guess_dt(flat: Flat) -> tuple[float | None, str]:
    """Guess the step from what the writer made of it in the neurons' parameters."""
    neurons = [_parameters(n.values) for n in flat.nodes.values() if "r" in n.values]
    taus = [v[k] for v in neurons for k in ("tau", "tau_mem", "tau_syn") if k in v]
    leaky = [v for v in neurons if "tau" in v or "tau_mem" in v]
    if not neurons:
        return 1.0, "as nothing in it takes time"
    if not leaky:
        gains = np.unique(np.concatenate([v["r"] for v in neurons]))
        if gains.size == 1 and gains[0] > 0:
            return float(1 / gains[0]), "in which an input of 1 raises the membrane by 1"
        return None, ""
    if all((t >= 1).all() for t in taus):
        return 1.0, "as its time constants are 1 or more: in steps, not seconds"
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = [v.get("tau_mem", v.get("tau", v["r"])) / v["r"] for v in leaky]
    steps = np.concatenate(gains)
    unit = all((v["r"] == 1).all() for v in leaky)
    if not unit and np.isfinite(steps).all() and np.ptp(steps) <= 1e-4 * abs(steps.max()) > 0:
        return float(f"{steps.mean():.4g}"), "tau / r of its neurons, as snnTorch writes them"
    return None, ""


def _parameters(values: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return a neuron's parameters as vectors of one length, or of one value."""
    found = {k: numbers(v).reshape(-1) for k, v in values.items() if k in TIMED}
    length = max(v.size for v in found.values())
    return {k: v if v.size == length else np.resize(v, length) for k, v in found.items()}


def _gathered(notes: list[Note]) -> list[str]:
    """Say what was done to many nodes alike in one sentence."""
    by_text: dict[str, dict[str, None]] = {}
    for note in notes:
        by_text.setdefault(note.text, {})[note.node] = None
    return [
        text if "" in nodes else f"{named(nodes, 'nodes')}: {text}"
        for text, nodes in by_text.items()
    ]
