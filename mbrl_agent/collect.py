"""Collect one real episode from each environment of a vectorised one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agent.failures import NonFiniteError, ShapeError, environment_acts
from mbrl_agent.replay import Episode

FloatArray = NDArray[np.float64]


@dataclass
class _Recorder:
    """The episode of one environment while it is being recorded."""

    observations: list[FloatArray] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    done: bool = False

    def episode(self) -> Episode:
        """The whole steps: an interrupt may have come in the middle of one."""
        steps = len(self.rewards)
        return Episode(
            np.array(self.observations[: steps + 1]),
            np.array(self.actions[:steps]),
            np.array(self.rewards),
        )


@dataclass(frozen=True)
class Step:
    """One step of all environments, as a callback wants to see it.

    Attributes:
        rewards: (number of environments,).
        dones: (number of environments,), whether the environment ended its episode.
        infos: One dictionary an environment.
        recorded: (number of environments,), False where the episode had ended before this step.
    """

    rewards: NDArray[np.float32]
    dones: NDArray[np.bool_]
    infos: list[dict[str, Any]]
    recorded: NDArray[np.bool_]


def collect_episodes(
    env: VecEnv,
    act: Callable[[NDArray[Any]], FloatArray],
    scale: Callable[[FloatArray], NDArray[Any]],
    on_step: Callable[[Step], bool],
    max_steps: int,
    keep: Callable[[Episode], None],
) -> bool:
    """Run every environment for one episode, from a reset to its end.

    Environments that end early idle through a next episode, which is not recorded. Whatever happens,
    the steps recorded so far are handed to `keep`: nothing that was collected is lost.

    Args:
        env: The environments; seed them beforehand.
        act: Observations (N, D) -> actions (N, U) in [-1, 1].
        scale: Actions in [-1, 1] -> actions of the environments.
        on_step: Called after each step; returning False ends the collection.
        max_steps: Where an episode is cut.
        keep: Called with each environment's episode.

    Returns:
        False if `on_step` asked to stop.

    Raises:
        NonFiniteError: An observation or a reward is not finite; names step, dimension and value.
        ShapeError: An observation has the wrong shape; names step and shape.
        EnvFailedError: The environment raised an exception; names step and exception.
    """
    recorders = [_Recorder() for _ in range(env.num_envs)]
    try:
        with environment_acts("at the reset of an episode"):
            observations = np.asarray(env.reset())
        for recorder, observation in zip(recorders, observations, strict=True):
            recorder.observations.append(_finite(observation, "observation", 0, env.observation_space.shape))
        for step in range(1, max_steps + 1):
            actions = act(observations)
            recorded = np.array([not recorder.done for recorder in recorders])
            with environment_acts(f"at step {step} of an episode"):
                observations, rewards, dones, infos = env.step(scale(actions))  # type: ignore[assignment]
            for index, recorder in enumerate(recorders):
                if not recorder.done:
                    after = infos[index]["terminal_observation"] if dones[index] else observations[index]
                    after = _finite(after, "observation", step, env.observation_space.shape)
                    _finite(rewards[index : index + 1], "reward", step)
                    recorder.observations.append(after)
                    recorder.actions.append(actions[index])
                    recorder.rewards.append(float(rewards[index]))
                    recorder.done = bool(dones[index])
            if not on_step(Step(rewards, dones, infos, recorded)):
                return False
            if all(recorder.done for recorder in recorders):
                break
        return True
    finally:
        for recorder in recorders:
            if recorder.rewards:
                keep(recorder.episode())


def _finite(values: NDArray[Any], label: str, step: int, shape: tuple[int, ...] | None = None) -> FloatArray:
    """The values as float64; NonFiniteError if one is not finite, ShapeError if they have another shape."""
    array = np.array(values, dtype=np.float64)
    if shape is not None and array.shape != shape:
        raise ShapeError(
            f"the environment returned an {label} of shape {array.shape} instead of {shape} "
            f"at step {step} of an episode"
        )
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        where = f" dimension {bad[0]}" if label == "observation" else ""
        raise NonFiniteError(
            f"the environment returned {label}{where} = {array[bad[0]]} at step {step} of an episode"
        )
    return array
