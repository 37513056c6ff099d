"""Baseline runs of a few steps: their files, when they stop, what happens when the command is given again."""

import csv
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import yaml
from gymnasium import spaces
from stable_baselines3 import SAC

import envs  # noqa: F401
from mbrl_agent.run.directory import InUseError, RunDirectory
from mbrl_agent.run.evaluation import Evaluation
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.baseline import training
from mbrl_agent.study.baseline.cell import attempt, make_baseline_cells
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.observation import FeatureObservation
from mbrl_agent.study.baseline.training import make_baseline, run_baseline
from mbrl_agent.study.compare.read_runs import read_run
from mbrl_agent.study.sweep.cell_process import CellProcess
from mbrl_agent.study.sweep.engine import AttemptEnding
from tests.support.sweeps import ROOT, wait_until
from tests.support.tiny_run import read_events

TINY = {"steps": 120, "eval_every": 30, "eval_episodes": 4}
FAST = {"learning_starts": 1000}


def rows(directory):
    with (directory / "progress.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def judged(monkeypatch):
    """Evaluations whose success is written in a list; the rest of the run is real."""

    def judge(outcomes):
        left = iter(outcomes)

        def evaluate(predict, env_id, episodes, seed):
            predict(np.zeros((episodes, 4), np.float32))
            successes = np.arange(episodes) < next(left) * episodes
            return Evaluation(np.full(episodes, 2.5), np.full(episodes, 30), successes)

        monkeypatch.setattr(training, "evaluate", evaluate)

    return judge


@pytest.mark.parametrize("algorithm", ["sac", "td3", "ppo"])
def test_the_files_of_a_run(tmp_path, algorithm):
    options = {"n_steps": 60, "batch_size": 30} if algorithm == "ppo" else {"learning_starts": 100}
    run_baseline(BaselineConfig(algorithm, seed=2, options=options, **TINY), tmp_path / "run")
    table = rows(tmp_path / "run")
    assert [int(row["time/total_timesteps"]) for row in table] == [30, 60, 90, 120]
    assert all(0 <= float(row["eval/success_rate"]) <= 1 for row in table)
    assert all(float(row["time/trial"]) > 0 and float(row["time/evaluate"]) > 0 for row in table)
    assert float(table[1]["rollout/ep_len_mean"]) == 30
    assert any(key.startswith("train/") for key in table[0])
    scalars = read_events(tmp_path / "run")
    assert [event.step for event in scalars.Scalars("eval/success_rate")] == [30, 60, 90, 120]
    config = BaselineConfig.from_dict(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()), "")
    model, _ = make_baseline(config)
    saved = type(model).load(tmp_path / "run" / "agent.zip")
    assert saved.num_timesteps == 120
    run = read_run(tmp_path / "run")
    assert (run.kind, run.finished, run.end_steps, run.time_step) == (algorithm, True, 120, 0.1)


def test_the_evaluation_is_ours_and_sees_what_the_network_sees(tmp_path):
    config = BaselineConfig(options=FAST, seed=5, **TINY)
    run_baseline(config, tmp_path)
    model = SAC.load(tmp_path / "agent.zip")  # it has learned nothing, so it is what every evaluation saw
    _, observation = make_baseline(config)
    again = training.evaluate(
        lambda states: model.predict(observation.observation(states), deterministic=True)[0],
        config.env,
        4,
        training.derive_seed(5, "evaluation", 2),
    )
    assert float(rows(tmp_path)[1]["eval/mean_reward"]) == pytest.approx(
        float(again.returns.mean()), rel=1e-6
    )


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = BaselineConfig(seed=seed, options={"learning_starts": 40, "gradient_steps": 1}, **TINY)
        run_baseline(config, tmp_path / name)
    a, b, c = ([row["eval/mean_reward"] for row in rows(tmp_path / name)] for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("outcomes", "keep_going", "evaluations", "solved_after"),
    [
        ([0, 1, 1, 1], False, 3, "60"),
        ([1, 0, 1, 0], False, 4, "30"),
        ([0, 1, 1, 1], True, 4, "60"),
        ([0, 0.5, 0.5, 0.5], False, 4, None),
    ],
)
def test_a_run_ends_when_it_is_solved_twice_in_a_row(
    tmp_path, judged, outcomes, keep_going, evaluations, solved_after
):
    judged(outcomes)
    line = run_baseline(BaselineConfig(keep_going=keep_going, options=FAST, **TINY), tmp_path)
    table = rows(tmp_path)
    assert len(table) == evaluations
    assert table[-1].get("eval/steps_to_solve") == solved_after
    expected = (
        "not solved within 12 s" if solved_after is None else f"solved after {int(solved_after) // 10} s"
    )
    assert expected in line
    assert read_run(tmp_path).keeps == (evaluations < 4)


