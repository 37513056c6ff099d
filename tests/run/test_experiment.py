"""A run from its configuration to its directory."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import envs  # noqa: F401
from envs.cartpole.environment import CartPoleSwingUpEnv
from mbrl_agent import ParticlePILCO
from mbrl_agent.run import cli, experiment
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import InUseError, RunDirectory
from mbrl_agent.run.evaluation import Evaluation
from mbrl_agent.run.log import ProgressCsv
from tests.support.tiny_run import TINY, flags, progress, resume, tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run = tiny(tmp_path_factory.mktemp("runs"))
    run.run()
    return run.directory


def files_of(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_the_directory_of_a_run(finished):
    assert re.fullmatch(r"CartPoleSwingUp-v0_gaussian_seed0_\d{8}-\d{6}", finished.name)
    files = {name for name in files_of(finished) if not name.startswith("events.")}
    assert files == {
        "config.yaml", "progress.csv", "agent.zip", "best.zip", ".lock", "checkpoints/events.json",
        *(f"checkpoints/trial_{trial:03d}.{kind}" for trial in (1, 2, 3) for kind in ("zip", "json")),
        *(f"figures/episode_trial_{trial:03d}.gif" for trial in (1, 2, 3)),
        "figures/prediction_trial_002.png", "figures/prediction_trial_003.png",  # the first acted at random
    }  # fmt: skip
    assert len(list(finished.glob("events.out.tfevents.*"))) == 1


def test_the_configuration_is_kept(finished):
    config = TrainConfig.load(finished / "config.yaml")
    assert config == TrainConfig().updated({**TINY, "logdir": str(finished.parent)})


def test_the_final_agent_is_the_last_checkpoint_and_loads(finished):
    assert (finished / "agent.zip").read_bytes() == (finished / "checkpoints/trial_003.zip").read_bytes()
    agent = ParticlePILCO.load(finished / "agent.zip", env=gymnasium.make("CartPoleSwingUp-v0"))
    assert (agent.trials, agent.num_timesteps, len(agent.replay)) == (3, 90, 90)
    assert agent.predict(np.zeros(4, np.float32))[0].shape == (1,)


def test_progress_has_a_row_a_trial(finished):
    rows = progress(finished)
    assert [row["time/total_timesteps"] for row in rows] == ["30", "60", "90"]
    assert [row["dynamics/rmse_theta"] == "" for row in rows] == [
        True,
        False,
        False,
    ]  # no model before trial 1
    for key in ("rollout/ep_rew", "eval/mean_reward", "eval/success_rate", "policy/predicted_cost"):
        assert all(np.isfinite(float(row[key])) for row in rows)


def test_two_runs_never_share_a_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_agent.run.directory.time.strftime", lambda _: "20260101-000000")
    names = [RunDirectory.create(tmp_path, "org/Env-v0_none_seed1").path.name for _ in range(3)]
    stem = "org-Env-v0_none_seed1_20260101-000000"
    assert names == [stem, f"{stem}-2", f"{stem}-3"]


def test_without_evaluation(tmp_path):
    run = tiny(tmp_path, eval_episodes=0, trials=1)
    run.run()
    assert not any(key.startswith("eval/") for key in progress(run.directory)[0])
    assert not (run.directory / "best.zip").exists()


def test_the_first_trials_act_at_random_without_a_prediction(tmp_path):
    run = tiny(tmp_path, random_trials=2)
    run.run()
    assert [path.name for path in run.directory.glob("figures/*.png")] == ["prediction_trial_003.png"]


def test_threads_are_set(tmp_path):
    before = torch.get_num_threads()
    try:
        tiny(tmp_path, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# mistakes --------------------------------------------------------------------------------------------------


class Unbounded(CartPoleSwingUpEnv):
    """Declares the largest numbers that there are as the bounds of its actions."""

    def __init__(self):
        super().__init__()
        largest = np.finfo(np.float32).max
        self.action_space = gymnasium.spaces.Box(-largest, largest, (1,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "CartPoleSwingup-v0"}, "CartPoleSwingUp-v0"),
        ({"env": "nowhere:Env-v0"}, "nowhere"),
        ({"env": "Pendulum-v1"}, "differentiable cost"),
        ({"env": "CartPole-v1"}, "actions must be a Box"),
        ({"search__num_particles": 21}, "multiple of 5"),
        ({"env": "TestEndless-v0"}, "no time limit"),
        ({"env": "TestUnbounded-v0"}, "actions must be bounded"),
    ],
)
def test_a_mistake_is_found_before_anything_is_made(changes, message, tmp_path, monkeypatch):
    endless = gymnasium.envs.registration.EnvSpec(
        "TestEndless-v0", "envs.cartpole.environment:CartPoleSwingUpEnv"
    )
    unbounded = gymnasium.envs.registration.EnvSpec("TestUnbounded-v0", Unbounded, max_episode_steps=5)
    monkeypatch.setitem(gymnasium.registry, "TestEndless-v0", endless)
    monkeypatch.setitem(gymnasium.registry, "TestUnbounded-v0", unbounded)
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path / "runs", **changes)
    assert not (tmp_path / "runs").exists()


def test_a_logdir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for logdir in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(OSError, match=f"^logdir {logdir}: cannot make a run directory in it"):
            tiny(logdir)


def test_a_logdir_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert cli.main(["--logdir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"logdir {tmp_path / 'runs'}: cannot make a run directory in it: Permission denied" in error


class Faulty(gymnasium.Wrapper):
    """Returns a NaN in its second episode."""

    episodes = 0

    def reset(self, **kwargs):
        self.episodes += 1
        return self.env.reset(**kwargs)

    def step(self, action):
        observation, *rest = self.env.step(action)
        if self.episodes > 2 and self.env.unwrapped._steps == 7:  # one reset is Stable-Baselines3's own
            observation[2] = np.nan
        return observation, *rest


def test_what_was_collected_before_a_nan_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "make_env", lambda asked: Faulty(gymnasium.make(asked.name)))
    run = tiny(tmp_path)
    with pytest.raises(ValueError, match=r"dimension 2 .* step 7"):
        run.run()
    kept = ParticlePILCO.load(run.directory / "failed.zip")
    assert [len(episode) for episode in kept.replay.episodes][-1] == 6


# the terminal ----------------------------------------------------------------------------------------------


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *flags(quiet=False, logdir=tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    first, *trials, verdict, final, last = result.stdout.splitlines()
    (directory,) = tmp_path.iterdir()
    assert first == f"run {directory}   watch it: tensorboard --logdir {tmp_path}"
    assert [line.split("   ")[:2] for line in trials] == [
        [f"trial {trial}/3", f"{3 * trial}.0 s of interaction"] for trial in (1, 2, 3)
    ]
    for part in ("return ", "success 0 %", "predicted cost ", "took "):
        assert all(part in line for line in trials)
    assert verdict.startswith("not solved")
    assert final == f"agent: {directory / 'agent.zip'}"
    best = RunDirectory(directory).latest_state().best_trial
    assert last == f"best evaluation: trial {best}, {directory / 'best.zip'}"
    assert "\r" not in result.stdout


def test_a_progress_bar_where_there_is_a_terminal(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    tiny(tmp_path, quiet=False, trials=1, search__steps=20).run()
    shown = terminal.getvalue()
    for part in ("trial 1/1 collect", "trial 1/1 fit", "trial 1/1 improve", "20/20", "expected cost "):
        assert part in shown


def test_quiet_prints_nothing(tmp_path, capfd):
    tiny(tmp_path, trials=1).run()
    assert capfd.readouterr() == ("", "")


def test_solved_says_after_how_long(tmp_path, monkeypatch, capsys):
    def perfect(predict, env_id, episodes, seed):
        return Evaluation(np.ones(episodes), np.full(episodes, 30), np.ones(episodes, bool))

    monkeypatch.setattr("mbrl_agent.run.callbacks.evaluate", perfect)
    run = tiny(tmp_path, quiet=False, trials=2)
    run.run()
    assert "solved after 3.0 s of interaction" in capsys.readouterr().out
    assert [row["eval/steps_to_solve"] for row in progress(run.directory)] == ["30", "30"]
    longer = resume(run.directory, trials=3)
    longer.run()
    assert [row["eval/steps_to_solve"] for row in progress(run.directory)] == ["30", "30", "30"]


# the best agent --------------------------------------------------------------------------------------------


def judged(monkeypatch, *outcomes) -> None:
    """Let evaluations, one after the other, have these (success rate or None, mean return)."""
    left = iter(outcomes)

    def judge(predict, env_id, episodes, seed):
        rate, mean = next(left)
        successes = None if rate is None else np.arange(episodes) < rate * episodes
        return Evaluation(np.full(episodes, float(mean)), np.full(episodes, 30), successes)

    monkeypatch.setattr("mbrl_agent.run.callbacks.evaluate", judge)


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ([(None, -3), (None, -2), (None, -2.5)], 2),
        ([(None, -3), (None, -3), (None, -4)], 2),  # of equal ones the later
        ([(0.2, 9), (0.4, 1), (0.2, 10)], 2),  # the success rate goes first
        ([(0.4, 1), (0.4, 3), (0.4, 2)], 2),
        ([(0.0, -1), (0.0, -1), (0.0, -1)], 3),
        ([(1.0, 1), (0.0, 5), (None, 9)], 1),
    ],
)
@pytest.mark.usefixtures("quickly")
def test_the_best_evaluation_is_kept(tmp_path, monkeypatch, capsys, outcomes, best):
    judged(monkeypatch, *outcomes)
    run = tiny(tmp_path, quiet=False)
    run.run()
    kept = (run.directory / "best.zip").read_bytes()
    assert kept == run.files.checkpoint(best).read_bytes()
    assert ParticlePILCO.load(run.directory / "best.zip").trials == best
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"best evaluation: trial {best}, {run.directory / 'best.zip'}"


@pytest.mark.usefixtures("quickly")
def test_the_best_is_remembered_by_a_resumed_run(tmp_path, monkeypatch):
    judged(monkeypatch, (0.2, 1), (0.8, 1), (0.4, 1), (0.6, 1), (0.8, 1))
    run = tiny(tmp_path)
    run.run()
    (run.directory / "best.zip").unlink()  # brought back
    # without evaluation nothing is judged and nothing forgotten
    for trials, best in ((4, 2), (5, 2), (6, 6)):
        resume(run.directory, trials=trials, eval_episodes=0 if trials == 4 else 5).run()
        assert run.files.best.read_bytes() == run.files.checkpoint(best).read_bytes()
        assert RunDirectory(run.directory).latest_state().best_trial == best


@pytest.mark.usefixtures("quickly")
def test_a_best_agent_that_is_newer_than_the_last_checkpoint_is_taken_back(tmp_path, monkeypatch):
    judged(monkeypatch, (0.4, 1), (0.2, 1), (0.8, 1))
    run = tiny(tmp_path)
    run.run()
    run.files.checkpoint(3).unlink()
    files = RunDirectory(run.directory)
    state = files.latest_state()
    assert (state.trial, state.best_trial, state.best_success, state.best_return) == (2, 1, 0.4, 1.0)
    files.rewind(state)
    assert files.best.read_bytes() == files.checkpoint(1).read_bytes()


@pytest.mark.usefixtures("quickly")
def test_checkpoints_may_be_removed_to_make_room(tmp_path, monkeypatch):
    judged(monkeypatch, (0.8, 1), (0.4, 1), (0.2, 1), (0.2, 1), (0.2, 1))
    run = tiny(tmp_path)
    run.run()
    best = (run.directory / "best.zip").read_bytes()
    run.files.checkpoint(1).write_bytes(b"")
    resume(run.directory, trials=4).run()
    assert (run.directory / "best.zip").read_bytes() == best
    (run.directory / "best.zip").unlink()
    with pytest.warns(UserWarning, match=r"best\.zip cannot be written again, that of trial 1 is gone: "):
        resume(run.directory, trials=5).run()
    assert not (run.directory / "best.zip").exists()


# progress.csv ----------------------------------------------------------------------------------------------


def test_new_columns_come_behind_the_old(tmp_path):
    table = ProgressCsv(tmp_path / "progress.csv")
    table.write({"b": 1, "a": 2.5}, {"b": (), "a": ()})
    table.write({"a": 3, "c": "x, y", "d": 1}, {"a": (), "c": (), "d": ("csv",)})
    assert table.path.read_text() == 'b,a,c\n1,2.5,\n,3,"x, y"\n'
    again = ProgressCsv(table.path)
    again.write({"b": 5}, {"b": ()})
    assert table.path.read_text() == 'b,a,c\n1,2.5,\n,3,"x, y"\n5,,\n'
    again.rewind(rows=1, columns=2)
    assert table.path.read_text() == "b,a\n1,2.5\n"


def test_nothing_to_write_is_no_row(tmp_path):
    table = ProgressCsv(tmp_path / "progress.csv")
    table.write({"text": "x"}, {"text": ("csv",)})
    assert not table.path.exists()


def test_a_run_in_a_given_directory_is_continued(finished, tmp_path):
    config = TrainConfig.load(finished / "config.yaml")
    directory = tmp_path / "a" / "run"
    run = experiment.new_run(config, directory)
    assert run.directory == directory
    with pytest.raises(InUseError, match="is in use"):
        experiment.new_run(config, directory)
    run.run()
    assert (directory / "agent.zip").read_bytes() == (finished / "agent.zip").read_bytes()
    assert files_of(directory) - files_of(finished) == {path.name for path in directory.glob("events.*")}
    (directory / "agent.zip").unlink()
    (directory / "checkpoints/trial_003.zip").unlink()
    with pytest.raises(ValueError, match="holds a run already"):
        experiment.new_run(config, directory)
    again = experiment.open_run(directory, config)
    assert again.state.trial == 2
    again.run()
    assert (directory / "agent.zip").read_bytes() == (finished / "agent.zip").read_bytes()
    assert progress(directory) == progress(finished)


def test_a_given_directory_whose_checkpoints_are_damaged_is_not_begun_afresh(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    for path in directory.glob("checkpoints/*.zip"):
        path.write_bytes(b"")
    before = files_of(directory)
    with pytest.raises(ValueError, match=r"there is no checkpoint in .* that can be used"):
        experiment.open_run(directory)
    assert files_of(directory) == before


def test_random_trials_have_nothing_to_evaluate(tmp_path, capsys, quickly):
    run = tiny(tmp_path, trials=2, random_trials=2, quiet=False)
    run.run()
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("trial "))
    assert "return" in first
    assert "evaluation" not in first
    assert "predicted cost" not in first
    assert "evaluation" in second
    assert "predicted cost" in second
    rows = progress(run.directory)
    assert rows[0]["eval/mean_reward"] == ""
    assert rows[1]["eval/mean_reward"] != ""
    assert not list(run.files.figures.glob("prediction*"))
