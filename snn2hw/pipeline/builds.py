"""From a model to a build, and what can be done with a build: simulate, verify, price."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import estimator, families, nir_io, rewrites
from snn2hw import target as targets
from snn2hw.archives import write_npz
from snn2hw.errors import InputError, Snn2hwError, UnsupportedError, listed, unknown_name
from snn2hw.files import about, expanded, scratch, sha256, write_json
from snn2hw.ir.graph import wiring
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace
from snn2hw.passes import simplify
from snn2hw.pipeline import counting
from snn2hw.pipeline.compiler import compile_network, reasons
from snn2hw.pipeline.samples import Ints, Port, Samples, held_out, told_encoder
from snn2hw.simulate import compare, floating
from snn2hw.simulate.inputs import check_inputs
from snn2hw.store import folders


@dataclass(frozen=True, slots=True)
class Model:
    """A network from a file or a run, with what is known about it.

    ``given`` is the path or name that it is found by.
    """

    name: str
    network: Network | IntNetwork
    files: Mapping[str, Path]
    data: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    given: str = ""

    def hashes(self) -> dict[str, str]:
        """Return the hash of each file, by what it is."""
        return {k: sha256(f) for k, f in self.files.items()}

    @property
    def source(self) -> Path:
        """The file it is from, as errors name it; for a network made in Python its name."""
        return next(iter(self.files.values()), Path(self.name))


def load_model(
    given: str | None,
    root: Path,
    choice: nir_io.Choice = nir_io.NOTHING,
    *,
    must_know_dt: bool = True,
) -> Model:
    """Load a run, a ``.nir`` or ``.net`` file, or a model by name; None is the newest run.

    Args:
        given: path or name.
        root: the working directory.
        choice: what the file may not say.
        must_know_dt: False to take any time step where nothing tells it, as for a listing.
    """
    if given is not None:
        path = expanded(given)
        if path.suffix == ".nir":
            net, notes = nir_io.read(path, choice, must_know_dt=must_know_dt)
            return Model(path.stem, net, {"nir": path}, notes=tuple(notes), given=given)
        vendor = _vendor_files().get(path.suffix)
        if vendor is not None and vendor.read is not None:
            ints = vendor.read(path, time_steps=choice.time_steps, input_max=choice.input_max)
            notes = vendor.notes(ints)
            return Model(path.stem, ints, {path.suffix[1:]: path}, notes=notes, given=given)
        if path.suffix == ".onnx":
            raise UnsupportedError(
                f"{path} is a network that does not spike.",
                f"Distill a student from it first: snn2hw distill --teacher {path}",
            )
        if path.is_file():
            known = listed([".nir", *_vendor_files()])
            raise InputError(f"{path} is of no kind known here: {known}.", "Give one, or a run.")
        if not path.exists() and not (root / "runs" / given).exists():
            return _shipped_model(given, root)
    run = folders.read_run(folders.find("runs", given, root))
    net, notes = nir_io.read(run.student, choice)
    return Model(
        run.name, net, {"nir": run.student}, run.metrics.get("data"), run.metrics, tuple(notes),
        given or run.name,
    )  # fmt: skip


def _vendor_files() -> dict[str, families.VendorFile]:
    """Return the files of vendors that can be read, by what their names end with."""
    files = (f.file for f in families.FAMILIES.values())
    return {Path(f.name).suffix: f for f in files if f is not None and f.read is not None}


def _shipped_model(name: str, root: Path) -> Model:
    folder = models_directory() / name
    if not folder.is_dir():
        runs = root / "runs"
        known = [p.name for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
        raise unknown_name("run, file or model", name, [*known, *model_names()])
    recipe = model_recipe(name)
    net, notes = nir_io.read(folder / "network.nir")
    files = {"nir": folder / "network.nir"}
    return Model(name, net, files, recipe["data"], recipe, tuple(notes), name)


def models_directory() -> Path:
    """Return where the shipped models are: beside the package, or inside a wheel."""
    inside = Path(__file__).parent.parent / "_models"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "models"


def model_recipe(name: str) -> dict[str, Any]:
    """Return what a shipped model was made from, and its accuracies."""
    path = models_directory() / name / "recipe.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def model_names() -> list[str]:
    """Return the shipped models' names."""
    return sorted(p.parent.name for p in models_directory().glob("*/recipe.toml"))


