"""Pruners: the sparsity that was asked for, zeros that stay, and a plain network at the end."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snn2hw import datasets, train
from snn2hw.errors import InputError, Interrupted
from snn2hw.train.pruning import PRUNERS, Plan, at_once, find_pruner, masks, sparsity, weights
from snn2hw.train.pruning.gradr import center
from snn2hw.train.pruning.gradual import Gradual, lamp, layerwise, magnitude
from snn2hw.train.students import Settings, make_student

SETTINGS = Settings((1, 8, 8), 10, 16, 2, width=0.5)
RECIPE = train.defaults(
    "cnn", method="none", time_steps=2, epochs=1, prune_epochs=5, width=0.25, batch=32
)


def student(name="cnn", seed=0):
    torch.manual_seed(seed)
    return make_student(name, SETTINGS)


def total(network):
    return sum(w.numel() for w in weights(network).values())


def zeros(network):
    return sum(int((w == 0).sum()) for w in weights(network).values())


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits").subset(96, 40)


def drive(structure, network, epochs, steps=3, watch=lambda _step: None):
    """Do with random samples what the loop does."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    for epoch in range(epochs):
        structure.before_epoch(epoch)
        for step in range(epoch * steps, (epoch + 1) * steps):
            x = torch.randint(0, 17, (8, 1, 8, 8), generator=generator)
            y = torch.randint(0, 10, (8,), generator=generator)
            loss = torch.nn.functional.cross_entropy(network(x), y)
            penalty = structure.penalty()
            optimizer.zero_grad()
            (loss if penalty is None else loss + penalty).backward()
            structure.after_backward(step, epochs * steps)
            optimizer.step()
            structure.after_step(optimizer)
            watch(step)
    structure.finish()
    return optimizer


