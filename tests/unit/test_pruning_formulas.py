"""Pruners: what ``docs/methods/pruning.md`` writes, in NumPy, against what ours do to a network."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snn2hw.errors import InputError
from snn2hw.train.pruning import Plan, at_once, find_pruner, masks, sbc, weights
from snn2hw.train.pruning.channels import Channels
from snn2hw.train.pruning.evolve import Evolving, counts
from snn2hw.train.pruning.gradr import GradR, center
from snn2hw.train.pruning.gradual import lamp
from snn2hw.train.pruning.sbc import Sbc, damped, hessians, listed, surgeon
from snn2hw.train.pruning.upr import Upr
from snn2hw.train.students import Settings, make_student


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def student(name="mlp-12-9", shape=(1, 4, 4), **own):
    torch.manual_seed(3)
    made = make_student(name, Settings(shape, 5, 16, 2, **own))
    with torch.no_grad():  # batch norms that do something
        for module in made.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.running_var.uniform_(0.2, 3)
    return made


def arrays(network):
    return {n: w.detach().double().numpy() for n, w in weights(network).items()}


def stepped(pruner, network, step, rate=0.0):
    """What the loop does around a step, but for learning; ``rate`` moves what the search holds."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    pruner.after_backward(step, 1000)
    pruner.after_step(optimizer)


def scheduled(step, ramp, start, final):
    return final + (start - final) * (1 - min(1, (step + 1) / ramp)) ** 3


# --- gradr and upr: values that go down together, as many as a cubic schedule wants


@pytest.mark.parametrize(("epochs", "search"), [(1, 1), (2, 1), (5, 3), (10, 6)])
def test_a_search_takes_sixty_percent_of_the_epochs_and_then_cuts(epochs, search):
    network = student()
    pruner = GradR(network, 0.8, epochs, 4)
    for epoch in range(epochs):
        pruner.before_epoch(epoch)
        assert pruner.hard == (epoch >= search)
    pruner.finish()
    total = sum(w.size for w in arrays(network).values())
    assert sum((w == 0).sum() for w in arrays(network).values()) == math.ceil(0.8 * total)


