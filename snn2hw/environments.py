"""Python environments for vendors' simulators: found, made in the user cache, and removed.

A simulator may need another Python, or old packages that would not live beside ours, so it gets an
environment of its own. The two sides exchange files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from snn2hw import processes
from snn2hw.errors import InputError, RuntimeMissingError
from snn2hw.files import cache_folder, clear, expanded, new_folder, scratch, writable_cache


@dataclass(frozen=True, slots=True)
class Environment:
    """What an environment is made of.

    Args:
        name: as in ``snn2hw runtime install NAME``.
        title: name and version of the simulator, for people.
        about: what else is in it.
        python: the Python that it needs, such as ``(3, 10)``.
        requirements: a file of pinned packages.
        bare: packages that are installed without what they ask for.
        proof: code that runs once the environment is whole.
        size: how much is fetched, for people.
        remedy: what to do where it cannot be made.
    """

    name: str
    title: str
    about: str
    python: tuple[int, int]
    requirements: Path
    bare: tuple[str, ...]
    proof: str
    size: str
    remedy: str = "Check the network and the disk, then try again."

    @property
    def folder(self) -> Path:
        """Where this version's environment is, or will be.

        Raises:
            InputError: there is no place for it.
        """
        pins = self.requirements.read_text() + str(self.bare)
        digest = hashlib.sha256(pins.encode()).hexdigest()[:12]
        return cache_folder() / "runtimes" / f"{self.name}-{digest}"

    @property
    def interpreter(self) -> Path | None:
        """The environment's Python; None if it is not installed."""
        path = _python_in(self.folder)
        return path if path.exists() else None

    @property
    def install_command(self) -> str:
        """What a person types to have it."""
        return f"snn2hw runtime install {self.name}"

    def required(self) -> Path:
        """Return the environment's Python.

        Raises:
            RuntimeMissingError: it is not installed.
        """
        found = self.interpreter
        if found is None:
            raise RuntimeMissingError(
                f"{self.title} is not installed.", f"Run: {self.install_command}"
            )
        return found

    def base_python(self) -> Path:
        """Find the Python to make it with: a variable's, on the path, pyenv's, uv's.

        Raises:
            RuntimeMissingError: says where it looked.
        """
        version = ".".join(map(str, self.python))
        variable = f"SNN2HW_PYTHON{version.replace('.', '')}"
        named = os.environ.get(variable)
        if named:
            if _is_version(Path(named), self.python):
                return Path(named)
            raise RuntimeMissingError(
                f"{variable} is {named}, which is not a working Python {version}.",
                "Point it at one, or unset it.",
            )
        for candidate in _candidates(version):
            if _is_version(candidate, self.python):
                return candidate
        raise RuntimeMissingError(
            f"{self.title} needs Python {version}, which was not found on the path, in pyenv or "
            "through uv.",
            f"Install it (`pyenv install {version}` or `uv python install {version}`), or set "
            f"{variable}.",
        )

    def install(self, say: Callable[[str], None] = lambda _: None) -> Path:
        """Make the environment if it is not there yet; safe to call from several processes.

        Returns:
            The environment's interpreter.

        Raises:
            RuntimeMissingError: there is no such Python, or pip fails.
        """
        target = self.folder
        if self.interpreter is None:
            writable_cache()
            target.parent.mkdir(exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                if self.interpreter is None:
                    self._make(target, say)
                    clear(target.parent)  # again: pip outlives an installer that was killed
                    say(f"{self.title} is ready")
        return _python_in(target)

    def _make(self, target: Path, say: Callable[[str], None]) -> None:
        base = self.base_python()
        say(f"Making the environment of {self.title} in {target} with {base}")
        # Beside the environment, pip's own temporary files are cleared like ours if it is killed.
        with new_folder(target) as made, scratch(target.parent) as temporary:
            own, pip = _python_in(made), ("-m", "pip", "install", "--quiet")
            self._call("make a virtual environment", temporary, base, "-m", "venv", "--clear",
                       str(made))  # fmt: skip
            say(f"Installing {self.title} and what it needs ({self.size})")
            what = f"install {self.title}"
            self._call(what, temporary, own, *pip, "--requirement", str(self.requirements))
            if self.bare:
                self._call(what, temporary, own, *pip, "--no-deps", *self.bare)
            self._call(f"import {self.title}", temporary, own, "-c", self.proof)

    def _call(self, what: str, temporary: Path, python: Path, *arguments: str) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
            "TMPDIR": str(temporary.resolve()),
        }
        done = processes.run([str(python), *arguments], environment=environment)
        if done.returncode:
            raise RuntimeMissingError(
                f"Could not {what}: {_last_line(done).rstrip('.') or 'no message'}.", self.remedy
            )

    def remove(self) -> bool:
        """Delete the environment, and what a killed installation left.

        Returns:
            Whether there was an environment.
        """
        folder = self.folder
        there = folder.exists()
        if folder.parent.is_dir():
            with FileLock(folder.with_suffix(".lock")):
                clear(folder.parent)
                if there:
                    shutil.rmtree(folder)
        return there

    def run(
        self, script: Path, arguments: Sequence[str], temporary: Path | None = None
    ) -> list[str]:
        """Run a script in the environment and return the lines it printed.

        Args:
            script: which imports nothing of this package.
            arguments: of it.
            temporary: its folder for temporary files, if not the user's.

        Raises:
            RuntimeMissingError: the environment is missing, or the script failed.
        """
        more = {} if temporary is None else {"TMPDIR": str(temporary)}
        # -I keeps the script's folder, whose modules might shadow a vendor's, off its path.
        done = processes.run(
            [str(self.required()), "-I", "-W", "ignore", str(script), *arguments],
            environment={**os.environ, **more},
        )
        if done.returncode:
            raise RuntimeMissingError(
                f"{self.title} stopped with exit code {done.returncode}: "
                f"{_last_line(done) or 'it said nothing'}",
                f"Try: snn2hw runtime remove {self.name}, then install it again.",
            )
        return done.stdout.decode(errors="replace").splitlines()


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last that a process said, which is where Python and pip say what is wrong."""
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _python_in(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _candidates(version: str) -> Iterator[Path]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    root = _pyenv()
    if root is not None:
        yield from sorted((_python_in(p) for p in root.glob(f"versions/{version}*")), reverse=True)
    uv = shutil.which("uv")
    if uv:
        for command in (["python", "find", version], ["python", "install", version]):
            processes.run([uv, *command])
        found = processes.run([uv, "python", "find", version])
        if found.returncode == 0:
            yield Path(os.fsdecode(found.stdout.strip()))


def _pyenv() -> Path | None:
    named = os.environ.get("PYENV_ROOT")
    try:
        return Path(named) if named else expanded("~/.pyenv")
    except InputError:
        return None


def _is_version(path: Path, version: tuple[int, int]) -> bool:
    ask = "import sys; print(sys.version_info[:2])"
    try:
        told = processes.run([str(path), "-c", ask], timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == str(version).encode()
