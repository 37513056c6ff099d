"""One run: everything is checked and made before it starts, logged while it lasts, and can be resumed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import CallbackList

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.environment import check_env, require_bounded_actions
from mbrl_agent.agent.observation_changes import valid_attribute
from mbrl_agent.errors import RunFailure
from mbrl_agent.options import OptionError, directory_name
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
from mbrl_agent.run.environment import Env, make_env
from mbrl_agent.run.episode_file import read_episodes
from mbrl_agent.run.log import log_config, make_logger
from mbrl_agent.run.task_flags import NONE, OFFERED, load_arguments, task_arguments
from mbrl_agent.run.terminal import Terminal

ENDLESS = 2**62  # environment steps: a run ends by its number of trials
MAX_LABEL = 60  # characters of a state dimension's name that a figure shows


def new_run(config: TrainConfig, directory: Path | None = None) -> Experiment:
    """Check and make everything that a new run needs; nothing is trained yet.

    Args:
        config: The run.
        directory: Where the run shall be; None makes a directory of its own in `config.logdir`. What a run
            that was killed before its first checkpoint has left there is removed.

    Raises:
        ValueError: Something in the configuration cannot work, or the directory holds a run.
        TypeError: Likewise.
        OSError: The run directory cannot be made or written, or another process uses it.
    """
    task = task_arguments(config.task)
    env = _make_ready(config)
    agent = new_agent(config, env, task)  # what cannot work is refused before anything is written
    if directory is None:
        name = f"{config.env}_{directory_name(config.resampling)}_seed{config.seed}"
        files = RunDirectory.create(Path(config.logdir), name)
        files.lock()
    else:
        files = RunDirectory(directory)
        files.make()
        files.lock()
        if files.has_checkpoint():
            files.unlock()
            raise ValueError(f"{directory} holds a run already: continue it, or take another directory")
        files.rewind(START)
    config.save(files.config)
    return Experiment(config, files, agent, env)


def open_run(directory: Path, config: TrainConfig | None = None) -> Experiment:
    """Check and make everything that a run needs to go on from its latest checkpoint.

    Args:
        directory: Of the run.
        config: What its config.yaml says, perhaps with more trials; None reads it.

    Raises:
        ValueError: There is no checkpoint, or the configuration is not that of the run.
        OSError: The run directory cannot be written, or another process uses it.
    """
    files = RunDirectory(directory)
    if config is None:
        config = TrainConfig.load(files.config)
    task = task_arguments(config.task)
    env = _make_ready(config)
    files.lock()
    state = files.latest_state()
    if config.trials < state.trial:
        raise ValueError(
            f"trials must be at least {state.trial}, which {files.path} has done, got {config.trials}"
        )
    agent = load_agent(files.checkpoint(state.trial), config, env, config.torch_device())
    _check_unchanged(config, agent, files, task)
    return Experiment(config, files, agent, env, state)


def _make_ready(config: TrainConfig) -> Env:
    """Set up torch as the run wants it, and make the environment."""
    torch.set_num_threads(config.threads)
    device = config.torch_device()  # one that is not there is refused before anything is written
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # a CUDA graph is captured on the current device
    return make_env(config.environment)


def load_agent(
    path: Path, config: TrainConfig, env: Env, device: torch.device | str = "cpu"
) -> ParticlePILCO:
    """Read an agent that a run has saved.

    Args:
        path: The checkpoint, or the final agent.
        config: Of the run: it names the functions that a checkpoint does not hold.
        env: The environment that the agent goes on with.
        device: Where the tensors go.

    Raises:
        ValueError: The file is not a whole checkpoint, or a module of the configuration cannot be imported.
    """
    return ParticlePILCO.load(path, env=env, device=device, **load_arguments(config.task))


def new_agent(config: TrainConfig, env: Env, task: Mapping[str, Any] | None = None) -> ParticlePILCO:
    """Return the agent of a run before its first trial, with the episodes that the user has logged before.

    They are saved with the agent, so that a run which goes on from a checkpoint does not need their files.

    Args:
        config: The run.
        env: Its environment.
        task: What `task_arguments` gives for the configuration; None asks it.

    Raises:
        ValueError: Something in the configuration cannot work in this environment, or a file of episodes
            cannot be read or holds something else.
        TypeError: Likewise.
    """
    check_env(env)  # its spaces first: with others a cost would not help
    if config.cost == OFFERED and valid_attribute(env, "cost") is None:
        raise OptionError(
            ("cost",),
            "the environment offers no differentiable cost: give --cost my_module:function, a function in "
            "torch of states (..., D) and actions (..., U) -> (...)",
        )
    agent = ParticlePILCO(
        config.policy.policy_class,
        env,
        policy_kwargs=config.policy.policy_kwargs(),
        resampling=config.resampling,
        estimator=config.estimator,
        dynamics=config.dynamics,
        rollout=config.rollout,
        search=config.search,
        random_trials=config.random_trials,
        gradient_probe=config.gradient_probe,
        seed=config.seed,
        device=config.torch_device(),
        **(task_arguments(config.task) if task is None else task),
    )
    require_bounded_actions(agent.action_space)  # now, not when it begins to learn
    if agent.policy.memory_dims and config.observe and config.history == 1:
        warnings.warn(
            "the policy remembers what it has seen, but the model predicts from one observation alone: add "
            "--history 3, say; the policy still sees the newest observation only",
            stacklevel=2,
        )
    for path in config.episodes:
        for label, arrays in read_episodes(Path(path)).items():
            try:
                agent.add_episode(**arrays)
            except (ValueError, TypeError) as error:
                raise type(error)(f"episodes {path}: {label}: {error}") from error
    return agent


def _check_unchanged(
    config: TrainConfig, agent: ParticlePILCO, files: RunDirectory, task: Mapping[str, Any]
) -> None:
    """Raise ValueError if config.yaml does not describe the agent of the checkpoint any more."""
    saved = {
        "resampling": agent.resampling,
        "estimator": agent.estimator,
        "dynamics": agent.dynamics_options,
        "rollout": agent.rollout,
        "search": agent.search,
        "random_trials": agent.random_trials,
        "gradient_probe": agent.gradient_probe,
        "seed": agent.seed,
    }
    changed = [name for name, value in saved.items() if getattr(config, name) != value]
    if not isinstance(agent.policy, config.policy.policy_class):
        changed.append("policy")
    angles = task.get("angle_dims", agent.task.angle_dims)
    if agent.task.angle_dims != (() if angles == NONE else angles):
        changed.append("angle_dims")
    pairs = task.get("velocity_dims", dict(agent.task.velocity_dims))
    if dict(agent.task.velocity_dims) != ({} if pairs == NONE else pairs):
        changed.append("velocity_dims")
    if changed:
        raise ValueError(
            f"{files.config} was changed since the checkpoint ({', '.join(changed)}), but a resumed run must "
            "be the same run: undo the change, or start a new run with --config"
        )


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
            self.config.environment, self.config.eval_episodes, START if self.state is None else self.state
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
        """Return them in the order in which they act after a trial."""
        labels = state_labels(self.env)
        callbacks: list[RunCallback] = [evaluation]
        callbacks.append(PredictionCallback(self.files, labels, self.time_step))
        if mode := render_mode(self.env):
            callbacks.append(AnimationCallback(self.files, self.config.environment, mode, self.time_step))
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
    """Return the seconds of an environment step, None where the environment does not tell.

    It is the environment's `dt`; without one, the time between two of its images (`render_fps`).
    """
    if duration := _positive(_attribute(env.unwrapped, "dt")):
        return duration
    fps = _positive(metadata_of(env).get("render_fps"))
    return 1.0 / fps if fps else None


def _positive(value: Any) -> float | None:
    """Return a finite number above zero, also as an array of one; None for anything else."""
    try:
        array = np.asarray(value)
        number = float(array.reshape(())) if array.dtype.kind in "iuf" else math.nan
    except Exception:  # ragged, more than one number, or an object of the user's own
        return None
    return number if 0 < number < math.inf else None


def _attribute(env: Any, name: str) -> Any:
    """Return what an environment offers under a name; None if it offers nothing, or fails to."""
    try:
        return getattr(env, name, None)
    except Exception:  # a property of the user's own may raise anything
        return None


def state_labels(env: Env) -> list[str]:
    """Return the names of the state dimensions, with units where the environment offers one text for each."""
    count = env.observation_space.shape[0]  # type: ignore[index]
    offered = valid_attribute(env, "observation_labels")
    if isinstance(offered, np.ndarray):
        offered = offered.tolist()
    is_list = isinstance(offered, list | tuple) and len(offered) == count
    if is_list and all(isinstance(label, str) for label in offered):
        return [" ".join(label.split())[:MAX_LABEL] for label in offered]
    return [f"dimension {index}" for index in range(count)]
