"""Gymnasium's Box spaces as JSON data, exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from mbrl_agent.files.archive import CheckpointError


def space_to_json(space: Space[Any]) -> dict[str, Any]:
    """A Box as JSON data; its random generator is not part of it.

    Args:
        space: The space. An integer Box that was declared without a bound keeps that: the bound is
            written as infinite.

    Returns:
        `{"type": "Box", "dtype": ..., "shape": [...], "low": [...], "high": [...]}`, the bounds flat
        in C order.

    Raises:
        TypeError: Another kind of space.
    """
    if not isinstance(space, Box):
        raise TypeError(f"observation and action spaces must be gymnasium.spaces.Box, got {space}")
    low = [x if bounded else -math.inf for x, bounded in _pairs(space.low, space.bounded_below)]
    high = [x if bounded else math.inf for x, bounded in _pairs(space.high, space.bounded_above)]
    return {"type": "Box", "dtype": space.dtype.name, "shape": list(space.shape), "low": low, "high": high}


def space_from_json(data: object) -> Box[Any]:
    """The inverse of `space_to_json`.

    Raises:
        CheckpointError: Not data that `space_to_json` writes.
    """
    if not isinstance(data, dict) or data.get("type") != "Box":
        raise CheckpointError(f"a space must be described as a Box, got {str(data)[:80]}")
    if data.keys() != {"type", "dtype", "shape", "low", "high"}:
        raise CheckpointError(
            f"a Box needs type, dtype, shape, low and high, got {', '.join(sorted(data))[:80]}"
        )
    try:
        dtype = np.dtype(_checked_dtype(data["dtype"]))
        shape = tuple(data["shape"])
        limits = np.iinfo(dtype) if dtype.kind == "i" else None
        low, bounded_below = _bound(data["low"], dtype, shape, -math.inf, limits.min if limits else -math.inf)
        high, bounded_above = _bound(data["high"], dtype, shape, math.inf, limits.max if limits else math.inf)
        box: Box[Any] = Box(low, high, shape, dtype.type)
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"not a valid Box: {error}") from error
    box.bounded_below, box.bounded_above = bounded_below, bounded_above
    return box


def _pairs(bound: NDArray[Any], bounded: NDArray[np.bool_]) -> zip[tuple[Any, bool]]:
    return zip(bound.ravel().tolist(), bounded.ravel().tolist(), strict=True)


def _checked_dtype(name: object) -> str:
    """`name`, if it is one: NumPy would also make a dtype of None or of a list."""
    if not isinstance(name, str) or not name.isalnum() or np.dtype(name).kind not in "biuf":
        raise ValueError(f"{str(name)[:80]!r} is not a dtype of a Box")
    return name


def _bound(
    values: object, dtype: np.dtype[Any], shape: tuple[int, ...], infinity: float, limit: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One bound as an array, with `limit` where it is infinite, and where it is not infinite."""
    if not isinstance(values, list) or any(type(value) not in (bool, int, float) for value in values):
        raise ValueError("a bound must be a list of numbers")
    finite = [value != infinity for value in values]
    finite_values = [value if bounded else limit for value, bounded in zip(values, finite, strict=True)]
    with np.errstate(over="ignore"):  # reported below
        array = np.array(finite_values, dtype)
    if array.tolist() != finite_values:
        raise ValueError(f"a bound that {dtype} cannot represent")
    return array.reshape(shape), np.array(finite, dtype=bool).reshape(shape)
