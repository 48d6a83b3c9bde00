"""A plugin for pytest: which tests run which lines, and how long each takes.

pytest -p mutation.covering    with $COVERING naming a folder for what is found
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest


class Covering:
    """Follows each test with its set-up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.cover: Any = coverage.Coverage(
            data_file=None, include=["*/snn2hw/*"], config_file=False, concurrency="thread"
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Name the lines' test, and take its time."""
        self.cover.switch_context(item.nodeid)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - began
            self.cover.switch_context("")

    def pytest_sessionstart(self) -> None:
        """Start."""
        self.cover.start()

    def pytest_sessionfinish(self) -> None:
        """Write what was found in this process."""
        self.cover.stop()
        data = self.cover.get_data()
        lines: dict[str, dict[str, list[str]]] = {}
        for file in data.measured_files():
            by_line: dict[str, set[str]] = defaultdict(set)
            for line, tests in data.contexts_by_lineno(file).items():
                by_line[str(line)] |= {t for t in tests if t}
            lines[file] = {k: sorted(v) for k, v in by_line.items()}
        told = {"seconds": self.seconds, "lines": lines}
        (self.folder / f"{os.getpid()}.json").write_text(json.dumps(told))


def pytest_configure(config: pytest.Config) -> None:
    """Follow tests in the processes that run them."""
    if config.getoption("numprocesses", None) is None or hasattr(config, "workerinput"):
        config.pluginmanager.register(Covering(Path(os.environ["COVERING"])))
