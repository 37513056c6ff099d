"""One baseline run: Stable-Baselines3 learns, our evaluation judges, our logger writes."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

from mbrl_agent.agent.observation_changes import valid_attribute
from mbrl_agent.agent.success import as_success
from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.files.yaml_data import read_yaml
from mbrl_agent.randomness import derive_seed
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.evaluation import evaluate
from mbrl_agent.run.experiment import step_duration
from mbrl_agent.run.log import log_config, make_logger
from mbrl_agent.study.baseline.algorithms import ALGORITHMS
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.observation import FeatureObservation

STOP_AFTER = 2
"""Evaluations in a row that solve the task, after which a run need not go on."""


class BaselineEvaluation(BaseCallback):
    """Judge the policy every so many steps, write a row of the log, and end the run once it is solved.

    Args:
        config: The run.
        observation: What the network sees of observations (n, D) of the environment.
    """

    def __init__(self, config: BaselineConfig, observation: FeatureObservation) -> None:
        super().__init__()
        self.config = config
        self.see = observation.observation
        self.evaluations = 0
        self.solved_after: int | None = None
        self.streak = 0
        self._began = 0.0

    def _on_training_start(self) -> None:
        self._began = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps % self.config.eval_every == 0:
            self._judge()
        return self.config.keep_going or self.streak < STOP_AFTER

    def _act(self, observations: NDArray[Any]) -> NDArray[Any]:
        return self.model.predict(self.see(observations), deterministic=True)[0]

    def _judge(self) -> None:
        """Record the columns that a run of train.py has, where they mean the same."""
        config, began = self.config, time.perf_counter()
        self.evaluations += 1
        seed = derive_seed(config.seed, "evaluation", self.evaluations)
        result = evaluate(self._act, config.environment, config.eval_episodes, seed)
        for name, value in _episode_means(self.model).items():
            self.logger.record(name, value)
        self.logger.record("time/trial", began - self._began)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.record("eval/mean_reward", float(result.returns.mean()))
        self.logger.record("eval/mean_ep_length", float(result.lengths.mean()))
        if result.success_rate is not None:
            self.logger.record("eval/success_rate", result.success_rate)
        self.streak = self.streak + 1 if result.solved else 0
        if result.solved and self.solved_after is None:
            self.solved_after = self.num_timesteps
        if self.solved_after is not None:
            self.logger.record("eval/steps_to_solve", self.solved_after)
        self._began = time.perf_counter()
        self.logger.record("time/evaluate", self._began - began)
        self.logger.dump(self.num_timesteps)


def _episode_means(model: BaseAlgorithm) -> dict[str, float]:
    """Return Stable-Baselines3's means over its windows of the last episodes."""
    episodes, successes = model.ep_info_buffer or (), model.ep_success_buffer or ()
    means = {}
    if episodes:
        means["rollout/ep_rew_mean"] = float(safe_mean([info["r"] for info in episodes]))
        means["rollout/ep_len_mean"] = float(safe_mean([info["l"] for info in episodes]))
    told = [success for success in map(as_success, successes) if success is not None]
    if told:
        means["rollout/success_rate"] = float(np.mean(told))
    return means


def make_baseline(config: BaselineConfig) -> tuple[BaseAlgorithm, FeatureObservation]:
    """Return the algorithm of a run and its environment.

    Raises:
        ValueError: The environment cannot be made, or the algorithm refuses it or its options.
    """
    env: gymnasium.Env[Any, Any] = make_env(config.environment)
    wanted = config.observation == "features"
    angles = (valid_attribute(env, "angle_dims") or ()) if wanted else ()
    observation = FeatureObservation(env, angles)
    algorithm = ALGORITHMS[config.algorithm]
    options = {key: _argument(value) for key, value in config.options.items()}
    try:
        model = algorithm.cls("MlpPolicy", observation, seed=config.seed, device="cpu", **options)
    except Exception as error:  # Stable-Baselines3 checks its arguments by assert and by failing
        reason = str(error) or type(error).__name__
        raise ValueError(f"{config.algorithm} cannot be made: {reason}") from error
    return model, observation


def _argument(value: Any) -> Any:
    """Make the tuples that YAML has not, as `train_freq: [1, episode]`; dictionaries are changed in place."""
    if isinstance(value, Mapping):
        return {key: dict(item) if isinstance(item, Mapping) else item for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def is_finished(files: RunDirectory, config: BaselineConfig) -> bool:
    """Tell whether a directory holds the result of a run.

    Raises:
        ValueError: It holds a run with other settings, or its config.yaml cannot be read.
    """
    if not files.config.exists():
        return False
    try:
        data = read_yaml(files.config)
    except (OSError, ValueError) as error:
        raise ValueError(f"{files.config} cannot be read: {error}") from error
    if BaselineConfig.from_dict(data if isinstance(data, Mapping) else {}, files.config) != config:
        raise ValueError(
            f"{files.path} holds a run with other settings (see its config.yaml): choose another --out"
        )
    return files.agent.exists()


def run_baseline(config: BaselineConfig, directory: Path) -> str:
    """Train and write config.yaml, progress.csv, TensorBoard events, and the model as agent.zip.

    What an earlier run has left in the directory is replaced: the caller keeps other processes from it.

    Args:
        config: The run.
        directory: Its directory; it is made if need be.

    Returns:
        One line about how it went.

    Raises:
        ValueError: The run cannot be made.
        OSError: The directory cannot be written.
    """
    torch.set_num_threads(1)
    model, observation = make_baseline(config)
    directory.mkdir(parents=True, exist_ok=True)
    files = RunDirectory(directory)
    try:
        for path in [files.agent, files.progress, *files.own_event_files()]:
            path.unlink(missing_ok=True)
        config.save(files.config)
        callback = BaselineEvaluation(config, observation)
        logger = make_logger(files.progress, files.new_event_file())
        try:
            log_config(logger, config.flat())
            model.set_logger(logger)
            model.learn(config.steps, callback, log_interval=sys.maxsize)
        finally:
            logger.close()
        archive = io.BytesIO()
        model.save(archive)
        write_atomically(files.agent, archive.getvalue())
    finally:
        observation.close()
    return f"{directory}: {_outcome(callback, step_duration(observation))}"


def _outcome(callback: BaselineEvaluation, time_step: float | None) -> str:
    def interaction(steps: int) -> str:
        return f"{steps} steps" if time_step is None else f"{steps * time_step:.0f} s"

    if callback.solved_after is None:
        return f"not solved within {interaction(callback.num_timesteps)} of interaction"
    ended = f"ended after {interaction(callback.num_timesteps)}"
    return f"solved after {interaction(callback.solved_after)} of interaction, {ended}"
