"""Compiled functions are kept where there is a place for them, and run where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import snn2hw

MODULE = """
from snn2hw.compiled import compiled

@compiled()
def twice(x):
    return 2 * x
"""
# Nobody knows this user: neither a variable nor the system says where the home folder is.
UNKNOWN = """
import pwd
def unknown(*_): raise KeyError
pwd.getpwuid = unknown
"""
VARIABLES = ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")


@pytest.fixture
def module(tmp_path):
    """A module beside which nothing can be kept, not even by root."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "doubling.py").write_text(MODULE)
    (folder / "__pycache__").write_text("a file, not a folder")
    return folder


def run(module, script="", after="", **variables):
    here = module.parent / "here"
    here.mkdir(exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-B", "-c",
         f"{script}\nimport doubling; print(doubling.twice(21))\n{after}"],
        env={**clean, "PYTHONPATH": f"{module}{os.pathsep}{Path(snn2hw.__file__).parents[1]}"}
        | {k: str(v) for k, v in variables.items()},
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    assert list(here.iterdir()) == []


def test_nowhere_to_keep_it(module):
    run(module, HOME="/dev/null")
    run(module, NUMBA_CACHE_DIR="/dev/null/x", HOME="/dev/null")
    run(module, UNKNOWN)


def test_kept_and_compiled_again_when_the_cache_is_damaged(module):
    cache = module.parent / "cache"
    run(module, NUMBA_CACHE_DIR=cache)
    whole = {p: p.stat().st_size for p in cache.rglob("*.nb[ic]")}
    assert len(whole) == 2
    for path, content in zip(whole, (b"", b"no pickle"), strict=True):
        path.write_bytes(content)
        run(module, NUMBA_CACHE_DIR=cache)
        assert {p: p.stat().st_size for p in cache.rglob("*.nb[ic]")} == whole


# As on a disk that is mounted to be read only.
UNWRITABLE = """
import tempfile
def refused(*_, **__): raise OSError(30, "Read-only file system")
tempfile.TemporaryFile = tempfile.NamedTemporaryFile = refused
"""


def test_a_cache_that_can_only_be_read_is_read(module):
    cache = module.parent / "cache"
    hits = "assert sum(doubling.twice.stats.cache_hits.values()) == {}"
    run(module, after=hits.format(0), NUMBA_CACHE_DIR=cache)
    run(module, UNWRITABLE, hits.format(1), NUMBA_CACHE_DIR=cache, HOME="/dev/null")
    empty = module.parent / "empty"
    run(module, UNWRITABLE, hits.format(0), NUMBA_CACHE_DIR=empty, HOME="/dev/null")


def test_a_disk_without_room(module):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    run(module, full, NUMBA_CACHE_DIR=module.parent / "cache")


def test_every_kernel_is_kept_this_way():
    package = Path(snn2hw.__file__).parent
    with_cache = [p.name for p in package.rglob("*.py") if "cache=True" in p.read_text()]
    assert with_cache == []
