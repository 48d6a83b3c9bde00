import itertools

import pytest
import torch
from torch.nn import functional

from snn2hw.errors import InputError
from snn2hw.train import evaluation, teachers
from snn2hw.train.evaluation import Teaching, outputs_of
from snn2hw.train.methods import METHODS, Cost, Objective, Outputs, Weights, losses, plan, watch
from snn2hw.train.methods.losses import divergence
from snn2hw.train.rates import rate_outputs
from snn2hw.train.students import Settings, make_student

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=torch.float64)
TAUGHT = torch.tensor([[2.0, 5.0, 1.0], [1.0, 0.0, 4.0]], dtype=torch.float64)
LABELS = torch.tensor([1, 2])
STUDENT, TEACHER = Outputs(LOGITS[None]), Outputs(TAUGHT[None])


def _loss(text, weights, student=STUDENT, teacher=TEACHER):
    parts = Objective(plan(text), weights)(student, teacher, LABELS)
    return sum(p.double() for p in parts.values())


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
    assert _loss("kd", w) == _loss("hetero", w)
    other = w._replace(tau_student=1.0)
    assert _loss("kd", other) == _loss("kd", w)
    assert _loss("hetero", other) != _loss("hetero", w)


def test_without_weights_all_methods_are_labels_only():
    hard = functional.cross_entropy(LOGITS, LABELS).item()
    none = Weights(
        alpha=0.0, feature_weight=0.0, step_weight=0.0, ensemble_weight=0.0, agree_weight=0.0,
        logit_weight=0.0, train_weight=0.0,
    )  # fmt: skip
    features = {"a": torch.rand(2, 4, dtype=torch.float64)}
    pair = [Outputs(z[None], features) for z in (LOGITS, TAUGHT)]
    for name in METHODS:
        objective = Objective(plan(name), none)
        objective.prepare(*pair)
        objective.double()
        parts = objective(*pair, LABELS)
        assert sum(p.item() for p in parts.values()) == pytest.approx(hard), name


def test_methods_add_up():
    w = Weights(0.6, 3.0, 1.0)
    both = _loss("hetero+logits", w)
    small = w.logit_weight * LOGITS.square().mean()
    assert both == pytest.approx(float(_loss("hetero", w) + small))


def test_labels_are_smoothed():
    w = Weights(smoothing=0.1)
    expected = functional.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    assert _loss("none", w) == pytest.approx(float(expected))


def test_one_step_is_the_mean_of_one():
    steps = torch.stack([LOGITS, TAUGHT, LOGITS + 1.0])
    w = Weights(step_weight=0.0, ensemble_weight=0.0)
    each = _loss("steps", w, Outputs(steps))
    expected = [functional.cross_entropy(z, LABELS) for z in steps]
    assert each == pytest.approx(float(torch.stack(expected).mean()))


def test_the_ensemble_is_of_right_steps():
    right = torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0]], dtype=torch.float64)
    wrong = right.flip(-1)
    w = Weights(ensemble_weight=1.0)
    same = losses.ensemble(Outputs(torch.stack([right, right])), TEACHER, LABELS, w, {})
    assert same.abs() < 1e-12
    # The first sample is right in both, the second in the first step only: that one teaches.
    z = torch.stack([right, wrong]).requires_grad_()
    losses.ensemble(Outputs(z), TEACHER, LABELS, w, {}).backward()
    assert z.grad[0].abs().max() < 1e-12
    assert z.grad[1, 1, 2] < 0 < z.grad[1, 1, 0]


def test_the_weakest_step_learns_from_the_strongest():
    z = torch.stack([LOGITS, 9.0 * LOGITS, 0.1 * LOGITS]).requires_grad_()
    losses.agreeing_steps(Outputs(z), TEACHER, LABELS, Weights(), {}).backward()
    assert [bool(g.abs().max() > 0) for g in z.grad] == [False, False, True]


def test_better_than_the_teacher_learns_less():
    w = Weights(1.0, 1.0)
    weak = losses.weighted_response(STUDENT, Outputs(5 * TAUGHT[None]), LABELS, w, {})
    full = losses.response(STUDENT, Outputs(5 * TAUGHT[None]), LABELS, w, {})
    strong = losses.weighted_response(Outputs(9 * LOGITS[None]), TEACHER, LABELS, w, {})
    assert 0.9 * full < weak <= full
    assert strong < 0.1 * losses.response(Outputs(9 * LOGITS[None]), TEACHER, LABELS, w, {})


@pytest.mark.parametrize("memory", [0.0, 0.5, 1.0])
def test_the_trace_of_a_spike_train(memory):
    steps = (torch.rand(4, 2, 3) < 0.5).float()
    apart = losses._traces(steps, memory)
    by_hand = [steps[0]]
    for s in steps[1:]:
        by_hand.append(memory * by_hand[-1] + s)
    torch.testing.assert_close(apart, torch.stack(by_hand))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("heterogenous", "hetero"),
        ("kd+hetero", "share"),
        ("none+logits", "no other"),
        ("logits+logits", "twice"),
        ("dsr+steps", "no time steps"),
    ],
)
def test_what_does_not_go_together_is_refused(text, why):
    with pytest.raises(InputError, match=why):
        plan(text)


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(InputError, match="gives 2 classes, the student 3"):
        Objective(plan("kd")).prepare(STUDENT, Outputs(TAUGHT[None, :, :2]))