def test_features_keep_the_angle():
    env = gymnasium.make("CartPoleSwingUp-v0")
    wrapped = FeatureObservation(env, (2,))
    seen = wrapped.observation(np.array([[1.0, 2.0, 0.5, 4.0], [0, 0, 0.5 + 2 * np.pi, 0]]))
    expected = [1, 2, 4, np.sin(0.5), np.cos(0.5), 0.5]
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[1, 3:5], seen[0, 3:5], atol=1e-5)
    assert seen[1, 5] > 6  # one turn on is another state: the cost of the swing-up says so
    assert wrapped.observation_space.shape == (6,)
    np.testing.assert_array_equal(wrapped.observation_space.high[3:5], [1, 1])
    np.testing.assert_array_equal(wrapped.observation_space.low[3:5], [-1, -1])
    first, _ = wrapped.reset(seed=0)
    assert wrapped.observation_space.contains(first)
    plain = FeatureObservation(env, ())
    np.testing.assert_array_equal(plain.observation(first[:4]), first[:4])


def test_raw_observations(tmp_path):
    model, _ = make_baseline(BaselineConfig(observation="raw"))
    assert model.observation_space.shape == (4,)
    assert make_baseline(BaselineConfig())[0].observation_space.shape == (6,)


def test_positions_alone_with_what_was_observed_before(tmp_path):
    config = BaselineConfig(options=FAST, **TINY, observe=(0, 2), history=3)
    _, env = make_baseline(config)
    assert env.observation_space.shape == (3 * 2 + 2 * 1 + 3 * 2,)  # observed, actions, features
    assert "not solved within 12 s" in run_baseline(config, tmp_path)
    assert BaselineConfig.from_dict(yaml.safe_load((tmp_path / "config.yaml").read_text()), "it") == config
    with pytest.raises(ValueError, match="observe"):
        BaselineConfig(observe=(0, 0))


def test_lists_become_what_the_constructor_takes():
    model, _ = make_baseline(BaselineConfig(options={"train_freq": [1, "episode"]}))
    assert model.train_freq.unit.value == "episode"


COMMAND = ["baseline", "--algorithm", "sac", "--steps", "60", "--eval-every", "30", "--eval-episodes", "4",
           "--option", "learning_starts=1000"]  # fmt: skip


def test_a_finished_run_is_left_alone_and_an_unfinished_one_starts_afresh(tmp_path, capsys):
    words = [*COMMAND, "--seeds", "0-1", "--out", str(tmp_path)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "[2/2]" in captured.out
    assert f"compare them: study compare {tmp_path}" in captured.out
    assert "not solved within 6 s of interaction" in (tmp_path / "sac_seed0.log").read_text()
    first, second = tmp_path / "sac_seed0", tmp_path / "sac_seed1"
    before = (first / "agent.zip").stat().st_mtime_ns
    (second / "agent.zip").unlink()
    (second / "progress.csv").write_text("nothing\n")
    (second / "mine.txt").write_text("stays")
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "sac seed 1: running" in said
    assert "sac seed 0" not in said
    assert (first / "agent.zip").stat().st_mtime_ns == before
    assert len(rows(second)) == 2
    assert len(list(second.glob("events.*"))) == 1
    assert (second / "mine.txt").exists()
    assert main([*words, "--keep-going"]) == 2
    assert "holds a run with other settings" in capsys.readouterr().err


def test_jobs_side_by_side_give_the_same_runs(tmp_path):
    for out, jobs in (("one", "1"), ("two", "2")):
        assert main([*COMMAND, "--seeds", "0-1", "--out", str(tmp_path / out), "--jobs", jobs]) == 0
    for name in ("sac_seed0", "sac_seed1"):
        one, two = (
            [row["eval/mean_reward"] for row in rows(tmp_path / way / name)] for way in ("one", "two")
        )
        assert one == two


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, capsys):
    (tmp_path / "sac_seed0" / "progress.csv").mkdir(parents=True)  # where the run wants to write
    words = [*COMMAND, "--seeds", "0-1", "--out", str(tmp_path), "--retries", "0"]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "1 failed" in captured.out
    assert "1 done" in captured.out
    assert "study: sac seed 0 failed: " in captured.err
    assert len(rows(tmp_path / "sac_seed1")) == 2


