"""Checks of users' values, with messages that say what was given and what is allowed.

A check raises `OptionError`, a ValueError (of a wrong type `OptionTypeError`, a TypeError), which carries the
name that the check was given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mbrl_agent.options.errors import refused, refused_type

MAX_SEED = 2**32 - 1
"""What NumPy's global generator takes, which Stable-Baselines3 seeds."""


def require_count(name: str, value: int, minimum: int = 1) -> int:
    """Raise unless `value` is a whole number, Python's or NumPy's, of at least `minimum`.

    Returns:
        The value as an int.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise refused_type(name, f"must be a whole number, got {value!r}")
    if value < minimum:
        raise refused(name, f"must be at least {minimum}, got {value}")
    return int(value)


def require_amount(name: str, value: float) -> int:
    """Do what `require_count` does, and take a float for a whole number: 1e5 is 100,000."""
    if isinstance(value, float | np.floating):
        if not float(value).is_integer():
            raise refused(name, f"must be a whole number, got {value}")
        value = int(value)
    return require_count(name, value)


def require_seed(name: str, value: int) -> int:
    """Raise unless `value` is a whole number from 0 to MAX_SEED.

    Returns:
        The value as an int.
    """
    if require_count(name, value, minimum=0) > MAX_SEED:
        raise refused(name, f"must be at most {MAX_SEED}, got {value}")
    return int(value)


def require_counts(name: str, values: Sequence[int]) -> None:
    """Raise unless `values` is a tuple or a list of ints of at least 1."""
    if not isinstance(values, tuple | list):
        raise refused_type(name, f"must be a tuple of whole numbers, got {values!r}")
    for value in values:
        require_count(name, value)


def require_number(name: str, value: float) -> None:
    """Raise unless `value` is a finite int or float."""
    _require_real(name, value)
    if not math.isfinite(value):
        raise refused(name, f"must be finite, got {value}")


def require_fraction(name: str, value: float) -> None:
    """Raise unless `value` is a number from 0 to 1."""
    _require_real(name, value)
    if not 0 <= value <= 1:
        raise refused(name, f"must be from 0 to 1, got {value}")


def require_positive(name: str, value: float) -> None:
    """Raise unless `value` is a finite number above zero."""
    require_number(name, value)
    if value <= 0:
        raise refused(name, f"must be above zero, got {value}")


def require_not_negative(name: str, value: float) -> None:
    """Raise unless `value` is a finite number of at least zero."""
    require_number(name, value)
    if value < 0:
        raise refused(name, f"must not be negative, got {value}")


def require_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if not isinstance(value, str):
        raise refused_type(name, f"must be a string, got {value!r}")
    if value not in allowed:
        raise refused(name, f"must be one of {', '.join(allowed)}, got {value!r}")


def require_flag(name: str, value: bool) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise refused_type(name, f"must be True or False, got {value!r}")


def _require_real(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise refused_type(name, f"must be a number, got {value!r}")
