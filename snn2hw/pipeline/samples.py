"""Inputs for networks and builds: a data set's, shown as in training, or a file's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import datasets
from snn2hw.archives import read_npz
from snn2hw.datasets import label_problems
from snn2hw.encoders import Encoder
from snn2hw.errors import InputError
from snn2hw.files import expanded, reading
from snn2hw.ir.arrays import size_of
from snn2hw.ir.integer import given
from snn2hw.ir.program import Program
from snn2hw.ir.trace import chosen
from snn2hw.pipeline.given import moved
from snn2hw.pipeline.port import Port, Samples, fingerprint
from snn2hw.pipeline.recorded import Clip, from_recording, only_for_recordings
from snn2hw.pipeline.shapes import fitted
from snn2hw.recordings import UNREAD, Binning, clipped, is_recording
from snn2hw.simulate.inputs import sent
from snn2hw.store import folders

PLAIN = Binning()


def held_out(
    data: str,
    port: Port,
    limit: int | None = None,
    data_dir: Path | None = None,
    trained: Iterable[str | None] = (),
) -> Samples:
    """Load a data set's test samples, encoded for a port.

    Args:
        data: name of the data set.
        port: what they are for.
        limit: how many samples at most, the first ones.
        data_dir: where to look for data first.
        trained: names of the data sets that the model was trained on.

    Raises:
        InputError: they cannot be loaded, or do not have the port's shape.
    """
    encoder = replace(port.encoder or Encoder(), time_steps=port.time_steps)
    direct = encoder.name == "direct"
    wanted = port.shape if direct else None
    there = datasets.load(datasets.whole(data), data_dir, time_steps=port.time_steps, shape=wanted)
    found = there if data == datasets.whole(data) else there.without_test(data)
    seen = datasets.in_training(data, trained)
    shape = encoder.shape(found.shape)
    if size_of(shape) != size_of(port.shape):
        shown = "" if direct else f" through encoder {encoder.name!r}"
        raise InputError(
            f"{data} has samples of shape {list(shape)}{shown}, {port.owner} takes "
            f"{list(port.shape)}.",
            "Give the data that the model was trained on with --data.",
        )
    x = encoder.encode(found.x_test[:limit], found.max_value)
    notes = [there.note, trained_on(port.owner, data)] if seen else [found.note]
    above = int(np.count_nonzero(x > port.max_value)) if datasets.split(data)[0] == "events" else 0
    if direct and above:
        notes.append(clipped(above, int(np.count_nonzero(x)), port.max_value))
        x = np.minimum(x, port.max_value)
    inputs = {port.name: x.reshape(*x.shape[:2], *port.shape)}
    told = tuple(n for n in notes if n)
    return Samples(inputs, found.y_test[:limit], data, told, trained_on=seen)


def trained_on(who: str, data: str) -> str:
    """Return the note on samples that are called held out, but not of this model's training."""
    return (
        f"{who} was trained on these samples: {data} holds them out of {datasets.whole(data)}, and "
        f"all of that was its training data. Only a model trained on {data} has not seen them"
    )


def samples_for(
    build: folders.Build,
    *,
    data: str | None = None,
    file: Path | None = None,
    limit: int | None = None,
    data_dir: Path | None = None,
    output: str | None = None,
    binning: Binning = PLAIN,
    resize: str | None = None,
) -> Samples:
    """Take test samples of a data set, or read them from a file.

    Args:
        build: decides shapes and time steps, and how images are encoded.
        data: name of the data set; None is the one that the model was trained on.
        file: an npz with ``x [N, S, *in]`` of integers (and ``y [N]``, if known) instead; real
            numbers go through the input's gain and offset, where a ``.net`` file gave it some. Or
            a recording of an event sensor, which is one sample.
        limit: how many samples at most.
        data_dir: where to look for data first.
        output: the one that labels are for; None is the only one.
        binning: how recordings are shown, where it differs from what the name of the data says.
        resize: columns and rows that images are brought to, likewise.
    """
    net = build.program.network
    sole(net.outputs, output)  # a wrong name is told before anything is read
    if file is not None and not recorded(file, binning, resize):
        return _from_file(build.program, file, limit, output)
    place = _port(build.program, build.name, build.info)
    if file is not None:
        samples = from_recording(file, place, binning)
    else:
        name = data or remembered(build.name, build.info.get("data"))
        trained = trained_data(build.info)
        samples = held_out(*data_for(name, place, binning, resize), limit, data_dir, trained)
    return replace(samples, inputs=sent(net, samples.inputs))


def samples_of(
    program: Program,
    owner: str,
    facts: Mapping[str, Any],
    file: Clip | str | Path,
    output: str | None = None,
) -> Samples:
    """Read the samples of a file for a program.

    Args:
        program: decides shapes and time steps.
        owner: its name, for messages.
        facts: ``encoder``, if images or recordings were shown through one in training.
        file: of arrays, or a recording.
        output: the one that labels are for; None is the only one.

    Raises:
        InputError: it cannot be read, or does not go with the program.
    """
    asked = file if isinstance(file, Clip) else Clip(expanded(file))
    if not recorded(asked.path, asked.binning, None):
        return _from_file(program, asked.path, None, output)
    samples = from_recording(asked.path, _port(program, owner, facts), asked.binning)
    return replace(samples, inputs=sent(program.network, samples.inputs))


def _port(program: Program, owner: str, facts: Mapping[str, Any]) -> Port:
    """Return the one input of a program, and how it was shown in training.

    Raises:
        InputError: there are several.
    """
    net = program.network
    port, *others = given(net.inputs).values()
    if others:
        raise one_input_only(owner, 1 + len(others))
    encoder = told_encoder(facts)
    return Port(owner, port.name, port.shape, net.time_steps, port.max_value, encoder)


