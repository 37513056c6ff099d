"""Cells as processes on this machine."""

from mbrl_agent.run import cli
from mbrl_agent.study.sweep.cell_process import CellProcess
from mbrl_agent.study.sweep.cells import make_cells
from mbrl_agent.study.sweep.engine import AttemptEnding, Outcome
from mbrl_agent.study.sweep.grid import points_of
from mbrl_agent.study.sweep.local import LocalEngine
from tests.support.sweeps import TINY, cells, troubled, wait_until


def test_a_crash_whose_log_is_gone_is_an_outcome_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_agent.study.sweep.cells.Cell.module", "no_such_module")
    (cell,) = cells(tmp_path)
    process = CellProcess(cell)
    cell.log.unlink()
    assert process.wait() == Outcome(AttemptEnding.CRASHED, "exit status 1")


def test_stop_ends_the_processes_and_they_can_be_resumed(tmp_path, monkeypatch):
    calm = troubled(tmp_path, monkeypatch, "time.sleep(300)")
    config = cli.parse([*TINY, "--env", "troubled:Troubled-v0"]).config
    (cell,) = make_cells(points_of(config, ["gaussian"]), [0], tmp_path / "sweep")
    engine = LocalEngine()
    engine.submit(cell)
    wait_until(cell.resumable)
    assert engine.collect(0.0) == []
    engine.stop()
    assert not cell.in_use()  # at once: it is not left to the cell to notice that it is alone
    calm.touch()
    engine.submit(cell)
    ended = []
    wait_until(lambda: ended.extend(engine.collect(0.2)) or ended)
    assert [(found, outcome.ending) for found, outcome in ended] == [(cell, AttemptEnding.DONE)]
    assert engine.collect(0.0) == []
