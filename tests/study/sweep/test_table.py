"""The table of cells, and the lines that stand for it where there is no terminal."""

import io
import re

import pytest
from rich.console import Console

from mbrl_agent.study.sweep.cells import Progress
from mbrl_agent.study.sweep.scheduler import State, Track
from mbrl_agent.study.sweep.table import View, choose, clock, count, remaining, render, row
from tests.support.sweeps import cells


def tracks_of(tmp_path, *states, trials=10):
    found = cells(tmp_path, seeds=range(len(states)), trials=trials)
    return [Track(cell, state) for cell, state in zip(found, states, strict=True)]


def text_of(tracks, room=None):
    console = Console(width=120, file=io.StringIO())
    console.print(render(tracks, 0.1, room))
    return console.file.getvalue()


def test_a_row(tmp_path):
    (track,) = tracks_of(tmp_path, State.DONE)
    track.progress = Progress(10, 0.987, 150, 3725.0, 1.0)
    assert row(track, 0.1) == ["gaussian", "0", "done", "10/10", "0.99", "15.0 s", "1:02:05"]
    assert row(track, None)[5] == "150 steps"
    track.progress = Progress(3)
    assert row(track, 0.1)[3:] == ["3/10", "-", "-", "-"]


def test_the_table_shows_all_cells_and_the_counts(tmp_path):
    states = (State.DONE, State.RUNNING, State.RESUMED, State.FAILED, State.WAITING, State.WAITING)
    text = text_of(tracks_of(tmp_path, *states))
    assert all(f"│ {seed} │".replace(" ", "") in text.replace(" ", "") for seed in range(6))
    assert "1 failed, 1 done, 1 resumed, 1 running, 2 waiting" in text
    assert "more" not in text


def test_where_there_is_no_room_those_that_run_come_first(tmp_path):
    tracks = tracks_of(tmp_path, State.WAITING, State.DONE, State.DONE, State.FAILED, State.RUNNING)
    tracks[1].progress, tracks[2].progress = Progress(10, written=1.0), Progress(10, written=2.0)
    assert choose(tracks, 1) == [tracks[4]]
    assert choose(tracks, 3) == [tracks[2], tracks[3], tracks[4]]  # of those that are done, the latest
    assert "and 2 more: 1 done, 1 waiting" in text_of(tracks, 3)


def test_the_time_that_is_left(tmp_path):
    tracks = tracks_of(tmp_path, State.DONE, State.RUNNING, State.RUNNING, State.WAITING)
    assert remaining(tracks) is None
    tracks[0].progress = Progress(10, seconds=100.0)  # 10 s a trial
    tracks[1].progress = Progress(5, seconds=50.0)
    tracks[2].progress = Progress(10, seconds=100.0)
    assert remaining(tracks) == pytest.approx(100.0)  # the one that waits takes as long as all others
    assert "about 1:40 left" in text_of(tracks)
    tracks[3].progress = Progress(9, seconds=90.0)
    assert remaining(tracks) == pytest.approx(50.0)
    for track in tracks:
        track.state = State.DONE
    assert remaining(tracks) is None


def test_a_strategy_has_a_pace_of_its_own(tmp_path):
    slow, fast = (cells(tmp_path, name, seeds=(0, 1), trials=10) for name in ("mixture", "none"))
    tracks = [
        Track(cell, State.DONE, Progress(10, seconds=pace)) for cell, pace in ((slow[0], 1000), (fast[0], 10))
    ]
    assert remaining([*tracks, Track(fast[1])]) == pytest.approx(10.0)
    assert remaining([*tracks, Track(slow[1])]) == pytest.approx(1000.0)


def test_counts_and_clock(tmp_path):
    assert count(tracks_of(tmp_path, State.WAITING, State.DONE, State.DONE)) == "2 done, 1 waiting"
    assert [clock(seconds) for seconds in (0, 65, 3599.6)] == ["0:00", "1:05", "1:00:00"]


def test_lines_where_there_is_no_terminal(tmp_path):
    stream = io.StringIO()
    view = View(0.1, stream)
    view.tracks = tracks_of(tmp_path, State.DONE, State.RUNNING)
    view.tracks[0].progress = Progress(10, 1.0, 150, 65.0, 1.0)
    with view:
        view.report(view.tracks[0], "done")
        view.tick()
    assert stream.getvalue() == (
        "[1/2] gaussian seed 0: done: success rate 1.00, solved after 15.0 s, wall clock 1:05\n"
    )


def test_a_table_where_there_is_one(tmp_path, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    view = View(0.1, stream := Screen())
    view.tracks = tracks_of(tmp_path, State.RUNNING, State.WAITING)
    with view:
        view.tick()
        view.report(view.tracks[0], "this is in the table")
        view.tracks[1].error = "ValueError: a [bold] reason " + "x" * 200
        view.report(view.tracks[1], f"crashed: {view.tracks[1].error}")
        view.tracks[1].state = State.RUNNING
        view.report(view.tracks[1], "this is in the table")
    text = stream.getvalue()
    assert "1 running, 1 waiting" in text
    assert "this is in the table" not in text
    above = re.sub("\x1b.*?[A-Za-z]", "", text)  # without colours and the like
    line = f"[0/2] gaussian seed 1: crashed: {view.tracks[1].error}\n"
    assert 0 <= above.find(line) < above.rindex("strategy")  # the table is shown again below it
