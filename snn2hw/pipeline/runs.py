# pyright: basic
"""Training runs: distill a student, prune one, and write what others read.

``command.json`` holds what was asked for. The same command finds the same folder again: a run that
was stopped goes on, one that is finished is reported and not repeated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, families, nir_io
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.encoders import Encoder
from snn2hw.errors import InputError, unknown_name
from snn2hw.files import expanded, read_json, write_json
from snn2hw.ir.network import Affine, Conv2d, Network
from snn2hw.ir.target import Target
from snn2hw.leading import leads
from snn2hw.passes import unit_resistance
from snn2hw.pipeline.budget import cores_of, density_for_cores
from snn2hw.simulate import floating
from snn2hw.store import folders
from snn2hw.store.documents import COMMAND
from snn2hw.store.folders import Run

SPARSITY = 0.75  # of a pruned run, unless it is said


def training() -> Any:
    """Import the training half, which needs PyTorch."""
    # Where one of several processes ends, the others' C++ would print where in its code it waited.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        from snn2hw import train
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("snn2hw"):
            raise
        raise InputError(
            f"Training needs {error.name}, which is not installed.",
            'Install it: pip install "snn2hw[train,data]"',
        ) from None
    return train


def distill(
    root: Path,
    *,
    teacher: str,
    student: str,
    data: str,
    name: str | None = None,
    data_dir: Path | None = None,
    progress: Any = None,
    options: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train or load a teacher, distill a student from it and write the run.

    Args:
        root: the working directory; the run goes to ``root/runs/<name>``.
        teacher: a teacher's name, or a file with one.
        student: a student's name.
        data: a data set's name.
        name: of the run; by default student and data set.
        data_dir: where to look for data first.
        progress: told how far the work is (``train.Progress``).
        options: fields of ``train.Recipe`` that differ from the defaults.
        where: fields of ``train.Devices``.
        tensorboard: write events to ``tensorboard/`` in the run.

    Raises:
        Interrupted: Ctrl-C; the same call goes on.
    """
    train = training()
    recipe, path, command = _prepare(root, teacher, student, data, name, options)
    if (path / "metrics.json").exists():
        return _remember(folders.read_run(path))
    dataset = datasets.load(data, data_dir, time_steps=recipe.time_steps)
    devices = train.Devices(**(where or {}))
    facts: dict[str, Any] = {"teacher_accuracy": None}
    taught = None
    if recipe.plan.needs_teacher:
        taught, facts = _teach(path, command, recipe, dataset, progress, devices, tensorboard)
    else:
        train.check(recipe, dataset, None, tensorboard=tensorboard)
    write_json(path / "command.json", command)
    made = train.distill_student(
        recipe, dataset, taught, path, progress, devices=devices, tensorboard=tensorboard
    )
    return _finish(path, made, dataset, recipe, facts)


