"""The bill and the proof that a build's folder keeps: of its program, and the better of two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn2hw.errors import InputError
from snn2hw.fields import Check
from snn2hw.files import read_json, write_json
from snn2hw.report.text import counted
from snn2hw.store.documents import PROOF as PROOF_FIELDS
from snn2hw.store.documents import REPORT
from snn2hw.store.replacing import BILL, PROOF

AGAIN = {BILL: "Run snn2hw energy report again.", PROOF: "Run snn2hw verify again."}
SAME = ("program", "against", "mismatches")  # in proofs of which the larger is kept
# What a report may say besides: it stays where one of the same samples leaves it out.
BESIDES = ("neurobench", "against")
KEEP_THIS = "--replace keeps the new one"


def last_proof(folder: Path) -> dict[str, Any] | None:
    """Return what the last ``verify`` of a build found, of whichever program, if it ran.

    Raises:
        InputError: the folder holds something else in its place.
    """
    return _read(folder / PROOF, PROOF_FIELDS)


def last_bill(folder: Path) -> dict[str, Any] | None:
    """Return the energy report that a build's folder keeps, if there is one.

    Raises:
        InputError: the folder holds something else in its place.
    """
    return _read(folder / BILL, REPORT)


def keep_proof(folder: Path, found: Mapping[str, Any], *, replace: bool = False) -> str | None:
    """Write ``verify.json``, unless the one there proves more of the same program.

    A proof that found a difference is always kept.

    Args:
        folder: of the build.
        found: what ``verify`` found, with the hash of its ``program``.
        replace: write it whatever is there.

    Returns:
        What to tell of it, if the one that was there stays.
    """
    there = _readable(folder / PROOF, PROOF_FIELDS)
    same = there is not None and all(there.get(k) == found[k] for k in SAME)
    larger = there is not None and there["compared"] > found["compared"]
    if there and same and larger and not found["mismatches"] and not replace:
        return (
            f"{folder / PROOF} stays: it proves {there['compared']:,} values, and this run "
            f"{found['compared']:,} ({KEEP_THIS})"
        )
    write_json(folder / PROOF, found)
    return None


def keep_bill(folder: Path, bill: Mapping[str, Any], *, replace: bool = False) -> str | None:
    """Write ``energy.json``, unless the one there is of more samples of the same program.

    Args:
        folder: of the build.
        bill: the document, with the hash of its ``program``. What the one there says besides of the
            same samples (NeuroBench's metrics, other machines) is kept if this one leaves it out.
        replace: write it whatever is there.

    Returns:
        What to tell of it: that the one that was there stays, or that it was of other data.
    """
    there = _readable(folder / BILL, REPORT)
    if there is None or there.get("program") != bill["program"] or replace:
        write_json(folder / BILL, bill)
        return None
    was, now = (f"{counted(b['samples'], 'sample')} of {b['data']}" for b in (there, bill))
    if there["samples"] > bill["samples"]:
        return f"{folder / BILL} stays: it is of {was}, and this report of {now} ({KEEP_THIS})"
    same = all(there[k] == bill[k] for k in ("samples", "data"))
    besides = [k for k in BESIDES if same and k in there and k not in bill]
    write_json(folder / BILL, {**bill, **{k: there[k] for k in besides}})
    if there["data"] != bill["data"]:
        return f"{folder / BILL} was of {was} and is of {now} now"
    return None


def _read(path: Path, fields: Check) -> dict[str, Any] | None:
    return read_json(path, fields, AGAIN[path.name]) if path.exists() else None


def _readable(path: Path, fields: Check) -> dict[str, Any] | None:
    """Read a document; None also of one that is broken, which nobody needs to keep."""
    try:
        return _read(path, fields)
    except InputError:
        return None
