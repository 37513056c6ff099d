"""One run: everything is checked and made before it starts, logged while it lasts, and can be resumed."""

from __future__ import annotations

import difflib
import math
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.callbacks import CallbackList

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.environment import require_bounded_actions
from mbrl_agent.agent.observation_changes import valid_attribute
from mbrl_agent.errors import RunFailure
from mbrl_agent.options import directory_name
from mbrl_agent.options.plugins import find_module
from mbrl_agent.run.animation import metadata_of, render_mode
from mbrl_agent.run.callbacks import (
    AnimationCallback,
    CheckpointCallback,
    EvaluationCallback,
    PredictionCallback,
    RunCallback,
)
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import START, RunDirectory, RunState
from mbrl_agent.run.episode_file import read_episodes
from mbrl_agent.run.log import log_config, make_logger
from mbrl_agent.run.terminal import Terminal

Env = gymnasium.Env[Any, Any]
ENDLESS = 2**62  # environment steps: a run ends by its number of trials
MAX_LABEL = 60  # characters of a state dimension's name that a figure shows


def prepare(config: TrainConfig, resume: Path | None = None, directory: Path | None = None) -> Experiment:
    """Check and make everything that a run needs; nothing is trained yet.

    Args:
        config: The run; for a resumed one, what its directory says, perhaps with more trials.
        resume: Directory of a run to continue; None makes a new one.
        directory: Where the new run shall be, instead of a directory of its own in `config.logdir`. A run
            that is there is continued; one that was killed before its first checkpoint begins afresh.

    Raises:
        ValueError: Something in the configuration cannot work, or there is no checkpoint to resume from.
        TypeError: Likewise.
        OSError: The run directory cannot be made or written, or another process uses it.
    """
    torch.set_num_threads(config.threads)
    device = config.torch_device()  # one that is not there is refused before anything is written
    if device.type == "cuda":
        torch.cuda.set_device(device)  # a CUDA graph is captured on the current device
    env = make_env(config.env)
    where = directory or resume
    if where is None:
        agent = new_agent(config, env)  # likewise
        name = f"{config.env}_{directory_name(config.resampling)}_seed{config.seed}"
        files = RunDirectory.create(Path(config.logdir), name)
        files.lock()
        return _begin(config, files, agent, env)
    files = RunDirectory(where)
    if directory is not None:
        files.make()
    files.lock()
    if directory is None or files.has_checkpoint():
        return _continue(config, files, env)
    files.rewind(START)
    return _begin(config, files, new_agent(config, env), env)


def _begin(config: TrainConfig, files: RunDirectory, agent: ParticlePILCO, env: Env) -> Experiment:
    config.save(files.config)
    return Experiment(config, files, agent, env)


def _continue(config: TrainConfig, files: RunDirectory, env: Env) -> Experiment:
    state = files.latest_state()
    if config.trials < state.trial:
        raise ValueError(
            f"trials must be at least {state.trial}, which {files.path} has done, got {config.trials}"
        )
    agent = ParticlePILCO.load(files.checkpoint(state.trial), env=env, device=config.torch_device())
    _check_unchanged(config, agent, files)
    return Experiment(config, files, agent, env, state)


def new_agent(config: TrainConfig, env: Env) -> ParticlePILCO:
    """The agent of a run before its first trial, with the episodes that the user has logged before.

    They are saved with the agent, so that a run which goes on from a checkpoint does not need their files.

    Raises:
        ValueError: Something in the configuration cannot work in this environment, or a file of episodes
            cannot be read or holds something else.
        TypeError: Likewise.
    """
    agent = ParticlePILCO(
        config.policy.policy_class,
        env,
        policy_kwargs=config.policy.policy_kwargs(),
        resampling=config.resampling,
        estimator=config.estimator,
        dynamics=config.dynamics,
        search=config.search,
        random_trials=config.random_trials,
        gradient_probe=config.gradient_probe,
        seed=config.seed,
        device=config.torch_device(),
    )
    require_bounded_actions(agent.action_space)  # now, not when it begins to learn
    for path in config.episodes:
        for label, arrays in read_episodes(Path(path)).items():
            try:
                agent.add_episode(**arrays)
            except (ValueError, TypeError) as error:
                raise type(error)(f"episodes {path}: {label}: {error}") from error
    return agent


def _check_unchanged(config: TrainConfig, agent: ParticlePILCO, files: RunDirectory) -> None:
    """Raise ValueError if config.yaml does not describe the agent of the checkpoint any more."""
    saved = {
        "resampling": agent.resampling,
        "estimator": agent.estimator,
        "dynamics": agent.dynamics_options,
        "search": agent.search,
        "random_trials": agent.random_trials,
        "gradient_probe": agent.gradient_probe,
        "seed": agent.seed,
    }
    changed = [name for name, value in saved.items() if getattr(config, name) != value]
    if not isinstance(agent.policy, config.policy.policy_class):
        changed.append("policy")
    if changed:
        raise ValueError(
            f"{files.config} was changed since the checkpoint ({', '.join(changed)}), but a resumed run must "
            "be the same run: undo the change, or start a new run with --config"
        )


def make_env(env_id: str, **kwargs: Any) -> Env:
    """Make an environment; `module:id` imports the module that registers it.

    The module may also lie in the current directory, see `find_module`.

    Args:
        env_id: Gymnasium id.
        kwargs: Arguments of `gymnasium.make`.

    Raises:
        ValueError: There is none of that name, it cannot be made, or its episodes may never end.
    """
    try:
        if ":" in env_id:
            find_module(env_id.partition(":")[0])
        env = gymnasium.make(env_id, **kwargs)
    except (
        Exception,
        SystemExit,
    ) as error:  # a module and a constructor of the user's own may raise anything
        near = difflib.get_close_matches(env_id, gymnasium.registry, n=3, cutoff=0.5)
        hint = f"; similar names: {', '.join(near)}" if near and env_id not in gymnasium.registry else ""
        name = type(error).__name__
        reason = f"it ended the program ({name})" if isinstance(error, SystemExit) else str(error) or name
        raise ValueError(f"env {env_id!r} cannot be made: {reason}{hint}") from error
    if env.spec is None or env.spec.max_episode_steps is None:
        raise ValueError(f"env {env_id!r} has no time limit: register it with max_episode_steps")
    return env