def export(
    model: Model,
    target: Target,
    root: Path,
    *,
    name: str | None = None,
    time_steps: int | None = None,
    allowed: Sequence[str] = (),
    data_dir: Path | None = None,
) -> folders.Build:
    """Compile a model and write its build folder.

    Args:
        model: the network.
        target: the chip.
        root: the working directory.
        name: of the build; by default those of model and target.
        time_steps: steps of one sample, where the network does not say.
        allowed: rewrites that may replace what the target cannot do; what they changed is measured.
        data_dir: where to look for the model's data first.
    """
    if name is not None and not folders.is_plain(name):
        raise InputError(f"{name!r} cannot be the name of a build.", "Use a plain, short word.")
    with about(model.source):
        network, program, rewritten = compiled(
            model, target, time_steps=time_steps, allowed=allowed, data_dir=data_dir
        )
    file = families.of(target).file
    kept = ("accuracy", "teacher_accuracy", "method", "sparsity", "data_note")
    return folders.write_build(
        root / "builds" / (name or f"{model.name}-{target.name}"),
        program,
        inputs=model.files,
        options={"time_steps": time_steps, "rewrite": list(allowed)},
        extra={
            "model": model.given,
            "float": _rules(network) if isinstance(network, Network) else None,
            "rewrites": rewritten,
            "data": model.data,
            "encoder": model.metrics.get("encoder"),
            "run": {k: model.metrics[k] for k in kept if k in model.metrics},
            "notes": list(model.notes),
        },
        vendor_file=file and file.name,
        planned=file and file.plan(program),
    )


def compiled(
    model: Model,
    target: Target,
    *,
    time_steps: int | None = None,
    allowed: Sequence[str] = (),
    data_dir: Path | None = None,
) -> tuple[Network | IntNetwork, Program, dict[str, Any] | None]:
    """Compile a model, after the rewrites that it needs of those that are allowed.

    Returns:
        The network that was compiled, the program, and what the rewrites changed: ``applied``,
        ``measured_on``, ``same_predictions``, ``spikes_per_sample`` and, where labels are known,
        ``accuracy``, before and after; None if there were none.
    """
    network = model.network
    applied: list[str] = []
    if isinstance(network, Network) and allowed:
        network, applied = rewrites.rewrite(network, target, list(allowed))
    program = compile_network(network, target, time_steps=time_steps)
    if not isinstance(network, Network) or not applied:
        return network, program, None
    # Only what compiles can be compared.
    return network, program, _measured(model, network, applied, time_steps, data_dir)


def _rules(net: Network) -> dict[str, Any]:
    """Return what was taken for the float network's time step, which its file may not say."""
    resets = sorted({n.reset for n in net.neurons().values()})
    rules = asdict(net.rules)
    unsaid = [k for k in ("most", "most_out") if rules[k] is None]
    return {"dt": net.dt, "reset": resets, **{k: v for k, v in rules.items() if k not in unsaid}}


MEASURED_SAMPLES = 200


def _measured(
    model: Model,
    changed: Network,
    applied: list[str],
    time_steps: int | None,
    data_dir: Path | None,
) -> dict[str, Any]:
    """Run the network before and after its rewrites and say what they changed."""
    net = model.network
    assert isinstance(net, Network)
    steps = time_steps or net.time_steps or 1
    samples = _measuring_samples(model, net, steps, data_dir)
    was, now = floating.run(net, samples.inputs), floating.run(changed, samples.inputs)
    spikes = [sum(float(t.events[n].sum()) for n in net.neurons()) for t in (was, now)]
    found: dict[str, Any] = {
        "applied": {name: rewrites.REWRITES[name].about for name in applied},
        "measured_on": f"{was.samples} samples of {samples.source}, in float, before quantization",
        "same_predictions": float((was.prediction == now.prediction).mean()),
        "spikes_per_sample": [s / was.samples for s in spikes],
    }
    if samples.labels is not None:
        found["accuracy"] = [float((t.prediction == samples.labels).mean()) for t in (was, now)]
    return found


