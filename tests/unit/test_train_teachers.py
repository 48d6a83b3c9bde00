import zipfile

import numpy as np
import pytest
import torch
from shared import DATA, needs_data

from snn2hw import datasets
from snn2hw.archives import check_zip
from snn2hw.errors import InputError
from snn2hw.train import evaluate
from snn2hw.train.scaling import find_scaling
from snn2hw.train.state import write_tensors
from snn2hw.train.teachers import Settings, make_teacher
from snn2hw.train.weights import load_weights

SMALL = Settings((3, 32, 32), 10, 255)


@pytest.fixture(scope="module")
def small():
    return make_teacher("resnet18", SMALL)


def test_resnet34_is_torchvisions():
    state = make_teacher("resnet34", Settings((3, 224, 224), 1000, 255)).state_dict()
    floats = [v for k, v in state.items() if "running" not in k and "tracked" not in k]
    assert sum(v.numel() for v in floats) == 21_797_672
    assert len(state) == 218
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer1.2.bn2.running_var"].shape == (64,)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert state["layer2.0.downsample.1.bias"].shape == (128,)
    assert state["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert state["fc.weight"].shape == (1000, 512)


def test_resnet50_is_torchvisions():
    state = make_teacher("resnet50", Settings((3, 224, 224), 1000, 255)).state_dict()
    floats = [v for k, v in state.items() if "running" not in k and "tracked" not in k]
    assert sum(v.numel() for v in floats) == 25_557_032
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer3.5.conv3.weight"].shape == (1024, 256, 1, 1)


def test_logits(small):
    assert small(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 10)
    assert small.conv1.kernel_size == (3, 3)
    big = make_teacher("resnet18", Settings((1, 64, 64), 3, 255)).eval()
    assert big(torch.zeros(1, 1, 64, 64, dtype=torch.uint8)).shape == (1, 3)


@needs_data
def test_resnet20_is_as_good_as_published():
    data = datasets.load("cifar10", DATA)
    settings = Settings(data.shape, 10, 255, find_scaling("imagenet", data))
    teacher = make_teacher("resnet20", settings)
    assert not load_weights(teacher, DATA / "models/ann/resnet20_cifar10.npz").kept
    found = evaluate(teacher, data.x_test[:500], data.y_test[:500])
    assert (found.predictions == data.y_test[:500]).sum() == 455  # 9,173 of all 10,000


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_the_cifar_family_has_its_published_size(depth, millions):
    state = make_teacher(f"resnet{depth}", SMALL).state_dict()
    sizes = [v.numel() for k, v in state.items() if "running" not in k and "tracked" not in k]
    assert round(sum(sizes) / 1e6, 2) == millions
    assert sum(k.endswith(("conv1.weight", "conv2.weight")) for k in state) == depth - 1


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pt", "pth", "th"])
def test_weights_come_back(tmp_path, small, kind):
    path = tmp_path / f"w.{kind}"
    state = small.state_dict()
    if kind == "safetensors":
        write_tensors(path, state)
    elif kind == "npz":
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    else:
        several = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "best_prec1": 91.7}
        # What ends in .th is older than torch's zip files.
        torch.save(several, path, _use_new_zipfile_serialization=kind != "th")
    other = make_teacher("resnet18", SMALL)
    loaded = load_weights(other, path)
    assert not loaded.kept
    assert torch.equal(other.layer3[0].conv1.weight, small.layer3[0].conv1.weight)


def test_published_weights_keep_our_own_ends(tmp_path):
    path = tmp_path / "imagenet.safetensors"
    published = make_teacher("resnet18", Settings((3, 224, 224), 1000, 255))
    write_tensors(path, published.state_dict())
    mine = make_teacher("resnet18", Settings((1, 8, 8), 10, 16))
    before = mine.conv1.weight.detach().clone()
    loaded = load_weights(mine, path)
    assert set(loaded.kept) == {"conv1.weight", "fc.weight", "fc.bias"}
    assert "7, 7" in loaded.kept["conv1.weight"]
    assert torch.equal(mine.conv1.weight, before)
    assert torch.equal(mine.layer4[1].bn2.weight, published.layer4[1].bn2.weight)


def test_foreign_weights_are_refused_by_name(tmp_path, small):
    state = dict(small.state_dict())
    state["head.weight"] = state.pop("layer1.0.conv1.weight")
    state["layer2.0.bn1.bias"] = torch.zeros(3)
    write_tensors(tmp_path / "w.safetensors", state)
    with pytest.raises(InputError) as caught:
        load_weights(make_teacher("resnet18", SMALL), tmp_path / "w.safetensors")
    for part in ("lacks layer1.0.conv1.weight", "head.weight", "layer2.0.bn1.bias: (3,)"):
        assert part in caught.value.message


def test_other_classes_keep_our_own_last_layer(tmp_path):
    path = tmp_path / "w.safetensors"
    write_tensors(path, make_teacher("resnet20", SMALL).state_dict())
    loaded = load_weights(make_teacher("resnet20", SMALL._replace(classes=7)), path)
    assert set(loaded.kept) == {"linear.weight", "linear.bias"}


def test_absurd_sizes_are_refused_unread(tmp_path, small):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }"
    lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("w.npy", lie)
    with pytest.raises(InputError, match=r"lie.npz: w.npy declares 4000000000000000 bytes"):
        load_weights(small, tmp_path / "lie.npz")
    for name in ("bomb.npz", "bomb.pt"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("w/data.pkl", bytes(1000))
        whole = (tmp_path / name).read_bytes()
        at = whole.index(b"PK\x01\x02") + 24  # the size that the directory declares
        (tmp_path / name).write_bytes(whole[:at] + b"\xfe\xff\xff\xff" + whole[at + 4 :])
        with pytest.raises(InputError):
            load_weights(small, tmp_path / name)
        with pytest.raises(InputError, match="unpacks to 4,294,967,294 bytes"):
            check_zip(tmp_path / name)


def test_nan_is_refused(tmp_path, small):
    state = {k: v.clone() for k, v in small.state_dict().items()}
    state["bn1.weight"][0] = float("nan")
    write_tensors(tmp_path / "w.safetensors", state)
    with pytest.raises(InputError, match=r"bn1\.weight"):
        load_weights(make_teacher("resnet18", SMALL), tmp_path / "w.safetensors")


class Payload:
    def __reduce__(self):
        return (print, ("code from a file ran",))


def test_code_in_a_file_does_not_run(tmp_path, small, capsys):
    torch.save({"a": Payload()}, tmp_path / "bad.pt")
    np.savez(tmp_path / "bad.npz", a=np.array([Payload()], dtype=object))
    for name in ("bad.pt", "bad.npz"):
        with pytest.raises(InputError):
            load_weights(small, tmp_path / name)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.pt", "text.safetensors", "text.npz", "text.onnx"])
def test_unreadable_files_are_named(tmp_path, small, name):
    if not name.startswith("missing"):
        (tmp_path / name).write_text("not weights")
    with pytest.raises(InputError, match=name):
        load_weights(small, tmp_path / name)


def test_unknown_teacher_suggests():
    with pytest.raises(InputError, match="Did you mean 'resnet34'"):
        make_teacher("resnet-34", SMALL)