class Experiment:
    """A run that is ready to start.

    Args:
        config: What to do.
        files: The run directory.
        agent: New, or as its checkpoint left it.
        env: The environment of the agent.
        state: The record of that checkpoint; None for a new run.
    """

    def __init__(
        self,
        config: TrainConfig,
        files: RunDirectory,
        agent: ParticlePILCO,
        env: Env,
        state: RunState | None = None,
    ) -> None:
        self.config = config
        self.files = files
        self.agent = agent
        self.env = env
        self.state = state
        self.time_step = step_duration(env)
        self.terminal = Terminal(config.trials, self.time_step, config.quiet)

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.files.path

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is damaged is told when the run is resumed
            try:
                self.files.latest_state()
            except (ValueError, OSError):
                return False
        return True

    def run(self) -> None:
        """Do the trials that are left, and save the agent.

        Raises:
            RunFailure: The environment failed, or returned a value that is not finite, or the model could
                not be fitted; what was collected is in `failed.zip` in the run directory.
            OSError: A file cannot be written; the last checkpoint is whole.
        """
        try:
            self._run()
        except RunFailure as error:
            failed = self.directory / "failed.zip"
            self.agent.save(failed)
            raise type(error)(f"{error}; what was collected is in {failed}") from error
        finally:
            self.terminal.close()
            self.files.unlock()

    def _run(self) -> None:
        if self.state is not None:
            if self.state.trial == self.config.trials and self.files.agent.exists():
                self.terminal.say(f"{self.directory} is complete: all {self.config.trials} trials are done")
                return
            self.files.rewind(self.state)
            self.config.save(self.files.config)
        evaluation = EvaluationCallback(
            self.config.env, self.config.eval_episodes, START if self.state is None else self.state
        )
        self._announce()
        if self.agent.trials < self.config.trials:
            self._learn(evaluation)
        self.agent.save(self.files.agent)
        self._conclude(evaluation)

    def _learn(self, evaluation: EvaluationCallback) -> None:
        callbacks = self._callbacks(evaluation)
        logger = make_logger(self.files.progress, self.files.new_event_file())
        try:
            if self.state is None:
                log_config(logger, self.config.flat())
            self.agent.set_logger(logger)
            self.agent.learn(ENDLESS, CallbackList([*callbacks]), reset_num_timesteps=False)
        finally:
            logger.close()
            for callback in callbacks:
                callback.close()

    def _callbacks(self, evaluation: EvaluationCallback) -> list[RunCallback]:
        """In the order in which they act after a trial."""
        labels = state_labels(self.env)
        callbacks: list[RunCallback] = [evaluation]
        callbacks.append(PredictionCallback(self.files, labels, self.time_step))
        if mode := render_mode(self.env):
            callbacks.append(AnimationCallback(self.files, self.config.env, mode, self.time_step))
        callbacks.append(self.terminal)
        callbacks.append(CheckpointCallback(self.files, self.config.trials, evaluation))
        return callbacks

    def _announce(self) -> None:
        verb = "run" if self.state is None else f"resuming after trial {self.state.trial}:"
        self.terminal.say(f"{verb} {self.directory}   watch it: tensorboard --logdir {self.directory.parent}")

    def _conclude(self, evaluation: EvaluationCallback) -> None:
        state = evaluation.state
        if state.solved_after is not None:
            self.terminal.say(f"solved after {self.terminal.interaction(state.solved_after)} of interaction")
        elif evaluation.solved is False:
            self.terminal.say("not solved (95 % of the evaluation episodes have to succeed)")
        self.terminal.say(f"agent: {self.files.agent}")
        if state.best_trial:
            self.terminal.say(f"best evaluation: trial {state.best_trial}, {self.files.best}")


def step_duration(env: Env) -> float | None:
    """Seconds of an environment step, None where the environment does not tell.

    It is the environment's `dt`; without one, the time between two of its images (`render_fps`).
    """
    if duration := _positive(_attribute(env.unwrapped, "dt")):
        return duration
    fps = _positive(metadata_of(env).get("render_fps"))
    return 1.0 / fps if fps else None


def _positive(value: Any) -> float | None:
    """A finite number above zero, also as an array of one; None for anything else."""
    try:
        array = np.asarray(value)
        number = float(array.reshape(())) if array.dtype.kind in "iuf" else math.nan
    except Exception:  # ragged, more than one number, or an object of the user's own
        return None
    return number if 0 < number < math.inf else None


def _attribute(env: Any, name: str) -> Any:
    """What an environment offers under a name; None if it offers nothing, or fails to."""
    try:
        return getattr(env, name, None)
    except Exception:  # a property of the user's own may raise anything
        return None


def state_labels(env: Env) -> list[str]:
    """Names of the state dimensions, with units where the environment offers one text for each."""
    count = env.observation_space.shape[0]  # type: ignore[index]
    offered = valid_attribute(env, "observation_labels")
    if isinstance(offered, np.ndarray):
        offered = offered.tolist()
    is_list = isinstance(offered, list | tuple) and len(offered) == count
    if is_list and all(isinstance(label, str) for label in offered):
        return [" ".join(label.split())[:MAX_LABEL] for label in offered]
    return [f"dimension {index}" for index in range(count)]
