"""Losses: each method's, in NumPy as its page in ``docs/methods`` writes it, against ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import seeds
from torch.nn import functional

from snn2hw.train.methods import METHODS, Cost, Objective, Outputs, Weights, plan
from snn2hw.train.methods.outputs import Means

# Those that take the share alpha from the labels (docs/methods/README.md).
SHARING = {"kd", "hetero", "sakd", "reverse", "trains"}


class Batch:
    """Logits of both sides over time, features of three stages, labels; all at random."""

    def __init__(self, seed, steps, teacher_steps=1):
        r = np.random.default_rng(seed)
        samples, classes = int(r.integers(1, 5)), int(r.integers(2, 5))
        self.z = r.normal(0, 2, (steps, samples, classes))
        self.taught = r.normal(0, 2, (teacher_steps, samples, classes))
        self.y = r.integers(0, classes, samples)
        channels = r.integers(1, 4, 2)
        self.mine = [r.random((samples, channels[0], 4, 2)) for _ in range(3)]
        self.theirs = [r.normal(size=(samples, channels[1], 8, 4)) for _ in range(3)]
        self.theirs[1] = r.normal(size=(samples, channels[1], 2, 1))
        if seed % 3:  # a flat student, and its last stage's teacher
            self.mine = [r.random((samples, n)) for n in (2, 3, 4)]
        if seed % 3 == 2:
            self.theirs[2] = r.normal(size=(samples, 5))
        self.weights = Weights(
            *r.uniform(0.1, 0.9, 1), *r.uniform(0.5, 4, 2), *r.uniform(0, 0.3, 1),
            *r.uniform(0.1, 2, 1), int(r.integers(1, 4)), 0.0, *r.uniform(0.1, 2, 2),
            *r.uniform(0.5, 4, 1), *r.uniform(0.1, 2, 3), *r.uniform(0, 1, 1),
        )  # fmt: skip

    def parts(self, text):
        """What ours gives for each part, and the heads that it built for it."""
        student = Outputs(torch.tensor(self.z), features_of(self.mine))
        teacher = Outputs(torch.tensor(self.taught), features_of(self.theirs))
        torch.manual_seed(self.y.size)  # of the heads
        objective = Objective(plan(text), self.weights)
        objective.prepare(student, teacher)
        objective.double()
        found = objective(student, teacher, torch.tensor(self.y))
        return {k: v.item() for k, v in found.items()}, objective.heads


def features_of(arrays):
    return {f"stage{i}": torch.tensor(a) for i, a in enumerate(arrays)}


def p(z, tau):
    e = np.exp((z - z.max(-1, keepdims=True)) / tau)
    return e / e.sum(-1, keepdims=True)


def kl(target, found):
    """Sum of p log(p / q) over classes, mean over the rest."""
    return (target * np.log(target / found)).sum(-1).mean()


def ce(z, y, smoothing):
    spread = np.full(z.shape, smoothing / z.shape[-1])
    spread[np.arange(len(y)), y] += 1 - smoothing
    return -(spread * np.log(p(z, 1))).sum(-1)


def hard(b, z):
    return ce(z, b.y, b.weights.smoothing).mean()


def kd(b, tau_s, tau_t):
    z, taught = b.z.mean(0), b.taught.mean(0)
    return b.weights.alpha * tau_t * tau_s * kl(p(taught, tau_t), p(z, tau_s))


def fitted(theirs, mine):
    """Averaged down to the student's height and width, or repeated up; flat for a flat student."""
    if mine.ndim == 2:
        return theirs.reshape(*theirs.shape[:2], -1).mean(2)
    for axis in (2, 3):
        big, small = theirs.shape[axis], mine.shape[axis]
        if big >= small:
            shape = (*theirs.shape[:axis], small, big // small, *theirs.shape[axis + 1 :])
            theirs = theirs.reshape(shape).mean(axis + 1)
        else:
            theirs = theirs.repeat(small // big, axis)
    return theirs


def relative(found, wanted):
    return ((found - wanted) ** 2).sum() / (wanted**2).sum()


def mapped(layer, x):
    """A 1x1 convolution, or a dense layer."""
    weight, bias = (t.detach().numpy() for t in (layer.weight, layer.bias))
    if x.ndim == 2:
        return x @ weight.T + bias
    return np.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x) + bias[None, :, None, None]


def aligned(b, heads):
    """Mean of D over the last stages, the last with the last."""
    found = []
    for at in range(b.weights.stages):
        mine = b.mine[-1 - at]
        wanted = fitted(b.theirs[-1 - at], mine)
        found.append(relative(mapped(heads[f"align{at}"].map, mine), wanted))
    return np.mean(found)


def restored(b, heads):
    """As ``aligned``, through G; no channel is hidden, as ``blur`` is 0."""
    found = []
    for at in range(b.weights.stages):
        mine, head = b.mine[-1 - at], heads[f"restore{at}"]
        inner = torch.tensor(mapped(head.align, mine))
        for layer, last in ((head.first, False), (head.second, True)):
            if mine.ndim == 2:
                inner = functional.linear(inner, layer.weight, layer.bias)
            else:
                inner = functional.conv2d(inner, layer.weight, layer.bias, padding=1)
            inner = inner if last else inner.clamp_min(0)
        found.append(relative(inner.detach().numpy(), fitted(b.theirs[-1 - at], mine)))
    return np.mean(found)


def weighted(b):
    z, taught, tau = b.z.mean(0), b.taught.mean(0), b.weights.tau_teacher
    w = 1 - np.exp(-ce(z, b.y, 0) / ce(taught, b.y, 0))
    each = (p(taught, tau) * np.log(p(taught, tau) / p(z, tau))).sum(-1)
    return b.weights.alpha * tau**2 * (w * each).mean()


def each_step(b):
    tau, taught = b.weights.tau_steps, b.taught.mean(0)
    return b.weights.step_weight * tau**2 * np.mean([kl(p(taught, tau), p(z, tau)) for z in b.z])


def ensemble(b):
    """The mean of the steps that are right; uniform where none is."""
    tau = b.weights.tau_steps
    whole = np.zeros(b.z.shape[1:])
    for i, label in enumerate(b.y):
        right = [z[i] for z in b.z if z[i].argmax() == label]
        whole[i] = np.mean(right, axis=0) if right else 0.0
    return b.weights.ensemble_weight * tau**2 * np.mean([kl(p(whole, tau), p(z, tau)) for z in b.z])


def agree(b):
    tau = b.weights.tau_teacher
    sure = [p(z, 1).max(-1).mean() for z in b.z]
    strong, weak = b.z[np.argmax(sure)], b.z[np.argmin(sure)]
    return b.weights.agree_weight * tau**2 * kl(p(strong, tau), p(weak, tau))


def trains(b, heads):
    taught = b.taught
    if len(taught) > len(b.z):
        taught = taught.reshape(len(b.z), -1, *taught.shape[1:]).mean(1)
    elif len(taught) < len(b.z):
        taught = taught.repeat(len(b.z) // len(taught), 0)
    traces = []
    for train in (b.z, taught):
        f, kept = np.zeros(train.shape[1:]), []
        for now in train:
            f = b.weights.spike_memory * f + now
            kept.append(f)
        traces.append(np.array(kept))
    return b.weights.train_weight * (relative(*traces) + aligned(b, heads))


def response(b, _heads):
    return {"response": kd(b, b.weights.tau_teacher, b.weights.tau_teacher)}


def features(b, heads):
    return {"features": b.weights.feature_weight * aligned(b, heads)}


def nothing(_b, _heads):
    """What the method does is not in the loss."""
    return {}


# The parts of each method's loss beside the labels, by the names that logs show.
WRITTEN = {
    "none": nothing,
    "kd": response,
    "hetero": lambda b, _: {"heterogeneous": kd(b, b.weights.tau_student, b.weights.tau_teacher)},
    "features": features,
    "sakd": lambda b, heads: response(b, heads) | features(b, heads),
    "reverse": response,
    "blurred": lambda b, heads: {
        "weighted_response": weighted(b),
        "blurred": b.weights.feature_weight * restored(b, heads),
    },
    "steps": lambda b, _: {"each_step": each_step(b), "ensemble": ensemble(b)},
    "agree": lambda b, _: {"agreeing_steps": agree(b)},
    "logits": lambda b, _: {"small_logits": b.weights.logit_weight * (b.z.mean(0) ** 2).mean()},
    "trains": lambda b, heads: response(b, heads) | {"spike_trains": trains(b, heads)},
    "tandem": nothing,
    "dsr": nothing,
}


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=15)
@given(seeds, st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]))
def test_a_methods_loss_is_what_its_page_says(name, seed, steps, teacher_steps):
    batch = Batch(seed, steps, teacher_steps)
    found, heads = batch.parts(name)
    kept = 1 - batch.weights.alpha if name in SHARING else 1.0
    z = batch.z if name == "steps" else batch.z.mean(0, keepdims=True)
    wanted = {"labels": kept * np.mean([hard(batch, step) for step in z])}
    wanted |= WRITTEN[name](batch, heads)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@settings(max_examples=20)
