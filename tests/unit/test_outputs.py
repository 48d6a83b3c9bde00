"""Networks of several outputs: read, simulated, built, saved, priced, one by one or by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import netx_writing
import numpy as np
import pytest
from nets import LOIHI1, LOIHI2, heads, images, tiny
from system_calls import call_here
from xylo_nets import AUDIO2, float_chain, neurons

import snn2hw
from snn2hw import nir_io
from snn2hw.errors import InputError
from snn2hw.families.loihi import definition, engine
from snn2hw.families.xylo import engine as xylo
from snn2hw.families.xylo import spec
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Output
from snn2hw.ir.trace import join
from snn2hw.pipeline import builds, floats
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.exporting import compiled, export
from snn2hw.pipeline.loading import Model, load_model
from snn2hw.pipeline.samples import Samples
from snn2hw.simulate import floating
from snn2hw.store import program as program_file

FIXTURES = Path(__file__).parents[1] / "fixtures"
CHOICE = nir_io.Choice(dt=1.0, time_steps=6, reset="zero")


def case(name) -> Network:
    return nir_io.read(FIXTURES / f"{name}.nir", CHOICE)[0]


OF = {"deep": "first", "score": "sums", "end": "second", "same": "second"}


def test_the_answer_is_a_mapping():
    net = heads()
    built = snn2hw.build(net, "loihi2")
    assert dict(built.program.network.outputs) == OF
    assert list(built.program.network.outputs) == list(net.outputs())
    x = images(net)["in"]
    ran = built.simulate(x, states=True)
    assert built.program.depth == 3
    layers = ran.trace.layers
    for name, of in OF.items():
        sent, phase = layers[of].spikes, built.program.phase[of]
        whole = ran.spikes[name]
        assert whole.shape == (4, 7 + 3, *sent.shape[2:])
        assert (whole[:, phase : phase + 7] == sent).all()
        assert not whole[:, :phase].any()
        assert not whole[:, phase + 7 :].any()
        assert ran.prediction[name].tolist() == sent.sum(axis=1).argmax(axis=1).tolist()
        assert sent.any()
    assert {built.program.phase[of] for of in OF.values()} == {1, 2, 3}


def test_each_output_is_what_the_float_network_gives():
    """Nothing is rounded here: weights and thresholds are on the chip's grid."""
    net = case("two_heads")
    x = images(net, samples=5, seed=2)
    wanted = floating.run(net, x).outputs
    for target in (LOIHI1, LOIHI2):
        program = compile_network(net, target)
        for simulator in (engine, definition):
            found = simulator.run(program, x)
            assert list(found.outputs) == list(wanted) == ["ob", "oc"]
            for name, answer in found.outputs.items():
                assert (answer.spikes == wanted[name]).all()
                assert answer.spikes.any()


def test_a_single_answer_is_not_made_of_several():
    trace = engine.run(compile_network(heads(), LOIHI2), images(heads()))
    floats_of = floating.run(heads(), images(heads()))
    for ask in (
        lambda: trace.spikes, lambda: trace.prediction, trace.answer, lambda: floats_of.answer,
        lambda: floats_of.prediction,
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"has 4 outputs \(deep, .*: --output NAME; in Python"):
            ask()
    with pytest.raises(InputError, match=r"There is no output 'scores'\. Did you mean 'score'\?"):
        trace.answer("scores")
    assert (trace.answer("end").spikes == trace.answer("same").spikes).all()


def test_parts_of_a_trace_join_by_output():
    program, x = compile_network(heads(), LOIHI2), images(heads(), samples=5)
    whole = engine.run(program, x)
    parts = [engine.run(program, {k: v[some] for k, v in x.items()})
             for some in (slice(0, 2), slice(2, 5))]  # fmt: skip
    joined = join(parts, 1.0)
    assert joined.samples == 5
    for name, answer in whole.outputs.items():
        assert (joined.outputs[name].spikes == answer.spikes).all()
        assert joined.outputs[name].phase == answer.phase