@pytest.mark.parametrize(
    ("steps", "every"), [(1, 1), (10, 1), (38, 1), (40, 2), (50, 2), (400, 20)]
)
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_as_many_strengths_fall_to_zero_as_the_schedule_wants(share, steps, every):
    """About 20 times an epoch: of 50 steps at every second one."""
    network = at_once(student(), 0.3) if steps < 400 else student()
    pruner = GradR(network, share, 5, steps)
    before = {n: pruner.original(n).detach().clone() for n in pruner.modules}
    total = sum(v.numel() for v in before.values())
    start = was = sum(int((v <= 0).sum()) for v in before.values()) / total
    for step in (s for s in range(3 * steps) if s % every < 2):
        if step % steps == 0:
            pruner.before_epoch(step // steps)
        stepped(pruner, network, step)
        wanted = math.ceil(scheduled(step, 3 * steps, start, share) * total - 1e-6) / total
        assert pruner.found() == (pytest.approx(wanted) if step % every == 0 else was)
        was = pruner.found()
    mu = pruner.modules["fc1.weight"].center
    for name, old in before.items():
        new = pruner.original(name).detach()
        assert ((new <= old) | (old <= mu)).all()  # all go down, but none beyond the center
        assert (new >= torch.minimum(old, torch.tensor(mu)) - 1e-7).all()


def test_an_epoch_of_one_step_ends_where_it_should():
    network = student()
    pruner = GradR(network, 0.8, 1, 1)
    pruner.before_epoch(0)
    stepped(pruner, network, 0)
    total = sum(w.size for w in arrays(network).values())
    assert pruner.found() == pytest.approx(math.ceil(0.8 * total) / total)


def test_what_has_fallen_by_itself_is_left():
    network = student()
    pruner = GradR(network, 0.9, 5, 40)
    pruner.before_epoch(0)
    with torch.no_grad():
        for name in pruner.modules:
            pruner.original(name)[::2] = -0.01  # half of all, and the schedule wants little yet
    before = {n: pruner.original(n).detach().clone() for n in pruner.modules}
    stepped(pruner, network, 2)
    assert all(torch.equal(pruner.original(n), old) for n, old in before.items())


def test_a_weight_is_its_sign_times_what_is_above_zero_of_its_strength():
    network = student()
    signs = {n: np.where(w < 0, -1, 1) for n, w in arrays(network).items()}
    pruner = GradR(network, 0.9, 5, 40)
    with torch.no_grad():
        for name in pruner.modules:
            pruner.original(name).add_(-0.1)
    for name in pruner.modules:
        theta = pruner.original(name).detach().numpy()
        sign = signs[f"{name}.weight"]
        found = network.get_submodule(name).weight.detach().numpy()
        np.testing.assert_allclose(found, sign * np.maximum(theta, 0).reshape(sign.shape))
        assert (found == 0).any()


@given(st.floats(0.5, 0.99), st.floats(0.1, 9.0))
def test_the_center_is_the_published_one(share, scale):
    assert center(share, scale) == pytest.approx(scale * math.log(2 * (1 - share)))
    assert center(1 - share, scale) == pytest.approx(-scale * math.log(2 * (1 - share)))
    assert scale < center(0.0, scale) < math.inf


def test_the_centers_scale_is_the_mean_of_the_whole_network():
    network = student()
    every = np.concatenate([np.abs(w).ravel() for w in arrays(network).values()])
    pruner = GradR(network, 0.9, 4, 4)
    for module in pruner.modules.values():
        assert module.center == pytest.approx(every.mean() * math.log(0.2), rel=1e-6)


def test_a_kept_connection_without_strength_begins_with_a_thousandth_of_its_layers_mean():
    network = student()
    means = {n: np.abs(w).mean() for n, w in arrays(network).items()}
    signs = {n: np.sign(w) for n, w in arrays(network).items()}
    pruner = GradR(network, 0.5, 2, 4)
    with torch.no_grad():
        for name in pruner.modules:
            pruner.original(name).sub_(10.0)  # none has any strength left
    pruner.cut()
    there = sum(int((w != 0).sum()) for w in arrays(network).values())
    assert there == sum(int(m.keep.sum()) for m in pruner.modules.values()) > 0
    for name, weight in arrays(network).items():
        kept = weight != 0
        np.testing.assert_allclose(weight[kept], 1e-3 * means[name] * signs[name][kept], rtol=1e-5)


def test_a_layer_of_zeros_keeps_connections_too():
    network = student()
    with torch.no_grad():
        network.get_submodule("fc2").weight.weight.zero_()
    pruner = GradR(network, 0.5, 2, 4)
    pruner.finish()
    total = sum(w.size for w in arrays(network).values())
    assert sum((w != 0).sum() for w in arrays(network).values()) == total - math.ceil(0.5 * total)
    assert (arrays(network)["fc2.weight.weight"] != 0).any()


def penalty_of(network, sharpness, positions):
    """0.1 sum of n (mean sigmoid(b m_w) + mean sigmoid(b m_n)) / sum of n, masks as they begin."""
    found = arrays(network)
    scores = np.concatenate([lamp(torch.tensor(w)).numpy().ravel() for w in found.values()])
    places = (np.argsort(np.argsort(scores, kind="stable"), kind="stable") + 0.5) / scores.size
    total = at = 0.0
    for number, (name, weight) in enumerate(found.items()):
        mine = 0.2 + 0.4 * places[int(at) : int(at) + weight.size]
        at += weight.size
        cost = (1 / (1 + np.exp(-sharpness * mine))).mean()
        if number:  # the first hears the input
            cost += 1 / (1 + np.exp(-sharpness * 0.6))
        total += positions[name] * weight.size * cost
    return 0.1 * total / sum(positions[n] * w.size for n, w in found.items())


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("mlp-12-9", {"fc1": 1, "fc2": 1, "fc3": 1}),
        ("cnn", {"conv1": 64, "conv2": 16, "fc1": 1, "fc2": 1}),
    ],
)
def test_masks_pay_for_the_operations_they_let_through(name, positions):
    network = student(name, (1, 8, 8), width=0.25)
    places = {f"{n}.weight.weight": p for n, p in positions.items()}
    wanted = penalty_of(network, 5.0, places)
    pruner = Upr(network, 0.8, 5, 20, 3e-3)
    pruner.before_epoch(0)
    assert pruner.penalty().item() == pytest.approx(wanted, rel=1e-5)


