# pyright: basic
"""What a run keeps of its teacher and its student, and finds again.

A run's folder holds ``recipe.json``, ``log.jsonl`` and ``checkpoint/``, with
``teacher.safetensors`` and ``student.safetensors`` when they are done, and
``<stage>.state.safetensors`` while a stage is under way. A teacher that came as a file is kept as
``teacher.<kind>`` with the facts about it in ``teacher.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.encoders import LONGEST
from snn2hw.errors import InputError
from snn2hw.fields import anything, many, named, real, require, table, text, whole
from snn2hw.files import expanded, read_json, reading, sha256, write_json
from snn2hw.train import foreign, students, teachers
from snn2hw.train.catalogue import is_file
from snn2hw.train.checkpoint import state_path
from snn2hw.train.chip import check_recipe, rules_of
from snn2hw.train.recipe import Recipe
from snn2hw.train.scaling import Scaled, Scaling
from snn2hw.train.state import not_finite, read_tensors, write_tensors
from snn2hw.train.students import Student

DISTILL_AGAIN = "Distill again, under another --name."
_SIDE = whole(1, 1 << 16)
_SCALING = table(
    {"name": text(), "top": real(1), "mean": many(real()), "std": many(real())},
)
_NEEDED = {
    "recipe": named(anything),
    "shape": many(_SIDE, 3),
    "classes": whole(1, 100_000),
    "max_value": _SIDE,
    "time_steps": whole(0, LONGEST),
}
_KNOWN = {"spiking": named(anything), "scaling": _SCALING}
_FACTS = table(_NEEDED, _KNOWN)
_FROM_FILE = table({**_NEEDED, "file": text(), "sha256": text()}, _KNOWN)

Network = TypeVar("Network", bound=nn.Module)


def keep_teacher(
    run_dir: Path, teacher: Scaled | Student, recipe: Recipe, dataset: Dataset
) -> None:
    """Write a run's finished teacher."""
    facts = _facts(recipe, dataset.shape, dataset.classes, dataset.max_value, 0)
    if isinstance(teacher, Student):
        own = load_recipe(expanded(recipe.teacher))
        facts |= {"spiking": own.to_json(), "time_steps": teacher.time_steps}
        write_tensors(_teacher_file(run_dir), teacher.state_dict(), facts)
        return
    facts["scaling"] = teacher.scale.scaling._asdict()
    if is_file(recipe.teacher):
        source = expanded(recipe.teacher)
        kept = foreign.keep(teacher, source, run_dir / "checkpoint")
        # Written last: whoever finds it finds the teacher.
        write_json(_facts_file(run_dir), facts | {"file": kept.name, "sha256": sha256(kept)})
    else:
        write_tensors(_teacher_file(run_dir), teacher.state_dict(), facts)
        state_path(run_dir, "teacher").unlink(missing_ok=True)


def has_teacher(run_dir: Path) -> bool:
    """Say whether a run holds a finished teacher."""
    return _teacher_file(run_dir).exists() or _facts_file(run_dir).exists()


def _teacher_file(run_dir: Path) -> Path:
    return run_dir / "checkpoint" / "teacher.safetensors"


def _facts_file(run_dir: Path) -> Path:
    return run_dir / "checkpoint" / "teacher.json"


def student_file(run_dir: Path) -> Path:
    """Return where a run keeps its finished student."""
    return run_dir / "checkpoint" / "student.safetensors"


def need_student(run_dir: Path) -> None:
    """Ask that a folder is a run whose student can be trained on, or teach.

    Raises:
        InputError: it is that of a module, whose code only Python has, or no finished run.
    """
    if is_run(run_dir):
        return
    metrics = run_dir / "metrics.json"
    if not metrics.is_file():
        raise InputError(f"{run_dir} is no finished run.", "Name one, or finish it first.")
    of = read_json(metrics).get("student")
    raise InputError(
        f"{run_dir} holds the network of your own module {of}, but not the module's code.",
        "Give the module itself in Python: snn2hw.prune(module, data), or snn2hw.distill(module, "
        "student, data).",
    )


def _facts(
    recipe: Recipe, shape: tuple[int, int, int], classes: int, max_value: int, steps: int
) -> dict[str, Any]:
    return {
        "recipe": recipe.to_json(),
        "shape": list(shape),
        "classes": classes,
        "max_value": max_value,
        "time_steps": steps,
    }


def save_student(run_dir: Path, student: Student, recipe: Recipe) -> None:
    """Write ``recipe.json`` and ``checkpoint/student.safetensors``."""
    facts = _facts(recipe, student.shape, student.classes, student.max_value, student.time_steps)
    write_json(run_dir / "recipe.json", recipe.to_json())
    write_tensors(student_file(run_dir), student.state_dict(), facts)


def keep_student(run_dir: Path | None, student: nn.Module, recipe: Recipe, stage: str) -> None:
    """Write a run's finished student, and drop what resuming its last stage needed.

    Without a run, and for a student that is no recipe's, nothing is written.
    """
    if run_dir is not None and isinstance(student, Student):
        save_student(run_dir, student, recipe)
        state_path(run_dir, stage).unlink(missing_ok=True)


def load_student(run_dir: Path) -> Student:
    """Read a run's finished student.

    Raises:
        InputError: the run has none, or the file is damaged.
    """
    path = student_file(run_dir)
    with _reading(path, run_dir, "student"):
        tensors, facts = read_tensors(path)
        require(facts, _FACTS, path, DISTILL_AGAIN)
        return _student(Recipe.from_json(facts["recipe"]), facts, tensors, path)


