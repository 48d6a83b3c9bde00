"""Files: written whole or not at all, and JSON that is not trusted when read."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn2hw.errors import InputError, Interrupted, Snn2hwError
from snn2hw.fields import Check, anything, require, shown


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


def json_text(value: Any, indent: int | None = 2) -> str:
    """Write a JSON document; what is no number (NaN, infinity) becomes null, which JSON has."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, keys in the order given."""
    with new_file(path) as temporary:
        temporary.write_text(json_text(value) + "\n", encoding="utf-8")


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
    Errors of ours pass, with the file's name before them if they lack it, as do those of another
    file and of a full disk. The cause is kept.

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
    except Snn2hwError as error:
        if isinstance(error, Interrupted) or path.name in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", error.hint) from error.__cause__
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


# Documents of ours are smaller by far, and one of this size takes half a GiB when it is read.
LARGEST_JSON = 16 << 20


def read_text(path: Path, what: str, largest: int = LARGEST_JSON) -> str:
    """Read a text file that is no larger than it has reason to be.

    Raises:
        InputError: it is larger, no plain file, or not UTF-8.
    """
    with reading(path, what):
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise InputError(f"{path} is larger than {what} has reason to be: {largest} bytes.")
        return content.decode("utf-8")


def read_json(path: Path, check: Check = anything, hint: str = "Make it again.") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        check: what the object must hold.
        hint: the way out, if it does not.

    Raises:
        InputError: if the file is missing or is not such an object.
    """
    if not path.exists():
        raise InputError(f"{path} is missing.", "The folder is incomplete: make it again.")
    value = json_value(read_text(path, "a JSON document"), path, hint)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {shown(value)}, not an object.", hint)
    require(value, check, path, hint)
    return value


def json_value(text: str, where: object, hint: str = "") -> Any:
    """Parse JSON as its standard has it: finite numbers, and each name of an object once.

    Raises:
        InputError: it is not JSON; ``where`` says what.
    """
    try:
        value = json.loads(
            text, parse_constant=_number, parse_float=_number, object_pairs_hook=_object
        )
        if "\\ud" in text.lower():  # half a character, which no file and no terminal takes
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {first_line(error)}.", hint) from None


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same name twice")
    return made


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """Return what an error of somebody else's code says, on one line without its full stop."""
    text = str(error).strip("'\" ") or type(error).__name__
    return text.splitlines()[0].rstrip(".")