def test_outputs_are_checked():
    net = compile_network(tiny(), LOIHI2).network
    for outputs, said in (
        ({}, "it has no output"), ({"o": "nobody"}, "output o is of nobody, which is not a popul"),
        ({"lif1": "lif2"}, "output lif1 is of lif2, but lif1 is another's name"),
        ({"input": "lif2"}, "output input is of lif2, but input is another's name"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            replace(net, outputs=outputs)
    renamed: IntNetwork = replace(net, outputs={"lif2": "lif2"})
    digests = {n.digest() for n in (net, renamed, replace(net, outputs={"output": "lif1"}))}
    assert len(digests) == 3


def labelled(net, samples=6):
    x = images(net, samples=samples)
    return Samples(x, np.arange(samples) % 4, "some")


def test_a_build_keeps_its_outputs(tmp_path):
    net = heads()
    build = export(Model("mine", net, {}), LOIHI2, tmp_path)
    again = builds.load_build(None, tmp_path)
    assert dict(again.program.network.outputs) == OF
    assert list(again.program.network.outputs) == list(OF)
    assert again.program.digest() == build.program.digest()
    assert again.info["answers"] == OF
    samples = labelled(net)
    trace = builds.simulate(again, samples)
    builds.save_trace(tmp_path / "a.npz", trace, samples.labels, layers=False)
    with np.load(tmp_path / "a.npz") as saved:
        assert set(saved) == {"label", *(f"{k}.{w}" for k in OF for w in ("spikes", "prediction"))}
        assert saved["deep.spikes"].shape == (6, 10, 8)
        assert (saved["deep.spikes"][:, 1:8] == trace.outputs["deep"].spikes).all()
        assert (saved["score.prediction"] == trace.outputs["score"].prediction).all()
    one = export(Model("one", tiny(), {}), LOIHI2, tmp_path)
    assert "answers" not in one.info


@pytest.mark.parametrize(
    ("outputs", "said"),
    [([("one", "lif1"), ("one", "lif2")], "two outputs share a name"), ([], "it has no output"),
     (None, "it has no outputs"), ([("one", 3)], "population is .*, not a text")],
)  # fmt: skip
def test_files_of_wrong_outputs_are_refused(tmp_path, outputs, said):
    program, path = compile_network(tiny(), LOIHI2), tmp_path / "program.h5"
    program_file.write(path, program)
    with h5py.File(path, "a") as file:
        del file["outputs"]
        for i, (name, population) in enumerate(outputs or []):
            group = file.create_group(f"outputs/{i:04d}")
            group.attrs.update(name=name, population=population)
        if outputs == []:
            file.create_group("outputs")
    with pytest.raises(InputError, match=said):
        program_file.read(path, program.placement, LOIHI2)


def test_accuracy_is_that_of_the_output_which_is_named(tmp_path):
    net = heads()
    build = export(Model("mine", net, {}), LOIHI2, tmp_path)
    samples = labelled(net)
    trace = builds.simulate(build, samples)
    assert builds.accuracy(trace, samples.labels) is None
    assert builds.accuracy(trace, None, "score") is None
    for name, answer in trace.outputs.items():
        right = float((answer.prediction == samples.labels).mean())
        assert builds.accuracy(trace, samples.labels, name) == right
        document = builds.measure(build, samples, output=name).document(build.digest)
        assert (document["accuracy"], document["output"]) == (right, name)
        made = floats.simulate(Model("mine", net, {}), samples, output=name)[0]
        was = floating.run(net, samples.inputs).predictions[name]
        assert made["accuracy"] == float((was == samples.labels).mean())
    assert "output" not in builds.measure(build, samples).document(build.digest)
    with pytest.raises(InputError, match="There is no output 'scare'"):
        builds.accuracy(trace, samples.labels, "scare")


def test_rewrites_are_measured_on_all_outputs():
    net = heads()
    soft = {k: replace(n, reset="subtract") for k, n in net.neurons().items()}
    was = replace(net, nodes={**net.nodes, **soft})
    changed = compiled(Model("soft", was, {}), LOIHI2, allowed=["hard-reset"])[2]
    r = np.random.default_rng(0)
    x = {"in": r.integers(0, 4, (200, 7, 6))}  # as random inputs are made
    before, after = (floating.run(n, x).predictions for n in (was, net))
    same = [(before[name] == after[name]).mean() for name in OF]
    assert len(set(same)) > 1
    assert changed["same_predictions"] == pytest.approx(np.mean(same))
    assert "accuracy" not in changed


def test_commands_ask_for_the_output(tmp_path):
    net = heads()
    nir_io.write(tmp_path / "heads.nir", net)
    x = images(net, samples=6)["in"]
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(6) % 4)
    told = call_here(tmp_path, "export", "heads.nir").stdout
    listed = "outputs: deep (first), end (second), same (second), score (sums)\n"
    assert listed in told
    assert listed in call_here(tmp_path, "inspect", "builds/heads-loihi2").stdout
    for more in ([], ["--on", "float"]):
        given = ["heads.nir"] if more else []
        command = ["simulate", *given, *more, "--input", "x.npz", "--json"]
        plain = call_here(tmp_path, *command)
        assert "accuracy" not in json.loads(plain.stdout)
        assert json.loads(plain.stdout)["outputs"] == sorted(OF)
        assert "name the one that the labels are for with --output" in plain.stderr
        named = call_here(tmp_path, *command, "--output", "score", "--save", "s.npz")
        document = json.loads(named.stdout)
        assert (document["output"], "--output" in named.stderr) == ("score", False)
        with np.load(tmp_path / "s.npz") as saved:
            right = float((saved["score.prediction"] == saved["label"]).mean())
        assert document["accuracy"] == right
        wrong = call_here(tmp_path, *command, "--output", "oops")
        assert wrong.returncode == 1
        assert "There is no output 'oops'" in wrong.stderr
    np.savez(tmp_path / "far.npz", x=x, y=np.arange(6) % 8)
    assert call_here(tmp_path, "simulate", "--input", "far.npz", "-q").returncode == 0
    far = call_here(tmp_path, "simulate", "--input", "far.npz", "--output", "score")
    assert "y runs from 0 to 5" in far.stderr  # score has four classes
    bill = ["energy", "report", "--input", "x.npz", "--json"]
    plain = call_here(tmp_path, *bill)
    assert (json.loads(plain.stdout)["accuracy"], "--output" in plain.stderr) == (None, True)
    named = call_here(tmp_path, *bill, "--output", "deep", "--html", "page.html")
    assert json.loads(named.stdout)["output"] == "deep"
    page = (tmp_path / "page.html").read_text()
    assert "6 samples of x.npz, output deep" in page
    assert "Outputs: deep (layer first), end (layer second), " in page
    compare = ["energy", "compare", "heads.nir", "--targets", "loihi2", "--input", "x.npz"]
    assert "--output" in call_here(tmp_path, *compare).stderr
    assert "Accuracy of output deep." in call_here(tmp_path, *compare, "--output", "deep").stdout
    wrong = call_here(tmp_path, *compare, "--output", "dip")
    assert "There is no output 'dip'" in wrong.stderr


def test_one_output_is_told_as_ever(tmp_path):
    nir_io.write(tmp_path / "tiny.nir", tiny())
    np.savez(tmp_path / "x.npz", x=images(tiny())["input"], y=np.arange(4) % 2)
    call_here(tmp_path, "export", "tiny.nir", "-q")
    command = ["simulate", "--input", "x.npz", "--json"]
    ran = call_here(tmp_path, *command, "--save", "s.npz")
    document = json.loads(ran.stdout)
    assert not {"output", "outputs"} & set(document)
    assert "accuracy" in document
    with np.load(tmp_path / "s.npz") as saved:
        assert set(saved) == {"spikes", "prediction", "label"}
    named = json.loads(call_here(tmp_path, *command, "--output", "output").stdout)
    assert named["accuracy"] == document["accuracy"]


def test_heads_of_a_xylo_are_parts_of_its_readout():
    r = np.random.default_rng(2)
    net = float_chain([r.normal(0.1, 0.4, (9, 5)), r.normal(0.1, 0.4, (7, 9)),
                       r.normal(0.2, 0.4, (3, 7))])  # fmt: skip
    more = {
        "early": Affine(r.normal(0.2, 0.4, (2, 9)), np.zeros(2)), "n3": neurons((2,)),
        "a": Output((2,)),
    }  # fmt: skip
    edges = (*net.edges, ("n0", "early"), ("early", "n3"), ("n3", "a"))
    both = replace(net, nodes={**more, **net.nodes}, edges=edges)
    program = compile_network(both, AUDIO2)
    assert dict(program.network.outputs) == {"a": "n3", "out": "n2"}
    assert (program.phase["n3"], program.phase["n2"], program.depth) == (1, 2, 2)
    written = spec.specification(program)
    assert np.shape(written["weights_out"]) == (16, 5)
    assert not np.array(written["weights_out"])[:9, 2:].any()
    assert np.array(written["weights_out"])[:9, :2].any()
    x = images(program.network, samples=3)
    trace = xylo.run(program, x, states=True)
    assert trace.answer("a").spikes.any()
    assert trace.answer("out").spikes.any()
    parts = program.network.populations[-2:]
    assert written["threshold_out"] == [t for p in parts for t in p.threshold.tolist()]


def test_a_netx_file_has_one_output():
    net = tiny()
    early = replace(net, nodes={**net.nodes, "early": Output((3,))},
                    edges=(*net.edges, ("lif1", "early")))  # fmt: skip
    program = compile_network(early, LOIHI2)
    assert netx_writing.why_not(program) == "netx has the last layer as its output, not early"
    twice = replace(net, nodes={**net.nodes, "again": Output((2,))},
                    edges=(*net.edges, ("lif2", "again")))  # fmt: skip
    assert netx_writing.why_not(compile_network(twice, LOIHI2)) is None


def test_outputs_stay_whole_where_dead_neurons_go():
    net = heads()
    changed = dict(net.nodes)
    for fc in ("fc0", "fc1"):
        weight, bias = np.array(net.nodes[fc].weight), np.array(net.nodes[fc].bias)
        weight[2], bias[2] = 0, 0
        changed[fc] = Affine(weight, bias)
    program = compile_network(replace(net, nodes=changed), LOIHI2)
    assert [program.network.population(k).size for k in ("first", "second")] == [8, 5]
    trace = engine.run(program, images(net))
    for name in ("deep", "end"):
        sent = trace.answer(name).spikes.any(axis=(0, 1))
        assert not sent[2]
        assert sent.any()


def test_the_case_of_two_heads_builds_as_it_is(tmp_path):
    model = load_model(str(FIXTURES / "two_heads.nir"), tmp_path, CHOICE)
    build = export(model, LOIHI2, tmp_path)
    assert build.info["answers"] == {"oc": "c", "ob": "box"}