def test_a_run_that_another_process_has_finished_meanwhile_is_left_alone(tmp_path):
    config, directory = BaselineConfig(options=FAST, **TINY), tmp_path / "a"
    attempt(config.to_dict(), directory)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    attempt(config.to_dict(), directory)  # as by a command that looked before the first was done
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before
    other = BaselineConfig(options=FAST, seed=1, **TINY)
    with pytest.raises(ValueError, match="holds a run with other settings"):
        attempt(other.to_dict(), directory)
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_nothing_is_written_into_a_directory_that_is_in_use(tmp_path):
    pytest.importorskip("fcntl")
    files = RunDirectory(tmp_path)
    files.lock()
    before = list(tmp_path.iterdir())
    with pytest.raises(InUseError, match="another process is running it"):
        attempt(BaselineConfig(options=FAST, **TINY).to_dict(), tmp_path)
    assert list(tmp_path.iterdir()) == before
    files.unlock()


ENDLESS = ["--algorithm", "sac", "--steps", "1000000000", "--eval-every", "30", "--eval-episodes", "2",
           "--option", "learning_starts=1000000", "--retries", "0"]  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_killed_leaves_no_process_behind(tmp_path, how):
    pytest.importorskip("fcntl")
    command = [sys.executable, "-m", "mbrl_agent.study", "baseline", *ENDLESS, "--out", str(tmp_path)]
    files = RunDirectory(tmp_path / "sac_seed0")
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(files.progress.exists)
        process.send_signal(how)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    if how is signal.SIGKILL:  # nobody is left to end the run: it notices
        wait_until(lambda: not files.in_use())
    else:
        assert not files.in_use()
        assert process.returncode == 130
        assert error.startswith("study: interrupted: 0 of 1 cells are done; go on with: python -m mbrl_agent")


def test_a_process_that_dies_is_a_failed_run(tmp_path):
    cell = make_baseline_cells(
        BaselineConfig(steps=10**9, eval_every=30, options={"learning_starts": 10**6}), [0], tmp_path
    )[0]
    process = CellProcess(cell)
    process._process.kill()
    outcome = process.wait()
    assert (outcome.ending, outcome.error[:18]) == (AttemptEnding.CRASHED, "killed by SIGKILL")


class NoAngles(gymnasium.Env):
    """One number to be pushed to zero; tells neither angles, success nor the duration of a step."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 1.0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place += float(action[0])
        return np.array([self.place], np.float32), -abs(self.place), False, False, {}


def test_an_environment_that_tells_nothing(tmp_path):
    gymnasium.register("NoAngles-v0", entry_point=NoAngles, max_episode_steps=5)
    try:
        line = run_baseline(BaselineConfig(env="NoAngles-v0", options=FAST, **TINY), tmp_path)
        run = read_run(tmp_path)
    finally:
        del gymnasium.registry["NoAngles-v0"]
        read_run.__globals__["find_time_step"].cache_clear()
    assert "not solved within 120 steps" in line
    assert "eval/success_rate" not in rows(tmp_path)[0]
    assert (run.judged, run.time_step, len(run.reward)) == (False, None, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "missing --out and --algorithm, which must be given"),
        (["--algorithm", "dqn", "--out", "x"], "--algorithm: must be one of"),
        (["--algorithm", "sac", "--out", "x", "--seeds", "a"], "--seeds: cannot read 'a'"),
        (["--algorithm", "sac", "--out", "x", "--jobs", "0"], "--jobs: must be at least 1"),
        (["--algorithm", "sac", "--out", "x", "--steps", "-5"], "--steps: must be at least 1"),
        (["--algorithm", "sac", "--out", "x", "--env", "CartPole-v1"], "cannot be made"),
        (["--algorithm", "sac", "--out", "x", "--env", "Nowhere-v3"], "cannot be made"),
        (["--algorithm", "sac", "--out", "x", "--option", "gamam=1"], "did you mean gamma?"),
        (["--algorithm", "sac", "--out", "x", "--option", "buffer_size=many"], "sac cannot be made"),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["baseline", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("python -m mbrl_agent.study baseline: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_help_has_examples(capsys):
    assert main(["baseline", "--help"]) == 0
    assert "--seeds 0-4 --out sweeps/sac" in capsys.readouterr().out
