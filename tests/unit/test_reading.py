"""Files from elsewhere: whatever goes wrong while one is read names it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from snn2hw.errors import InputError, Interrupted, UnsupportedError
from snn2hw.files import reading


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "a.npz").write_bytes(b"x")
    return tmp_path / "a.npz"


@pytest.mark.parametrize(
    "error",
    [
        KeyError("shape"),
        RecursionError("too deep"),
        ValueError(""),
        MemoryError(),
        OSError("no errno"),
        OSError(errno.EINVAL, "Invalid argument"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_any_error_names_the_file_and_keeps_its_cause(file, error):
    with pytest.raises(InputError, match=r"a\.npz") as caught, reading(file, "an npz file"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        UnsupportedError("a.npz has a soft reset."),
        Interrupted("Stopped."),
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EACCES, "Permission denied", "/another/file"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_is_not_the_files_fault_passes(file, error):
    with pytest.raises(type(error)) as caught, reading(file, "an npz file"):
        raise error
    assert caught.value is error


def test_an_error_of_ours_that_does_not_name_the_file_gets_its_name(file):
    with (
        pytest.raises(UnsupportedError, match=r"a\.npz: lif1 resets softly\. Rewrite") as caught,
        reading(file, "an npz file"),
    ):
        raise UnsupportedError("lif1 resets softly.", "Rewrite it.")
    assert caught.value.hint == "Rewrite it."


def test_a_folder_a_pipe_and_nothing_are_named_before_anything_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path, "is a folder, not a run"),
        (tmp_path / "pipe", "is a pipe or a device, not a run"),
        (Path("/dev/zero"), "is a pipe or a device, not a run"),
        (tmp_path / "no" / "where", "There is no file"),
    ):
        with pytest.raises(InputError, match=said), reading(path, "a run"):
            path.read_bytes()
