"""Modules with a forward of their own, as tutorials write them, spike as in their package."""

from __future__ import annotations

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from snntorch import utils
from torch import nn
from torch.nn import functional

import snn2hw
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.ir.nodes import Affine, Conv2d, Delay, Leaky, Lif, Pool2d, SparseAffine
from snn2hw.simulate import floating
from snn2hw.train import ModuleStudent, from_module

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 7


def leaky(beta=0.9, **more):
    return snntorch.Leaky(beta=beta, reset_mechanism="zero", **more)


def seeded(module, seed=0):
    """Weights that make many spikes, none of them close to a threshold by chance."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv1d | nn.ConvTranspose2d):
            part.weight.data = torch.randn_like(part.weight) / part.weight[0].numel() ** 0.5 * 2
            if part.bias is not None:
                part.bias.data = torch.rand_like(part.bias) * 0.3
    return module.eval()


def spikes(*shape, samples=4, seed=0):
    return (np.random.default_rng(seed).random((samples, STEPS, *shape)) < 0.5).astype(np.float32)


def first(x):
    return torch.tensor(x).transpose(0, 1)


def agrees(module, x, call, shape=None, **known):
    """Compare with what ``call(module, tensor)`` gives, ``[N, T, ...]``; return the network."""
    shape = shape or x.shape[2:]
    net, _ = from_module(module, shape, **known)
    with torch.no_grad():
        wanted = call(module, torch.tensor(x)).numpy()
    assert wanted.any()
    found = floating.run(net, {"input": x}).answer
    assert np.array_equal(found.reshape(wanted.shape), wanted)
    measured = snn2hw.measure(module, net, x)
    assert measured["same_outputs"] == measured["same_predictions"] == 1
    ours, theirs = measured["spikes_per_sample"]
    assert ours == theirs > 0 or "max_pool" in known  # whose neurons spike as well
    return net


class Tutorial5(nn.Module):
    """snnTorch's tutorial 5: the same input at each of num_steps."""

    def __init__(self, num_steps=STEPS, record="both"):
        super().__init__()
        self.fc1 = nn.Linear(12, 20)
        self.lif1 = leaky(0.95)
        self.fc2 = nn.Linear(20, 5)
        self.lif2 = leaky(0.95)
        self.num_steps, self.record = num_steps, record

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(self.num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        found = torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)
        late = torch.arange(self.num_steps)[:, None, None]
        ways = {"both": found, "mem": found[1], "sum": found[0].sum(0), "last": spk2_rec[-1],
                "more": found[0].sum(0) + 1, "weighted": (found[0] * late).sum(0)}  # fmt: skip
        return ways[self.record]


def still(x):
    return np.repeat(x[:, :1], STEPS, 1)


def test_snntorch_tutorial_5():
    module = seeded(Tutorial5())
    x = still(spikes(12))
    net = agrees(module, x, lambda m, x: m(x[:, 0])[0].transpose(0, 1))
    assert net.time_steps == STEPS
    assert set(net.nodes) == {"input", "fc1", "lif1", "fc2", "lif2", "output"}


def test_spikes_added_up_over_time_are_the_same_answer():
    x = still(spikes(12))
    module = seeded(Tutorial5(record="sum"))
    net, _ = from_module(module, (12,))
    with torch.no_grad():
        wanted = module(torch.tensor(x[:, 0])).numpy()
    assert np.array_equal(floating.run(net, {"input": x}).answer.sum(1), wanted)
    assert snn2hw.measure(module, net, x)["same_outputs"] == 1


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ("mem", "lif2: its mem is used as a signal"),
        ("last", "what its last step gives"),
        ("more", "what its last step gives"),
        ("weighted", "what its last step gives"),
    ],
)
def test_answers_that_are_no_spikes_of_all_steps_are_refused(record, text):
    with pytest.raises(UnsupportedError, match=text):
        from_module(seeded(Tutorial5(record=record)), (12,))


def test_the_codes_own_steps_are_the_samples():
    module = seeded(Tutorial5())
    with pytest.raises(InputError, match=f"own code has {STEPS} steps, not 9"):
        from_module(module, (12,), time_steps=9)
    net, _ = from_module(module, (12,))
    with pytest.raises(InputError, match=f"{STEPS} steps, and the samples have 3"):
        snn2hw.measure(module, net, still(spikes(12))[:, :3])
    with pytest.raises(InputError, match="one input at all of its steps"):
        snn2hw.measure(module, net, spikes(12))


