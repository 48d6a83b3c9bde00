"""A recording as the input of a network, and how commands say what they made of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from nets import LOIHI2, lif
from recorded import some_events, write
from shared import DATA, needs_data
from system_calls import call_here, document

import snn2hw
from snn2hw import nir_io
from snn2hw.encoders import Encoder
from snn2hw.errors import InputError
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Flatten, Input, Output
from snn2hw.pipeline import floats
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.samples import samples_for
from snn2hw.recordings import Binning, Events

SHAPE = (2, 20, 34)
STEPS = 5


def network(shape=SHAPE, max_value=9, steps=STEPS, classes=3):
    size = int(np.prod(shape))
    weight = np.random.default_rng(0).normal(0, 0.1, (classes, size))
    nodes = {
        "input": Input(shape, max_value), "flat": Flatten(shape, 0),
        "fc": Affine(weight, np.zeros(classes)), "lif": lif((classes,)),
        "output": Output((classes,)),
    }  # fmt: skip
    if len(shape) == 1:
        del nodes["flat"]
    order = list(nodes)
    return Network(nodes, tuple(itertools.pairwise(order)), 1e-3, steps)


@pytest.fixture
def build(tmp_path):
    return export(Model("a", network(), {}), LOIHI2, tmp_path)


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "clip.dat", EVENTS)


EVENTS = some_events(600)


def expected(steps, most=9):
    t, p, y, x = EVENTS
    frames = np.zeros((steps, *SHAPE), int)
    np.add.at(frames, ((t - t[0]) * steps // (t[-1] - t[0] + 1), p, y, x), 1)
    return np.minimum(frames, most)


def test_a_recording_is_one_sample(build, clip):
    taken = samples_for(build, file=clip)
    assert np.array_equal(taken.inputs["input"], expected(STEPS)[None])
    assert taken.labels is None
    lasts = (EVENTS.t[-1] - EVENTS.t[0] + 1) / 1000
    assert taken.notes == (
        f"clip.dat: 600 events in {lasts:.6g} ms, shown in 5 steps of {lasts / 5:.4g} ms",
        "clip.dat: off events are channel 0, on events channel 1",
    )
    told = taken.told()["recording"]
    assert (told["events"], told["steps"], told["polarity"]) == (600, 5, "separate")
    assert (told["sensor"], told["crop"], told["bins_clipped"]) == ([34, 20], None, 0)


def test_steps_are_asked_for_or_the_networks_or_the_windows(build, clip):
    more = samples_for(build, file=clip, binning=Binning(bins=8))
    assert np.array_equal(more.inputs["input"], expected(8)[None])
    shown = samples_for(build, file=clip, binning=Binning(window=40))
    assert shown.inputs["input"].shape[1] == STEPS
    assert "in 5 steps of 40 ms, where all of it would take 8" in shown.notes[0]
    late = int((EVENTS.t - EVENTS.t[0] >= 200_000).sum())
    assert f"{late} of 600 " in shown.notes[-1]
    assert "events come after the last step" in shown.notes[-1]
    model = Model("a", network(steps=None), {})
    assert floats.samples_for(model, file=clip, binning=Binning(window=40)).inputs[
        "input"
    ].shape == (1, 8, *SHAPE)
    with pytest.raises(InputError, match=r"clip\.dat: a does not say how many steps.*--bins"):
        floats.samples_for(model, file=clip)
    with pytest.raises(InputError, match=r"lasts 299,\d+ steps of 0\.001 ms; .* 65,536"):
        floats.samples_for(model, file=clip, binning=Binning(window=0.001))


def test_what_an_input_cannot_take_is_cut_and_said(tmp_path, clip):
    build = export(Model("a", network(max_value=1), {}), LOIHI2, tmp_path)
    taken = samples_for(build, file=clip)
    whole, cut = expected(STEPS), expected(STEPS, 1)
    assert np.array_equal(taken.inputs["input"], cut[None])
    above, some = (whole > 1).sum(), cut.sum()
    assert taken.notes[-1].startswith(f"clip.dat: {above} of {some} (")
    assert taken.notes[-1].endswith("bins with events hold more than 1, and count as 1")
    assert taken.recording["bins_clipped"] == above
    on_float = floats.samples_for(Model("a", network(max_value=1), {}), file=clip)
    assert np.array_equal(on_float.inputs["input"], cut[None])


def test_inputs_of_other_shapes(tmp_path, clip):
    def shown(shape, **how):
        model = Model("a", network(shape), {})
        return floats.samples_for(model, file=clip, binning=Binning(**how))

    whole = expected(STEPS)
    merged = shown((1, 20, 34))
    assert np.array_equal(merged.inputs["input"][0], whole.sum(axis=1, keepdims=True))
    assert "counted together in one channel" in merged.notes[1]
    assert np.array_equal(shown((1360,)).inputs["input"][0], whole.reshape(STEPS, -1))
    cut = shown((2, 7, 9), crop=(3, 4, 9, 7)).inputs["input"][0]
    assert np.array_equal(cut, whole[:, :, 4:11, 3:12])
    with pytest.raises(InputError, match=r"clip\.dat: It has 34 x 20 pixels .* a takes 9 x 7\."):
        shown((2, 7, 9))
    write(clip, Events(*(np.array([v, v]) for v in (1, 0, 0, 0))))
    with pytest.raises(InputError, match=r"clip\.dat: None of its events is shown"):
        shown((2, 7, 9), crop=(9, 9, 9, 7))


def test_a_recording_goes_through_the_encoder_of_training(tmp_path, clip):
    grid = Encoder("grid", STEPS, constants={"rows": 2, "columns": 2})
    told = {"encoder": grid.to_json()}
    model = Model("a", network((2, 2, 2), 15), {}, metrics=told)
    taken = floats.samples_for(model, file=clip)
    assert np.array_equal(taken.inputs["input"], grid.encode(expected(STEPS, 255)[None], 255))
    with pytest.raises(InputError, match=r"has frames of \[2, 2, 2\].*takes \[4, 2, 2\]"):
        floats.samples_for(Model("a", network((4, 2, 2)), {}, metrics=told), file=clip)
    rate = {"encoder": Encoder("rate", STEPS).to_json()}
    with pytest.raises(InputError, match=r"encoder 'rate'.*--data events:DIR"):
        floats.samples_for(Model("a", network(), {}, metrics=rate), file=clip)


def test_options_belong_to_recordings(build, tmp_path, clip):
    np.savez(tmp_path / "x.npz", x=expected(STEPS)[None])
    for how, file, data, said in (
        ({"binning": Binning(bins=3, crop=(0, 0, 1, 1))}, "x.npz", None,
         r"--bins, --crop cannot be used with .*x\.npz"),
        ({"resize": "3"}, "x.npz", None, "--resize is for images in folders"),
        ({"resize": "3"}, "clip.dat", None, r"--resize is for images, .*--crop and --downsample"),
        ({"binning": Binning(bins=3)}, None, "digits", "--bins cannot be used with data 'digits'"),
        ({"binning": Binning(window=3)}, None, "digits", "--window cannot be used with data"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            samples_for(build, file=file and tmp_path / file, data=data, **how)
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(InputError, match=r"a\.mat is no recording that is read"):
        samples_for(build, file=tmp_path / "a.mat")


def test_a_folder_for_a_build_is_cut_to_what_it_takes(tmp_path):
    for label, i in itertools.product("ab", range(2)):
        (tmp_path / "clips" / label).mkdir(parents=True, exist_ok=True)
        write(tmp_path / "clips" / label / f"{i}.bin", EVENTS)
    build = export(Model("a", network((2, 20, 34), 1), {}), LOIHI2, tmp_path)
    taken = samples_for(build, data=f"events:{tmp_path}/clips")
    assert np.array_equal(taken.inputs["input"], np.stack([expected(STEPS, 1)] * 2))
    assert taken.labels.tolist() == [0, 1]
    assert taken.notes[-1].endswith("bins with events hold more than 1, and count as 1")
    few = samples_for(build, data=f"events:{tmp_path}/clips", binning=Binning(bins=2))
    assert few.inputs["input"].shape == (2, 2, *SHAPE)


def test_commands_say_and_record_it(tmp_path):
    nir_io.write(tmp_path / "a.nir", replace(network(), time_steps=None))
    write(tmp_path / "clip.es.raw", EVENTS)
    told = ("--dt", "1e-3", "--time-steps", "5", "--input-max", "9")
    built = call_here(tmp_path, "export", "a.nir", *told)
    assert built.returncode == 0, built.stderr
    given = ("--input", "clip.es.raw", "--window", "40", "--crop", "0,0,34,20")
    done = call_here(tmp_path, "simulate", *given)
    assert "note: clip.es.raw: 600 events" in done.stderr
    assert "note: clip.es.raw: cut to columns 0 to 33 and rows 0 to 19" in done.stderr
    assert "prediction" in done.stdout
    found = document(tmp_path, "simulate", *given)
    assert found["recording"]["window_ms"] == 40
    assert found["recording"]["crop"] == [0, 0, 34, 20]
    assert len(found["notes"]) == 4
    assert found["prediction"] in range(3)
    on_float = document(tmp_path, "simulate", "a.nir", "--on", "float", *told, *given)
    assert on_float["recording"] == found["recording"]
    assert set(found["notes"]) <= set(on_float["notes"])
    priced = document(tmp_path, "energy", "report", *given)
    assert (priced["recording"], priced["notes"]) == (found["recording"], found["notes"])
    chips = ("--targets", "loihi2")
    (row,) = document(tmp_path, "energy", "compare", "a.nir", *told, *chips, *given)["targets"]
    assert row["recording"] == found["recording"]
    verified = call_here(tmp_path, "verify", *given)
    assert "note: clip.es.raw: 600 events" in verified.stderr
    wrong = call_here(tmp_path, "simulate", "--input", "clip.es.raw", "--crop", "1,2,3")
    assert wrong.returncode != 0
    assert "'1,2,3' is not X,Y,W,H: first column, first row, columns, rows." in wrong.stderr


def test_inspect_and_other_doors(tmp_path):
    write(tmp_path / "clip.raw", EVENTS)
    found = document(tmp_path, "inspect", "clip.raw")
    assert (found["events"], found["on"] + found["off"]) == (600, 600)
    assert found["on"] == int(EVENTS.p.sum())
    assert found["sensor"] == "34 x 20 (columns x rows)"
    assert found["use"] == "snn2hw simulate BUILD --input clip.raw"
    refused = call_here(tmp_path, "export", "clip.raw")
    assert "clip.raw is a recording of events, not a network." in refused.stderr


def test_a_student_of_recordings(tmp_path):
    """Which half of the sensor the events are in: learned, built, run, and shown again alike."""
    for label, left in (("left", 0), ("right", 8)):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for i in range(20):
            t, p, y, x = some_events(300, 8, 16, seed=i + left)
            write(tmp_path / "clips" / label / f"{i:02}.bin", Events(t, p, y, x + left))
    made = document(
        tmp_path, "distill", "--data", "events:clips", "--window", "100", "--crop", "0,0,16,16",
        "--downsample", "2", "--polarity", "merged", "--student", "mlp-8", "--method", "none",
        "--epochs", "40", "--batch", "8", "--name", "a",
    )  # fmt: skip
    assert made["data"] == "events:clips,window=100,crop=0,0,16,16,downsample=2,polarity=merged"
    assert made["time_steps"] == 3
    assert "cut to columns 0 to 15" in made["data_note"]
    assert made["accuracy"] == 1
    document(tmp_path, "export")
    found = document(tmp_path, "simulate")
    assert (found["data"], found["samples"]) == (made["data"], 8)
    assert found["accuracy"] == 1
    for name, label in (("left", 0), ("right", 1)):
        one = document(
            tmp_path, "simulate", "--input", f"clips/{name}/03.bin", "--window", "100",
            "--crop", "0,0,16,16", "--downsample", "2",
        )  # fmt: skip
        assert one["prediction"] == label
    plain = document(
        tmp_path, "distill", "--data", "events:clips", "--bins", "2", "--student", "mlp-8",
        "--method", "none", "--epochs", "1",
    )  # fmt: skip
    assert (plain["time_steps"], plain["data"]) == (2, "events:clips")
    assert plain["run"] == "runs/mlp-8-events-clips"


@needs_data
def test_a_digit_of_n_mnist(tmp_path):
    """A shipped network reads a digit from N-MNIST's own file."""
    file = DATA / "events" / "recordings" / "n-mnist_one_sample.bin"
    found = document(tmp_path, "simulate", "nmnist-cnn", "--on", "float", "--input", str(file))
    assert found["recording"]["events"] == 4325
    assert found["recording"]["bins_clipped"] == 0
    built = document(tmp_path, "export", "nmnist-cnn")
    again = document(tmp_path, "simulate", built["build"], "--input", str(file))
    assert again["prediction"] == found["prediction"]
    large = DATA / "events" / "recordings" / "n-caltech101_faces_easy_0001.bin"
    refused = call_here(tmp_path, "simulate", built["build"], "--input", str(large))
    assert "It has events in 151 x 173 pixels (columns x rows), and" in refused.stderr
    assert "takes 34 x 34. Cut out a part with --crop X,Y,34,34" in refused.stderr


