"""The Python interface: the same verbs as the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, estimator, families, nir_io
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.files import expanded
from snn2hw.ir.arrays import size_of
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network as Float
from snn2hw.ir.nodes import Threshold
from snn2hw.ir.target import Target
from snn2hw.ir.trace import chosen
from snn2hw.pipeline import builds, comparing, counting, given, runs
from snn2hw.pipeline.compiler import reasons
from snn2hw.pipeline.doors import load
from snn2hw.pipeline.exporting import compiled, unneeded
from snn2hw.pipeline.findings import Bill, Proof
from snn2hw.pipeline.finishing import finish, measured
from snn2hw.pipeline.keywords import check, named, settled
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.objects import (
    Built,
    Inputs,
    Network,
    Origin,
    Simulation,
    Student,
    opened,
)
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.pruning import check_data
from snn2hw.pipeline.recorded import Clip, recording
from snn2hw.pipeline.training import lends, need_training
from snn2hw.report import text
from snn2hw.simulate import floating
from snn2hw.simulate.inputs import outside

__all__ = [
    "Built", "Network", "Proof", "Simulation", "Student", "build", "distill", "energy", "load",
    "measure", "open_build", "prune", "recording", "refusals",
]  # fmt: skip


@named
def measure(
    module: Any,
    network: Float,
    x: NDArray[Any],
    y: NDArray[Any] | None = None,
    *,
    time: Any = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Run a module and the network made of it on the same samples, and say how they differ.

    Args:
        module: the PyTorch module, which is run as it is, in its own package.
        network: what ``load`` made of it.
        x: ``[N, T, *shape]``: what the author fed, of which the network gets the integers, or
            integers. They differ if ``load`` was given a scale of the input.
        y: labels ``[N]``, if there are any.
        time: how the module takes its input, if ``load`` had to be told.
        output: of several outputs, the one that is compared and that the labels are for.

    Returns:
        ``samples``, ``steps``, ``same_predictions`` (share), ``same_outputs`` (share of all values
        at all steps, or of their sums where a module gives no others), and as pairs of module and
        network ``spikes_per_sample``, ``accuracy``.

    Raises:
        InputError: x does not have the network's shape, or there are several outputs and none was
            named.
    """
    need_training()
    from snn2hw.train import Spiking, run_module

    if isinstance(module, Float | IntNetwork):
        raise InputError(
            "The first argument of measure is the module, the second the network made of it.",
            "Give measure(module, network, x).",
        )
    network, module = given.float_network(network), given.module(module)
    ((name, port),) = network.inputs().items()
    x = given.array("x", x)
    known, notes = given.inputs({name: port}, x, network.time_steps)
    integers = known[name]
    ours = floating.run(network, known)
    output = chosen(ours.outputs, output)
    if y is not None:
        y = given.labels(y, ours.samples, size_of(network.outputs()[output].shape))
    given.warn(notes or outside(port, name, integers))
    shown = x if port.is_fed(x) or not port.scaled else port.fed(integers)
    if isinstance(module, Spiking):
        shown = integers  # which our own students scale themselves
    spiking = _sending(network)  # spikes that nobody hears count on neither side
    theirs, spikes = run_module(module, shown, time=time, counted=spiking, output=output)
    answer, predicted = ours.outputs[output], ours.predictions[output]
    answer = answer.reshape(*answer.shape[:2], *theirs.shape[2:])
    if theirs.shape[1] != ours.steps:
        answer = answer.sum(axis=1, keepdims=True)
    guess = theirs.reshape(*theirs.shape[:2], -1).sum(axis=1).argmax(axis=1)
    sent = sum(float(ours.events[name].sum()) for name in spiking.values())
    found: dict[str, Any] = {
        "samples": ours.samples,
        "steps": ours.steps,
        "same_predictions": float((guess == predicted).mean()),
        "same_outputs": float(np.isclose(theirs, answer).mean()),
        "spikes_per_sample": [spikes / ours.samples, sent / ours.samples],
    }
    if y is not None:
        found["accuracy"] = [float((p == y).mean()) for p in (guess, predicted)]
    return found