def _measuring_samples(model: Model, net: Network, steps: int, data_dir: Path | None) -> Samples:
    ports = net.inputs()
    if model.data and len(ports) == 1:
        ((name, node),) = ports.items()
        port = Port(model.name, name, node.shape, steps, told_encoder(model.metrics))
        return held_out(model.data, port, MEASURED_SAMPLES, data_dir)
    r = np.random.default_rng(0)
    made: dict[str, Ints] = {
        k: r.integers(0, n.max_value + 1, (MEASURED_SAMPLES, steps, *n.shape))
        for k, n in ports.items()
    }
    return Samples(made, None, "random inputs")


def load_any(given: str | None, root: Path, choice: nir_io.Choice = nir_io.NOTHING) -> Model:
    """Load a model, or what a build was made of; None is the newest run or build.

    A build's float network is where the build had it from; if it is not there any more, or is
    another, there are the build's integers.
    """
    path = folders.newest(root) if given is None else folders.built(given, root)
    if path is None or not (path / "build.json").exists():
        return load_model(given, root, choice)
    build = folders.read_build(path)
    with suppress(Snn2hwError):
        model = load_model(build.info["model"], root, choice)
        if model.hashes() == {k: x["sha256"] for k, x in build.info["inputs"].items()}:
            return model
    data, encoder = build.info["data"], build.info["encoder"]
    return Model(build.name, build.program.network, {}, data, {"encoder": encoder})


def load_build(given: str | None, root: Path) -> folders.Build:
    """Open a build by path or name; None is the newest."""
    return folders.read_build(folders.find("builds", given, root))


