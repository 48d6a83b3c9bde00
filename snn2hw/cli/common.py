"""What all commands share: options, progress, printing, errors."""

from __future__ import annotations

import errno
import inspect
import os
import re
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from snn2hw.cli.progress import Heart, Lines, Stage, duration
from snn2hw.cli.stopping import HINT, MESSAGE
from snn2hw.cli.streams import OUTPUT
from snn2hw.errors import Interrupted, Snn2hwError, limit_told, of_import, shortened, visible
from snn2hw.files import expanded, json_text
from snn2hw.leading import leads

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

F = TypeVar("F", bound=Callable[..., Any])
DISK: Mapping[int, tuple[str | None, str]] = {  # what to say instead of the system, and the way out
    errno.ENOSPC: ("no space left on the disk", "Make room, or work in another folder."),
    errno.EDQUOT: ("your share of the disk is full", "Make room, or work in another folder."),
    errno.EFBIG: (
        "it would be larger than a file may be here", "Raise the limit (ulimit -f unlimited).",
    ),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n 1024)."),
    errno.ENFILE: ("too many files are open on this machine", "End other programs."),
    errno.ENAMETOOLONG: ("its name is too long", "Give a shorter name."),
    errno.EEXIST: ("it is a file where a folder is needed", "Move it, or work in another folder."),
    errno.ENOTDIR: (
        "a folder of its path is a file", "Move that file, or work in another folder.",
    ),
}  # fmt: skip
GONE = re.compile("Connection (closed|reset) by (remote )?peer")  # as gloo and NCCL say it