def _sending(network: Float) -> dict[str, str]:
    """Return the nodes that send spikes, by the name of the module that they were made of."""
    spikes = {
        k: k.removesuffix(".spikes") for k, n in network.nodes.items() if isinstance(n, Threshold)
    }
    return {module: k for k, module in spikes.items()} | {k: k for k in network.neurons()}


@named
def build(
    network: Float | IntNetwork,
    target: str | Target = families.DEFAULT_TARGET,
    *,
    time_steps: int | None = None,
    rewrite: Sequence[str] = (),
    chips: int | None = None,
    x: Inputs | None = None,
    y: NDArray[Any] | None = None,
) -> Built:
    """Compile a network for a target.

    Args:
        network: a float network, or integers from a vendor's file.
        target: the chip.
        time_steps: steps of one sample, where the network does not say.
        rewrite: names of rewrites that may replace what the target cannot do (``rewrites.py``).
            What they changed, measured in float and on the chip, is warned about.
        chips: how many may be used; None for as many as the target's file says.
        x: samples to measure it on, as ``Built.simulate`` takes them; None for random ones.
        y: their labels ``[N]``.

    Raises:
        UnsupportedError, DoesNotFitError: say which layer, what it needs and what there is.
    """
    network, chip = given.network(network), given.chip(target)
    given.labels_need_samples(x, y)
    said = settled({"time_steps": time_steps, "chips": chips})
    time_steps, chip = said["time_steps"], targets.with_chips(chip, said["chips"])
    allowed = [rewrite] if isinstance(rewrite, str) else list(rewrite)
    shown = _shown(network, x, y) if isinstance(network, Float) and x is not None else None
    origin = Origin.of(network)
    made, program, changed = compiled(
        replace(origin.model, network=network), chip,
        time_steps=time_steps, allowed=allowed, shown=shown,
    )  # fmt: skip
    given.warn(["\n".join(text.changes(changed))] if changed else [])
    given.warn(unneeded(allowed, changed, chip))
    options = {"time_steps": None, "rewrite": allowed, **origin.options}
    options |= {k: v for k, v in said.items() if v is not None}
    origin = replace(origin, model=replace(origin.model, network=made))
    return Built(program, changed, origin, options)


def _shown(network: Float, x: Inputs, y: NDArray[Any] | None) -> Samples:
    """Return samples on which rewrites are measured."""
    if isinstance(x, Clip | str | Path):
        raise InputError("A rewrite is measured on arrays.", "Give x as an array.")
    known, notes = given.inputs(network.inputs(), x, network.time_steps)
    samples, _ = floating.check_inputs(network, known)
    given.warn(notes)
    if y is not None and len(network.outputs()) == 1:
        y = given.labels(y, samples, size_of(next(iter(network.outputs().values())).shape))
    return Samples(known, y, "yours")


@named
def open_build(folder: str | Path) -> Built:
    """Open a build folder that ``export`` or ``Built.save`` wrote, by path or name.

    Raises:
        InputError: there is none, or it is not as it was written.
    """
    return opened(builds.load_build(str(folder), Path()))


@named
def refusals(
    network: Float | IntNetwork, target: str | Target | None = None
) -> list[str] | dict[str, list[str]]:
    """Say why a network does not build for a target: every reason, none where it does.

    Args:
        network: the network.
        target: the chip; None for all, by their names.
    """
    network = given.network(network)
    if target is None:
        return comparing.fits(Model("network", network, {}), targets.names())
    return reasons(network, given.chip(target))


@named
def energy(simulation: Simulation, target: str | Target | None = None) -> Bill:
    """Price what a simulation counted, with the prices of the chip that it was built for.

    Args:
        simulation: what ran.
        target: the same chip with other prices.

    Raises:
        InputError: the target is a chip of which other events are counted.
    """
    simulation = _simulated(simulation)
    chip = None if target is None else given.chip(target)
    mine = simulation.program.target
    if chip is not None and (
        chip.family != mine.family or estimator.unpriced(simulation.counts, chip)
    ):
        raise InputError(
            f"The simulation is of {mine.title}, and {chip.title} counts other events.",
            f"Build the network for {chip.name}.",
        )
    program, priced = simulation.program, chip or mine
    report = counting.report(program, simulation.trace, simulation.counts, priced)
    return Bill.of(report, "the build", program.digest())