def test_python_takes_recordings_and_files(tmp_path, clip):
    """As the command line's --input does, with what was done to them said aloud."""
    made = snn2hw.build(network(), LOIHI2)
    with pytest.warns(UserWarning, match="600 events in .* shown in 5 steps"):
        ran = made.simulate(clip)
    wanted = made.simulate(expected(STEPS)[None])
    assert np.array_equal(ran.spikes, wanted.spikes)
    assert ran.trace.events["input"].sum() > 0
    cut = snn2hw.recording(str(clip), bins=3, crop=(0, 0, 34, 20))
    with pytest.warns(UserWarning, match="cut to columns 0 to 33 and rows 0 to 19"):
        assert made.simulate(cut).trace.steps == 3
    with pytest.warns(UserWarning, match="clip.dat"):
        assert made.energy(clip).data == "clip.dat"
    x = np.random.default_rng(0).integers(0, 9, (4, STEPS, *SHAPE))
    y = made.simulate(x).prediction
    np.savez(tmp_path / "x.npz", x=x, y=y)
    bill = made.energy(tmp_path / "x.npz")
    assert (bill.accuracy, bill.samples, bill.data) == (1, 4, "x.npz")
    assert made.energy(tmp_path / "x.npz", (y + 1) % 3).accuracy == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"crop": (1, 2)}, r"crop=\(1, 2\).*crop=\(X, Y, W, H\)"),
        ({"bins": 0}, "bins=0"),
        ({"bins": 2.5}, "bins=2.5"),
        ({"window": "long"}, "window='long'.*milliseconds"),
        ({"downsample": 0}, "downsample"),
        ({"windw": 3}, "Did you mean 'window'"),
    ],
)
def test_python_says_how_recordings_are_shown(clip, options, told):
    with pytest.raises(InputError, match=told):
        snn2hw.recording(clip, **options)


