"""Recordings of event sensors: every format gives the events that were written, or says why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import (
    ALL,
    READ_BY_US,
    encoded,
    evt3,
    forty_bits,
    needs_aedat,
    needs_event_stream,
    some_events,
    write,
)
from shared import DATA, needs_data

from snn2hw.errors import InputError
from snn2hw.recordings import Events, read, read_recording, recording

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDINGS = DATA / "events" / "recordings"


def path_for(folder, suffix):
    return folder / f"a{suffix}"


def same(found, events, *, row=True):
    assert found.t.tolist() == events.t.tolist()
    assert found.x.tolist() == events.x.tolist()
    assert found.p.tolist() == events.p.tolist()
    assert not row or found.y.tolist() == events.y.tolist()


def refused(path):
    with pytest.raises(InputError) as caught:
        read_recording(path)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_is_read(tmp_path, suffix, seed):
    # Times go round the 12 and 24 bits of EVT3, and the 23 of 40-bit events.
    events = some_events(400, 250, 200, 3_000_000, seed)
    spread = Events(events.t * 10, *events[1:])
    path = write(path_for(tmp_path, suffix), spread, (250, 200), suffix)
    found = read_recording(path)
    same(found.events, spread, row=suffix != ".bs1")
    sized = suffix.endswith((".dat", ".raw", ".es"))
    assert (found.size, found.notes) == ((250, 200) if sized else None, ())
    assert found.microseconds == spread.t[-1] - spread.t[0] + 1


@given(st.lists(st.tuples(*(st.integers(0, n) for n in (9, 1, 3, 60))), min_size=1, max_size=60))
@settings(max_examples=40)
def test_vectors_of_evt3(tmp_path_factory, rows):
    events = Events(*np.array(sorted(set(rows))).T)
    path = tmp_path_factory.mktemp("v") / "a.raw"
    for vectors in (False, True):
        path.write_bytes(evt3(events, (61, 4), vectors=vectors))
        same(read_recording(path).events, events)


def test_vectors_go_on_from_the_base(tmp_path):
    path = tmp_path / "a.raw"
    words = [8 << 12, 6 << 12 | 7, 11, 3 << 12 | 1 << 11 | 100]
    words += [4 << 12 | 0b101, 4 << 12 | 1, 5 << 12 | 0xF03, 7 << 12, 0xF << 12, 0xA << 12]
    words += [8 << 12 | 1, 2 << 12 | 4, 6 << 12 | 2, 2 << 12 | 4]
    path.write_bytes(b"% evt 3.0\n% end\n" + np.array(words, "<u2").tobytes())
    found = read_recording(path).events
    assert found.x.tolist() == [100, 102, 112, 124, 125, 4, 4]
    assert found.p.tolist() == [1] * 5 + [0, 0]
    # Of a vector of 8 the upper bits mean nothing, as its expected columns show.
    # Without low bits after a change of the high ones, they are zero.
    assert found.t.tolist() == [7] * 5 + [4096, 4098]


def test_events_without_time_or_place_are_left_out_and_said(tmp_path):
    path = tmp_path / "a.raw"
    words = [2 << 12 | 1, 8 << 12, 2 << 12 | 2, 5, 4 << 12 | 3, 9 << 12, 2 << 12 | 3]
    path.write_bytes(b"% evt 3.0\n" + np.array(words, "<u2").tobytes())
    found = read_recording(path)
    assert (found.events.x.tolist(), found.events.y.tolist()) == ([3], [5])
    assert found.notes == (
        "events left out, before the first that says when or where: 4",
        "words of unknown kinds skipped: 1",
    )
    two = [1 << 28 | 3, 8 << 28 | 1, 3 << 28, 1 << 28 | 2 << 22 | 4 << 11 | 6]
    path.write_bytes(b"% evt 2.0\n" + np.array(two, "<u4").tobytes())
    found = read_recording(path)
    assert [v.tolist() for v in found.events] == [[66], [1], [6], [4]]
    assert [n[-3:] for n in found.notes] == [": 1", ": 1"]


def test_times_of_32_bits_go_round(tmp_path):
    t = np.array([2**32 - 5, 2**32 - 1, 2**32 - 2, 2**32 + 3])
    zero = np.zeros(4, int)
    path = write(tmp_path / "a.dat", Events(t % 2**32, zero, zero, zero))
    assert read_recording(path).events.t.tolist() == t.tolist()


def test_marks_of_the_sensors_counter(tmp_path):
    """As Tonic reads N-MNIST's files."""
    io = pytest.importorskip("tonic.io")
    events = some_events(500, 34, 34, 300_000)
    path = tmp_path / "a.bin"
    path.write_bytes(forty_bits(events, None, marks=True))
    assert path.stat().st_size > 5 * 500
    same(read_recording(path).events, events)
    theirs = io.read_mnist_file(path, np.dtype([(k, int) for k in "xytp"]))
    same(Events(*(theirs[k] for k in "tpyx")), events)


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "n-mnist_one_sample.bin",
        "n-caltech101_faces_easy_0001.bin",
        pytest.param("davis346.aedat4", marks=needs_aedat),
    ],
)
def test_recordings_of_others(name):
    lines = (RECORDINGS / "manifest.jsonl").read_text().splitlines()
    told = next(r for r in map(json.loads, lines) if r["file"] == name)
    found, facts = read_recording(RECORDINGS / name), told["decoded"]
    t, p, y, x = found.events
    assert (len(t), int(p.sum())) == (facts["events"], facts["on"])
    assert [int(x.min()), int(x.max())] == facts["x_range"]
    assert [int(y.min()), int(y.max())] == facts["y_range"]
    assert (int(x.sum(dtype=int)), int(y.sum(dtype=int))) == (facts["sum_x"], facts["sum_y"])
    for i, key in ((0, "first_event_xytp"), (-1, "last_event_xytp")):
        assert [int(v[i]) for v in (x, y, t, p)] == facts[key]
    assert found.size == (tuple(told["sensor_size"]) if name.endswith("4") else None)
    assert (np.diff(t) >= 0).all()


