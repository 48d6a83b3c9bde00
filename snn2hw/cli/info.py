"""targets, models, datasets, encoders, methods, runtime, doctor."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from snn2hw import datasets as data_sets
from snn2hw import families, train
from snn2hw import target as target_files
from snn2hw.cli.common import Talk, common, root
from snn2hw.encoders import ENCODERS
from snn2hw.environments import Environment
from snn2hw.errors import Snn2hwError, sized, unknown_name
from snn2hw.ir.target import Target
from snn2hw.pipeline import loading
from snn2hw.report import text
from snn2hw.report.text import wrapped


@click.command()
@click.argument("name", required=False)
@common
def targets(talk: Talk, name: str | None) -> None:
    """List the chips, or show one with the source of every figure."""
    if name is None:
        loaded = [target_files.load(n) for n in target_files.names()]
        document: dict[str, Any] = {"targets": [_in_short(t) for t in loaded]}
        head = ["target", "title", "spikes a step", "reset", "weights", "states", "proved against"]
        rows = [[str(v) for v in list(_in_short(t).values())[:-1]] for t in loaded]
        talk.result(document, text.table(head, rows, left=len(head)))
        return
    chip = target_files.load(name)
    sections = {
        "limits": chip.limits, "prices": chip.prices, "timing": chip.timing,
        "boards": chip.boards, "calibration": chip.calibration,
    }  # fmt: skip
    document = {
        "name": chip.name, "title": chip.title, "family": chip.family, "about": chip.about,
        "abilities": dict(chip.abilities), "numbers": dataclasses.asdict(_numbers(chip)),
        "proved_against": _proofs(chip), "open_questions": list(chip.open_questions),
        **{k: [dataclasses.asdict(x) for x in v.values()] for k, v in sections.items()},
    }  # fmt: skip
    lines = [f"{chip.name}: {chip.title}, family {chip.family}", " ".join(chip.about.split())]
    told = dataclasses.asdict(_numbers(chip))
    lines += [
        "abilities: " + ", ".join(k for k, v in chip.abilities.items() if v),
        "numbers: " + ", ".join(f"{k} {v}" for k, v in told.items()),
        f"proved against: {_proofs(chip)}",
        *(f"open question: {q}" for q in chip.open_questions),
    ]
    for section, figures in sections.items():
        lines += ["", section] if figures else []
        for x in figures.values():
            span = "" if x.low == x.value == x.high else f" ({x.low:g} to {x.high:g})"
            value = f"{x.value:g}{span} {x.unit}".rstrip()
            lines.append(f"  {x.name:<20} {value}, {x.kind}: {x.source}")
    talk.result(document, [x for line in lines for x in wrapped(line, "    ")])


def _in_short(chip: Target) -> dict[str, str]:
    """Say in a few words what the neurons of a chip are, and what it was proved against."""
    rules, numbers = families.of(chip).trains(chip), _numbers(chip)
    resets = [r for r in ("zero", "subtract") if chip.abilities.get(f"reset_{r}")]
    bits = {k: getattr(numbers, f"{k}_bits", None) for k in ("weight", "state")}
    return {
        "name": chip.name,
        "title": chip.title,
        "spikes": "1" if rules.most == 1 else f"up to {rules.most}",
        "reset": " or ".join(resets) or "-",
        **{f"{k}s": "-" if n is None else f"{n} bits" for k, n in bits.items()},
        "proved_against": _proofs(chip),
        "family": chip.family,
    }


def _numbers(chip: Target) -> Any:
    """Return a target's arithmetic: a dataclass of its family's."""
    return chip.numbers


def _proofs(chip: Target) -> str:
    """Name the vendors' simulators that count like a chip."""
    them = families.simulators(chip).values()
    return " or ".join(v.environment.title for v in them) or "no vendor's simulator"


@click.command()
@click.argument("name", required=False)
@common
def models(talk: Talk, name: str | None) -> None:
    """List teachers, students and trained models, or show one."""
    shipped = loading.model_names()
    if name is not None and name in shipped:
        card = (loading.models_directory() / name / "card.md").read_text(encoding="utf-8")
        talk.result({"name": name, "card": card}, card.rstrip().splitlines())
        return
    kinds = {"teacher": train.TEACHERS, "student": train.STUDENTS}
    rows = [[kind, k, _about(v)] for kind, table in kinds.items() for k, v in table.items()]
    rows.insert(len(train.TEACHERS), ["teacher", "runs/NAME", "the spiking student of a run"])
    rows += [["trained", k, _trained(loading.model_recipe(k))] for k in shipped]
    if name is not None:
        rows = [r for r in rows if r[1] == name]
        if not rows:
            raise unknown_name("model", name, [*train.TEACHERS, *train.STUDENTS, *shipped])
    document = {"models": [dict(zip(("kind", "name", "about"), r, strict=True)) for r in rows]}
    talk.result(document, text.table(["kind", "name", "about"], rows, left=3))


def _trained(recipe: Mapping[str, Any]) -> str:
    right = recipe["accuracy_on_chip"]
    return f"{recipe['student']} for {recipe['data']}, {100 * right:.2f} % on the chip's integers"


def _about(entry: Any) -> str:
    for name in ("description", "about"):
        if hasattr(entry, name):
            return str(getattr(entry, name))
    return (getattr(entry, "__doc__", None) or str(entry)).strip().splitlines()[0]


