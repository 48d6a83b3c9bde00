"""The Python interface's own objects: what they write, open, measure and show."""

from __future__ import annotations

import json

import numpy as np
import pytest
import snntorch
import torch
from nets import LOIHI2, images, residual, tiny
from torch import nn

import snn2hw
from snn2hw import datasets, nir_io
from snn2hw.errors import InputError
from snn2hw.ir.network import Network as Float
from snn2hw.preprocessing import Preprocessing
from snn2hw.simulate import floating

STEPS = 8


@pytest.fixture(scope="module")
def digits():
    data = datasets.load("digits")
    return data.x_test[:40, None].repeat(STEPS, axis=1), data.y_test[:40]


@pytest.fixture
def built():
    return snn2hw.build(snn2hw.load("digits-cnn"), "loihi2")


def test_a_network_is_saved_and_loaded(tmp_path):
    net = snn2hw.load("digits-cnn")
    assert isinstance(net, snn2hw.Network)
    assert net.save(tmp_path / "a.nir") == tmp_path / "a.nir"
    again = snn2hw.load(tmp_path / "a.nir")
    assert again.digest() == net.digest()
    assert isinstance(snn2hw.Network.of(tiny()), snn2hw.Network)
    with pytest.raises(InputError, match="no option 'pfad'"):
        net.save(pfad=tmp_path)


def test_accuracy_bill_page_and_folder(tmp_path, monkeypatch, built, digits):
    monkeypatch.chdir(tmp_path)
    x, y = digits
    ran = built.simulate(x)
    accuracy = ran.accuracy(y)
    assert accuracy == (ran.prediction == y).mean() > 0.9
    with pytest.raises(InputError, match="40 samples, and labels of shape"):
        ran.accuracy(y[:3])
    with pytest.raises(InputError, match=r"no energy report .* build.energy\(x\) first"):
        built.report("page.html")
    report = built.energy(x, y)
    assert report.accuracy == accuracy
    assert report.target == "loihi2"
    assert report.json()["chip"] == snn2hw.energy(ran).json()["chip"]
    assert built.report("page.html").read_text().startswith("<!doctype html>")
    assert "98" in (tmp_path / "page.html").read_text()
    assert built.save("kept/mine").name == "mine"
    assert not (tmp_path / "kept" / "latest").exists()
    kept = json.loads((tmp_path / "kept" / "mine" / "energy.json").read_text())
    assert kept == report.json() | {"program": built.program.digest()}
    again = snn2hw.open("kept/mine")
    assert (again.simulate(x).prediction == ran.prediction).all()
    assert again.program.digest() == built.program.digest()
    built.save("builds/mine")
    assert snn2hw.open("mine").target.name == "loihi2"
    assert (tmp_path / "builds" / "latest").read_text().strip() == "mine"


def test_a_saved_build_is_that_of_the_command_line(tmp_path, built):
    """But for what it was made from."""
    folder = built.save(tmp_path / "builds" / "network-loihi2")
    info = json.loads((folder / "build.json").read_text())
    assert info["options"] == {"time_steps": None, "rewrite": []}
    assert info["digest"] == built.program.digest()
    assert (folder / "model.net").exists()


def test_what_is_shown_is_short_and_says_what_it_is(built, digits):
    x, y = digits
    net = snn2hw.load("digits-cnn")
    assert repr(net).splitlines()[0] == "11 nodes, 0.001 s a step, 8 steps a sample"
    assert "  lif1: Lif 16x8x8 from conv1" in repr(net).splitlines()
    assert repr(built).splitlines()[0].startswith("Intel Loihi 2: 2 cores on 1 chip, 8 steps")
    assert "spikes a sample" in repr(built.simulate(x[:2]))
    bill = repr(built.energy(x[:5], y[:5]))
    assert "energy of an inference, the chip alone" in bill
    assert len(bill.splitlines()) < 10
    whole = str(built.energy(x[:5], y[:5])).splitlines()
    assert "prices (value, range, kind, source)" in whole
    assert max(map(len, whole)) <= 80
    many = Float(
        {**tiny().nodes, **{f"more{i}": tiny().nodes["lif1"] for i in range(40)}},
        (*tiny().edges, *(("fc1", f"more{i}") for i in range(40))), 1e-3, 4,
    )  # fmt: skip
    assert len(repr(many).splitlines()) < 30
    assert "more" in repr(many)


