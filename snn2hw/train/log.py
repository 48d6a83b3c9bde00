# pyright: basic
"""The log of a run: ``log.jsonl``, a record for each epoch of each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn2hw.fields import real, require, table, text, whole
from snn2hw.files import json_text, json_value, new_file, read_text

ROW = table({"stage": text(), "epoch": whole(0), "loss": real(), "seconds": real(0)})


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``log.jsonl``; none if there is no such file.

    Raises:
        InputError: a line is no record.
    """
    if not path.exists():
        return []
    hint = "Remove it, and give the command that made the run again."
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path, "a log").splitlines(), 1):
        where = f"{path}, line {number}"
        rows.append(json_value(line, where, hint))
        require(rows[-1], ROW, where, hint)
    return rows


def write_log(path: Path, stage: str, rows: list[dict[str, Any]]) -> None:
    """Replace the records of one stage in a ``log.jsonl``.

    Raises:
        InputError: a line of the file is no record.
    """
    others = [r for r in read_log(path) if r.get("stage") != stage]
    lines = "".join(json_text(r, indent=None) + "\n" for r in others + rows)
    with new_file(path) as temporary:
        temporary.write_text(lines, encoding="utf-8")
