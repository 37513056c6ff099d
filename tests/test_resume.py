"""A run that was killed at any moment and resumed ends bitwise where the uninterrupted run ends."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import flags, images, progress, resume, scalars, tiny

from mbrl_agent import agent, agent_archive, cli, run_callbacks, run_log, trials
from mbrl_agent.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
KILLED = 77


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that nothing interrupted."""
    run = tiny(tmp_path_factory.mktemp("whole"))
    run.run()
    return run.directory


def assert_same_run(directory: Path, expected: Path) -> None:
    assert (directory / "agent.zip").read_bytes() == (expected / "agent.zip").read_bytes()
    assert progress(directory) == progress(expected)
    assert scalars(directory) == scalars(expected)
    assert images(directory) == images(expected)
    for child in ("checkpoints", "figures"):
        names = sorted(path.name for path in (expected / child).iterdir())
        assert sorted(path.name for path in (directory / child).iterdir()) == names
        for name in names:
            if not name.endswith(".json"):
                assert (directory / child / name).read_bytes() == (expected / child / name).read_bytes(), name
    assert not list(directory.rglob("*.tmp"))


def killed_at(logdir: Path, module, name: str, call: int, after: bool = False) -> Path:
    """A run in a process of its own that dies, without any clean-up, at a certain call of a function."""

    def run() -> None:
        original, count = getattr(module, name), 0

        def deadly(*args, **kwargs):
            nonlocal count
            count += 1
            if count == call and not after:
                os._exit(KILLED)
            result = original(*args, **kwargs)
            if count == call:
                os._exit(KILLED)
            return result

        setattr(module, name, deadly)
        tiny(logdir).run()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == KILLED
    (directory,) = logdir.iterdir()
    return directory


MOMENTS = {
    "while it collects": (trials, "collect_episodes", 2, True),
    "while it improves": (agent.ParticlePILCO, "improve", 2, True),
    "after its images are logged": (run_callbacks.AnimationCallback, "on_trial_end", 2, True),
    "between progress.csv and the events": (run_log.ProgressCsv, "write", 3, True),
    "before the record of a checkpoint": (RunDirectory, "save_state", 2, False),
    "between the record and the checkpoint": (RunDirectory, "save_state", 2, True),
    "after a checkpoint": (run_callbacks.CheckpointCallback, "on_trial_logged", 2, True),
    "before the final agent": (agent_archive, "save", 4, False),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment, whole, tmp_path):
    directory = killed_at(tmp_path, *MOMENTS[moment])
    assert not (directory / "agent.zip").exists()
    resume(directory).run()
    assert_same_run(directory, whole)


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


def test_a_resumed_run_can_be_killed_and_resumed(whole, tmp_path):
    directory = killed_at(tmp_path, agent.ParticlePILCO, "fit", 2, True)

    def again() -> None:
        agent.ParticlePILCO.improve = lambda *args: os._exit(KILLED)
        resume(directory).run()

    process = multiprocessing.get_context("fork").Process(target=again)
    process.start()
    process.join()
    assert process.exitcode == KILLED
    resume(directory).run()
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


OWN_OPTIONS = ("centers", "weight_std", "moments")


def test_rows_that_are_gone_are_noticed(whole, tmp_path):
    directory = shutil.copytree(whole, tmp_path / "run")
    (directory / "progress.csv").unlink()
    with pytest.raises(ValueError, match=r"progress\.csv has been cut or removed"):
        resume(directory, trials=4)


@pytest.mark.parametrize(
    "record", ['{"trial": 3, "rows": "x", "columns": 1}', "3", '{"trial": 1, "rows": 1, "columns": 1}']
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
    directory = killed_at(tmp_path, agent.ParticlePILCO, "fit", 1)
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
