"""What makes a training step fast, against what it stands for."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.nn.modules import module as every

from snn2hw.train import dense, neurons
from snn2hw.train.averaging import averaged
from snn2hw.train.dense import Dense, linear, ones_of
from snn2hw.train.evaluation import outputs_of, placed
from snn2hw.train.memory import _glibc, kept_memory
from snn2hw.train.methods.cost import Cost
from snn2hw.train.methods.objective import Objective
from snn2hw.train.neurons import lif
from snn2hw.train.students import Settings, make_student
from snn2hw.train.students.chains import pooled_cnn
from snn2hw.train.students.wiring import Neuron


@pytest.fixture
def _always(monkeypatch):
    """Add rows in small layers too."""
    monkeypatch.setattr(dense, "SMALLEST", 0)
    monkeypatch.setattr(dense, "NARROWEST", 1)


def _gradients(run, *leaves):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    found = run(*leaves)
    torch.manual_seed(7)
    found.backward(torch.randint(-3, 4, found.shape).to(found.dtype))
    return found, *(leaf.grad for leaf in leaves)


@pytest.mark.usefixtures("_always")
@given(
    st.integers(1, 600), st.integers(1, 40), st.integers(1, 40), st.floats(0, 0.19), st.booleans()
)
def test_a_dense_layer_of_spikes_is_the_product(rows, into, out, share, biased):
    torch.manual_seed(rows)
    x = (torch.rand(rows, into) < share).float()
    # With small whole numbers sums are exact in any order.
    weight, bias = torch.randint(-9, 10, (out, into)).float(), torch.randint(-9, 10, (out,)).float()
    given_ = (x, weight, bias) if biased else (x, weight)
    run = (lambda *a: linear(*a)) if biased else (lambda x, w: linear(x, w, None))
    for one, two in zip(_gradients(run, *given_), _gradients(functional.linear, *given_),
                        strict=True):  # fmt: skip
        assert torch.equal(one, two)


@pytest.mark.parametrize("odd", [0.5, -1.0, 2.0, float("nan"), float("inf"), 1.0000001])
def test_only_zeros_and_ones_are_listed(odd):
    x = torch.zeros(5, 9)
    x[1, 2] = x[1, 8] = x[4, 0] = 1.0
    ones = ones_of(x, 1.0)
    assert ones is not None
    assert ones.ends.tolist() == [0, 0, 2, 2, 2, 3]
    assert ones.at[:3].tolist() == [2, 8, 0]
    assert ones_of(x, 3 / 45) is not None
    assert ones_of(x, 2.9 / 45) is None  # more than this share
    x[3, 3] = odd
    assert ones_of(x, 1.0) is None


def test_many_ones_or_other_numbers_are_left_to_the_product(monkeypatch):
    def never(*_args):
        raise AssertionError

    monkeypatch.setattr(dense._Linear, "apply", never)
    layer = Dense(400, 300)
    x = torch.zeros(600, 400)
    with pytest.raises(AssertionError):
        layer(x)
    x[:, :81] = 1.0  # of 400: more than a fifth
    pixels = torch.rand(600, 400)
    for y in (x, pixels):
        assert torch.equal(layer(y), functional.linear(y, layer.weight, layer.bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(600, 400)).dtype == torch.bfloat16


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("shape", [(40,), (7, 40), (3, 7, 40), (2, 3, 7, 40), (0, 40)])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_dense_layer_takes_what_the_product_takes(shape, share):
    x = (torch.rand(shape) < share).float()
    layer = Dense(40, 5)
    torch.nn.init.ones_(layer.weight)  # sums of ones are exact in any order
    torch.nn.init.zeros_(layer.bias)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("width", [39, 41])
def test_a_dense_layer_refuses_rows_that_do_not_fit(width):
    with pytest.raises(RuntimeError, match="shapes"):
        Dense(40, 5)(torch.zeros(7, width))


WAYS = product(("zero", "subtract"), ((0.0, 0.5), (0.25, 0.75)), (True, False))


@pytest.mark.parametrize(("reset", "decays", "still"), WAYS)
@pytest.mark.parametrize(("dtype", "side"), [(torch.float64, 3), (torch.bfloat16, 2)])
def test_averages_of_neurons_are_those_of_their_spikes(reset, decays, still, dtype, side):
    torch.manual_seed(3)
    shape = (1 if still else 4, 2, 5, 2 * side, 3 * side)
    current = (1.5 * torch.randn(shape)).to(dtype).movedim(2, -1).contiguous().movedim(-1, 2)
    alpha, beta = (torch.tensor(d, dtype=torch.float64) for d in decays)

    def together(x, alpha, beta):
        return lif(x, beta, 0.7, reset, alpha=alpha, steps=4, side=side)

    def apart(x, alpha, beta):
        spikes = lif(x, beta, 0.7, reset, alpha=alpha, steps=4)
        return averaged(spikes.flatten(0, 1), side).unflatten(0, spikes.shape[:2])

    ours, theirs = (_gradients(run, current, alpha, beta) for run in (together, apart))
    assert ours[0].float().unique().numel() > 2
    for one, two in zip(ours[:2], theirs[:2], strict=True):
        assert torch.equal(one, two)
    for one, two in zip(ours[2:], theirs[2:], strict=True):  # sums in another order
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def _student(**more):
    torch.manual_seed(5)
    settings = Settings((2, 8, 8), 3, 1, 3, Neuron(0.5, reset="subtract"), **more)
    return placed(pooled_cnn(settings, (4, 6, 8)), torch.device("cpu"))


def _spy(monkeypatch):
    sides = []
    plain = neurons.cpu.forward

    def forward(*args):
        sides.append(args[5] if len(args) > 5 else 1)
        return plain(*args)

    monkeypatch.setattr(neurons.cpu, "forward", forward)
    monkeypatch.setattr(neurons, "_COMPILED", neurons._COMPILED._replace(forward=forward))
    return sides


def test_spikes_that_only_pools_hear_are_averaged_at_once(monkeypatch):
    student, x = _student(), torch.randint(0, 2, (6, 3, 2, 8, 8)).float()
    sides = _spy(monkeypatch)
    logits = student(x)
    assert sides == [2, 2, 1, 1]
    sides.clear()
    watched = outputs_of(student, x)  # all spikes are looked at
    assert sides == [1, 1, 1, 1]
    assert watched.spikes["lif1"].shape == (3, 6, 4, 8, 8)
    assert torch.equal(watched.steps.sum(0), logits)
    sides.clear()
    some = outputs_of(student, x, only={"lif2"})
    assert sides == [2, 1, 1, 1]
    assert set(some.spikes) == {"lif2"}
    assert torch.equal(some.steps, watched.steps)


def test_a_loss_says_what_it_looks_at():
    student = _student()
    names = list(student.populations())
    assert Objective().looks_at(student.stages(), names) == frozenset()
    cost = Cost(0.1, {"lif1": 1.0})
    assert Objective(cost=cost).looks_at(student.stages(), names) == set(names)


def test_frames_of_many_kinds_are_scaled_alike():
    x = torch.randint(0, 4, (2, 3, 2, 8, 8), dtype=torch.uint8)
    for most in (1, 3):
        student = _student()
        student.max_value = most
        found = student.encode(x)
        assert found.is_contiguous()
        assert torch.equal(found, x.transpose(0, 1).float() / most)


# In a process of its own, whose memory nobody else has used.
KEPT = """
import mmap
from pathlib import Path

