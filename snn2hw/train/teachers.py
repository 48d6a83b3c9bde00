# pyright: basic
"""Teachers: ordinary networks that classify, and weights for them from elsewhere.

The residual networks (He et al., 2016) have torchvision's parameter names and layout, those of the
CIFAR family Y. Idelbayev's (github.com/akamaster/pytorch_resnet_cifar10), so that published weights
load as they are. Images under 64 pixels get torchvision's networks with a 3x3 stem without max
pooling.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snn2hw.archives import check_zip, read_npz
from snn2hw.errors import InputError
from snn2hw.files import check_file, reading
from snn2hw.processes import bounded
from snn2hw.train.convolution import convolution
from snn2hw.train.names import Names, built
from snn2hw.train.scaling import Scale, Scaled, Scaling, unit
from snn2hw.train.state import finite, read_tensors

SMALL_SIDE = 64


class Settings(NamedTuple):
    """What every teacher is built from. Integers up to ``max_value`` are seen as 0 to 1.

    ``scaling`` says otherwise, for weights that were trained on other numbers.
    """

    shape: tuple[int, int, int]
    classes: int
    max_value: int
    scaling: Scaling | None = None

    def scale(self) -> Scale:
        """Return the module in front of the first layer."""
        return Scale(self.scaling or unit(self.max_value))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


class Layer(NamedTuple):
    """Modules of a teacher, by dotted name, that make one synapse of a student.

    ``weight`` is None for a shortcut without parameters.
    """

    weight: str | None
    norm: str | None = None


class Layers(NamedTuple):
    """What a student of the same architecture takes from a teacher.

    Args:
        synapses: layer by the student's synapse; of the last dense layer too.
        activations: by the student's population, the module whose output, rectified, is the
            activation that its spikes stand for.
        pools: side of the maximum pooling in front of layers that have one.
    """

    synapses: Mapping[str, Layer]
    activations: Mapping[str, str]
    pools: Mapping[str, int] = {}


class Copied(Scaled):
    """A teacher that a student of the same architecture can take its weights from."""

    def layers(self) -> Layers:
        """Return its layers by the names of that student's."""
        raise NotImplementedError

    def stages(self) -> list[str]:
        """Return the modules whose outputs are the features of ``Student.stages``."""
        raise NotImplementedError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(into, width, 3, stride), _norm(width)
        self.conv2, self.bn2 = convolution(width, width, 3), _norm(width)
        self.downsample = _shortcut(into, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, into, H, W]`` to ``[B, width, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision has it) and 1x1 around a shortcut."""

    expansion = 4

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1, self.bn1 = convolution(into, width, 1), _norm(width)
        self.conv2, self.bn2 = convolution(width, width, 3, stride), _norm(width)
        self.conv3, self.bn3 = convolution(width, out, 1), _norm(out)
        self.downsample = _shortcut(into, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, into, H, W]`` to ``[B, 4 width, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


def _shortcut(into: int, out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and into == out:
        return None
    return nn.Sequential(convolution(into, out, 1, stride), _norm(out))


class ResNet(Copied):
    """A residual network for images ``[B, C, H, W]`` of integers.

    Args:
        settings: image shape, classes, largest pixel.
        block: ``BasicBlock`` or ``Bottleneck``.
        depths: blocks in each of the four stages.
    """

    def __init__(
        self,
        settings: Settings,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
    ) -> None:
        super().__init__()
        channels, height, width = settings.shape
        self.scale = settings.scale()
        small = min(height, width) < SMALL_SIDE
        self.conv1 = convolution(channels, 64, 3) if small else convolution(channels, 64, 7, 2)
        self.bn1 = _norm(64)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        into = 64
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(block(into, 64 * 2**stage, stride))
                into = 64 * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(into, settings.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.fc.weight.dtype)
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))

    def layers(self) -> Layers:
        """Return its layers by the names of a ``spiking-resnet``'s."""
        pools = {} if isinstance(self.maxpool, nn.Identity) else {"layer1": 3}
        return _residual_layers(self, "fc", pools)

    def stages(self) -> list[str]:
        """Return the four stages."""
        return [f"layer{n}" for n in (1, 2, 3, 4)]