def simulate(
    build: folders.Build,
    samples: Samples,
    on: str = "exact",
    *,
    states: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Run a build on our exact simulator or in the vendor's."""
    family = families.of(build.program.target)
    if on == "exact":
        return family.run(build.program, samples.inputs, states=states, progress=progress)
    simulators = families.simulators(build.program.target)
    if on in simulators:
        check_inputs(build.program, samples.inputs)
        vendor = simulators[on]
        return vendor.run(
            build.program, samples.inputs, program_file=build.program_file, vendor_file=None
        ).trace
    if on in families.vendors():
        vendor = family.vendors.get(on)
        why = vendor and vendor.why_not(build.program.target)
        raise UnsupportedError(
            f"{build.name} is built for {build.program.target.title}, which {on} does not "
            f"simulate{f': {why}' if why else ''}.",
            f"Use --on {' or '.join(['exact', *simulators])}.",
        )
    raise unknown_name("simulator", on, ("exact", *families.vendors(), "float"))


def accuracy(trace: Trace, labels: NDArray[np.int64] | None) -> float | None:
    """Return the share of right predictions, or None without labels."""
    return None if labels is None else float((trace.prediction == labels).mean())


def save_trace(
    path: Path, trace: Trace, labels: NDArray[np.int64] | None = None, *, layers: bool
) -> None:
    """Write spikes on chip time, predictions and labels, and with ``layers`` every state."""
    arrays: dict[str, Any] = {
        "spikes": trace.on_chip_time(trace.spikes, trace.depth),
        "prediction": trace.prediction,
    }
    if labels is not None:
        arrays["label"] = labels
    if layers:
        for name, layer in trace.layers.items():
            for what in layer.names:
                whole = trace.on_chip_time(layer[what], trace.phase[name])
                arrays[f"{name}.{what}"] = whole
    write_npz(path, arrays, make_folder=False)


def verify(build: folders.Build, samples: Samples) -> dict[str, Any]:
    """Compare a build with the vendor's simulator, and keep the proof in the build folder."""
    found = compare_with_vendor(
        build.program, samples.inputs, build.program_file, build.vendor_file
    )
    if found["against"] is not None:
        write_json(build.path / folders.PROOF, found)
    return found


def compare_with_vendor(
    program: Program, inputs: Mapping[str, Ints], file: Path, vendor_file: Path | None
) -> dict[str, Any]:
    """Run samples here and in the vendor's simulator and compare every spike and state.

    Through ``program.h5``, and, where there is one, through the vendor's own file and its loader
    as well.

    Returns:
        The document of ``snn2hw verify --json``.
    """
    total: dict[str, Any] = {
        "samples": 0, "steps": 0, "compared": 0, "mismatches": 0, "first": None,
    }  # fmt: skip
    family = families.of(program.target)
    simulators = families.simulators(program.target)
    if not simulators:
        reason = f"There is no vendor's simulator of {program.target.title} to compare with."
        return {"against": None, "reason": reason, **total}
    vendor = next((v for v in simulators.values() if v.environment.interpreter is not None), None)
    if vendor is None:
        them = [v.environment for v in simulators.values()]
        ways = " or ".join(e.install_command for e in them)
        reason = f"{' or '.join(e.title for e in them)} is not installed. Run: {ways}"
        return {"against": None, "reason": reason, **total}
    ours = family.run(program, inputs, states=True)
    total |= {"samples": ours.samples, "steps": program.chip_steps(ours.steps)}
    paths: list[dict[str, Any]] = []
    for through in dict.fromkeys((None, vendor_file)):
        done = vendor.run(program, inputs, program_file=file, vendor_file=through)
        found = compare.traces(ours, done.trace)
        paths.append({"through": done.through, "processes": dict(done.processes), **found.json()})
        total["compared"] += found.compared
        total["mismatches"] += found.mismatches
        total["first"] = total["first"] or paths[-1]["first"]
    return {"against": vendor.environment.title, **total, "paths": paths}


def energy_report(
    build: folders.Build,
    samples: Samples,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[estimator.EnergyReport, Trace]:
    """Run a build, price what was counted, and keep the report in the build folder."""
    trace, found = counting.run(build.program, samples.inputs, progress=progress)
    report = replace(
        counting.report(build.program, trace, found, build.program.target),
        data=samples.source, accuracy=accuracy(trace, samples.labels),
    )  # fmt: skip
    write_json(build.path / folders.BILL, report.json())
    return report, trace


def fits(model: Model, names: list[str]) -> dict[str, list[str]]:
    """Say for each target every reason why a model does not build for it: none where it does."""
    if isinstance(model.network, Network):
        try:
            wiring(simplify(model.network))
        except Snn2hwError as error:  # whatever the target
            return {name: [str(error)] for name in names}
    return {name: reasons(model.network, targets.load(name)) for name in names}


def would_help(model: Model, refused: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Name the rewrites with which a model builds for targets that refuse it as it is.

    Args:
        model: the network.
        refused: what ``fits`` said.
    """
    answers: dict[str, list[str]] = {}
    for target in (targets.load(name) for name, why in refused.items() if why):
        if isinstance(model.network, Network):
            changed, applied = rewrites.rewrite(model.network, target, ["all"])
            if applied and not reasons(changed, target):
                answers[target.name] = applied
    return answers


def compare_targets(
    model: Model, names: list[str], samples: Callable[[folders.Build], Samples]
) -> list[dict[str, Any]]:
    """Build, simulate and price one model for several targets, and keep nothing of it.

    A target that refuses it is a row with every reason, and so is a name that no target has.
    """
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            target = targets.load(name)
        except InputError as error:
            rows.append({"target": name, "fits": False, "reasons": [str(error)]})
            continue
        with scratch(Path(tempfile.gettempdir())) as folder:
            try:
                build = export(model, target, folder)
            except Snn2hwError as error:
                why = reasons(model.network, target) or [str(error)]
                rows.append({"target": target.name, "fits": False, "reasons": why})
                continue
            report, _ = energy_report(build, samples(build))
            rows.append({"fits": True, **report.json()})
    return rows
