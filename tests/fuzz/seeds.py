"""Small valid files of every kind, made with the project and its test helpers.

A family's seeds are folders held in memory: what lies at which path. The same code gives the same
bytes; what a clock says in them is set to one second.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from float_nets import random_network
from nets import LOIHI2, classifier, images, random_program, read_out, recurrent_chain, residual
from nets import tiny as tiny_network
from netx_files import random_file
from nir_files import ONES, lif, write
from onnx_files import classifier as onnx_classifier
from onnx_files import helper, network, port, weight
from packed import packed_recordings
from PIL import Image
from system_calls import call_here

from snn2hw import netx_io, nir_io
from snn2hw.ir.network import Network
from snn2hw.ir.program import Program
from snn2hw.pipeline.compiler import compile_network
from snn2hw.store import folders

Files = dict[str, bytes]
MODELS = Path(__file__).parents[2] / "models"
TARGETS = Path(__file__).parents[2] / "targets"
SHORT = ["--data", "npz:d.npz", "--teacher-epochs", "1", "--epochs", "2", "--time-steps", "2"]
DISTILL = ["distill", *SHORT, "--student", "mlp-4", "--name", "a", "--teacher"]


def contents(folder: Path) -> Files:
    """Return every file below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def packed(**arrays: Any) -> bytes:
    """Return arrays as the bytes of an npz file."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getvalue()


def inputs(ports: Mapping[str, Any]) -> bytes:
    """Return samples as ``--input`` reads them: ``x``, or an array for each of several ports."""
    return packed(**({"x": next(iter(ports.values()))} if len(ports) == 1 else ports))


def nir_files(scratch: Path) -> dict[str, Files]:
    """NIR: every node type, branches, loops, delays, sub-graphs, older layouts, shipped models."""
    nets: dict[str, Network] = {
        "tiny": tiny_network(),
        "residual": residual(channels=2, side=4),
        "classifier": classifier(side=5),
        "integrator": classifier(side=5, tau=np.inf),
    }
    nets |= {f"float{i}": random_network(i) for i in range(12)}
    nets |= {f"chip{i}": random_network(i, chip=True) for i in range(6)}
    found: dict[str, Files] = {}
    for name, net in nets.items():
        nir_io.write(scratch / "a.nir", net)
        x = inputs(images(net, samples=2))
        found[name] = {"a.nir": (scratch / "a.nir").read_bytes(), "x.npz": x}
    for name, make in (("every node", _every_node), ("nested", _nested), ("old", _old)):
        make(scratch / "a.nir")
        x = packed(x=np.ones((2, 3, 1, 3, 1) if name == "old" else (2, 3, 3), int))
        found[name] = {"a.nir": (scratch / "a.nir").read_bytes(), "x.npz": x}
    shapes = {"digits-cnn": (2, 8, 1, 8, 8), "mnist-mlp": (1, 4, 1, 28, 28)}
    for name, shape in shapes.items():
        content = (MODELS / name / "network.nir").read_bytes()
        found[name] = {"a.nir": content, "x.npz": packed(x=np.ones(shape, int))}
    return found


def _every_node(path: Path) -> None:
    two = {"tau_syn": ONES * 2e-3, "tau_mem": ONES * 4e-3, "r": ONES, "v_leak": 0 * ONES}
    every = {
        "linear": nir.Linear(np.eye(3)), "scale": nir.Scale(ONES * 2),
        "delay": nir.Delay(ONES * 1e-3), "threshold": nir.Threshold(ONES), "i": nir.I(ONES * 1e3),
        "if": nir.IF(ONES * 1e3, ONES), "li": nir.LI(tau=ONES * 2e-3, r=ONES, v_leak=0 * ONES),
        "cuba_li": nir.CubaLI(**two), "cuba": nir.CubaLIF(**two, v_threshold=ONES),
        "lif": nir.LIF(tau=ONES * 2e-3, r=ONES, v_leak=0 * ONES, v_threshold=ONES),
    }  # fmt: skip
    nodes = {"input": nir.Input(np.array([3])), **every, "output": nir.Output(np.array([3]))}
    metadata = {"snn2hw": {"dt": 1e-3, "time_steps": 3}}
    nir.write(path, nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), metadata=metadata))


def _nested(path: Path) -> None:
    """A graph in a graph in a graph, the innermost recurrent."""

    def around(inside: Any) -> Any:
        ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
        return nir.NIRGraph({**ends, "sub": inside}, [("input", "sub"), ("sub", "output")])

    neuron = nir.LIF(tau=ONES * 2e-3, r=ONES, v_leak=0 * ONES, v_threshold=ONES)
    nodes = {
        "input": nir.Input(np.array([3])), "fc": nir.Affine(np.eye(3), 0 * ONES), "lif": neuron,
        "back": nir.Linear(np.eye(3) / 2), "output": nir.Output(np.array([3])),
    }  # fmt: skip
    chain = [("input", "fc"), ("fc", "lif"), ("lif", "output"), ("lif", "back"), ("back", "lif")]
    nir.write(path, around(around(nir.NIRGraph(nodes, chain))))


def _old(path: Path) -> None:
    """What early versions wrote: scalars for a population, a batch axis, no reset."""
    _, values = lif()
    single = {k: np.array(v[0]) for k, v in values.items() if k != "v_reset"}
    pair = {"stride": [1, 1], "padding": "same", "dilation": [1, 1], "groups": 1}
    nodes = {
        "in": ("Input", {"shape": [1, 1, 3, 1]}),
        "conv": ("Conv2d", {"weight": np.ones((1, 1, 3, 3)), "bias": np.zeros(1), **pair}),
        "pool": ("AvgPool2d", {"kernel_size": [1, 1], "stride": [1, 1], "padding": [0, 0]}),
        "flat": ("Flatten", {"start_dim": 1, "end_dim": -1, "input_type": [1, 3, 1]}),
        "lif": ("LIF", single),
        "out": ("Output", {"shape": [3]}),
    }
    write(path, nodes, list(itertools.pairwise(nodes)))


def netx_files(scratch: Path) -> dict[str, Files]:
    """Netx: every layer and neuron that lava-dl loads, and chains of our own."""
    path, found = scratch / "a.net", dict[str, Files]()
    for seed in range(16):
        family = random_file(path, seed, ("lif", "loop", "sdnn", "rf")[seed % 4])
        found[f"{family}{seed}"] = {"a.net": path.read_bytes()}
    for seed in range(3):
        program = recurrent_chain(seed)
        if netx_io.why_not(program) is None:
            netx_io.write(path, program)
            found[f"chain{seed}"] = {"a.net": path.read_bytes()}
    for files in found.values():
        path.write_bytes(files["a.net"])
        try:
            program = compile_network(netx_io.read(path), LOIHI2)
        except Exception:  # some cannot be placed; they are read all the same
            files["x.npz"] = packed(x=np.zeros((1, 1, 1), int))
        else:
            files["x.npz"] = _samples(program)
    return found


def _samples(program: Program) -> bytes:
    made = images(program.network, samples=2)
    return inputs({k: v // 16 if v.min() < 0 else v for k, v in made.items()})


def programs() -> dict[str, Program]:
    """Programs with each kind of population and synapses, loops, delays, several inputs."""
    made = {
        "tiny": compile_network(tiny_network(), LOIHI2),
        "residual": compile_network(residual(channels=2, side=4), LOIHI2),
    }
    made |= {f"random{i}": random_program(i, loops=i % 2 > 0, extreme=i % 4 > 1) for i in range(8)}
    made |= {f"sums{i}": read_out(random_program(i, layers=2), i) for i in range(2)}
    return made


def builds(scratch: Path) -> dict[str, Files]:
    """Build folders, with inputs beside them."""
    scratch.mkdir(exist_ok=True)
    made = programs()
    for seed, family in ((2, "sdnn"), (3, "rf")):
        random_file(scratch / "a.net", seed, family)
        made[family] = compile_network(netx_io.read(scratch / "a.net"), LOIHI2)
    found: dict[str, Files] = {}
    for name, program in made.items():
        path = scratch / name / "builds" / "a"
        reason = netx_io.why_not(program)
        net_file = scratch / "model.net" if reason is None else None
        if net_file is not None:
            netx_io.write(net_file, program)
        folders.write_build(
            path, program, inputs={}, options={"time_steps": None, "rewrite": []},
            extra={"float": None, "rewrites": None, "data": None, "encoder": None, "run": {},
                   "notes": []},
            net_file=net_file, net_reason=reason,
        )  # fmt: skip
        found[name] = contents(scratch / name) | {"x.npz": _samples(program)}
    return found


def taking(shape: tuple[int, ...], scratch: Path, steps: int = 2) -> Files:
    """Return a build of three neurons that takes images of a shape from 0 to 255."""
    r, size = np.random.default_rng(0), int(np.prod(shape))
    listens = np.arange(size) % 3 == np.arange(3)[:, None]  # all are too many for one neuron
    nodes = {
        "in": nir.Input(np.array([size])),
        "fc": nir.Affine(r.normal(0, 0.01, (3, size)) * listens, np.zeros(3)),
        "lif": nir.LIF(tau=ONES * 2e-3, r=ONES, v_leak=0 * ONES, v_threshold=ONES),
        "out": nir.Output(np.array([3])),
    }
    ours = {"dt": 1e-3, "time_steps": steps, "input_max": {"in": 255}}
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), metadata={"snn2hw": ours})
    where = scratch / f"takes{size}"
    where.mkdir()
    nir.write(where / "a.nir", graph)
    _done(call_here(where, "export", "a.nir"))
    return contents(where)


def _done(call: Any) -> None:
    if call.returncode:
        raise RuntimeError(f"a seed could not be made: {call.args}: {call.stderr}")


def digits(classes: int = 2, shape: tuple[int, ...] = (1, 4, 4)) -> dict[str, Any]:
    """Return the arrays of a small data set."""
    r = np.random.default_rng(0)
    x = r.integers(0, 256, (12, *shape)).astype(np.uint8)
    y = np.arange(12) % classes
    return {"x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4]}


def arrays(scratch: Path) -> dict[str, Files]:
    """Inputs for ``--input``, of one port and of several, and data sets of the user's own."""
    found = builds(scratch / "builds")
    small = taking((1, 4, 4), scratch)
    labelled = packed(x=np.ones((2, 2, 16), int), y=np.array([0, 1]))
    real = packed(x=np.ones((2, 2, 16), np.float32), y=np.array([0.0, 1.0]))
    return {
        **{k: files for k, files in found.items() if k in ("tiny", "random3", "sdnn", "sums1")},
        "labelled": {**small, "x.npz": labelled},
        "real": {**small, "x.npz": real},
        "images": {**small, "d.npz": packed(**digits())},
        "frames": {**small, "d.npz": packed(**digits(shape=(2, 1, 4, 4)))},
    }


