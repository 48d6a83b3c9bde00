"""The neuron's kernels for GPUs: on one where there is one, else interpreted (conftest.py)."""

import os

import pytest
import torch

from snn2hw.train import cpu, neurons
from snn2hw.train.neurons import SURROGATES, Constants

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
gpu = pytest.importorskip("snn2hw.train.gpu", reason="Triton is made for Linux only")

DECAYS = ((0.0, 0.5), (0.25, 3891 / 4096), (0.75, 1.0))
# What there is, steps, and how many of them the current has.
SERIES = [
    (torch.float32, 1, 1),
    (torch.float32, 5, 5),
    (torch.bfloat16, 4, 4),
    (torch.bfloat16, 4, 1),
]


def _same(found, wanted, dtype):
    wide = 1e-4 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found.cpu(), wanted, rtol=wide, atol=wide)


def _membranes(current, alpha, beta, c):
    """Return the membranes before reset, float32: products and sums are rounded one by one."""
    i, v, found = torch.zeros(current.shape[1:]), torch.zeros(current.shape[1:]), []
    for t in range(c.steps):
        i = i * alpha + current[min(t, len(current) - 1)].float()
        v = v * beta + i
        found.append(v)
        v = c.after(v)
    return torch.stack(found)


def _compare(dtype, steps, given, reset, decays, surrogate):
    torch.manual_seed(0)
    c = Constants(0.7, reset, surrogate, steps)
    current = (1.5 * torch.randn(given, 3, 500)).to(dtype)  # blocks are full, and the last is not
    grad, still = torch.randn(steps, 3, 500).to(dtype), given < steps
    spikes, kept = cpu.forward(current, *decays, c, True)
    wanted = cpu.backward(kept, grad, *decays, c, still, True)
    before = _membranes(current, *decays, c)
    found, membranes = gpu.forward(current.to(DEVICE), *decays, c, True)
    assert torch.equal(found.cpu(), spikes)
    assert torch.equal(membranes.cpu(), before)
    back = gpu.backward(before.to(DEVICE), grad.to(DEVICE), *decays, c, still, True)
    _same(back[0], wanted[0], dtype)
    for one, two in zip(back[1:], wanted[1:], strict=True):
        assert float(one) == pytest.approx(two, rel=1e-3, abs=1e-2)
    if given == 1:
        rates = gpu.rates(current.to(DEVICE), *decays, c)
        assert torch.equal(rates.cpu(), cpu.rates(current, *decays, c))


@pytest.mark.parametrize(("dtype", "steps", "given"), SERIES)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_spikes_and_membranes_are_those_of_a_processor(dtype, steps, given, reset):
    for decays in DECAYS:
        _compare(dtype, steps, given, reset, decays, "triangle")


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_surrogates_are_those_of_a_processor(surrogate):
    _compare(torch.float32, 4, 4, "zero", (0.25, 0.75), surrogate)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_membrane_that_is_no_number_has_the_slope_of_a_processor(surrogate):
    c = Constants(0.7, "zero", surrogate, 1)
    current = torch.tensor([[float("nan"), 0.6, float("inf"), -float("inf")]])
    grad = torch.ones_like(current)
    wanted, *_ = cpu.backward(current, grad, 0.0, 0.5, c, False, False)
    found, *_ = gpu.backward(current.to(DEVICE), grad.to(DEVICE), 0.0, 0.5, c, False, False)
    torch.testing.assert_close(found.cpu(), wanted, equal_nan=True)


def test_no_membranes_are_kept_for_nobody():
    c = Constants(1.0, "zero", "triangle", 3)
    current = torch.rand(3, 2, 40, device=DEVICE)
    spikes, before = gpu.forward(current, 0.0, 0.5, c, False)
    assert torch.equal(spikes, gpu.forward(current, 0.0, 0.5, c, True)[0])
    assert before.shape == (0, 2, 40)
    found, *_ = gpu.backward(torch.rand(3, 2, 0), torch.rand(3, 2, 0), 0.0, 0.5, c, False, False)
    assert found.shape == (3, 2, 0)


def test_a_student_learns_from_them_what_it_learns_on_a_processor(monkeypatch):
    torch.manual_seed(1)
    images = 1.5 * torch.rand(4, 3, 8, 6, 6)
    found = []
    for way, device in ((neurons._COMPILED, "cpu"), (neurons._on_gpu(), DEVICE)):
        monkeypatch.setattr(neurons, "_COMPILED", way)
        x = images.clone().requires_grad_()
        spikes = neurons.Lif(0.5)(x.to(device))
        spikes.square().sum().backward()
        found.append((spikes.detach().cpu(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_a_gpu_has_kernels_for_what_it_trains_in():
    ways = {d: neurons._way(torch.empty(0, dtype=d)) for d in (torch.float32, torch.float64)}
    assert set(ways.values()) == {neurons._COMPILED}
    assert neurons._on_gpu().forward is gpu.forward
