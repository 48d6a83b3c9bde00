"""Frames of recordings: every event is counted once in its step and place, or said to be lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import some_events

from snn2hw.errors import InputError
from snn2hw.recordings import Binning, Events, Recording, Tally, binning, fit, show, told
from snn2hw.recordings.telling import share

SENSOR = (34, 20)


def recorded(events=None, size=SENSOR):
    return Recording(some_events() if events is None else events, size)


def by_hand(recording, place, how, steps):
    """One event after another, in whole numbers of Python."""
    t = recording.events.t.tolist()
    first, last = min(t), max(t)
    frames = np.zeros((steps, *place.shape), int)
    outside = late = 0
    left, top, width, height = how.crop or (0, 0, *place.shown)
    for at, p, y, x in zip(*(v.tolist() for v in recording.events), strict=True):
        if how.window is None:
            step = (at - first) * steps // (last - first + 1)
        else:
            step = (at - first) // round(how.window * 1000)
        beyond = step >= steps
        late += beyond
        if how.crop and not (left <= x < left + width and top <= y < top + height):
            outside += 1
        elif not beyond:
            n = how.downsample
            frames[step, p if place.channels == 2 else 0, (y - top) // n, (x - left) // n] += 1
    return frames, outside, late


@st.composite
def choices(draw):
    crop = draw(st.sampled_from([None, (0, 0, 34, 20), (3, 5, 10, 7), (33, 19, 1, 1)]))
    window = draw(st.sampled_from([None, 0.5, 20, 33.333, 1000]))
    downsample, merged = draw(st.integers(1, 5)), draw(st.sampled_from([None, True]))
    return Binning(None, window, crop, downsample, merged)


@given(choices(), st.integers(1, 20), st.integers(0, 9))
@settings(max_examples=60)
def test_frames_are_those_made_by_hand(how, steps, seed):
    recording = recorded(some_events(200, seed=seed))
    place = fit(SENSOR, recording.reach, how)
    shown = show(recording, place, how, steps)
    frames, outside, late = by_hand(recording, place, how, steps)
    assert np.array_equal(shown.frames, frames)
    assert (shown.outside, shown.late) == (outside, late)
    assert place.channels == (1 if how.merged else 2)


def test_windows_hold_whole_microseconds_and_the_last_may_be_part_full():
    how = Binning(window=0.1)
    assert [how.steps(n) for n in (0, 1, 100, 101, 1000)] == [1, 1, 1, 2, 10]
    for wrong in (0.0004, 0.1004, -1, 1e10, float("nan")):
        with pytest.raises(InputError, match=r"--window .* no whole number of microseconds"):
            Binning(window=wrong)


@pytest.mark.parametrize("crop", [(-1, 0, 3, 3), (0, 0, 0, 3), (0, 0, 3, 1 << 17)])
def test_crops_that_are_none(crop):
    with pytest.raises(InputError, match=r"--crop .* is not X,Y,W,H"):
        Binning(crop=crop)


def test_places_in_a_network():
    plain = Binning()
    # A sensor of no stated size has the network's, if its events lie within.
    found = fit(None, (30, 20), plain, (2, 34, 34))
    assert (found.shape, found.shown) == ((2, 34, 34), (30, 20))
    assert fit((34, 34), (1, 1), plain, (1, 34, 34)).channels == 1
    assert fit((34, 34), (1, 1), plain, (34, 34)).channels == 1
    assert fit(SENSOR, (1, 1), plain, (1360,)).shape == (2, 20, 34)
    assert fit(SENSOR, (1, 1), plain, (680, 1, 1)).shape == (1, 20, 34)
    scaled = Binning(downsample=8)
    assert fit((346, 260), (1, 1), scaled).size == (44, 33)
    cut = Binning(crop=(10, 20, 40, 30), downsample=2)
    assert fit((346, 260), (1, 1), cut, (2, 15, 20)).shown == (20, 15)
    assert fit(None, (90, 90), cut, (600,)).shape == (2, 15, 20)


@pytest.mark.parametrize(
    ("size", "reach", "how", "wanted", "said"),
    [
        ((346, 260), (9, 9), {}, (2, 34, 34),
         r"has 346 x 260 pixels .*takes 34 x 34\. .*--crop X,Y,34,34.*--downsample 11"),
        ((34, 40), (9, 9), {}, (2, 34, 34), "has 34 x 40 pixels .*takes 34 x 34.*downsample 2"),
        (None, (35, 9), {}, (2, 34, 34), r"has events in 35 x 9 pixels .*takes 34 x 34"),
        ((346, 260), (9, 9), {"downsample": 2}, (2, 34, 34), "has 173 x 130 .*downsample 12"),
        ((34, 20), (9, 9), {"crop": (30, 0, 5, 5)}, (2, 5, 5), "ends at column 35 and row 5"),
        ((34, 20), (9, 9), {"crop": (0, 16, 5, 5)}, (2, 5, 5), "ends at column 5 and row 21"),
        (None, (9, 9), {}, (1360,), r"takes 1360 values in a row.*--crop 0,0,COLUMNS,ROWS"),
        ((34, 20), (9, 9), {}, (681,), "takes 681 values in a row: not as many, nor twice"),
        ((34, 20), (9, 9), {}, (2040,), "takes 2040 values"),
        ((34, 20), (9, 9), {"merged": True}, (2, 20, 34), "takes two polarities"),
    ],
)  # fmt: skip
def test_places_that_do_not_fit(size, reach, how, wanted, said):
    with pytest.raises(InputError, match=said):
        fit(size, reach, Binning(**how), wanted)


def test_events_outside_the_sensor_and_frames_without_end(monkeypatch):
    events = some_events()
    for size in ((33, 20), (34, 19)):
        with pytest.raises(InputError, match=r"in 34 x 20 pixels, and its sensor has 3. x (20|19)"):
            show(recorded(events, size), fit(size, (1, 1), Binning()), Binning(), 2)
    place = fit(SENSOR, (1, 1), Binning())
    far = Events(np.array([0, 1 << 60]), *np.zeros((3, 2), int))
    with pytest.raises(InputError, match="cannot be counted"):
        show(recorded(far), place, Binning(), 100)
    monkeypatch.setattr(binning, "MOST_VALUES", 1360 * 4 - 1)
    with pytest.raises(InputError, match=r"Frames of 4 x 2 x 20 x 34 .* 5,440 counts.*--window"):
        show(recorded(), place, Binning(), 4)


def test_what_is_said():
    how = Binning(crop=(3, 5, 10, 7), downsample=2)
    place = fit(SENSOR, (34, 20), how, (1, 4, 6))
    assert list(told(place, how, SENSOR, (34, 20))) == [
        "cut to columns 3 to 12 and rows 5 to 11",
        "2 x 2 pixels are added up to one",
        "5 x 4 pixels are the first columns and rows of 6 x 4, and the others stay empty",
        "off and on events are counted together in one channel",
    ]
    whole = fit(None, (34, 20), Binning())
    assert list(told(whole, Binning(), None, (34, 20))) == [
        "the file does not say how large its sensor is; all events lie in 34 x 20 pixels "
        "(columns x rows)",
        "off events are channel 0, on events channel 1",
    ]


def test_nothing_is_cut_in_silence():
    times = np.array([0, 1, 2, 3, 50, 99])
    events = Events(times, np.zeros(6, int), np.zeros(6, int), np.array([0, 0, 0, 1, 1, 5]))
    how = Binning(window=0.05, crop=(0, 0, 3, 1))
    recording = Recording(events, SENSOR, ("words of unknown kinds skipped: 3",))
    tally = Tally(most=2)
    shown = show(recording, fit(SENSOR, (6, 1), how), how, 1)
    assert shown.frames.tolist() == [[[[3, 1, 0]], [[0, 0, 0]]]]
    assert tally.cut(recording, shown, "a.raw").tolist() == [[[[2, 1, 0]], [[0, 0, 0]]]]
    assert list(tally.notes()) == [
        "1 of 6 (17 %) events are outside the crop",
        "2 of 6 (33 %) events come after the last step",
        "1 of 2 (50 %) bins with events hold more than 2, and count as 2",
        "a.raw: words of unknown kinds skipped: 3",
    ]
    assert list(Tally(most=3).notes()) == []


def test_options_are_written_and_read():
    how = Binning(None, 0.5, (1, 2, 3, 4), 2, True)
    assert how.options() == {
        "window": "0.5", "crop": "1,2,3,4", "downsample": "2", "polarity": "merged",
    }  # fmt: skip
    assert Binning.of(how.options()) == how
    assert Binning().options() == {}
    for wrong, said in (
        ({"crop": "1,2,3"}, "3 numbers, not X,Y,W,H"),
        ({"window": "long"}, "could not convert"),
        ({"downsample": "2.5"}, "invalid literal"),
        ({"downsample": "0"}, "no whole number from 1"),
        ({"polarity": "both"}, "not merged or separate"),
    ):
        with pytest.raises(InputError, match=said):
            Binning.of(wrong)


def test_a_part_never_looks_like_the_whole():
    for part, whole, percent in (
        (6675, 6676, "99.99"), (999_999_999, 10**9, "99.9999999"), (3, 3, "100"), (1, 3, "33"),
        (199, 200, "99.5"), (0, 5, "0"),
    ):  # fmt: skip
        assert share(part, whole) == f"{part:,} of {whole:,} ({percent} %)"
