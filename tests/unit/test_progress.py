"""Progress: the time left from recent speed, and a line at least every minute, by a fake clock."""

from __future__ import annotations

import threading

import pytest

from snn2hw.cli.common import Talk
from snn2hw.cli.progress import Heart, Lines, Pace, duration


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def talk(clock):
    return Talk(lines=Lines("distill", clock))


def printed(capsys):
    return capsys.readouterr().err.splitlines()


def test_the_time_left_is_what_recent_speed_makes_of_the_rest():
    pace = Pace()
    pace.note(0.0, 1)
    assert pace.left(0.0, 100) is None
    pace.note(10.0, 6)
    assert pace.left(10.0, 100) == 94 * 2.0
    assert pace.left(14.0, 100) == 94 * 2.0 - 4.0
    assert pace.left(1000.0, 100) == 0.0


def test_the_first_steps_are_forgotten_after_a_minute():
    pace = Pace()
    for at in range(0, 100, 10):
        pace.note(float(at), at // 10 + 1)  # a step in ten seconds
    assert pace.left(90.0, 110) == 1000.0
    for at in range(91, 170):
        pace.note(float(at), at - 80)  # and then one a second
    assert pace.left(169.0, 110) == pytest.approx(110 - 89)


def test_steps_that_take_longer_than_a_minute_have_a_speed_too():
    pace = Pace()
    for i in range(5):
        pace.note(200.0 * i, i)
    assert pace.left(800.0, 10) == 6 * 200.0


def test_a_stage_that_starts_again_is_measured_again():
    pace = Pace()
    pace.note(0.0, 1)
    pace.note(1.0, 50)
    pace.note(100.0, 1)
    assert pace.left(100.0, 50) is None
    pace.note(110.0, 2)
    assert pace.left(110.0, 50) == 480.0


def test_no_time_is_told_where_none_passed():
    pace = Pace()
    pace.note(5.0, 1)
    pace.note(5.0, 2)
    assert pace.left(5.0, 9) is None


def test_without_a_terminal_steps_become_a_line_a_minute(talk, clock, capsys):
    for step in range(1, 301):
        clock.now += 1.0
        talk.update("student", step, 1200, loss=0.5)
    assert printed(capsys) == [
        "  student: 5 % loss 0.5, about 19 min left",
        "  student: 10 % loss 0.5, about 18 min left",
        "  student: 15 % loss 0.5, about 17 min left",
        "  student: 20 % loss 0.5, about 16 min left",
        "  student: 25 % loss 0.5, about 15 min left",
    ]


def test_epochs_become_lines_that_are_ten_seconds_apart(talk, clock, capsys):
    for epoch in range(1, 7):
        clock.now += 4.0
        talk.update("student", epoch, 10, epoch=epoch)
    clock.now += 1.0
    talk.update("student", 10, 10, epoch=10)
    assert printed(capsys) == [
        "  student: 10 % epoch 1",
        "  student: 40 % epoch 4, about 24 s left",
        "  student: 100 % epoch 10",
    ]


def test_work_that_says_nothing_is_told_of_every_minute(talk, clock, capsys):
    for _ in range(185):
        clock.now += 1.0
        talk.beat()
    assert printed(capsys) == [
        "  distill: at work for 60 s",
        "  distill: at work for 2 min",
        "  distill: at work for 3 min",
    ]
    talk.update("student", 1, 8, loss=1.0)
    clock.now += 30.0
    talk.update("student", 2, 8, loss=0.75)
    for _ in range(70):
        clock.now += 1.0
        talk.beat()
    assert printed(capsys) == ["  student: 25 % loss 0.75, about 3 min left"]


def test_a_message_starts_the_minute_anew(talk, clock, capsys):
    clock.now += 59.0
    talk.say("note: something")
    clock.now += 59.0
    talk.beat()
    assert printed(capsys) == ["note: something"]


def test_nothing_is_said_where_only_results_are_wanted(clock, capsys):
    talk = Talk(quiet=True, lines=Lines("distill", clock))
    clock.now += 1000.0
    talk.beat()
    talk.update("student", 1, 1)
    assert printed(capsys) == []


def test_a_bar_tells_the_time_left_from_recent_speed(talk, clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    talk.update("student", 1, 101, loss=0.5)
    clock.now += 30.0
    talk.update("student", 11, 101, loss=0.25)
    task = talk._bar.tasks[0]
    assert (task.completed, task.total, task.fields["known"]) == (11, 101, "loss 0.25")
    assert task.fields["left"] == "4 min left"
    clock.now += 90.0
    talk.beat()
    assert talk._bar is not None  # the bar is there: no line is needed
    talk.close()


def test_a_heart_beats_until_the_work_is_over():
    beaten = threading.Event()
    before = set(threading.enumerate())
    with Heart(beaten.set):
        assert beaten.wait(60)
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (89.4, "89 s"), (90.0, "2 min"), (3599.0, "1 h 0 min"), (7500.0, "2 h 5 min")],
)
def test_durations_are_told_in_words(seconds, told):
    assert duration(seconds) == told