@dataclass
class Talk:
    """Prints results to standard output, and progress and messages to standard error.

    It is also the progress that the training loop and the simulator report to: a bar with the
    time left on a terminal, plain lines elsewhere, at least one a minute.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    lines: Lines = field(default_factory=Lines)
    _bar: Progress | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def say(self, message: str) -> None:
        """Tell what is going on."""
        if not self.quiet:
            with self._lock:
                self.close()
                self.lines.said()
                click.echo(shortened(visible(message)), err=True)

    def beat(self) -> None:
        """Say that the work goes on, if nothing was said for a minute and no bar shows it."""
        with self._lock:
            line = None if self._bar is not None else self.lines.overdue()
            if line is not None:
                self.say(line)

    def result(self, document: Any, lines: Sequence[str]) -> None:
        """Print a result: as JSON if that was asked for, else as lines."""
        with self._lock:
            self.close()
            if not leads():
                return
            shown = (shortened(visible(line)) for line in lines)
            click.echo(json_text(document) if self.json else "\n".join(shown))

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Report that ``done`` of ``total`` steps of a stage are over."""
        for part, why in dict(info.pop("kept", {})).items():
            self.say(f"note: the weights file's {part} was not used and is trained here: {why}")
        for word, texts in (("note", info.pop("notes", ())), ("warning", info.pop("doubts", ()))):
            for said in texts:
                self.say(f"{word}: {said}")
        forecast = info.pop("forecast", None)
        if forecast is not None:
            self.say(_forecast(stage, forecast))
            return
        if self.quiet or not total:
            return
        known = ", ".join(f"{k} {_short(v)}" for k, v in info.items())
        with self._lock:
            noted = self.lines.note(stage, done, total, known)
            if sys.stderr.isatty():
                self._draw(stage, noted)
                return
            whole = "epoch" in info or not info
            line = self.lines.due(stage, whole=whole, every=self.verbose)
            if line is not None:
                self.say(line)

    def _draw(self, name: str, stage: Stage) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("  {task.description:<9}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[left]:>10}"),
                TextColumn("{task.fields[known]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=stage.total, known="", left="")
        seconds = stage.pace.left(self.lines.clock(), stage.total)
        left = "" if seconds is None else f"{duration(seconds)} left"
        self._bar.update(
            self._tasks[name], completed=stage.done, total=stage.total, known=stage.known, left=left
        )

    def close(self) -> None:
        """Put the progress bar away."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
                self._tasks.clear()
                self.lines.said()


def _forecast(stage: str, told: Mapping[str, float]) -> str:
    speed, time_left = told["samples_per_second"], duration(told["seconds"])
    epochs = "1 epoch" if told["epochs"] == 1 else f"{told['epochs']} epochs"
    return f"{stage}: {epochs} to go, about {time_left} at {speed:.0f} samples/s, and tests"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def common(function: F) -> F:
    """Add ``--json``, ``-q``, ``-v``, ``--seed`` and hand a ``Talk`` to the command.

    Commands that use randomness declare ``--seed`` themselves; the others take it, so that a
    script may give it to all, and it changes nothing.
    """

    def command(*args: Any, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> Any:
        talk = Talk(
            as_json, quiet or not leads(), verbose, Lines(function.__name__.replace("_", " "))
        )
        try:
            with nullcontext() if talk.quiet else Heart(talk.beat):
                return function(*args, talk=talk, **options)
        finally:
            talk.close()

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    if "seed" not in inspect.signature(function).parameters:
        unused = "Nothing here is random: any seed gives the same."
        click.option("--seed", type=int, expose_value=False, help=unused)(command)
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Say more; show tracebacks of bugs."),
        click.option("-q", "--quiet", is_flag=True, help="Results only."),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    ):
        option(command)
    return command  # type: ignore[return-value]


class _Place(click.ParamType[Path]):
    """A path whose ``~`` stands for a home folder, also where no shell replaces it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return expanded(value)


PLACE = _Place()


def output_option(function: F) -> F:
    """Add the option that says which output labels are for."""
    return click.option(
        "--output", metavar="NAME", help="Of several outputs, the one that labels are for."
    )(function)


def root() -> Path:
    """Return the working directory, in which runs and builds are kept."""
    return Path()


def asked() -> str:
    """Return the command line of the command that runs, with the options that were given."""
    context = click.get_current_context()
    words = context.command_path.split()
    for param in context.command.params:
        name = str(param.name)
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value: Any = context.params.get(name)
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif getattr(param, "is_flag", False):
            words.append(param.opts[-1])
        else:
            for one in value if param.multiple else (value,):
                words += [param.opts[-1], str(one)]
    return shlex.join(words)


def report_error(error: BaseException, arguments: Sequence[str]) -> int:
    """Print an error the way the contract asks and return the exit code."""
    known = as_ours(error)
    if isinstance(error, BrokenPipeError) and error.filename == OUTPUT:
        return 1  # whoever read the result has seen enough
    if isinstance(known, Interrupted) and not leads():
        # The first of several says it for all. It would be killed if another one had failed.
        return 0
    verbose = "-v" in arguments or "--verbose" in arguments
    if verbose and (known is None or error.__cause__ is not None):
        for line in "".join(traceback.format_exception(error)).splitlines():
            click.echo(shortened(f"  | {visible(line)}"), err=True)
    if known is None:
        known = Snn2hwError(
            f"This is a bug of snn2hw: {type(error).__name__}: {error}.",
            "Run again with -v and report what it prints.",
        )
    if "--json" in arguments and leads():
        document = {"kind": known.kind, "message": known.message, "hint": known.hint}
        with suppress(OSError):  # the message below goes another way
            click.echo(json_text({"error": document}))
    click.echo(f"error: {known}", err=True)
    return 1


def as_ours(error: BaseException) -> Snn2hwError | None:
    """Translate what the outside world raises: a full disk, no permission, Ctrl-C."""
    if isinstance(error, Snn2hwError):
        return error
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Interrupted(MESSAGE, HINT)
    if isinstance(error, MemoryError):
        hint = f"Use fewer samples, or samples of fewer steps. {limit_told()}"
        return Snn2hwError("There is not enough memory for this.", hint.rstrip())
    if isinstance(error, RuntimeError) and GONE.search(str(error)):
        return Snn2hwError(
            "Another of the processes that train together has ended.",
            "What it said, above or in its log, tells why.",
        )
    if isinstance(error, Exception) and (start := of_import(error)) is not None:
        return start
    if isinstance(error, OSError):
        what = "A file could not be read or written"
        if error.filename == OUTPUT:
            what = f"{OUTPUT.capitalize()} could not be written"
        elif error.filename:
            what += f": {os.fsdecode(error.filename)}"
        known = Snn2hwError(*_of_the_disk(what, error))
        known.kind = "disk"
        return known
    return None


def _of_the_disk(what: str, error: OSError) -> tuple[str, str]:
    """Say why a file could not be read or written, and the way out."""
    # HDF5's errors have no number; their text ends with what the system said.
    said = {c: error.errno == c or os.strerror(c) in str(error) for c in DISK}
    code = next((c for c, it_is in said.items() if it_is), None)
    reason, hint = DISK.get(code or 0, (None, "Check the path and its rights."))
    return f"{what}: {reason or error.strerror or str(error)}.", hint
