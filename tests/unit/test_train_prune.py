import pytest
import torch

from snn2hw.errors import InputError
from snn2hw.train.prune import Pruner, masks, scheduled, scores, sparsity, weights
from snn2hw.train.students import Settings, make_student


def student():
    torch.manual_seed(0)
    return make_student("cnn", Settings((1, 8, 8), 10, 16, 2))


def test_lamp_scores_by_hand():
    found = scores(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    expected = torch.tensor([[1 / 14, 4 / 13], [1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 0.93])
def test_share_is_reached_and_no_layer_dies(share):
    layers = weights(student())
    layers["conv1.weight.weight"].data *= 1e-3
    found = masks(layers, share)
    total = sum(m.numel() for m in found.values())
    gone = sum(int((~m).sum()) for m in found.values())
    assert share <= gone / total < share + 1 / total + 1e-9
    for mask in found.values():
        assert mask.sum() >= 0.02 * mask.numel()


def test_the_largest_of_a_layer_stay():
    layers = weights(student())
    for name, mask in masks(layers, 0.8).items():
        weight = layers[name].abs()
        if not mask.all():
            assert weight[mask].min() >= weight[~mask].max()


@pytest.mark.parametrize("share", [-0.1, 1.0, 0.99, float("nan")])
def test_impossible_shares_are_refused(share):
    with pytest.raises(InputError):
        masks(weights(student()), share)


def test_schedule_rises_to_the_end():
    shares = [scheduled(e, 4, 0.1, 0.8) for e in range(6)]
    assert shares == sorted(shares)
    assert shares[3:] == [0.8, 0.8, 0.8]
    assert shares[0] > 0.1


def test_zeros_survive_an_optimizer():
    network = student()
    pruner = Pruner(network, 0.75, 4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for epoch in range(4):
        pruner.before_epoch(epoch)
        x = torch.randint(0, 17, (8, 1, 8, 8), dtype=torch.uint8)
        network(x).square().sum().backward()
        optimizer.step()
        pruner.apply()
    assert sparsity(network) >= 0.75
