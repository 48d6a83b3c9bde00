"""A student that starts from a teacher's weights computes what the teacher does."""

import pytest
import torch
from torch import nn

from snn2hw.errors import InputError
from snn2hw.train import teachers
from snn2hw.train.copying import copy_teacher, matched
from snn2hw.train.students import Neuron, Settings, make_student
from snn2hw.train.teachers.resnets import CifarResNet

STEPS = 256
SHAPE = (3, 16, 16)


def taught(trunk_bias: float) -> CifarResNet:
    """A residual teacher with statistics of its own; a large bias keeps its trunk positive."""
    torch.manual_seed(0)
    teacher = CifarResNet(teachers.Settings(SHAPE, 5, 255), 8)
    for name, module in teacher.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
            if name.endswith("bn2") or name == "bn1":
                module.bias.data += trunk_bias
    for _ in range(20):
        teacher.train()(torch.randint(0, 256, (64, *SHAPE)))
    return teacher.eval()


def many_steps(name: str):
    neuron = Neuron(beta=1.0, reset="subtract")
    return make_student(name, Settings(SHAPE, 5, 255, STEPS, neuron, readout="membrane"))


def apart(student, teacher) -> float:
    batches = [torch.randint(0, 256, (64, *SHAPE)) for _ in range(2)]
    copy_teacher(student, teacher, batches, lift=0.0, remeasure=False)
    x = torch.randint(0, 256, (8, *SHAPE))
    with torch.no_grad():
        mine, theirs = student.eval()(x) / STEPS, teacher(x) - teacher.linear.bias
    return float((mine - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("name", ["resnet8", "ms-resnet8"])
def test_many_steps_give_the_teachers_logits(name):
    assert apart(many_steps(name), taught(trunk_bias=4.0)) < 0.03


def test_a_trunk_keeps_what_rectifiers_cut_off():
    teacher = taught(trunk_bias=0.0)
    assert apart(many_steps("resnet8"), teacher) < 0.1
    assert apart(many_steps("ms-resnet8"), teacher) > 0.1


def test_only_a_trunk_does_without_shortcuts():
    student = many_steps("resnet8")
    student.wiring = tuple(p._replace(branches=p.branches[:1]) for p in student.wiring)
    with pytest.raises(InputError, match=r"layer1\.0\.shortcut is only in the teacher"):
        copy_teacher(student, taught(0.0), [torch.zeros(2, *SHAPE)])


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("kind", ["spiking", "ms"])
def test_neurons_have_the_names_of_the_rectifiers_they_stand_for(kind, depth):
    with torch.device("meta"):
        teacher = teachers.make_teacher(f"resnet{depth}", teachers.Settings(SHAPE, 5, 255))
        student = make_student(f"{kind}-resnet{depth}", Settings(SHAPE, 5, 255, 4))
    layers = matched(student, teacher)
    assert {*layers.activations, student.output} == set(student.populations())
