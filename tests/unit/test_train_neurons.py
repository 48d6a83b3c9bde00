import itertools
import os
import subprocess
import sys

import numba
import pytest
import torch

from snn2hw.errors import InputError
from snn2hw.ir.neuron import NeuronRules
from snn2hw.train import kernels, neurons
from snn2hw.train.neurons import SURROGATES, Lif, lif, lif_definition

DECAYS = ((0.0, 0.0), (0.0, 0.5), (0.25, 3891 / 4096), (0.75, 1.0))


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["compiled", "small blocks", "tensor operations"])
def way(request, monkeypatch):
    """Run the function as on a processor, and as on other devices."""
    if request.param == "small blocks":
        monkeypatch.setattr(kernels, "block_of", lambda _steps: 128)
    if request.param == "tensor operations":
        monkeypatch.setattr(neurons, "_COMPILED", neurons._IN_TENSORS)


def _gradients(run, current, alpha, beta, weight, **kinds):
    leaves = [current.clone().requires_grad_()]
    leaves += [torch.tensor(d, dtype=current.dtype, requires_grad=True) for d in (alpha, beta)]
    spikes = run(leaves[0], leaves[2], 0.7, alpha=leaves[1], **kinds)
    (spikes * weight).sum().backward()
    return spikes, [leaf.grad for leaf in leaves]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_fused_neuron_is_the_definition(surrogate):
    torch.manual_seed(0)
    current = torch.randn(9, 3, 2, 150, dtype=torch.float64) * 1.5
    weight = torch.randn_like(current)
    for reset, (alpha, beta) in itertools.product(("zero", "subtract"), DECAYS):
        kinds = {"reset": reset, "surrogate": surrogate}
        fast, found = _gradients(lif, current, alpha, beta, weight, **kinds)
        slow, wanted = _gradients(lif_definition, current, alpha, beta, weight, **kinds)
        assert torch.equal(fast, slow)
        assert 0 < fast.mean() < 1
        for one, two in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_repeated_current_is_given_once(dtype):
    torch.manual_seed(1)
    current = (torch.rand(1, 4, 700) * 1.5).to(dtype)
    weight = torch.randn(6, 4, 700).to(dtype)
    one, two = (current.clone().requires_grad_() for _ in range(2))
    once, each = lif(one, 0.5, steps=6), lif(two.expand(6, 4, 700), 0.5)
    assert once.dtype == dtype
    assert torch.equal(once, each)
    (once * weight).sum().backward()
    (each * weight).sum().backward()
    wide = 1e-12 if dtype == torch.float64 else 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(one.grad, two.grad, rtol=wide, atol=wide)


def test_sixteen_bits_are_rounded_and_nothing_else():
    torch.manual_seed(2)
    current = torch.randn(5, 3, 600).bfloat16()
    grad = torch.randn(5, 3, 600).bfloat16()
    one = current.clone().requires_grad_()
    two = current.float().requires_grad_()
    spikes, wide = lif(one, 0.5), lif(two, 0.5)
    assert torch.equal(spikes.float(), wide)
    spikes.backward(grad)
    wide.backward(grad.float())
    assert torch.equal(one.grad, two.grad.bfloat16())


BIASED = NeuronRules(bias="membrane")
SIXTEEN = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", [*SIXTEEN, torch.float32, torch.float64])
def test_a_membrane_adds_up_in_more_than_16_bits(dtype):
    # 16 bits hold 2048 but not 2049: a sum of ones would never be above the threshold.
    one, steps = torch.ones(1, 3, 2, dtype=dtype), 2060
    biased = Lif(1.0, 2048.0, rules=BIASED, channels=2)
    torch.nn.init.ones_(biased.bias)
    for spikes in (
        Lif(1.0, 2048.0)(one, steps),
        Lif(1.0, 2048.0)(one, steps, back=torch.zeros_like),
        biased(torch.zeros_like(one), steps),
        lif_definition(one.expand(steps, 3, 2), 1.0, 2048.0),
    ):
        assert spikes.dtype == dtype
        assert spikes.shape == (steps, 3, 2)
        assert (spikes.double().sum(0) == 1).all()


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_what_comes_back_is_added_in_more_than_16_bits(dtype):
    current = torch.tensor([3000.0, 2048.0, 0.0], dtype=dtype).reshape(3, 1, 1)
    neuron, back = Lif(0.0, 2048.0), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(back.weight)
    assert neuron(current, back=torch.clone).flatten().tolist() == [1, 1, 0]
    with torch.autocast("cpu", dtype):
        spikes = neuron(current, back=back)
    assert spikes.dtype == dtype
    assert spikes.flatten().tolist() == [1, 1, 0]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_membrane_that_is_no_number_has_the_slope_of_the_definition(surrogate):
    found = []
    for run in (lif, lif_definition):
        current = torch.tensor([[float("nan"), 0.9, float("inf"), -float("inf")]])
        current.requires_grad_()
        run(current, 0.5, surrogate=surrogate).sum().backward()
        found.append(current.grad)
    torch.testing.assert_close(*found, equal_nan=True)
    assert found[0][0, 0].isnan() == (surrogate != "box")  # which is 0 outside its rectangle