def _residual_layers(network: nn.Module, last: str, pools: Mapping[str, int]) -> Layers:
    synapses = {"conv1": Layer("conv1", "bn1")}
    activations = {"lif1": "bn1"}
    for stage in range(1, 5):
        blocks: Any = getattr(network, f"layer{stage}", ())
        for number, block in enumerate(blocks):
            name = f"layer{stage}.{number}"
            convs = [n for n, _ in block.named_children() if n.startswith("conv")]
            for conv in convs:
                at = conv[4:]
                synapses[f"{name}.conv{at}"] = Layer(f"{name}.conv{at}", f"{name}.bn{at}")
                # A block's last neurons stand for the block's own rectifier.
                ends = name if conv == convs[-1] else f"{name}.bn{at}"
                activations[f"{name}.lif{at}"] = ends
            shortcut = Layer(None)
            if getattr(block, "downsample", None) is not None:
                shortcut = Layer(f"{name}.downsample.0", f"{name}.downsample.1")
            synapses[f"{name}.shortcut"] = shortcut
    return Layers(synapses | {"fc": Layer(last)}, activations, pools)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters.

    Where the size changes, every second pixel passes and the new channels are zeros, half of
    them on each side (He et al., 2016, option A).
    """

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(into, width, 3, stride), _norm(width)
        self.conv2, self.bn2 = convolution(width, width, 3), _norm(width)
        self.stride, self.added = stride, (width - into) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, into, H, W]`` to ``[B, width, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        passed = x[:, :, :: self.stride, :: self.stride]
        passed = functional.pad(passed, (0, 0, 0, 0, self.added, self.added))
        return functional.relu(out + passed)


class CifarResNet(Copied):
    """The residual network of ``depth`` layers for small images (He et al., 2016, sec. 4.2)."""

    def __init__(self, settings: Settings, depth: int) -> None:
        super().__init__()
        self.scale = settings.scale()
        self.conv1, self.bn1 = convolution(settings.shape[0], 16, 3), _norm(16)
        into = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks: list[nn.Module] = []
            for number in range((depth - 2) // 6):
                blocks.append(CifarBlock(into, width, 2 if stage and not number else 1))
                into = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, settings.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.linear.weight.dtype)
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.linear(x.mean((2, 3)))

    def layers(self) -> Layers:
        """Return its layers by the names of the student of the same name."""
        return _residual_layers(self, "linear", {})

    def stages(self) -> list[str]:
        """Return the three stages."""
        return [f"layer{n}" for n in (1, 2, 3)]


class Cnn(Copied):
    """Three convolutions with batch norm and a dense layer: seconds to train."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        channels, height, width = settings.shape
        self.scale = settings.scale()
        first = 2 if min(height, width) > 16 else 1
        layers: list[nn.Module] = []
        for into, out, stride in ((channels, 32, first), (32, 64, 2), (64, 64, 1)):
            layers += [convolution(into, out, 3, stride), _norm(out), nn.ReLU()]
            height, width = -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(64 * height * width, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.fc.weight.dtype)
        return self.fc(self.features(x).flatten(1))

    def layers(self) -> Layers:
        """Return its layers by the names of the student ``convs``."""
        synapses = {
            f"conv{n}": Layer(f"features.{3 * n - 3}", f"features.{3 * n - 2}") for n in (1, 2, 3)
        }
        activations = {f"lif{n}": f"features.{3 * n - 1}" for n in (1, 2, 3)}
        return Layers(synapses | {"fc1": Layer("fc")}, activations)

    def stages(self) -> list[str]:
        """Return the three rectifiers."""
        return list(self.layers().activations.values())