@contextmanager
def _reading(path: Path, run_dir: Path, what: str) -> Generator[None, None, None]:
    if not path.exists():
        raise InputError(
            f"{run_dir} holds no finished {what}.",
            "Repeat its command: it goes on where it was.",
        )
    with reading(path, f"the {what} of a run", DISTILL_AGAIN):
        yield


def _student(
    recipe: Recipe, facts: Mapping[str, Any], tensors: dict[str, Tensor], path: Path
) -> Student:
    shape, classes, max_value = tuple(facts["shape"]), facts["classes"], facts["max_value"]

    def build() -> Student:
        return make_student(recipe, shape, classes, max_value, facts["time_steps"])

    return _filled(build, tensors, path)


def _filled(build: Callable[[], Network], tensors: dict[str, Tensor], path: Path) -> Network:
    """Build a network and put the tensors of a file into it.

    Its size is a recipe's, which may be anything: it is compared with the file before it is built.
    """
    with torch.device("meta"):
        wanted = {k: v.shape for k, v in build().state_dict().items()}
    found = {k: v.shape for k, v in tensors.items()}
    differ = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    broken = not_finite(tensors)
    if differ:
        raise InputError(f"{path} does not match its recipe in {_few(differ)}.", DISTILL_AGAIN)
    if broken:
        raise InputError(f"{path} holds NaN or infinity in {_few(broken)}.", DISTILL_AGAIN)
    network = build()
    network.load_state_dict(tensors)
    return network


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def make_student(
    recipe: Recipe, shape: tuple[int, int, int], classes: int, max_value: int, time_steps: int
) -> Student:
    """Build a recipe's student for data of this kind.

    Raises:
        InputError: there is no such student or target, or its neurons do not do what the recipe
            asks for.
    """
    rules = rules_of(recipe.target)
    check_recipe(recipe, rules)
    neuron = students.Neuron(
        1.0 if recipe.neuron == "if" else recipe.beta,
        recipe.current_beta if recipe.neuron == "cuba" else 0.0,
        recipe.reset,  # type: ignore[arg-type]
        recipe.surrogate,
        recipe.learn_decay,
        rules,
    )
    settings = students.Settings(
        shape,
        classes,
        max_value,
        time_steps,
        neuron,
        recipe.width,
        recipe.readout,  # type: ignore[arg-type]
        recipe.norm,  # type: ignore[arg-type]
    )
    return students.make_student(recipe.student, settings)


def load_teacher(run_dir: Path, expected: Recipe | None = None) -> Scaled | Student:
    """Read a run's finished teacher.

    Raises:
        InputError: the run has none, the file is damaged, or it is not the ``expected`` one.
    """
    own = _facts_file(run_dir).exists()
    path = _facts_file(run_dir) if own else _teacher_file(run_dir)
    with _reading(path, run_dir, "teacher"):
        tensors, facts = ({}, read_json(path)) if own else read_tensors(path)
        require(facts, _FROM_FILE if own else _FACTS, path, DISTILL_AGAIN)
        return _teacher(run_dir, tensors, facts, path, expected)


def _teacher(
    run_dir: Path,
    tensors: dict[str, Tensor],
    facts: Mapping[str, Any],
    path: Path,
    expected: Recipe | None,
) -> Scaled | Student:
    recipe = Recipe.from_json(facts["recipe"])
    names = (
        "teacher", "data", "seed", "teacher_weights", "teacher_epochs", "teacher_input",
        "teacher_output",
    )  # fmt: skip
    differ = [
        f"{n} {getattr(recipe, n)!r} instead of {getattr(expected, n)!r}"
        for n in names
        if expected is not None and getattr(recipe, n) != getattr(expected, n)
    ]
    if differ:
        raise InputError(
            f"{run_dir} holds another teacher: {', '.join(differ)}.",
            "Give the run another name.",
        )
    if "spiking" in facts:
        return _student(Recipe.from_json(facts["spiking"]), facts, tensors, path)
    settings = teachers.Settings(
        tuple(facts["shape"]), facts["classes"], facts["max_value"], _scaling(facts)
    )
    if "file" in facts:
        kept = path.with_name(Path(facts["file"]).name)
        if not is_file(kept.name) or not kept.is_file() or sha256(kept) != facts["sha256"]:
            raise InputError(f"{kept} is missing or was changed.", DISTILL_AGAIN)
        return foreign.open_file(kept, settings, recipe.teacher_output).teacher
    return _filled(lambda: teachers.make_teacher(recipe.teacher, settings), tensors, path)


def _scaling(facts: Mapping[str, Any]) -> Scaling | None:
    told = facts.get("scaling")  # runs from before it was kept saw 0 to 1
    if told is None:
        return None
    if {len(told["mean"]), len(told["std"])} - {1, facts["shape"][0]} or 0 in told["std"]:
        raise InputError(f"{told} is no scaling of images of shape {facts['shape']}.")
    return Scaling(told["name"], told["top"], tuple(told["mean"]), tuple(told["std"]))


def load_recipe(run_dir: Path) -> Recipe:
    """Read a run's ``recipe.json``.

    Raises:
        InputError: it is missing or damaged.
    """
    path = run_dir / "recipe.json"
    with reading(path, "a recipe", DISTILL_AGAIN):
        return Recipe.from_json(read_json(path))


def is_run(path: Path) -> bool:
    """Say whether a path is a run with a finished student."""
    return student_file(path).is_file()