@given(seeds, st.floats(0.1, 3.0), st.sampled_from([0.0, 0.3, 1e6]))
def test_what_spikes_cost_is_what_its_page_says(seed, weight, budget):
    """With r the mean spikes of N neurons that reach c synapses each."""
    r = np.random.default_rng(seed)
    steps, samples = r.integers(1, 5, 2)
    shapes = {"a": (2, 3), "b": (5,), "free": (4,)}
    spikes = {k: r.integers(0, 2, (steps, samples, *s)) for k, s in shapes.items()}
    unit = 10.0 ** r.integers(-4, 3)
    prices = {"a": unit * r.uniform(1, 9), "b": unit * r.uniform(1, 9), "gone": 3.0}
    spent = {k: prices[k] * spikes[k][0, 0].size * spikes[k].mean() for k in ("a", "b")}
    most = {k: prices[k] * spikes[k][0, 0].size for k in ("a", "b")}
    budget *= steps * sum(most.values())
    wanted = weight * sum(spent.values()) / sum(most.values())
    if budget:
        wanted = weight * max(0.0, steps * sum(spent.values()) / budget - 1)
    found = Cost(weight, prices, budget)({k: torch.tensor(s) for k, s in spikes.items()})
    assert found.item() == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_a_budget_that_is_exceeded_weighs_more_each_epoch():
    ones = {"a": torch.ones(3, 2, 4)}
    student = Outputs(torch.zeros(3, 2, 5), {}, ones)
    objective = Objective(cost=Cost(0.5, {"a": 2.0}, budget=12.0))  # 24 are spent
    charged = []
    for excess in (0.1, 0.0, 0.2, -0.1):
        charged.append(objective(student, None, torch.zeros(2, dtype=torch.int64))["cost"].item())
        objective.after_epoch({"cost": excess})
    charged.append(objective.pressure.item() * 0.5)
    assert charged == pytest.approx([0.5, 0.75, 0.75, 1.125, 1.125])
    free = Objective(cost=Cost(0.5, {"a": 2.0}))
    free.after_epoch({"cost": 0.3})
    assert free.pressure == 1.0


