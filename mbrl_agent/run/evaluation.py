"""Judge a policy by fresh episodes of the real task, many side by side on a Gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.success import as_success
from mbrl_agent.errors import NonFiniteError, environment_acts
from mbrl_agent.run.environment import Environment, make_vector_env

Predict = Callable[[NDArray[Any]], NDArray[Any]]
"""Observations (n, D) -> actions (n, U) of the environment, step after step."""

SOLVED_SUCCESS_RATE = 0.95
"""A policy solves the task when at least 95 of 100 fresh evaluation episodes succeed."""
NOT_SCALARS = ("is_success", "final_info", "final_obs")
"""Keys of an info that stand for something else."""


@dataclass(frozen=True)
class Evaluation:
    """What n evaluation episodes gave.

    Attributes:
        returns: (n,), sum of the rewards.
        lengths: (n,), steps.
        successes: (n,), whether the last step's info said `is_success`; None where there is no such info.
        scalars: What else the last step's info offered as one number, by its name, (n,) each; `nan` in
            episodes that did not tell.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    successes: NDArray[np.bool_] | None
    scalars: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def success_rate(self) -> float | None:
        """Fraction of the episodes that succeeded, None where the environment does not tell."""
        return None if self.successes is None else float(self.successes.mean())

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return float(self.returns.mean())

    @property
    def solved(self) -> bool | None:
        """Whether the task counts as solved, None where the environment does not tell."""
        return None if self.success_rate is None else self.success_rate >= SOLVED_SUCCESS_RATE


def acting(agent: ParticlePILCO) -> Predict:
    """Act as an agent's deployed policy does, from the start of episodes on.

    What the policy remembers goes from call to call: the episodes that follow need another one.
    """
    state: tuple[NDArray[Any], ...] | None = None

    def predict(observations: NDArray[Any]) -> NDArray[Any]:
        nonlocal state
        actions, state = agent.predict(observations, state)
        return actions

    return predict


def evaluate(
    predict: Predict,
    env: Environment | str,
    episodes: int,
    seed: int,
) -> Evaluation:
    """Run one episode in each of n environments, all in step.

    Environments that offer a batch of their own (`vector_entry_point`) are used as such, others one
    after the other. Whatever an environment does after the end of its first episode is ignored.

    Args:
        predict: The policy, at the start of its episodes.
        env: The environment with its options, or its Gymnasium id.
        episodes: n.
        seed: Environment i starts from seed + i.

    Raises:
        NonFiniteError: An observation or a reward is not finite.
        EnvFailedError: The environment raised an exception.
    """
    with environment_acts("when it was made for the evaluation"):
        envs = make_vector_env(env, episodes)
    try:
        return _first_episodes(envs, predict, seed)
    finally:
        envs.close()


def _first_episodes(env: Any, predict: Predict, seed: int) -> Evaluation:
    """Return the first episode of each sub-environment of a `gymnasium.vector.VectorEnv`."""
    running = np.ones(env.num_envs, dtype=bool)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
    successes, known = np.zeros(env.num_envs, dtype=bool), np.zeros(env.num_envs, dtype=bool)
    scalars: dict[str, NDArray[np.float64]] = {}
    step = 0
    with environment_acts("at the reset of the evaluation"):
        observations, _ = env.reset(seed=min(seed % 2**31, 2**31 - env.num_envs))  # of each below 2^31
    while running.any():
        _check_finite(observations, running, "observation", step)
        actions, step = predict(observations), step + 1
        with environment_acts(f"at step {step} of the evaluation"):
            observations, rewards, terminated, truncated, infos = env.step(actions)
        _check_finite(rewards, running, "reward", step)
        returns[running] += rewards[running]
        lengths[running] += 1
        done = terminated | truncated
        ended = running & done
        success, told = _success(infos, ended)
        successes[ended], known[ended] = success[ended], told[ended]
        _keep_scalars(scalars, infos, ended)
        running &= ~done
        if done.any() and env.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
            with environment_acts(f"at step {step} of the evaluation"):
                observations, _ = env.reset(options={"reset_mask": done})
    return Evaluation(returns, lengths, successes if known.all() else None, scalars)


def _check_finite(values: NDArray[Any], running: NDArray[np.bool_], label: str, step: int) -> None:
    """Raise NonFiniteError if a value of an episode that still runs is not finite."""
    bad = values[running][~np.isfinite(values[running])]
    if len(bad):
        raise NonFiniteError(f"the environment returned {label} = {bad[0]} at step {step} of the evaluation")


def _success(
    infos: Mapping[str, Any], ended: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (value, whether there is one) of `is_success` in each sub-environment that has ended, (n,) each.

    With autoreset in the same step the last info of an episode is in `final_info`, otherwise in `infos`.
    """
    value, told = np.zeros_like(ended), np.zeros_like(ended)
    for source in (infos, infos.get("final_info", {})):
        if "is_success" in source:
            here = np.asarray(source.get("_is_success", ended), dtype=bool)
            for index in np.flatnonzero(here & ended):
                success = as_success(source["is_success"][index])
                if success is not None:
                    value[index], told[index] = success, True
    return value, told


def _keep_scalars(
    scalars: dict[str, NDArray[np.float64]], infos: Mapping[str, Any], ended: NDArray[np.bool_]
) -> None:
    """Add what the last info of each episode that has ended offers as one number; see `Evaluation`."""
    final = infos.get("final_info")
    source = (
        final if isinstance(final, Mapping) else infos
    )  # with autoreset in the same step the next start's
    for key, values in source.items():
        if key.startswith("_") or key in NOT_SCALARS:
            continue
        here = np.asarray(source.get(f"_{key}", ended), dtype=bool)
        for index in np.flatnonzero(here & ended):
            number = _as_number(values[index]) if isinstance(values, np.ndarray | list | tuple) else None
            if number is not None:
                scalars.setdefault(key, np.full(len(ended), np.nan))[index] = number


def _as_number(value: Any) -> float | None:
    """Return a number or a truth value, also as an array of one; None for anything else."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        return None
    if array.size != 1 or array.dtype.kind not in "biuf":
        return None
    return float(array.reshape(())[()])