batch_size = 6


class Tutorial6(nn.Module):
    """snnTorch's tutorial 6: convolutions, functional pools, the size of a batch in the code."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5)
        self.lif1 = leaky(0.5)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.lif2 = leaky(0.5)
        self.fc1 = nn.Linear(6 * 2 * 2, 10)
        self.lif3 = leaky(0.5)

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        mem3 = self.lif3.init_leaky()
        spk3_rec, mem3_rec = [], []
        for _ in range(STEPS):
            cur1 = functional.avg_pool2d(self.conv1(x), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            spk2, mem2 = self.lif2(self.conv2(spk1), mem2)
            cur3 = self.fc1(functional.max_pool2d(spk2, 2).view(batch_size, -1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec, dim=0), torch.stack(mem3_rec, dim=0)


def test_snntorch_tutorial_6():
    module = seeded(Tutorial6())
    x = still(spikes(1, 16, 16, samples=batch_size))
    call = lambda m, x: m(x[:, 0])[0].transpose(0, 1)  # noqa: E731
    net = agrees(module, x, call, max_pool="neurons")
    kinds = {k: type(n) for k, n in net.nodes.items()}
    assert kinds["conv1"] is Conv2d
    assert kinds["pool"] is Pool2d
    assert kinds["max_pool"] is Lif
    with pytest.raises(UnsupportedError, match=r"test_module_forwards.py:\d+: torch.max_pool2d is"):
        from_module(module, (1, 16, 16))
    odd = still(spikes(1, 16, 16, samples=batch_size + 1))  # another batch fails in the module
    assert snn2hw.measure(module, net, odd)["same_outputs"] == 1


def test_snntorch_tutorial_7():
    """A Sequential with hidden states, whose loop is the user's."""
    module = seeded(
        nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), leaky(0.5, init_hidden=True), nn.Flatten(),
            nn.Linear(16, 5), leaky(0.5, init_hidden=True, output=True),
        )
    )  # fmt: skip

    def call(module, x):
        utils.reset(module)
        return torch.stack([module(x[:, step])[0] for step in range(x.shape[1])], 1)

    agrees(module, spikes(2, 6, 6), call)


