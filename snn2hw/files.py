"""Files: written whole or not at all, and JSON that is not trusted when read.

What is under way lies in a hidden folder beside the place where it belongs, so that a rename that
puts it there stays on one file system. A lock file stands for it while its owner lives: whoever
writes there next clears the folders whose lock is free, which killed processes left.
"""

from __future__ import annotations

import atexit
import errno
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock

from snn2hw.errors import InputError, Interrupted, Snn2hwError, of_import
from snn2hw.fields import Check, anything, require, shown

HIDDEN = ".snn2hw-"
NEW, OLD = "new", "old"  # what a hidden folder holds
LOCK = ".lock"  # what follows its name in that of its lock file
TRIES = 100  # names that others may take, one after the other
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def expanded(path: str | Path) -> Path:
    """Replace a ``~`` at the start of a path.

    Raises:
        InputError: nothing tells where that home folder is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path} cannot be found: nothing tells where that home folder is.",
            "Set HOME, or write the path without ~.",
        ) from None


def cache_folder() -> Path:
    """Return the user's cache folder for data sets and vendor simulators.

    Raises:
        InputError: no variable names it, and there is no home folder.
    """
    named = os.environ.get("SNN2HW_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else expanded("~/.cache")) / "snn2hw"
    except InputError:
        raise InputError(
            "There is no folder for data sets and vendor simulators, because nothing tells where "
            "your home folder is.",
            "Set SNN2HW_CACHE to a folder, or set HOME.",
        ) from None


def writable_cache() -> Path:
    """Return the user's cache folder, and make it if it is not there.

    Raises:
        InputError: it cannot be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}, the folder for data sets and vendor simulators, cannot be made: "
            f"{error.strerror or first_line(error)}.",
            "Set SNN2HW_CACHE to a folder that can be written.",
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"{folder}, the folder for data sets and vendor simulators, cannot be written.",
            "Set SNN2HW_CACHE to one that can.",
        )
    return folder


@contextmanager
def scratch(beside: Path) -> Generator[Path, None, None]:
    """Give a hidden folder inside ``beside``, which is gone after the block.

    Hidden folders whose owners were killed are cleared first. What one of them had moved into
    ``old``, and nothing has replaced since, is put back.
    """
    folder = _locked_folder(beside)
    try:
        for name in {p.name.removesuffix(LOCK) for p in beside.glob(f"{HIDDEN}*")}:
            _clear(beside / name, folder)
        yield folder
    finally:
        _end(folder)


# Folders of this process. A signal may come between any two lines, also while one is made or
# removed, so what is here when the process ends is removed then.
_own: dict[Path, FileLock] = {}
_OWNER = os.getpid()


def _end(folder: Path) -> None:
    _put_back(folder)
    shutil.rmtree(folder, ignore_errors=True)
    _unlock(folder)


def _unlock(folder: Path) -> None:
    if folder in _own:
        _release(_own[folder], folder)
        del _own[folder]


@atexit.register
def _end_all() -> None:
    for folder in list(_own) if os.getpid() == _OWNER else ():
        _end(folder)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + LOCK)


def _release(lock: FileLock, folder: Path) -> None:
    """Remove a lock file and release its lock, in this order.

    Who was about to lock it then sees that it is gone (``filelock`` looks, from 3.21 on) and takes
    another name. Windows removes no file that somebody has open.
    """
    for _ in range(2 if os.name == "nt" else 1):
        with suppress(OSError):
            _lock_file(folder).unlink()
        lock.release()


def _locked_folder(beside: Path) -> Path:
    """Lock a hidden folder and make it; without a lock where the file system has none.

    It is locked before it is there, and its name is never used again: so one that is there and not
    locked has no owner, and whoever clears it can take it from nobody.
    """
    if not beside.is_dir():  # filelock would make it
        why = errno.ENOTDIR if beside.exists() else errno.ENOENT
        raise OSError(why, os.strerror(why))
    for _ in range(TRIES):
        folder = beside / (HIDDEN + secrets.token_hex(8))
        _own[folder] = FileLock(_lock_file(folder))
        try:
            _own[folder].acquire(timeout=0)
        except TimeoutError:
            del _own[folder]
            # Somebody took the file for one that a killed process left; or there can be no file,
            # which the system then says.
            _lock_file(folder).touch()
            _lock_file(folder).unlink(missing_ok=True)
            continue
        except OSError as error:
            _unlock(folder)
            if error.errno not in NO_LOCKS:
                raise
        try:
            folder.mkdir(0o700)
        except OSError:
            _unlock(folder)
            raise
        return folder
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _clear(left: Path, own: Path) -> None:
    """Remove a hidden folder and its lock file, if it is of the same user and nobody holds it."""
    with suppress(OSError):
        there = os.path.lexists(left)
        about = (left if there else _lock_file(left)).lstat()
        if left == own or about.st_uid != own.stat().st_uid:
            return
        if there and (left.is_symlink() or not left.is_dir()):
            return
        lock: Any = FileLock(_lock_file(left))
        with lock.acquire(timeout=0):
            if isinstance(lock, SoftFileLock):
                return  # the file system has no locks, so nothing tells whether the owner lives
            _put_back(left)
            shutil.rmtree(left, ignore_errors=True)
            _release(lock, left)


