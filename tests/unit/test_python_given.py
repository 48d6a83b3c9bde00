"""What callers of the Python interface give: taken as it is meant, or refused with a way out."""

from __future__ import annotations

import warnings
from dataclasses import replace

import nir
import numpy as np
import pytest
import snntorch
import torch
from nets import tiny
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import snn2hw
from snn2hw.errors import InputError

STEPS = 5


class Net(nn.Module):
    """From 16 pixels, 0 to 1, to 4 classes: the quarter of the image that is brightest."""

    def __init__(self, **how):
        super().__init__()
        how = {"reset_mechanism": "zero", **how}
        self.fc, self.lif = nn.Linear(16, 4), snntorch.Leaky(beta=0.5, **how)
        with torch.no_grad():
            self.fc.weight.copy_(torch.eye(4).repeat_interleave(4, 1) * 1.7 - 0.43)
            self.fc.bias.fill_(0.01)

    def forward(self, x):
        x, mem, out = x.flatten(1), self.lif.init_leaky(), []
        for _ in range(STEPS):
            spikes, mem = self.lif(self.fc(x), mem)
            out.append(spikes)
        return torch.stack(out)


class Pixels:
    """Bytes, what the module was trained on, and the same at every step."""

    integers = np.random.default_rng(0).integers(0, 256, (60, 16)).astype(np.uint8)
    fed = torch.tensor(integers).float() / 255
    shown = fed[:, None].repeat(1, STEPS, 1)
    labels = integers.reshape(60, 4, 4).sum(2).argmax(1)
    frames = integers.reshape(60, 1, 4, 4)
    arrays = (frames, labels, frames, labels)


def right(module, x):
    """Return the share of right predictions of the module itself, on ``[N, 16]``."""
    return float((module(x).sum(0).argmax(1).numpy() == Pixels.labels).mean())


@pytest.fixture(scope="module")
def module():
    return Net()


@pytest.fixture(scope="module")
def network(module):
    return snn2hw.load(module, shape=(16,), input_scale=1 / 255)


@pytest.fixture(scope="module")
def build(network):
    return snn2hw.build(network)


def notes_of(call, *given, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*given, **options)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (Pixels.labels[:, None], r"labels of shape \[60, 1\]. Give one label for each sample"),
        (Pixels.labels[:1], r"60 samples, and labels of shape \[1\]"),
        (Pixels.labels[:10], r"60 samples, and labels of shape \[10\]"),
        (np.eye(4)[Pixels.labels], r"labels of shape \[60, 4\].*such as y.argmax\(1\)"),
        (Pixels.labels + 1, "run from 1 to 4, and the output has the classes 0 to 3"),
        (Pixels.labels - 1, "run from -1 to 2"),
        (Pixels.labels + 0.5, "The labels are no whole numbers"),
        (Pixels.labels.astype(str), "y holds <U.*, not numbers"),
    ],
)
def test_labels_are_checked_wherever_they_are_given(module, network, build, labels, why):
    late = snn2hw.load(Net(reset_mechanism="subtract"), shape=(16,), input_scale=1 / 255)
    for call in (
        lambda: snn2hw.measure(module, network, Pixels.shown, labels),
        lambda: build.simulate(Pixels.shown).accuracy(labels),
        lambda: build.energy(Pixels.shown, labels),
        lambda: snn2hw.build(late, rewrite=["hard-reset"], x=Pixels.shown, y=labels),
    ):
        with pytest.raises(InputError, match=why):
            call()