@pytest.mark.lava
def test_a_proof_is_kept_and_shown(tmp_path, built, digits):
    x, _ = digits
    proof = built.verify(x[:2])
    assert proof["mismatches"] == 0
    assert "values are equal" in repr(proof)
    folder = built.save(tmp_path / "mine")
    assert json.loads((folder / "verify.json").read_text()) == proof
    assert "lava 0.10.0" in snn2hw.open(folder).report(tmp_path / "p.html", x).read_text()


def test_refusals_of_one_target_and_of_all():
    net = snn2hw.load("digits-cnn")
    assert snn2hw.refusals(net, "loihi2") == []
    found = snn2hw.refusals(net)
    assert set(found) >= {"loihi2", "xylo-imu"}
    assert any("the chip 16" in why for why in found["xylo-imu"])
    assert snn2hw.refusals(net, "xylo-imu") == found["xylo-imu"]


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda: snn2hw.build(tiny(), "loihi2", rewrites=["all"]), "rewrite"),
        (lambda: snn2hw.load("digits-cnn", time_step=3), "time_steps"),
        (lambda: snn2hw.load(nn.Linear(2, 2), shapes=(2,)), "shape"),
        (lambda: snn2hw.build(tiny(), "loihi2").simulate(images(tiny()), state=True), "states"),
        (lambda: snn2hw.distill("mlp", "mlp", "digits", epoch=1), "epochs"),
        (lambda: snn2hw.prune(nn.Linear(2, 2), "digits", epoch=1), "epochs"),
        (lambda: snn2hw.refusals(tiny(), targets="loihi2"), "target"),
    ],
)
def test_options_that_do_not_exist_are_named_with_the_nearest(call, nearest):
    with pytest.raises(InputError, match=f"Did you mean '{nearest}'"):
        call()


def test_labels_are_for_one_output(built):
    net = residual()
    two = Float(
        {**net.nodes, "other": net.nodes["output"]},
        (*net.edges, (net.predecessors("output")[0], "other")), net.dt, net.time_steps,
    )  # fmt: skip
    build = snn2hw.build(two, LOIHI2)
    ran = build.simulate(next(iter(images(two).values())))
    labels = np.zeros(len(ran.prediction["other"]), int)
    with pytest.raises(InputError, match="2 outputs"):
        ran.accuracy(labels)
    assert ran.accuracy(labels, output="other") == (ran.prediction["other"] == 0).mean()


def test_a_build_takes_what_the_author_fed(tmp_path):
    """Also after it was written and read again, digit by digit where spikes have no value."""
    net = Preprocessing(0.5, -1.0, 0.25).applied(residual())
    (port,) = net.inputs().values()
    pixels = next(iter(images(net).values()))
    for target in ("loihi2", "loihi1"):
        build = snn2hw.build(net, target)
        wanted = build.simulate(pixels).trace.spikes
        assert wanted.any()
        folder = build.save(tmp_path / target)
        for same in (build, snn2hw.open(folder)):
            assert (same.simulate(port.fed(pixels)).trace.spikes == wanted).all()
    with pytest.raises(InputError, match=r"holds real numbers from .*--input-max"):
        build.simulate(port.fed(pixels + 1000))


def snn():
    torch.manual_seed(0)
    how = {"beta": 0.8, "reset_mechanism": "zero", "init_hidden": True}
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48), snntorch.Leaky(**how), nn.Linear(48, 10),
        snntorch.Leaky(**how),
    )  # fmt: skip


