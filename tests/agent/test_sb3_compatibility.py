"""What people do with Stable-Baselines3's algorithms works with ours."""

import csv

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    LogEveryNTimesteps,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor

import envs  # noqa: F401  (registers CartPoleSwingUp-v0)
from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from tests.support.point_mass import STEPS, PointMass, distance_cost, limited


def make(env, **options) -> ParticlePILCO:
    settings = {
        "dynamics": Ensemble(members=2, hidden=(8,), fit_steps=5),
        "search": SearchOptions(steps=1, num_particles=12, candidates=2, horizon=4),
        "gradient_probe": 0,
        "seed": 3,
    }
    return ParticlePILCO("LinearPolicy", env, **settings | options)


def test_it_is_an_algorithm_of_stable_baselines3():
    agent = make(limited())
    assert isinstance(agent, BaseAlgorithm)
    assert agent.learn(STEPS) is agent


# callbacks -------------------------------------------------------------------------------------------------


def test_eval_callback(tmp_path):
    agent = make(limited())
    evaluation = EvalCallback(
        Monitor(limited()),
        eval_freq=STEPS,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    agent.learn(2 * STEPS, evaluation)
    results = np.load(tmp_path / "evaluations.npz")
    assert results["timesteps"].tolist() == [STEPS, 2 * STEPS]
    assert results["results"].shape == (2, 2)
    best = ParticlePILCO.load(tmp_path / "best_model")
    assert best.predict(np.zeros(2, np.float32))[0].shape == (1,)


def test_checkpoint_callback(tmp_path):
    agent = make(limited())
    agent.learn(
        2 * STEPS, CheckpointCallback(save_freq=STEPS + 1, save_path=str(tmp_path), name_prefix="run")
    )
    (file,) = tmp_path.iterdir()
    assert file.name == f"run_{STEPS + 1}_steps.zip"
    loaded = ParticlePILCO.load(file, env=limited())
    assert (loaded.trials, loaded.num_timesteps) == (1, STEPS)
    loaded.learn(STEPS, reset_num_timesteps=False)
    assert loaded.trials == 2


def test_a_checkpoint_at_any_step_has_the_windows_of_its_start(tmp_path):
    def make_env():
        return DummyVecEnv([lambda n=n: Monitor(PointMass(ends_at=n)) for n in (5, STEPS)])

    agent = make(make_env()).learn(4 * STEPS, CheckpointCallback(save_freq=1, save_path=str(tmp_path)))
    windows = [[info["r"] for info in agent.ep_info_buffer], list(agent.ep_success_buffer)]
    assert [len(window) for window in windows] == [4, 4]
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 * STEPS
    for file in files:
        loaded = ParticlePILCO.load(file, env=make_env())
        loaded.learn(4 * STEPS - loaded.num_timesteps, reset_num_timesteps=False)
        assert [[info["r"] for info in loaded.ep_info_buffer], list(loaded.ep_success_buffer)] == windows


def test_figures_are_logged_when_a_callback_asks_for_it(tmp_path):
    agent = make(Monitor(limited()))
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(2 * STEPS, LogEveryNTimesteps(STEPS // 2))
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert len(rows) >= 4  # two an episode; some are those of a trial's end
    lengths = [row["rollout/ep_len_mean"] for row in rows if row["rollout/ep_len_mean"]]
    assert set(lengths) == {str(float(STEPS))}


def test_stop_training_on_reward_threshold():
    stop = StopTrainingOnRewardThreshold(reward_threshold=-1.0)
    evaluation = EvalCallback(
        Monitor(limited()), callback_on_new_best=stop, eval_freq=3, n_eval_episodes=1, verbose=0
    )
    agent = make(limited()).learn(10 * STEPS, evaluation)
    assert agent.num_timesteps == 3


def test_progress_bar(capsys):
    make(limited()).learn(2 * STEPS, progress_bar=True)
    assert f"{2 * STEPS}/{2 * STEPS}" in capsys.readouterr().out


def test_a_function_as_callback_sees_the_step():
    seen = []

    def callback(local_variables, global_variables) -> bool:
        seen.append({"rewards", "dones", "infos"} <= set(local_variables))
        return len(seen) < 5

    assert make(limited()).learn(3 * STEPS, callback).num_timesteps == 5
    assert seen == [True] * 5


def test_callback_hooks_come_in_their_order():
    class Order(BaseCallback):
        def _on_training_start(self):
            heard.append("training start")
            assert self.training_env.num_envs == 1
            assert "total_timesteps" in self.locals

        def _on_rollout_start(self):
            heard.append("rollout start")

        def _on_step(self):
            assert self.locals["rewards"].shape == (1,)
            heard.append("step")
            return True

        def _on_rollout_end(self):
            heard.append("rollout end")

        def _on_training_end(self):
            heard.append("training end")

    heard: list = []
    make(limited()).learn(2 * STEPS, Order())
    trial = ["rollout start", *["step"] * STEPS, "rollout end"]
    assert heard == ["training start", *trial, *trial, "training end"]


# environments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_make_vec_env(count):
    env = make_vec_env(limited, n_envs=count)
    agent = make(env).learn(count * STEPS)
    assert len(agent.replay.episodes) == count
    assert len(agent.ep_info_buffer) == count
    assert agent.predict(env.reset())[0].shape == (count, 1)


def test_subproc_vec_env():
    env = make_vec_env(
        "CartPoleSwingUp-v0", n_envs=2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"}
    )
    try:
        agent = make(env).learn(60)
    finally:
        env.close()
    assert agent.task.angle_dims == (2,)
    assert [len(episode) for episode in agent.replay.episodes] == [30, 30]


def test_a_cost_that_cannot_leave_its_process():
    def env_with_local_cost():
        env = PointMass()
        env.cost = lambda state, action: distance_cost(state, None)
        return env

    env = SubprocVecEnv([env_with_local_cost], start_method="fork")
    with pytest.raises(
        ValueError, match=r"'cost' cannot be sent from its process.*pass it to the agent instead"
    ):
        make(env)
    for process in env.processes:
        process.join(timeout=5)


def test_vec_monitor(tmp_path):
    agent = make(VecMonitor(DummyVecEnv([limited, limited]), str(tmp_path / "log"))).learn(2 * STEPS)
    assert [info["l"] for info in agent.ep_info_buffer] == [STEPS, STEPS]
    returns = [episode.rewards.sum() for episode in agent.replay.episodes]
    np.testing.assert_allclose(sorted(info["r"] for info in agent.ep_info_buffer), sorted(returns), atol=1e-4)


def test_evaluate_policy():
    agent = make(limited()).learn(STEPS)
    rewards, lengths = evaluate_policy(
        agent, Monitor(limited()), n_eval_episodes=2, return_episode_rewards=True
    )
    assert lengths == [STEPS, STEPS]
    mean, std = evaluate_policy(agent, make_vec_env(limited, n_envs=2), n_eval_episodes=4)
    assert 0 <= mean <= STEPS
    assert std >= 0
    assert len(rewards) == 2


def test_evaluation_does_not_disturb_learning():
    plain = make(limited()).learn(2 * STEPS)
    watched = make(limited())
    watched.learn(2 * STEPS, EvalCallback(Monitor(limited()), eval_freq=3, n_eval_episodes=1, verbose=0))
    for name, value in plain.policy.state_dict().items():
        assert torch.equal(watched.policy.state_dict()[name], value)


def test_set_env():
    agent = make(limited()).learn(STEPS)
    agent.set_env(DummyVecEnv([limited] * 2))
    agent.learn(2 * STEPS, reset_num_timesteps=False)
    assert (agent.n_envs, len(agent.replay.episodes)) == (2, 3)


class Turning(PointMass):
    """Another environment with the same spaces, whose first dimension is an angle."""

    angle_dims = (0,)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (gymnasium.make("Pendulum-v1"), "spaces do not match"),
        (Turning(), r"built for angle_dims \(\), not \(0,\)"),
        (PointMass(offers_cost=False), "no differentiable cost"),
    ],
)
def test_set_env_refuses_what_does_not_fit_and_changes_nothing(env, message):
    agent = make(limited())
    before = agent.get_env(), agent.task
    with pytest.raises(ValueError, match=message):
        agent.set_env(env)
    assert (agent.get_env(), agent.task) == before


def test_an_environment_with_angles():
    agent = make(limited(), angle_dims=(0,)).learn(STEPS)
    assert agent.dynamics.features.feature_dims == agent.policy.features.feature_dims == 3


# logger, parameters ----------------------------------------------------------------------------------------


def test_set_logger(tmp_path):
    agent = make(limited(), gradient_probe=2)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(2 * STEPS)
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    columns = set(lines[0].split(","))
    assert len(lines) == 3
    assert {"rollout/ep_rew", "rollout/ep_rew_mean", "rollout/success_rate", "dynamics/train_nll"} <= columns
    assert {"dynamics/validation_nll", "dynamics/rmse_0", "dynamics/rmse_1", "resampling/jitter"} <= columns
    assert {"gradient/variance", "gradient/snr", "time/collect", "time/fit", "time/improve"} <= columns
    assert not {column for column in columns if column.startswith(("policy_search/", "dynamics_fit/"))}


def test_the_figures_in_the_log_are_right(tmp_path):
    agent = make(limited())
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(2 * STEPS)
    rows = [line.split(",") for line in (tmp_path / "progress.csv").read_text().splitlines()]
    by_name = dict(zip(rows[0], rows[2], strict=True))
    returns = [float(episode.rewards.sum()) for episode in agent.replay.episodes]
    assert float(by_name["rollout/ep_rew"]) == pytest.approx(returns[1], abs=1e-4)
    assert float(by_name["rollout/ep_rew_mean"]) == pytest.approx(np.mean(returns), abs=1e-4)
    assert float(by_name["rollout/ep_len_mean"]) == STEPS
    assert float(by_name["policy/predicted_cost"]) == pytest.approx(
        float(agent.candidate_costs.min()), rel=1e-4
    )


def test_curves_go_to_tensorboard_over_gradient_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    agent = make(limited(), tensorboard_log=str(tmp_path))
    agent.learn(2 * STEPS)
    (folder,) = tmp_path.iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [e.step for e in events.Scalars("policy_search/expected_cost")] == [0, 1]
    assert [e.step for e in events.Scalars("policy_search/grad_norm")] == [0, 1]
    assert [e.step for e in events.Scalars("dynamics_fit/train_nll")] == list(range(10))
    assert [e.step for e in events.Scalars("rollout/ep_rew")] == [STEPS, 2 * STEPS]


def test_get_and_set_parameters():
    agent, other = make(limited()).learn(STEPS), make(limited(), seed=4)
    other.set_parameters(agent.get_parameters())
    observation = np.array([[0.5, 0.1]], np.float32)
    np.testing.assert_array_equal(agent.predict(observation)[0], other.predict(observation)[0])


def test_verbose_prints_a_table(capsys):
    make(limited(), verbose=1).learn(STEPS)
    assert "ep_rew_mean" in capsys.readouterr().out
    make(limited()).learn(STEPS)
    assert capsys.readouterr().out == ""
