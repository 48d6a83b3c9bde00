"""The folder of a training command: its own if the command ran before, else a free one.

``command.json`` holds what was asked for. The same command finds the same folder again: a run that
was stopped goes on, one that is finished is reported and not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn2hw.errors import InputError
from snn2hw.files import read_json
from snn2hw.store import folders
from snn2hw.store.documents import COMMAND
from snn2hw.store.folders import Run


def find_folder(root: Path, name: str | None, default: str, command: Mapping[str, Any]) -> Path:
    """Find the folder of this command: its own if it ran before, else a free one.

    Args:
        root: the working directory.
        name: of the run, if it has to be this one.
        default: the name otherwise, with a number where others have it.
        command: what ``command.json`` is to hold.

    Raises:
        InputError: the name cannot be one, or is that of another command's run.
    """
    base = root / "runs"
    if name is not None:
        if not folders.is_plain(name):
            raise InputError(
                f"{name!r} cannot be the name of a run.",
                "Use a plain, short word.",
            )
        other = [] if _is_free(base / name) else differences(asked(base / name), command)
        if not other:
            return base / name
        raise InputError(
            f"{base / name} holds a run with other settings: {', '.join(other)}.",
            "Choose another --name.",
        )
    candidates = [default, *(f"{default}-{i}" for i in range(2, 1000))]
    for candidate in candidates:
        path = base / candidate
        if _is_free(path) or not differences(asked(path), command):
            return path
    raise InputError(f"{base} holds a thousand runs called {default}.", "Give --name.")


def _is_free(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def differences(found: Mapping[str, Any] | None, command: Mapping[str, Any]) -> list[str]:
    """Say in which settings the command found in a folder is not this one; None is unreadable."""
    from snn2hw.train import Recipe

    if found is None:
        return ["an unknown command"]
    mine, theirs = dict(command), dict(found)
    if theirs.get("command") != mine["command"]:
        return [f"command {theirs.get('command')!r}, not {mine['command']!r}"]
    if "recipe" in mine:
        # Runs of earlier versions lack the constants that came later.
        mine |= mine.pop("recipe")
        theirs |= Recipe().to_json() | theirs.pop("recipe", {})
    return [
        f"{k} {theirs.get(k)!r}, not {mine.get(k)!r}"
        for k in {**theirs, **mine}
        if theirs.get(k) != mine.get(k)
    ]


def asked(path: Path) -> dict[str, Any] | None:
    """Return the command that a run's folder holds; None if it holds none that can be read."""
    try:
        return read_json(path / "command.json", COMMAND)
    except InputError:
        return None


def teacher_folder(run: Run) -> Path:
    """Follow a pruned run to the one that trained the teacher.

    Raises:
        InputError: that one is gone.
    """
    from snn2hw.train import has_teacher

    path, seen = run.path, set[Path]()
    while not has_teacher(path):
        parent = (asked(path) or {}).get("parent")
        if not parent or path in seen:
            raise InputError(
                f"The teacher of {run.path} is gone.", "Distill again, or prune the first run."
            )
        seen.add(path)
        path = path.parent / Path(str(parent)).name
    return path