class Steps(nn.Module):
    """A forward of one step, which takes and gives states by name, in an order of its own."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 9)
        self.lif1 = snntorch.Synaptic(0.5, 0.75)
        self.fc2 = nn.Linear(9, 4)
        self.lif2 = leaky()

    def forward(self, x, syn1, mem1, mem2):
        spk1, syn1, mem1 = self.lif1(self.fc1(x), syn1, mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return mem2, syn1, spk2, mem1


def test_states_that_a_step_takes_and_gives():
    def call(module, x):
        states, out = (None, None, None), []
        for step in range(x.shape[1]):
            mem2, syn1, spk2, mem1 = module(x[:, step], *states)
            states = syn1, mem1, mem2
            out.append(spk2)
        return torch.stack(out, 1)

    agrees(seeded(Steps()), spikes(6), call)


class OverTime(nn.Module):
    """Branches, sums, slices, a product, a loop over layers, and a record that is written into."""

    def __init__(self, *, batch_first=False):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.skip = nn.Conv2d(2, 4, 1)
        self.lif1 = leaky(0.5)
        self.merge = nn.Conv2d(6, 3, 3, bias=False)
        self.back = nn.Linear(5, 4)
        self.lif2 = leaky(0.75)
        self.fc = nn.Linear(27, 5)
        self.lif3 = leaky(0.5)
        self.batch_first = batch_first

    def forward(self, x):
        x = x.transpose(0, 1) if self.batch_first else x
        mem1, mem2, mem3 = (m.init_leaky() for m in (self.lif1, self.lif2, self.lif3))
        record = torch.zeros(x.shape[0], x.shape[1], 5)
        spk3 = torch.zeros(x.shape[1], 5)
        for step, frame in enumerate(x):
            cur = self.conv(frame) + 0.5 * self.skip(frame)
            cur += self.back(spk3)[:, :, None, None]
            spk1, mem1 = self.lif1(cur, mem1)
            both = torch.cat([spk1[:, [3, 0, 2, 1]], frame], dim=1)
            spk2, mem2 = self.lif2(self.merge(both), mem2)
            spk3, mem3 = self.lif3(self.fc(torch.flatten(spk2, 1)) * 2 - 0.25, mem3)
            record[step] = spk3
        return {"spikes": record, "used": spk1}


@pytest.mark.parametrize("batch_first", [False, True])
def test_branches_loops_and_records(batch_first):
    module = seeded(OverTime(batch_first=batch_first))

    def call(module, x):
        x = x if batch_first else x.transpose(0, 1)
        return module(x)["spikes"].transpose(0, 1)

    net = agrees(module, spikes(2, 5, 5), call)
    assert not any(isinstance(n, Delay) for n in net.nodes.values())
    shapes = {k: n.kernel.weight.shape for k, n in net.nodes.items() if isinstance(n, Conv2d)}
    assert shapes["merge"] == (3, 2, 3, 3)  # split: channels of the input, and of neurons
    assert shapes["merge_"] == (3, 4, 3, 3)


def test_the_way_with_time_can_be_said():
    for way in ("first", "batch first"):
        module = OverTime(batch_first=way == "batch first")
        net, _ = from_module(seeded(module), (2, 5, 5), time=way)
        assert net.nodes["output"].shape == (5,)
    with pytest.raises(UnsupportedError, match=r"given \[B, T, 2, 5, 5\]: "):
        from_module(seeded(OverTime()), (2, 5, 5), time="batch first")
    with pytest.raises(InputError, match="no way to take time 'last'"):
        from_module(OverTime(), (2, 5, 5), time="last")


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.pool = nn.AvgPool1d(2)
        self.lif1, self.lif2 = leaky(), leaky(0.5)

    def forward(self, x):
        """One step; a layer without a memory may be used again."""
        spk1, _ = self.lif1(self.fc(x))
        spk2, _ = self.lif2(self.fc(spk1) + torch.cat([self.pool(x[:, None])[:, 0]] * 2, 1))
        return spk2


def stepped(module, x):
    utils.reset(module)
    return torch.stack([module(x[:, step]) for step in range(x.shape[1])], 1)


def test_a_layer_without_a_memory_may_be_used_again():
    net = agrees(seeded(Twice()), spikes(8), stepped)
    assert {"fc", "fc_"} <= set(net.nodes)


class Block(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"fc": nn.Linear(features, features), "lif": leaky(init_hidden=True)})
            for _ in range(3)
        )

    def forward(self, x):
        for layer in self.layers:
            x = layer["lif"](layer["fc"](x)) + x
        return x


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 10), leaky(init_hidden=True))
        self.blocks = nn.DataParallel(Block(10))
        self.head = nn.Linear(10, 4)
        self.last = leaky(init_hidden=True)

    def forward(self, x):
        return self.last(self.head(self.blocks(self.body(x))))


@pytest.mark.parametrize("wrap", ["plain", "compile", "parallel", "double", "half", "trained"])
def test_nested_and_wrapped_modules(wrap):
    module = seeded(Nested())
    x = spikes(6)
    wanted = from_module(module, (6,))[0]
    assert {"body.0", "blocks.layers.2.lif", "last"} <= set(wanted.nodes)
    if wrap == "plain":
        agrees(module, x, stepped)
        return
    if wrap == "trained":  # states of another batch, on a graph of gradients
        module(torch.rand(9, 6))
    ways = {"compile": torch.compile, "parallel": nn.DataParallel, "double": nn.Module.double,
            "half": nn.Module.half}  # fmt: skip
    net, _ = from_module(ways.get(wrap, lambda m: m)(module), (6,))
    assert net.edges == wanted.edges
    assert np.allclose(net.nodes["head"].weight, wanted.nodes["head"].weight, atol=1e-3)


class Layers(nn.Module):
    """Layers that change shapes; of one step."""

    def __init__(self):
        super().__init__()
        self.norm0 = nn.BatchNorm2d(2)
        self.pad = nn.ZeroPad2d((1, 2, 0, 1))
        self.conv = nn.Conv2d(2, 3, 2, padding_mode="circular", padding=1)
        self.lif1 = leaky(0.5, init_hidden=True)
        self.up = nn.ConvTranspose2d(3, 2, 2, stride=2)
        self.lif2 = leaky(0.5, init_hidden=True)
        self.nearest = nn.Upsample(scale_factor=2)
        self.smooth = nn.Upsample(size=(5, 5), mode="bilinear")
        self.lif3 = leaky(0.5, init_hidden=True)
        self.average = nn.AdaptiveAvgPool2d((3, 2))
        self.ceil = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False, padding=1)
        self.inner = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.divided = nn.AvgPool2d(2, divisor_override=3)
        self.fc = nn.Linear(2 * (6 + 9 + 9 + 4), 4)
        self.norm = nn.BatchNorm1d(4)
        self.lif4 = leaky(0.5, init_hidden=True)

    def forward(self, x):
        x = self.lif1(self.conv(self.pad(self.norm0(x))))
        x = self.lif2(self.up(x))
        x = self.lif3(self.smooth(self.nearest(x)))
        ends = [self.average(x).flatten(1), self.ceil(x).reshape(len(x), -1)]
        ends += [self.inner(x).flatten(1), self.divided(x).flatten(1)]
        x = torch.cat([end * 1.5 for end in ends], dim=-1).clone().detach()
        return self.lif4(self.norm(self.fc(x)) + x.mean(dim=1, keepdim=True))


def test_layers_that_change_shapes():
    module = seeded(Layers())
    for norm in (module.norm0, module.norm):
        norm.running_mean.data.uniform_(-0.2, 0.2)
        norm.running_var.data.uniform_(0.5, 2)
    module.norm.bias.data.fill_(0.6)
    net = agrees(module, spikes(2, 4, 4), stepped)
    kinds = {k: type(n) for k, n in net.nodes.items()}
    assert kinds["up"] is kinds["smooth"] is SparseAffine
    assert kinds["fc"] is Affine
    snn2hw.build(net, time_steps=STEPS)


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d((2, 0, 1, 1))
        self.conv = nn.Conv2d(2, 4, 3, stride=2, groups=2)
        self.lif = leaky(0.5, init_hidden=True)

    def forward(self, x):
        return self.lif(self.conv(self.pad(x)))


def test_zeros_around_an_image_are_the_convolutions():
    net = agrees(seeded(Padded()), spikes(2, 5, 7), stepped)
    assert set(net.nodes) == {"input", "conv", "lif", "output"}
    assert net.nodes["conv"].kernel.padding == (1, 2)
    assert net.nodes["conv"].kernel.weight.shape[3] == 5  # two columns of zeros behind


class Functional(nn.Module):
    """Weights that are parameters, and functions instead of layers."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 2, 3, 3) / 2)
        self.weight = nn.Parameter(torch.randn(6, 48) / 3)
        self.matrix = nn.Parameter(torch.randn(6, 4))
        self.lif1, self.lif2, self.lif3 = (leaky(0.5, init_hidden=True) for _ in range(3))
        self.scale = nn.Parameter(torch.rand(6))

    def forward(self, x):
        x = (x - 0.5) / 0.25 + 1
        x = functional.conv2d(x, self.kernel, padding=1)
        x = self.lif1(x).permute(0, 1, 3, 2).contiguous().view(-1, 48)
        x = self.lif2(functional.linear(x, self.weight))
        return self.lif3(torch.einsum("bi,ij->bj", x * self.scale, self.matrix) + x[:, :4])