def test_more_stages_than_there_are_is_refused():
    with pytest.raises(InputError, match="the student has 0"):
        Objective(plan("features")).prepare(STUDENT, TEACHER)


def test_features_of_other_sizes_are_fitted():
    w = Weights(stages=2)
    student = Outputs(LOGITS[None].float(), {"a": torch.rand(2, 3, 8, 8), "b": torch.rand(2, 7)})
    teacher = Outputs(
        TAUGHT[None].float(), {"x": torch.rand(2, 5, 4, 4), "y": torch.rand(2, 9, 4, 4)}
    )
    for name in ("features", "blurred"):
        objective = Objective(plan(name), w)
        objective.prepare(student, teacher)
        parts = objective(student, teacher, LABELS)
        sum(parts.values()).backward()
        assert all(p.grad is not None for p in objective.parameters())


def test_a_hidden_channel_teaches_nothing():
    mine = torch.rand(2, 6, requires_grad=True)
    student = Outputs(LOGITS[None].float(), {"a": mine})
    teacher = Outputs(TAUGHT[None].float(), {"a": torch.rand(2, 6)})
    objective = Objective(plan("blurred"), Weights(alpha=0.0, blur=1.0))
    objective.prepare(student, teacher)
    objective(student, teacher, LABELS)["blurred"].backward()
    assert not mine.grad.any()


def test_cost_is_one_when_everything_spikes():
    spikes = {"a": torch.ones(4, 2, 3, 5), "b": torch.ones(4, 2, 7), "out": torch.ones(4, 2, 3)}
    cost = Cost(1.0, {"a": 9.0, "b": 3.0, "out": 0.0})
    assert cost(spikes) == pytest.approx(1.0)
    spikes["a"] = torch.zeros(4, 2, 3, 5)
    expected = 7 * 3 / (7 * 3 + 15 * 9)
    assert cost(spikes) == pytest.approx(expected)
    everything = 4 * 7 * 3
    assert cost._replace(budget=everything)(spikes) == 0
    assert cost._replace(budget=everything / 4)(spikes) == pytest.approx(3.0)


def test_spike_cost_reaches_the_weights():
    torch.manual_seed(0)
    student = make_student("cnn", Settings((1, 8, 8), 3, 16, 2))
    with watch(student.populations()) as seen:
        student(torch.randint(0, 17, (4, 1, 8, 8), dtype=torch.uint8))
    Cost(1.0, student.fan_out())(seen).backward()
    assert student.conv1.weight.weight.grad.abs().sum() > 0
    assert student.fan_out() == {
        "input": 16 * 9, "lif1": 32 * 9 / 4, "lif2": 128.0, "lif3": 3.0, "lif4": 0.0
    }  # fmt: skip


def test_pruned_synapses_cost_nothing():
    student = make_student("mlp", Settings((1, 4, 4), 3, 16, 2))
    with torch.no_grad():
        student.fc2.weight.weight[:16] = 0.0
    assert student.fan_out()["lif1"] == 48.0


def test_rates_have_the_spikes_values_and_a_gradient():
    torch.manual_seed(0)
    x = torch.randint(0, 17, (8, 1, 8, 8), dtype=torch.uint8)
    for name in ("cnn", "resnet8"):
        student = make_student(name, Settings((1, 8, 8), 3, 16, 6, width=0.5))
        student.train()
        norms = [m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        found = rate_outputs(student, x, 4.0)
        counted = [m.running_mean.clone() for m in norms]
        torch.testing.assert_close(found.logits, 4.0 * student(x).detach() / 6)
        assert found.steps.shape == (1, 8, 3)
        functional.cross_entropy(found.logits, torch.arange(8) % 3).backward()
        assert all(p.grad.abs().sum() > 0 for n, p in student.named_parameters() if "weight" in n)
        once = make_student(name, Settings((1, 8, 8), 3, 16, 6, width=0.5))
        once.load_state_dict(
            {k: v for k, v in student.state_dict().items() if "running" not in k}, strict=False
        )
        outputs_of(once.train(), x)
        again = [m.running_mean for m in once.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for a, b in itertools.zip_longest(counted, again):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_a_teacher_runs_once_if_what_is_looked_at_can_be_kept(monkeypatch, stages):
    torch.manual_seed(0)
    teacher = teachers.make_teacher("cnn", teachers.Settings((1, 8, 8), 3, 16))
    images = torch.randint(0, 17, (9, 1, 8, 8))
    whole = outputs_of(teacher.eval(), images)
    monkeypatch.setattr(
        evaluation, "KEPT_BYTES", 4 * 9 * (3 + whole.features["features.8"][0].numel())
    )
    teaching = Teaching(teacher, images, still=True, scale=1.0, stages=stages)
    assert (teaching.kept is not None) == (stages < 3)
    rows = torch.tensor([4, 0, 7])
    found = teaching.of(images[rows], rows)
    names = list(whole.features)[3 - stages :]
    assert list(found.features) == names
    torch.testing.assert_close(found.logits, whole.logits[rows])
    for name in names:
        torch.testing.assert_close(found.features[name], whole.features[name][rows])
