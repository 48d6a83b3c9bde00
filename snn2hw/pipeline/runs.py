"""Training runs: teach, distill a student, prune one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn2hw import datasets, families
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError, unknown_name
from snn2hw.files import expanded, write_json
from snn2hw.ir.target import Target
from snn2hw.pipeline.budget import cores_of, density_for_cores, foresee
from snn2hw.pipeline.finishing import finish, finished
from snn2hw.pipeline.pruning import check_data, data_of, of_parent, prunable, retold
from snn2hw.pipeline.run_folders import find_folder
from snn2hw.pipeline.samples import trained_data, trained_on
from snn2hw.pipeline.training import need_training
from snn2hw.store import folders
from snn2hw.store.folders import Run

if TYPE_CHECKING:
    from snn2hw.train import Devices, Progress, Recipe, Scaled, Spiking, Student

SPARSITY = 0.75  # of a pruned run, unless it is said


def distill(
    root: Path,
    *,
    teacher: str,
    student: str,
    data: str,
    name: str | None = None,
    ending: str = "",
    data_dir: Path | None = None,
    progress: Progress | None = None,
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
        name: of the run; by default student and data set, and a number where others have that.
        ending: of the default name.
        data_dir: where to look for data first.
        progress: told how far the work is (``train.Progress``).
        options: fields of ``train.Recipe`` that differ from the defaults.
        where: fields of ``train.Devices``.
        tensorboard: write events to ``tensorboard/`` in the run.

    Raises:
        Interrupted: Ctrl-C; the same call goes on.
    """
    from snn2hw import train

    recipe, path, command = _prepare(root, teacher, student, data, name, options, ending)
    if (path / "metrics.json").exists():
        return finished(path)
    dataset = datasets.load(data, data_dir, time_steps=recipe.time_steps)
    foresee(recipe, dataset, progress)
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
    return finish(path, made, dataset, recipe, facts)


def new_folder(root: Path, name: str, recipe: Recipe) -> Path:
    """Return the folder of a run of modules, of which no command can tell whether it ran before.

    Raises:
        InputError: there is such a run, or the name cannot be one.
    """
    path = root / "runs" / name
    if not folders.is_plain(name):
        raise InputError(f"{name!r} cannot be the name of a run.", "Use a plain, short word.")
    if path.exists() and any(path.iterdir()):
        raise InputError(f"There is a run {name!r} already.", "Choose another name.")
    write_json(path / "command.json", {"command": "python", "recipe": recipe.to_json()})
    return path


def default_student(teacher: str, target: str = families.DEFAULT_TARGET) -> str:
    """Return the student of a teacher where none is named, by the size of the target."""
    from snn2hw import train

    return train.default_student(teacher, target)


