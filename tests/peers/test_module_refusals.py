"""Modules that cannot be taken are told why, once, with the way out."""

from __future__ import annotations

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import nn
from torch.nn import functional

from snn2hw.errors import UnsupportedError
from snn2hw.train import from_module

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 7


def leaky(**more):
    return snntorch.Leaky(0.9, reset_mechanism="zero", **more)


class Decoded(nn.Module):
    """Neurons, and what a tutorial's loss wants of them."""

    def __init__(self, decode):
        super().__init__()
        self.fc1, self.lif, self.fc2, self.li = (
            nn.Linear(6, 5),
            leaky(),
            nn.Linear(5, 3),
            norse.LICell(),
        )
        self.decode = decode

    def forward(self, x):
        mem = state = None
        out = []
        for frame in x:
            spk, mem = self.lif(self.fc1(frame), mem)
            v, state = self.li(self.fc2(spk), state)
            out.append(v)
        return self.decode(torch.stack(out))


def test_what_changes_the_answer_is_for_outside():
    """As Norse's usual decoder does; a network to distill from is another thing."""
    decoders = {
        "torch.max, .*log_softmax change": lambda v: functional.log_softmax(v.max(0).values, 1),
        "torch.log_softmax changes": lambda v: functional.log_softmax(v.sum(0), 1),
        "torch.amax changes": lambda v: v.amax(0),
        "torch.sigmoid changes": torch.sigmoid,
    }
    for told, decode in decoders.items():
        with pytest.raises(UnsupportedError, match=f"{told} the answer .*torch.stack") as error:
            from_module(Decoded(decode), (6,))
        assert "distill" not in str(error.value)
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), leaky(init_hidden=True))
    with pytest.raises(UnsupportedError, match="ReLU does not spike: distill"):
        from_module(module, (6,))


class Looped(nn.Module):
    """Shows an image at as many steps as it is told."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(18, 4)
        self.lif1, self.lif2 = leaky(), leaky()

    def forward(self, x, num_steps):
        mem1 = mem2 = None
        out = []
        for _ in range(num_steps):
            spk, mem1 = self.lif1(self.conv(x), mem1)
            spk, mem2 = self.lif2(self.fc(spk.flatten(1)), mem2)
            out.append(spk)
        return torch.stack(out)


class Told(Looped):
    def forward(self, x):
        return super().forward(x, STEPS)


def test_a_wrong_shape_is_told_once_with_the_right_one():
    layers = nn.Sequential(
        nn.Conv2d(1, 2, 3), leaky(init_hidden=True), nn.Flatten(), nn.Linear(18, 4),
        leaky(init_hidden=True),
    )  # fmt: skip
    for module, conv, fc in ((Told(), "conv", "fc"), (layers, "0", "3")):
        for shape, told in (
            ((5, 5, 1), rf"{conv}.* takes \[B, 1, H, W\], and gets .*Is it shape=\(1, 5, 5\)\?"),
            ((5, 5), rf"{conv}.* takes \[B, 1, H, W\], and gets .*Is it shape=\(1, 5, 5\)\?"),
            ((4, 1, 5, 5), rf"{conv}.* takes \[B, 1, H, W\].*Is it shape=\(1, 5, 5\)\?"),
            ((3, 5, 5), rf"{conv}.* takes \[B, 1, H, W\], and gets \[2, 3, 5, 5\]"),
            ((1, 8, 8), rf"{fc}.* takes 18 numbers in a row, and gets 72"),
        ):
            with pytest.raises(UnsupportedError, match=told) as error:
                from_module(module, shape)
            assert str(error.value).count("given") == 1
            assert "time=" not in str(error.value)
    flat = nn.Sequential(nn.Linear(18, 4), leaky(init_hidden=True))
    with pytest.raises(UnsupportedError, match=r"Put an nn.Flatten before it, or .*shape=\(18,\)"):
        from_module(flat, (2, 3, 3))
    flat.insert(0, nn.Flatten())
    with pytest.raises(UnsupportedError, match=r"gets 72\. .*Is it shape=\(18,\)\?"):
        from_module(flat, (4, 18))


def test_an_error_of_the_code_is_not_blamed_on_the_shape():
    """With time in front the first layer refuses, but without it the code comes further."""

    class Broken(Told):
        def forward(self, x):
            return super().forward(x)["spikes"]

    with pytest.raises(UnsupportedError, match=r"test_module_refusals.py:\d+: IndexError") as error:
        from_module(Broken(), (1, 5, 5))
    assert "on samples of shape" not in str(error.value)
    assert "time=" in error.value.hint


def test_what_a_forward_wants_beside_its_input_is_told():
    with pytest.raises(UnsupportedError, match=r"wants num_steps as well.*a default value"):
        from_module(Looped(), (1, 5, 5))