def test_functions_and_parameters():
    agrees(seeded(Functional()), spikes(2, 4, 4), stepped)


class Delayed(nn.Module):
    """The step before is heard by another layer, and by the same one twice."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.lif1, self.lif2 = leaky(0.5), leaky(0.75)

    def forward(self, x):
        mem1 = mem2 = None
        before = older = torch.zeros(x.shape[1], 6)
        out = []
        for frame in x:
            spk1, mem1 = self.lif1(self.fc1(frame), mem1)
            cur = self.fc3(spk1 + before) + self.fc3(self.fc2(older))
            spk2, mem2 = self.lif2(cur, mem2)
            older, before = before, spk1
            out.append(spk2)
        return torch.stack(out, 1)


def test_spikes_of_earlier_steps_wait_in_delays():
    net = agrees(seeded(Delayed()), spikes(5), lambda m, x: m(x.transpose(0, 1)))
    delays = [n.delay.max() / net.dt for n in net.nodes.values() if isinstance(n, Delay)]
    assert sorted(np.rint(delays)) == [1, 2]


class Joined(nn.Module):
    """What neurons hear without weights between: parts, the same twice, a vector as an image."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 48)
        self.lif1, self.lif2, self.lif3 = (leaky(0.5, init_hidden=True) for _ in range(3))
        self.lif4, self.lif5 = (leaky(0.5, init_hidden=True) for _ in range(2))
        self.conv = nn.Conv2d(3, 2, 3)
        self.last = nn.Linear(8, 5)
        self.groups = nn.Conv2d(2, 4, 3, groups=2, padding=1)
        self.gain = torch.tensor([0.5, 2.0])[:, None, None]

    def forward(self, x):
        image = self.lif1(self.fc(x)).view(-1, 3, 4, 4)
        spk = self.lif2(self.conv(image))
        spk = (spk + self.groups(spk * self.gain)[:, :2].mean((2, 3), keepdim=True)).flatten(1)
        spk = self.lif5(spk)
        spk = self.lif3(torch.cat([1 - spk[:, :3], spk[:, 3:] * 2], 1))
        cur = self.last(1 - spk)
        return self.lif4(cur + cur + spk[:, :5])


