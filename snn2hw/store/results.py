"""Files of results, which a user may write anywhere but over a run or build."""

from __future__ import annotations

from pathlib import Path

from snn2hw.errors import InputError
from snn2hw.files import check_writable

RESULTS = (".npz", ".html")  # are written into the folder of a run or build, too


def check_result(path: Path) -> None:
    """Check, before long work, that a file of results can be written there after it.

    Raises:
        InputError: it cannot, or it would replace what finds a run or build, or is a part of one.
    """
    folder = path.parent
    if path.name == "latest" and folder.resolve().name in ("runs", "builds"):
        what = folder.resolve().name.removesuffix("s")
        raise InputError(f"{path} is where the newest {what} is remembered.", "Name another file.")
    kept = any((folder / n).exists() for n in ("build.json", "metrics.json", "command.json"))
    if kept and path.exists() and path.suffix not in RESULTS:
        raise InputError(f"{path} is a part of {folder}.", "Name another file.")
    check_writable(path)