def constants(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` as fields of ``train.Recipe``.

    Raises:
        InputError: there is no such field, or the value is of another kind.
    """
    kinds = {f.name: type(f.default) for f in fields(training().Recipe)}
    found: dict[str, Any] = {}
    for told in texts:
        name, _, value = told.partition("=")
        if name not in kinds:
            raise unknown_name("constant", name, [k for k in kinds if k not in ("data", "seed")])
        try:
            found[name] = value == "true" if kinds[name] is bool else kinds[name](value)
        except (TypeError, ValueError):
            raise InputError(
                f"{name} is {value!r}, not {_KINDS.get(kinds[name], 'a text')}."
            ) from None
    return found


_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def teach(
    root: Path,
    *,
    data_dir: Path | None = None,
    progress: Any = None,
    where: Mapping[str, Any] | None = None,
    **choice: Any,
) -> dict[str, Any]:
    """Train or load a teacher and say how good it is; ``distill`` with the same goes on from it.

    Args:
        root: the working directory.
        data_dir: as in ``distill``.
        progress: as in ``distill``.
        where: as in ``distill``.
        choice: ``teacher``, ``student``, ``data``, ``name`` and ``options`` of ``distill``.

    Returns:
        ``run``, ``teacher``, ``data``, ``samples``, ``teacher_accuracy`` and ``teacher_input``.
    """
    recipe, path, command = _prepare(root, **choice)
    dataset = datasets.load(recipe.data, data_dir, time_steps=recipe.time_steps)
    devices = training().Devices(**(where or {}))
    _, facts = _teach(path, command, recipe, dataset, progress, devices)
    told = {"run": str(path), "teacher": recipe.teacher, "data": recipe.data}
    return {**told, "samples": len(dataset.x_test), **facts}


def _prepare(
    root: Path,
    teacher: str,
    student: str,
    data: str,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Any, Path, dict[str, Any]]:
    """Return recipe, folder and command of a distillation; nothing is written."""
    train, path = training(), expanded(teacher)
    own = {k: v for k, v in (options or {}).items() if v is not None}
    recipe = train.defaults(student, data, teacher, **own)
    command = {"command": "distill", "recipe": recipe.to_json()}
    if teacher not in train.TEACHERS:
        file = train.student_file(path) if path.is_dir() else path
        command["teacher_sha256"] = train.digest(file)
    return recipe, _folder(root, name, f"{student}-{_plain(data)}", command), command


def _teach(
    path: Path,
    command: Mapping[str, Any],
    recipe: Any,
    dataset: Dataset,
    progress: Any,
    devices: Any,
    tensorboard: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """Return the run's teacher and the facts about it; a file that is no teacher leaves no run."""
    train = training()
    ready = None
    if not train.has_teacher(path):
        ready = train.open_teacher(recipe, dataset)
        train.check(recipe, dataset, ready.teacher, tensorboard=tensorboard)
    write_json(path / "command.json", command)
    taught, accuracy = train.train_teacher(recipe, dataset, path, progress, devices, ready=ready)
    facts: dict[str, Any] = {"teacher_accuracy": accuracy}
    if not isinstance(taught, train.Student):
        facts["teacher_input"] = taught.scale.scaling.name
    return taught, facts


def prune(
    root: Path,
    run: str | None,
    *,
    sparsity: float | None = None,
    how: str = "lamp",
    cores: int | None = None,
    target: str | None = None,
    epochs: int | None = None,
    name: str | None = None,
    seed: int | None = None,
    data_dir: Path | None = None,
    progress: Any = None,
    where: Mapping[str, Any] | None = None,
) -> Run:
    """Prune a run's student, fine-tune it and write a new run.

    Args:
        root: the working directory.
        run: name or path of a run; None is the newest.
        sparsity: share of weights that become zero; None for 0.75, or what ``cores`` need.
        how: a name in ``train.PRUNERS``.
        cores: a budget: as sparse as it must be to fit into so many cores of the target.
        target: the chip of the budget, or the default one; without a budget no neuron listens to
            more than a core of this chip holds.
        epochs: of fine-tuning; None for the recipe's, or none where the pruner needs none.
        name: of the new run; by default the old one's with the sparsity.
        seed: of fine-tuning; None for the recipe's.
        data_dir: where to look for data first.
        progress: as in ``distill``.
        where: as in ``distill``.
    """
    train = training()
    devices = train.Devices(**(where or {}))
    if how not in train.PRUNERS:
        raise unknown_name("pruner", how, train.PRUNERS)
    if sparsity is not None and cores is not None:
        raise InputError("A sparsity and a budget of cores were given.", "Give one of them.")
    asked = target or families.DEFAULT_TARGET
    chip = None if cores is None else targets.load(asked)
    bounded = targets.load(asked) if target is not None and cores is None else None
    inputs = families.of(bounded).most_inputs(bounded) if bounded is not None else None
    sparsity = SPARSITY if sparsity is None else sparsity
    if not 0 < sparsity < 1:
        raise InputError(f"Sparsity {sparsity:g} is not between 0 and 1.", "Try --sparsity 0.75.")
    source = folders.read_run(folders.find("runs", run, root))
    recipe = train.load_recipe(source.path)
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    student = train.load_student(source.path)
    budget: dict[str, Any] = {}
    if chip is not None and cores is not None:
        sparsity = _fitting(student, chip, cores, how)
        budget = {"cores": cores, "target": asked}
    if inputs is not None:
        budget = {"inputs": inputs}
    command = {
        "command": "prune", "parent": source.name, "sparsity": sparsity, "epochs": epochs,
        "recipe": recipe.to_json(), **budget, **({} if how == "lamp" else {"how": how}),
    }  # fmt: skip
    kind = "" if how == "lamp" else f"{how}-"
    default = f"{source.name}-{kind}s{round(100 * sparsity, 1):g}"
    path = _folder(root, name, default, command)
    if (path / "metrics.json").exists():
        return _remember(folders.read_run(path))
    dataset = datasets.load(recipe.data, data_dir, time_steps=recipe.time_steps)
    write_json(path / "command.json", command)
    needed = recipe.plan.needs_teacher
    teacher = train.load_teacher(_teacher_folder(source)) if needed else None
    made = train.prune_student(
        student,
        teacher,
        recipe,
        sparsity,
        epochs,
        dataset,
        path,
        progress,
        how=how,
        inputs=inputs,
        devices=devices,
    )
    known = {k: v for k, v in source.metrics.items() if k in ("teacher_accuracy", "teacher_input")}
    facts = {
        **{"teacher_accuracy": None, **known},
        "parent": source.name,
        "sparsity": train.sparsity(made),
        "pruner": how,
    }
    if chip is not None and cores is not None:
        needs = cores_of(train.to_network(made), chip)
        facts |= {"target": asked, "cores": needs}
        if needs > cores and progress is not None:
            doubt = f"training moved connections: {needs:g} cores are needed, not {cores}"
            progress.update("prune", 1, 1, doubts=[f"{doubt}; prune on to one core less"])
    return _finish(path, made, dataset, recipe, facts)


def _fitting(student: Any, chip: Target, cores: int, how: str) -> float:
    """Return the sparsity at which a student fits into a budget of cores."""
    density = density_for_cores(student, chip, cores, how)
    if density == 1.0:
        raise InputError(
            f"The student fits into {cores} cores of {chip.title} as it is.",
            "Export it, or ask for fewer cores.",
        )
    return round(1.0 - density, 9)


def _plain(data: str) -> str:
    kind, _, argument = data.partition(":")
    return f"{kind}-{Path(argument).stem}" if argument else kind


def _folder(root: Path, name: str | None, default: str, command: Mapping[str, Any]) -> Path:
    """Find the folder of this command: its own if it ran before, else a free one."""
    base = root / "runs"
    if name is not None:
        if not folders.is_plain(name):
            raise InputError(
                f"{name!r} cannot be the name of a run.",
                "Use a plain, short word.",
            )
        other = [] if _is_free(base / name) else _differences(_asked(base / name), command)
        if not other:
            return base / name
        raise InputError(
            f"{base / name} holds a run with other settings: {', '.join(other)}.",
            "Choose another --name.",
        )
    candidates = [default, *(f"{default}-{i}" for i in range(2, 1000))]
    for candidate in candidates:
        path = base / candidate
        if _is_free(path) or not _differences(_asked(path), command):
            return path
    raise InputError(f"{base} holds a thousand runs called {default}.", "Give --name.")


def _is_free(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _differences(asked: Mapping[str, Any] | None, command: Mapping[str, Any]) -> list[str]:
    """Say in which settings a folder's command is not this one."""
    if asked is None:
        return ["an unknown command"]
    mine, theirs = dict(command), dict(asked)
    if theirs.get("command") != mine["command"]:
        return [f"command {theirs.get('command')!r}, not {mine['command']!r}"]
    if "recipe" in mine:
        # Runs of earlier versions lack the constants that came later.
        mine |= mine.pop("recipe")
        theirs |= training().Recipe().to_json() | theirs.pop("recipe", {})
    return [
        f"{k} {theirs.get(k)!r}, not {mine.get(k)!r}"
        for k in {**theirs, **mine}
        if theirs.get(k) != mine.get(k)
    ]


def _asked(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path / "command.json", COMMAND)
    except InputError:
        return None


def _teacher_folder(run: Run) -> Path:
    """Follow a pruned run to the one that trained the teacher."""
    path, seen = run.path, set[Path]()
    while not training().has_teacher(path):
        parent = (_asked(path) or {}).get("parent")
        if not parent or path in seen:
            raise InputError(
                f"The teacher of {run.path} is gone.", "Distill again, or prune the first run."
            )
        seen.add(path)
        path = path.parent / Path(str(parent)).name
    return path


def _finish(path: Path, made: Any, dataset: Dataset, recipe: Any, facts: Mapping[str, Any]) -> Run:
    train = training()
    if not leads():
        raise SystemExit(0)  # of several processes, the first one writes and reports
    show, encoder = train.showing(recipe, dataset), recipe.shown_by(dataset)
    found = train.evaluate(made, dataset.x_test, dataset.y_test, show=show)
    net = train.to_network(made)
    nir_io.write(path / "student.nir", unit_resistance(net))
    seconds = sum(float(row.get("seconds", 0)) for row in train.read_log(path / "log.jsonl"))
    metrics = {
        "accuracy": found.accuracy,
        "teacher_accuracy": facts["teacher_accuracy"],
        "spikes_per_sample": found.spikes_per_sample,
        "synops_per_sample": synops(net, found.spikes, dataset, encoder),
        **size(net),
        "time_steps": net.time_steps,
        "method": recipe.method,
        "data": recipe.data,
        **({"encoder": encoder.to_json()} if show is not None else {}),
        **({"data_note": dataset.note} if dataset.note else {}),
        "seed": recipe.seed,
        "seconds": round(seconds, 3),
        **({"teacher": recipe.teacher} if recipe.plan.needs_teacher else {}),
        "student": recipe.student,
        **({"target": recipe.target} if recipe.target != families.DEFAULT_TARGET else {}),
        **{k: v for k, v in facts.items() if k != "teacher_accuracy"},
    }
    write_json(path / "metrics.json", metrics)
    return _remember(folders.read_run(path))


def _remember(run: Run) -> Run:
    folders.set_latest(run.path)
    return run


COUNTED_AT_ONCE = 500  # samples, whose inputs over time are in memory


def size(net: Network) -> dict[str, int]:
    """Count parameters (weights and biases) and connections (non-zero weights)."""
    weights: list[NDArray[Any]] = []
    biases = 0
    for node in net.nodes.values():
        if isinstance(node, Affine | Conv2d):
            weights.append(node.weight if isinstance(node, Affine) else node.kernel.weight)
            biases += node.bias.size
    return {
        "parameters": sum(w.size for w in weights) + biases,
        "connections": sum(int(np.count_nonzero(w)) for w in weights),
    }


def synops(
    net: Network,
    spikes: Mapping[str, NDArray[np.float64]],
    dataset: Dataset,
    encoder: Encoder | None = None,
) -> float:
    """Count delivered (event, non-zero weight) pairs per test sample, input values included.

    Where neurons send several spikes a step, a value counts as that many events.

    Args:
        net: the float student.
        spikes: mean spikes per sample of each neuron, by population.
        dataset: for the inputs, which count where they are not zero.
        encoder: how they are shown; None for directly.
    """
    x, shown = dataset.x_test, encoder or Encoder(time_steps=net.time_steps or 1)
    active = np.zeros(shown.shape(dataset.shape), np.int64)
    for start in range(0, len(x), COUNTED_AT_ONCE):
        rows = range(start, min(start + COUNTED_AT_ONCE, len(x)))
        encoded = shown.encode(x[start : rows.stop], dataset.max_value, rows)
        counted = encoded if net.rules.spikes == "many" else encoded != 0
        active += counted.sum(axis=(0, 1), dtype=np.int64)
    events = {name: active.reshape(-1) / len(x) for name in net.inputs()} | dict(spikes)
    return sum(floating.synops(net, events).values())
