"""Collect one real episode from each environment of a vectorised one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from mbrl_agent.agent.checked_env import CheckedCalls, own_copy
from mbrl_agent.agent.episode_limit import truncated_info
from mbrl_agent.agent.replay import Episode
from mbrl_agent.errors import EnvFailedError, NonFiniteError, environment_acts
from mbrl_agent.policies.acting import require_finite_actions
from mbrl_agent.policies.base import SearchPolicy

FloatArray = NDArray[np.float64]


@dataclass
class _Recorder:
    """The episode of one environment while it is being recorded."""

    observations: list[FloatArray] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    done: bool = False
    following: FloatArray | None = None  # where the episode after it began

    def add(self, action: FloatArray, observation: FloatArray, reward: float, done: bool) -> None:
        """Record a step."""
        self.observations.append(observation)
        self.actions.append(action)
        self.rewards.append(reward)
        self.done = done

    def episode(self) -> Episode:
        """Return the whole steps: an interrupt may have come in the middle of one."""
        steps = len(self.rewards)
        return Episode(
            np.array(self.observations[: steps + 1]),
            np.array(self.actions[:steps]),
            np.array(self.rewards),
        )


@dataclass(frozen=True)
class EnvStep:
    """One step of all environments, as a callback wants to see it.

    Attributes:
        observations: (number of environments, D); of an environment whose episode has ended, the first one
            of its next episode.
        rewards: (number of environments,).
        dones: (number of environments,), whether the episode has ended.
        infos: One dictionary an environment.
        recorded: (number of environments,), False where the episode had ended before this step.
    """

    observations: NDArray[Any]
    rewards: NDArray[np.float32]
    dones: NDArray[np.bool_]
    infos: list[dict[str, Any]]
    recorded: NDArray[np.bool_]


Act = Callable[[NDArray[Any]], FloatArray]
"""Observations (N, D) -> actions (N, U) in [-1, 1]."""


def random_actions(seed: int, action_dims: int) -> Act:
    """Act uniformly at random."""
    rng = np.random.default_rng(seed)
    return lambda observations: rng.uniform(-1, 1, (len(observations), action_dims))


def policy_actions(policy: SearchPolicy, device: torch.device) -> Act:
    """Act as a policy does, without noise, from the start of an episode in every environment on."""
    memory: Tensor | None = None

    def act(observations: NDArray[Any]) -> FloatArray:
        nonlocal memory
        with torch.no_grad():
            state = torch.as_tensor(observations, dtype=torch.float32, device=device)
            if memory is None:
                memory = state.new_zeros(len(state), policy.memory_dims)
            action, memory = policy.act(state, memory)
            actions: FloatArray = action.cpu().numpy().astype(np.float64)
            return actions

    return act


def collect_episodes(
    env: VecEnv,
    act: Act,
    scale: Callable[[FloatArray], NDArray[Any]],
    on_step: Callable[[EnvStep], bool],
    max_steps: int,
    keep: Callable[[Episode], None],
    keep_start: Callable[[FloatArray], None],
) -> bool:
    """Run every environment for one episode, from a reset to its end.

    Environments that end early idle through a next episode, which is not recorded, with the action 0.
    Whatever happens, the steps recorded so far are handed to `keep`: nothing that was collected is lost.
    Neither is the start of the episode that a vectorised environment begins as soon as another has ended.

    Args:
        env: The environments; seed them beforehand.
        act: What to do.
        scale: Actions in [-1, 1] -> actions of the environments.
        on_step: Called after each step; returning False ends the collection.
        max_steps: Where an episode is truncated that has not ended by then.
        keep: Called with each environment's episode.
        keep_start: Called with the first observation (D) of each episode that followed.

    Returns:
        False if `on_step` asked to stop.

    Raises:
        NonFiniteError: An observation or a reward is not finite; names step, dimension and value.
        ShapeError: An observation has the wrong shape; names step and shape.
        PolicyError: An action is not finite; names step and dimension. It is not sent.
        EnvFailedError: The environment raised an exception; names step and exception.
    """
    recorders = [_Recorder() for _ in range(env.num_envs)]
    checked, began = CheckedCalls(env), time.time()
    try:
        with environment_acts("at the reset of an episode"), checked():
            observations = np.array(env.reset())
        for recorder, observation in zip(recorders, observations, strict=True):
            recorder.observations.append(_observation(observation, env, 0))
        for number in range(1, max_steps + 1):
            recorded = np.array([not recorder.done for recorder in recorders])
            actions = np.where(recorded[:, None], act(observations), 0.0)
            require_finite_actions(actions, observations, f"step {number} of an episode")
            with environment_acts(f"at step {number} of an episode"), checked():
                step = _copied(env.step(scale(actions)), recorded)
            observations = step.observations
            for index in np.flatnonzero(recorded):
                _record(recorders[index], actions[index], step, int(index), env, number)
            if number == max_steps:
                _truncate(recorders, step, time.time() - began)
            if not on_step(step):
                return False
            if all(recorder.done for recorder in recorders):
                break
        return True
    finally:
        for recorder in recorders:
            if recorder.rewards:
                keep(recorder.episode())
            if recorder.following is not None:
                keep_start(recorder.following)


def _copied(result: tuple[Any, Any, Any, Any], recorded: NDArray[np.bool_]) -> EnvStep:
    """Return what `VecEnv.step` returned, in arrays of our own: the environments may use theirs again."""
    observations, rewards, dones, infos = result
    plain = [dict(info) for info in infos]
    for info, done in zip(plain, dones, strict=True):
        if not done:  # an environment that returns the same dictionary again has its last end in it
            info.pop("episode", None)
            info.pop("terminal_observation", None)
        if info.get("is_success") is not None:  # may be an array, which a list of successes cannot hold
            info["is_success"] = bool(np.all(info["is_success"]))
    return EnvStep(np.array(observations), np.array(rewards), np.array(dones, dtype=bool), plain, recorded)


def _record(
    recorder: _Recorder, action: FloatArray, step: EnvStep, index: int, env: VecEnv, number: int
) -> None:
    """Record what an environment returned."""
    done = bool(step.dones[index])
    after = step.observations[index]
    if done:
        if "terminal_observation" not in step.infos[index]:
            raise EnvFailedError(
                f"{type(env.unwrapped).__name__} ended an episode without infos[{index}]"
                "['terminal_observation'], which every VecEnv of Stable-Baselines3 has to give"
            )
        after = step.infos[index]["terminal_observation"]
        following = step.observations[index].astype(np.float64)
        if np.isfinite(following).all():  # otherwise nobody minds: that episode is not recorded
            recorder.following = following
    observation = _observation(after, env, number)
    reward = float(np.asarray(step.rewards[index], dtype=np.float64).reshape(()))
    if not np.isfinite(reward):
        raise NonFiniteError(f"the environment returned reward = {reward} at step {number} of an episode")
    recorder.add(action, observation, reward, done)


def _truncate(recorders: list[_Recorder], step: EnvStep, seconds: float) -> None:
    """End the episodes that still run, as callbacks want to see it."""
    for index, recorder in enumerate(recorders):
        if not recorder.done:
            last = step.observations[index].copy()
            total_reward, steps = sum(recorder.rewards), len(recorder.rewards)
            step.infos[index] = truncated_info(step.infos[index], last, total_reward, steps, seconds)
            step.dones[index] = recorder.done = True


def _observation(value: Any, env: VecEnv, number: int) -> FloatArray:
    """Convert an observation to float64.

    Raises:
        NonFiniteError: It is not finite.
        ShapeError: It has another shape than the observation space.
    """
    array: FloatArray = own_copy(value, env.observation_space.shape, number).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise NonFiniteError(
            f"the environment returned observation dimension {bad[0]} = {array[bad[0]]} "
            f"at step {number} of an episode"
        )
    return array
