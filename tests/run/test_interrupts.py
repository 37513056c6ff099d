"""Ctrl-C and SIGTERM end a run at once, with one line and a checkpoint to go on from."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mbrl_agent.agent.collect import _Recorder
from mbrl_agent.run import cli
from mbrl_agent.run.interrupts import Interrupted, handling, interruptible
from tests.support.deadly_run import MOMENTS, ROOT, Moment, in_a_fork
from tests.support.tiny_run import assert_same_run, flags, resume

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("quickly"),
]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def limit() -> float:
    """Seconds from the signal to the end of the process that a test allows.

    On a machine with a free core it is below 2. A test that asserted that would fail on a busy one, so it
    asserts no more than that the run does not wait for the end of its trial.
    """
    return 20.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def send(number, times=1):
    def act():
        for _ in range(times):
            os.kill(os.getpid(), number)

    return act


def interrupted(moment, act, words, *more) -> int:
    """The exit status of a command line in a fork, in which something is done at a moment."""

    def work() -> int:
        moment.strike(act)
        for other in more:
            other.strike(act)
        return cli.main(words)

    return in_a_fork(work)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("collect: in the middle of an episode", signal.SIGINT),
        ("collect: after an episode, before it is kept", signal.SIGTERM),
        ("fit: before the loss", signal.SIGINT),
        ("fit: between backward and step", signal.SIGTERM),
        ("search: in a rollout", signal.SIGINT),
        ("search: between gradient and step", signal.SIGTERM),
        ("evaluation: in the middle", signal.SIGINT),
        ("evaluation: in the middle", signal.SIGTERM),
        ("progress: half", signal.SIGINT),
        ("events: half of a flush", signal.SIGTERM),
        ("record: after", signal.SIGTERM),
        ("checkpoint: before the sync", signal.SIGINT),
        ("checkpoint: before the rename", signal.SIGTERM),
        ("agent: after the rename", signal.SIGINT),
    ],
)
def test_one_line_and_a_checkpoint(moment, number, undisturbed, tmp_path, capfd):
    status = interrupted(MOMENTS[moment], send(number), flags(logdir=tmp_path))
    (directory,) = tmp_path.iterdir()
    expected = f"train.py: interrupted; continue with: python train.py --resume {directory}\n"
    assert (status, capfd.readouterr().err) == (STATUS[number], expected)
    assert not list(directory.rglob("*.tmp"))
    resume(directory).run()
    assert_same_run(directory, undisturbed)


@pytest.mark.parametrize("number", STATUS)
def test_in_the_first_trial_there_is_nothing_to_continue(number, tmp_path, capfd):
    moment = Moment("mbrl_agent.adam:Adam.step", 3)
    assert interrupted(moment, send(number), flags(logdir=tmp_path)) == STATUS[number]
    expected = "train.py: interrupted; no trial was completed, so there is nothing to continue: start again\n"
    assert capfd.readouterr().err == expected


@pytest.mark.parametrize("number", STATUS)
def test_before_the_run(number, tmp_path, capfd):
    moment = Moment("mbrl_agent.run.experiment:new_agent")
    assert interrupted(moment, send(number), flags(logdir=tmp_path)) == STATUS[number]
    assert capfd.readouterr().err == "train.py: interrupted before the run began\n"


CLEANING_UP = {
    "at once": [],
    "while the events are closed": [Moment("mbrl_agent.run.event_file:EventFile.close")],
    "while the directory is given back": [Moment("mbrl_agent.run.directory:RunDirectory.unlock")],
    "while the message is made": [Moment("mbrl_agent.run.directory:RunDirectory.latest_state")],
    "at all of these": [
        Moment("mbrl_agent.run.event_file:EventFile.close"),
        Moment("mbrl_agent.run.directory:RunDirectory.unlock"),
        Moment("mbrl_agent.run.directory:RunDirectory.latest_state"),
    ],
}


@pytest.mark.parametrize("when", CLEANING_UP)
@pytest.mark.parametrize("number", STATUS)
def test_a_second_signal_changes_nothing(when, number, undisturbed, tmp_path, capfd):
    act, words = send(number, times=2), flags(logdir=tmp_path)
    assert interrupted(MOMENTS["fit: before the loss"], act, words, *CLEANING_UP[when]) == STATUS[number]
    (directory,) = tmp_path.iterdir()
    expected = f"train.py: interrupted; continue with: python train.py --resume {directory}\n"
    assert capfd.readouterr().err == expected
    resume(directory).run()
    assert_same_run(directory, undisturbed)


FULL_SIZE = {
    "fit": (
        Moment("mbrl_agent.adam:Adam.step", 5),
        {"dynamics.hidden": [64, 64], "dynamics.fit_steps": 10**6},
    ),
    "search": (
        Moment("mbrl_agent.search.gradient_step:GradientStep.__call__", 2),
        {"search.steps": 10**6, "search.candidates": 4, "search.num_particles": 150, "search.horizon": 30},
    ),
    "ranking": (
        Moment("mbrl_agent.search.policy_search:PolicySearch.predicted_cost"),
        {"search.steps": 1, "search.num_particles": 1000, "search.horizon": 400},
    ),
    "evaluation": (
        Moment("envs.cartpole.environment:CartPoleSwingUpVectorEnv.step", 2),
        {"eval_episodes": 20_000},
    ),
}


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("phase", FULL_SIZE)
def test_it_ends_at_once_wherever_the_signal_comes(phase, number, tmp_path):
    """The signal is sent by another thread, and comes in the middle of a kernel as likely as not."""
    moment, sizes = FULL_SIZE[phase]
    sent = tmp_path / "sent"

    def act() -> None:
        def later() -> None:
            sent.write_text(str(time.monotonic()))
            os.kill(os.getpid(), number)

        threading.Timer(0.05, later).start()

    words = flags(logdir=tmp_path / "runs", **sizes)
    assert interrupted(moment, act, words) == STATUS[number]
    assert time.monotonic() - float(sent.read_text()) < limit()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_train_py(number, tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *flags(logdir=tmp_path, trials=1000, quiet=False)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("trial    2"):
            break
    began = time.monotonic()
    process.send_signal(number)
    _, error = process.communicate()
    assert time.monotonic() - began < limit()
    (directory,) = tmp_path.iterdir()
    expected = f"train.py: interrupted; continue with: python train.py --resume {directory}\n"
    assert (process.returncode, error) == (STATUS[number], expected)
    assert resume(directory).state.trial >= 1


def test_ctrl_c_while_train_py_imports(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *args):\n"
        "        if name == 'mbrl_agent.run.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / "train.py")]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "train.py: interrupted before the run began\n")


def test_an_interrupt_in_the_middle_of_a_step_keeps_the_whole_steps():
    """Its observation may have been recorded, but not its action or its reward."""
    state, action = np.zeros(4), np.zeros(1)
    for observations, actions in ((2, 1), (3, 1), (3, 2)):
        episode = _Recorder([state] * observations, [action] * actions, [0.0]).episode()
        assert (len(episode.observations), len(episode.actions), len(episode.rewards)) == (2, 1, 1)


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in STATUS]
    with interruptible():
        assert all(signal.getsignal(number) not in before for number in STATUS)
    assert [signal.getsignal(number) for number in STATUS] == before


@pytest.mark.parametrize("program_ends", [False, True])
def test_after_a_signal_further_ones_are_ignored_only_if_the_program_ends(program_ends):
    def work() -> bool:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(Interrupted), interruptible(program_ends):
            signal.raise_signal(signal.SIGTERM)
        ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        return ignored is not program_ends  # False, the exit status 0, where it is right

    assert in_a_fork(work) == 0


def test_main_as_a_function_gives_the_handlers_back(tmp_path, capfd):
    moment = MOMENTS["fit: before the loss"]

    def work() -> bool:
        before = [signal.getsignal(number) for number in STATUS]
        moment.strike(send(signal.SIGINT))
        statuses = [cli.main(flags(logdir=tmp_path / name)) for name in ("first", "second")]
        return statuses != [130, 0] or [signal.getsignal(number) for number in STATUS] != before

    assert in_a_fork(work) == 0


def test_a_handler_that_c_code_has_set_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it was replaced"))
    with interruptible(), handling(signal.SIGTERM, signal.SIG_IGN):
        pass


def test_main_in_another_thread(tmp_path, capfd):
    statuses = []
    words = flags(logdir=tmp_path, trials=1, eval_episodes=1)
    thread = threading.Thread(target=lambda: statuses.append(cli.main(words)))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_once_the_time_for_cleaning_up_is_over_a_signal_counts_again(monkeypatch):
    """Should something have swallowed the first."""
    now = 0.0
    monkeypatch.setattr("mbrl_agent.run.interrupts.time.monotonic", lambda: now)
    kept = [handling(number, signal.getsignal(number)) for number in STATUS]
    with kept[0], kept[1], interruptible():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        now = 2.1
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGINT)
    assert caught.value.status == 130


def test_other_threads_leave_signals_alone():
    failures = []

    def work() -> None:
        try:
            with interruptible(), handling(signal.SIGTERM, signal.SIG_IGN):
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
