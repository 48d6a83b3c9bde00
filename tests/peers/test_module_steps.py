"""Modules whose later steps differ from the first ones: as in their package, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch
import torch
from torch import nn
from torch.nn import functional

import snn2hw
from snn2hw.errors import UnsupportedError
from snn2hw.simulate import floating
from snn2hw.train import from_module

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS, SIZE, OUT = 30, 8, 6


def spikes(steps=STEPS, samples=10):
    drawn = np.random.default_rng(0).random((samples, steps, SIZE)) < 0.5
    return drawn.astype(np.float32)


def seeded(module, seed=1):
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d):
            part.weight.data = torch.randn_like(part.weight) / part.weight[0].numel() ** 0.5 * 2
            part.bias.data = torch.rand_like(part.bias) * 0.3
    return module.eval()


def leaky(beta=0.5, **more):
    return snntorch.Leaky(beta, reset_mechanism="zero", **more)


class OverTime(nn.Module):
    """Takes ``[T, B, n]``; ``way`` is what it does apart from its layer and its neurons."""

    def __init__(self, way, span=8):
        super().__init__()
        self.way, self.span = way, span
        self.fc, self.lif = nn.Linear(SIZE, OUT), leaky()
        self.back, self.lif2 = nn.Linear(OUT, OUT), leaky()
        self.conv = nn.Conv1d(SIZE, OUT, span, padding=span - 1)

    def forward(self, x):
        mem, mem2 = self.lif.init_leaky(), self.lif2.init_leaky()
        held, first, out = torch.zeros(x.shape[1], OUT), [], []
        currents = self.fc(x)
        if self.way == "convolution":
            currents = self.conv(x.permute(1, 2, 0))[..., : len(x)].permute(2, 0, 1)
        for step in range(len(x)):
            now = currents[step]
            if self.way == "input ends" and step >= 10:
                now = now * 0
            if self.way == "state cleared" and step == 10:
                mem = torch.zeros_like(mem)
            if self.way == "skip" and step >= self.span:
                now = now + first[step - self.span]
            spk, mem = self.lif(now, mem)
            first.append(spk)
            held = 0.875 * held + 0.25 * spk
            heard = held if self.way == "trace" else spk
            if self.way == "window":
                heard = sum(first[-self.span :])
            spk2, mem2 = self.lif2(self.back(heard), mem2)
            ends = self.way == "answer ends" and step >= 10
            out.append(spk2 * 0 if ends else held if self.way == "readout" else spk2)
        answer = torch.stack(out)
        return answer[-5:].sum(0) if self.way == "last steps" else answer


@pytest.mark.parametrize("steps", [None, STEPS])
@pytest.mark.parametrize("way", ["convolution", "skip", "window"])
def test_what_earlier_steps_brought_counts_however_long_ago(way, steps):
    module, x = seeded(OverTime(way)), spikes()
    net, _ = from_module(module, (SIZE,), time="first", time_steps=steps)
    with torch.no_grad():
        wanted = module(torch.tensor(x).transpose(0, 1)).transpose(0, 1).numpy()
    assert wanted.any()
    assert np.array_equal(floating.run(net, {"input": x}).answer, wanted)


@pytest.mark.parametrize(("span", "steps"), [(9, 6), (40, None)])
def test_what_is_older_than_all_steps_is_told_from_a_state_without_an_end(span, steps):
    module, x = seeded(OverTime("convolution", span)), spikes(steps or 50)
    net, _ = from_module(module, (SIZE,), time="first", time_steps=steps)
    with torch.no_grad():
        wanted = module(torch.tensor(x).transpose(0, 1)).transpose(0, 1).numpy()
    assert np.array_equal(floating.run(net, {"input": x}).answer, wanted)


ENDLESS = r"a sum of all steps since the first \(test_module_steps.py:\d+\): code that keeps"


@pytest.mark.parametrize("steps", [None, 8, STEPS])
@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("trace", rf"lif2 \(.*:\d+\): Leaky hears {ENDLESS}"),
        ("readout", rf"The answer gives {ENDLESS}"),
    ],
)
def test_a_state_without_an_end_is_refused_by_name(way, text, steps):
    with pytest.raises(UnsupportedError, match=text):
        from_module(seeded(OverTime(way)), (SIZE,), time="first", time_steps=steps)


def test_the_membrane_of_a_module_is_such_a_state():
    """What the refusal advises gives the spikes of the module."""

    class Traced(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(SIZE, OUT), leaky()
            self.held = snntorch.Leaky(0.875, reset_mechanism="none")
            self.back, self.lif2 = nn.Linear(OUT, OUT), leaky()

        def forward(self, x):
            mem, held, mem2 = (m.init_leaky() for m in (self.lif, self.held, self.lif2))
            out = []
            for frame in x:
                spk, mem = self.lif(self.fc(frame), mem)
                _, held = self.held(0.25 * spk, held)
                spk2, mem2 = self.lif2(self.back(held), mem2)
                out.append(spk2)
            return torch.stack(out)

    x = torch.tensor(spikes()).transpose(0, 1)
    module, other = seeded(Traced()), seeded(OverTime("trace"))
    other.load_state_dict(module.state_dict(), strict=False)
    net, _ = from_module(module, (SIZE,), time="first", time_steps=STEPS)
    with torch.no_grad():
        wanted = other(x).transpose(0, 1).numpy()
    assert np.array_equal(floating.run(net, {"input": spikes()}).answer, wanted)


@pytest.mark.parametrize("steps", [None, STEPS])
@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("input ends", "Leaky hears something else at step 0 than"),
        ("state cleared", "Leaky is given another mem than the one that it left"),
        ("answer ends", "The answer gives something else at step 0 than"),
        ("last steps", "what its last step gives"),
    ],
)
def test_steps_that_differ_later_are_refused(way, text, steps):
    with pytest.raises(UnsupportedError, match=text):
        from_module(seeded(OverTime(way)), (SIZE,), time="first", time_steps=steps)


class Counting(nn.Module):
    """One step a call, of which it counts the calls."""

    def __init__(self, what):
        super().__init__()
        self.fc, self.lif = nn.Linear(SIZE, OUT), leaky(init_hidden=True)
        self.what, self.at = what, 0

    def forward(self, x):
        self.at += 1
        late = self.at > 12
        found = self.lif(self.fc(x) * (0.5 if late and self.what == "hears" else 1.0))
        return found * 0 if late and self.what == "gives" else found


@pytest.mark.parametrize("what", ["hears", "gives"])
def test_calls_that_differ_later_are_refused(what):
    with pytest.raises(UnsupportedError, match=f"{what} something else at step 0 than"):
        from_module(seeded(Counting(what)), (SIZE,))


class Held(nn.Module):
    """Hears a membrane of a step ago, which is not there at the first one."""

    def __init__(self, start):
        super().__init__()
        self.fc, self.lif = nn.Linear(SIZE, OUT), leaky()
        self.held, self.start = snntorch.Leaky(0.5, reset_mechanism="none"), start

    def forward(self, x):
        mem, held, out = self.lif.init_leaky(), self.held.init_leaky(), []
        back = torch.full((x.shape[1], OUT), self.start)
        for frame in x:
            spk, mem = self.lif(self.fc(frame) + back, mem)
            _, held = self.held(spk, held)
            back = -0.25 * held
            out.append(spk)
        return torch.stack(out)


def test_membranes_that_are_heard_start_from_rest():
    module = seeded(Held(0.0))
    net, _ = from_module(module, (SIZE,), time="first")
    with torch.no_grad():
        wanted = module(torch.tensor(spikes()).transpose(0, 1)).transpose(0, 1).numpy()
    assert np.array_equal(floating.run(net, {"input": spikes()}).answer, wanted)
    with pytest.raises(UnsupportedError, match="hears other numbers at step 0"):
        from_module(seeded(Held(1.0)), (SIZE,), time="first")


def padded(found, way):
    samples = len(found)
    written = torch.zeros(samples, OUT + 2)
    match way:
        case "pad":
            return functional.pad(found, (2, 0))
        case "cat":
            return torch.cat([torch.zeros(samples, 2), found], 1)
        case "middle":
            return torch.cat([found[:, :3], torch.zeros(samples, 2), found[:, 3:]], 1)
        case "ones":
            return torch.cat([found, torch.ones(samples, 2)], 1)
        case "written":
            written[:, 2:] = found
            return written


class Padded(nn.Module):
    def __init__(self, way, added):
        super().__init__()
        self.fc, self.lif = nn.Linear(SIZE, OUT), leaky()
        self.way, self.added = way, added

    def forward(self, x):
        mem, out = self.lif.init_leaky(), []
        for frame in x:
            spk, mem = self.lif(self.fc(frame), mem)
            out.append(spk)
        if self.added == "sum":
            return padded(torch.stack(out).sum(0), self.way)
        return torch.stack([padded(spk, self.way) for spk in out])


@pytest.mark.parametrize("way", ["pad", "cat", "middle", "ones", "written"])
@pytest.mark.parametrize("added", ["steps", "sum"])
def test_constants_among_classes_are_refused(way, added):
    places = {"middle": "3, 4", "ones": "6, 7"}.get(way, "0, 1")
    text = rf"The answer has constants among its 8 numbers \(at {places}\)"
    with pytest.raises(UnsupportedError, match=text):
        from_module(seeded(Padded(way, added)), (SIZE,), time="first")


def test_a_batch_in_another_order_is_refused():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(SIZE, OUT), leaky(init_hidden=True)

        def forward(self, x):
            return self.lif(self.fc(x)).flip(0)

    with pytest.raises(UnsupportedError, match="has the samples of the batch in another order"):
        from_module(seeded(Turned()), (SIZE,))


class Still(nn.Module):
    """Shows its input at each step, and feeds its spikes back."""

    def __init__(self, steps):
        super().__init__()
        self.fc, self.lif = nn.Linear(SIZE, OUT), leaky()
        self.back, self.steps = nn.Linear(OUT, OUT), steps

    def forward(self, x):
        mem, spk, out = self.lif.init_leaky(), torch.zeros(len(x), OUT), []
        for _ in range(self.steps):
            spk, mem = self.lif(self.fc(x) + self.back(spk), mem)
            out.append(spk)
        return torch.stack(out)


@pytest.mark.parametrize("steps", [2, 3, 4, 6, STEPS])
def test_a_still_input_is_there_from_the_first_step_on(steps):
    """With a sum of what is still and what was sent a step ago; of two steps, too."""
    module, x = seeded(Still(steps)), np.repeat(spikes(1), steps, 1)
    net, _ = from_module(module, (SIZE,))
    with torch.no_grad():
        wanted = module(torch.tensor(x[:, 0])).transpose(0, 1).numpy()
    assert np.array_equal(floating.run(net, {"input": x}).answer, wanted)
    assert snn2hw.measure(module, net, x)["same_outputs"] == 1


class Twice(nn.Module):
    """Hears what it heard a step ago as well, so its still input counts twice."""

    def __init__(self):
        super().__init__()
        self.fc, self.lif, self.back = nn.Linear(SIZE, OUT), leaky(), nn.Linear(OUT, OUT)

    def forward(self, x):
        mem, before, out = self.lif.init_leaky(), self.fc(x), []
        spk = torch.zeros(len(x), OUT)
        for _ in range(STEPS):
            now = self.fc(x) + self.back(spk)
            spk, mem = self.lif(now + before, mem)
            before = now
            out.append(spk)
        return torch.stack(out)


def test_a_still_input_that_is_heard_of_two_steps_counts_twice():
    module, x = seeded(Twice()), np.repeat(spikes(1), STEPS, 1)
    module.back.bias.data.zero_()
    module.fc.weight.data *= 0.5
    net, _ = from_module(module, (SIZE,))
    with torch.no_grad():
        wanted = module(torch.tensor(x[:, 0])).transpose(0, 1).numpy()
    assert 0 < wanted.mean() < 1
    assert np.array_equal(floating.run(net, {"input": x}).answer, wanted)
