"""What docs/data.md shows of recordings is what the commands print."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from shared import DATA, needs_data
from system_calls import call_here

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
FILES = {"digit.bin": "n-mnist_one_sample.bin", "face.bin": "n-caltech101_faces_easy_0001.bin"}


@needs_data
def test_what_the_page_shows_is_printed(tmp_path):
    for name, original in FILES.items():
        shutil.copy(DATA / "events" / "recordings" / original, tmp_path / name)
    blocks = re.findall(r"```console\n\$ snn2hw (.*?)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 6
    for command, shown in blocks:
        done = call_here(tmp_path, *shlex.split(command))
        printed = f"{done.stderr}{done.stdout}".splitlines()
        wanted = shown.splitlines()
        assert wanted
        assert [line for line in wanted if line not in printed] == [], (command, printed)
        assert done.returncode == (1 if wanted[0].startswith("error") else 0)
