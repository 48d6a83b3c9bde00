"""SBC: the Hessian is the definition's, the surgeon Optimal Brain Surgeon's, and it helps."""

import pytest
import torch
from torch import nn

from snn2hw import train
from snn2hw.errors import InputError
from snn2hw.train.pruning.sbc import Sbc, damped, hessians, leaked, listed, surgeon
from snn2hw.train.students import Neuron, Settings, Student, make_student


def student(name="cnn", steps=3, **own):
    torch.manual_seed(0)
    made = make_student(name, Settings((2, 8, 8), 10, 16, steps, width=0.5, **own))
    made.train()
    with torch.no_grad():  # batch norms that do something
        for _ in range(3):
            made(torch.randint(0, 17, (16, 2, 8, 8)))
    return made.eval().double()


def problem(rows=5, n=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(n, n, generator=generator, dtype=torch.float64)
    x = torch.randn(4 * n, n, generator=generator, dtype=torch.float64) @ mix
    hessian = damped(2.0 * x.T @ x)
    return torch.randn(rows, n, generator=generator, dtype=torch.float64), hessian


def toeplitz(steps, beta):
    at = torch.arange(steps)
    apart = at[:, None] - at
    return torch.where(apart >= 0, beta ** apart.clamp_min(0).double(), 0.0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_leak_is_the_toeplitz_matrix(beta):
    x = torch.rand(6, 3, 2, dtype=torch.float64)
    found = torch.einsum("st,tbn->sbn", toeplitz(6, beta), x)
    torch.testing.assert_close(leaked(x, beta), found)


def test_layers_know_how_their_neurons_leak():
    """A sum at the end keeps nothing: each step's current counts as it comes."""
    neuron = Neuron(0.75, alpha=0.5)
    for readout, last in (("spikes", (0.5, 0.75)), ("membrane", (0.0, 0.0))):
        made = make_student("cnn", Settings((2, 8, 8), 3, 16, 3, neuron, 0.05, readout))
        decays = [(x.alpha, x.beta) for x in listed(made)]
        assert decays == [(0.5, 0.75)] * 3 + [last]


@pytest.mark.parametrize(
    ("name", "steps"),
    [("cnn", 3), ("resnet8", 3), ("rnn-24", 3), ("rnn-24", 2), ("ms-resnet18", 3),
     ("sew-resnet18", 3)],
)  # fmt: skip
def test_hessian_gives_the_change_of_the_membrane(name, steps):
    network = student(name, steps, neuron=Neuron(0.75))
    x = torch.randint(0, 17, (6, 2, 8, 8))
    for layer in listed(network):
        held, seen = layer.weight.weight, []

        def keep(_module, _args, out, seen=seen):
            seen.append(out.detach())

        handle = layer.weight.register_forward_hook(keep)
        change = 1e-3 * torch.randn_like(held)
        with torch.no_grad():
            network(x)
            held += change
            network(x)
            held -= change
        handle.remove()
        calls = network.time_steps - 1 if layer.back else 1
        apart = torch.cat(seen[calls : 2 * calls]) - torch.cat(seen[:calls])
        apart = apart.unflatten(0, (-1, len(x)))
        if layer.back:
            apart = torch.cat([torch.zeros_like(apart[:1]), apart])
        apart = apart.expand(network.time_steps, *apart.shape[1:])
        membrane = torch.einsum("st,t...->s...", toeplitz(network.time_steps, layer.beta), apart)
        (hessian,) = hessians(network, layer, x)
        flat = change.flatten(1)
        error = 0.5 * torch.einsum("ri,ij,rj->", flat, hessian, flat)
        assert float(error) == pytest.approx(float(membrane.square().sum()) / len(x), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_one_by_one_it_is_optimal_brain_surgeon(seed):
    weight, hessian = problem(seed=seed)
    gain = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    found, mask = surgeon(weight, hessian, 12, gain, part=0.0)
    expected, inverses = weight.clone(), [torch.linalg.inv(hessian) for _ in weight]
    alive = torch.ones_like(weight, dtype=torch.bool)
    while int(alive.sum()) > 12:
        costs = {
            (r, q): float(gain[r] * expected[r, q]) ** 2 / float(inverses[r][q, q])
            for r, q in alive.nonzero().tolist()
        }
        r, q = min(costs, key=lambda k: costs[k])
        inverse = inverses[r]
        expected[r] -= expected[r, q] / inverse[q, q] * inverse[:, q]
        inverses[r] = inverse - torch.outer(inverse[:, q], inverse[q]) / inverse[q, q]
        alive[r, q] = False
        expected[r, ~alive[r]] = 0.0
    assert (mask == alive).all()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("keep", [0, 1, 7, 30, 44, 45])
def test_what_stays_is_the_best_for_its_mask(keep):
    weight, hessian = problem()
    found, mask = surgeon(weight, hessian, keep, torch.ones(5, dtype=torch.float64))
    assert int(mask.sum()) == keep
    assert (found[~mask] == 0).all()
    slope = (found - weight) @ hessian
    torch.testing.assert_close(
        slope[mask], torch.zeros(keep, dtype=torch.float64), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("seed", range(5))
def test_it_changes_outputs_less_than_magnitude(seed):
    weight, hessian = problem(8, 20, seed)
    found, _ = surgeon(weight, hessian, 48, torch.ones(8, dtype=torch.float64))
    order = weight.abs().flatten().argsort()
    plain = weight.clone()
    plain.view(-1)[order[:-48]] = 0.0

    def error(changed):
        apart = changed - weight
        return float(torch.einsum("ri,ij,rj->", apart, hessian, apart))

    assert error(found) < 0.8 * error(plain)


def test_inputs_that_never_come_go_first():
    network = student("mlp")
    x = torch.randint(0, 17, (400, 2, 8, 8))
    x[:, :, 0] = 0  # sixteen pixels are always dark
    pruner = Sbc(network, 0.3, x)
    pruner.finish()
    first = network.get_submodule("fc1").weight.weight.view(-1, 2, 8, 8)
    assert (first[:, :, 0] == 0).all()
    assert all(torch.isfinite(w).all() for w in network.parameters())


def test_groups_are_layers_of_their_own():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False)
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(6 * 25, 3))
    x = torch.randn(30, 4, 5, 5)
    before = network(x).detach()
    Sbc(network, 0.4, x).finish()
    assert train.sparsity(network) == pytest.approx(0.4, abs=1e-2)
    assert (network(x) - before).square().mean() < 0.1 * before.square().mean()


def test_samples_are_needed():
    network = student("mlp")
    assert isinstance(network, Student)
    for none in (None, torch.zeros(0, 1, 8, 8)):
        with pytest.raises(InputError, match="samples"):
            Sbc(network, 0.5, none)