def test_only_methods_with_heads_look_at_stages():
    weights = Weights(stages=3)
    looking = {n for n in METHODS if Objective(plan(n), weights).stages}
    assert looking == {"features", "sakd", "blurred", "trains"}
    assert Objective(plan("kd+features"), weights).stages == 3


def test_a_mean_over_time_is_that_of_spikes():
    series = {"a": torch.rand(5, 2, 3, dtype=torch.float64).round(), "b": torch.ones(4, 1)}
    means = Means(series)
    assert list(means) == ["a", "b"]
    assert len(means) == 2
    assert means["a"].dtype == torch.float32
    np.testing.assert_allclose(means["a"].numpy(), series["a"].numpy().sum(0) / 5)


def test_a_channel_is_hidden_as_often_as_said_and_the_others_stay_as_they_are():
    torch.manual_seed(0)
    mine = torch.rand(400, 6, 3, 2) + 0.5
    student = Outputs(torch.zeros(1, 400, 2), {"a": mine})
    teacher = Outputs(torch.zeros(1, 400, 2), {"a": torch.rand(400, 3, 3, 2)})
    objective = Objective(plan("blurred"), Weights(blur=0.2))
    objective.prepare(student, teacher)
    seen = []
    objective.heads["restore0"].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    objective(student, teacher, torch.zeros(400, dtype=torch.int64))
    hidden = (seen[0] == 0).flatten(2).all(2)
    assert abs(hidden.float().mean() - 0.2) < 4 * (0.2 * 0.8 / 2400) ** 0.5
    torch.testing.assert_close(seen[0][~hidden], mine[~hidden])


def test_without_constants_of_ones_own_a_loss_has_those_of_its_page():
    """``kd``: 0.7 of the teacher's response at a temperature of 2."""
    batch = Batch(5, 1)
    batch.weights = Weights()
    z, t = batch.z[0], batch.taught[0]
    response = (p(t, 2) * (np.log(p(t, 2)) - np.log(p(z, 2)))).sum(-1).mean()
    found, _ = batch.parts("kd")
    assert found["response"] == pytest.approx(0.7 * 4 * response)
