"""What a policy does over two dimensions of the state."""

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
        ValueError: There are no visited states, `others` is of another size, the indices are not those of two
            different dimensions, or there are fewer than two points.
        TypeError: An index or the number of points is not a whole number.
    """
    require_count("points", points, minimum=2)
    count = policy.state_dims
    if visited.ndim != 2 or visited.shape[1] != count or not len(visited):
        raise ValueError(f"visited states must be an array (N, {count}) of at least one, got {visited.shape}")
    if len(dims) != 2:
        raise ValueError(f"a map has two dimensions, got {tuple(dims)}")
    for index in dims:
        require_count("a dimension of the map", index, minimum=0)
    first, second = dims
    if first == second or max(dims) >= count:
        raise ValueError(
            f"the dimensions of a map must be two different ones of 0 to {count - 1}, got {tuple(dims)}"
        )
    base = np.median(visited, axis=0) if others is None else np.array(others, dtype=np.float64)
    if base.shape != (count,):
        raise ValueError(f"others must be a state of {count} dimensions, got shape {base.shape}")
    horizontal, vertical = (_range(visited[:, index], points) for index in (first, second))
    states = np.broadcast_to(base, (points, points, count)).copy()
    states[..., first], states[..., second] = horizontal, vertical[:, None]
    actions, _ = policy.predict(states.reshape(-1, count).astype(np.float32), deterministic=True)
    grid = actions.reshape(points, points, policy.action_dims).astype(np.float64)
    return PolicyMap((first, second), horizontal, vertical, grid, base)


def _range(values: FloatArray, points: int) -> FloatArray:
    """From the least to the greatest value and a little more; around a single value as far as 1."""
    low, high = values.min(), values.max()
    margin = MARGIN * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, points)
