"""What becomes of cells: retries, machines that disappear, cells that others run."""

import time

import pytest

from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.study.sweep import scheduler as scheduler_module
from mbrl_agent.study.sweep.cells import Cell
from mbrl_agent.study.sweep.engine import AttemptEnding, Outcome
from mbrl_agent.study.sweep.scheduler import MAX_LOST, Scheduler, State
from tests.support.sweeps import cells

CRASH = Outcome(AttemptEnding.CRASHED, "ValueError: no")


class ScriptedEngine:
    """Ends each attempt as the script of its cell says, DONE when that is at its end."""

    def __init__(self, **scripts):
        self.scripts = {label: list(outcomes) for label, outcomes in scripts.items()}
        self.pending, self.submitted, self.most = [], [], 0

    def submit(self, cell):
        self.pending.append(cell)
        self.submitted.append(cell.label)
        self.most = max(self.most, len(self.pending))
        cell.log.parent.mkdir(exist_ok=True)
        with cell.log.open("a") as log:
            log.write("attempt\n")

    def collect(self, timeout):
        cell = self.pending.pop(0) if self.pending else time.sleep(0.01)
        if cell is None:
            return []
        script = self.scripts.get(cell.label, [])
        return [(cell, script.pop(0) if script else Outcome(AttemptEnding.DONE))]

    def stop(self):
        pass


def run(cells_, engine, jobs=None, retries=1):
    said = []
    scheduler = Scheduler(
        cells_, engine, jobs, retries, lambda track, text: said.append((track.cell.label, text))
    )
    scheduler.run(lambda: None)
    return {track.cell.label: track for track in scheduler.tracks}, said


def test_a_crash_is_tried_again_and_nobody_else_suffers(tmp_path):
    engine = ScriptedEngine(none=[CRASH])
    tracks, said = run(cells(tmp_path, "none", "gaussian"), engine)
    assert {track.state for track in tracks.values()} == {State.DONE}
    assert engine.submitted == ["none", "gaussian", "none"]
    assert ("none", "crashed, it will be tried again: ValueError: no") in said


@pytest.mark.parametrize("retries", [0, 2])
def test_a_cell_that_always_crashes_fails_after_its_retries(tmp_path, retries):
    engine = ScriptedEngine(none=[CRASH] * 9)
    tracks, said = run(cells(tmp_path, "none", "gaussian"), engine, retries=retries)
    assert engine.submitted.count("none") == retries + 1
    assert (tracks["none"].state, tracks["none"].error) == (State.FAILED, "ValueError: no")
    assert tracks["gaussian"].state is State.DONE
    assert said[-1 if retries else -2][1].startswith("crashed, failed") or said[-1][0] == "gaussian"


def test_a_lost_machine_is_not_the_cells_fault(tmp_path):
    engine = ScriptedEngine(none=[Outcome(AttemptEnding.LOST, "node died")] * MAX_LOST)
    tracks, _ = run(cells(tmp_path, "none"), engine, retries=0)
    assert tracks["none"].state is State.DONE
    engine = ScriptedEngine(none=[Outcome(AttemptEnding.LOST, "node died")] * 99)
    tracks, _ = run(cells(tmp_path, "none"), engine, retries=0)
    assert (tracks["none"].state, engine.submitted.count("none")) == (State.FAILED, MAX_LOST + 1)


def test_so_many_at_once(tmp_path):
    engine = ScriptedEngine()
    run(cells(tmp_path, seeds=range(5)), engine, jobs=2)
    assert engine.most == 2
    engine = ScriptedEngine()
    run(cells(tmp_path, seeds=range(5)), engine)
    assert engine.most == 5


def test_a_cell_that_another_process_runs_is_waited_for(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    monkeypatch.setattr(scheduler_module, "RECHECK", 0.05)
    found = cells(tmp_path, "none", "gaussian", trials=1)
    files = RunDirectory(found[0].directory)
    files.make()
    files.lock()
    engine = ScriptedEngine(gaussian=[Outcome(AttemptEnding.BUSY)])
    states = []

    def tick():
        states.append(scheduler.tracks[0].state)
        if states.count(State.ELSEWHERE) == 20:  # the other process finishes it
            files.progress.write_text("time/total_timesteps,time/trial\n30,1\n")
            files.agent.touch()
            files.unlock()

    scheduler = Scheduler(found, engine, None, 0, lambda track, text: None)
    scheduler.run(tick)
    assert [track.state for track in scheduler.tracks] == [State.DONE, State.DONE]
    assert engine.submitted == ["gaussian", "gaussian"]  # the other one was never started here


def test_finished_cells_are_left_alone(tmp_path):
    found = cells(tmp_path, "none", "gaussian", trials=1)
    files = RunDirectory(found[0].directory)
    files.make()
    files.progress.write_text("time/total_timesteps,time/trial\n30,1\n")
    files.agent.touch()
    engine = ScriptedEngine()
    run(found, engine)
    assert engine.submitted == ["gaussian"]


def test_a_cell_runs_when_its_log_says_so(tmp_path):
    class Queue(ScriptedEngine):
        def submit(self, cell):
            self.pending.append(cell)

        def collect(self, timeout):
            scheduler._look()
            seen.append(scheduler.tracks[0].state)
            if len(seen) == 2:
                (tmp_path / "x").touch()
                self.pending[0].log.write_text("attempt\n")
            return super().collect(timeout) if len(seen) == 3 else []

    seen = []
    found = cells(tmp_path)
    files = RunDirectory(found[0].directory)
    files.make()
    files.checkpoint(1).touch()
    scheduler = Scheduler(found, Queue(), None, 0, lambda track, text: None)
    scheduler.run(lambda: None)
    assert seen == [State.WAITING, State.WAITING, State.RESUMED]


def test_a_log_that_cannot_be_written_fails_the_cell_alone(tmp_path):
    class Full(ScriptedEngine):
        def submit(self, cell):
            if cell.label == "none":
                raise OSError(28, "No space left on device", "x.log")
            super().submit(cell)

    tracks, _ = run(cells(tmp_path, "none", "gaussian"), Full(), retries=0)
    assert (tracks["none"].state, tracks["none"].error) == (State.FAILED, "x.log: No space left on device")
    assert tracks["gaussian"].state is State.DONE


@pytest.mark.parametrize("method", ["in_use", "finished"])
def test_a_directory_that_cannot_be_looked_into_fails_the_cell_alone(tmp_path, monkeypatch, method):
    def look(cell):
        if cell.label == "none" and len(tracks) == 2:
            raise PermissionError(13, "Permission denied", "none/.lock")
        return False

    tracks = []
    monkeypatch.setattr(Cell, method, look)
    engine = ScriptedEngine()
    scheduler = Scheduler(cells(tmp_path, "none", "gaussian"), engine, None, 1, lambda track, text: None)
    tracks += scheduler.tracks
    scheduler.run(lambda: None)
    assert [track.state for track in tracks] == [State.FAILED, State.DONE]
    assert tracks[0].error == "none/.lock: Permission denied"
    assert tracks[0].crashes == 2
    assert engine.submitted == ["gaussian"]


def test_interrupted(tmp_path):
    engine = ScriptedEngine()

    def stop():
        raise KeyboardInterrupt

    scheduler = Scheduler(cells(tmp_path, "none", "gaussian"), engine, 1, 0, lambda track, text: None)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(stop)
    scheduler.interrupt()
    assert [track.state for track in scheduler.tracks] == [State.INTERRUPTED, State.WAITING]
