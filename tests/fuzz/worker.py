"""Doing with a file what a user would do."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fuzz import process
from fuzz.families import FAMILIES, Case, Command, make, seal_program
from fuzz.process import LIMITS, Call, Limits
from fuzz.seeds import Files
from fuzz.verdicts import Outcome, Result, judge

from snn2hw.cli import main


def run(
    command: Sequence[str], folder: Path, file: str, limits: Limits, call: Call = main
) -> Outcome:
    """Run one command in a folder and judge it."""
    return judge(process.run(list(command), folder, limits, call), command, file, limits)


def run_case(case: Case, limits: Limits = LIMITS, call: Call = main) -> Result:
    """Write a case's files to a new folder, give the commands and judge them."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        put(case, Path(scratch), limits)
        for command in case.commands:
            outcomes.append(_settled(command, Path(scratch), case.file, limits, call))
            if outcomes[-1].verdict != "fine":
                break
    return Result(case.family, case.index, case.file, case.said, tuple(outcomes))


def _settled(command: Command, folder: Path, file: str, limits: Limits, call: Call) -> Outcome:
    """Run a command, and again if all that took long was a kernel compiled for the first time."""
    outcome = run(command, folder, file, limits, call)
    again = outcome.verdict == "slow" and outcome.compiles
    return run(command, folder, file, limits, call) if again else outcome


def put(case: Case, folder: Path, limits: Limits = LIMITS) -> None:
    """Write a case's working directory."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if FAMILIES[case.family].sealed:
        process.run(["seal"], folder, limits, lambda _: seal_program(Path("builds/a")))


_VALID: dict[str, dict[str, Files]] = {}


def valid_files(family: str) -> Mapping[str, Files]:
    """Return a family's valid files, made once."""
    if family not in _VALID:
        # In a process of its own: some train, after which PyTorch does not like to be forked.
        _VALID[family] = _elsewhere(lambda folder: FAMILIES[family].seeds(folder))
    return _VALID[family]


def made(family: str, seed: int, index: int) -> Case:
    """Make a case, elsewhere: libhdf5 may crash on what it is told to damage. Then another one."""
    valid = valid_files(family)
    for attempt in range(9):
        work = partial(make, family, seed, index, valid, attempt)
        with contextlib.suppress(RuntimeError):
            return _elsewhere(lambda _, work=work: work())
    raise RuntimeError(f"{family} {index} cannot be made")


SECONDS = 300  # to make something


def _elsewhere(work: Callable[[Path], Any]) -> Any:
    """Do something in a process of its own.

    Raises:
        RuntimeError: it failed, crashed, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        answer = Path(scratch) / "answer"
        pid = os.fork()
        if pid == 0:
            try:
                faulthandler.disable()
                signal.alarm(SECONDS)
                (Path(scratch) / "work").mkdir()
                answer.write_bytes(pickle.dumps(work(Path(scratch) / "work")))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            raise RuntimeError(f"what should have been made was not: status {status}")
        return pickle.loads(answer.read_bytes())


def prepare(scratch: str) -> None:
    """Make this process a worker: nothing from outside, imports done, kernels loaded.

    Args:
        scratch: a folder for temporary files, a cache and a home; its owner removes it.
    """
    told = {"TMPDIR": scratch, "HOME": scratch, "SNN2HW_CACHE": f"{scratch}/cache"}
    os.environ.update(told | OFFLINE)
    os.environ.pop("SNN2HW_DATA", None)
    tempfile.tempdir = scratch
    import numba
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import PIL.Image  # noqa: F401
    import torch

    from snn2hw.pipeline.training import need_training

    torch.set_num_threads(1)
    # Numba reads its variables when it is imported, which has happened, and when it compiles: that
    # is too late where kernels from its cache have started the threads.
    numba.config.reload_config()
    need_training()
    _load_kernels()


OFFLINE = {
    "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
    # Pools of OpenMP do not survive a fork; nor would two workers gain by them.
    "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue",
}  # fmt: skip


def _load_kernels() -> None:
    """Run a network of each kind once; what is compiled is then here in every process forked."""
    import numpy as np
    from float_nets import random_network
    from fuzz.seeds.networks import programs
    from nets import images

    from snn2hw.families.loihi import engine
    from snn2hw.simulate import floating

    for program in programs().values():
        engine.run(program, images(program.network, samples=2), states=True)
    for seed in range(4):
        net = random_network(seed)
        floating.run(net, {k: np.asarray(v) for k, v in images(net, samples=2).items()})


def examined(family: str, seed: int, index: int, limits: Limits = LIMITS) -> Result:
    """Make a case and run it."""
    return run_case(made(family, seed, index), limits)
