"""The bill and the proof that a build's folder keeps: of its program, and the better of two."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn2hw import datasets
from snn2hw.errors import InputError
from snn2hw.fields import Check
from snn2hw.files import read_json, write_json
from snn2hw.report.text import counted
from snn2hw.store.documents import PROOF as PROOF_FIELDS
from snn2hw.store.documents import REPORT
from snn2hw.store.replacing import BILL, PROOF

AGAIN = {BILL: "Run snn2hw energy report again.", PROOF: "Run snn2hw verify again."}
# What a report may say besides: it stays where one of the same samples leaves it out.
BESIDES = ("neurobench", "against")
KEEP = "(--replace keeps the new one, in Python replace=True)"


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


def proof_or_why(folder: Path) -> dict[str, Any] | str | None:
    """Return what ``last_proof`` does, or in its place why its file cannot be read."""
    try:
        return last_proof(folder)
    except InputError as error:
        return error.message


def keep_proof(folder: Path, found: Mapping[str, Any], *, replace: bool = False) -> str | None:
    """Write ``verify.json``, unless the one there is worth more (``stays``).

    Args:
        folder: of the build.
        found: what ``verify`` found, with the hash of its ``program``.
        replace: write it whatever is there.

    Returns:
        What to tell of it: that the one that was there stays, or that it was of something else.
    """
    path = folder / PROOF
    there = None if replace else _readable(path, PROOF_FIELDS)
    why = stays(there, found)
    if why:
        return f"{path} stays: {why}"
    write_json(path, found)
    if there is None or there.get("program") != found["program"] or found["mismatches"]:
        return None
    if _part_and_samples(there) == _part_and_samples(found):
        return None
    return f"{path} proved {_claim(there)} and proves {_claim(found)} now"


def stays(there: Mapping[str, Any] | None, found: Mapping[str, Any]) -> str | None:
    """Say why a proof is not replaced by a later one; None if it is.

    Of the same program, a difference counts most, and the last one that was found. After that
    counts, in this order: how much of the program was compared, on which samples (a data set's; a
    file's or an array's; silent ones), and how many values.

    Args:
        there: the proof before, if there is one.
        found: the later one.
    """
    if there is None or there.get("program") != found["program"] or found["mismatches"]:
        return None
    if there["mismatches"]:
        of = f"{there['mismatches']:,} of {there['compared']:,} values"
        return f"it found that {of} differ, which a run without a difference does not undo " + KEEP
    if _worth(there) > _worth(found):
        return f"it proves {_claim(there)}, and this run {_claim(found)} {KEEP}"
    return None


def _worth(proof: Mapping[str, Any]) -> tuple[float, int, int]:
    return _neurons(proof), _kind(proof), int(proof["compared"])


def _neurons(proof: Mapping[str, Any]) -> float:
    """Return of how many neurons a proof is; infinity for the whole program."""
    if not proof.get("parts"):
        return math.inf
    compared, all_of = Counter[str](), dict[str, int]()
    for one in proof["parts"]:
        for name, n in one["populations"].items():
            compared[name] += n["neurons"]
            all_of[name] = n["of"]
    return sum(min(n, all_of[name]) for name, n in compared.items())  # pieces may overlap


def _kind(proof: Mapping[str, Any]) -> int:
    """Rank what a proof was run on."""
    if proof.get("silent"):
        return 0
    of_a_set = datasets.split(proof.get("data", ""))[0] in datasets.DATASETS
    return 2 if of_a_set and "data_sha256" not in proof else 1


def _part_and_samples(proof: Mapping[str, Any]) -> tuple[Any, ...]:
    return _neurons(proof), proof.get("data"), proof.get("data_sha256"), proof.get("silent")


def _claim(proof: Mapping[str, Any]) -> str:
    neurons, what = _neurons(proof), "the whole program"
    if neurons < math.inf:
        what = counted(int(neurons), "neuron")
    zeros = " (all zeros)" if proof.get("silent") else ""
    on = f"{counted(proof['samples'], 'sample')} of {proof.get('data', 'unknown data')}{zeros}"
    return f"{counted(proof['compared'], 'value')} of {what} on {on}"


def keep_bill(folder: Path, bill: Mapping[str, Any], *, replace: bool = False) -> str | None:
    """Write ``energy.json``, unless the one there is of more samples of the same program.

    Samples on which the model was trained count less than any others.

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
    was, now = _samples(there), _samples(bill)
    if _use(there) > _use(bill):
        return f"{folder / BILL} stays: it is of {was}, and this report of {now} {KEEP}"
    same = all(there.get(k) == bill.get(k) for k in ("samples", "data", "data_sha256"))
    besides = [k for k in BESIDES if same and k in there and k not in bill]
    write_json(folder / BILL, {**bill, **{k: there[k] for k in besides}})
    other = there.get("data_sha256") not in (None, bill.get("data_sha256"))  # None: not told
    if there["data"] != bill["data"]:
        return f"{folder / BILL} was of {was} and is of {now} now"
    return f"{folder / BILL} was of {was} and is of others of this name now" if other else None


def _use(bill: Mapping[str, Any]) -> tuple[bool, int]:
    return not bill.get("trained_on"), int(bill["samples"])


def _samples(bill: Mapping[str, Any]) -> str:
    seen = ", on which the model was trained" if bill.get("trained_on") else ""
    return f"{counted(bill['samples'], 'sample')} of {bill['data']}{seen}"


def _read(path: Path, fields: Check) -> dict[str, Any] | None:
    return read_json(path, fields, AGAIN[path.name]) if path.exists() else None


def _readable(path: Path, fields: Check) -> dict[str, Any] | None:
    """Read a document; None also of one that is broken, which nobody needs to keep."""
    try:
        return _read(path, fields)
    except InputError:
        return None
