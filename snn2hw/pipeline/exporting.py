"""From a model to a build, through the rewrites that are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, families, rewrites
from snn2hw import target as targets
from snn2hw.errors import InputError, Snn2hwError, counted, listed
from snn2hw.estimator import layer_counts
from snn2hw.files import about
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.pipeline import options
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Ints, Port, Samples
from snn2hw.pipeline.samples import held_out, told_encoder
from snn2hw.report import text
from snn2hw.simulate.inputs import sent
from snn2hw.store import folders
from snn2hw.store.replacing import check_place


def export(
    model: Model,
    target: Target,
    root: Path,
    *,
    name: str | None = None,
    time_steps: int | None = None,
    allowed: Sequence[str] = (),
    chips: int | None = None,
    data_dir: Path | None = None,
    shown: Samples | None = None,
) -> folders.Build:
    """Compile a model and write its build folder.

    Args:
        model: the network.
        target: the chip.
        root: the working directory.
        name: of the build, which replaces one of the same name; by default those of model and
            target.
        time_steps: steps of one sample, where the network does not say.
        allowed: rewrites that may replace what the target cannot do; what they changed is measured.
        chips: how many may be used; None for as many as the target's file says.
        data_dir: where to look for the model's data first.
        shown: what to measure rewrites on; None for the model's data, or random inputs.

    Raises:
        InputError: no name is given, and another program made with other options would be replaced;
            or something else than a build would be.
    """
    if name is not None and not folders.is_plain(name):
        raise InputError(f"{name!r} cannot be the name of a build.", "Use a plain, short word.")
    target = targets.with_chips(target, chips)
    path = root / "builds" / (name or f"{model.name}-{target.name}")
    check_place(path, families.vendor_files())  # before long work
    with about(model.source):
        network, program, rewritten = compiled(
            model, target, time_steps=time_steps, allowed=allowed, data_dir=data_dir, shown=shown
        )
    given = options.recorded(model.choice, time_steps, allowed, name, chips)
    if name is None:
        ways = f"Give --name OTHER to keep both, or --name {path.name} to replace it."
        refuse_other_options(path, program, given, ways)
    return write(path, replace(model, network=network), program, rewritten, given)


def write(
    path: Path,
    model: Model,
    program: Program,
    rewritten: Mapping[str, Any] | None,
    given: Mapping[str, Any],
) -> folders.Build:
    """Write the folder of a build.

    Args:
        path: the folder.
        model: what was compiled, after its rewrites.
        program: what it became.
        rewritten: what the rewrites changed.
        given: the options that the caller gave.
    """
    file, network = families.of(program.target).file, model.network
    planned = file and file.plan(program)
    loading = file.loading(program) if file and file.loading and callable(planned) else None
    kept = ("accuracy", "teacher_accuracy", "method", "sparsity", "data_note", "teacher_note")
    before = list(model.metrics.get("trained_before", ()))
    return folders.write_build(
        path,
        program,
        inputs=model.files,
        options=given,
        extra={
            "model": model.given,
            "float": _rules(network) if isinstance(network, Network) else None,
            "rewrites": rewritten,
            "data": model.data,
            "encoder": model.metrics.get("encoder"),
            "run": {k: model.metrics[k] for k in kept if k in model.metrics},
            "notes": list(model.notes),
            **({"trained_before": before} if before else {}),
        },
        vendor_file=file and file.name,
        planned=planned,
        loading=loading and asdict(loading),
    )


def refuse_other_options(
    path: Path, program: Program, given: Mapping[str, Any], ways: str, flag: str = options.FLAG
) -> None:
    """Keep a build from being replaced by what other options make of its model.

    Args:
        path: the folder where it may be.
        program: what is to replace it.
        given: the options that made it.
        ways: what else the caller can do.
        flag: how options are written, ``{}`` for the name.

    Raises:
        InputError: says which options differ.
    """
    try:
        there = folders.read_document(path)
    except Snn2hwError:
        return  # there is none, or none that can be read
    steps = (there["time_steps"], program.network.time_steps)
    other = options.differing(there["options"], given, steps, flag)
    if other and there["digest"] != program.digest():
        raise InputError(
            f"{path} is a build with other options: {listed(other, '; ')}.",
            ways,
        )


def compiled(
    model: Model,
    target: Target,
    *,
    time_steps: int | None = None,
    allowed: Sequence[str] = (),
    data_dir: Path | None = None,
    shown: Samples | None = None,
) -> tuple[Network | IntNetwork, Program, dict[str, Any] | None]:
    """Compile a model, after the rewrites that it needs of those that are allowed.

    Args:
        model: the network.
        target: the chip.
        time_steps: steps of one sample, where the network does not say.
        allowed: names of rewrites.
        data_dir: where to look for the model's data first.
        shown: what to measure rewrites on; None for the model's data, or random inputs.

    Returns:
        The network that was compiled, the program, and what the rewrites changed: ``applied``,
        ``measured_on``, ``same_predictions`` (of all outputs), ``spikes_per_sample`` and, where
        labels are known and there is one output, ``accuracy``, before and after, in float; the same
        of the program's integers, ``on_chip``. None if there were none.
    """
    network = model.network
    applied: list[str] = []
    if isinstance(network, Network) and allowed:
        network, applied = rewrites.rewrite(
            network, target, list(allowed), families.of(target).trains(target)
        )
    program = compile_network(network, target, time_steps=time_steps)
    if not isinstance(network, Network) or not isinstance(model.network, Network) or not applied:
        return network, program, None
    # Only what compiles can be compared.
    steps = program.network.time_steps
    samples = shown or _measuring_samples(model, model.network, steps, data_dir)
    return network, program, _measured(model.network, network, program, applied, samples)


def unneeded(
    allowed: Sequence[str], changed: Mapping[str, Any] | None, target: Target
) -> list[str]:
    """Say which rewrites were asked for by name and changed nothing.

    Args:
        allowed: names of rewrites.
        changed: what ``compiled`` says that they changed.
        target: the chip.
    """
    applied: Mapping[str, str] = changed["applied"] if changed else {}
    idle = [name for name in allowed if name != "all" and name not in applied]
    return [
        f"rewrite {name} changed nothing: there is nothing in the network that it replaces for "
        f"{target.title}"
        for name in idle
    ]


def _rules(net: Network) -> dict[str, Any]:
    """Return what was taken for the float network's time step, which its file may not say."""
    resets = sorted({n.reset for n in net.neurons().values()})
    rules = asdict(net.rules)
    unsaid = [k for k in ("most", "most_out") if rules[k] is None]
    return {"dt": net.dt, "reset": resets, **{k: v for k, v in rules.items() if k not in unsaid}}


