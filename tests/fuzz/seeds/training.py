"""Training runs, and the commands that make them."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

from fuzz.seeds import Files, contents, digits, must, packed
from fuzz.seeds.teachers import onnx_files
from system_calls import call_here

SHORT = ["--data", "npz:d.npz", "--teacher-epochs", "1", "--epochs", "2", "--time-steps", "2"]
DISTILL = ["distill", *SHORT, "--student", "mlp-4", "--name", "a", "--teacher"]


def runs(scratch: Path) -> dict[str, Files]:
    """A finished run and one pruned from it; a teacher from a file; a run that was stopped."""
    onnx = onnx_files(scratch)["NCHW"]["a.onnx"]
    for name in ("finished", "foreign", "stopped"):
        (scratch / name).mkdir()
        (scratch / name / "d.npz").write_bytes(packed(**digits()))
        (scratch / name / "t.onnx").write_bytes(onnx)
    must(call_here(scratch / "finished", *DISTILL, "mlp-4"))
    must(call_here(scratch / "finished", "prune", "a", "--epochs", "1", "--name", "b"))
    must(call_here(scratch / "foreign", *DISTILL, "t.onnx"))
    with contextlib.chdir(scratch / "stopped"):
        _stop_in_the_middle()
    return {p.name: timeless(contents(p)) for p in scratch.iterdir() if p.is_dir()}


def _stop_in_the_middle() -> None:
    """Do what ``DISTILL`` does up to the end of the student's first epoch."""
    from snn2hw.errors import Interrupted
    from snn2hw.pipeline import runs as pipeline

    class Stop:
        def update(self, stage: str, _done: int, _total: int, **info: Any) -> None:
            if stage == "student" and "epoch" in info:  # which is over, and saved
                raise KeyboardInterrupt

    options = {"teacher_epochs": 1, "epochs": 2, "time_steps": 2, "seed": 0}
    with contextlib.suppress(KeyboardInterrupt, Interrupted):
        pipeline.distill(
            Path(), teacher="mlp-4", student="mlp-4", data="npz:d.npz", name="a",
            options=options, progress=Stop(),
        )  # fmt: skip
    if not Path("runs/a/checkpoint/student.state.safetensors").exists():
        raise RuntimeError("a seed could not be made: the run did not stop in the middle")


def timeless(files: Files) -> Files:
    """Replace what a clock said, so that seeds have the same bytes tomorrow."""
    return {k: _without_seconds(k, v) for k, v in files.items()}


def _without_seconds(name: str, content: bytes) -> bytes:
    if name.endswith(".json"):
        return json.dumps(_still(json.loads(content)), indent=2).encode() + b"\n"
    if name.endswith(".jsonl"):
        lines = [json.dumps(_still(json.loads(x))) for x in content.decode().splitlines()]
        return "".join(f"{x}\n" for x in lines).encode()
    if name.endswith(".safetensors"):
        size = struct.unpack("<Q", content[:8])[0]
        head = json.loads(content[8 : 8 + size])
        # A hash covers the seconds; without one, what is read is judged by what it says.
        told = {k: v for k, v in head.get("__metadata__", {}).items() if k != "sha256"}
        head["__metadata__"] = {k: json.dumps(_still(json.loads(v))) for k, v in told.items()}
        text = json.dumps(head).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]
    return content


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: 1.0 if k == "seconds" else _still(v) for k, v in value.items()}
    return [_still(v) for v in value] if isinstance(value, list) else value
