"""A network from wherever it is: a run, a file, a shipped model, a build."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snn2hw import families, nir_io, silence
from snn2hw.checkpoints import is_weights, no_network
from snn2hw.errors import InputError, Snn2hwError, UnsupportedError, listed, unknown_name
from snn2hw.files import about, expanded, sha256
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.pipeline import options as given_options
from snn2hw.recordings import READERS, is_recording
from snn2hw.store import folders


@dataclass(frozen=True, slots=True)
class Model:
    """A network from a file or a run, with what is known about it.

    ``given`` is the path or name that it is found by, ``choice`` what was said about it, and
    ``rewrite`` names the rewrites that the build was allowed which it was found by, and ``chips``
    says how many it was allowed to use.
    """

    name: str
    network: Network | IntNetwork
    files: Mapping[str, Path]
    data: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    given: str = ""
    choice: nir_io.Choice = nir_io.NOTHING
    rewrite: tuple[str, ...] = ()
    chips: int | None = None

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
        given: path or name; of a build, it stands for what the build was made of.
        root: the working directory.
        choice: what the file may not say.
        must_know_dt: False to take any time step, or number of steps, where nothing tells it, as
            for a listing.

    Raises:
        InputError: there is no such model, or it cannot be read.
    """
    if given is not None:
        path = expanded(given)
        if path.suffix == ".nir":
            net, notes = nir_io.read(path, choice, must_know_dt=must_know_dt)
            notes += silence.notes(net)
            return Model(
                path.stem, net, {"nir": path}, notes=tuple(notes), given=given, choice=choice
            )
        vendor = _vendor_files().get(path.suffix)
        if vendor is not None and vendor.read is not None:
            ints, lacks = _integers(vendor.read, path, choice, must_know=must_know_dt)
            left = ("time_steps", "input_max")
            notes = (*lacks, *vendor.notes(ints), *unused(choice, path.name, left))
            files = {path.suffix[1:]: path}
            return Model(path.stem, ints, files, notes=notes, given=given, choice=choice)
        if path.suffix == ".onnx":
            raise UnsupportedError(
                f"{path} is a network that does not spike.",
                f"Distill a student from it first: snn2hw distill --teacher {path}",
            )
        if path.is_file() and is_weights(path):
            raise no_network(path)
        if is_recording(path) and path.is_file():
            raise InputError(
                f"{path} is a recording of events, not a network.",
                f"Show it to a network: snn2hw simulate --input {path}",
            )
        if path.is_file():
            known = listed([".nir", *_vendor_files(), ".onnx"])
            raise InputError(
                f"{path} is of no kind known here: {known}, and recordings of events "
                f"({listed(READERS)}).",
                "Give one, or a run.",
            )
        build = built(given, root)
        if build is not None:
            return _model_of(build, folders.read_document(build), root, choice)
        if not path.exists() and not (root / "runs" / given).exists():
            return _shipped_model(given, root, choice)
    run = folders.read_run(folders.find("runs", given, root))
    net, notes = nir_io.read(run.student, choice)
    return Model(
        run.name, net, {"nir": run.student}, run.metrics.get("data"), run.metrics, tuple(notes),
        given or run.name, choice,
    )  # fmt: skip


LISTED_STEPS = 1024  # of a sample, where nothing tells it and a network is only listed
NO_STEPS = (
    "the file does not say how many steps a sample lasts: an export asks for it (--time-steps)"
)


def _integers(
    read: Callable[..., IntNetwork], path: Path, choice: nir_io.Choice, *, must_know: bool
) -> tuple[IntNetwork, tuple[str, ...]]:
    """Read a vendor's file; returns what it lacks, too, where that need not be known."""
    said = {"time_steps": choice.time_steps, "input_max": choice.input_max}
    try:
        return read(path, **said), ()
    except InputError:
        if must_know or choice.time_steps is not None:
            raise
    return read(path, **said | {"time_steps": LISTED_STEPS}), (NO_STEPS,)


def unused(choice: nir_io.Choice, name: str, used: Collection[str] = ()) -> list[str]:
    """Say which options change nothing, as integers are settled already.

    Args:
        choice: what was said.
        name: of what holds the integers.
        used: options that it leaves open.
    """
    said = {k: v for k, v in choice.given().items() if k not in used}
    told = listed(given_options.told(said))
    return [f"not used, as {name} leaves no choice there: {told}"] if said else []


def built(given: str, root: Path) -> Path | None:
    """Return the folder of a build that a path or name stands for; None if it is none.

    A path comes first, then a run or model of this name, then a build.

    Raises:
        InputError: there is none of this name, but several of what has it.
    """
    return folders.built(given, root, model_names())


def _model_of(build: Path, info: Mapping[str, Any], root: Path, choice: nir_io.Choice) -> Model:
    """Load what a build was made of, with the options that it was made with.

    Options that are given now go before those.

    Raises:
        InputError: it is not there any more, or cannot be read.
    """
    given, options = str(info["model"]), dict(info["options"])
    if not given or built(given, root) is not None:
        if given:
            raise InputError(f"{build} was made of {given}, which is gone.")
        raise InputError(
            f"{build} was made of a network in memory, which is gone.",
            "Where it was made, write it to a file, network.save('x.nir'), and give that one.",
        )
    with about(build):
        model = load_model(given, root, choice.over(options))
    notes = list(model.notes)
    if model.hashes() != {k: x["sha256"] for k, x in info["inputs"].items()}:
        notes.append(f"{given} has changed since {build} was made of it")
    told = listed(given_options.told({k: v for k, v in options.items() if k != "name"}))
    if told:
        notes.append(f"taken from {build}, unless it is given anew: {told}")
    rewrite, chips = tuple(options.get("rewrite", ())), options.get("chips")
    return replace(model, notes=tuple(notes), rewrite=rewrite, chips=chips)


def load_any(given: str | None, root: Path, choice: nir_io.Choice = nir_io.NOTHING) -> Model:
    """Load a model, or what a build was made of; None is the newest run or build.

    A build's float network is where the build had it from, and is read with the options that were
    given for the build; if it is not there any more, or is another, there are the build's integers.
    """
    path = folders.newest(root) if given is None else built(given, root)
    if path is None or not (path / "build.json").exists():
        return load_model(given, root, choice)
    build = folders.read_build(path)
    with suppress(Snn2hwError):
        model = _model_of(path, build.info, root, choice)
        if model.hashes() == {k: x["sha256"] for k, x in build.info["inputs"].items()}:
            return model
    data, encoder = build.info["data"], build.info["encoder"]
    notes = tuple(unused(choice, build.name))
    return Model(build.name, build.program.network, {}, data, {"encoder": encoder}, notes)


def _vendor_files() -> dict[str, families.VendorFile]:
    """Return the files of vendors that can be read, by what their names end with."""
    files = (f.file for f in families.FAMILIES.values())
    return {Path(f.name).suffix: f for f in files if f is not None and f.read is not None}


def _shipped_model(name: str, root: Path, choice: nir_io.Choice) -> Model:
    folder = models_directory() / name
    if name not in model_names():
        known = [n for kind in ("runs", "builds") for n in folders.names(kind, root)]
        raise unknown_name("run, build, file or model", name, [*known, *model_names()])
    recipe = model_recipe(name)
    net, notes = nir_io.read(folder / "network.nir", choice)
    files = {"nir": folder / "network.nir"}
    return Model(name, net, files, recipe["data"], recipe, tuple(notes), name, choice)


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
