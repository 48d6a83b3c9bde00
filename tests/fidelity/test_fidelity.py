"""The long sweep: many random programs, engine and definition against real Lava."""

from __future__ import annotations

import pytest
from nets import images, random_program

from snn2hw.runtime import lava
from snn2hw.simulate import compare, engine
from snn2hw.store import program as program_file


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("seed", range(1000, 1040))
def test_random_programs_in_lava(tmp_path, seed):
    program = random_program(seed, layers=5, extreme=seed % 2 == 0)
    x = images(program.network, samples=4, seed=seed)
    program_file.write(tmp_path / "program.h5", program)
    done = lava.run(program, x, program_file=tmp_path / "program.h5")
    found = compare.traces(engine.run(program, x, states=True), done.trace)
    assert found.compared > 0
    assert found.mismatches == 0, found.first
