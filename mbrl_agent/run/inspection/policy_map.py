"""What a policy does over one or two dimensions of the state, and over which it does most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbrl_agent.options.validation import require_count
from mbrl_agent.policies.base import SearchPolicy

FloatArray = NDArray[np.float64]
MARGIN = 0.1
"""Of the range of the visited states, on both sides."""


@dataclass(frozen=True)
class PolicyMap:
    """Actions on a grid.

    Attributes:
        dims: Indices of the horizontal and the vertical dimension.
        horizontal: (X), values of the first.
        vertical: (Y), values of the second.
        actions: (Y, X, U), in the units of the environment.
        others: (D), the state in which these two are varied.
    """

    dims: tuple[int, int]
    horizontal: FloatArray
    vertical: FloatArray
    actions: FloatArray
    others: FloatArray


@dataclass(frozen=True)
class PolicyCurve:
    """Actions along one dimension.

    Attributes:
        dim: Its index.
        values: (X), of this dimension.
        actions: (X, U), in the units of the environment.
        others: (D), the state in which it is varied.
    """

    dim: int
    values: FloatArray
    actions: FloatArray
    others: FloatArray


def policy_map(
    policy: SearchPolicy,
    visited: FloatArray,
    dims: Sequence[int],
    others: ArrayLike | None = None,
    points: int = 101,
) -> PolicyMap:
    """Ask the policy on a grid over the range of the visited states.

    Args:
        policy: At its own parameters.
        visited: (N, D), observations, which set the range of the grid.
        dims: Indices of two dimensions.
        others: (D), the state in which these two are varied; None takes the median of the visited ones.
        points: X and Y.

    Raises:
        ValueError: The policy remembers, there are no visited states, `others` is of another size, the
            indices are not those of two different dimensions, or there are fewer than two points.
        TypeError: An index or the number of points is not a whole number.
    """
    base = _base(policy, visited, others, points)
    if len(dims) != 2:
        raise ValueError(f"a map has two dimensions, got {tuple(dims)}")
    for index in dims:
        require_count("a dimension of the map", index, minimum=0)
    first, second = dims
    if first == second or max(dims) >= policy.state_dims:
        raise ValueError(
            f"the dimensions of a map must be two different ones of 0 to {policy.state_dims - 1}, "
            f"got {tuple(dims)}"
        )
    horizontal, vertical = (_range(visited[:, index], points) for index in (first, second))
    states = np.broadcast_to(base, (points, points, policy.state_dims)).copy()
    states[..., first], states[..., second] = horizontal, vertical[:, None]
    return PolicyMap((first, second), horizontal, vertical, _actions(policy, states), base)


def policy_curve(
    policy: SearchPolicy,
    visited: FloatArray,
    dim: int,
    others: ArrayLike | None = None,
    points: int = 401,
) -> PolicyCurve:
    """Ask the policy along one dimension over the range of the visited states.

    Args:
        policy: At its own parameters.
        visited: (N, D), observations, which set the range.
        dim: Index of the dimension.
        others: (D), the state in which it is varied; None takes the median of the visited ones.
        points: X.

    Raises:
        ValueError: As for `policy_map`.
        TypeError: Likewise.
    """
    base = _base(policy, visited, others, points)
    index = require_count("the dimension", dim, minimum=0)
    if index >= policy.state_dims:
        raise ValueError(f"the dimension must be one of 0 to {policy.state_dims - 1}, got {index}")
    states = np.broadcast_to(base, (points, policy.state_dims)).copy()
    states[:, index] = _range(visited[:, index], points)
    return PolicyCurve(index, states[:, index].copy(), _actions(policy, states), base)


def influential_dims(policy: SearchPolicy, visited: FloatArray) -> list[int]:
    """Order the dimensions by how much the actions depend on them, most first.

    That is the root mean square change of the actions, as fractions of their ranges, when a dimension of the
    visited states is replaced by its median.

    Args:
        policy: At its own parameters.
        visited: (N, D), observations.
    """
    states = np.asarray(visited, dtype=np.float64)
    before = policy.scale_action(_actions(policy, states))
    changes = []
    for index in range(policy.state_dims):
        changed = states.copy()
        changed[:, index] = np.median(states[:, index])
        after = policy.scale_action(_actions(policy, changed))
        changes.append(float(np.square(after - before).mean()))
    return sorted(range(len(changes)), key=lambda index: -changes[index])


def _base(policy: SearchPolicy, visited: FloatArray, others: ArrayLike | None, points: int) -> FloatArray:
    """Return the state (D) in which dimensions are varied; ValueError where that cannot be."""
    require_count("points", points, minimum=2)
    count = policy.state_dims
    if visited.ndim != 2 or visited.shape[1] != count or not len(visited):
        raise ValueError(f"visited states must be an array (N, {count}) of at least one, got {visited.shape}")
    base = np.median(visited, axis=0) if others is None else np.array(others, dtype=np.float64)
    if base.shape != (count,):
        raise ValueError(f"others must be a state of {count} dimensions, got shape {base.shape}")
    return base


def require_map(policy: SearchPolicy) -> None:
    """Raise ValueError where a state does not tell what a policy does."""
    if policy.memory_dims:
        raise ValueError(
            f"{type(policy).__name__} remembers: what it does in a state depends on what it has seen before, "
            "so that there is no picture of it over states"
        )


def _actions(policy: SearchPolicy, states: FloatArray) -> FloatArray:
    """Map states (..., D) to actions (..., U)."""
    require_map(policy)
    flat = states.reshape(-1, policy.state_dims).astype(policy.observation_space.dtype)
    actions, _ = policy.predict(flat, deterministic=True)
    result: FloatArray = actions.reshape(*states.shape[:-1], policy.action_dims).astype(np.float64)
    return result


def _range(values: FloatArray, points: int) -> FloatArray:
    """Range from the least to the greatest value and a little more; around a single value as far as 1."""
    low, high = values.min(), values.max()
    margin = MARGIN * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, points)