def built(how, network, share, epochs=5):
    samples = torch.randint(0, 17, (24, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    return find_pruner(how).build(Plan(network, share, epochs, 3, 5e-3, 0, samples))


def test_lamp_scores_by_hand():
    found = lamp(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    expected = torch.tensor([[1 / 14, 4 / 13], [1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.floats(0.0, 0.999),
    st.floats(0.0, 0.999),
    st.integers(0, 99),
    st.sampled_from([lamp, magnitude, layerwise]),
)
@settings(max_examples=60, deadline=None)
def test_shares_are_exact_and_nested_and_no_layer_dies(sizes, first, second, seed, scores):
    generator = torch.Generator().manual_seed(seed)
    layers = {
        str(i): torch.randn(n, generator=generator) * 10.0 ** (2 * i) for i, n in enumerate(sizes)
    }
    found = {n: scores(w) for n, w in layers.items()}
    low, high = sorted((first, second))
    try:
        early = masks.choose(found, low)
        late = masks.choose(found, high, early)
    except InputError:
        assert math.ceil(high * sum(sizes)) > sum(sizes) - sum(math.ceil(0.02 * n) for n in sizes)
        return
    for share, chosen in ((low, early), (high, late)):
        gone = sum(int((~m).sum()) for m in chosen.values())
        assert gone == math.ceil(share * sum(sizes) - 1e-6)
        assert all(m.any() for m in chosen.values())
        for name, mask in chosen.items():
            if not mask.all():
                assert layers[name].abs()[mask].min() >= layers[name].abs()[~mask].max()
    assert all((early[n] | ~late[n]).all() for n in early)


@given(st.integers(1, 14), st.floats(0.0, 0.9), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_neuron_keeps_more_inputs_than_it_may(most, share, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv": (6, 4, 3, 3), "dense": (5, 12)}
    layers = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    found = {n: magnitude(w) for n, w in layers.items()}
    chosen = masks.choose(found, share, None, {"dense": most})
    for mask, weight in zip(chosen["dense"], layers["dense"], strict=True):
        assert mask.sum() <= most
        if mask.any() and not mask.all():
            assert weight.abs()[mask].min() >= weight.abs()[~mask].max()
    gone = sum(int((~m).sum()) for m in chosen.values())
    assert gone == max(math.ceil(share * 276 - 1e-6), 5 * max(0, 12 - most))


def test_a_pool_in_front_multiplies_a_neurons_inputs():
    network = make_student("resnet8", Settings((3, 32, 32), 10, 255, 2))
    assert masks.most_inputs(network, 700) == {"fc.weight.weight": 700 // 8**2}
    structure = find_pruner("lamp").build(Plan(network, 0.5, 4, inputs=700))
    for epoch in range(4):
        structure.before_epoch(epoch)
        assert (network.get_submodule("fc").weight.weight != 0).sum(1).max() <= 10
    structure.finish()
    assert sparsity(network) >= 0.5


def test_only_gradual_pruners_count_inputs(digits):
    with pytest.raises(InputError, match="magnitude or layerwise or lamp"):
        train.prune_student(student(), None, RECIPE, 0.5, 1, digits, how="upr", inputs=9)


def test_layerwise_takes_the_same_share_of_each():
    found = {n: layerwise(w) for n, w in weights(student()).items()}
    for mask in masks.choose(found, 0.6).values():
        assert abs(float((~mask).sum()) - 0.6 * mask.numel()) <= 2


@pytest.mark.parametrize("share", [-0.1, 1.0, 0.99999, float("nan")])
@pytest.mark.parametrize("how", [h for h in PRUNERS if h != "evolve"])
def test_impossible_shares_are_refused(how, share):
    network = student()
    with pytest.raises(InputError, match=r"[Ss]parsity"):
        built(how, network, share)
    assert network.state_dict().keys() == student().state_dict().keys()


def test_schedule_rises_to_the_end():
    shares = [masks.scheduled(e, 4, 0.1, 0.8) for e in range(6)]
    assert shares == sorted(shares)
    assert shares[3:] == [0.8, 0.8, 0.8]
    assert shares[0] > 0.1


@given(st.integers(1, 9), st.integers(0, 10), st.integers(0, 99), st.integers(0, 99))
def test_the_schedule_is_cubic(ramp, epoch, start, final):
    """What is still to go falls as the cube of the part of the ramp that is left."""
    done = min(Fraction(epoch + 1, ramp), Fraction(1))
    wanted = Fraction(final, 100) - Fraction(final - start, 100) * (1 - done) ** 3
    found = masks.scheduled(epoch, ramp, start / 100, final / 100)
    assert found == pytest.approx(float(wanted), abs=1e-12)


@pytest.mark.parametrize("how", ["magnitude", "layerwise", "lamp"])
@pytest.mark.parametrize("epochs", [1, 2, 7, 8])
def test_gradual_pruners_follow_the_schedule_over_half_of_the_epochs(how, epochs):
    network = at_once(student(), 0.25)
    ramp = max(1, epochs // 2)
    pruner = built(how, network, 0.9, epochs)
    for epoch in range(epochs):
        pruner.before_epoch(epoch)
        left = Fraction(max(ramp - epoch - 1, 0), ramp) ** 3
        first = Fraction(math.ceil(total(network) / 4), total(network))
        wanted = Fraction(9, 10) - (Fraction(9, 10) - first) * left
        assert zeros(network) == math.ceil(wanted * total(network) - Fraction(1, 10**6))


@given(st.integers(30, 400), st.integers(30, 400), st.integers(1, 99), st.booleans())
def test_two_percent_of_a_layer_stay_or_half_of_what_is_kept_of_all(small, large, percent, first):
    """Also of a layer whose weights are all less than those of another; one at the least."""
    generator = torch.Generator().manual_seed(small)
    low = torch.rand(small, generator=generator)
    layers = {"low": low, "high": 1.0 + torch.rand(large, generator=generator)}
    if not first:
        layers = dict(reversed(layers.items()))
    share = Fraction(percent, 100)
    floor = min(Fraction(2, 100), (1 - share) / 2)
    # A float may be a little above a whole number.
    assume(percent <= 96 or all((floor * n).denominator > 1 for n in (small, large)))
    stay = {n: max(1, math.ceil(floor * w.numel())) for n, w in layers.items()}
    gone = math.ceil(share * (small + large))
    if gone > small + large - sum(stay.values()):
        with pytest.raises(InputError, match="empty") as refused:
            masks.choose(layers, float(share))
        most = Fraction(small + large - sum(stay.values()), small + large)
        assert f"The most is {math.floor(most * 10**5) / 10**5:g}." in str(refused.value.hint)
        return
    chosen = masks.choose(layers, float(share))
    assert int((~chosen["low"]).sum()) == min(gone, small - stay["low"])
    assert int((~chosen["high"]).sum()) == max(0, gone - (small - stay["low"]))


@pytest.mark.parametrize("epochs", [1, 5])
@pytest.mark.parametrize("how", PRUNERS)
def test_what_is_left_is_plain_and_as_sparse_as_asked(how, epochs):
    network, share = student(), 0.87
    before = network.state_dict().keys()
    kinds = [type(m) for m in masks.layers(network).values()]
    pruner = built(how, network, share, epochs)
    drive(pruner, network, epochs)
    asked = math.ceil(share * total(network))
    if how == "channels":  # one channel more at most: with its weights in and out
        assert asked <= zeros(network) <= asked + 600
    elif how == "evolve":  # a connection that came late may not have learned anything
        assert sum(int((~m).sum()) for m in pruner.masks.values()) == asked
        assert asked <= zeros(network) <= asked + 200
    else:
        assert zeros(network) == asked
    assert all((w != 0).any() for w in weights(network).values())
    assert network.state_dict().keys() == before
    assert [type(m) for m in masks.layers(network).values()] == kinds
    fresh = student(seed=1)
    fresh.load_state_dict(network.state_dict())
    for one, two in zip(
        *(train.to_network(n).nodes.items() for n in (network, fresh)), strict=True
    ):
        assert one[0] == two[0]
        kernels = [getattr(n, "kernel", n) for n in (one[1], two[1])]
        if hasattr(kernels[0], "weight"):
            assert (kernels[0].weight == kernels[1].weight).all()
            held = network.get_submodule(one[0]).weight.weight.detach().numpy()
            assert ((kernels[0].weight == 0) == (held == 0)).all()


@pytest.mark.parametrize("how", PRUNERS)
def test_zeros_stay_zeros_while_weights_learn(how):
    network, seen = student(), []

    def watch(_step):
        seen.append({n: w.detach().clone() for n, w in weights(network).items()})

    pruner = built(how, network, 0.8, 5)
    drive(pruner, network, 5, watch=watch)
    tail = seen[-4:]  # fine-tuning, in every pruner
    for name, last in tail[-1].items():
        for earlier in tail[:-1]:
            if how == "evolve":  # a late connection may be zero, and learn yet
                assert (earlier[name][~pruner.masks[name]] == 0).all()
            else:
                assert ((earlier[name] == 0) == (last == 0)).all()
        assert not torch.equal(tail[0][name], last)
        assert torch.equal(weights(network)[name], last)


@pytest.mark.parametrize("how", ["magnitude", "layerwise", "lamp", "channels"])
def test_what_went_does_not_come_back(how):
    network, gone = student(), []

    def watch(_step):
        gone.append({n: w == 0 for n, w in weights(network).items()})

    drive(built(how, network, 0.8, 6), network, 6, watch=watch)
    for earlier, later in itertools.pairwise(gone):
        assert all((later[n] | ~earlier[n]).all() for n in earlier)
    shares = [sum(int(m.sum()) for m in g.values()) for g in gone]
    assert shares[0] < shares[-1]


class StopAt:
    """Presses Ctrl-C once, at a step of pruning."""

    def __init__(self, step):
        self.step = step

    def update(self, stage, done, total, **_info):
        if (stage, done) == ("prune", self.step):
            self.step = -1
            raise KeyboardInterrupt


@pytest.mark.parametrize("how", PRUNERS)
def test_resumed_pruning_ends_the_same(how, tmp_path, digits):
    network = train.new_student(RECIPE, digits)
    arguments = (network, None, RECIPE, 0.8, 5, digits)
    one = train.prune_student(*arguments, how=how).state_dict()
    # Of 15 steps; learned masks are still soft at 8, and settled at 13.
    for step in (8, 13) if how in ("upr", "gradr") else (8,):
        folder, stop = tmp_path / str(step), StopAt(step)
        with pytest.raises(Interrupted):
            train.prune_student(*arguments, folder, stop, how=how)
        two = train.prune_student(*arguments, folder, stop, how=how).state_dict()
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)
        assert sparsity(train.load_student(folder)) >= 0.8


@pytest.fixture(scope="module")
def reader():
    """A student that reads digits, its data and its recipe."""
    data = datasets.load("digits").subset(400, 200)
    recipe = train.defaults(
        "cnn", method="none", time_steps=3, epochs=6, prune_epochs=3, width=0.5, shift=0, batch=32
    )
    return train.distill_student(recipe, data, None), data, recipe


@pytest.mark.parametrize("how", PRUNERS)
def test_digits_are_still_read(how, reader):
    trained, data, recipe = reader
    pruned = train.prune_student(trained, None, recipe, 0.7, None, data, how=how)
    found = train.evaluate(pruned, data.x_test, data.y_test).accuracy
    dense = train.evaluate(trained, data.x_test, data.y_test).accuracy
    assert found > dense - 0.25
    if how == "sbc":  # without any training
        once = at_once(trained, 0.7, "lamp")
        assert found > train.evaluate(once, data.x_test, data.y_test).accuracy


def test_an_unknown_pruner_is_said():
    with pytest.raises(InputError, match="gradr"):
        find_pruner("grad")


def test_other_networks_are_pruned_too():
    for how in PRUNERS:
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
        )
        forward, network.forward = network.forward, lambda x, f=network.forward: f(x.float())
        assert forward is not None
        if how == "channels":
            with pytest.raises(InputError, match="another pruner"):
                built(how, network, 0.7)
            continue
        drive(built(how, network, 0.7), network, 5)
        assert zeros(network) == math.ceil(0.7 * total(network))


def test_a_sparse_network_starts_where_it_is():
    network = at_once(student(), 0.5)
    pruner = Gradual(network, 0.8, 4)
    pruner.before_epoch(0)
    assert 0.5 < sparsity(network) < 0.8


def test_strengths_come_back_by_their_gradient():
    network = at_once(student(), 0.5)
    before = {n: w.detach().clone() for n, w in weights(network).items()}
    pruner = built("gradr", network, 0.8)
    for name, weight in weights(network).items():
        torch.testing.assert_close(weight.detach(), before[name])
    network(torch.randint(0, 17, (8, 1, 8, 8))).sum().backward()
    for name in masks.layers(network):
        zero = before[f"{name}.weight"].flatten() == 0
        if zero.any():
            assert (pruner.original(name).grad[zero] != 0).any()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_the_priors_center_is_where_the_share_lies_below_zero(share):
    mu = torch.tensor(center(share, 0.3), dtype=torch.float64)
    laplace = torch.distributions.Laplace(mu, torch.tensor(0.3, dtype=torch.float64))
    assert float(laplace.cdf(torch.tensor(0.0, dtype=torch.float64))) == pytest.approx(share)


def test_masks_begin_where_the_network_was_and_end_as_steps():
    network = student()
    before = {n: w.detach().clone() for n, w in weights(network).items()}
    pruner = built("upr", network, 0.8)
    for name, weight in weights(network).items():
        torch.testing.assert_close(weight.detach(), before[name])
    first = pruner.penalty()
    first.backward()
    masked = [m for m in pruner.modules.values() if m.neuron_mask is not None]
    assert len(masked) == 3  # all but the one that hears the input
    assert all((m.neuron_mask.grad > 0).all() for m in masked)
    with torch.no_grad():
        for name, module in pruner.modules.items():
            module.lower(pruner.original(name), 10.0)
    assert pruner.penalty() < first
    pruner.cut()
    assert pruner.penalty() is None
    for name, module in pruner.modules.items():
        assert ((network.get_submodule(name).weight != 0) <= module.keep).all()
