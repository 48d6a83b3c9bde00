"""Structures: channels that the compiler drops, connections that move, budgets of cores."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn2hw import target, train
from snn2hw.errors import InputError
from snn2hw.families.loihi.exact import remove_dead
from snn2hw.families.loihi.quantize import quantize
from snn2hw.passes import simplify
from snn2hw.pipeline import budget
from snn2hw.train.evaluation import outputs_of
from snn2hw.train.pruning import Evolving, masks, weights
from snn2hw.train.pruning.channels import Channels, sets
from snn2hw.train.pruning.evolve import counts
from snn2hw.train.structure import Stagewise
from snn2hw.train.students import Settings, make_student

LOIHI2 = target.load("loihi2")


def student(name="cnn", shape=(1, 8, 8), **own):
    torch.manual_seed(0)
    return make_student(name, Settings(shape, 10, 16, 2, **{"width": 0.5, **own}))


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8"])
def test_removed_channels_are_gone_from_the_chip(name):
    network = student(name)
    with torch.no_grad():  # biases that would make silent neurons spike
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.bias.uniform_(0.2, 0.6)
    pruner = Channels(network, 0.7, 1)
    whole = quantize(simplify(train.to_network(network)), LOIHI2)
    x = torch.randint(0, 17, (6, 1, 8, 8))
    pruner.finish()
    small = remove_dead(quantize(simplify(train.to_network(network)), LOIHI2))
    sizes = pruner.sets.sizes
    kept = sum(int(a.sum()) for a in pruner.alive)
    assert kept < sum(sizes)
    for before, after in zip(whole.populations, small.populations, strict=True):
        assert after.size <= before.size
    assert sum(p.size for p in small.populations) < 0.75 * sum(p.size for p in whole.populations)
    spikes = train.evaluate(network, x.numpy().astype(np.uint8), np.zeros(6, np.int64)).spikes
    for population, last in zip(network.wiring, small.populations, strict=True):
        assert np.count_nonzero(spikes[population.name]) <= last.size


def test_populations_that_a_shortcut_joins_lose_the_same_channels():
    network = student("resnet14")
    found, sizes, _ = sets(network)
    # The first convolution, both blocks of the first stage: one set; then one inside each block.
    assert len(sizes) == 3 + 6
    pruner = Channels(network, 0.6, 1)
    pruner.finish()
    first = pruner.alive[0]
    for name in ("conv1", "layer1.0.conv2", "layer1.1.conv2"):
        rows = network.get_submodule(name).weight.weight.flatten(1).abs().sum(1) > 0
        assert (rows == first).all()
    columns = network.get_submodule("layer2.0.conv1").weight.weight.abs().sum((0, 2, 3)) > 0
    assert (columns == first).all()
    assert len(found) == 14 + 2


@pytest.mark.parametrize(
    "name", ["rnn-40", "convs", "vgg11", "spiking-resnet18", "sew-resnet18", "ms-resnet18"]
)
def test_removed_channels_are_silent_and_unheard(name):
    network = student(name, (1, 32, 32) if name == "vgg11" else (1, 8, 8), width=0.1).eval()
    with torch.no_grad():  # biases that make all others spike
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.bias.uniform_(0.6, 1.2)
    pruner = Channels(network, 0.5, 1)
    pruner.finish()
    assert 0.5 <= masks.sparsity(network) < 0.7
    seen = {}
    for population in pruner.sets.of:
        network.get_submodule(population).register_forward_hook(
            lambda _m, _a, out, n=population: seen.update({n: out})
        )
    with torch.no_grad():
        network(torch.randint(0, 17, (4, 1, *network.shape[1:])))
    assert seen.keys() == pruner.sets.of.keys()
    for population, spikes in seen.items():
        alive = pruner.alive[pruner.sets.of[population]]
        fired = spikes.transpose(0, 2).flatten(1).any(1)
        assert not fired[~alive].any()
        assert fired.any()
    assert not all(a.all() for a in pruner.alive)
    for wire in pruner.wires:
        if wire.before is not None:
            dead = ~pruner.alive[wire.before]
            weight = wire.synapse.weight.weight.transpose(0, 1)
            assert (weight.reshape(len(dead), -1)[dead] == 0).all()


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.lists(st.integers(1, 20), min_size=2, max_size=4).map(tuple),
        min_size=1,
    ),
    st.floats(1e-3, 1.0),
)
@settings(max_examples=80, deadline=None)
def test_connections_are_shared_out_exactly(shapes, density):
    sizes = {n: int(np.prod(s)) for n, s in shapes.items()}
    wanted = int(density * sum(sizes.values()) + 1e-9)
    if wanted < len(sizes):
        with pytest.raises(InputError, match="Density"):
            counts(shapes, density)
        return
    found = counts(shapes, density)
    assert sum(found.values()) == wanted
    assert all(1 <= found[n] <= sizes[n] for n in sizes)


def test_small_layers_stay_denser():
    found = counts({"small": (10, 64), "large": (512, 784)}, 0.1)
    assert found["small"] / 640 > 5 * found["large"] / (512 * 784)


def evolved(steps=24, seed=0, **own):
    network = student()
    pruner = Evolving(network, 0.3, interval=2, seed=seed, **own)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)
    history = []
    for step in range(steps):
        x = torch.randint(0, 17, (8, 1, 8, 8), generator=generator)
        optimizer.zero_grad()
        network(x).square().mean().backward()
        dense = {n: w.grad.clone() for n, w in weights(network).items()}
        pruner.after_backward(step, steps)
        optimizer.step()
        pruner.after_step(optimizer)
        state = {n: optimizer.state[w]["exp_avg"].clone() for n, w in weights(network).items()}
        now = {n: w.detach().clone() for n, w in weights(network).items()}
        history.append(({n: m.clone() for n, m in pruner.masks.items()}, dense, state, now))
    return network, history


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_density_is_constant_and_the_seed_decides(grow):
    first, history = evolved(grow=grow)
    for masks_now, _, _, now in history:
        assert {n: int(m.sum()) for n, m in masks_now.items()} == {
            n: int(m.sum()) for n, m in history[0][0].items()
        }
        assert all((now[n][~m] == 0).all() for n, m in masks_now.items())
    again, other = evolved(grow=grow)[0], evolved(grow=grow, seed=1)[0]
    one, two, three = (n.state_dict() for n in (first, again, other))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], three[k]) for k in one)


def test_connections_move_to_the_largest_gradients_and_begin_anew():
    _, history = evolved()
    moved = 0
    for step, (earlier, later) in enumerate(itertools.pairwise(history), 1):
        for name, mask in later[0].items():
            grown, dropped = mask & ~earlier[0][name], earlier[0][name] & ~mask
            if not grown.any():
                continue
            moved += 1
            assert step % 2 == 0
            assert step <= 0.75 * 24
            gradient, idle = later[1][name].abs(), ~earlier[0][name] & ~grown
            assert gradient[grown].min() >= gradient[idle].max()
            size, stayed = earlier[3][name].abs(), earlier[0][name] & mask
            assert size[dropped].max() <= size[stayed].min()
            for tensor in (later[2][name], later[3][name]):
                assert (tensor[grown | dropped] == 0).all()
    assert moved > 5


def test_impossible_structures_are_refused():
    for own in ({"density": 0.0}, {"density": 1e-9}, {"density": 1.1}):
        with pytest.raises(InputError, match="Density"):
            Evolving(student(), **own)
    with pytest.raises(InputError, match="fraction"):
        Evolving(student(), 0.5, fraction=2.0, interval=0)


def test_a_budget_of_cores_is_met_and_not_by_much():
    memory = LOIHI2.limits["memory_per_core"]
    small = replace(memory, value=20480, low=20480, high=20480)  # so that a small network is large
    chip = replace(LOIHI2, limits={**LOIHI2.limits, "memory_per_core": small})
    network = student("mlp", (1, 16, 16), width=1)
    dense = budget.cores_of(train.to_network(network), chip)
    density = budget.density_for_cores(network, chip, 4)
    assert 4 < dense < np.inf
    assert 0 < density < 1

    def needs(sparsity):
        return budget.cores_of(train.to_network(train.at_once(network, sparsity)), chip)

    assert needs(1 - density) <= 4 < needs(1 - density - 1 / budget.PARTS)
    assert budget.density_for_cores(network, chip, int(dense)) == 1.0
    least = budget.cores_of(train.to_network(train.at_once(network, 0.998)), chip)
    with pytest.raises(InputError, match=rf"still needs {least} cores.*budget is 0") as refused:
        budget.density_for_cores(network, chip, 0)
    assert f"{least} or more" in str(refused.value)


def test_masks_survive_a_checkpoint():
    network = student()
    held = {n: w > 0 for n, w in weights(network).items()}
    again = masks.unpacked(network, masks.packed(held) | {"other": torch.ones(1)})
    assert again.keys() == held.keys()
    assert all(torch.equal(again[n], held[n]) for n in held)


def test_populations_spike_one_after_another():
    network = student("mlp-8-8-8", (1, 4, 4))
    stages = Stagewise(network, 10)
    analog = []
    for epoch in range(10):
        stages.before_epoch(epoch)
        analog.append(sum(n.analog for n in network.populations().values()))
    assert analog[0] == 3  # the first of four spikes from the start
    assert analog == sorted(analog, reverse=True)
    assert analog[6:] == [0, 0, 0, 0]
    with pytest.raises(InputError, match="no neurons"):
        Stagewise(torch.nn.Linear(2, 2), 10)


def test_rates_count_as_the_spikes_of_every_step():
    network = student("resnet8", readout="membrane").eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.uniform_(0.2, 1.2)
    x = np.random.default_rng(0).integers(0, 17, (12, 1, 8, 8), np.uint8)
    y = np.zeros(12, np.int64)
    real = train.evaluate(network, x, y).spikes
    shapes = [s.shape for s in outputs_of(network, torch.from_numpy(x)).spikes.values()]
    for neurons in network.populations().values():
        neurons.analog = True
    found = outputs_of(network, torch.from_numpy(x))
    assert [s.shape for s in found.spikes.values()] == shapes
    assert found.steps.shape == (2, 12, 10)
    counted = train.evaluate(network, x, y).spikes
    assert real["lif1"].sum() > 0
    # The current of the first neurons is the same at each step, so their rates are their spikes.
    np.testing.assert_array_equal(counted["lif1"], real["lif1"])
    per_step = {n: s.detach().sum((0, 1)).flatten().numpy() / 12 for n, s in found.spikes.items()}
    for name, spikes in counted.items():
        np.testing.assert_allclose(spikes, per_step[name], rtol=1e-6)