@needs_data
@needs_aedat
def test_every_event_of_a_recording_with_other_streams():
    with np.load(RECORDINGS / "davis346_events.npz") as stored:
        events = Events(*(stored[k].astype(int) for k in "tpyx"))
    same(read_recording(RECORDINGS / "davis346.aedat4").events, events)


@needs_aedat
def test_two_packets_of_a_davis():
    """The first 791 events of a recording that neuromorphicsystems/aedat (MIT) tests with."""
    found = read_recording(FIXTURES / "davis346_two_packets.aedat4")
    assert (len(found.events.t), found.size, found.reach) == (791, (346, 260), (323, 244))
    first = [int(v[0]) for v in found.events]
    assert first == [1589163147368868, 1, 164, 215]


@needs_data
def test_channels_of_a_cochlea():
    found = read_recording(RECORDINGS / "n-tidigits_one_sample.bs1")
    assert (len(found.events.t), found.reach) == (898, (64, 1))


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_that_ends_within_an_event(tmp_path, suffix):
    path = path_for(tmp_path, suffix)
    whole = encoded(suffix, some_events())
    for cut in (1, 3):
        path.write_bytes(whole[:-cut])
        said = refused(path)
        assert "ends within an event" in said or "not a number of events of 5 bytes" in said


@pytest.mark.parametrize("suffix", ALL)
def test_damaged_files_are_read_or_refused(tmp_path, suffix):
    path, r = path_for(tmp_path, suffix), np.random.default_rng(1)
    whole = encoded(suffix, some_events(60))
    outcomes = set()
    for _ in range(30):
        content = np.frombuffer(whole, np.uint8).copy()
        content[r.integers(0, len(content), 4)] = r.integers(0, 256, 4)
        path.write_bytes(content[: r.integers(1, len(content) + 1)].tobytes())
        try:
            read_recording(path)
            outcomes.add("read")
        except InputError as error:
            outcomes.add(path.name in str(error))
    assert outcomes in ({True}, {True, "read"})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.bin", b"", "holds no events"),
        ("a.raw", b"", "has no header"),
        ("a.raw", b"% evt 3.0\n% end\n", "holds no events"),
        ("a.raw", b"% evt 2.1\n% end\n12345678", "says format EVT2.1, and EVT2 and EVT3 are read"),
        ("a.raw", b"% format EVT4;x=1\n% end\n", "says format EVT4"),
        ("a.raw", b"% Date 2020\n% end\n1234", "says no format"),
        ("a.raw", b"% evt 3.0" + b" " * (1 << 17), "does not end within 65,536 bytes"),
        ("a.dat", b"% Version 1\n\x0c\x08", "says version 1, and 2 is read"),
        ("a.dat", b"% Data\n\x0c\x08", "says version none"),
        ("a.dat", b"% Version 2\n", "ends with its header"),
        ("a.dat", b"% Version 2\n\x0e\x08" + bytes(8), "8 bytes of kind 0xe an event"),
        ("a.mat", b"MATLAB", r"\.mat, MATLAB's.*numpy\.savez"),
        ("a.aedat", b"#!AER-DAT3.1", r"AEDAT 1 to 3"),
        ("a", b"", "no ending"),
    ],
)
def test_files_that_are_not_read(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_recording(path)


@needs_aedat
@needs_event_stream
def test_what_compiled_readers_refuse(tmp_path):
    path = tmp_path / "a.aedat4"
    path.write_bytes(b"#!AER-DAT4.0\r\n" + b"\xff" * 64)
    assert "is no recording that can be read" in refused(path)
    davis = (FIXTURES / "davis346_two_packets.aedat4").read_bytes()
    path.write_bytes(davis.replace(b"EVTS", b"TRIG"))
    assert "holds 0 streams of events; save one of them alone" in refused(path)
    path = tmp_path / "a.es"
    path.write_bytes(b"Event Stream" + bytes([2, 0, 0, 2, 34, 0, 20, 0]))
    assert "holds events of type atis; those of type dvs are read" in refused(path)


@needs_data
@needs_aedat
def test_a_recording_cut_short(tmp_path):
    path = tmp_path / "a.aedat4"
    path.write_bytes((RECORDINGS / "davis346.aedat4").read_bytes()[:200_000])
    assert "is no recording that can be read" in refused(path)


def test_a_reader_that_crashes_or_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "a.aedat4"
    path.write_bytes(b"x")
    monkeypatch.setattr(read, "find_spec", lambda _: object())
    monkeypatch.setattr(read._DECODER, "ask", lambda *_: ({}, b""))
    assert "aedat crashed on it, or did not come to an end" in refused(path)
    monkeypatch.setattr(read, "find_spec", lambda _: None)
    said = refused(path)
    assert "needs the package 'aedat'" in said
    assert "snn2hw[events]" in said


def test_no_more_events_than_can_be_binned(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_EVENTS", 20)
    for suffix in READ_BY_US:
        path = write(path_for(tmp_path, suffix), some_events(20), suffix=suffix)
        assert len(read_recording(path).events.t) == 20
        path = write(path_for(tmp_path, suffix), some_events(21), suffix=suffix)
        assert "it holds 21 events; at most 20 are read" in refused(path)
