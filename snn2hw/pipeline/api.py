"""The Python interface: the same verbs as the command line, without folders."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, estimator, families, nir_io, preprocessing, silence
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.estimator import EnergyReport
from snn2hw.files import expanded, scratch
from snn2hw.ir.counts import Counts
from snn2hw.ir.integer import IntNetwork, given
from snn2hw.ir.network import Network
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace
from snn2hw.pipeline import builds, counting
from snn2hw.pipeline.exporting import compiled
from snn2hw.pipeline.loading import Model, load_model
from snn2hw.pipeline.training import need_training
from snn2hw.report import text
from snn2hw.simulate import floating
from snn2hw.simulate.inputs import outside, sent
from snn2hw.store import program as program_file

Inputs = NDArray[np.integer[Any]] | Mapping[str, NDArray[np.integer[Any]]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A trace, the program that made it, and what was counted for its bill."""

    program: Program
    trace: Trace
    counts: Counts

    @property
    def prediction(self) -> NDArray[np.int64] | Mapping[str, NDArray[np.int64]]:
        """Class that the output sends most over all steps, ``[N]``; the first of equals.

        Of several outputs, a mapping by their names.
        """
        return _only(self.trace.predictions)

    @property
    def spikes(self) -> NDArray[np.int32] | Mapping[str, NDArray[np.int32]]:
        """What the output sends (spikes or sums), on chip time: ``[N, T + depth, *out]``.

        Of several outputs, a mapping by their names.
        """
        on_chip_time = self.trace.on_chip_time
        sent = {n: on_chip_time(a.spikes, a.phase) for n, a in self.trace.outputs.items()}
        return _only(sent)


def _only(found: Mapping[str, T]) -> T | Mapping[str, T]:
    return found if len(found) > 1 else next(iter(found.values()))


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A network compiled for a target, in memory.

    ``rewrites`` says what rewrites were applied and what they changed (``exporting.compiled``);
    None if there were none.
    """

    program: Program
    rewrites: Mapping[str, Any] | None = None

    @property
    def target(self) -> Target:
        """The chip that it was compiled for."""
        return self.program.target

    def simulate(self, x: Inputs, *, states: bool = False) -> Simulation:
        """Run samples ``[N, T, *shape]`` of integers (a mapping, if there are several inputs)."""
        return Simulation(self.program, *counting.run(self.program, self._named(x), states=states))

    def verify(self, x: Inputs) -> dict[str, Any]:
        """Compare every spike and state with the vendor's simulator; as ``snn2hw verify``."""
        with scratch(Path(tempfile.gettempdir())) as folder:
            file, vendor_file = folder / "program.h5", None
            program_file.write(file, self.program)
            vendors = families.of(self.target).file
            planned = None if vendors is None else vendors.plan(self.program)
            if vendors is not None and callable(planned):
                vendor_file = folder / vendors.name
                planned(vendor_file)
            return builds.compare_with_vendor(self.program, self._named(x), file, vendor_file)

    def _named(self, x: Inputs) -> Mapping[str, NDArray[Any]]:
        net = self.program.network
        values = x if isinstance(x, Mapping) else {next(iter(given(net.inputs))): np.asarray(x)}
        return sent(net, values)


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
        found = load_model(str(model), Path(), nir_io.Choice(**known))
        network, notes = found.network, found.notes
    else:
        network, notes = _of_module(model, **known)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return network


def _of_module(
    module: Any,
    *,
    input_scale: float | None = None,
    input_mean: float | Sequence[float] | None = None,
    input_std: float | Sequence[float] | None = None,
    input_max: int | None = None,
    **known: Any,
) -> tuple[Network, list[str]]:
    need_training()
    from snn2hw.train import from_module

    done = preprocessing.said(input_scale, input_mean, input_std)
    most = input_max or (done.input_max if done else 1)
    network, notes = from_module(module, input_max=most, **known)
    if done is not None:
        network = done.applied(network)
    else:
        notes = [*notes, *preprocessing.unsaid(network, "input_scale")]
    return network, [*notes, *silence.notes(network)]


def measure(
    module: Any,
    network: Network,
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
    integers = port.integers(x) if fed and port.scaled else x
    ours = floating.run(network, {name: integers})  # which also judges the shape of x
    for note in outside(port, name, integers):
        warnings.warn(note, stacklevel=2)
    theirs, spikes = run_module(module, x if fed or not port.scaled else port.fed(x), time=time)
    answer = ours.answer.reshape(*ours.answer.shape[:2], *theirs.shape[2:])
    if theirs.shape[1] != ours.steps:
        answer = answer.sum(axis=1, keepdims=True)
    guess = theirs.reshape(*theirs.shape[:2], -1).sum(axis=1).argmax(axis=1)
    sent = sum(float(ours.events[name].sum()) for name in network.neurons())
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


def build(
    network: Network | IntNetwork,
    target: str | Target = families.DEFAULT_TARGET,
    *,
    time_steps: int | None = None,
    rewrite: Sequence[str] = (),
) -> Built:
    """Compile a network for a target.

    Args:
        network: a float network, or integers from a vendor's file.
        target: the chip.
        time_steps: steps of one sample, where the network does not say.
        rewrite: names of rewrites that may replace what the target cannot do (``rewrites.py``).
            What they changed, measured on random inputs in float and on the chip, is warned about.

    Raises:
        UnsupportedError, DoesNotFitError: say which layer, what it needs and what there is.
    """
    chip = targets.load(target) if isinstance(target, str) else target
    model = Model("network", network, {})
    _, program, changed = compiled(model, chip, time_steps=time_steps, allowed=rewrite)
    if changed:
        warnings.warn("\n".join(text.changes(changed)), stacklevel=2)
    return Built(program, changed)


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


def distill(teacher: Any, student: Any, data: str | Dataset, **options: Any) -> Network:
    """Distill a student and return it as a network.

    Args:
        teacher: any ``nn.Module`` from integer samples to logits, a teacher's name, or a file with
            one (``.onnx``, Keras' ``.h5``).
        student: a student's name, or a spiking ``nn.Module`` as ``load`` takes it, which is trained
            in place: it sees integers scaled to at most 1, ``time_steps`` times.
        data: a data set's name, or a ``datasets.Dataset``.
        options: fields of ``snn2hw.train.Recipe``.

    Raises:
        UnsupportedError: names every part of a student that cannot be exported.
        InputError: names, data or options that do not go together.
    """
    need_training()
    from snn2hw import train

    dataset = (
        datasets.load(data, time_steps=options.get("time_steps")) if isinstance(data, str) else data
    )
    teacher = str(expanded(teacher)) if isinstance(teacher, str | Path) else teacher
    named = student if isinstance(student, str) else "cnn"
    taught = teacher if isinstance(teacher, str) else "cnn"
    recipe = train.defaults(named, dataset.name, taught, **options)
    if not isinstance(student, str | train.Spiking):
        student = train.ModuleStudent(
            student,
            dataset.shape,
            dataset.classes,
            dataset.max_value,
            dataset.frames or recipe.time_steps,
        )
    if isinstance(teacher, str):
        teacher, _ = train.train_teacher(recipe, dataset)
    if isinstance(student, str):
        train.check(recipe, dataset, teacher)
    made = train.distill_student(
        recipe, dataset, teacher, student=None if isinstance(student, str) else student
    )
    return train.to_network(made)
