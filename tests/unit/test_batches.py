"""Working arrays: what a run leaves for the next, and what stays its own."""

import numpy as np
from nets import LOIHI2, images, residual

from snn2hw.families.loihi import engine
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import batches
from snn2hw.simulate.batches import Workspace, in_threads


def test_arrays_are_left_for_the_next_run():
    first = Workspace()
    scratch, kept = first.take("a", (3, 4), np.int32), first.keep("b", (2,), np.int32)
    scratch[:] = 7
    kept += 1
    spare: batches.Spare = []
    first.leave(spare)
    second = Workspace(spare.pop())
    assert np.shares_memory(second.take("a", (2, 2), np.int32), scratch)
    assert (second.keep("b", (2,), np.int32) == 0).all()
    assert not np.shares_memory(first.take("a", (3, 4), np.int32), scratch)
    assert (first.keep("b", (2,), np.int32) == 1).all()


def test_more_than_a_limit_is_not_left(monkeypatch):
    monkeypatch.setattr(batches, "SPARE", 100)
    spare: batches.Spare = []
    for size in (25, 26):
        space = Workspace()
        space.take("a", (size,), np.int32)
        space.leave(spare)
    assert [x["a"].size for x in spare] == [25]


def test_threads_take_what_is_there_and_leave_what_they_have():
    spare: batches.Spare = []

    def simulate(some: slice, space: Workspace) -> None:
        space.keep("sum", (1,), np.int64)[:] += sum(range(some.start, some.stop))
        space.take("a", (8,), np.int8)

    for _ in range(3):
        spaces, _ = in_threads(10, 1, simulate, None, 2, spare)
        assert sum(int(s.keep("sum", (1,), np.int64)[0]) for s in spaces) == 45
    assert 1 <= len(spare) <= len(spaces)


def test_a_run_on_arrays_that_are_left_is_as_one_on_new_ones():
    program = compile_network(residual(), LOIHI2)
    x, others = (images(program.network, samples=n, seed=n) for n in (3, 5))
    alone = engine.run(program, x, states=True)
    engine.run(program, others, states=True)
    again = engine.run(program, x, states=True)
    assert engine._plan_of(program.network).spare
    for name, layer in alone.layers.items():
        assert (again.layers[name].spikes == layer.spikes).all()
        for state, values in layer.states.items():
            assert (again.layers[name].states[state] == values).all()
        assert (again.events[name] == alone.events[name]).all()
