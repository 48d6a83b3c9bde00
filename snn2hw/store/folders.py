"""Runs and builds: the folders that commands leave behind and find again.

``runs/latest`` and ``builds/latest`` are small text files with the name of the newest one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from snn2hw import target as targets
from snn2hw.errors import InputError, Snn2hwError, listed, unknown_name
from snn2hw.fields import require, shown
from snn2hw.files import (
    HIDDEN,
    check_file,
    expanded,
    json_text,
    new_file,
    new_folder,
    read_json,
    reading,
    recover,
    sha256,
    write_json,
)
from snn2hw.ir.program import Program
from snn2hw.store import program as program_file
from snn2hw.store.documents import BUILD, METRICS, PLACEMENT
from snn2hw.store.layout import layers_json, placement_json, placement_of
from snn2hw.store.replacing import BILL, PROOF, results

# Since 2, build.json is covered by a hash of its own; since 3, a build keeps its target; since 4,
# a placement says how synapses are stored; since 5, a program names its outputs; since 6, a core
# may hold several layers, and a slice may be some rows of some channels.
BUILD_FORMAT = 6
LONGEST_NAME = 4096  # bytes that are read of a pointer
LONGEST_FOLDER = 200  # bytes of its name; a file system takes 255, and a build adds its target

AGAIN = "Export the network again."


@dataclass(frozen=True, slots=True)
class Run:
    """A finished training run: ``student.nir``, ``metrics.json`` and what resuming needs."""

    path: Path
    metrics: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def student(self) -> Path:
        """The trained student as NIR."""
        return self.path / "student.nir"


@dataclass(frozen=True, slots=True)
class Build:
    """A network compiled for a target, as it lies on disk.

    ``replaced`` says that another program lay there before it was written.
    """

    path: Path
    program: Program
    info: Mapping[str, Any]
    replaced: bool = False

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def digest(self) -> str:
        """Hash of the program, by which a bill and a proof name it."""
        return str(self.info["digest"])

    @property
    def program_file(self) -> Path:
        """The integers, whatever the graph."""
        return self.path / "program.h5"

    @property
    def vendor_file(self) -> Path | None:
        """The file that the vendor's own loader reads, if the program has one."""
        told = self.info["vendor_file"]
        return self.path / told["name"] if told and told["written"] else None


def set_latest(path: Path) -> None:
    """Remember a run or build as the newest of its folder."""
    with new_file(path.parent / "latest") as temporary:
        temporary.write_bytes(os.fsencode(path.name) + b"\n")


def find(kind: str, given: str | None, root: Path) -> Path:
    """Find a run or build by path or name, or the newest one.

    A build is found by its run, file or model too, if there is no other build of that, and a run
    by a build of it.

    Args:
        kind: ``runs`` or ``builds``.
        given: a path, a name inside ``root/kind``, or None for the newest.
        root: the working directory.

    Raises:
        InputError: there is none, or several builds may be meant.
    """
    base, what = root / kind, kind.removesuffix("s")
    makes = "snn2hw distill" if kind == "runs" else "snn2hw export"
    if given is None:
        name = _latest(base / "latest")
        if name is None:
            raise InputError(f"There is no {what} in {base} yet.", f"Run: {makes}")
        if is_plain(name) and _is_there(base / name):
            return base / name
        raise InputError(f"{base / 'latest'} names {name!r}, which is not there.", f"Run: {makes}")
    here = expanded(given)
    named = here if is_path(given) else base / given
    for path in (here, named):
        # A folder of something else does not hide the run of its name.
        other = path == here and _is_there(named) and not _holds(kind, path)
        if _is_there(path) and not other and not _is_other(kind, path):
            return path
    found = _run_of(given, root) if kind == "runs" else only_build_of(given, root)
    if found is not None:
        return found
    there = names(kind, root)
    if kind == "builds" and (expanded(given).exists() or (root / "runs" / given).exists()):
        makes += f" {given}"
    ways = "Leave it out for the newest, or run" if there else "Run"
    raise unknown_name(what, given, there, f"{ways}: {makes}")


def names(kind: str, root: Path) -> list[str]:
    """Return the names of all ``runs`` or ``builds``, finished or not."""
    base = root / kind
    there = base.iterdir() if base.is_dir() else ()
    return sorted(p.name for p in there if p.is_dir() and not p.name.startswith(HIDDEN))


def _holds(kind: str, path: Path) -> bool:
    """Say whether a folder has a document of a run, or of a build."""
    known = ("metrics.json", "command.json") if kind == "runs" else ("build.json",)
    return any((path / name).exists() for name in known)


def _is_other(kind: str, path: Path) -> bool:
    """Say whether a folder is a build where a run is looked for, or the other way round."""
    a_build = (path / "build.json").exists()
    a_run = (path / "metrics.json").exists() or (path / "command.json").exists()
    return a_build if kind == "runs" else a_run and not a_build


