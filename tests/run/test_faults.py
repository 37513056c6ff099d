"""Disks that are full, files that are damaged, environments that fail, models that diverge: one line each."""

import errno
import os
import re
import resource
import shutil
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.cartpole.environment import CartPoleSwingUpEnv
from mbrl_agent import ParticlePILCO
from mbrl_agent.run import cli
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.event_file import EventFile
from tests.support.deadly_run import MOMENTS, Moment, in_a_fork, replace
from tests.support.tiny_run import assert_same_run, flags, resume

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("quickly"),
]


def fail(number):
    def act(*args):
        raise OSError(number, os.strerror(number))

    return act


def the_line(capfd) -> str:
    """All that is on stderr."""
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    return error.removeprefix("train.py: error: ").removesuffix("\n")


# files that cannot be written ------------------------------------------------------------------------------

WRITES = {
    "checkpoint, write": ("checkpoints/trial_002.zip", "mbrl_agent.files.atomic:_write", 1, errno.ENOSPC),
    "checkpoint, fsync": ("checkpoints/trial_003.zip", "os:fsync", 1, errno.ENOSPC),
    "checkpoint, rename": ("checkpoints/trial_002.zip", "os:replace", 1, errno.ENOSPC),
    "checkpoint, permission": ("checkpoints/trial_002.zip", "os:replace", 1, errno.EACCES),
    "record, fsync": ("checkpoints/trial_002.json", "os:fsync", 1, errno.ENOSPC),
    "record, permission": ("checkpoints/trial_003.json", "os:replace", 1, errno.EACCES),
    "progress, write": ("progress.csv", "mbrl_agent.files.atomic:_write", 2, errno.ENOSPC),
    "progress, permission": ("progress.csv", "os:replace", 3, errno.EACCES),
    "figure, fsync": ("figures/prediction_trial_003.png", "os:fsync", 1, errno.ENOSPC),
    "best, write": ("best.zip", "mbrl_agent.files.atomic:_write", 1, errno.ENOSPC),
    "agent, rename": ("agent.zip", "os:replace", 1, errno.EROFS),
}


@pytest.mark.parametrize("fault", WRITES)
def test_a_file_that_cannot_be_written(fault, undisturbed, tmp_path, capfd):
    name, target, call, number = WRITES[fault]

    def work() -> int:
        Moment(target, call, writing=Path(name).name).strike(fail(number))
        return cli.main(flags(logdir=tmp_path))

    assert in_a_fork(work) == 1
    (directory,) = tmp_path.iterdir()
    go_on = f"continue with: python train.py --resume {directory}"
    assert the_line(capfd) == f"{directory / name}: {os.strerror(number)}; {go_on}"
    assert not list(directory.rglob("*.tmp"))
    resume(directory).run()
    assert_same_run(directory, undisturbed)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("flush", [4, 5])
def test_events_that_cannot_be_written(flush, half, undisturbed, tmp_path, capfd):
    def work() -> int:
        class Full:
            closed = False

            def __init__(self, file):
                self.file = file

            def write(self, data):
                if half and len(data) > 1:
                    return self.file.write(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def close(self):
                self.file.close()

        def fill(events: EventFile) -> None:
            events._file = Full(events._file)

        count = 0

        def deadly(original, events):
            nonlocal count
            count += 1
            if count == flush:
                fill(events)
            original(events)

        replace("mbrl_agent.run.event_file:EventFile.flush", deadly)
        return cli.main(flags(logdir=tmp_path))

    assert in_a_fork(work) == 1
    (directory,) = tmp_path.iterdir()
    (events,) = directory.glob("events.*")
    go_on = f"continue with: python train.py --resume {directory}"
    assert the_line(capfd) == f"{events}: No space left on device; {go_on}"
    resume(directory).run()
    assert_same_run(directory, undisturbed)


def test_an_event_file_that_cannot_be_made(undisturbed, tmp_path, capfd):
    assert in_a_fork(lambda: cli.main(flags(logdir=tmp_path, trials=2))) == 0
    (directory,) = tmp_path.iterdir()

    def work() -> int:
        def refuse(original, path, *args, **kwargs):
            if path.name.startswith("events.") and "xb" in args:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original(path, *args, **kwargs)

        replace("pathlib:Path.open", refuse)
        return cli.main(["--resume", str(directory), "--trials", "3"])

    assert in_a_fork(work) == 1
    go_on = f"continue with: python train.py --resume {directory}"
    line = the_line(capfd)
    assert re.fullmatch(rf"{directory}/events\.\S+: Permission denied; {go_on}", line)
    resume(directory).run()
    assert_same_run(directory, undisturbed)


def test_a_disk_without_room_for_another_checkpoint(undisturbed, tmp_path, capfd):
    """Here it is the system that refuses, and that has taken the first bytes."""
    size = (undisturbed / "checkpoints" / "trial_001.zip").stat().st_size

    def act() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))

    def work() -> int:
        MOMENTS["collect: before the reset"].strike(act)
        return cli.main(flags(logdir=tmp_path))

    assert in_a_fork(work) == 1
    (directory,) = tmp_path.iterdir()
    reason = f"{directory}/checkpoints/trial_002.zip: File too large"
    assert the_line(capfd) == f"{reason}; continue with: python train.py --resume {directory}"
    resume(directory).run()
    assert_same_run(directory, undisturbed)