def pictures(scratch: Path) -> dict[str, Files]:
    """Folders of grey and coloured images, one for each format that is read."""
    builds_ = {n: taking((n, 4, 4), scratch) for n in (1, 3)}
    r = np.random.default_rng(0)
    found: dict[str, Files] = {}
    for kind, mode in (
        ("png", "L"), ("jpg", "L"), ("bmp", "RGB"), ("webp", "RGB"), ("gif", "P"),
        ("tif", "L"), ("pgm", "L"), ("ppm", "RGB"), ("png", "RGBA"), ("png", "P"),
    ):  # fmt: skip
        files = dict(builds_[1 if mode == "L" else 3])
        for part, label, number in itertools.product(("train", "test"), "ab", range(2)):
            pixels = Image.fromarray(r.integers(0, 256, (4, 4), dtype=np.uint8)).convert(mode)
            memory = io.BytesIO()
            pixels.save(memory, {"jpg": "jpeg", "tif": "tiff", "pgm": "ppm"}.get(kind, kind))
            files[f"pictures/{part}/{label}/{number}.{kind}"] = memory.getvalue()
        found[f"{kind} {mode}"] = files
    return found


def idx_and_cifar(scratch: Path) -> dict[str, Files]:
    """MNIST in its IDX files; CIFAR as batches, in an archive and as sheets."""
    r = np.random.default_rng(0)
    mnist, cifar = taking((1, 28, 28), scratch), taking((3, 32, 32), scratch)
    idx: Files = {}
    for part, n in (("train", 20), ("t10k", 6)):
        pixels = r.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        head = struct.pack(">4I", 2051, n, 28, 28)
        labels = struct.pack(">2I", 2049, n) + (np.arange(n) % 10).astype(np.uint8).tobytes()
        idx[f"data/mnist/{part}-images-idx3-ubyte.gz"] = gzip.compress(
            head + pixels.tobytes(), mtime=0
        )
        idx[f"data/mnist/{part}-labels-idx1-ubyte.gz"] = gzip.compress(labels, mtime=0)
    batches = {
        name: b"".join(bytes([k]) + r.bytes(3072) for k in (i % 5, (i + 1) % 5))
        for i, name in enumerate((*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"))
    }
    inside = "cifar-10-batches-bin"
    hundred = {f"{p}.bin": b"".join(bytes([0, k]) + r.bytes(3072) for k in (3, 4))
               for p in ("train", "test")}  # fmt: skip
    return {
        "idx": mnist | idx,
        "batches": cifar | {f"data/cifar10/{inside}/{k}": v for k, v in batches.items()},
        "archive": cifar | {"data/cifar10/cifar-10-binary.tar.gz": _archive(inside, batches)},
        "sheets": cifar | _sheets(r),
        "hundred": cifar | {f"data/cifar100/cifar-100-binary/{k}": v for k, v in hundred.items()},
    }


def _archive(folder: str, batches: Files) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(memory.getvalue(), mtime=0)


def _sheets(r: np.random.Generator) -> Files:
    found: Files = {}
    for part in ("train", "test"):
        memory = io.BytesIO()
        pixels = r.integers(0, 256, (4 * 32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(memory, "webp", lossless=True)
        found[f"data/cifar10/{part}-000.webp"] = memory.getvalue()
        memory = io.BytesIO()
        np.save(memory, np.arange(4))
        found[f"data/cifar10/{part}_labels.npy"] = memory.getvalue()
    return found


def events(scratch: Path) -> dict[str, Files]:
    """Packed recordings, and a build that takes their frames."""
    packed_recordings(scratch / "nmnist_subset.npz", each=27, events=4)
    content = (scratch / "nmnist_subset.npz").read_bytes()
    return {"packed": taking((2, 34, 34), scratch) | {"data/nmnist/nmnist_subset.npz": content}}


def target_files(scratch: Path) -> dict[str, Files]:
    """The shipped targets, and a network to export to them."""
    nir_io.write(scratch / "a.nir", tiny_network())
    x = inputs(images(tiny_network(), samples=2))
    rest = {"a.nir": (scratch / "a.nir").read_bytes(), "x.npz": x}
    return {p.stem: {"mine.toml": p.read_bytes(), **rest} for p in TARGETS.glob("*.toml")}


def weights(scratch: Path) -> dict[str, Files]:
    """The weights of a small teacher, in each kind of file."""
    import torch
    from safetensors.torch import save

    from snn2hw.train.teachers import Settings, make_teacher

    state = make_teacher("mlp-4", Settings((1, 4, 4), 2, 255)).state_dict()
    state = {k: torch.full_like(v, 0.25) if v.is_floating_point() else v for k, v in state.items()}
    memory, legacy = io.BytesIO(), io.BytesIO()
    torch.save(state, memory)
    torch.save({"state_dict": state}, legacy, _use_new_zipfile_serialization=False)
    data = {"d.npz": packed(**digits())}
    return {
        "safetensors": data | {"w.safetensors": save(state)},
        "npz": data | {"w.npz": packed(**{k: v.numpy() for k, v in state.items()})},
        "pt": data | {"w.pt": memory.getvalue()},
        "legacy pt": data | {"w.pt": legacy.getvalue()},
    }


def onnx_files(_scratch: Path) -> dict[str, Files]:
    """ONNX classifiers of 1x4x4 images: layouts, types, convolutions, branches, functions."""
    r = np.random.default_rng(0)
    matrix = r.normal(size=(16, 2))
    image = (1, 4, 4)
    made = {
        layout: onnx_classifier(matrix, image, layout=layout)
        for layout in ("NCHW", "NHWC", "NHW", "flat")
    }
    made["softmax"] = onnx_classifier(matrix, image, softmax=True)
    made["bytes"] = onnx_classifier(matrix, image, dtype=2, batch=2)
    made["convolution"], made["if"] = _convolution(r), branching()
    data = {"d.npz": packed(**digits())}
    return {name: data | {"a.onnx": model.SerializeToString()} for name, model in made.items()}


def _convolution(r: np.random.Generator) -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("Relu", ["c"], ["a"]),
        helper.make_node("Conv", ["a", "k2"], ["d"], pads=[1, 1, 1, 1], group=2),
        helper.make_node("Add", ["a", "d"], ["s"]),
        helper.make_node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["p"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"], axis=1),
    ]
    kernels = [
        weight("k", r.normal(size=(2, 1, 3, 3)).astype("f4")),
        weight("k2", r.normal(size=(2, 1, 3, 3)).astype("f4")),
    ]
    return network(nodes, [port("x", ["N", 1, 4, 4])], [port("y", ["N", 2])], kernels)


def branching() -> Any:
    """A graph with graphs inside: If, and a function."""
    then, other = (
        helper.make_graph(
            [helper.make_node("Flatten", ["x"], [f"{name}0"]),
             helper.make_node("MatMul", [f"{name}0", "w"], [name])],
            name, [], [port(name, None)],
        )
        for name in ("then", "other")
    )  # fmt: skip
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
             helper.make_node("Twice", ["y"], ["z"], domain="own")]  # fmt: skip
    weights_ = [weight("c", np.array(True)), weight("w", np.ones((16, 2), np.float32))]
    model = network(
        nodes, [port("x", ["N", 1, 4, 4])], [port("z", ["N", 2])], weights_,
        opsets=(("", 17), ("own", 1)),
    )  # fmt: skip
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    model.functions.append(twice)
    return model


def keras_files(scratch: Path) -> dict[str, Files]:
    """Keras' HDF5: a sequence and a graph with a branch, of every layer that is read."""
    data = {"d.npz": packed(**digits())}
    return {
        name: data | {"a.h5": keras_model(scratch / "a.h5", graph)}
        for name, graph in (("sequence", False), ("graph", True))
    }


def keras_model(path: Path, graph: bool) -> bytes:
    r = np.random.default_rng(0)
    last = {"data_format": "channels_last"}
    conv = {"strides": [1, 1], "padding": "same", "activation": "relu", **last}
    layers = [
        ("InputLayer", "in", {"batch_input_shape": [None, 4, 4, 1]}),
        ("Conv2D", "conv", conv),
        ("BatchNormalization", "norm", {"epsilon": 1e-3}),
        ("MaxPooling2D", "pool", {"pool_size": [2, 2], "strides": [1, 1], "padding": "same"}),
        ("Dropout", "drop", {"rate": 0.5}),
        ("AveragePooling2D", "mean", {"pool_size": [2, 2], **last}),
        ("Flatten", "flat", last),
        ("Dense", "dense", {"activation": "softmax"}),
    ]
    told = [{"class_name": k, "config": {"name": n, **c}, "name": n} for k, n, c in layers]
    config: dict[str, Any] = {"name": "m", "layers": told}
    if graph:
        told.insert(3, {"class_name": "Add", "config": {"name": "add"}, "name": "add"})
        names = [x["name"] for x in told]
        for layer, before in zip(told, [None, *names], strict=False):
            nodes = [] if before is None else [[[before, 0, 0, {}]]]
            layer["inbound_nodes"] = nodes
        told[3]["inbound_nodes"] = [[["conv", 0, 0, {}], ["norm", 0, 0, {}]]]
        config |= {"input_layers": [["in", 0, 0]], "output_layers": [["dense", 0, 0]]}
    values = {
        "conv": {"kernel": r.normal(size=(3, 3, 1, 2)), "bias": np.zeros(2)},
        "norm": {k: np.ones(2) for k in ("gamma", "beta", "moving_mean", "moving_variance")},
        "dense": {"kernel": r.normal(size=(8, 2)), "bias": np.zeros(2)},
    }
    with h5py.File(path, "w") as file:
        kind = "Functional" if graph else "Sequential"
        file.attrs["model_config"] = json.dumps({"class_name": kind, "config": config})
        file.attrs["backend"] = "tensorflow"
        for name, held in values.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{k}:0".encode() for k in held]
            for key, array in held.items():
                group[f"{name}/{key}:0"] = array.astype("f4")
    return path.read_bytes()


def runs(scratch: Path) -> dict[str, Files]:
    """A finished run and one pruned from it; a teacher from a file; a run that was stopped."""
    onnx = onnx_files(scratch)["NCHW"]["a.onnx"]
    for name in ("finished", "foreign", "stopped"):
        (scratch / name).mkdir()
        (scratch / name / "d.npz").write_bytes(packed(**digits()))
        (scratch / name / "t.onnx").write_bytes(onnx)
    _done(call_here(scratch / "finished", *DISTILL, "mlp-4"))
    _done(call_here(scratch / "finished", "prune", "a", "--epochs", "1", "--name", "b"))
    _done(call_here(scratch / "foreign", *DISTILL, "t.onnx"))
    with contextlib.chdir(scratch / "stopped"):
        _stop_in_the_middle()
    return {p.name: timeless(contents(p)) for p in scratch.iterdir() if p.is_dir()}


def _stop_in_the_middle() -> None:
    """Do what ``DISTILL`` does up to the end of the student's first epoch."""
    from snn2hw.errors import Interrupted
    from snn2hw.pipeline import runs as pipeline

    class Stop:
        def update(self, stage: str, _done: int, _total: int, **info: Any) -> None:
            if stage == "student" and "epoch" in info:  # which is over, and saved
                raise KeyboardInterrupt

    options = {"teacher_epochs": 1, "epochs": 2, "time_steps": 2, "seed": 0}
    with contextlib.suppress(KeyboardInterrupt, Interrupted):
        pipeline.distill(
            Path(), teacher="mlp-4", student="mlp-4", data="npz:d.npz", name="a",
            options=options, progress=Stop(),
        )  # fmt: skip
    if not Path("runs/a/checkpoint/student.state.safetensors").exists():
        raise RuntimeError("a seed could not be made: the run did not stop in the middle")


def timeless(files: Files) -> Files:
    """Replace what a clock said, so that seeds have the same bytes tomorrow."""
    return {k: _without_seconds(k, v) for k, v in files.items()}


def _without_seconds(name: str, content: bytes) -> bytes:
    if name.endswith(".json"):
        return json.dumps(_still(json.loads(content)), indent=2).encode() + b"\n"
    if name.endswith(".jsonl"):
        lines = [json.dumps(_still(json.loads(x))) for x in content.decode().splitlines()]
        return "".join(f"{x}\n" for x in lines).encode()
    if name.endswith(".safetensors"):
        size = struct.unpack("<Q", content[:8])[0]
        head = json.loads(content[8 : 8 + size])
        # A hash covers the seconds; without one, what is read is judged by what it says.
        told = {k: v for k, v in head.get("__metadata__", {}).items() if k != "sha256"}
        head["__metadata__"] = {k: json.dumps(_still(json.loads(v))) for k, v in told.items()}
        text = json.dumps(head).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]
    return content


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: 1.0 if k == "seconds" else _still(v) for k, v in value.items()}
    return [_still(v) for v in value] if isinstance(value, list) else value
