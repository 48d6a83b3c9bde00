"""Networks saved by Keras: rebuilt to the digit, or refused by name."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch
from shared import DATA, needs_data

from snn2hw import datasets, train
from snn2hw.errors import InputError
from snn2hw.train import foreign
from snn2hw.train.scaling import find_scaling
from snn2hw.train.teachers import Settings

IMAGE = (2, 3, 5)
RNG = np.random.default_rng(0)
KERNEL, BIAS = RNG.normal(size=(30, 4)).astype("f4"), RNG.normal(size=4).astype("f4")


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def write(path, layers, weights, backend="tensorflow"):
    with h5py.File(path, "w") as file:
        whole = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
        file.attrs["model_config"] = json.dumps(whole)
        file.attrs["backend"] = backend
        for name, arrays in weights.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{k}:0".encode() for k in arrays]
            for key, values in arrays.items():
                group[f"{name}/{key}:0"] = values
    return path


def flat_and_dense(path, order, flatten_says=None, kernel=KERNEL, activation="softmax"):
    """Flatten and one dense layer, behind a pool of one pixel that says the order of axes."""
    channels, height, width = IMAGE
    shape = [None, *(IMAGE if order == "channels_first" else (height, width, channels))]
    told = {} if flatten_says is None else {"data_format": flatten_says}
    layers = [
        layer("MaxPooling2D", "pool", pool_size=1, data_format=order, batch_input_shape=shape),
        layer("Flatten", "flat", **told),
        layer("Dense", "dense", activation=activation),
    ]
    return write(path, layers, {"dense": {"kernel": kernel, "bias": BIAS}})


def opened(path, classes=4, image=IMAGE):
    return foreign.open_file(path, Settings(image, classes, 1), None)


@pytest.mark.parametrize(
    ("order", "flatten_says", "channels_last"),
    [
        ("channels_last", None, True),
        ("channels_last", "channels_last", True),
        ("channels_first", None, False),  # Keras before 2.2: as they lie
        ("channels_first", "channels_last", False),
        ("channels_first", "channels_first", True),  # moved last first
    ],
)
def test_dense_layers_count_as_the_file_does(tmp_path, order, flatten_says, channels_last):
    found = opened(flat_and_dense(tmp_path / "a.h5", order, flatten_says))
    assert "dense ends with a softmax" in found.notes[0]
    x = RNG.integers(0, 2, size=(6, *IMAGE))
    flat = (x.transpose(0, 2, 3, 1) if channels_last else x).reshape(6, -1)
    assert np.allclose(found.teacher(torch.from_numpy(x)), flat @ KERNEL + BIAS, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
def test_same_padding_and_flipped_kernels(tmp_path, stride, backend):
    kernel = RNG.normal(size=(3, 2, 2, 4)).astype("f4")
    conv = layer(
        "Conv2D", "conv", strides=[stride, stride], padding="same", data_format="channels_last",
        activation="relu", batch_input_shape=[None, None, None, 2],
    )  # fmt: skip
    layers = [conv, layer("GlobalAveragePooling2D", "mean", data_format="channels_last")]
    path = write(tmp_path / "a.h5", layers, {"conv": {"kernel": kernel, "bias": BIAS}}, backend)
    x = RNG.integers(0, 2, size=(1, *IMAGE))
    used = kernel[::-1, ::-1] if backend == "theano" else kernel
    # TensorFlow: ceil(size / stride) outputs, the odd pixel of padding behind.
    rows, columns = -(-3 // stride), -(-5 // stride)
    above = max((rows - 1) * stride + 3 - 3, 0) // 2
    before = max((columns - 1) * stride + 2 - 5, 0) // 2
    wide = np.zeros((2, 20, 20))
    wide[:, above : above + 3, before : before + 5] = x[0]
    expected = np.zeros((4, rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = wide[:, i * stride : i * stride + 3, j * stride : j * stride + 2]
            expected[:, i, j] = np.einsum("cab,abco->o", patch, used) + BIAS
    expected = np.maximum(expected, 0).mean((1, 2))
    assert np.allclose(opened(path).teacher(torch.from_numpy(x))[0], expected, atol=1e-5)


def refusal(path, **settings):
    with pytest.raises(InputError) as caught:
        opened(path, **settings)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_refusals_say_why(tmp_path):
    path = tmp_path / "a.h5"
    write(path, [layer("LSTM", "l1"), layer("Dense", "d"), layer("Embedding", "e")], {})
    assert "l1 (LSTM), e (Embedding)" in refusal(path)
    flat_and_dense(path, "channels_last", kernel=KERNEL[:-1])
    assert "cannot be run" in refusal(path)
    flat_and_dense(path, "channels_last", kernel=KERNEL * np.nan)
    assert "dense (Dense): kernel holds NaN" in refusal(path)
    flat_and_dense(path, "channels_last", activation="swish")
    assert "activation 'swish' is not read" in refusal(path)
    flat_and_dense(path, "channels_last")
    assert "gives [4] numbers, the data have 5 classes" in refusal(path, classes=5)
    assert "takes [None, 3, 5, 2]" in refusal(path, image=(3, 5, 2))
    with pytest.raises(InputError, match="has one output"):
        foreign.open_file(path, Settings(IMAGE, 4, 1), "x")
    path.write_bytes(path.read_bytes()[:-600])
    refusal(path)
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink("other.h5", "/")
    assert "link out of its place" in refusal(path)
    with h5py.File(path, "w") as file:
        file.create_group("dense")
    assert "no architecture" in refusal(path)
    for broken in ("[" * 100_000, "{}", '{"class_name": "Functional", "config": {"layers": []}}'):
        with h5py.File(path, "w") as file:
            file.attrs.create("model_config", "", dtype=h5py.string_dtype())
            file.attrs["model_config"] = broken[:60_000]
        refusal(path)


def test_a_run_keeps_its_teacher(tmp_path):
    data = datasets.load("digits").subset(60, 20)
    kernel = RNG.normal(size=(64, 10)).astype("f4")
    layers = [
        layer("MaxPooling2D", "pool", pool_size=1, batch_input_shape=[None, 8, 8, 1]),
        layer("Flatten", "flat"),
        layer("Dense", "dense"),
    ]
    path = write(tmp_path / "a.h5", layers, {"dense": {"kernel": kernel}})
    recipe = train.defaults("cnn", "digits", str(path), teacher_input="unit")
    with pytest.warns(UserWarning, match="chance|better"):
        made, _ = train.train_teacher(recipe, data, tmp_path / "run")
    x = torch.from_numpy(data.x_test)
    assert torch.equal(train.load_teacher(tmp_path / "run")(x), made(x))
    assert torch.allclose(made(x), (x / 16).flatten(1) @ torch.from_numpy(kernel), atol=1e-5)


@needs_data
@pytest.mark.parametrize(
    ("name", "data", "scaling", "images", "right"),
    [
        # Of all 10,000 test images: 9,896 and 8,719.
        ("lenet5_mnist_keras_98.96.h5", "mnist", "unit", 1000, 985),
        ("mlperf_tiny_resnet8_cifar10.h5", "cifar10", "raw", 500, 445),
    ],
)
def test_published_networks_are_as_good_as_published(name, data, scaling, images, right):
    loaded = datasets.load(data, DATA)
    settings = Settings(loaded.shape, 10, 255, find_scaling(scaling, loaded))
    teacher = foreign.open_file(DATA / "models/ann" / name, settings, None).teacher
    found = train.evaluate(teacher, loaded.x_test[:images], loaded.y_test[:images])
    assert (found.predictions == loaded.y_test[:images]).sum() == right