def _put_back(hidden: Path) -> None:
    """Put what was moved away back, unless something has come in its place."""
    with suppress(OSError):
        for old in (hidden / OLD).iterdir():
            place = hidden.parent / old.name
            if not os.path.lexists(place):
                old.replace(place)


@contextmanager
def told_as(path: Path) -> Generator[None, None, None]:
    """Let errors name what was to be written, not where it is under way, nor nothing at all."""
    try:
        yield
    except OSError as error:
        hidden = error.filename is not None and HIDDEN in os.fsdecode(error.filename)
        if hidden or (error.filename is None and error.errno is not None):
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def new_file(path: Path, *, make_folder: bool = True) -> Generator[Path, None, None]:
    """Give a path for a file that becomes ``path`` when the block succeeds.

    Args:
        path: where the file belongs.
        make_folder: make the folder it lies in, if there is none.
    """
    with told_as(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as hidden:
            yield hidden / NEW
            (hidden / NEW).replace(path)


@contextmanager
def new_folder(path: Path) -> Generator[Path, None, None]:
    """Give a folder that becomes ``path``, and replaces what is there, when the block succeeds."""
    with told_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as hidden:
            (hidden / NEW).mkdir()
            yield hidden / NEW
            if os.path.lexists(path):
                (hidden / OLD).mkdir()
                _move_away(path, hidden / OLD / path.name)
            (hidden / NEW).replace(path)


def _move_away(path: Path, to: Path) -> None:
    try:
        path.replace(to)
    except OSError as error:
        # An overlay does not rename folders of its lower layer, such as a container image's.
        if error.errno != errno.EXDEV or path.is_symlink():
            raise
        shutil.copytree(path, to, symlinks=True)
        shutil.rmtree(path)


def recover(path: Path) -> None:
    """Put back what a killed process had moved away; wait for a living one to replace it."""
    name = glob.escape(path.name)
    for _ in range(100):
        if os.path.lexists(path) or not any(path.parent.glob(f"{HIDDEN}*/{OLD}/{name}")):
            return
        clear(path.parent)
        time.sleep(0.02)


def clear(folder: Path) -> None:
    """Remove what killed processes left in a folder, if it can be written."""
    with suppress(OSError), scratch(folder):
        pass


def check_writable(path: Path) -> None:
    """Check, before long work, that a file can be written there after it.

    Raises:
        InputError: there is no such folder, something that is no file has that name, or the
            system says no.
    """
    try:
        if not path.parent.is_dir():
            problem = f"there is no folder {path.parent}"
        elif path.exists() and not path.is_file():
            problem = f"it is {'a folder' if path.is_dir() else 'no plain file'}"
        else:
            with scratch(path.parent) as hidden:
                (hidden / path.name).touch()
            return
    except OSError as error:
        problem = error.strerror or str(error)
    raise InputError(f"{path} cannot be written: {problem}.", "Name a file in another folder.")


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
def about(path: Path) -> Generator[None, None, None]:
    """Put the name of a file before what is wrong with it, where the message does not hold it."""
    try:
        yield
    except Snn2hwError as error:
        if isinstance(error, Interrupted) or path.name in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", error.hint) from error.__cause__


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
        with about(path):
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
        if of_import(error) is not None:
            raise
        raise InputError(
            f"{path} is not {what} that snn2hw can read: {first_line(error)} "
            f"({type(error).__name__}).",
            hint or "Is it complete, and the right file?",
        ) from error


# Documents of ours are smaller by far, and one of this size takes half a GiB when it is read.
LARGEST_JSON = 16 << 20
DEEPEST_JSON = 50


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
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
        # What is read must be written again: for a hash, or for a user.
        if isinstance(value, dict | list) and _nests(value, DEEPEST_JSON):
            raise ValueError(f"it nests more than {DEEPEST_JSON} deep")
        return value
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {first_line(error)}.", hint) from None


def _nests(value: Any, most: int) -> bool:
    """Say whether lists and objects lie in each other more than ``most`` deep, it included."""
    level = [value]
    for _ in range(most):
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [v for items in inner for v in items if isinstance(v, dict | list)]
        if not level:
            return False
    return True


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
    # A KeyError's own text has its argument in quotes.
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = str(told).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
