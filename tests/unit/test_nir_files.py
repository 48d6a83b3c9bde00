"""Other people's NIR files: every complete one is read, simulated and written back; and why not."""

from __future__ import annotations

import json

import nir
import numpy as np
import pytest
from nets import images
from shared import DATA, needs_data

from snn2hw import nir_io
from snn2hw.errors import InputError, Snn2hwError
from snn2hw.pipeline.inspect import inspect_file
from snn2hw.simulate import floating

pytestmark = needs_data
FOLDER = DATA / "nir"
ASIDE = {"braille_2023-10-05_no_io_int_params", "incomplete_snntorch_2025-04-09"}
FILES = sorted(p.stem for p in FOLDER.glob("*.nir"))
COMPLETE = [name for name in FILES if name not in ASIDE]


def load(name, **choice):
    return nir_io.read(FOLDER / f"{name}.nir", nir_io.Choice(**choice), must_know_dt=False)


def drive(net, steps=8, seed=0):
    r = np.random.default_rng(seed)
    return {
        k: r.integers(0, 2, (1, steps, *n.shape)).astype(float) for k, n in net.inputs().items()
    }


def test_no_file_is_forgotten():
    listed = [json.loads(line) for line in (FOLDER / "manifest.jsonl").read_text().splitlines()]
    assert sorted(entry["file"].removesuffix(".nir") for entry in listed) == FILES
    assert len(COMPLETE) == 24


def test_what_was_repaired_or_refused_is_said(golden):
    """One readable page; the network's size beside what had to be repaired."""
    lines: list[str] = []
    for name in FILES:
        try:
            net, notes = load(name)
            neurons = sum(int(np.prod(n.shape)) for n in net.neurons().values())
            lines += [
                f"{name}: {len(net.nodes)} nodes, {neurons} neurons",
                *(f"  {n}" for n in notes),
            ]
        except Snn2hwError as error:
            lines += [f"{name}: refused", f"  {str(error).replace(str(FOLDER), '')}"]
    golden("nir_files.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_files_are_simulated_and_written_back(tmp_path, name):
    net, _ = load(name)
    x = drive(net)
    trace = floating.run(net, x)
    assert all(np.isfinite(v).all() for v in trace.outputs.values())
    nir_io.write(tmp_path / "a.nir", net)
    assert set(nir.read(tmp_path / "a.nir").nodes) == set(net.nodes)
    back, notes = nir_io.read(tmp_path / "a.nir")
    assert notes == []
    again = floating.run(back, x)
    for end, found in trace.outputs.items():
        assert (found == again.outputs[end]).all()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("braille_noDelay_bias_zero_subgraph_fixed", "braille_noDelay_bias_zero"),
        ("braille_noDelay_bias_zero_subgraph_broken", "braille_noDelay_bias_zero"),
        ("braille_v2_2023-10-18", "braille_v2_2023-10-18"),
        ("scnn_mnist_2023-10-19_flatten_start1", "scnn_mnist_2023-10-18"),
        ("braille_zero_2023-10-20_nirtorch", "braille_2023-10-19_norse"),
    ],
)
def test_files_that_mean_the_same_spike_the_same(name, other):
    one, two = load(name)[0], load(other)[0]
    x = drive(one, steps=40)
    trace = floating.run(one, x)
    assert trace.outputs["output"].any()
    assert (trace.outputs["output"] == floating.run(two, x).outputs["output"]).all()


def test_files_that_nir_reads_hold_the_same_numbers():
    for name in COMPLETE:
        try:
            graph = nir.read(FOLDER / f"{name}.nir")
        except (ValueError, TypeError, KeyError):
            continue
        net, _ = load(name)
        for key, node in graph.nodes.items():
            if isinstance(node, nir.Affine | nir.Linear):
                assert (net.nodes[key].weight == node.weight).all()
            elif isinstance(node, nir.Conv2d):
                assert (net.nodes[key].kernel.weight == node.weight).all()
                assert net.nodes[key].kernel.output_shape == tuple(node.output_type["output"])
            elif isinstance(node, nir.CubaLIF):
                assert (net.nodes[key].tau == node.tau_mem).all()
                assert (net.nodes[key].tau_synapse == node.tau_syn).all()
                assert (net.nodes[key].w_in == node.w_in).all()


def test_without_a_time_step_a_file_is_listed_but_not_built():
    with pytest.raises(InputError, match="Give --dt, in Python dt=, in seconds"):
        nir_io.read(FOLDER / "lif_norse.nir")
    _, notes = load("lif_norse")
    assert "0.0001 s for this listing" in notes[-1]
    assert images(load("lif_norse", dt=1e-3, time_steps=3)[0])["input"].shape[1] == 3


def _every_file():
    listed = [*FOLDER.glob("*.nir"), *(DATA / "models" / "lava-dl").glob("*.net")]
    return sorted(p for p in listed if p.stem not in ASIDE)


@pytest.mark.parametrize("path", _every_file(), ids=lambda p: p.name)
def test_inspect_lists_layers_and_what_the_target_refuses(path):
    choice = nir_io.Choice(time_steps=4)
    document = inspect_file(str(path), path.parent, "loihi2", choice)
    assert document["layers"]
    assert document["neurons"] > 0
    assert document["synapses"] > 0
    reasons = document["targets"]["loihi2"]
    assert all(reason.strip() for reason in reasons)
    if path.suffix == ".nir":  # whatever a file lacks, some rewrite or nothing is needed
        assert not reasons or document["rewrites"]["loihi2"]