def test_neurons_that_hear_parts_of_others():
    net = agrees(seeded(Joined()), spikes(8), stepped)
    assert isinstance(net.nodes["lif3.in"], SparseAffine)
    assert net.nodes["lif3.in"].bias.tolist() == [1.0] * 3 + [0.0] * 5


class Heads(nn.Module):
    def __init__(self, *, named):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.fc1, self.fc2 = nn.Linear(8, 3), nn.Linear(8, 2)
        self.lif0, self.lif1, self.lif2 = leaky(), leaky(), leaky()
        self.named = named

    def forward(self, x):
        mem0 = mem1 = mem2 = None
        ends = [], []
        for frame in x:
            spk0, mem0 = self.lif0(self.body(frame), mem0)
            spk1, mem1 = self.lif1(self.fc1(spk0), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk0), mem2)
            ends[0].append(spk1)
            ends[1].append(spk2)
        one, two = (torch.stack(end) for end in ends)
        return {"label": one, "box": two} if self.named else (one, two)


def test_several_heads_are_several_outputs():
    x = spikes(6)
    for named, names in ((True, ["label", "box"]), (False, ["output0", "output1"])):
        module = seeded(Heads(named=named))
        net, _ = from_module(module, (6,))
        assert [net.nodes[name].shape for name in names] == [(3,), (2,)]
        with torch.no_grad():
            found = module(first(x))
        wanted = list(found.values()) if named else found
        outputs = floating.run(net, {"input": x}).outputs
        for name, answer in zip(names, wanted, strict=True):
            assert np.array_equal(outputs[name], answer.transpose(0, 1).numpy())
        labels = wanted[1].sum(0).argmax(1).numpy()
        found = snn2hw.measure(module, net, x, labels, output=names[1])
        assert found["same_outputs"] == found["same_predictions"] == 1
        assert found["accuracy"] == [1, 1]
        with pytest.raises(InputError, match="2 outputs"):
            snn2hw.measure(module, net, x)
        with pytest.raises(InputError, match=r"gives 2 answers .* and one is trained"):
            ModuleStudent(module, (6, 1, 1), 3, 1, STEPS)
        with pytest.raises(InputError, match=f"no output '{names[0]}s'.*'{names[0]}'"):
            snn2hw.measure(module, net, x, output=f"{names[0]}s")


def test_membranes_that_never_reset_are_an_answer():
    module = seeded(Tutorial5(record="mem"))
    module.lif2 = snntorch.Leaky(0.9, reset_mechanism="none")
    net, _ = from_module(module, (12,))
    assert isinstance(net.nodes["lif2"], Leaky)
    assert "lif2.spikes" not in net.nodes  # nobody hears them
    x = still(spikes(12))
    with torch.no_grad():
        wanted = module(torch.tensor(x[:, 0])).transpose(0, 1).numpy()
    assert np.allclose(floating.run(net, {"input": x}).answer, wanted, atol=1e-5)


