"""Environments that the agent can work with: made, checked, described."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize


def time_limit(env: VecEnv) -> int | None:
    """Return the steps after which Gymnasium's `TimeLimit` has ended the episodes of all environments.

    None where one of them has no such limit: an environment may have an attribute of that name of its own.
    """
    name = "_max_episode_steps"
    limits = env.get_attr(name) if env.has_attr(name) else [None]
    whole = [limit for limit in limits if isinstance(limit, int | np.integer) and not isinstance(limit, bool)]
    return int(max(whole)) if len(whole) == len(limits) and min(whole) > 0 else None


WIDEST_ACTIONS = float(np.sqrt(np.finfo(np.float32).max))
"""Wider bounds than this (1.8e19) stand for no bounds: the square of such an action overflows."""


def require_bounded_actions(space: spaces.Space[Any]) -> None:
    """Raise ValueError if actions have bounds that are only the largest numbers that there are.

    An agent with such a space can be made and predicts, but to explore it would act at random within them.
    """
    assert isinstance(space, spaces.Box)
    widest = float((0.5 * space.high.astype(np.float64) - 0.5 * space.low.astype(np.float64)).max())
    if widest > WIDEST_ACTIONS:
        raise ValueError(
            f"actions must be bounded, got {space}, whose bounds are no range to act in: declare the range "
            "that makes sense as the environment's action space, or use gymnasium.wrappers.RescaleAction"
        )


AnyEnv = Env[Any, Any] | VecEnv


def prepare_env(env: AnyEnv | str, verbose: int = 0) -> AnyEnv:
    """Make the environment if it is a Gymnasium id, and check it; see `check_env`."""
    try:
        return check_env(maybe_make_env(env, verbose))
    except gymnasium.error.Error as error:
        raise ValueError(
            f"environment {env!r} cannot be made: {error} (has the module that registers it been imported?)"
        ) from error


def describe_env(env: VecEnv | None) -> str:
    """Name an environment by its id, or by its class, with the number of them if there are several."""
    if env is None:
        return "no environment"
    here = getattr(env.unwrapped, "envs", None)  # those in other processes are not asked
    name = type(env.unwrapped).__name__
    if here:
        spec = here[0].spec
        name = type(here[0].unwrapped).__name__ if spec is None else spec.id
    return name if env.num_envs == 1 else f"{env.num_envs} x {name}"


def check_env(env: AnyEnv) -> AnyEnv:
    """Return the environment if the agent can work with its spaces.

    Raises:
        ValueError: Observations or actions are not a Box of one axis, actions are unbounded, or the
            observations are normalised by VecNormalize.
        TypeError: Not an environment.
    """
    if not isinstance(env, Env | VecEnv):
        raise TypeError(
            "env must be a gymnasium.Env, a VecEnv of Stable-Baselines3 (make_vec_env makes one) or a "
            f"Gymnasium id, got {type(env).__name__}"
        )
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, spaces.Box) or len(observations.shape) != 1:
        raise ValueError(
            f"observations must be a Box with one axis, got {observations}: "
            "flatten them, for example with gymnasium.wrappers.FlattenObservation"
        )
    continuous = isinstance(actions, spaces.Box) and np.issubdtype(actions.dtype, np.floating)
    if not isinstance(actions, spaces.Box) or not continuous or len(actions.shape) != 1:
        raise ValueError(f"actions must be a Box with one axis (continuous), got {actions}")
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise ValueError(
            f"actions must be bounded, got {actions}: use gymnasium.wrappers.RescaleAction or clip them"
        )
    if isinstance(env, VecEnv) and unwrap_vec_normalize(env) is not None:
        raise ValueError(
            "VecNormalize changes observations and rewards while it runs, which a learned model and a cost "
            "cannot follow; the agent standardises its data itself: pass the environment without VecNormalize"
        )
    return env
