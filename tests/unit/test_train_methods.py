import pytest
import torch
from torch.nn import functional

from snn2hw.errors import InputError
from snn2hw.train.methods import (
    METHODS,
    Weights,
    divergence,
    find_method,
    synop_share,
    watch_spikes,
)
from snn2hw.train.students import Settings, make_student

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=torch.float64)
TAUGHT = torch.tensor([[2.0, 5.0, 1.0], [1.0, 0.0, 4.0]], dtype=torch.float64)
LABELS = torch.tensor([1, 2])


def test_gradient_of_the_divergence():
    z = LOGITS.clone().requires_grad_()
    divergence(z, TAUGHT, 1.5, 4.0).backward()
    apart = functional.softmax(LOGITS / 1.5, -1) - functional.softmax(TAUGHT / 4.0, -1)
    torch.testing.assert_close(z.grad, 4.0 * apart / len(LOGITS))


def test_minimum_is_at_the_ratio_of_temperatures():
    z = (TAUGHT * 1.0 / 4.0 + 7.0).requires_grad_()
    loss = divergence(z, TAUGHT, 1.0, 4.0)
    loss.backward()
    assert loss.abs() < 1e-12
    assert z.grad.abs().max() < 1e-12


def test_kd_is_hetero_with_one_temperature():
    w = Weights(0.6, 3.0, 3.0)
    same = [METHODS[n].loss(LOGITS, LABELS, TAUGHT, w) for n in ("kd", "hetero")]
    assert same[0] == same[1]
    other = w._replace(tau_student=1.0)
    assert METHODS["kd"].loss(LOGITS, LABELS, TAUGHT, other) == same[0]
    assert METHODS["hetero"].loss(LOGITS, LABELS, TAUGHT, other) != same[1]


def test_without_a_share_all_methods_are_labels_only():
    w = Weights(0.0)
    losses = [m.loss(LOGITS, LABELS, TAUGHT, w).item() for m in METHODS.values()]
    assert losses == pytest.approx([functional.cross_entropy(LOGITS, LABELS).item()] * 3)


def test_unknown_method():
    with pytest.raises(InputError, match="hetero"):
        find_method("heterogenous")


def test_synop_share_is_one_when_everything_spikes():
    spikes = {"a": torch.ones(4, 2, 3, 5), "b": torch.ones(4, 2, 7), "out": torch.ones(4, 2, 3)}
    assert synop_share(spikes, {"a": 9.0, "b": 3.0, "out": 0.0}) == pytest.approx(1.0)
    spikes["a"] = torch.zeros(4, 2, 3, 5)
    expected = 7 * 3 / (7 * 3 + 15 * 9)
    assert synop_share(spikes, {"a": 9.0, "b": 3.0, "out": 0.0}) == pytest.approx(expected)


def test_spike_cost_reaches_the_weights():
    torch.manual_seed(0)
    student = make_student("cnn", Settings((1, 8, 8), 3, 16, 2))
    with watch_spikes(student.populations()) as seen:
        student(torch.randint(0, 17, (4, 1, 8, 8), dtype=torch.uint8))
    synop_share(seen, student.fan_out()).backward()
    assert student.conv1.weight.weight.grad.abs().sum() > 0
    assert student.fan_out() == {"lif1": 32 * 9 / 4, "lif2": 128.0, "lif3": 3.0, "lif4": 0.0}