@pytest.mark.parametrize(("given", "steps"), [(3, 5), (5, 3), (2, 4), (1, 0), (4, 0), (0, None)])
def test_a_current_of_other_steps_is_refused(given, steps):
    current, biased = torch.rand(given, 2, 2), Lif(rules=BIASED, channels=2)
    analog = Lif()
    analog.analog = True
    runs = [
        lambda: lif(current, 0.5, steps=steps),
        lambda: Lif()(current, steps),
        lambda: Lif()(current, steps, back=torch.zeros_like),
        lambda: biased(current, steps),
        lambda: analog(current, steps),
    ]
    for run in runs:
        with pytest.raises(InputError, match=f"run for {steps or 0} time steps.*has {given}"):
            run()


def test_a_membrane_at_the_threshold_is_silent():
    current = torch.tensor([[1.0], [1.0], [0.25]])
    assert lif(current, 0.5).flatten().tolist() == [0.0, 1.0, 0.0]


def test_subtraction_keeps_the_rest():
    current = torch.tensor([[1.75], [0.5], [0.875]])
    assert lif(current, 1.0, reset="subtract").flatten().tolist() == [1, 1, 1]
    assert lif(current, 1.0, reset="zero").flatten().tolist() == [1, 0, 1]


def test_a_current_with_memory_goes_on():
    current = torch.tensor([[0.75], [0.0], [0.0]])
    assert lif(current, 0.0, alpha=0.5).flatten().tolist() == [0, 0, 0]
    assert lif(current, 1.0, alpha=0.5).flatten().tolist() == [0, 1, 0]


def test_learned_decays_are_what_a_chip_holds():
    neuron = Lif(0.5, alpha=0.25, learn=True)
    assert (neuron.alpha, neuron.beta) == (0.25, 0.5)
    torch.manual_seed(0)
    current = torch.rand(6, 2, 50)
    adam = torch.optim.Adam(neuron.parameters(), lr=0.05)
    before = int(neuron(current).detach().sum())
    for _ in range(20):
        adam.zero_grad()
        neuron(current).sum().backward()
        adam.step()
    assert int(neuron(current).detach().sum()) < before  # it leaks more, so it spikes less
    for decay in (neuron.alpha, neuron.beta):
        assert 0 < decay < 0.5
        assert decay * 4096 == round(decay * 4096)
    assert not list(Lif(1.0, learn=True).parameters())


@pytest.mark.parametrize(
    "wrong",
    [{"beta": 0.3}, {"beta": 1.5}, {"alpha": 0.3}, {"threshold": 0.0}, {"reset": "half"},
     {"surrogate": "tri"}],
)  # fmt: skip
def test_constants_a_chip_cannot_hold_are_refused(wrong):
    with pytest.raises(InputError):
        Lif(**wrong)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_an_analog_population_gives_its_own_rate_and_a_smooth_gradient(reset, beta, alpha):
    neurons = Lif(beta, reset=reset, alpha=alpha)
    current = (2.0 * torch.rand(1, 3, 1500) - 0.5).requires_grad_()
    rate = neurons(current, 4).mean(0)
    neurons.analog = True
    found = neurons(current, 4)
    torch.testing.assert_close(found, rate[None])
    found.sum().backward()
    inside = (current > 0) & (current < 1)
    torch.testing.assert_close(current.grad, 1.0 * inside)


def test_an_analog_population_takes_the_mean_of_its_current():
    neurons = Lif(0.5)
    neurons.analog = True
    current = torch.rand(4, 3, 50).requires_grad_()
    found = neurons(current)
    torch.testing.assert_close(found, neurons(current.mean(0, keepdim=True), 4))
    found.sum().backward()
    torch.testing.assert_close(current.grad, torch.full((4, 3, 50), 0.25))


def test_whoever_simulates_next_has_the_threads_it_had():
    before = numba.get_num_threads()
    torch.set_num_threads(1)
    current = torch.rand(2, 3, 50).requires_grad_()
    lif(current, 0.5).sum().backward()
    assert numba.get_num_threads() == before


def test_the_user_chooses_the_threads():
    # Numba starts as many threads as there are cores, and PyTorch followed it.
    code = "import torch, snn2hw.train; print(torch.get_num_threads())"
    told = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