def test_scripts_and_random_numbers_are_refused():
    script = torch.jit.script(nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(UnsupportedError, match=r"Give it as it was before torch\.jit"):
        from_module(nn.Sequential(script, leaky()), (3,))

    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = leaky(init_hidden=True)

        def forward(self, x):
            return self.lif(functional.dropout(x))

    with pytest.raises(UnsupportedError, match=r"torch.bernoulli is random .* nn\.Dropout"):
        from_module(Drops(), (3,))


class Norse(nn.Module):
    """Norse's documentation: a loop over time with states in the user's hands."""

    def __init__(self, *, readout=False):
        super().__init__()
        self.fc = nn.Linear(8, 10)
        self.lif = norse.LIFRecurrentCell(10, 10, norse.LIFParameters(v_th=torch.tensor(0.03)))
        self.box = norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.03)))
        self.out = nn.Linear(10, 3)
        self.li = norse.LICell()
        self.readout = readout

    def forward(self, x):
        s1 = s2 = s3 = None
        found = []
        for ts in range(x.shape[0]):
            z, s1 = self.lif(self.fc(x[ts]), s1)
            z, s2 = self.box(self.out(z), s2)
            v, s3 = self.li(z, s3)
            found.append(v if self.readout else z)
        return torch.stack(found)


def test_norse_with_a_loop_of_its_own():
    agrees(seeded(Norse(), 3), spikes(8) * 4, lambda m, x: m(x.transpose(0, 1)).transpose(0, 1))
    module = seeded(Norse(readout=True), 3)
    net, _ = from_module(module, (8,))
    assert isinstance(net.nodes["li"], Leaky)
    x = spikes(8) * 4
    with torch.no_grad():
        wanted = module(first(x)).transpose(0, 1).numpy()
    assert np.allclose(floating.run(net, {"input": x}).answer, wanted, atol=1e-6)


def test_norse_lifted_and_sequential():
    lifted = norse.SequentialState(
        norse.Lift(nn.Conv2d(1, 3, 3)), norse.LIF(), norse.Lift(nn.Flatten()),
        norse.Lift(nn.Linear(27, 6)), norse.LIFRecurrent(6, 6), norse.Lift(nn.Linear(6, 4)),
        norse.Lift(norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1)))),
    )  # fmt: skip
    call = lambda m, x: m(x.transpose(0, 1))[0][0].transpose(0, 1)  # noqa: E731
    agrees(seeded(lifted, 1), spikes(1, 5, 5) * 4, call)


def test_the_users_line_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act, self.lif = nn.Linear(4, 4), nn.Tanh(), leaky(init_hidden=True)

        def forward(self, x):
            x = self.act(self.fc(x))
            x = torch.sort(x).values
            spk = self.lif(x)
            if spk.sum() > 100:
                return spk
            return spk * spk

    with pytest.raises(UnsupportedError) as error:
        from_module(Net(), (4,))
    line = Net.forward.__code__.co_firstlineno
    for text in (
        f"act (test_module_forwards.py:{line + 1}): Tanh does not spike",
        f"test_module_forwards.py:{line + 2}: torch.sort has no form in a spiking network",
        f"test_module_forwards.py:{line + 4}: torch.local_scalar_dense makes what the code does",
        f"test_module_forwards.py:{line + 6}: torch.mul multiplies signals with each other",
    ):
        assert text in str(error.value)


