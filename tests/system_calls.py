"""Running the command line as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def call(folder: Path, *arguments: str, **how) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "snn2hw", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, **how,
    )  # fmt: skip


def document(folder: Path, *arguments: str, **how):
    """Run a command with --json and return its document; nothing else may be on stdout."""
    done = call(folder, *arguments, "--json", "-q", **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
