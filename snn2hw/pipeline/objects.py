"""What the Python interface hands out: networks, builds, simulations, proofs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets, families, nir_io
from snn2hw.errors import InputError, Snn2hwError, counted
from snn2hw.estimator import EnergyReport
from snn2hw.files import expanded, scratch
from snn2hw.ir import network as ir
from snn2hw.ir.counts import Counts
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.integer import given as host_inputs
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace, chosen
from snn2hw.pipeline import builds, counting, exporting, given, keeping, neurobench, page, proving
from snn2hw.pipeline import what_if as extrapolating
from snn2hw.pipeline.comparing import row as row_of
from snn2hw.pipeline.findings import Bill, Proof
from snn2hw.pipeline.keywords import named
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Samples
from snn2hw.pipeline.recorded import Clip
from snn2hw.pipeline.samples import samples_of, sole
from snn2hw.simulate.inputs import sent
from snn2hw.store import folders, replacing
from snn2hw.store.results import check_result

Inputs = NDArray[Any] | Mapping[str, NDArray[Any]] | Clip | str | Path
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network is from.

    Args:
        model: what was loaded.
        options: what was said about it, as ``build.json`` holds it.
        hashes: of the model's files when they were read.
    """

    model: Model
    options: Mapping[str, Any]
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, net: ir.Network | IntNetwork) -> Origin:
        """Return where a network is from; of one that nobody loaded, that it is in memory."""
        return getattr(net, "_origin", None) or cls(Model("network", net, {}), {}, {})

    @classmethod
    def read(cls, model: Model) -> Origin:
        """Return the origin of a model that was just read."""
        return cls(model, model.choice.given(), model.hashes())

    def still(self) -> Model:
        """Return the model, or one of a network in memory if its files are not what they were."""
        with suppress(OSError, Snn2hwError):
            if self.model.hashes() == self.hashes:
                return self.model
        return replace(self.model, files={}, given="")


class Network(ir.Network):
    """A float network that can be written to a file."""

    __slots__ = ("_origin",)

    _origin: Origin

    @classmethod
    def of(cls, net: ir.Network, origin: Origin | None = None) -> Network:
        """Return the same network with the methods of this class, and where it is from."""
        if isinstance(net, Network) and origin is None:
            return net
        made = cls(net.nodes, net.edges, net.dt, net.time_steps, net.rules)
        if origin is not None:
            object.__setattr__(made, "_origin", origin)
        return made

    @named
    def save(self, path: str | Path) -> Path:
        """Write the network as NIR, which ``load`` and NIR's own tools read.

        Args:
            path: of the file, which ends in ``.nir``.

        Raises:
            InputError: names the nodes that NIR cannot hold, or why the file cannot be there.
        """
        file = expanded(path)
        if file.suffix != ".nir":
            raise InputError(
                f"{file} is no name of a NIR file, which is what a network is written as.",
                f"Name it {file.with_suffix('.nir')}." if file.name else "Name it network.nir.",
            )
        check_result(file)
        nir_io.write(file, self)
        return file


