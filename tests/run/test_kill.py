"""A run that was killed at any moment and resumed ends bitwise where the uninterrupted run ends.

Most runs here are forks, and draw their figures in no time; as they are, in an interpreter of their own,
they die in `pytest -m slow`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl_agent.run import cli
from mbrl_agent.run.directory import RunDirectory
from tests.support.deadly_run import MOMENTS, RESUMING, ROOT, in_a_fork
from tests.support.tiny_run import assert_same_run, flags, resume, tiny

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("quickly"),
]


def killed(moment, work) -> None:
    """Do the work in a fork, which dies at the moment."""

    def mortal() -> object:
        moment.strike()
        return work()

    assert in_a_fork(mortal) == -signal.SIGKILL


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment, undisturbed, tmp_path):
    killed(MOMENTS[moment], lambda: cli.main(flags(logdir=tmp_path)))
    (directory,) = tmp_path.iterdir()
    assert (directory / "agent.zip").exists() == (moment == "agent: after the rename")
    resume(directory).run()
    assert_same_run(directory, undisturbed)


@pytest.mark.parametrize("moment", ["collect: before the reset", "checkpoint: half"])
def test_killed_between_random_trials(moment, tmp_path):
    words = {"random_trials": 3, "trials": 4}
    whole = tiny(tmp_path / "whole", **words)
    whole.run()
    killed(MOMENTS[moment], lambda: cli.main(flags(logdir=tmp_path / "killed", **words)))
    (directory,) = (tmp_path / "killed").iterdir()
    assert RunDirectory(directory).latest_state().trial < 3  # before the first fit counts
    resume(directory).run()
    assert_same_run(directory, whole.directory)


@pytest.mark.parametrize("moment", RESUMING)
def test_killed_while_it_is_resumed(moment, undisturbed, tmp_path):
    killed(MOMENTS["between progress and events"], lambda: cli.main(flags(logdir=tmp_path)))
    (directory,) = tmp_path.iterdir()
    (directory / "figures" / "prediction_trial_003.png").write_bytes(b"")  # there is something to remove
    killed(RESUMING[moment], lambda: cli.main(["--resume", str(directory)]))
    resume(directory).run()
    assert_same_run(directory, undisturbed)


def test_killed_again_and_again(undisturbed, tmp_path):
    words = flags(logdir=tmp_path)
    in_trials_2_3_3_and_after = (
        "fit: before the loss",
        "search: between gradient and step",
        "checkpoint: half",
        "agent: half",
    )
    for moment in in_trials_2_3_3_and_after:
        killed(MOMENTS[moment], lambda words=words: cli.main(words))
        (directory,) = tmp_path.iterdir()
        words = ["--resume", str(directory)]
    resume(directory).run()
    assert_same_run(directory, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_train_py_killed_and_resumed(moment, whole_with_figures, tmp_path):
    words = [str(ROOT / "tests" / "support" / "deadly_run.py"), moment, *flags(logdir=tmp_path)]
    assert subprocess.run([sys.executable, *words], check=False).returncode == -signal.SIGKILL
    (directory,) = tmp_path.iterdir()
    words = [str(ROOT / "train.py"), "--resume", str(directory)]
    result = subprocess.run([sys.executable, *words], check=False, capture_output=True, text=True)
    if not list(directory.glob("checkpoints/*.zip")):  # with figures, a few moments are in the first trial
        assert result.returncode == 2
        assert "no checkpoint" in result.stderr
        return
    assert result.returncode == 0
    assert_same_run(directory, whole_with_figures)


@pytest.fixture(scope="module")
def whole_with_figures(tmp_path_factory) -> Path:
    """What train.py wrote where nothing interrupted it."""
    logdir = tmp_path_factory.mktemp("whole")
    subprocess.run([sys.executable, str(ROOT / "train.py"), *flags(logdir=logdir)], check=True)
    (directory,) = logdir.iterdir()
    return directory