def test_a_module_is_trained_on_arrays_and_its_run_is_kept(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    data = datasets.load("digits").subset(400, 150)
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    module = snn()
    student = snn2hw.distill(None, module, arrays, epochs=8, time_steps=4, name="mine", lr=1e-2)
    assert "student: 100 %" in capfd.readouterr().err
    assert student.run.resolve() == tmp_path / "runs" / "mine"
    assert student.accuracy == json.loads((student.run / "metrics.json").read_text())["accuracy"]
    assert student.accuracy > 0.3
    assert snn2hw.load("mine").digest() == snn2hw.Network.of(student).digest()
    with pytest.raises(InputError, match="There is a run 'mine' already"):
        snn2hw.distill(None, snn(), arrays, epochs=1, time_steps=4, name="mine")
    pruned = snn2hw.prune(module, data, epochs=0, time_steps=4, sparsity=0.5, progress=False)
    assert pruned.run is None
    assert pruned.metrics["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert not capfd.readouterr().err
    with pytest.raises(InputError, match="3 arrays"):
        snn2hw.distill(None, module, arrays[:3])


def test_a_teacher_sees_pixels_as_it_was_trained(capfd):
    """On 0 to 1 here: on integers it would be nearly as good as chance."""
    data = datasets.load("digits")
    x = torch.tensor(data.x_train).float() / 16
    y = torch.tensor(data.y_train).long()
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(teacher.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(teacher(x), y).backward()
        optimizer.step()
    student = snn2hw.distill(teacher, "mlp", data, epochs=1, time_steps=4)
    assert "the teacher sees pixels as unit" in capfd.readouterr().err
    assert student.metrics["teacher_accuracy"] > 0.85
    assert student.metrics["teacher"] == "Sequential"


def test_a_spiking_module_teaches_by_its_spikes(capfd):
    """Its own loop, several answers, and flat samples; its spikes of all steps are its logits."""

    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(64, 10), snntorch.Leaky(beta=0.8)

        def forward(self, x):
            mem, steps = self.lif.init_leaky(), []
            for _ in range(4):
                spk, mem = self.lif(self.fc(x), mem)
                steps.append((spk, mem))
            spikes, membranes = zip(*steps, strict=True)
            return torch.stack(spikes), torch.stack(membranes)

    torch.manual_seed(0)
    data, teacher = datasets.load("digits"), Old()
    with torch.no_grad():
        spikes, _ = teacher(torch.tensor(data.x_test).flatten(1).float() / 16)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    student = snn2hw.distill(teacher, snn(), data, epochs=1, time_steps=4)
    right = spikes.sum(0).argmax(1).numpy() == data.y_test
    assert student.metrics["teacher_accuracy"] == right.mean()
    assert "seconds" not in student.metrics
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert "scaling of the pixels" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("teacher", "why"),
    [
        (nn.Linear(5, 10), r"given samples \[1, 1, 8, 8\], it fails with RuntimeError: mat1"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), r"it gives \[1, 9\], not \[1, 10\]"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(64, 10)), r"it gives tuple, not \[1, 10\]"),
    ],
)
def test_a_teacher_without_logits_is_refused(teacher, why):
    with pytest.raises(InputError, match=f"cannot teach 'digits': .*{why}.*Give a module from"):
        snn2hw.distill(teacher, "mlp", "digits", epochs=1, progress=False)


def test_a_file_of_a_student_is_the_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = datasets.load("digits").subset(100, 50)
    student = snn2hw.distill(None, "mlp", data, epochs=1, time_steps=2, progress=False)
    assert student.run is None
    student.save("a.nir")
    back, _ = nir_io.read(tmp_path / "a.nir")
    x = {"input": data.x_test[:, None].repeat(2, axis=1)}
    assert (floating.run(back, x).answer == floating.run(student, x).answer).all()