def test_labels_and_samples_of_any_kind_of_array(module, network, build):
    wanted = build.simulate(Pixels.shown).accuracy(Pixels.labels)
    assert wanted > 0.8
    for labels in (
        torch.tensor(Pixels.labels),
        Pixels.labels.tolist(),
        Pixels.labels.astype(float),
    ):
        assert build.simulate(Pixels.shown).accuracy(labels) == wanted
        found = snn2hw.measure(module, network, Pixels.shown, labels)["accuracy"]
        assert found == [right(module, Pixels.fed)] * 2
    tensor = Pixels.shown.clone().requires_grad_()
    for x in (tensor, Pixels.shown.tolist(), Pixels.shown.double(), Pixels.shown.half()):
        assert notes_of(build.simulate, x) == []
        assert build.simulate(x).accuracy(Pixels.labels) == wanted
    assert snn2hw.measure(module, network, tensor, Pixels.labels)["same_outputs"] == 1
    with pytest.raises(InputError, match=r"labels, y, without samples. Give x"):
        snn2hw.build(network, y=Pixels.labels)
    with pytest.raises(InputError, match="labels, y, without samples"):
        build.report("page.html", y=Pixels.labels)


def test_true_and_false_are_one_and_zero_of_what_was_fed(module, network, build):
    """Not 1 and 0 of 255."""
    on = Pixels.shown > 0.5
    wanted = right(module, (Pixels.fed > 0.5).float())
    assert wanted > 0.5
    assert snn2hw.measure(module, network, on, Pixels.labels)["accuracy"] == [wanted, wanted]
    as_floats = build.simulate(on.float()).trace.spikes
    assert (build.simulate(on).trace.spikes == as_floats).all()
    plain = snn2hw.load(module, shape=(16,), input_max=1)  # where nobody scaled, they are spikes
    assert snn2hw.measure(module, plain, on, Pixels.labels)["accuracy"] == [wanted, wanted]


def test_what_rounding_moves_is_said(module, network, build):
    between = Pixels.shown * 0.5
    (note,) = notes_of(build.simulate, between)
    assert "moves them by up to 0.50 of an integer" in note
    assert "moves them" in notes_of(snn2hw.measure, module, network, between)[0]
    coarse = snn2hw.load(module, shape=(16,), input_scale=1 / 4)
    assert (
        "input_scale is wrong" in notes_of(lambda: snn2hw.measure(module, coarse, Pixels.shown))[0]
    )
    assert notes_of(build.simulate, Pixels.shown) == []


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (Pixels.shown * 255, r"real numbers from 0 to 255.* 0 to 65,025; the chip takes 0 to 255"),
        (Pixels.shown - 1, r"real numbers from -1 to 0"),
        (Pixels.shown * float("nan"), "x holds NaN or infinity"),
        (TensorDataset(Pixels.shown), "x is of type TensorDataset, not an array"),
        ([[1, 2], [3]], "x cannot be made an array"),
        (Pixels.shown.numpy().astype(str), "x holds <U.*, not numbers"),
    ],
)
def test_samples_that_cannot_be_taken(module, network, build, x, why):
    with pytest.raises(InputError, match=why):
        build.simulate(x)
    if "real numbers" in why:  # a float network takes them, and that is said
        notes = notes_of(snn2hw.measure, module, network, x)
        assert any("the chip takes" in note for note in notes)
        return
    with pytest.raises(InputError, match=why):
        snn2hw.measure(module, network, x)


