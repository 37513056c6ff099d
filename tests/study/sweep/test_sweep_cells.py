"""Names of cells, seeds, and what the files of a run tell."""

import dataclasses
import os
import subprocess
import sys

import pytest

from mbrl_agent.resampling import Interpolated
from mbrl_agent.run import cli
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.sweep.cells import NOT_RESULT, Progress, cell_name, elapsed, make_cells
from mbrl_agent.study.sweep.grid import points_of
from tests.support.sweeps import ROOT, cells


def test_a_name_is_known():
    config = TrainConfig(seed=3, resampling=Interpolated(ratio=0.25))
    assert cell_name(config).startswith("interpolated-ratio-0.25_seed3_")
    assert len(cell_name(config)) == len("interpolated-ratio-0.25_seed3_") + 8


def test_a_name_is_the_same_in_another_process():
    code = "from mbrl_agent.study.sweep.cells import *; print(cell_name(TrainConfig(seed=4)))"
    for salt in ("1", "2"):  # the order of sets, and hash(), differ
        variables = {**os.environ, "PYTHONHASHSEED": salt}
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == cell_name(TrainConfig(seed=4))


def test_a_name_does_not_depend_on_the_order_of_options():
    words = ["--trials", "4", "--search.steps", "7", "--policy", "mlp"]
    swapped = [*words[4:], *words[2:4], *words[:2]]
    assert cell_name(cli.parse(words).config) == cell_name(cli.parse(swapped).config)


def test_two_spellings_of_a_strategy_are_the_same_cell(tmp_path):
    spellings = ("interpolated:0.25", "interpolated:ratio=0.25", "interpolated:ratio=.250")
    assert len({cells(tmp_path, text)[0].directory for text in spellings}) == 1


@pytest.mark.parametrize(
    "change", [{"trials": 11}, {"search.steps": 7}, {"env": "a:b"}, {"policy.centers": 9}]
)
def test_another_option_is_another_cell(change):
    assert cell_name(TrainConfig().updated(change)) != cell_name(TrainConfig())


def test_only_where_it_lies_and_what_it_shows_do_not_count():
    config = TrainConfig()
    same = dataclasses.replace(config, logdir="elsewhere", quiet=True)
    assert cell_name(same) == cell_name(config)
    assert set(NOT_RESULT) == {"logdir", "quiet"}


def test_cells_are_runs_of_their_own(tmp_path):
    found = cells(tmp_path, "none", "mixture:2,1", seeds=(5, 6), trials=3)
    assert [cell.title for cell in found] == [
        "none seed 5", "mixture:2,1 seed 5", "none seed 6", "mixture:2,1 seed 6"
    ]  # fmt: skip
    assert all(cell.config.quiet and cell.config.trials == 3 for cell in found)
    assert found[1].config.resampling.components == 2
    assert found[0].directory.parent == tmp_path
    assert found[0].log.name == f"{found[0].directory.name}.log"


@pytest.mark.parametrize(
    ("resampling", "message"),
    [
        (("none", "none"), "'none' is given twice"),
        (("interpolated", "interpolated:0.5"), "'interpolated' and 'interpolated:0.5' are the same"),
        (("nona",), "did you mean 'none'"),
    ],
)
def test_strategies_that_make_no_sense(tmp_path, resampling, message):
    with pytest.raises(ValueError, match=message):
        make_cells(points_of(TrainConfig(), resampling), [0], tmp_path)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("0,3,7-9", [0, 3, 7, 8, 9]), ("5", [5]), ("9,1", [9, 1])]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "-1", "1,,2", "3-1", "1,1", "0-4,4", "0-9999999", "1.5", "²"]
)
def test_seeds_that_make_no_sense(text):
    with pytest.raises(ValueError, match="seeds"):
        parse_seeds(text)


def write_progress(cell, text, agent=True):
    RunDirectory(cell.directory).make()
    (cell.directory / "progress.csv").write_text(text)
    if agent:
        (cell.directory / "agent.zip").touch()


ROWS = """time/total_timesteps,time/trial,time/evaluate,time/log,eval/success_rate,eval/steps_to_solve
30,1.5,0.25,,0.5,
60,2.0,0.25,1.0,1.0,60
"""


def test_progress(tmp_path):
    (cell,) = cells(tmp_path, trials=2)
    assert cell.progress() == Progress()
    write_progress(cell, ROWS)
    found = cell.progress()
    assert (found.trials, found.success_rate, found.solved_after, found.seconds) == (2, 1.0, 60, 5.0)
    assert found.written > 0


def test_finished_needs_all_trials_and_the_agent(tmp_path):
    (cell,) = cells(tmp_path, trials=2)
    assert not cell.finished()
    write_progress(cell, ROWS, agent=False)
    assert not cell.finished()
    write_progress(cell, ROWS)
    assert cell.finished()
    write_progress(cell, ROWS.rsplit("\n", 2)[0] + "\n")
    assert not cell.finished()


def test_what_cannot_be_seen_is_not_there(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (cell,) = cells(tmp_path, trials=2)
    write_progress(cell, ROWS)
    monkeypatch.setattr("pathlib.Path.is_file", refuse)
    monkeypatch.setattr(RunDirectory, "has_checkpoint", refuse)
    assert not cell.finished()
    assert not cell.resumable()


@pytest.mark.parametrize("text", ["", "\n", "time/total_timesteps\n", "time/trial\n1.5\n", "\0"])
def test_a_run_without_trials_has_no_progress(tmp_path, text):
    (cell,) = cells(tmp_path)
    write_progress(cell, text)
    assert cell.progress().trials == 0


def test_in_use(tmp_path):
    pytest.importorskip("fcntl")
    (cell,) = cells(tmp_path)
    assert not cell.in_use()
    files = RunDirectory(cell.directory)
    files.make()
    assert not cell.in_use()
    files.lock()
    assert cell.in_use()
    assert files.in_use()  # and asking does not let go of it
    assert cell.in_use()
    files.unlock()
    assert not cell.in_use()


def test_elapsed_counts_from_the_last_row(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    progress = Progress(trials=2, seconds=30.0, written=990.0)
    assert elapsed(progress, None) == 30.0
    assert elapsed(progress, 900.0) == 40.0
    assert elapsed(progress, 995.0) == 35.0
    assert elapsed(progress, 1001.0) == 30.0
