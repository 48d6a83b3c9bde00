"""The Python interface: the same verbs as the command line."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, estimator, families, nir_io, preprocessing, silence
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.estimator import EnergyReport
from snn2hw.files import expanded
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network as Float
from snn2hw.ir.network import Threshold
from snn2hw.ir.target import Target
from snn2hw.pipeline import builds, comparing, counting, runs
from snn2hw.pipeline.compiler import reasons
from snn2hw.pipeline.exporting import compiled
from snn2hw.pipeline.finishing import finish, measured
from snn2hw.pipeline.keywords import check, named
from snn2hw.pipeline.loading import Model, load_model
from snn2hw.pipeline.objects import Built, Inputs, Network, Proof, Simulation, Student, opened
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.training import need_training
from snn2hw.report import text
from snn2hw.simulate import floating
from snn2hw.simulate.inputs import outside

__all__ = [
    "Built", "Network", "Proof", "Simulation", "Student", "build", "distill", "energy", "load",
    "measure", "open_build", "prune", "refusals",
]  # fmt: skip

OF_FILES = tuple(f.name for f in fields(nir_io.Choice))


def load(model: Any, /, **known: Any) -> Network | IntNetwork:
    """Load a run, a ``.nir`` or ``.net`` file, a shipped model by name, or a PyTorch module.

    What was guessed, repaired or replaced is warned about.

    Args:
        model: the file, folder or name; or a spiking ``nn.Module`` of snnTorch, Norse or our own
            layers, with a forward of its own or none (docs/modules.md says which).
        known: what a file may not say, by the names of ``nir_io.Choice``: ``dt`` (seconds),
            ``time_steps``, ``reset``, ``written_by``, ``input_max`` and the rules of a step. For a
            module: ``shape`` of a sample (``(C, H, W)``), ``dt``, ``time_steps``, ``input_max``,
            ``max_pool`` (``refuse``, ``neurons``, ``average``), ``time`` (``outside``, ``static``,
            ``first``, ``batch first``: how it takes its input, if that is not found out).

            For both: ``input_scale``, ``input_mean``, ``input_std`` if the author fed
            ``(scale x - mean) / std`` of integers ``x``, such as ``input_scale=1/255``: they are
            folded into the first layer, and ``input_max`` is 1 / scale unless it is given.

    Raises:
        UnsupportedError: names every part of a module that cannot be expressed.
    """
    if isinstance(model, str | Path):
        check(known, OF_FILES)
        for key in ("input_mean", "input_std"):
            if known.get(key) is not None:
                known[key] = tuple(np.ravel(known[key]).tolist())
        found = load_model(str(model), Path(), nir_io.Choice(**known))
        network, notes = found.network, found.notes
    else:
        network, notes = _of_module(model, **known)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return Network.of(network) if isinstance(network, Float) else network


def _of_module(module: Any, **known: Any) -> tuple[Float, list[str]]:
    need_training()
    from snn2hw.train import from_module

    check(known, ("input_scale", "input_mean", "input_std", *options_of(from_module)))
    return _scaled_module(module, **known)


def _scaled_module(
    module: Any,
    *,
    input_scale: float | None = None,
    input_mean: float | Sequence[float] | None = None,
    input_std: float | Sequence[float] | None = None,
    input_max: int | None = None,
    **known: Any,
) -> tuple[Float, list[str]]:
    from snn2hw.train import from_module

    done = preprocessing.said(input_scale, input_mean, input_std)
    most = input_max or (done.input_max if done else 1)
    network, notes = from_module(module, input_max=most, **known)
    if done is not None:
        network = done.applied(network)
    else:
        notes = [*notes, *preprocessing.unsaid(network, "input_scale")]
    return network, [*notes, *silence.notes(network)]


@named
def measure(
    module: Any,
    network: Float,
    x: NDArray[Any],
    y: NDArray[Any] | None = None,
    *,
    time: Any = None,
) -> dict[str, Any]:
    """Run a module and the network made of it on the same samples, and say how they differ.

    Args:
        module: the PyTorch module, which is run as it is, in its own package.
        network: what ``load`` made of it.
        x: ``[N, T, *shape]``: what the author fed, of which the network gets the integers, or
            integers. They differ if ``load`` was given a scale of the input.
        y: labels ``[N]``, if there are any.
        time: how the module takes its input, if ``load`` had to be told.

    Returns:
        ``samples``, ``steps``, ``same_predictions`` (share), ``same_outputs`` (share of all values
        at all steps, or of their sums where a module gives no others), and as pairs of module and
        network ``spikes_per_sample``, ``accuracy``.

    Raises:
        InputError: x does not have the network's shape.
    """
    need_training()
    from snn2hw.train import run_module

    ((name, port),) = network.inputs().items()
    x = np.asarray(x)
    fed = x.dtype.kind == "f"
    integers = port.taken(x)
    ours = floating.run(network, {name: integers})  # which also judges the shape of x
    for note in outside(port, name, integers):
        warnings.warn(note, stacklevel=3)
    spiking = _sending(network)  # spikes that nobody hears count on neither side
    theirs, spikes = run_module(
        module, x if fed or not port.scaled else port.fed(x), time=time, counted=spiking
    )
    answer = ours.answer.reshape(*ours.answer.shape[:2], *theirs.shape[2:])
    if theirs.shape[1] != ours.steps:
        answer = answer.sum(axis=1, keepdims=True)
    guess = theirs.reshape(*theirs.shape[:2], -1).sum(axis=1).argmax(axis=1)
    sent = sum(float(ours.events[name].sum()) for name in spiking.values())
    found: dict[str, Any] = {
        "samples": ours.samples,
        "steps": ours.steps,
        "same_predictions": float((guess == ours.prediction).mean()),
        "same_outputs": float(np.isclose(theirs, answer).mean()),
        "spikes_per_sample": [spikes / ours.samples, sent / ours.samples],
    }
    if y is not None:
        found["accuracy"] = [float((p == y).mean()) for p in (guess, ours.prediction)]
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
    chip = targets.load(target) if isinstance(target, str) else target
    chip = targets.with_chips(chip, chips)
    model = Model("network", network, {})
    shown = None
    if x is not None and isinstance(network, Float):
        ports = network.inputs()
        values = x if isinstance(x, Mapping) else {next(iter(ports)): np.asarray(x)}
        known = {k: ports[k].taken(v) if k in ports else v for k, v in values.items()}
        floating.check_inputs(network, known)
        shown = Samples(known, None if y is None else np.asarray(y), "yours")
    made, program, changed = compiled(
        model, chip, time_steps=time_steps, allowed=rewrite, shown=shown
    )
    if changed:
        warnings.warn("\n".join(text.changes(changed)), stacklevel=3)
    options = {"time_steps": time_steps, "rewrite": list(rewrite), "chips": chips}
    return Built(program, changed, Model("network", made, {}), options)


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
    if target is None:
        return comparing.fits(Model("network", network, {}), targets.names())
    return reasons(network, targets.load(target) if isinstance(target, str) else target)


@named
def energy(simulation: Simulation, target: str | Target | None = None) -> EnergyReport:
    """Price what a simulation counted, with the prices of the chip that it was built for.

    Args:
        simulation: what ran.
        target: the same chip with other prices.

    Raises:
        InputError: the target is a chip of which other events are counted.
    """
    chip = targets.load(target) if isinstance(target, str) else target
    mine = simulation.program.target
    if chip is not None and (
        chip.family != mine.family or estimator.unpriced(simulation.counts, chip)
    ):
        raise InputError(
            f"The simulation is of {mine.title}, and {chip.title} counts other events.",
            f"Build the network for {chip.name}.",
        )
    return counting.report(simulation.program, simulation.trace, simulation.counts, chip or mine)


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
            in place: it sees integers scaled to at most 1, ``time_steps`` times.
        data: a data set's name, a ``datasets.Dataset``, or the arrays ``x_train``, ``y_train``,
            ``x_test``, ``y_test``: integers ``[N, C, H, W]`` or ``[N, T, C, H, W]``, and classes.
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
    told = Lines() if progress else None
    teacher = str(expanded(teacher)) if isinstance(teacher, str | Path) else teacher
    if isinstance(teacher, str) and isinstance(student, str) and isinstance(data, str):
        run = runs.distill(
            Path(), teacher=teacher, student=student, data=data, name=name, progress=told,
            options=options,
        )  # fmt: skip
        network, _ = nir_io.read(run.student)
        return Student.trained(network, run.metrics, run.path)
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
    elif teacher is not None:
        facts["teacher"] = type(teacher).__name__
        teacher = train.module_teacher(teacher, recipe, dataset, told)
        x, y = dataset.x_test, dataset.y_test
        facts["teacher_accuracy"] = train.evaluate(teacher, x, y).accuracy
    if pupil is None:
        train.check(recipe, dataset, teacher)
    made = train.distill_student(recipe, dataset, teacher, folder, told, student=pupil)
    return _student(made, dataset, recipe, facts, folder)


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
        student: a run's name or folder, as for ``snn2hw prune``; or a spiking ``nn.Module``, of
            which a copy is pruned.
        data: as in ``distill``, for a module.
        sparsity: share of the weights that become zero.
        how: a pruner's name.
        epochs: of fine-tuning; None for the recipe's.
        name: of the new run; for a module, None keeps none.
        progress: say on standard error how far the training is.
        options: fields of ``snn2hw.train.Recipe``, for a module.

    Raises:
        UnsupportedError, InputError: as in ``distill``.
    """
    need_training()
    from snn2hw import train

    told = Lines() if progress else None
    if isinstance(student, str | Path):
        check(options, ())
        run = runs.prune(
            Path(), str(student), sparsity=sparsity, how=how, epochs=epochs, name=name,
            progress=told,
        )  # fmt: skip
        network, _ = nir_io.read(run.student)
        return Student.trained(network, run.metrics, run.path)
    if data is None:
        raise InputError("A module is pruned and fine-tuned on data.", "Give prune(module, data).")
    check(options, [f.name for f in fields(train.Recipe)])
    dataset = _dataset(data, options)
    recipe = train.defaults("cnn", dataset.name, "cnn", **{"method": "none", **options})
    folder = None if name is None else runs.new_folder(Path(), name, recipe)
    made = train.prune_student(
        _module_student(student, recipe, dataset), None, recipe, sparsity, epochs, dataset, folder,
        told, how=how,
    )  # fmt: skip
    facts = {
        "teacher_accuracy": None, "student": type(student).__name__,
        "sparsity": train.sparsity(made), "pruner": how,
    }  # fmt: skip
    return _student(made, dataset, recipe, facts, folder)


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
    arrays = [np.asarray(a) for a in data]
    if len(arrays) != 4:
        raise InputError(
            f"There are {len(arrays)} arrays of data.", "Give x_train, y_train, x_test, y_test."
        )
    x_train, y_train, x_test, y_test = arrays
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
        return Student.trained(network, run.metrics, run.path)
    network, metrics = measured(made, dataset, recipe, facts)
    del metrics["seconds"]  # which only a run's log tells
    return Student.trained(network, metrics, None)


def options_of(function: Any) -> list[str]:
    """Return the names of a function's options."""
    return list(inspect.signature(function).parameters)