import numpy as np

from snn2hw.train.memory import kept_memory

SIZE = 256 << 20


def used():
    np.ones(SIZE, np.int8)
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


before = used()
with kept_memory():
    assert used() > before + 0.9 * SIZE
    assert used() < before + 1.1 * SIZE
assert used() < before + 0.1 * SIZE  # all is as it was
"""


@pytest.mark.skipif(_glibc() is None, reason="only glibc's allocator is told to keep memory")
def test_memory_is_kept_while_training_and_given_back_afterwards():
    subprocess.run([sys.executable, "-c", KEPT], check=True)


def test_nothing_is_asked_of_other_allocators(monkeypatch):
    monkeypatch.setattr("snn2hw.train.memory._glibc", lambda: None)
    with kept_memory():
        assert np.ones(3).sum() == 3


HOOKS = ("forward_pre_hook", "forward_hook", "full_backward_pre_hook", "full_backward_hook")


def _listening(student):
    """Return what registers a hook: of neurons, of who listens to them, and of all modules."""
    cell, pooling = student.get_submodule("lif1"), student.get_submodule("conv2")
    own = [getattr(m, f"register_{name}") for m in (cell, pooling) for name in HOOKS]
    return own + [getattr(every, f"register_module_{name}") for name in HOOKS]


def test_a_hook_sees_spikes_and_not_their_averages(monkeypatch):
    student, x = _student(), torch.randint(0, 2, (6, 3, 2, 8, 8)).float()
    sides = _spy(monkeypatch)
    logits = student(x)
    assert sides == [2, 2, 1, 1]
    for listen in _listening(student):
        sides.clear()
        handle = listen(lambda *_: None)
        try:
            assert torch.equal(student(x), logits)
        finally:
            handle.remove()
        assert sides[0] == 1, listen
    sides.clear()
    student(x)
    assert sides == [2, 2, 1, 1]


def test_a_hook_before_the_backward_pass_gets_the_gradient_of_the_spikes():
    student, x = _student(), torch.randint(0, 2, (6, 3, 2, 8, 8)).float()
    shapes = []
    cell = student.get_submodule("lif1")
    cell.register_full_backward_pre_hook(lambda _m, grads: shapes.append(grads[0].shape))
    student(x).sum().backward()
    assert shapes == [(3, 6, 4, 8, 8)]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # PyTorch's compiler asks for it itself
@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("name", ["mlp-16", "rnn-16", "cnn"])
def test_a_compiled_student_gives_the_same_spikes_and_gradients(name):
    torch.manual_seed(6)
    student = make_student(name, Settings((1, 8, 8), 3, 1, 6, Neuron(0.5), width=0.25))
    x = torch.randint(0, 2, (9, 1, 8, 8))
    found = []
    for run in (student, torch.compile(student, backend="eager")):
        student.zero_grad()
        logits = run(x)
        logits.square().sum().backward()
        found.append((logits, *(p.grad for p in student.parameters())))
    assert found[0][0].any()
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_neurons_need_no_compiler_of_pytorch():
    # Its import takes a second, which a student that is only read does not need.
    code = "import sys, snn2hw.train.students; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