class Student(Network):
    """A network that was trained here.

    ``metrics`` holds what ``runs/<name>/metrics.json`` does; ``run`` is that folder, None if none
    was kept. ``trained`` is what PyTorch has of it, and its recipe; None where only the run has it.
    """

    __slots__ = ("metrics", "run", "trained")

    metrics: Mapping[str, Any]
    run: Path | None
    trained: tuple[Any, Any] | None

    @classmethod
    def of_training(
        cls,
        net: ir.Network,
        metrics: Mapping[str, Any],
        run: Path | None,
        trained: tuple[Any, Any] | None = None,
    ) -> Student:
        """Return a network with what was measured of it."""
        made = cls(net.nodes, net.edges, net.dt, net.time_steps, net.rules)
        if run is not None:
            student = {"nir": run / "student.nir"}
            data = metrics.get("data")
            data = data if data and datasets.split(data)[0] in datasets.DATASETS else None
            model = Model(run.name, net, student, data, dict(metrics), given=str(run))
            object.__setattr__(made, "_origin", Origin.read(model))
        object.__setattr__(made, "metrics", dict(metrics))
        object.__setattr__(made, "run", run)
        object.__setattr__(made, "trained", trained)
        return made

    @property
    def accuracy(self) -> float:
        """Share of the test samples that are classified right, in float."""
        return float(self.metrics["accuracy"])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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
        found = {n: on_chip_time(a.spikes, a.phase) for n, a in self.trace.outputs.items()}
        return _only(found)

    @named
    def accuracy(self, y: NDArray[Any], *, output: str | None = None) -> float:
        """Return the share of right predictions.

        Args:
            y: labels ``[N]``.
            output: of several outputs, the one that the labels are for.

        Raises:
            InputError: there is not a label for each sample, one is of no class, or there are
                several outputs and none was named.
        """
        meant = chosen(self.trace.outputs, output)
        predicted, net = self.trace.predictions[meant], self.program.network
        labels = given.labels(y, len(predicted), net.population(net.outputs[meant]).size)
        return float((predicted == labels).mean())

    @named
    def neurobench(
        self, y: NDArray[Any] | None = None, *, output: str | None = None
    ) -> dict[str, Any]:
        """Return NeuroBench's metrics of what ran; docs/comparing.md says what is counted.

        Args:
            y: labels ``[N]``, for the accuracy.
            output: of several outputs, the one that the labels are for.
        """
        right = None if y is None else self.accuracy(y, output=output)
        return neurobench.of_program(self.program, self.trace, right).json()

    def __repr__(self) -> str:
        """Say what ran, and what it sent."""
        layers = [
            f"  {name}: {events.sum() / self.trace.samples:,.1f} spikes a sample"
            for name, events in self.trace.events.items()
        ]
        head = f"{counted(self.trace.samples, 'sample')} of {counted(self.trace.steps, 'step')}"
        return "\n".join([f"{head} ({self.program.target.title}, {self.trace.on})", *layers])


