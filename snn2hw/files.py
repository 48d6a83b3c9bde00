"""Files: written whole or not at all, and JSON that is not trusted when read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn2hw.errors import InputError, Snn2hwError


def cache_folder() -> Path:
    """Return the user's cache folder for data sets and vendor simulators."""
    named = os.environ.get("SNN2HW_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "snn2hw"


@contextmanager
def new_file(path: Path) -> Generator[Path, None, None]:
    """Give a temporary path beside ``path`` and rename it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Generator[Path, None, None]:
    """Give a temporary folder beside ``path`` that replaces it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.replace(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, keys in the order given."""
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# What is no fault of the file that is being read.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_file(path: Path, what: str = "a file") -> None:
    """Refuse a path that is no plain file, before a pipe or a device makes a reader wait.

    Raises:
        InputError: there is nothing, a folder, a pipe or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder, not {what}.")
    if path.exists():
        raise InputError(f"{path} is a pipe or a device, not {what}.", "Give a plain file.")
    raise InputError(f"There is no file {path}.")


@contextmanager
def reading(path: Path, what: str, hint: str = "") -> Generator[None, None, None]:
    """Turn whatever goes wrong while a file from elsewhere is read into an error that names it.

    Every door reads inside it, and checks sizes and types there: this is for what nobody foresaw.
    Errors of ours pass, as do those of another file and of a full disk. The cause is kept.

    Args:
        path: the file.
        what: it should be, with its article, such as ``a build``.
        hint: the way out, if there is more to say than to check the file.

    Raises:
        InputError: the file is missing, no plain file, unreadable, or not what it should be.
    """
    try:
        check_file(path, what)
        yield
    except Snn2hwError:
        raise
    except MemoryError as error:
        raise InputError(f"There is not enough memory to read {path}.", hint) from error
    except OSError as error:
        mine = error.filename is None or os.fspath(error.filename) == os.fspath(path)
        if error.errno in _FULL or not mine:
            raise
        why = error.strerror or first_line(error)
        raise InputError(f"{path} cannot be read: {why}.", hint) from error
    except Exception as error:
        raise InputError(
            f"{path} is not {what} that snn2hw can read: {first_line(error)} "
            f"({type(error).__name__}).",
            hint or "Is it complete, and the right file?",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: if the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing.", "The folder is incomplete: make it again."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}.", "Make it again.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, not an object.", "Make it again.")
    return value


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """Return what an error of somebody else's code says, on one line without its full stop."""
    text = str(error).strip("'\" ") or type(error).__name__
    return text.splitlines()[0].rstrip(".")
