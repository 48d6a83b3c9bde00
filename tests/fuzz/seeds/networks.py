"""Networks: NIR, netx, builds and targets."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nir
import numpy as np
from float_nets import random_network
from fuzz.seeds import Files, contents, inputs, packed, samples_of
from nets import LOIHI2, classifier, images, random_program, read_out, recurrent_chain, residual
from nets import tiny as tiny_network
from netx_files import random_file
from nir_files import ONES, lif, write

from snn2hw import nir_io
from snn2hw.families.loihi import netx
from snn2hw.ir.network import Network
from snn2hw.ir.program import Program
from snn2hw.pipeline.compiler import compile_network
from snn2hw.store import folders

MODELS = Path(__file__).parents[3] / "models"
TARGETS = Path(__file__).parents[3] / "targets"


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
        planned = netx.plan(program)
        if callable(planned):
            planned(path)
            found[f"chain{seed}"] = {"a.net": path.read_bytes()}
    for files in found.values():
        path.write_bytes(files["a.net"])
        try:
            program = compile_network(netx.read(path), LOIHI2)
        except Exception:  # some cannot be placed; they are read all the same
            files["x.npz"] = packed(x=np.zeros((1, 1, 1), int))
        else:
            files["x.npz"] = samples_of(program)
    return found


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
        made[family] = compile_network(netx.read(scratch / "a.net"), LOIHI2)
    found: dict[str, Files] = {}
    for name, program in made.items():
        path = scratch / name / "builds" / "a"
        folders.write_build(
            path, program, inputs={}, options={"time_steps": None, "rewrite": []},
            extra={"model": "a.net", "float": None, "rewrites": None, "data": None,
                   "encoder": None, "run": {}, "notes": []},
            vendor_file="model.net", planned=netx.plan(program),
        )  # fmt: skip
        found[name] = contents(scratch / name) | {"x.npz": samples_of(program)}
    return found


def target_files(scratch: Path) -> dict[str, Files]:
    """The shipped targets, and a network to export to them."""
    nir_io.write(scratch / "a.nir", tiny_network())
    x = inputs(images(tiny_network(), samples=2))
    rest = {"a.nir": (scratch / "a.nir").read_bytes(), "x.npz": x}
    return {p.stem: {"mine.toml": p.read_bytes(), **rest} for p in TARGETS.glob("*.toml")}