def test_a_scale_that_is_the_wrong_way_round_is_refused(tmp_path, module):
    with pytest.raises(InputError, match=r"divided by 255, say 1/255.*in Python input_max="):
        snn2hw.load(module, shape=(16,), input_scale=255)
    snn2hw.load(module, shape=(16,)).save(tmp_path / "a.nir")
    with pytest.raises(InputError, match="divided by 2, say 1/2"):
        snn2hw.load(tmp_path / "a.nir", input_scale=2)
    twice = snn2hw.load(module, shape=(16,), input_scale=2, input_max=1)  # with both it is meant
    found = snn2hw.measure(module, twice, 2 * (Pixels.shown > 0.5).float())
    assert found["same_outputs"] == 1


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda c: snn2hw.build(c.module, "loihi2"), r"Net is a PyTorch module.*snn2hw.load\(mod"),
        (lambda c: snn2hw.refusals(c.module, "loihi2"), "Net is a PyTorch module"),
        (lambda c: snn2hw.build("mine.nir", "loihi2"), r"Load it first: snn2hw.load\('mine.nir'\)"),
        (lambda c: snn2hw.build(c.build), "Give the network that it was made of"),
        (lambda c: snn2hw.refusals(c.build), "Give the network that it was made of"),
        (lambda c: snn2hw.measure(c.module, c.build, Pixels.shown), "Give the network that it"),
        (lambda c: snn2hw.measure(c.network, c.module, Pixels.shown), "argument of measure is the"),
        (lambda c: snn2hw.measure(Net, c.network, Pixels.shown), "Net is a class"),
        (lambda c: snn2hw.build(c.network, None), "A target is a name or a TOML file, not None"),
        (lambda c: snn2hw.build(c.network, ["loihi1", "loihi2"]), "not list.*one after the other"),
        (lambda c: snn2hw.refusals(c.network, 3), "not int"),
        (lambda c: snn2hw.energy(c.network, "loihi2"), r"Network is none.*build.simulate\(x\)"),
        (lambda c: snn2hw.energy(c.build), "Built is none"),
        (lambda c: snn2hw.load(Net), r"Net is a class, .* Give a trained Net\(\)"),
        (lambda c: snn2hw.load(c.module.state_dict()), "OrderedDict holds weights, and no network"),
        (lambda c: snn2hw.load(c.network), "This is a network already"),
        (lambda c: snn2hw.load(c.build), "A Built is compiled already"),
        (lambda c: snn2hw.load(Net().to("meta"), shape=16), "no numbers in fc.weight.*device meta"),
        (lambda c: snn2hw.distill(Net, "mlp", Pixels.arrays), "Net is a class"),
        (lambda c: snn2hw.distill(c.module, Net, Pixels.arrays), "Net is a class"),
        (lambda c: snn2hw.prune(Net, Pixels.arrays), "Net is a class"),
        (lambda c: snn2hw.prune(c.module, 0.5), "of type float.*x_train, y_train, x_test, y_test"),
        (lambda c: snn2hw.distill(c.module, "mlp", DataLoader([1])), "of type DataLoader"),
        (lambda c: snn2hw.distill(c.module, "mlp", Pixels.arrays[:3]), "There are 3 arrays"),
        (lambda c: snn2hw.build(c.network, rewrite="hardreset"), "no rewrite 'hardreset'.*'hard-r"),
        (lambda c: snn2hw.build(c.network, time_steps=0), "time_steps is 0, not a whole number"),
    ],
)  # fmt: skip
def test_what_is_meant_but_not_given_is_said(module, network, build, call, why):
    class Given:
        pass

    Given.module, Given.network, Given.build = module, network, build
    with pytest.raises(InputError, match=why):
        call(Given)


def test_a_graph_in_memory_is_to_be_written(tmp_path, network):

    graph = nir.read(network.save(tmp_path / "a.nir"))
    with pytest.raises(InputError, match=r"Write it, nir.write\('x.nir', graph\)"):
        snn2hw.load(graph)


def test_every_option_of_a_wrong_kind_is_named(module):
    with pytest.raises(InputError) as told:
        snn2hw.load(module, shape="16", time_steps="5", dt=0, input_max=1.5, input_mean="half")
    for name, value in {
        "shape": "'16'", "time_steps": "'5'", "dt": "0", "input_max": "1.5", "input_mean": "'half'"
    }.items():  # fmt: skip
        assert f"{name} is {value}, not " in told.value.message
    for wrong in ({"time_steps": "8"}, {"time_steps": 0}, {"input_max": "255"}):
        with pytest.raises(InputError, match=r"is '?[0-9]+'?, not a whole number from 1"):
            snn2hw.load("digits-cnn", **wrong)


def test_options_as_people_write_them(module, network):
    for scale in ("1/255", torch.tensor(1 / 255, dtype=torch.float64), np.float64(1 / 255)):
        same = snn2hw.load(module, shape=16, input_scale=scale, time_steps=np.int64(5))
        assert same.digest() == network.digest()