def _run_of(given: str, root: Path) -> Path | None:
    """Return the run that a build was made of; None if there is no such build."""
    for path in (expanded(given), root / "builds" / given):
        if not (path / "build.json").exists():
            continue
        model = read_document(path)["model"]
        for run in (expanded(model), root / "runs" / model):
            if (run / "metrics.json").exists():
                return run
        raise InputError(f"{path} is a build of {model}, which is not a run here.", "Give a run.")
    return None


def only_build_of(given: str, root: Path) -> Path | None:
    """Return the one build of a run, a file or a model; None if there is none.

    Args:
        given: its name; or its path, which is no other's of the same name.
        root: the working directory.

    Raises:
        InputError: there are several.
    """
    name, place = Path(given).name, expanded(given).resolve() if is_path(given) else None
    found: list[Path] = []
    for file in sorted((root / "builds").glob("*/build.json")):
        with suppress(Snn2hwError):
            info = read_document(file.parent)
            made_of = str(info["model"])
            model = Path(made_of).name
            names = {model, *(model.removesuffix(f".{kind}") for kind in info["inputs"])}
            names.add(file.parent.name.removesuffix(f"-{info['target']}"))
            places = {p.resolve() for p in (expanded(made_of), root / "runs" / made_of)}
            if name in names if place is None else made_of and place in places:
                found.append(file.parent)
    if len(found) > 1:
        raise InputError(
            f"There are {len(found)} builds of {given}: {listed(p.name for p in found)}.",
            "Name one of them.",
        )
    return found[0] if found else None


def newest(root: Path) -> Path | None:
    """Return the run or build that was made last; None if there is none, or a pointer is wrong."""
    pointers = [root / kind / "latest" for kind in ("runs", "builds")]
    there = [p for p in pointers if p.is_file()]
    if not there:
        return None
    last = max(there, key=lambda p: p.stat().st_mtime_ns)
    name = _latest(last)
    return last.parent / name if name and is_plain(name) else None


def built(given: str, root: Path, models: Collection[str] = ()) -> Path | None:
    """Return the folder of a build that a path or name stands for; None if it is none.

    A path comes first, then a run or model of this name, then a build, and last what has one build.

    Args:
        given: the path or name.
        root: the working directory.
        models: names of those that need no file.

    Raises:
        InputError: there are several builds of what has this name.
    """
    path = expanded(given)
    recover(path)
    if not path.exists() and not (root / "runs" / given).exists() and given not in models:
        path = path if is_path(given) else root / "builds" / given
        recover(path)
        if not path.exists() and not path.suffix:  # which a missing file has
            return only_build_of(given, root)
    return path if (path / "build.json").exists() else None


def is_path(given: str) -> bool:
    """Say whether a folder is named, too: what is given is then no name inside ``builds``."""
    return Path(given).name != given


def is_plain(name: str) -> bool:
    """Say whether a name can be that of a run or build: of one folder, inside another."""
    fits = len(os.fsencode(name)) <= LONGEST_FOLDER
    return fits and Path(name).name == name and name not in ("", ".", "..", "latest")


def _latest(pointer: Path) -> str | None:
    """Return what a ``latest`` file names; None if there is none."""
    if not pointer.is_file():  # a pipe would never end
        return None
    with pointer.open("rb") as file:
        told = file.read(LONGEST_NAME)
    return os.fsdecode(told.removesuffix(b"\n").removesuffix(b"\r"))


def _is_there(path: Path) -> bool:
    """Say whether a folder is there, after putting back what a killed process had moved away."""
    recover(path)
    return path.is_dir()


def read_run(path: Path) -> Run:
    """Open a finished run.

    Raises:
        InputError: if it is not finished or not a run.
    """
    metrics = path / "metrics.json"
    if not metrics.exists():
        unfinished = (path / "command.json").exists()
        raise InputError(
            f"{path} is {'a run that is not finished' if unfinished else 'not a run'}.",
            "Give the command that started it again: it resumes, or says why it cannot."
            if unfinished
            else "",
        )
    return Run(path, read_json(metrics, METRICS, "Give the command that made the run again."))