class Chain(Copied):
    """Named layers one after another, each with batch norm and a rectifier, and a dense layer.

    Args:
        settings: image shape, classes, largest pixel.
        channels: of 3x3 convolutions, the image halved by averages after each.
        hidden: sizes of the dense layers.
    """

    def __init__(self, settings: Settings, channels: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        into, height, width = settings.shape
        if min(height, width) < 2 ** len(channels):
            raise InputError(
                f"Images of {height}x{width} are too small to be halved {len(channels)} times.",
                f"Use a teacher that halves less often, or images of {2 ** len(channels)} pixels.",
            )
        self.scale = settings.scale()
        self.convs = nn.Sequential()
        self.dense = nn.Sequential()
        for number, out in enumerate(channels, 1):
            self.convs.add_module(f"conv{number}", convolution(into, out, 3))
            self.convs.add_module(f"bn{number}", _norm(out))
            self.convs.add_module(f"relu{number}", nn.ReLU())
            self.convs.add_module(f"pool{number}", nn.AvgPool2d(2))
            into, height, width = out, height // 2, width // 2
        into *= height * width
        for number, out in enumerate(hidden, 1):
            self.dense.add_module(f"fc{number}", nn.Linear(into, out, bias=False))
            self.dense.add_module(f"bn{number}", nn.BatchNorm1d(out))
            self.dense.add_module(f"relu{number}", nn.ReLU())
            into = out
        self.fc = nn.Linear(into, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, classes]``."""
        x = self.scale(x).to(self.fc.weight.dtype)
        return self.fc(self.dense(self.convs(x).flatten(1)))

    def layers(self) -> Layers:
        """Return its layers by the names of the student of the same name."""
        synapses: dict[str, Layer] = {}
        activations: dict[str, str] = {}
        for part, kind in (("convs", "conv"), ("dense", "fc")):
            count = sum(n.startswith(kind) for n, _ in self.get_submodule(part).named_children())
            for n in range(1, count + 1):
                synapses[f"{kind}{n}"] = Layer(f"{part}.{kind}{n}", f"{part}.bn{n}")
                activations[f"lif{len(synapses)}"] = f"{part}.relu{n}"
        last = 1 + sum(name.startswith("fc") for name in synapses)
        return Layers(synapses | {f"fc{last}": Layer("fc")}, activations)

    def stages(self) -> list[str]:
        """Return the rectifiers."""
        return list(self.layers().activations.values())


class Entry(NamedTuple):
    """One row of ``TEACHERS``."""

    build: Callable[[Settings], Scaled]
    description: str


def _cifar(depth: int, millions: str) -> Entry:
    about = f"He et al., 2016, for CIFAR, {millions} M"
    return Entry(lambda settings: CifarResNet(settings, depth), about)


def _mlp(sizes: Sequence[int]) -> Entry:
    return Entry(lambda s: Chain(s, (), sizes), "dense layers with batch norm; any sizes")


def _cnn(sizes: Sequence[int]) -> Entry:
    about = "3x3 convolutions, each halved by averages, and one hidden dense layer; any sizes"
    return Entry(lambda s: Chain(s, sizes[:-1], sizes[-1:]), about)


TEACHERS: Names[Entry] = Names(
    {
        "cnn": Entry(Cnn, "three convolutions and a dense layer"),
        "resnet18": Entry(lambda s: ResNet(s, BasicBlock, (2, 2, 2, 2)), "He et al., 2016, 11.7 M"),
        "resnet34": Entry(lambda s: ResNet(s, BasicBlock, (3, 4, 6, 3)), "He et al., 2016, 21.8 M"),
        "resnet50": Entry(lambda s: ResNet(s, Bottleneck, (3, 4, 6, 3)), "He et al., 2016, 25.6 M"),
        "resnet20": _cifar(20, "0.27"),
        "resnet32": _cifar(32, "0.46"),
        "resnet44": _cifar(44, "0.66"),
        "resnet56": _cifar(56, "0.85"),
        "resnet110": _cifar(110, "1.7"),
        "mlp": _mlp((512, 512)),
        "mlp-512-512": _mlp((512, 512)),
        "cnn-32-64-256": _cnn((32, 64, 256)),
    },
    {"mlp": _mlp, "cnn": _cnn},
)


def make_teacher(name: str, settings: Settings) -> Scaled:
    """Build a teacher by name.

    Raises:
        InputError: there is no such teacher, or it is too large for any memory.
    """
    entry = TEACHERS.find("teacher", name)
    return built("teacher", name, lambda: entry.build(settings))


class Loaded(NamedTuple):
    """What ``load_weights`` did: entries it took, and those it left as they were, with why."""

    taken: tuple[str, ...]
    kept: Mapping[str, str]


TORCH_SUFFIXES = (".pt", ".pth", ".th")
# Bytes that describe a file's tensors (a thousand take 100 kB), and how small the pieces are that
# they are read in. PyTorch takes a second and 160 MB for each 2 MB.
MOST_DESCRIPTION, PIECE = 2 << 20, 1 << 16
ROOM = 512 << 20  # bytes that reading any file may take; more, four times what the file has

# Published weights are for other images and other classes: these two ends may differ.
ENDS = ("conv1.weight", "fc.weight", "fc.bias", "linear.weight", "linear.bias")


def load_weights(module: nn.Module, path: Path) -> Loaded:
    """Put weights from a file into a module: see ``read_weights`` for the kinds.

    Names must match exactly. A first convolution or last dense layer of another shape is left
    as it was (trained anew), and said so in the answer.

    Raises:
        InputError: the file cannot be read safely, or names or shapes differ.
    """
    found = _strip(read_weights(path))
    wanted = module.state_dict()
    optional = {k for k in wanted if k.endswith("num_batches_tracked")}
    differ = {
        k: f"{tuple(found[k].shape)} in the file, {tuple(wanted[k].shape)} in the network"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    }
    kept = {k: v for k, v in differ.items() if k in ENDS}
    for last in ("fc", "linear"):
        if f"{last}.weight" in kept and f"{last}.bias" in found:
            kept.setdefault(f"{last}.bias", f"goes with {last}.weight")
    missing = sorted(wanted.keys() - found.keys() - optional)
    unexpected = sorted(found.keys() - wanted.keys())
    misshapen = [f"{k}: {v}" for k, v in differ.items() if k not in ENDS]
    if missing or unexpected or misshapen:
        raise _mismatch(path, missing, unexpected, misshapen)
    taken = {k: v for k, v in found.items() if k not in kept}
    broken = [k for k, v in taken.items() if v.is_floating_point() and not finite(v)]
    if broken:
        raise InputError(f"{path} holds NaN or infinity in {', '.join(broken[:6])}.")
    module.load_state_dict(taken, strict=False)
    return Loaded(tuple(sorted(taken)), kept)


def _mismatch(
    path: Path, missing: list[str], unexpected: list[str], misshapen: list[str]
) -> InputError:
    parts = []
    for what, names in (
        ("lacks", missing),
        ("has, unexpected,", unexpected),
        ("has in another shape", misshapen),
    ):
        if names:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            parts.append(f"{what} {', '.join(names[:6])}{more}")
    return InputError(
        f"{path} does not hold this network's weights: it {'; it '.join(parts)}.",
        "Choose the teacher that the file was made with: see `snn2hw models`.",
    )


def _strip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the ``module.`` that training on several devices puts in front of every name."""
    if tensors and all(k.startswith("module.") for k in tensors):
        return {k.removeprefix("module."): v for k, v in tensors.items()}
    return tensors


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors without running code from the file.

    Raises:
        InputError: there is no such file, or it is not what its ending says.
    """
    known = {".safetensors": lambda: read_tensors(path)[0], ".npz": lambda: _read_npz(path)}
    known |= dict.fromkeys(TORCH_SUFFIXES, lambda: _read_torch(path))
    check_file(path, "a file of weights")
    if path.suffix not in known:
        raise InputError(f"{path} is of no kind known for weights.", f"Known: {', '.join(known)}.")
    found = known[path.suffix]()
    odd = [k for k, v in found.items() if not _is_plain(v)]
    if odd:
        raise InputError(f"{path} holds what is no array of numbers: {', '.join(odd[:6])}.")
    return found


def _is_plain(tensor: Tensor) -> bool:
    kind = tensor.is_complex() or tensor.is_quantized or tensor.is_meta
    return not kind and tensor.layout == torch.strided


def _read_npz(path: Path) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in read_npz(path).items()}


class _Described(io.BufferedReader):
    """A file of tensors whose description, which PyTorch reads in small pieces, is limited."""

    left = MOST_DESCRIPTION

    def count(self, size: int) -> None:
        """Count bytes of the description."""
        self.left -= size
        if self.left < 0:
            raise ValueError(f"its description has more than {MOST_DESCRIPTION:,} bytes")

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and 0 <= size < PIECE:
            self.count(size)
        if size is not None and size > max(MOST_DESCRIPTION, os.fstat(self.fileno()).st_size):
            raise EOFError(f"it tells of {size:,} bytes, which it does not have")
        return super().read(size)


def _read_torch(path: Path) -> dict[str, Tensor]:
    hint = "Save module.state_dict(), not the module."
    with reading(path, "a file of tensors only", hint), _Described(io.FileIO(path)) as file:
        if zipfile.is_zipfile(path):
            check_zip(path, ratio=1)  # PyTorch does not compress
            with zipfile.ZipFile(path) as archive:
                sizes = [i.file_size for i in archive.infolist() if i.filename.endswith(".pkl")]
            file.count(sum(sizes))
        try:
            room = ROOM + 4 * path.stat().st_size
            with warnings.catch_warnings(), bounded(room):
                warnings.simplefilter("ignore")  # of odd pickles: they are judged here
                content = torch.load(file, map_location="cpu", weights_only=True)
        except MemoryError:
            raise InputError(
                f"{path} asks for more memory than a file of its size should.", hint
            ) from None
        except pickle.UnpicklingError:  # PyTorch's text says how to run what is in the file
            raise InputError(
                f"{path} holds more than tensors, and could run code: it is not loaded.", hint
            ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path} holds no state_dict.", hint)
    return {str(k): v for k, v in content.items()}