def test_python_names_what_is_no_recording(tmp_path):
    with pytest.raises(InputError, match=r"gone\.dat is not there"):
        snn2hw.recording(tmp_path / "gone.dat")
    with pytest.raises(InputError, match=r"is no file of events.*\.aedat4"):
        snn2hw.recording(tmp_path)
    with pytest.raises(InputError, match="A rewrite is measured on arrays"):
        snn2hw.build(network(), LOIHI2, x="clip.dat")


def test_a_folder_is_named_as_data(tmp_path, build):
    for folder in ("clips/a", "pictures"):
        (tmp_path / folder).mkdir(parents=True)
    write(tmp_path / "clips" / "a" / "1.dat", EVENTS)
    for name, kind in (("clips", "events"), ("pictures", "image-folder")):
        done = call_here(tmp_path, "simulate", build.name, "--input", name)
        assert f"{name} is a folder. Write --data {kind}:{name}" in done.stderr
    with pytest.raises(InputError, match=r"--data events:.*clips"):
        floats.samples_for(Model("a", network(), {}), file=tmp_path / "clips")


def test_a_crop_beside_the_events_is_refused(tmp_path, build):
    """One in 200 is a crop of another place; one in 50 may be meant."""
    for others, good in ((199, False), (49, True)):
        t = np.arange(others + 1)
        x, y = np.full((2, others + 1), 15)
        x[0], y[0] = 1, 1
        file = write(tmp_path / f"{others}.dat", Events(t, t % 2, y, x))
        binning = Binning(crop=(0, 0, 4, 4))
        if good:
            told = samples_for(build, file=file, binning=binning).notes
            assert any("49 of 50 (98 %) events are outside the crop" in n for n in told)
            continue
        with pytest.raises(InputError, match=r"holds 1 of its 200 events.*16 columns and 16 rows"):
            samples_for(build, file=file, binning=binning)