def test_neurons_have_masks_where_a_layer_hears_each_by_itself():
    """Not in front of the first layer, nor where groups share a column of the weight."""
    grouped = nn.Conv2d(6, 4, 2, groups=2)
    network = nn.Sequential(nn.Conv2d(1, 6, 2), grouped, nn.Flatten(), nn.Linear(16, 3))
    pruner = Upr(network, 0.5, 2, 4, 3e-3, torch.zeros(1, 1, 4, 4))
    masked = {n: m.neuron_mask for n, m in pruner.modules.items()}
    assert masked["0"] is None
    assert masked["1"] is None
    assert masked["3"].shape == (16,)


def test_without_a_sample_a_network_of_your_own_is_taken_to_use_each_weight_once():
    network = nn.Sequential(nn.Conv2d(1, 6, 2), nn.Conv2d(6, 4, 2), nn.Flatten())
    for sample, places in ((None, (1, 1)), (torch.zeros(1, 1, 4, 4), (9, 4))):
        pruner = Upr(copy.deepcopy(network), 0.5, 2, 4, 3e-3, sample)
        through = [m.through for m in pruner.modules.values()]
        assert through == [places[0] * 24, places[1] * 96]


def test_the_plans_samples_say_how_large_images_are_inside():
    network = nn.Sequential(nn.Conv2d(1, 6, 2), nn.Flatten(), nn.Linear(54, 3))
    for samples, places in ((None, 1), (torch.zeros(7, 1, 4, 4), 9)):
        plan = Plan(copy.deepcopy(network), 0.5, 2, 4, 3e-3, 0, samples)
        pruner = find_pruner("upr").build(plan)
        assert pruner.modules["0"].through == places * 24


