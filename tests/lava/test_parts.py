"""Parts of builds in real Lava, fed with what their sources send in our simulation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from nets import LOIHI2, classifier, heads, images, random_program, residual
from netx_files import random_file
from system_calls import call_here, document

import snn2hw
from snn2hw.errors import InputError
from snn2hw.families.loihi import netx
from snn2hw.pipeline import proving
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import part

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_python")]


def verified(program, x, tmp_path, names, neurons=None):
    """The document about a part; program.h5 and a vendor's file are of the whole: none is read."""
    return proving.compare_with_vendor(program, x, tmp_path / "none", None, names, neurons)


def assert_equal(found, neurons, x):
    samples, steps = next(iter(x.values())).shape[:2]
    assert found["mismatches"] == 0, found["first"]
    assert found["compared"] == 3 * samples * steps * neurons
    assert found["first"] is None


@pytest.mark.parametrize(
    ("names", "neurons", "many"),
    [
        (["lif3"], None, 108),
        (["lif3"], "0:2,2:4,1:5", 16),
        (["lif3"], "2,0:1,5", 1),
        (["lif2..lif4"], "3", 1 + 108 + 108),
        (["lif1", "lif4"], None, 72 + 5),
    ],
)
def test_parts_of_a_residual_network(tmp_path, names, neurons, many):
    program = compile_network(residual(), LOIHI2)
    x = images(program.network, samples=5)
    found = verified(program, x, tmp_path, names, neurons)
    assert_equal(found, many, x)
    assert found["paths"][0]["through"] == "program.h5 of the part"
    assert ("DelaySparse" in found["paths"][0]["processes"]) == ("lif1" not in names)


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_with_loops_and_delays(tmp_path, seed):
    program = random_program(300 + seed, loops=seed % 2 == 1)
    x = images(program.network, samples=3, seed=seed)
    r, names = np.random.default_rng(seed), [p.name for p in program.network.populations]
    some = r.choice(names, int(r.integers(1, 3)), replace=False).tolist()
    found = verified(program, x, tmp_path, some)
    assert_equal(found, sum(program.network.population(k).size for k in some), x)


@pytest.mark.parametrize("net", [classifier(), heads()])
def test_networks_with_sums_in_parts_one_after_the_other(tmp_path, net):
    program = compile_network(net, LOIHI2)
    x = images(program.network, samples=4)
    found = verified(program, x, tmp_path, ["each"])
    populations = program.network.populations
    assert_equal(found, sum(p.size for p in populations), x)
    assert [list(p["populations"]) for p in found["parts"]] == [[p.name] for p in populations]
    assert found["left_out"] == []


@pytest.mark.parametrize("family", ["sdnn", "rf"])
def test_what_the_host_writes_and_graded_spikes(tmp_path, family):
    """Sigma-delta neurons send graded spikes; their first layer is written into by the host."""
    random_file(tmp_path / "model.net", 11, family)
    program = compile_network(netx.read(tmp_path / "model.net", time_steps=6), LOIHI2)
    x = {k: v // 16 for k, v in images(program.network, samples=2).items()}
    found = verified(program, x, tmp_path, ["each"])
    assert any(p["sources"] for p in found["parts"])
    assert_equal(found, sum(p.size for p in program.network.populations), x)


def test_a_fault_is_seen_inside_the_part_and_nowhere_else(tmp_path, monkeypatch):
    """Lava gets a part with another weight or threshold than what we simulate."""
    program = compile_network(residual(), LOIHI2)
    net, x = program.network, images(program.network, samples=3)
    honest = part.as_program

    def another_threshold(name):
        populations = [replace(p, vth=p.vth + 40) if p.name == name else p for p in net.populations]
        return replace(net, populations=tuple(populations))

    def another_weight(name):
        connections = list(net.connections)
        i = net.into(name)[-1]
        weight = connections[i].synapses.weight.copy()
        weight[2:3] = np.where(weight[2:3] > 0, -weight[2:3], weight[2:3])
        connections[i] = replace(
            connections[i], synapses=replace(connections[i].synapses, weight=weight)
        )
        return replace(net, connections=tuple(connections))

    for change, broken in ((another_threshold, "lif2"), (another_weight, "lif4")):
        wrong = replace(program, network=change(broken))
        monkeypatch.setattr(part, "as_program", lambda _, s, v, w=wrong: honest(w, s, v))
        seen = verified(program, x, tmp_path, [broken])
        assert seen["mismatches"] > 0
        assert seen["first"]["layer"] == broken
        assert seen["first"]["step"] >= program.phase[broken]
        assert verified(program, x, tmp_path, ["lif3"])["mismatches"] == 0


def test_the_first_difference_is_told_by_the_neuron_of_the_whole(tmp_path, monkeypatch):
    program = compile_network(residual(), LOIHI2)
    net, x = program.network, images(program.network, samples=2)
    p = net.population("lif3")
    bias = p.bias.copy()
    bias[79] += 1  # channel 2, row 1, column 1
    populations = tuple(replace(q, bias=bias) if q is p else q for q in net.populations)
    wrong, honest = replace(program, network=replace(net, populations=populations)), part.as_program
    monkeypatch.setattr(part, "as_program", lambda _, s, v: honest(wrong, s, v))
    first = verified(program, x, tmp_path, ["lif3"], "1:3,0:3,1:3")["first"]
    assert (first["neuron"], first["what"], first["step"]) == (79, "v", program.phase["lif3"])
    assert abs(first["ours"] - first["theirs"]) == 1 << p.bias_exp
    assert verified(program, x, tmp_path, ["lif3"], "1:3,2:4,1:3")["mismatches"] == 0


def test_in_python(tmp_path):
    build = snn2hw.build(residual(), LOIHI2)
    x = images(build.program.network, samples=2)["input"]
    proof = build.verify(x, part="lif3", neurons=np.s_[:, 2:4, 2:4])
    assert proof["mismatches"] == 0
    assert "part: lif3 [0:3,2:4,2:4], 12 of 108 neurons, fed by lif2, lif1" in repr(proof)
    build.energy(x)
    page = build.report(tmp_path / "page.html").read_text()
    assert "lif3 [0:3,2:4,2:4], 12 of 108 neurons" in page
    saved = snn2hw.open(build.save(tmp_path / "kept"))
    assert saved._last["proof"]["parts"] == proof["parts"]
    with pytest.raises(InputError, match="Did you mean 'lif3'"):
        build.verify(x, part="lif33")
    with pytest.raises(InputError, match="without their population"):
        build.verify(x, neurons=np.s_[:, 2:4, 2:4])


def test_on_the_command_line(tmp_path):
    document(tmp_path, "export", "digits-cnn")
    order = ["verify", "--samples", "2", "--part", "lif1..lif2"]
    found = document(tmp_path, *order, "--neurons", "0:4,1:3,2:4")
    assert found["mismatches"] == 0
    (told,) = found["parts"]
    assert told["window"] == "0:4,1:3,2:4"
    assert told["populations"]["lif2"]["neurons"] == 16
    assert list(told["sources"]) == ["input"]
    kept = json.loads((tmp_path / "builds/digits-cnn-loihi2/verify.json").read_text())
    assert kept["parts"] == found["parts"]
    said = call_here(tmp_path, "verify", "--part", "lif22")
    assert (said.returncode, said.stdout) == (1, "")
    assert "no population 'lif22'. Did you mean 'lif2'?" in said.stderr
