"""What environments say of an episode's success, in whatever form they say it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def as_success(value: Any) -> bool | None:
    """Read an `is_success` of an info.

    Args:
        value: A truth value or a number, or an array or a list of them, of which all have to be true.

    Returns:
        Whether the episode succeeded; None where the value does not tell: None, not a number, text, nothing.
    """
    try:
        values = np.asarray(value).ravel().tolist()
    except ValueError:  # ragged
        return None
    if not values or not all(isinstance(item, int | float) and not math.isnan(item) for item in values):
        return None
    return all(values)


def with_plain_success(info: dict[str, Any]) -> dict[str, Any]:
    """Return an info in which `is_success`, if it is there, is as `as_success` reads it."""
    return {**info, "is_success": as_success(info["is_success"])} if "is_success" in info else info