def test_masks_sharpen_exponentially_from_5_to_1000():
    network = student()
    pruner = Upr(network, 0.8, 5, 20, 3e-3)
    for step in range(60):
        if step % 20 == 0:
            pruner.before_epoch(step // 20)
        for module in pruner.modules.values():
            assert module.sharpness == pytest.approx(5.0 * 200.0 ** (step / 60))
        stepped(pruner, network, step)
    assert all(m.sharpness == pytest.approx(1000.0) for m in pruner.modules.values())


def test_a_masked_weight_is_the_weight_times_both_masks():
    network = student()
    before = {n: w.copy() for n, w in arrays(network).items()}
    pruner = Upr(network, 0.8, 5, 20, 3e-3)
    generator = torch.Generator().manual_seed(1)
    for name, module in pruner.modules.items():
        with torch.no_grad():
            for mask in module.parameters():
                move = 0.3 * torch.randn(mask.shape, generator=generator) / module.unit
                mask.add_(move)
        mine = module.unit * module.weight_mask.detach().double().numpy()
        weight = before[f"{name}.weight"]
        m = mine.reshape(weight.shape)
        both, started = expit(5 * m), expit(5 * first_masks(before)[f"{name}.weight"])
        values = m
        if module.neuron_mask is not None:
            n = module.unit * module.neuron_mask.detach().double().numpy()
            both, started = both * expit(5 * n), started * expit(5 * 0.6)
            values = np.minimum(m, n)
        found = network.get_submodule(name).weight.detach().double().numpy()
        np.testing.assert_allclose(found, weight / started * both, rtol=1e-4)
        np.testing.assert_allclose(pruner.values()[name].double().numpy(), values, rtol=1e-5)


def expit(x):
    return 1 / (1 + np.exp(-x))


def first_masks(found):
    scores = np.concatenate([lamp(torch.tensor(w)).numpy().ravel() for w in found.values()])
    places = (np.argsort(np.argsort(scores, kind="stable"), kind="stable") + 0.5) / scores.size
    parts = np.split(0.2 + 0.4 * places, np.cumsum([w.size for w in found.values()])[:-1])
    return {n: p.reshape(found[n].shape) for n, p in zip(found, parts, strict=True)}


def test_masks_of_weights_go_down_those_of_neurons_stay():
    network = student()
    pruner = Upr(network, 0.8, 5, 40, 3e-3)
    pruner.before_epoch(0)
    neurons = {n: m.neuron_mask.detach().clone() for n, m in pruner.modules.items()
               if m.neuron_mask is not None}  # fmt: skip
    assert set(neurons) == {"fc2.weight", "fc3.weight"}
    stepped(pruner, network, 60)
    total = sum(v.numel() for v in pruner.values().values())
    wanted = math.ceil(scheduled(60, 120, 0.0, 0.8) * total - 1e-6)
    assert pruner.found() * total == pytest.approx(wanted, abs=1.5)
    for name, mask in neurons.items():
        assert torch.equal(pruner.modules[name].neuron_mask, mask)


def test_a_mask_can_go_half_its_range_in_the_whole_search():
    """Adam moves a parameter by the rate, half of the highest on average, in each step."""
    network = student()
    pruner = Upr(network, 0.8, 5, 20, 3e-3)
    unit = 0.5 / (0.5 * 3e-3 * 60)
    assert all(m.unit == pytest.approx(unit) for m in pruner.modules.values())
    many = Upr(student(), 0.8, 5, 20000, 3e-3)
    assert {m.unit for m in many.modules.values()} == {1.0}


# --- channels


def dense_scores(network):
    """Of each hidden layer: |weights in| |weights out|, batch norm folded, over their mean."""
    layers = [network.get_submodule(f"fc{i}") for i in (1, 2, 3)]
    folded = []
    for layer in layers:
        weight = layer.weight.weight.detach().double().numpy()
        norm = layer.norm
        gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        folded.append(weight * gain.numpy()[:, None])
    found = []
    for into, out in itertools.pairwise(folded):
        score = np.linalg.norm(into, axis=1) * np.linalg.norm(out, axis=0)
        found.append(score / score.mean())
    return found


def test_a_channels_score_is_the_product_of_both_norms_over_the_mean_of_those_alive():
    network = student()
    pruner = Channels(network, 0.5, 4)
    for found, wanted in zip(pruner.scores(), dense_scores(network), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    pruner.alive[0][:5] = False
    found = pruner.scores()[0].numpy()
    wanted = dense_scores(network)[0]
    wanted = np.where(np.arange(12) < 5, 0, wanted / wanted[5:].mean())
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@settings(max_examples=30)
@given(st.integers(2, 90))
def test_the_lowest_channels_go_until_the_share_is_zero_and_no_more(percent):
    share = percent / 100
    network = student("mlp-60-40")
    scores = dense_scores(network)
    pruner = Channels(network, share, 1)
    pruner.finish()
    sizes, inputs, classes = (60, 40), 16, 5
    left, alive = list(sizes), [np.ones(n, bool) for n in sizes]

    def kept():
        return inputs * left[0] + left[0] * left[1] + left[1] * classes

    total = kept()
    least = [math.ceil(min(0.02, (1 - share) / 2) * n) for n in sizes]
    order = sorted((s, at, i) for at, each in enumerate(scores) for i, s in enumerate(each))
    for _, at, i in order:
        if kept() <= (1 - share) * total:
            break
        if left[at] > least[at]:
            alive[at][i], left[at] = False, left[at] - 1
    for found, wanted in zip(pruner.alive, alive, strict=True):
        assert found.tolist() == wanted.tolist()
    zeros = sum((w == 0).sum() for w in arrays(network).values())
    assert zeros == total - kept()


@pytest.mark.parametrize("epochs", [1, 3, 8])
def test_channels_go_on_the_cubic_schedule_over_half_of_the_epochs(epochs):
    network = student("mlp-60-40")
    pruner = Channels(network, 0.8, epochs)
    total = sum(w.size for w in arrays(network).values())
    ramp = max(1, epochs // 2)
    for epoch in range(epochs):
        pruner.before_epoch(epoch)
        zeros = sum((w == 0).sum() for w in arrays(network).values())
        share = scheduled(epoch, ramp, 0.0, 0.8)
        assert share * total - 1e-6 <= zeros < share * total + 60 + 40 + 16


def test_a_share_that_leaves_no_channels_is_refused_with_the_most_there_is():
    network = student("mlp-8-6")
    with pytest.raises(InputError, match="without channels") as refused:
        Channels(network, 0.99, 2)
    total = 16 * 8 + 8 * 6 + 6 * 5
    most = math.floor(1e4 * (1 - (16 + 1 + 5) / total)) / 1e4
    assert f"about {most:g}." in str(refused.value.hint)
    Channels(network, most, 2).finish()
    assert masks.sparsity(network) >= most


@pytest.mark.parametrize(("share", "least"), [(0.7, 4), (0.9, 4), (0.985, 2)])
def test_the_share_of_a_set_that_stays_is_two_percent_or_half_of_the_density(share, least):
    network = student("mlp-200-9-300")
    with torch.no_grad():  # all of the first layer's channels but one are worth next to nothing
        norm = network.get_submodule("fc1").norm
        norm.weight.copy_(torch.linspace(1e-9, 2e-9, 200))
        norm.weight[0] = 1.0
    pruner = Channels(network, share, 1)
    pruner.finish()
    assert int(pruner.alive[0].sum()) == least
    with pytest.raises(InputError, match="without channels"):
        Channels(network, 0.999, 1)


def test_no_channel_goes_beyond_the_share():
    """Of 210 weights each of ten channels holds 21."""
    for share, left in ((0.5, 5), (0.51, 4)):
        pruner = Channels(student("mlp-10"), share, 1)
        pruner.finish()
        assert int(pruner.alive[0].sum()) == left


def test_channels_of_a_layer_of_zeros_are_worth_nothing():
    network = student()
    with torch.no_grad():
        network.get_submodule("fc1").weight.weight.zero_()
    first, second = Channels(network, 0.5, 4).scores()
    assert (first == 0).all()
    assert (second > 0).any()


def test_a_removed_channels_current_is_exactly_zero():
    network = student().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.uniform_(-1, 1)
                module.bias.uniform_(0.1, 1)
    pruner = Channels(network, 0.5, 4)
    pruner.finish()
    for name, alive in zip(("fc1", "fc2"), pruner.alive, strict=True):
        synapse = network.get_submodule(name)
        x = torch.rand(3, synapse.weight.weight.shape[1])
        current = synapse.step(x).detach()
        assert (current[:, ~alive] == 0).all()
        assert (current[:, alive] != 0).all()
        assert not alive.all()


# --- evolve


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5),
    st.floats(0.02, 0.98),
)
def test_density_is_in_proportion_to_the_sum_of_sides_over_their_product(sides, density):
    """Where no layer is full; a rounding apart, and one more that makes up for the rounding."""
    shapes = {str(i): s for i, s in enumerate(sides)}
    total = sum(a * b for a, b in sides)
    wanted = math.floor(density * total + 1e-9)
    if wanted < len(sides):
        return
    factor = wanted / sum(a + b for a, b in sides)
    exact = {n: factor * (a + b) for n, (a, b) in shapes.items()}
    found = counts(shapes, density)
    assert sum(found.values()) == wanted
    if all(exact[n] < 0.999 * a * b and exact[n] >= 1 for n, (a, b) in shapes.items()):
        for name, number in found.items():
            assert math.floor(exact[name]) <= number <= math.ceil(exact[name])


def test_the_largest_remainders_get_what_rounding_took():
    """Shares of 6.0, 12.9 and 20.1 of 39 are what 1 : 2.15 : 3.35 come to."""
    found = counts({"a": (20, 20), "b": (43, 43), "c": (67, 67)}, 39 / (400 + 1849 + 4489))
    assert found == {"a": 6, "b": 13, "c": 20}
    # 6.1, 12.1 and 20.8 of 39: the largest layer has the largest remainder as well.
    shapes = {"a": (30, 31), "b": (60, 61), "c": (104, 104)}
    assert counts(shapes, 39 / (930 + 3660 + 10816)) == {"a": 6, "b": 12, "c": 21}


def test_what_full_layers_cannot_take_the_others_do():
    found = counts({"thin": (2, 1), "a": (50, 50), "b": (50, 150)}, 0.5)
    assert found["thin"] == 2
    assert found["a"] + found["b"] == math.floor(0.5 * (2 + 2500 + 7500)) - 2
    assert found["a"] / 100 == pytest.approx(found["b"] / 200, rel=1e-2)


def test_a_layer_is_never_left_without_a_connection():
    """Five small layers have one each, which the large one has to give."""
    shapes = {f"s{i}": (2, 2) for i in range(5)} | {"large": (40, 40)}
    assert counts(shapes, 7.5 / 1620) == {**{f"s{i}": 1 for i in range(5)}, "large": 2}
    for nothing in (shapes, {}):
        with pytest.raises(InputError, match="Density 2 is not"):
            counts(nothing, 2.0)


@pytest.mark.parametrize("value", [-0.1, 0.0, 0.5, 1.0, 1.1, 2.0])
@pytest.mark.parametrize("name", ["fraction", "until"])
def test_shares_are_from_0_to_1(name, value):
    if 0 <= value <= 1:
        Evolving(student(), 0.5, **{name: value})
        return
    with pytest.raises(InputError, match=f"{name} is {value}, not from 0 to 1"):
        Evolving(student(), 0.5, **{name: value})


@pytest.mark.parametrize("interval", [-1, 0, 1, 2])
def test_an_interval_is_a_step_at_least(interval):
    if interval > 0:
        Evolving(student(), 0.5, interval=interval)
        return
    with pytest.raises(InputError, match=f"interval is {interval}, not 1 or more"):
        Evolving(student(), 0.5, interval=interval)


@pytest.mark.parametrize(
    ("interval", "steps"), [(None, 40), (None, 44), (None, 1500), (3, 40), (1, 10)]
)
def test_fewer_connections_move_each_round_by_half_a_cosine(interval, steps):
    network = student("mlp-30-20")
    pruner = Evolving(network, 0.4, interval=interval)
    every = interval or min(100, int(0.75 * steps) // 11)
    rounds = int(0.75 * steps) // every
    held = {n: int(m.sum()) for n, m in pruner.masks.items()}
    for step in (s for s in range(steps) if s % every < 2):
        for weight in weights(network).values():
            weight.grad = torch.rand(weight.shape) - 0.5
        old = {n: m.clone() for n, m in pruner.masks.items()}
        pruner.after_backward(step, steps)
        number, rest = divmod(step, every)
        for name, mask in pruner.masks.items():
            moved = int((mask & ~old[name]).sum())
            share = 0.15 * (1 + math.cos(math.pi * number / rounds))
            turn = step > 0 and rest == 0 and number <= rounds
            idle = mask.numel() - held[name]
            assert moved == (min(int(share * held[name]), idle, held[name] - 1) if turn else 0)
            assert int(mask.sum()) == held[name]
            gradient = weights(network)[name].grad
            assert (gradient[~mask] == 0).all()
            assert (gradient[mask & ~old[name]] == 0).all()
            assert (gradient[mask & old[name]] != 0).all()
        pruner.after_step(torch.optim.SGD(network.parameters(), lr=0.1))


def test_connections_start_as_asked_by_chance_or_by_magnitude():
    network = student("mlp-30-20")
    found = arrays(network)
    kept = counts({n: w.shape for n, w in found.items()}, 0.3)
    large = Evolving(network, 0.3, start="magnitude").masks
    for name, mask in large.items():
        size = np.abs(found[name])
        assert int(mask.sum()) == kept[name]
        assert size[mask.numpy()].min() >= size[~mask.numpy()].max()
    chance = Evolving(student("mlp-30-20"), 0.3).masks
    again = Evolving(student("mlp-30-20"), 0.3).masks
    assert all(torch.equal(chance[n], again[n]) for n in chance)
    assert any(not torch.equal(chance[n], large[n]) for n in chance)


# --- sbc


def test_the_shares_of_layers_are_lamps():
    network = student()
    chosen = masks.choose({n: lamp(w) for n, w in weights(network).items()}, 0.6)
    x = torch.randint(0, 17, (40, 1, 4, 4))
    Sbc(network, 0.6, x).finish()
    for name, weight in arrays(network).items():
        assert (weight != 0).sum() == int(chosen[name].sum())


@pytest.mark.parametrize("keep", [1, 20])
def test_a_round_takes_a_third_of_what_is_left_or_as_many_as_have_to_go(monkeypatch, keep):
    left, solve = [], sbc._solve

    def see(mask, hessian, pull):
        left.append(int(mask.sum()))
        return solve(mask, hessian, pull)

    monkeypatch.setattr(sbc, "_solve", see)
    weight = torch.randn(10, 9, dtype=torch.float64)
    surgeon(weight, torch.eye(9, dtype=torch.float64), keep, torch.ones(10, dtype=torch.float64))
    wanted, now = [], 90
    while now > keep:
        now -= min(now - keep, math.ceil(now / 3))
        wanted.append(now)
    assert left == wanted


def test_blocks_of_rows_are_solved_as_one_by_one(monkeypatch):
    """Rows of other numbers of connections go together, as many as a block holds."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    hessian = damped(mix.T @ mix)
    weight = torch.randn(7, 8, generator=generator, dtype=torch.float64)
    mask = torch.rand(7, 8, generator=generator) < torch.linspace(0, 1, 7)[:, None]
    for elements in (1, 130, 1 << 24):
        monkeypatch.setattr(sbc, "ELEMENTS", elements)
        found, cost = sbc._solve(mask, hessian, weight @ hessian)
        for row in range(7):
            at = mask[row].nonzero()[:, 0]
            inverse = torch.linalg.inv(hessian[at][:, at])
            best = inverse @ (weight[row] @ hessian)[at]
            torch.testing.assert_close(found[row, at], best)
            torch.testing.assert_close(cost[row, at], best**2 / (2 * inverse.diagonal()))
            assert (found[row, ~mask[row]] == 0).all()


def test_damping_is_a_hundredth_of_the_mean_diagonal():
    square = torch.tensor([[3.0, 1.0], [1.0, 5.0]], dtype=torch.float64)
    wanted = square + 0.04 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(damped(square), wanted)
    torch.testing.assert_close(damped(square / 100), wanted / 100)
    torch.testing.assert_close(damped(0 * square), torch.eye(2, dtype=torch.float64))


def test_a_rows_batch_norm_scales_its_cost():
    """With the identity for H a weight is as dear as its square times its row's gain."""
    network = student()
    network.get_submodule("fc2").norm.eps = 0.3
    layer = next(x for x in listed(network) if x.name == "fc2.weight")
    x = torch.randint(0, 17, (64, 1, 4, 4))
    (hessian,) = hessians(network, layer, x)
    norm = layer.norm
    gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    before = layer.weight.weight.detach().double().clone()
    keep = int(masks.choose({n: lamp(w) for n, w in weights(network).items()}, 0.5)[
        "fc2.weight.weight"
    ].sum())  # fmt: skip
    wanted, _ = surgeon(before, damped(hessian), keep, gain)
    sbc._prune(network, layer, keep, x)
    torch.testing.assert_close(layer.weight.weight.detach().double(), wanted, rtol=1e-5, atol=1e-6)


def test_samples_in_batches_have_the_hessian_of_all():
    network = student()
    x = torch.randint(0, 17, (150, 1, 4, 4))
    for layer in listed(network):
        whole = hessians(network, layer, x)
        parts = [hessians(network, layer, part) * len(part) for part in (x[:11], x[11:])]
        torch.testing.assert_close(whole, sum(parts) / 150, rtol=1e-5, atol=1e-5)


# --- what all share


def test_sparsity_is_the_share_of_weights_that_are_zero():
    one = nn.Linear(1, 1)
    nn.init.zeros_(one.weight)
    assert masks.sparsity(one) == 1.0
    assert masks.sparsity(nn.ReLU()) == 0.0
    both = nn.Sequential(one, nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    assert masks.sparsity(both) == 0.25


@pytest.mark.parametrize("name", ["magnitude", "layerwise", "lamp"])
def test_a_gradual_pruner_goes_on_from_what_it_kept(name):
    """The masks, and the share of zeros that its schedule began with."""
    network = at_once(student(), 0.2)
    pruner = find_pruner(name).build(Plan(network, 0.9, 8))
    for epoch in range(2):
        pruner.before_epoch(epoch)
    again = find_pruner(name).build(Plan(network, 0.9, 8))
    again.restore(pruner.state())
    for epoch in (2, 3):
        pruner.before_epoch(epoch)
        found = {n: w.copy() for n, w in arrays(network).items()}
        again.before_epoch(epoch)
        assert all((found[n] == w).all() for n, w in arrays(network).items())
        assert pruner.state().keys() == again.state().keys()
        assert all(torch.equal(v, again.state()[k]) for k, v in pruner.state().items())


# --- the rows


@pytest.mark.parametrize("name", ["magnitude", "lamp", "channels", "upr", "gradr", "sbc", "evolve"])
def test_a_row_builds_what_it_says(name):
    network = student("mlp-60-40")
    x = torch.randint(0, 17, (40, 1, 4, 4))
    pruner = find_pruner(name).build(Plan(network, 0.75, 4, 5, 2e-3, 7, x))
    pruner.finish()
    assert masks.sparsity(network) == pytest.approx(0.75, abs=0.02)
    assert find_pruner(name).trains == (name != "sbc")