def write_build(
    path: Path,
    program: Program,
    *,
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    extra: Mapping[str, Any],
    vendor_file: str | None,
    planned: Callable[[Path], None] | str | None,
    loading: Mapping[str, Any] | None = None,
) -> Build:
    """Write a build folder whole, replacing an older one of the same name.

    In a folder ``builds`` it is the newest then. Of one with the same program, the last bill, the
    last proof, pages and traces stay.

    Args:
        path: the folder to make.
        program: what the chip is told.
        inputs: files that went in, by what they are; their hashes are kept.
        options: what the caller chose.
        extra: more for ``build.json`` (data set, accuracy of the float student, notes).
        vendor_file: name of the file for the vendor's own loader, if the family has one.
        planned: writes it, or says why this program has none.
        loading: what that loader must be given, and how that is said (``families.Loading``).
    """
    digest, before, answers = program.digest(), _digest(path), program.network.outputs
    with new_folder(path) as folder:
        program_file.write(folder / "program.h5", program)
        write_json(folder / "placement.json", placement_json(program.placement))
        (folder / "target.toml").write_bytes(program.target.text.encode("utf-8"))
        if vendor_file is not None and callable(planned):
            planned(folder / vendor_file)
        outputs = {f.name: sha256(f) for f in sorted(folder.iterdir())}
        info = {
            "format": BUILD_FORMAT,
            "name": path.name,
            "target": program.target.name,
            "digest": digest,
            "inputs": {k: {"file": f.name, "sha256": sha256(f)} for k, f in inputs.items()},
            "outputs": outputs,
            "versions": {k: version(k) for k in ("snn2hw", "numpy", "h5py", "nir")},
            "python": ".".join(platform.python_version_tuple()[:2]),
            "options": dict(options),
            "time_steps": program.network.time_steps,
            "depth": program.depth,
            "cores": program.placement.cores,
            "chips": program.placement.chips,
            "vendor_file": vendor_file
            and {
                "name": vendor_file,
                "written": callable(planned),
                "reason": planned if isinstance(planned, str) else None,
                **(loading or {}),
            },
            "layers": layers_json(program),
            **({"answers": dict(answers)} if len(answers) > 1 else {}),
            **extra,
        }
        info["sha256"] = _seal(info)
        write_json(folder / "build.json", info)
        for kept in (path / BILL, path / PROOF, *results(path)):
            if before == digest and kept.is_file():
                shutil.copy(kept, folder / kept.name)
    if path.parent.name == "builds":
        set_latest(path)
    return Build(path, program, info, replaced=before not in (None, digest))


def _digest(path: Path) -> str | None:
    """Return the hash of the program in a build folder; None if there is none that can be read."""
    with suppress(Snn2hwError):
        return str(read_document(path)["digest"])
    return None


def _seal(info: Mapping[str, Any]) -> str:
    """Return the hash of a build's document, without what it says of its hash."""
    sealed = {k: v for k, v in info.items() if k != "sha256"}
    return hashlib.sha256(
        json_text(sealed, indent=None).encode("utf-8", "surrogateescape")
    ).hexdigest()


def read_build(path: Path) -> Build:
    """Open a build and check that it is the one that was written.

    Raises:
        InputError: if a file is missing, changed or from another format.
    """
    info = read_document(path)
    vendor = info["vendor_file"]
    names = {*info["outputs"], *([vendor["name"]] if vendor and vendor["written"] else [])}
    odd = [n for n in names if not is_plain(n) or not isinstance(info["outputs"].get(n), str)]
    if odd:
        raise InputError(f"{path} tells no hash of {listed(map(shown, odd))} inside it.", AGAIN)
    for name, digest in info["outputs"].items():
        file = path / name
        if not file.exists():
            raise InputError(f"{file} is missing.", AGAIN)
        check_file(file, "a file of a build")
        if sha256(file) != digest:
            raise InputError(f"{file} is not the file that was built: its hash differs.", AGAIN)
    file = path / "placement.json"
    with reading(file, "a placement", AGAIN):
        placement = placement_of(read_json(file, PLACEMENT, AGAIN))
    target = targets.read(path / "target.toml", info["target"])
    program = program_file.read(path / "program.h5", placement, target)
    placed: Counter[str] = Counter()
    for s in placement.slices:
        placed[s.layer] += s.span.size
    if (
        placed != {p.name: p.size for p in program.network.populations}
        or len(placement.stored) != len(program.network.connections)
        or info["digest"] != program.digest()
    ):
        raise InputError(
            f"{path} holds files that do not go together: build.json, placement.json and "
            "program.h5 are of different programs.",
            AGAIN,
        )
    return Build(path, program, info)


def read_document(folder: Path) -> dict[str, Any]:
    """Read the ``build.json`` of a build, without its other files.

    Raises:
        InputError: it is missing, changed or of another format.
    """
    path = folder / "build.json"
    info = read_json(path, hint=AGAIN)
    if info.get("format") != BUILD_FORMAT:
        raise InputError(
            f"{path} is of format {shown(info.get('format'))}, this snn2hw reads {BUILD_FORMAT}.",
            AGAIN,
        )
    if info.get("sha256") != _seal(info):
        raise InputError(f"{path} is not what was written: its hash differs.", AGAIN)
    require(info, BUILD, path, AGAIN)
    return info