def _simulated(found: Any) -> Simulation:
    if isinstance(found, Simulation):
        return found
    raise InputError(
        f"What a simulation counted is priced, and {type(found).__name__} is none.",
        "Give what build.simulate(x) returns, or call build.energy(x).",
    )


@lends
def distill(
    teacher: Any,
    student: Any,
    data: str | Dataset | Sequence[NDArray[Any]],
    *,
    name: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Student:
    """Distill a student and return it as a network that knows its accuracy.

    Args:
        teacher: any trained ``nn.Module`` from pixels to logits, a spiking one as ``load`` takes
            it, a teacher's name, or a file with one (``.onnx``, Keras' ``.h5``); None for a method
            without one. Of a module and a file from pixels to logits, every usual scaling of the
            pixels is tried on training images, unless ``teacher_input`` says it.
        student: a student's name, or a spiking ``nn.Module`` as ``load`` takes it, which is trained
            in place: it sees integers scaled to at most 1, ``time_steps`` times. The network that
            is returned takes the integers, or those numbers.
        data: a data set's name, a ``datasets.Dataset``, or the arrays ``x_train``, ``y_train``,
            ``x_test``, ``y_test`` (in pairs or not): integers ``[N, C, H, W]`` or ``[N, T, C, H,
            W]``, and classes.
        name: of the run, which is kept in ``runs/<name>``; None keeps none, unless teacher, student
            and data are named: then it is the run that ``snn2hw distill`` makes.
        progress: say on standard error how far the training is.
        options: fields of ``snn2hw.train.Recipe``.

    Raises:
        UnsupportedError: names every part of a student that cannot be exported.
        InputError: names, data or options that do not go together, or a teacher without logits.
    """
    need_training()
    from snn2hw import train

    check(options, [f.name for f in fields(train.Recipe)])
    teacher, student = given.module(_taken_up(teacher)[0]), given.module(student)
    told = Lines() if progress else None
    teacher = str(expanded(teacher)) if isinstance(teacher, str | Path) else teacher
    if isinstance(teacher, str) and isinstance(student, str) and isinstance(data, str):
        run = runs.distill(
            Path(), teacher=teacher, student=student, data=data, name=name, progress=told,
            options=options,
        )  # fmt: skip
        network, _ = nir_io.read(run.student)
        return Student.of_training(network, run.metrics, run.path)
    dataset = _dataset(data, options)
    if teacher is None:
        options.setdefault("method", "none")
    recipe = train.defaults(
        student if isinstance(student, str) else "cnn",
        dataset.name,
        teacher if isinstance(teacher, str) else "cnn",
        **options,
    )
    pupil = None if isinstance(student, str) else _module_student(student, recipe, dataset)
    folder = None if name is None else runs.new_folder(Path(), name, recipe)
    facts: dict[str, Any] = {"teacher_accuracy": None}
    if not isinstance(student, str):
        facts["student"] = type(student).__name__
    if isinstance(teacher, str):
        teacher, facts["teacher_accuracy"] = train.train_teacher(recipe, dataset, folder, told)
        facts |= runs.teachers_note(recipe, told)
    elif teacher is not None:
        facts["teacher"] = type(teacher).__name__
        teacher = train.module_teacher(teacher, recipe, dataset, told)
        x, y = dataset.x_test, dataset.y_test
        facts["teacher_accuracy"] = train.evaluate(teacher, x, y).accuracy
    if pupil is None:
        train.check(recipe, dataset, teacher)
    made = train.distill_student(recipe, dataset, teacher, folder, told, student=pupil)
    return _student(made, dataset, recipe, facts, folder)


@lends
def prune(
    student: Any,
    data: str | Dataset | Sequence[NDArray[Any]] | None = None,
    *,
    sparsity: float = runs.SPARSITY,
    how: str = "lamp",
    epochs: int | None = None,
    name: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Student:
    """Prune a student, fine-tune it and return it as a network.

    Args:
        student: what ``distill`` or ``prune`` returned; a run's name or folder, as for ``snn2hw
            prune``; or a spiking ``nn.Module``. A copy is pruned.
        data: as in ``distill``; None for those of a run, if they have a name.
        sparsity: share of the weights that become zero.
        how: a pruner's name.
        epochs: of fine-tuning; None for the recipe's.
        name: of the new run; for a module, None keeps none.
        progress: say on standard error how far the training is.
        options: fields of ``snn2hw.train.Recipe``, where no run has them.

    Raises:
        UnsupportedError, InputError: as in ``distill``; data that are not like those of the
            student's training.
    """
    need_training()
    from snn2hw import train

    student, known = _taken_up(student)
    student = given.module(student)
    told = Lines() if progress else None
    if isinstance(student, str | Path):
        check(options, ())
        shown = data if data is None or isinstance(data, str) else _dataset(data, options)
        run = runs.prune(
            Path(), str(student), data=shown, sparsity=sparsity, how=how, epochs=epochs, name=name,
            progress=told,
        )  # fmt: skip
        network, _ = nir_io.read(run.student)
        return Student.of_training(network, run.metrics, run.path)
    if data is None:
        raise InputError("A module is pruned and fine-tuned on data.", "Give prune(module, data).")
    check(options, [f.name for f in fields(train.Recipe)])
    dataset = _dataset(data, options)
    options = {"method": "none", **options}
    recipe = train.defaults("cnn", dataset.name, "cnn", **options)
    if known is not None:
        recipe = replace(known, data=dataset.name, **options)
        check_data("The student", recipe, student, dataset)
    folder = None if name is None else runs.new_folder(Path(), name, recipe)
    made = train.prune_student(
        _module_student(student, recipe, dataset), None, recipe, sparsity, epochs, dataset, folder,
        told, how=how,
    )  # fmt: skip
    facts = {
        "teacher_accuracy": None, "student": _class_name(student, recipe),
        "sparsity": train.sparsity(made), "pruner": how,
    }  # fmt: skip
    return _student(made, dataset, recipe, facts, folder)


def _taken_up(student: Any) -> tuple[Any, Any]:
    """Return what a student is trained on from: its run, or its module and recipe."""
    from snn2hw import train

    if not isinstance(student, Student):
        return student, None
    if student.run is not None and train.is_run(student.run):
        return student.run, None
    return student.trained or (student.run, None)


def _class_name(student: Any, recipe: Any) -> str:
    """Name a student: by its recipe, or by the class of the module."""
    from snn2hw import train

    if isinstance(student, train.Student):
        return str(recipe.student)
    return type(student.module if isinstance(student, train.ModuleStudent) else student).__name__


class Lines:
    """Says on standard error how far a training is: a line for each tenth, and every note."""

    def __init__(self) -> None:
        self._said: tuple[str, int] = ("", -1)

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Say it, if it is worth a line."""
        for note in (*info.get("notes", ()), *info.get("doubts", ())):
            sys.stderr.write(f"note: {note}\n")
        tenth = 10 * done // total if total else -1
        if total and (stage, tenth) != self._said:
            self._said = (stage, tenth)
            found = [f"{k} {info[k]:.4g}" for k in ("loss", "accuracy") if k in info]
            sys.stderr.write(f"{stage}: {', '.join([f'{10 * tenth} %', *found])}\n")


def _dataset(data: str | Dataset | Sequence[NDArray[Any]], options: Mapping[str, Any]) -> Dataset:
    if isinstance(data, str):
        return datasets.load(data, time_steps=options.get("time_steps"))
    if isinstance(data, Dataset):
        return data
    x_train, y_train, x_test, y_test = given.four_arrays(data)
    return datasets.checked("arrays", x_train, y_train, x_test, y_test)


def _module_student(student: Any, recipe: Any, dataset: Dataset) -> Any:
    from snn2hw import train

    if isinstance(student, train.Spiking):
        return student
    steps = dataset.frames or recipe.time_steps
    return train.ModuleStudent(student, dataset.shape, dataset.classes, dataset.max_value, steps)


def _student(
    made: Any, dataset: Dataset, recipe: Any, facts: Mapping[str, Any], folder: Path | None
) -> Student:
    if folder is not None:
        run = finish(folder, made, dataset, recipe, facts)
        network, _ = nir_io.read(run.student)
        return Student.of_training(network, run.metrics, run.path, (made, recipe))
    network, metrics = measured(made, dataset, recipe, facts)
    del metrics["seconds"]  # which only a run's log tells
    return Student.of_training(network, metrics, None, (made, recipe))
