"""A run that was killed at any moment and resumed ends bitwise where the uninterrupted run ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mbrl_agent.run import cli
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.experiment import new_run
from tests.support.deadly_run import Moment, in_a_fork
from tests.support.tiny_run import TINY, assert_same_run, flags, resume, tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that nothing interrupted."""
    run = tiny(tmp_path_factory.mktemp("whole"))
    run.run()
    return run.directory


def test_sigkill(whole, tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *flags(logdir=tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None and not list(tmp_path.glob("*/checkpoints/trial_002.zip")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (directory,) = tmp_path.iterdir()
    assert cli.main(["--resume", str(directory)]) == 0
    assert_same_run(directory, whole)


def test_more_trials_than_planned(whole, tmp_path):
    run = tiny(tmp_path, trials=2)
    run.run()
    assert cli.main(["--resume", str(run.directory), "--trials", "3"]) == 0
    assert_same_run(run.directory, whole)
    assert "trials: 3" in (run.directory / "config.yaml").read_text()


def test_a_complete_run_is_left_alone(whole, tmp_path, capsys):
    directory = shutil.copytree(whole, tmp_path / "run")
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    again = resume(directory, quiet=False)
    again.run()
    assert capsys.readouterr().out == f"{directory} is complete: all 3 trials are done\n"
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_falls_back_on_the_one_before(whole, tmp_path):
    directory = shutil.copytree(whole, tmp_path / "run")
    (directory / "agent.zip").unlink()
    (directory / "checkpoints/trial_003.zip").write_bytes(b"")
    resume(directory).run()
    assert_same_run(directory, whole)


def test_cut_events_fall_back_on_the_checkpoint_before(whole, tmp_path):
    directory = shutil.copytree(whole, tmp_path / "run")
    (directory / "agent.zip").unlink()
    (events,) = directory.glob("events.*")
    os.truncate(events, events.stat().st_size - 1)
    assert RunDirectory(directory).latest_state().trial == 2


@pytest.mark.parametrize(
    ("given", "changed", "named"),
    [
        ("seed: 0", "seed: 1", "seed"),
        ("name: gaussian", "name: liu-west", "resampling"),
        ("steps: 2", "steps: 3", "search"),
        ("name: rbf", "name: linear", "policy"),
    ],
)
def test_an_edited_configuration_is_refused(whole, tmp_path, given, changed, named):
    directory = shutil.copytree(whole, tmp_path / "run")
    config = directory / "config.yaml"
    text = config.read_text()
    assert given in text
    text = text.replace(given, changed)
    if named in ("resampling", "policy"):  # options of another class would be refused before
        text = "\n".join(line for line in text.splitlines() if line.split(":")[0].strip() not in OWN_OPTIONS)
    config.write_text(text)
    with pytest.raises(ValueError, match=rf"was changed since the checkpoint \({named}\)"):
        resume(directory, trials=4)


OWN_OPTIONS = ("centers", "weight_std", "dropout", "moments")


def test_rows_that_are_gone_are_noticed(whole, tmp_path):
    directory = shutil.copytree(whole, tmp_path / "run")
    (directory / "progress.csv").unlink()
    with pytest.raises(ValueError, match=r"progress\.csv has been cut or removed"):
        resume(directory, trials=4)


def test_a_table_that_is_none_is_one_error(whole, tmp_path):
    directory = shutil.copytree(whole, tmp_path / "run")
    (directory / "progress.csv").write_text("a" * 200_000)
    with pytest.raises(ValueError, match=r"progress\.csv"):
        resume(directory, trials=4)


@pytest.mark.parametrize(
    "record",
    [
        '{"trial": 3, "rows": "x", "columns": 1}',
        "3",
        '{"trial": 1, "rows": 1, "columns": 1}',
        '{"trial": ' + "[" * 100_000,
        '{"trial": 3, "trial": 3, "rows": 3, "columns": 1}',
        " " * 2**21,
        '{"trial": 3, "rows": 1, "columns": 1, "best_trial": 4}',
        '{"trial": 3, "rows": 1, "columns": 1, "best_trial": 1, "best_return": "x"}',
    ],
    ids=["types", "number", "other trial", "deep", "twice", "large", "best", "return"],
)
def test_a_record_that_makes_no_sense_falls_back_on_the_one_before(whole, tmp_path, record):
    directory = shutil.copytree(whole, tmp_path / "run")
    (directory / "checkpoints/trial_003.json").write_text(record)
    assert RunDirectory(directory).latest_state().trial == 2


def test_figures_that_were_deleted_do_no_harm(whole, tmp_path):
    directory = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(directory / "figures")
    resume(directory, trials=4).run()
    assert (directory / "figures/prediction_trial_004.png").exists()


@pytest.mark.parametrize("code", ["this is no python", "raise RuntimeError('not today')"])
def test_an_environment_module_that_fails_is_one_line(tmp_path, monkeypatch, capsys, code):
    (tmp_path / "broken_module_of_a_user.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["--env", "broken_module_of_a_user:X-v0", "--logdir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "env 'broken_module_of_a_user:X-v0' cannot be made" in error
    assert not (tmp_path / "runs").exists()


def test_killed_in_the_first_trial(tmp_path, capsys):
    def mortal() -> None:
        Moment("mbrl_agent.agent.trial_loop:TrialLoop.fit").strike()
        tiny(tmp_path).run()

    assert in_a_fork(mortal) == -signal.SIGKILL
    (directory,) = tmp_path.iterdir()
    assert cli.main(["--resume", str(directory)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"there is no checkpoint in {directory}" in error


def test_fewer_trials_than_done(whole, capsys):
    assert cli.main(["--resume", str(whole), "--trials", "2"]) == 2
    assert "trials must be at least 3" in capsys.readouterr().err


def test_one_process_at_a_time(whole, capsys):
    pytest.importorskip("fcntl")
    files = RunDirectory(whole)
    files.lock()
    assert cli.main(["--resume", str(whole)]) == 2
    assert f"{whole} is in use" in capsys.readouterr().err
    files.unlock()
    assert cli.main(["--resume", str(whole)]) == 0


@pytest.mark.parametrize("resampling", ["none", "exact-gaussian:wrap=true"])
def test_gaussian_processes_go_on_bitwise(resampling, tmp_path):
    """Their hyperparameters start from the last ones, and they have more data in each file."""
    options = {key: value for key, value in TINY.items() if not key.startswith("dynamics")}
    options |= {"dynamics": "gp:functions=8,fit-steps=5", "resampling": resampling}
    whole = new_run(TrainConfig().updated({**options, "logdir": str(tmp_path / "whole")}))
    whole.run()
    part = new_run(TrainConfig().updated({**options, "logdir": str(tmp_path / "part"), "trials": 2}))
    part.run()
    again = resume(part.directory, trials=3)
    again.run()
    assert_same_run(part.directory, whole.directory)