MEASURED_SAMPLES = 200
Predictions = Mapping[str, NDArray[np.int64]]  # by output, [N]


def _measured(
    net: Network, changed: Network, program: Program, applied: list[str], samples: Samples
) -> dict[str, Any]:
    """Run the network before and after its rewrites, and the program, and say what changed.

    A membrane that is exactly on its threshold in integers may be just above it in float: what a
    rewrite does to such ties shows in the program only.
    """
    from snn2hw.simulate import floating  # here, as its compiler takes long to import

    was, now = floating.run(net, samples.inputs), floating.run(changed, samples.inputs)
    spikes = [sum(float(t.events[n].sum()) for n in net.neurons()) for t in (was, now)]
    chip = families.of(program.target).run(program, sent(program.network, samples.inputs))
    there = layer_counts(program, chip)
    on_chip: dict[str, Any] = {
        "same_predictions": _kept(was.predictions, chip.predictions),
        "spikes_per_sample": sum(there[n].spikes for n in _computing(net, program.network)),
    }
    found: dict[str, Any] = {
        "applied": {name: rewrites.REWRITES[name].about for name in applied},
        "measured_on": f"{counted(was.samples, 'sample')} of {samples.source}",
        "same_predictions": _kept(was.predictions, now.predictions),
        "spikes_per_sample": [s / was.samples for s in spikes],
        "on_chip": on_chip,
    }
    if samples.labels is not None and len(was.outputs) == 1:
        found["accuracy"] = [float((t.prediction == samples.labels).mean()) for t in (was, now)]
        on_chip["accuracy"] = float((chip.prediction == samples.labels).mean())
    return found


def _computing(net: Network, chip: IntNetwork) -> list[str]:
    """Name the chip's populations that a network's became: themselves, or their parts."""
    whole = {k: r.part_of for k, r in chip.rounding.items() if r.part_of}
    there = {p.name for p in chip.populations}
    return sorted(there & {*whole, *(set(net.neurons()) - set(whole.values()))})


def _kept(was: Predictions, now: Predictions) -> float:
    """Return the share of predictions that stay, of all outputs."""
    return float(np.mean([(p == now[name]).mean() for name, p in was.items()]))


def _measuring_samples(model: Model, net: Network, steps: int, data_dir: Path | None) -> Samples:
    ports = net.inputs()
    if model.data and datasets.split(model.data)[0] in datasets.DATASETS and len(ports) == 1:
        ((name, node),) = ports.items()
        encoder = told_encoder(model.metrics)
        port = Port(model.name, name, node.shape, steps, node.max_value, encoder)
        return held_out(model.data, port, MEASURED_SAMPLES, data_dir)
    r = np.random.default_rng(0)
    made: dict[str, Ints] = {
        k: r.integers(0, n.max_value + 1, (MEASURED_SAMPLES, steps, *n.shape))
        for k, n in ports.items()
    }
    return Samples(made, None, text.RANDOM)
