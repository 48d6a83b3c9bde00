"""What a build may replace: nothing but a build, and nobody else's files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from snn2hw.errors import InputError, listed
from snn2hw.files import HIDDEN
from snn2hw.store.results import RESULTS

DOCUMENT = "build.json"
BILL, PROOF = "energy.json", "verify.json"  # the last ones of a build's program
PARTS = (DOCUMENT, "program.h5", "placement.json", "target.toml", BILL, PROOF)


def check_place(path: Path, vendor_files: Collection[str]) -> None:
    """Refuse to write a build where something else is.

    Args:
        path: the folder that is to be made, or replaced.
        vendor_files: names of files for vendors' loaders that a build may hold.

    Raises:
        InputError: a file is there, the working directory or one around it, a folder of other
            things than a build, or a build with other files in it.
    """
    here = Path.cwd()
    if path.resolve() in (here, *here.parents):
        raise InputError(
            f"A build cannot replace {path.resolve()}, in which this program works.",
            "Name a folder inside it.",
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, and a build is a folder.", "Name another folder.")
    there = sorted(p.name for p in path.glob("*") if not p.name.startswith(HIDDEN))
    if there and DOCUMENT not in there:
        raise InputError(
            f"{path} is no build, and holds {listed(there)}, which a build would replace.",
            "Name a new folder, or an empty one.",
        )
    own = {*PARTS, *vendor_files, *(p.name for p in results(path))}
    if others := [name for name in there if name not in own]:
        raise InputError(
            f"{path} holds {listed(others)} beside a build, which a new build would replace.",
            "Move it away, or name another folder.",
        )


def results(path: Path) -> list[Path]:
    """Return the pages and traces that commands wrote into a build folder."""
    return sorted(p for p in path.glob("*") if p.suffix in RESULTS and p.is_file())
