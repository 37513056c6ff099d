"""Episodes that the user has logged already, checked as strictly as those that the agent collects."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from mbrl_agent.agent.replay import Episode
from mbrl_agent.policies.base import SearchPolicy

ROUNDING = 1e-6
"""By how much of its range a logged action may lie outside of the bounds."""


def logged_episode(
    policy: SearchPolicy, observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike | None = None
) -> Episode:
    """Make an episode from what the user has logged.

    Args:
        policy: Knows the spaces.
        observations: (N + 1, D).
        actions: (N, U), in the units of the environment.
        rewards: (N,), or None.

    Raises:
        ValueError: Shapes that do not fit together or to the spaces, a value that is not finite, or an
            action outside of the bounds.
        TypeError: Not numbers.
    """
    space = policy.action_space
    assert isinstance(space, spaces.Box)
    states, controls = _numbers("observations", observations), _numbers("actions", actions)
    if states.ndim != 2 or states.shape[1] != policy.state_dims or len(states) < 2:
        raise ValueError(
            f"observations of an episode of N steps must have the shape (N + 1, {policy.state_dims}), N at "
            f"least 1, got {states.shape}"
        )
    steps = len(states) - 1
    if controls.shape != (steps, policy.action_dims):
        raise ValueError(
            f"actions must have the shape ({steps}, {policy.action_dims}), one action between two of the "
            f"{steps + 1} observations, got {controls.shape}"
        )
    gains = np.zeros(steps) if rewards is None else _numbers("rewards", rewards)
    if gains.shape != (steps,):
        raise ValueError(f"rewards must have the shape ({steps},), got {gains.shape}")
    for name, values in (("observations", states), ("actions", controls), ("rewards", gains)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise ValueError(f"{name}{bad[0].tolist()} is {values[tuple(bad[0])]}, not finite")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    margin = ROUNDING * (0.5 * high - 0.5 * low)
    outside = np.argwhere((controls < low - margin) | (controls > high + margin))
    if len(outside):
        step, dimension = outside[0]
        raise ValueError(
            f"actions[{step}, {dimension}] is {controls[step, dimension]}, outside of the "
            f"environment's bounds {low[dimension]} to {high[dimension]}: give actions in the units of the "
            "environment, as they were applied"
        )
    return Episode(states, policy.scale_action(controls), gains)


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return an array of numbers as float64."""
    try:
        array: NDArray[Any] = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its type is {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers: {error}") from error