def _only(found: Mapping[str, T]) -> T | Mapping[str, T]:
    return found if len(found) > 1 else next(iter(found.values()))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Built:
    """A network compiled for a target.

    Args:
        program: what the chip is told.
        rewrites: what rewrites were applied and what they changed (``exporting.compiled``); None
            if there were none.
        origin: what it was made of, after its rewrites; None for a program alone.
        options: what was said where it was loaded and where it was built.
        name: of the folder that it was opened from, if any.
    """

    program: Program
    rewrites: Mapping[str, Any] | None = None
    origin: Origin | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    # The last bill and the last proof, which a page and a saved build tell.
    _last: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """The chip that it was compiled for."""
        return self.program.target

    @named
    def simulate(self, x: Inputs, *, states: bool = False) -> Simulation:
        """Run samples bit for bit as the chip does.

        Args:
            x: ``[N, T, *shape]`` (a mapping, if there are several inputs): integers, or what the
                network's author fed, if ``load`` was told its scale. Or a file, as the command
                line's ``--input``: an npz, or a recording of events (``snn2hw.recording`` says how
                it is shown).
            states: keep membranes and currents of every step.
        """
        return self._ran(self._samples(x), states=states)

    @named
    def verify(
        self,
        x: Inputs,
        *,
        part: str | Sequence[str] = (),
        neurons: str | Sequence[Any] | None = None,
        replace: bool = False,
    ) -> Proof:
        """Compare every spike and state with the vendor's simulator; as ``snn2hw verify``.

        Args:
            x: as in ``simulate``.
            part: a population, ``"first..last"`` and all between, several of these, or ``"each"``:
                only they run in the vendor's simulator, fed with what their sources send here.
            neurons: of the last of them only these, a range of each axis of its shape:
                ``"0:16,4:8,4:8"``, or slices, as ``numpy.s_`` makes them.
            replace: let reports tell this proof, even if an earlier one of this build is worth
                more: one of more of the program or of more values, or one that found a difference.

        Raises:
            InputError: there are no such populations or neurons, or not the memory for them.
            UnsupportedError: the vendor's simulator runs no parts.
        """
        parts = (part,) if isinstance(part, str) else tuple(part)
        samples = self._samples(x)
        samples = samples.labelled(samples.labels)
        with self._stored() as build:
            found = proving.compare_with_vendor(
                self.program, samples.inputs, build.program_file, build.vendor_file, parts, neurons,
            )  # fmt: skip
        found |= {"program": self.program.digest(), "data": samples.source, **samples.told()}
        if found["against"] is not None:
            why = None if replace else keeping.stays(self._last.get("proof"), found)
            if why:
                given.warn([f"reports go on telling the proof before: {why}"])
            else:
                self._last["proof"] = found
        return Proof(found)

    @named
    def energy(
        self,
        x: Inputs,
        y: NDArray[Any] | None = None,
        *,
        output: str | None = None,
        what_if: Mapping[str, float] | None = None,
    ) -> EnergyReport:
        """Count what samples do and price it, with the prices of the build's own target.

        ``print`` writes all of it, as ``snn2hw energy report`` does.

        Args:
            x: as in ``simulate``.
            y: labels ``[N]``, for the accuracy that the report tells; None for those of a file.
            output: of several outputs, the one that the labels are for.
            what_if: changes that nobody has built: ``steps`` of a sample, ``sparsity`` (share of
                all weights that are zero, at least what it is), ``activity`` (times as many
                spikes), ``chips`` that are on. What is returned is then an ``Extrapolation``, which
                says what it assumes and has the bill of the build as ``built``.
        """
        changes = None if what_if is None else extrapolating.checked(what_if)
        if changes is not None:
            extrapolating.check_build(self.program, changes)
        taken = self._samples(x, output)
        ran = self._ran(taken)
        report = counting.report(self.program, ran.trace, ran.counts, self.target)
        labels = taken.labels if y is None and sole(ran.trace.outputs, output) else y
        accuracy = None if labels is None else ran.accuracy(labels, output=output)
        known = taken.labelled(labels)
        report = replace(
            report, data=taken.source, accuracy=accuracy, output=output, data_sha256=known.sha256
        )
        self._last["measured"] = builds.Measured(report, ran.trace, ran.counts, known)
        digest, proof = self.program.digest(), self._last.get("proof")
        bill = Bill.of(report, self._name(), digest, proof, self.rewrites)
        return bill if changes is None else self._extrapolated(x, labels, output, changes, bill)

    def _extrapolated(
        self,
        x: Inputs,
        labels: NDArray[Any] | None,
        output: str | None,
        changes: Mapping[str, float],
        built: EnergyReport,
    ) -> EnergyReport:
        program = extrapolating.at_steps(self.program, changes)
        inputs = replace(self, program=program)._samples(x, output).inputs
        inputs = extrapolating.cut(inputs, int(changes.get("steps", built.time_steps)))
        return extrapolating.extrapolated(
            program, inputs, changes, built, lambda trace: builds.accuracy(trace, labels, output)
        )

    @named
    def report(
        self,
        path: str | Path,
        x: Inputs | None = None,
        y: NDArray[Any] | None = None,
        *,
        others: Sequence[Mapping[str, Any]] = (),
    ) -> Path:
        """Write one HTML page: the bill, the last proof, what the layers do and where they are.

        Args:
            path: the page.
            x: samples for the bill; None for the last one's.
            y: labels ``[N]``.
            others: what else runs the model, to stand beside it, each with ``who``, ``runs_on``,
                ``accuracy`` (a share, or None), ``latency_us`` (or None), ``energy_uj`` (``low``,
                ``typical``, ``high``, without what it takes when idle; or None), ``how`` and, if
                known, ``samples`` that the accuracy is of.

        Raises:
            InputError: there is no bill yet, and no samples for one; or ``others`` holds something
                else.
        """
        file = expanded(path)
        check_result(file)
        given.labels_need_samples(x, y)
        if x is not None:
            self.energy(x, y)
        measured: builds.Measured | None = self._last.get("measured")
        if measured is None:
            raise InputError(
                "There is no energy report to show yet.",
                "Give samples, build.report(path, x), or call build.energy(x) first.",
            )
        with self._stored() as build:
            evidence = page.of_build(
                build, measured, self._last.get("proof"), command="build.report(...) in Python",
                root=None, targets=[row_of(build, measured)], others=others,
            )  # fmt: skip
        return page.write(file, evidence)

    @named
    def save(self, folder: str | Path, *, replace: bool = False) -> Path:
        """Write the build folder that ``snn2hw export`` writes; ``snn2hw.open`` opens it.

        A build that is there is replaced if it was made with the same options; that its program is
        gone, where it was another, is warned about.

        Args:
            folder: new or empty, or a build.
            replace: whether a build of other options is replaced, too.

        Raises:
            InputError: something else is there, other files beside a build, or a build that was
                made with other options.
        """
        path = expanded(folder)
        replacing.check_place(path, families.vendor_files())
        if path.parent.name == "builds" and not folders.is_plain(path.name):
            raise InputError(f"{path.name!r} cannot be the name of a build.", "Use another word.")
        model = self._model()
        if not replace:
            ways = "Save it in another folder, or give replace=True."
            exporting.refuse_other_options(path, self.program, self.options, ways, "{}")
        build = exporting.write(path, model, self.program, self.rewrites, self.options)
        if build.replaced:
            given.warn([f"{path} held another program, which is gone"])
        measured: builds.Measured | None = self._last.get("measured")
        if measured is not None:
            document = measured.document(build.digest)
            given.warn(filter(None, [keeping.keep_bill(path, document, replace=replace)]))
        if (proof := self._last.get("proof")) is not None:
            given.warn(filter(None, [keeping.keep_proof(path, proof, replace=replace)]))
        return path

    @contextmanager
    def _stored(self) -> Generator[folders.Build]:
        """Write the build into a folder that is gone afterwards."""
        with scratch(Path(tempfile.gettempdir())) as place:
            path = place / self._name()
            yield exporting.write(path, self._model(), self.program, self.rewrites, self.options)

    def _name(self) -> str:
        return self.name or f"{self._model().name}-{self.target.name}"

    def _model(self) -> Model:
        return self.origin.still() if self.origin else Model("network", self.program.network, {})

    def _ran(self, samples: Samples, *, states: bool = False) -> Simulation:
        return Simulation(self.program, *counting.run(self.program, samples.inputs, states=states))

    def _samples(self, x: Inputs, output: str | None = None) -> Samples:
        """Return what the host sends for samples, and labels that a file has for an output."""
        if isinstance(x, Clip | str | Path):
            model = self._model()
            found = samples_of(self.program, model.name, model.metrics, x, output)
            if found.notes:
                warnings.warn("\n".join(found.notes), stacklevel=4)
            return found
        return Samples(self._named(x), None, "arrays")

    def _named(self, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        net = self.program.network
        known, notes = given.inputs(host_inputs(net.inputs), x, net.time_steps)
        given.warn(notes)
        return sent(net, known)

    def __repr__(self) -> str:
        """Say where it runs, and what its layers are."""
        net, placement = self.program.network, self.program.placement
        rows = [f"  {p.name}: {'x'.join(map(str, p.shape))}" for p in net.populations]
        size = f"{counted(placement.cores, 'core')} on {counted(placement.chips, 'chip')}"
        steps = counted(net.time_steps, "step")
        head = f"{self.target.title}: {size}, {steps}, depth {self.program.depth}"
        return "\n".join([head, *rows])


def opened(build: folders.Build) -> Built:
    """Return a build folder as the Python interface's build."""
    known = build.info
    model = Model(
        build.name, build.program.network, {}, known["data"], {"encoder": known["encoder"]},
        tuple(known["notes"]), known["model"],
    )  # fmt: skip
    last: dict[str, Any] = {}
    proof = keeping.proof_or_why(build.path)
    if isinstance(proof, str):
        given.warn([f"the last proof does not count: {proof}"])
    elif proof is not None:
        last["proof"] = proof
    origin = Origin(model, known["options"], {})
    return Built(build.program, known["rewrites"], origin, known["options"], build.name, last)


__all__ = ["Built", "Inputs", "IntNetwork", "Network", "Simulation", "Student", "opened"]