@click.command()
@click.argument("name", required=False)
@common
def datasets(talk: Talk, name: str | None) -> None:
    """List the data sets, or show one with its source."""
    known = {k: (v.description, v.source) for k, v in data_sets.DATASETS.items()}
    _show(talk, name, "data set", "datasets", known)


@click.command()
@click.argument("name", required=False)
@common
def encoders(talk: Talk, name: str | None) -> None:
    """List the ways to show an image over time, or show one."""
    known = {k: (v.description, v.source) for k, v in ENCODERS.items()}
    _show(talk, name, "encoder", "encoders", known)


@click.command()
@click.argument("name", required=False)
@common
def methods(talk: Talk, name: str | None) -> None:
    """List the methods of distillation and pruning, or show one.

    They are what `snn2hw distill --method` and `snn2hw prune --how` take.
    """
    known = {k: (v.description, v.paper) for k, v in train.METHODS.items()}
    known |= {k: (f"prune: {v.description}", v.paper) for k, v in train.PRUNERS.items()}
    _show(talk, name, "method", "methods", known)


def _show(
    talk: Talk, name: str | None, what: str, key: str, known: dict[str, tuple[str, str]]
) -> None:
    """Print all rows (description, source) of a table, or the one that is named."""
    if name is not None and name not in known:
        raise unknown_name(what, name, known)
    chosen = {k: v for k, v in known.items() if name in (None, k)}
    rows = [{"name": k, "description": d, "source": s} for k, (d, s) in chosen.items()]
    shown = [[k, d, s] for k, (d, s) in chosen.items()]
    talk.result({key: rows}, text.table([what, "what", "source"], shown, left=3))


@click.group()
def runtime() -> None:
    """Vendor simulators that need an environment of their own."""


def _environment(name: str) -> Environment:
    known = {v.environment.name: v.environment for v in families.vendors().values()}
    if name not in known:
        raise unknown_name("runtime", name, known)
    return known[name]


@runtime.command("list")
@common
def runtime_list(talk: Talk) -> None:
    """List the simulators and whether they are installed."""
    rows: list[dict[str, Any]] = []
    shown: list[list[str]] = []
    for vendor in families.vendors().values():
        environment = vendor.environment
        where, told = _installed(environment)
        what = f"{environment.title} {environment.about}"
        rows.append(
            {
                "name": environment.name, "what": what, "installed": where is not None,
                "path": str(where) if where else None,
            }
        )  # fmt: skip
        shown.append([environment.name, what, told])
    talk.result({"runtimes": rows}, text.table(["runtime", "what", "installed"], shown, left=3))


def _installed(environment: Environment) -> tuple[Path | None, str]:
    """Return where an environment is, and what to say about that."""
    try:
        where = environment.folder if environment.interpreter else None
    except Snn2hwError as error:
        return None, f"no: {error}"
    return where, str(where) if where else "no"


@runtime.command("install")
@click.argument("name")
@common
def runtime_install(talk: Talk, name: str) -> None:
    """Install a simulator into the user cache."""
    path = _environment(name).install(talk.say)
    talk.result({"name": name, "python": str(path)}, [f"{name}: {path}"])


@runtime.command("remove")
@click.argument("name")
@common
def runtime_remove(talk: Talk, name: str) -> None:
    """Remove a simulator from the user cache."""
    gone = _environment(name).remove()
    talk.result(
        {"name": name, "removed": gone}, [f"{name}: {'removed' if gone else 'was not there'}"]
    )


@click.command()
@common
def doctor(talk: Talk) -> None:
    """Say what is installed and works, and what to do about the rest."""
    rows: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), ".".join(map(str, sys.version_info[:3])))
    ]
    extras = {
        "numpy": "", "numba": "", "nir": "", "h5py": "", "scikit-learn": "data",
        "pooch": "data", "pillow": "data", "torch": "train", "lightning-fabric": "train",
        "safetensors": "train", "onnx": "onnx", "onnxruntime": "onnx",
        "tonic": "events", "aedat": "events", "event_stream": "events",
    }  # fmt: skip
    for package, extra in extras.items():
        try:
            rows.append((package, True, version(package)))
        except PackageNotFoundError:
            rows.append(
                (package, False, f'pip install "snn2hw[{extra}]"' if extra else "reinstall")
            )
    rows += [_row(v.environment) for v in families.vendors().values()]
    folder = target_files.directory()
    rows.append(("targets", bool(target_files.names()), f"{len(target_files.names())} in {folder}"))
    free = shutil.disk_usage(Path(root())).free
    rows.append(("disk", free > 1 << 30, f"{sized(free)} free here"))
    document = {"checks": [{"name": n, "ok": ok, "detail": d} for n, ok, d in rows]}
    shown = [[n, "ok" if ok else "missing", d] for n, ok, d in rows]
    talk.result(document, text.table(["part", "state", "detail"], shown, left=3))


def _row(environment: Environment) -> tuple[str, bool, str]:
    """Say whether a vendor's simulator is there, and how to have it."""
    name = environment.name
    try:
        there = environment.interpreter
        if there:
            return (name, True, str(there))
        base = environment.base_python()
    except Snn2hwError as error:
        return (name, False, str(error))
    version = ".".join(map(str, environment.python))
    return (name, False, f"{environment.install_command} (Python {version}: {base})")