def sole(outputs: Collection[str], named: str | None) -> str | None:
    """Return the output that labels are for: the one named, the only one, or None if unsaid.

    Raises:
        InputError: there is no output of that name.
    """
    return None if named is None and len(outputs) > 1 else chosen(outputs, named)


def recorded(file: Path, binning: Binning, resize: str | None) -> bool:
    """Say whether an input file is a recording.

    Raises:
        InputError: it is none, and there are options for recordings or images; or it is a folder.
    """
    if file.is_dir():
        raise datasets.is_folder(file)
    if is_recording(file) or file.suffix.lower() in UNREAD:
        if resize is not None:
            raise InputError(f"--resize is for images, and {file} is a recording.", CROP_INSTEAD)
        return True
    only_for_recordings(binning, str(file))
    if resize is not None:
        raise InputError(f"--resize is for images in folders, and {file} holds arrays.")
    return False


def data_for(name: str, port: Port, binning: Binning, resize: str | None) -> tuple[str, Port]:
    """Return the name of a data set with the options that are given, and a port with its steps.

    Raises:
        InputError: it has no such options.
    """
    options = binning.options() | ({} if resize is None else {"resize": resize})
    if binning.bins is not None:
        if not datasets.are_recordings(name):
            only_for_recordings(binning, f"data {name!r}")
        port = port._replace(time_steps=binning.bins)
    return datasets.with_options(name, options), port


def told_encoder(facts: Mapping[str, Any]) -> Encoder | None:
    """Return the encoder that a run's metrics or a build tell of, if they do.

    Raises:
        InputError: what they tell is no encoder.
    """
    told = facts.get("encoder")
    return None if told is None else Encoder.from_json(told)


def trained_data(facts: Mapping[str, Any]) -> list[str | None]:
    """Return all data that a run's metrics or a build say that the model was trained on."""
    return [facts.get("data"), *facts.get("trained_before", ())]


def remembered(owner: str, data: str | None) -> str:
    """Return the name of the data set that a model was trained on.

    Raises:
        InputError: nobody said, or it was arrays in Python, which nobody keeps.
    """
    if data and datasets.split(data)[0] in datasets.DATASETS:
        return data
    raise InputError(
        f"{owner} was trained on {data!r}, data of a Python program that are not kept."
        if data
        else f"{owner} does not say which data it is for.",
        "Give --data NAME, or --input FILE.npz.",
    )


CROP_INSTEAD = "Use --crop and --downsample."

# Steps that a sample may have, and more the larger its file is. A step takes time and memory in
# every neuron, and silence takes next to nothing in a packed file.
STEPS, STEPS_A_BYTE = 8192, 2


def one_input_only(owner: str, inputs: int) -> InputError:
    """Return the error for a data set that is to feed several inputs."""
    return InputError(
        f"{owner} has {inputs} inputs, a data set feeds one.",
        "Give --input FILE.npz with an array for each.",
    )


def stored_arrays(
    file: Path, limit: int | None, ports: Sequence[str], classes: int | None
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64] | None]:
    """Read inputs and, if it is there, ``y`` from an npz file.

    The array of a single input is called ``x``; several are called like the inputs.

    Args:
        file: the file.
        limit: how many samples at most, the first ones.
        ports: names of the inputs.
        classes: how many there are, if ``y`` has to do with the network's output.

    Raises:
        InputError: something is missing, too much, no finite number, or no label.
    """
    names = {"x": ports[0]} if len(ports) == 1 else {p: p for p in ports}
    hint = f"Store {', '.join(f'{k} [N, S, *in]' for k in names)} with integers."
    labelled = () if "y" in names else ("y",)
    arrays = read_npz(file, list(names), labelled, rows=limit, paired=True, hint=hint)
    inputs = {port: arrays[k] for k, port in names.items()}
    size = file.stat().st_size
    long = [f"{k} has {arrays[k].shape[1]:,} steps" for k in names
            if arrays[k].ndim > 1 and arrays[k].shape[1] > STEPS + STEPS_A_BYTE * size]  # fmt: skip
    if long:
        raise InputError(
            f"{file}: {'; '.join(long)}, too many for a file of {size:,} bytes.",
            "Do not compress it, or store fewer steps.",
        )
    problems = [f"{k} holds NaN or infinity" for k in names if not _finite(arrays[k])]
    labels = arrays.get("y") if labelled else None
    if labels is not None:
        problems += label_problems("y", labels, classes)
    if problems:
        raise InputError(f"{file}: {'; '.join(problems)}.", f"{hint} y [N] holds classes from 0.")
    return inputs, None if labels is None else labels.astype(np.int64)


def _finite(x: NDArray[Any]) -> bool:
    return x.dtype.kind != "f" or bool(np.isfinite(x).all())


def _from_file(program: Program, file: Path, limit: int | None, output: str | None) -> Samples:
    net = program.network
    labelled, ports = sole(net.outputs, output), given(net.inputs)
    classes = None if labelled is None else net.population(net.outputs[labelled]).size
    inputs, labels = stored_arrays(file, limit, list(ports), classes)
    with reading(file, "a file of samples"):
        fit = {k: fitted(k, ports[k].shape, x, net.time_steps) for k, x in inputs.items()}
        notes = tuple(n for name, x in fit.items() for n in moved(name, ports[name], x))
        known = {k: ports[k].integers(x) for k, x in fit.items()}
        told = fingerprint(inputs, labels)
        return Samples(sent(net, known), labels, file.name, notes, sha256=told)
