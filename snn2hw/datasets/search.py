"""Finding the files of a data set, and downloading what is in none of the folders.

Folders are searched in this order: ``data_dir``, ``$SNN2HW_DATA``, the user cache
(``$SNN2HW_CACHE`` or ``~/.cache/snn2hw``); in each, ``<folder>/<name>/`` before ``<folder>/``.
What is in none of them is downloaded to the cache and checked by SHA-256.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from snn2hw.errors import InputError
from snn2hw.files import cache_folder, new_file, writable_cache


class Remote(NamedTuple):
    """One file that can be downloaded: SHA-256 and mirrors, tried in order."""

    sha256: str
    urls: tuple[str, ...]


def search_path(data_dir: Path | None) -> list[Path]:
    """Return the folders that data are looked for in, first to last."""
    named = os.environ.get("SNN2HW_DATA")
    folders = [f for f in (data_dir, Path(named) if named else None) if f is not None]
    with suppress(InputError):  # without a home folder, data may still lie in the others
        folders.append(cache_folder())
    return folders


def candidates(data_dir: Path | None, names: Sequence[str]) -> list[Path]:
    """Return the folders of ``search_path``, each after those inside it that have ``names``."""
    return [p for f in search_path(data_dir) for p in (*(f / n for n in names), f)]


def folder_with(folders: Sequence[Path], files: Sequence[str]) -> Path | None:
    """Return the first folder that holds all ``files``."""
    return next((f for f in folders if all((f / n).is_file() for n in files)), None)


def missing_package(package: str, why: str, extra: str = "data") -> InputError:
    """Return the error for a package that only the extra ``extra`` brings."""
    return InputError(
        f"{why} needs the package {package!r}, which is not installed.",
        f'Run: pip install "snn2hw[{extra}]"',
    )


def find_or_download(
    name: str, data_dir: Path | None, folders: Sequence[str], remotes: dict[str, Remote]
) -> Path:
    """Return the folder that holds all of ``remotes``, downloading them if need be."""
    tried = candidates(data_dir, folders)
    found = folder_with(tried, list(remotes))
    if found is not None:
        return found
    target = writable_cache() / folders[0]
    for file, remote in remotes.items():
        _download(name, file, remote, target, tried)
    return target


def _download(name: str, file: str, remote: Remote, target: Path, tried: Sequence[Path]) -> None:
    try:
        import pooch
    except ImportError:
        raise missing_package("pooch", f"Downloading data set {name!r}") from None
    reasons: list[str] = []
    for url in remote.urls:
        try:
            with new_file(target / file) as new:
                # Pooch's file would be readable by its owner alone; a cache may be shared.
                got = pooch.retrieve(url, f"sha256:{remote.sha256}", fname=file, path=new.parent)
                shutil.copyfile(got, new)
        except (OSError, ValueError) as error:  # requests' errors are OSError
            reasons.append(f"{url}: {str(error).splitlines()[0][:120]}")
        else:
            return
    looked = ", ".join(str(p) for p in tried)
    raise InputError(
        f"Data set {name!r}: {file} is in none of {looked}, and could not be downloaded "
        f"({'; '.join(reasons)}).",
        "Put the files in one of these, or name their folder with --data-dir or $SNN2HW_DATA.",
    )
