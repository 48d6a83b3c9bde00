"""NIR, netx and program files: the same network back, the same bytes, and no trust in strangers."""

from __future__ import annotations

import itertools
import time

import h5py
import netx_writing
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from nets import (
    DT,
    LOIHI2,
    classifier,
    images,
    lif,
    random_program,
    read_out,
    residual,
    seeds,
    tiny,
)

from snn2hw import nir_io
from snn2hw.errors import InputError, Snn2hwError
from snn2hw.families.loihi import engine, netx
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Flatten, Input, Output, Pool2d
from snn2hw.pipeline.compiler import compile_network
from snn2hw.store import program as program_file

once = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("make", [tiny, residual])
def test_nir_round_trip_compiles_to_the_same_program(tmp_path, make):
    net = make()
    nir_io.write(tmp_path / "a.nir", net)
    back, notes = nir_io.read(tmp_path / "a.nir")
    assert notes == []
    assert (back.dt, back.time_steps, back.edges) == (net.dt, net.time_steps, net.edges)
    assert compile_network(back, LOIHI2).digest() == compile_network(net, LOIHI2).digest()


def test_nir_itself_reads_what_we_write(tmp_path):
    nir_io.write(tmp_path / "a.nir", residual())
    graph = nir.read(tmp_path / "a.nir")
    assert set(graph.nodes) == set(residual().nodes)
    assert isinstance(graph.nodes["lif1"], nir.LIF)
    assert graph.nodes["lif1"].v_threshold.shape == (3, 6, 6)
    assert isinstance(graph.nodes["conv1"], nir.Conv2d)


def test_nir_keeps_pooling_leakless_and_current_based_neurons(tmp_path):
    nodes = {
        "input": Input((2, 4, 4)),
        "pool": Pool2d((2, 4, 4), (2, 2), (2, 2), (0, 0), average=False),
        "if": lif((2, 2, 2), beta=1),
        "flatten": Flatten((2, 2, 2)),
        "fc": Affine(np.ones((3, 8)), np.zeros(3)),
        "cuba": lif((3,), tau_synapse=np.array(5e-3), w_in=np.array(2.0)),
        "output": Output((3,)),
    }
    names = list(nodes)
    net = Network(nodes, tuple(itertools.pairwise(names)), DT, 3)
    nir_io.write(tmp_path / "a.nir", net)
    back, _ = nir_io.read(tmp_path / "a.nir")
    assert compile_network(back, LOIHI2).digest() == compile_network(net, LOIHI2).digest()


@once
@given(seeds)
def test_programs_come_back_and_have_the_same_bytes(tmp_path, seed):
    program = random_program(seed, extreme=seed % 2 == 0, loops=seed % 3 == 0)
    program = read_out(program, seed) if seed % 5 == 0 else program
    program_file.write(tmp_path / "a.h5", program)
    program_file.write(tmp_path / "b.h5", program)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    back = program_file.read(tmp_path / "a.h5", program.placement, program.target)
    assert back.digest() == program.digest()


def test_netx_round_trip_spikes_the_same(tmp_path):
    net = residual()
    chain = Network(net.nodes, tuple(e for e in net.edges if e != ("lif1", "lif3")), DT, 4)
    program = compile_network(chain, LOIHI2)
    assert netx_writing.why_not(program) is None
    netx_writing.write(tmp_path / "a.net", program)
    time.sleep(1.1)  # HDF5 can store the time of day, in seconds
    netx_writing.write(tmp_path / "b.net", program)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()
    back = compile_network(netx.read(tmp_path / "a.net", input_max=16), LOIHI2)
    x = images(program.network)["input"]
    ours, theirs = engine.run(program, {"input": x}), engine.run(back, {"input": x})
    assert ours.spikes.any()
    assert (ours.spikes == theirs.spikes).all()


def test_netx_says_why_it_cannot_hold_a_graph():
    assert "takes spikes from" in str(netx_writing.why_not(compile_network(residual(), LOIHI2)))
    program = compile_network(classifier(bias=False), LOIHI2)
    why = "read sends the sum of each step, for which netx has no neuron"
    assert netx_writing.why_not(program) == why


READERS = {
    ".nir": lambda p: nir_io.read(p, nir_io.Choice(dt=1e-3, time_steps=2)),
    ".net": lambda p: netx.read(p, time_steps=2),
    ".h5": lambda p: program_file.read(p, random_program(0).placement, LOIHI2),
}


def _good(path):
    net = residual()
    chain = Network(net.nodes, tuple(e for e in net.edges if e != ("lif1", "lif3")), DT, 4)
    program = compile_network(chain, LOIHI2)
    if path.suffix == ".nir":
        nir_io.write(path, net)
    elif path.suffix == ".net":
        netx_writing.write(path, program)
    else:
        program_file.write(path, program)


@pytest.mark.parametrize("suffix", READERS)
def test_missing_random_and_truncated_files_are_one_sentence(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match="no file"):
        READERS[suffix](path)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(InputError):
        READERS[suffix](path)
    path.write_bytes(b"")
    with pytest.raises(InputError):
        READERS[suffix](path)
    _good(path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError):
            READERS[suffix](path)


@pytest.mark.parametrize("suffix", READERS)
def test_damaged_bytes_never_escape_as_a_traceback(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    _good(path)
    whole = path.read_bytes()
    r = np.random.default_rng(1)
    refused = 0
    for _ in range(12):
        broken = bytearray(whole)
        for at in r.integers(0, len(whole), 12):
            broken[at] = int(r.integers(0, 256))
        path.write_bytes(bytes(broken))
        try:
            READERS[suffix](path)
        except Snn2hwError:
            refused += 1
    assert refused > 0


def test_nan_weights_are_named(tmp_path):
    nir_io.write(tmp_path / "a.nir", tiny())
    with h5py.File(tmp_path / "a.nir", "r+") as file:
        weight = file["node/nodes/fc1/weight"]
        weight[0, 0] = np.nan
    with pytest.raises(Snn2hwError, match="fc1: weight holds 1 values that are NaN"):
        nir_io.read(tmp_path / "a.nir")


@pytest.mark.parametrize("suffix", READERS)
def test_links_out_of_the_file_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    _good(path)
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(InputError, match="link"):
        READERS[suffix](path)


def test_absurd_sizes_are_refused_before_they_are_allocated(tmp_path):
    with h5py.File(tmp_path / "a.net", "w") as file:
        file.create_group("layer")
        file.create_dataset("layer/big", shape=(1 << 40,), dtype="f4", chunks=(1 << 20,))
    with pytest.raises(InputError, match="declares"):
        netx.read(tmp_path / "a.net", time_steps=2)
