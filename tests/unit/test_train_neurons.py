import pytest
import torch

from snn2hw.errors import InputError
from snn2hw.train.neurons import Lif, lif, lif_definition


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 3891 / 4096, 1.0])
def test_fused_neuron_is_the_definition(reset, beta):
    torch.manual_seed(0)
    one = torch.randn(9, 3, 2, 5, dtype=torch.float64).mul_(1.5).requires_grad_()
    two = one.detach().clone().requires_grad_()
    fast, slow = lif(one, beta, 0.7, reset), lif_definition(two, beta, 0.7, reset)
    assert torch.equal(fast, slow)
    assert 0 < fast.mean() < 1
    weight = torch.randn_like(fast)
    (fast * weight).sum().backward()
    (slow * weight).sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-12)


def test_a_membrane_at_the_threshold_is_silent():
    current = torch.tensor([[1.0], [1.0], [0.25]])
    assert lif(current, 0.5).flatten().tolist() == [0.0, 1.0, 0.0]


def test_subtraction_keeps_the_rest():
    current = torch.tensor([[1.75], [0.5], [0.875]])
    assert lif(current, 1.0, reset="subtract").flatten().tolist() == [1, 1, 1]
    assert lif(current, 1.0, reset="zero").flatten().tolist() == [1, 0, 1]


def test_repeated_current_collects_its_gradient():
    current = torch.full((1, 4), 0.8, requires_grad=True)
    lif(current.expand(6, 4), 0.5).sum().backward()
    assert current.grad is not None
    assert current.grad.shape == (1, 4)
    assert (current.grad > 0).all()


@pytest.mark.parametrize(
    "wrong", [{"beta": 0.3}, {"beta": 1.5}, {"threshold": 0.0}, {"reset": "half"}]
)
def test_constants_a_chip_cannot_hold_are_refused(wrong):
    with pytest.raises(InputError):
        Lif(**wrong)