def constants(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` as fields of ``train.Recipe``.

    Raises:
        InputError: there is no such field, or the value is of another kind.
    """
    from snn2hw.train import Recipe

    kinds = {name: type(value) for name, value in Recipe().to_json().items()}
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


_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def teach(
    root: Path,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
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
    from snn2hw.train import Devices

    recipe, path, command = _prepare(root, **choice)
    dataset = datasets.load(recipe.data, data_dir, time_steps=recipe.time_steps)
    devices = Devices(**(where or {}))
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
    ending: str = "",
) -> tuple[Recipe, Path, dict[str, Any]]:
    """Return recipe, folder and command of a distillation; nothing is written.

    What can be told to be wrong without PyTorch is told before that is imported.
    """
    from snn2hw import train

    path = expanded(teacher)
    own = {k: v for k, v in (options or {}).items() if v is not None}
    recipe = train.defaults(student, data, teacher, **own)
    datasets.find(data)
    need_training()
    command = {"command": "distill", "recipe": recipe.to_json()}
    if teacher not in train.TEACHERS:
        if path.is_dir():
            train.need_student(path)
        file = train.student_file(path) if path.is_dir() else path
        command["teacher_sha256"] = train.digest(file)
    return recipe, find_folder(root, name, f"{student}-{_plain(data)}{ending}", command), command


def _teach(
    path: Path,
    command: Mapping[str, Any],
    recipe: Recipe,
    dataset: Dataset,
    progress: Progress | None,
    devices: Devices,
    tensorboard: bool = False,
) -> tuple[Scaled | Student, dict[str, Any]]:
    """Return the run's teacher and the facts about it; a file that is no teacher leaves no run."""
    from snn2hw import train

    ready = None
    if not train.has_teacher(path):
        ready = train.open_teacher(recipe, dataset)
        train.check(recipe, dataset, ready.teacher, tensorboard=tensorboard)
    write_json(path / "command.json", command)
    taught, accuracy = train.train_teacher(recipe, dataset, path, progress, devices, ready=ready)
    facts: dict[str, Any] = {"teacher_accuracy": accuracy}
    if not isinstance(taught, train.Student):
        facts["teacher_input"] = taught.scale.scaling.name
    return taught, facts | teachers_note(recipe, progress)


def teachers_note(recipe: Recipe, progress: Progress | None) -> dict[str, str]:
    """Tell of a teacher that is a run, and was trained on the samples that are held out now.

    Returns:
        ``teacher_note`` for the metrics; nothing if there is nothing to tell.
    """
    path = expanded(recipe.teacher)
    if not path.is_dir() or not (path / "metrics.json").exists():
        return {}
    if not datasets.in_training(recipe.data, trained_data(folders.read_run(path).metrics)):
        return {}
    note = f"{trained_on(f'the teacher {path}', recipe.data)}; so its accuracy here says little"
    if progress is not None:
        progress.update("teacher", 0, 0, doubts=[note])
    return {"teacher_note": note}


def prune(
    root: Path,
    run: str | None,
    *,
    data: str | Dataset | None = None,
    sparsity: float | None = None,
    how: str = "lamp",
    cores: int | None = None,
    target: str | None = None,
    epochs: int | None = None,
    name: str | None = None,
    seed: int | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    where: Mapping[str, Any] | None = None,
) -> Run:
    """Prune a run's student, fine-tune it and write a new run.

    Args:
        root: the working directory.
        run: name or path of a run; None is the newest.
        data: to fine-tune on: a data set or its name; None for the run's own.
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

    Raises:
        InputError: there is no such run, it is of a module that only Python has, or its data are
            not kept and no others were given.
    """
    from snn2hw import train

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
    source = prunable(run, root)
    devices = train.Devices(**(where or {}))
    recipe, teachers, doubt = retold(source, data, seed)
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
        **({"data_sha256": data.sha256()} if isinstance(data, Dataset) else {}),
    }  # fmt: skip
    kind = "" if how == "lamp" else f"{how}-"
    default = f"{source.name}-{kind}s{round(100 * sparsity, 1):g}"
    path = find_folder(root, name, default, command)
    if (path / "metrics.json").exists():
        return finished(path)
    dataset = data_of(source, recipe, data, data_dir)
    check_data(str(source.path), recipe, student, dataset)
    inherited = of_parent(source, dataset)
    if progress is not None:
        doubts = [*doubt, *filter(None, [inherited.get("data_note")])]
        progress.update("prune", 0, 0, doubts=doubts)
    write_json(path / "command.json", command)
    teacher = None if teachers is None else train.load_teacher(teachers)
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
    facts = {
        **inherited,
        "sparsity": train.sparsity(made),
        "pruner": how,
    }
    if chip is not None and cores is not None:
        needs = cores_of(train.to_network(made), chip)
        facts |= {"target": asked, "cores": needs}
        if needs > cores and progress is not None:
            doubt = f"training moved connections: {needs:g} cores are needed, not {cores}"
            progress.update("prune", 1, 1, doubts=[f"{doubt}; prune on to one core less"])
    return finish(path, made, dataset, recipe, facts)


def _fitting(student: Spiking, chip: Target, cores: int, how: str) -> float:
    """Return the sparsity at which a student fits into a budget of cores."""
    density = density_for_cores(student, chip, cores, how)
    if density == 1.0:
        raise InputError(
            f"The student fits into {cores} cores of {chip.title} as it is.",
            "Export it, or ask for fewer cores.",
        )
    return round(1.0 - density, 9)


def _plain(data: str) -> str:
    kind, path, _ = datasets.split(data)
    part = "-validation" if data != datasets.whole(data) else ""
    return (f"{kind}-{Path(path).stem}" if path else kind) + part