class Odd(nn.Module):
    """A step of each kind that is not as the others."""

    def __init__(self, way):
        super().__init__()
        self.fc, self.lif = nn.Linear(4, 4), leaky()
        self.norse = norse.LIFBoxCell()
        self.way = way

    def forward(self, x):
        mem, out, seen = self.lif.init_leaky(), [], torch.zeros(x.shape[1], 4)
        kept = None
        for step, frame in enumerate(x):
            cur = self.fc(frame)
            if self.way == "twice":
                _, mem = self.lif(cur, mem)
            if self.way == "first step" and step == 0:
                cur = cur * 2
            if self.way == "noise":
                cur = cur + torch.randn_like(cur)
            if self.way == "start" and step == 0:
                seen = torch.ones(x.shape[1], 4)
            cur = torch.from_numpy(np.tanh(cur.numpy())) if self.way == "numpy" else cur
            cur, kept = (kept if (self.way, step) == ("stale", 3) else cur), cur
            if self.way == "other state":
                mem = mem * 0.5
            if self.way == "anew":
                cur, _ = self.norse(cur)
            if self.way == "membrane":
                cur = cur + seen
            spk, mem = self.lif(cur + (seen if self.way == "start" else 0), mem)
            seen = mem if self.way == "membrane" else spk
            out.append(spk)
        return torch.stack(out)


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("twice", r"lif \(.*\): Leaky is called 50 times in 25 steps: make a module for each use"),
        ("first step", r"Leaky hears something else at step 0 than at step 24"),
        ("stale", r"Leaky hears something else at step 3 than at step 24"),
        ("noise", r"torch.randn_like is random at each call"),
        ("start", r"hears other numbers at step 0 .* states have to start from 0"),
        ("numpy", r"lif \(.*\): Leaky hears nothing that comes from the input"),
        ("other state", r"Leaky is given another mem than the one that it left"),
        ("anew", r"LIFBoxCell starts anew at each step: hand over the state"),
        ("membrane", r"lif: its mem is used as a signal, and neurons that reset send nothing"),
    ],
)
def test_steps_that_are_not_alike_are_refused(way, text):
    with pytest.raises(UnsupportedError, match=text):
        from_module(seeded(Odd(way)), (4,), time="first")


class Ahead(nn.Module):
    def __init__(self):
        super().__init__()
        self.lif = leaky()

    def forward(self, x):
        mem, out = None, []
        for step in range(len(x) - 1):
            spk, mem = self.lif(x[step + 1], mem)
            out.append(spk)
        return torch.stack(out)


def test_what_is_to_come_cannot_be_heard():
    with pytest.raises(UnsupportedError, match="Leaky hears what later steps bring"):
        from_module(Ahead(), (3,), time="first")


class Mixes(nn.Module):
    def __init__(self, *, dense):
        super().__init__()
        self.fc, self.lif, self.dense = nn.Linear(6, 3), leaky(init_hidden=True), dense

    def forward(self, x):
        return self.lif(self.fc(torch.cat([x, x.flip(0)], 1)) if self.dense else x.flip(0))


class Large(nn.Module):
    """A batch of 50 in the code, of which only two samples are followed; or all, if they mix."""

    def __init__(self, *, mixes):
        super().__init__()
        self.fc, self.lif, self.mixes = nn.Linear(6, 4), leaky(init_hidden=True), mixes

    def forward(self, x):
        x = x.reshape(50, -1)
        x = x + x.roll(1, 0) if self.mixes else x + x.mean(1, keepdim=True)
        return self.lif(self.fc(x))


def test_the_size_of_a_batch_in_the_code():
    agrees(seeded(Large(mixes=False)), spikes(2, 3, samples=50), stepped)
    with pytest.raises(UnsupportedError, match="mixes the samples of a batch"):
        from_module(Large(mixes=True), (2, 3), time="outside")


@pytest.mark.parametrize(
    ("dense", "text"),
    [(True, "torch.addmm|fc .*Linear mixes the samples"), (False, "of several samples as one")],
)
def test_samples_are_kept_apart(dense, text):
    with pytest.raises(UnsupportedError, match=text):
        from_module(Mixes(dense=dense), (3,), time="outside")


class Mean(nn.Module):
    """Two populations side by side, and their mean over time: no one of them is the answer."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 3), nn.Linear(5, 2)
        self.lif1, self.lif2 = leaky(), leaky(0.5)

    def forward(self, x):
        mem1 = mem2 = None
        out = []
        for frame in x:
            spk1, mem1 = self.lif1(self.fc1(frame), mem1)
            spk2, mem2 = self.lif2(self.fc2(frame), mem2)
            out.append(torch.cat([spk1, spk2], 1))
        return torch.stack(out).mean(0)


def test_the_mean_over_time_of_several_populations():
    module, x = seeded(Mean()), spikes(5)
    net, _ = from_module(module, (5,))
    with torch.no_grad():
        wanted = module(first(x)).numpy()
    assert wanted.any()
    assert np.allclose(floating.run(net, {"input": x}).answer.sum(1) / STEPS, wanted)
    assert snn2hw.measure(module, net, x)["same_outputs"] == 1