def test_in_the_first_trial_there_is_nothing_to_continue(tmp_path, capfd):
    def work() -> int:
        Moment("os:fsync", writing="trial_001.zip").strike(fail(errno.ENOSPC))
        return cli.main(flags(logdir=tmp_path))

    assert in_a_fork(work) == 1
    line = the_line(capfd)
    assert line.endswith(
        ": No space left on device; no trial was completed, so there is nothing to continue: start again"
    )


# checkpoints that are damaged ------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove_the_record(path: Path) -> None:
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize("damage", [cut, empty, flip_a_bit, remove_the_record])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, undisturbed, tmp_path, capsys):
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    (directory / "agent.zip").unlink()
    damage(directory / "checkpoints" / "trial_003.zip")
    assert cli.main(["--resume", str(directory)]) == 0
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert warning.startswith(
        "train.py: warning: a checkpoint cannot be used, trial_002.zip is taken instead (trial_003.zip: "
    )
    assert_same_run(directory, undisturbed)


def test_a_damaged_checkpoint_is_told_once(undisturbed, tmp_path):
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    flip_a_bit(directory / "checkpoints" / "trial_003.zip")
    with pytest.warns(UserWarning, match=r"trial_003\.zip: cannot load"):
        run = resume(directory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.resumable
    run.files.unlock()


def test_when_all_are_damaged_nothing_is_touched(undisturbed, tmp_path, capsys):
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    for path in directory.glob("checkpoints/*.zip"):
        flip_a_bit(path)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert cli.main(["--resume", str(directory), "--trials", "4"]) == 2
    line = the_line(capsys)
    assert f"there is no checkpoint in {directory} that can be used (trial_003.zip: cannot load " in line
    assert f"begin again with --config {directory}/config.yaml" in line
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["trial_003.zip", "trial_003.json"])
def test_a_checkpoint_that_cannot_be_read_now_is_not_skipped(
    name, undisturbed, tmp_path, monkeypatch, capsys
):
    """Or a disk that fails for a moment would cost a trial."""
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    (directory / "agent.zip").unlink()
    before = sorted(directory.rglob("*"))
    path = directory / "checkpoints" / name
    original = Path.open

    def refuse(self, *args, **kwargs):
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert cli.main(["--resume", str(directory)]) == 2
    assert the_line(capsys).startswith(f"{path}: Input/output error")
    assert sorted(directory.rglob("*")) == before
    assert RunDirectory(directory).latest_state().trial == 3


# environments that fail ------------------------------------------------------------------------------------


class Faulty(CartPoleSwingUpEnv):
    """Does something wrong in the step or the reset of an episode; 1 is the first of a run's own.

    Stable-Baselines3 resets an environment before the first episode and after each. The evaluation's
    environments are made later than the run's own.
    """

    made = 0

    def __init__(self, fault, step, episode=2, evaluation=False, **options):
        super().__init__(**options)
        self.fault, self.at, self.wanted = fault, step, 1 if evaluation else 2 * episode
        Faulty.made += 1
        self.armed = evaluation == (Faulty.made > 1)
        self.resets = self.steps = 0

    def reset(self, **options):
        self.resets, self.steps = self.resets + 1, 0
        observation, info = super().reset(**options)
        return self.spoil(observation), info

    def step(self, action):
        self.steps += 1
        observation, *rest = super().step(action)
        return self.spoil(observation), *rest

    def spoil(self, observation):
        if not self.armed or self.resets != self.wanted or self.steps != self.at:
            return observation
        if self.fault == "raise":
            raise RuntimeError("the motor\nis hot")
        if self.fault == "nan":
            return observation * np.array([1, 1, np.nan, 1], np.float32)
        return {"short": observation[:3], "one": observation[:1], "matrix": observation[None]}[self.fault]


HERE = re.escape(__file__)
HOT = rf"raised RuntimeError: the motor is hot \({HERE}, line \d+\)"
SHAPE = r"returned an observation of shape \({}\) instead of \(4,\)"
NAN = "returned observation dimension 2 = nan"
ENV_FAULTS = [
    ({"fault": "raise", "step": 12}, rf"{HOT} at step 12 of an episode", [30, 11]),
    ({"fault": "raise", "step": 0}, rf"{HOT} at the reset of an episode", [30]),
    ({"fault": "raise", "step": 1, "episode": 1}, rf"{HOT} at step 1 of an episode", []),
    ({"fault": "raise", "step": 0, "episode": 0.5}, rf"{HOT} at the reset before the first episode", []),
    ({"fault": "nan", "step": 12}, NAN + " at step 12 of an episode", [30, 11]),
    ({"fault": "nan", "step": 30}, NAN + " at step 30 of an episode", [30, 29]),
    ({"fault": "short", "step": 12}, SHAPE.format("3,") + " at step 12 of an episode", [30, 11]),
    ({"fault": "one", "step": 12}, SHAPE.format("1,") + " at step 12 of an episode", [30, 11]),
    ({"fault": "matrix", "step": 30}, SHAPE.format("1, 4") + " at step 30 of an episode", [30, 29]),
    ({"fault": "one", "step": 0}, SHAPE.format("1,") + " at step 0 of an episode", [30]),
    ({"fault": "raise", "step": 7, "evaluation": True}, rf"{HOT} at step 7 of the evaluation", [30]),
    ({"fault": "nan", "step": 7, "evaluation": True}, "returned observation = nan at step 7 of .*", [30]),
    ({"fault": "raise", "step": 0, "evaluation": True}, rf"{HOT} at the reset of the evaluation", [30]),
]


