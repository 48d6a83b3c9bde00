"""The families of files: how valid ones are made, what is damaged, and what a user does with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

from fuzz.damage import damaged
from fuzz.seeds import Files, data, networks, teachers, training
from fuzz.seeds.training import DISTILL, SHORT

from snn2hw import target as targets
from snn2hw.store import folders, layout, program

Command = tuple[str, ...]
# One of these is done with a file: its commands in turn, until one is not fine.
Chains = tuple[tuple[Command, ...], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of file.

    Args:
        about: for the page.
        share: of all files, in hundredths.
        seeds: makes valid files, given an empty folder to work in.
        damaged: patterns of the files that are damaged, one file in each case; what is listed
            twice is damaged more often.
        chains: what a user may do with such files.
        sealed: hashes are made right again after the damage, as an attacker would.
    """

    about: str
    share: int
    seeds: Callable[[Path], dict[str, Files]]
    damaged: tuple[str, ...]
    chains: Callable[[Files, Random], Chains]
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Damaged files, and what is done with them.

    Args:
        family: a key of ``FAMILIES``.
        index: its number in the family.
        files: a whole working directory.
        file: which of them is damaged.
        said: from which seed, and how it was damaged.
        commands: what is done, in turn.
    """

    family: str
    index: int
    files: Files
    file: str
    said: str
    commands: tuple[Command, ...]


def make(family: str, seed: int, index: int, valid: Mapping[str, Files], attempt: int = 0) -> Case:
    """Return a case: for the same valid files, the same bytes for the same numbers."""
    row, r = FAMILIES[family], Random(f"{seed}/{family}/{index}{'+' * attempt}")
    name = r.choice(sorted(valid))
    files = dict(valid[name])
    file = r.choice([f for p in row.damaged for f in files if fnmatch(f, p)])
    files[file], said = damaged(file, files[file], r)
    if row.sealed and "/" in file.partition("/")[2]:  # in a build, not beside it
        seal(files, file)
    chain = r.choice(row.chains(files, r))
    more = ("--json",) if r.random() < 0.5 else ()
    commands = tuple((*command, *more) for command in chain)
    return Case(family, index, files, file, f"{name}: {said}", commands)


def seal(files: Files, file: str) -> None:
    """Make the hashes of a build right again, unless ``build.json`` is itself beyond reading."""
    at = f"{file.rpartition('/')[0]}/build.json"
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        info = json.loads(files[at])
        if file != at:
            info["outputs"][Path(file).name] = hashlib.sha256(files[file]).hexdigest()
        files[at] = _sealed(info)


def seal_program(build: Path) -> None:
    """Write the digest of a build's program into its ``build.json``, if it is an object still.

    Reads the program, which may be damaged: for a process with limits.
    """
    info = json.loads((build / "build.json").read_bytes())
    placement = layout.placement_of(json.loads((build / "placement.json").read_bytes()))
    target = targets.read(build / "target.toml", info["target"])
    digest = program.read(build / "program.h5", placement, target).digest()
    if "digest" in info:
        (build / "build.json").write_bytes(_sealed({**info, "digest": digest}))


def _sealed(info: dict[str, Any]) -> bytes:
    if hasattr(folders, "_seal"):
        info["sha256"] = folders._seal(info)
    return json.dumps(info, indent=2).encode() + b"\n"


def _nir(_files: Files, r: Random) -> Chains:
    told = r.choice(((), ("--dt", "1e-3", "--time-steps", "3")))
    shown = ("simulate", "--on", "float", "a.nir", "--input", "x.npz", "--samples", "2", *told)
    compiled = ("export", "a.nir", *told, *(("--rewrite", "all") if r.random() < 0.3 else ()))
    return ((("inspect", "a.nir", *told),), (shown,), (compiled, _ran("builds/a-loihi2")))


def _ran(build: str) -> Command:
    return ("simulate", build, "--input", "x.npz", "--samples", "2")


def _netx(_files: Files, _r: Random) -> Chains:
    return ((("inspect", "a.net"),), (("export", "a.net"), _ran("builds/a-loihi2")))


def _build(_files: Files, r: Random) -> Chains:
    given, few = (
        r.choice(((), ("builds/a",), ("builds/a",))),
        ("--input", "x.npz", "--samples", "2"),
    )
    saved = ("--save", "s.npz", "--trace") if r.random() < 0.5 else ()
    page = ("--html", "page.html") if r.random() < 0.5 else ()
    return (
        (("simulate", *given, *few, *saved),),
        (("inspect", "builds/a"),),
        (("energy", "report", *given, *few, *page),),
        (("verify", *given, *few),),
    )


def _stored(files: Files, _r: Random) -> Chains:
    (build,) = {f.split("/")[1] for f in files if f.startswith("builds/") and f.count("/") == 2}
    if "d.npz" in files:
        return ((("simulate", f"builds/{build}", "--data", "npz:d.npz"),),)
    reported = ("energy", "report", f"builds/{build}", "--input", "x.npz")
    floating = ("simulate", "--on", "float", "a.nir", "--input", "x.npz")
    shown = (_ran(f"builds/{build}"),), (reported,)
    return (*shown, (floating,)) if "a.nir" in files else shown


def _images(_files: Files, _r: Random) -> Chains:
    return ((("simulate", "builds/a-loihi2", "--data", "image-folder:pictures"),),)


def _published(files: Files, _r: Random) -> Chains:
    name = next(f.split("/")[1] for f in files if f.startswith("data/"))
    return ((("simulate", "builds/a-loihi2", "--data", name, "--data-dir", "data"),),)


def _events(files: Files, _r: Random) -> Chains:
    name = "shd" if "data/SHD/shd_train.h5" in files else "nmnist"
    return ((("simulate", "builds/a-loihi2", "--data", name, "--data-dir", "data"),),)


def _recordings(files: Files, r: Random) -> Chains:
    shown = r.choice(((), ("--window", "20"), ("--crop", "1,2,20,10", "--downsample", "2")))
    if "clips/a/0.dat" in files:
        return ((("simulate", "builds/a-loihi2", "--data", "events:clips", *shown),),)
    file = next(f for f in files if f.startswith("a.") and f != "a.nir")
    if file == "a.aedat4":
        shown = (
            (*shown[:2], "--downsample", "10") if "--window" in shown else ("--downsample", "10")
        )
    return ((("simulate", "builds/a-loihi2", "--input", file, *shown),), (("inspect", file),))


def _target(_files: Files, _r: Random) -> Chains:
    shown, compiled = ("targets", "./mine.toml"), ("export", "--target", "./mine.toml", "a.nir")
    ran = ("energy", "report", "builds/a-mine", "--input", "x.npz")
    asked = ("inspect", "a.nir", "--target", "./mine.toml")
    return ((shown,), (compiled, ran), (asked,))


TEACH = ("distill", *SHORT, "--student", "mlp-4", "--teacher-only")


def _weights(files: Files, _r: Random) -> Chains:
    file = next(f for f in files if f.startswith("w."))
    return (((*TEACH, "--teacher", "mlp-4", "--teacher-weights", file),), (("inspect", file),))


def _onnx(_files: Files, _r: Random) -> Chains:
    # What inspect refuses is refused by the same door again: only the rest is run.
    return ((("inspect", "a.onnx"), (*TEACH, "--teacher", "a.onnx")),)


def _keras(_files: Files, _r: Random) -> Chains:
    return (((*TEACH, "--teacher", "a.h5"),),)


def _run(files: Files, _r: Random) -> Chains:
    teacher = "t.onnx" if "runs/a/checkpoint/teacher.json" in files else "mlp-4"
    again = (*DISTILL, teacher)
    if "runs/a/metrics.json" not in files:
        return ((again,),)
    floating = ("simulate", "--on", "float", "--samples", "2")
    pruned = ("prune", "a", "--epochs", "1", "--name", "new")
    commands = (("export",), ("export", "runs/a"), floating, ("inspect", "runs/a"), again, pruned)
    return tuple((c,) for c in (*commands, pruned))


FAMILIES: dict[str, Family] = {
    "nir": Family(".nir networks", 18, networks.nir_files, ("a.nir",), _nir),
    "net": Family("netx's .net networks", 10, networks.netx_files, ("a.net",), _netx),
    "onnx": Family(".onnx teachers", 7, teachers.onnx_files, ("a.onnx",), _onnx),
    "keras": Family("Keras' .h5 teachers", 6, teachers.keras_files, ("a.h5",), _keras),
    "npz": Family("inputs and data sets in .npz", 7, data.arrays, ("x.npz", "d.npz"), _stored),
    "weights": Family("weights: .safetensors, .npz, .pt", 6, teachers.weights, ("w.*",), _weights),
    "program": Family(
        "program.h5 of a build, its hash made right",
        12, networks.builds, ("builds/a/program.h5",), _build, sealed=True,
    ),
    "build": Family(
        "JSON and target of a build, hashes made right",
        8, networks.builds,
        (*("builds/a/build.json", "builds/a/placement.json", "builds/a/target.toml") * 3,
         "builds/latest"),
        _build, sealed=True,
    ),
    "run": Family(
        "JSON and checkpoints of a run",
        7, training.runs,
        ("runs/*/*.json", "runs/*/log.jsonl", "runs/latest", "runs/a/checkpoint/*"), _run,
    ),
    "target": Family("target files, TOML", 6, networks.target_files, ("mine.toml",), _target),
    "images": Family("image folders", 4, data.pictures, ("pictures/*",), _images),
    "published": Family("IDX and CIFAR files", 3, data.idx_and_cifar, ("data/*",), _published),
    "events": Family("packed events, .npz; SHD's .h5", 3, data.events, ("data/*",), _events),
    "recordings": Family(
        "recordings of events", 3, data.recordings, ("a.[!n]*", "clips/*"), _recordings,
    ),
}  # fmt: skip