@pytest.mark.parametrize(
    ("model", "option", "why"),
    [
        (Net(), {"input_shape": (16,)}, r"Did you mean 'shape'\? Known: dt, input_max"),
        (
            Net(),
            {"reset": "zero", "written_by": "norse"},
            "reset, written_by: only for a file; the",
        ),
        ("digits-cnn", {"shape": (1, 8, 8)}, "shape: only for a module; the file says it itself"),
        ("digits-cnn", {"timesteps": 3}, "Did you mean 'time_steps'"),
    ],
)
def test_options_of_another_door_and_the_nearest_of_this(model, option, why):
    with pytest.raises(InputError, match=why) as told:
        snn2hw.load(model, **option)
    assert "module, " not in told.value.hint.partition("Known: ")[2]


def test_only_options_are_listed_as_known(network):
    with pytest.raises(InputError, match="Known: chips, rewrite, target, time_steps, x, y"):
        snn2hw.build(network, tragets="loihi2")


def test_a_rewrite_that_changes_nothing_says_so(network):
    (note,) = notes_of(snn2hw.build, network, rewrite="soft-reset")
    assert note.startswith("rewrite soft-reset changed nothing")
    assert notes_of(snn2hw.build, network, rewrite=["all"]) == []
    late = replace(tiny(), nodes={
        k: replace(n, reset="subtract") if k == "lif1" else n for k, n in tiny().nodes.items()
    })  # fmt: skip
    found = notes_of(snn2hw.build, late, rewrite=["hard-reset", "soft-reset"])
    assert [n.split(":")[0].split(" changed")[0] for n in found] == [
        "rewrite hard-reset", "rewrite soft-reset"
    ]  # fmt: skip
    assert "Random inputs say little of real ones" in found[0]


def test_warnings_are_of_the_callers_line(network):
    with pytest.warns(UserWarning, match="changed nothing") as caught:
        snn2hw.build(network, rewrite="soft-reset")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("of", ["distill", "run", "prune"])
def test_a_trained_module_takes_pixels_as_in_training(tmp_path, monkeypatch, of):
    """The integers, or what they were scaled to: both are the same network."""
    monkeypatch.chdir(tmp_path)
    pupil = Net()
    how = {"epochs": 0, "time_steps": STEPS, "progress": False}
    if of == "prune":
        made = snn2hw.prune(pupil, Pixels.arrays, sparsity=0.01, **how)
    else:
        how["epochs"] = 1
        made = snn2hw.distill(None, pupil, Pixels.arrays, lr=1e-5, name="own", **how)
    if of == "run":
        made = snn2hw.load("runs/own")
    wanted = right(pupil, Pixels.fed)
    assert wanted > 0.8
    fed = Pixels.shown.reshape(60, STEPS, 1, 4, 4)
    integers = Pixels.frames[:, None].repeat(STEPS, axis=1)
    build = snn2hw.build(made)
    spikes = [build.simulate(x).trace.spikes for x in (fed, integers)]
    assert (spikes[0] == spikes[1]).all()
    if of != "prune":  # which is of a copy
        for x in (fed, integers):
            found = snn2hw.measure(pupil, made, x, Pixels.labels)
            assert found["accuracy"] == [wanted, wanted]
            assert found["same_outputs"] == 1


def test_modules_are_given_back_in_their_modes():
    teacher = nn.Sequential(nn.Flatten(), Net().fc, nn.Dropout(0.1))
    teacher[2].eval()
    pupil = Net().eval()
    snn2hw.distill(teacher, pupil, Pixels.arrays, epochs=1, time_steps=STEPS, progress=False)
    assert [m.training for m in teacher.modules()] == [True, True, True, False]
    assert not any(m.training for m in pupil.modules())


def test_data_in_pairs_are_the_same_data():
    teacher, (x, y, *_) = nn.Sequential(nn.Flatten(), Net().fc), Pixels.arrays
    how = {"epochs": 1, "time_steps": 2, "progress": False}
    found = [
        snn2hw.distill(teacher, "mlp", data, **how).digest()
        for data in (Pixels.arrays, ((x, y), (x, y)), [(x, y), (x, torch.tensor(y))])
    ]
    assert len(set(found)) == 1
