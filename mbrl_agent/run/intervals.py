"""Confidence intervals: of a proportion, and of any statistic by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054
"""Of the standard normal distribution at (1 + LEVEL) / 2."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; `nan` where there is none."""

    value: float
    low: float
    high: float


def bootstrap(values: Array, statistic: Callable[[Array], Array], resamples: int, seed: int = 0) -> Interval:
    """Return the percentile interval of the bootstrap.

    Args:
        values: (n,).
        statistic: Samples (..., n) -> (...).
        resamples: Number of bootstrap samples.
        seed: Of their random numbers.

    Returns:
        `nan` without values; without an interval for a single one.
    """
    count = len(values)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(statistic(values))
    if count == 1:
        return Interval(value, math.nan, math.nan)
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    low, high = np.quantile(statistic(values[drawn]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def wilson(successes: int, count: int) -> Interval:
    """Return Wilson's score interval of a proportion; it is sensible at 0 of n and n of n, too.

    Raises:
        ValueError: There are no trials.
    """
    if count < 1:
        raise ValueError("a proportion needs at least one run")
    share, z2 = successes / count, NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