@pytest.mark.parametrize(("options", "reason", "lengths"), ENV_FAULTS)
def test_an_environment_that_fails(options, reason, lengths, tmp_path, monkeypatch, capfd):
    spec = gymnasium.envs.registration.EnvSpec(
        "Faulty-v0", entry_point=Faulty, max_episode_steps=30, kwargs=options, disable_env_checker=True
    )
    monkeypatch.setitem(gymnasium.registry, "Faulty-v0", spec)
    monkeypatch.setattr(Faulty, "made", 0)
    assert cli.main(flags(logdir=tmp_path, env="Faulty-v0", eval_episodes=2)) == 2
    (directory,) = tmp_path.iterdir()
    failed = directory / "failed.zip"
    go_on = f"continue with: python train.py --resume {directory}"
    if not lengths or options.get("evaluation"):
        go_on = "no trial was completed, so there is nothing to continue: start again"
    expected = rf"the environment {reason}; what was collected is in {re.escape(f'{failed}; {go_on}')}"
    assert re.fullmatch(expected, the_line(capfd))
    kept = ParticlePILCO.load(failed).replay.episodes
    assert [len(episode) for episode in kept] == lengths


def test_the_cause_is_the_environments_own_exception():
    from mbrl_agent.errors import EnvFailedError

    agent = ParticlePILCO("RbfPolicy", Faulty("raise", 3, episode=1), max_episode_steps=30, seed=0)
    agent.env.envs[0].unwrapped.armed = True
    with pytest.raises(EnvFailedError, match="the motor") as caught:
        agent.learn(30)
    assert type(caught.value.__cause__) is RuntimeError
    assert [len(episode) for episode in agent.replay.episodes] == [2]


# models that diverge ---------------------------------------------------------------------------------------


def test_a_model_that_diverges(tmp_path, capfd):
    words = flags(logdir=tmp_path, **{"dynamics.learning_rate": 1e3, "dynamics.fit_steps": 200})
    assert cli.main(words) == 2
    (directory,) = tmp_path.iterdir()
    line = the_line(capfd)
    assert re.fullmatch(
        r"the fit of the dynamics model diverged: its loss went from \S+ to nan in 200 steps; use a smaller "
        rf"learning rate than 1000; what was collected is in {re.escape(str(directory))}/failed\.zip",
        line,
    )
    assert len(ParticlePILCO.load(directory / "failed.zip").replay) == 30


# two runs at once ------------------------------------------------------------------------------------------


def test_runs_that_begin_at_the_same_time_with_the_same_name(undisturbed, tmp_path, monkeypatch):
    import multiprocessing

    monkeypatch.setattr("mbrl_agent.run.directory.time.strftime", lambda _: "20260101-000000")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)

    def work() -> None:
        replace(
            "mbrl_agent.run.directory:RunDirectory.create",
            lambda make, *args: (barrier.wait(), make(*args))[1],
        )
        sys.exit(cli.main(flags(logdir=tmp_path)))

    processes = [context.Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    stem = "CartPoleSwingUp-v0_gaussian_seed0_20260101-000000"
    directories = sorted(tmp_path.iterdir())
    assert [path.name for path in directories] == [stem, f"{stem}-2", f"{stem}-3", f"{stem}-4"]
    for directory in directories:
        assert_same_run(directory, undisturbed)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_another_process_runs_cannot_be_resumed(resumed, undisturbed, tmp_path, capfd):
    words = flags(logdir=tmp_path)
    if resumed:
        assert in_a_fork(lambda: cli.main([*words, "--trials", "1"])) == 0
        (directory,) = tmp_path.iterdir()
        words = ["--resume", str(directory), "--trials", "3"]

    def work() -> int:
        statuses = []

        def other() -> None:
            (directory,) = tmp_path.iterdir()
            statuses.append(in_a_fork(lambda: cli.main(["--resume", str(directory)])))

        Moment("mbrl_agent.search.gradient_step:GradientStep.__call__", 3).strike(other)
        status = cli.main(words)
        return status if statuses == [2] else 99

    assert in_a_fork(work) == 0
    (directory,) = tmp_path.iterdir()
    expected = f"{directory} is in use: another process is running it (see train.py --help)"
    assert the_line(capfd) == expected
    assert_same_run(directory, undisturbed)
