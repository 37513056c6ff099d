"""Statistics of a handful of runs: interquartile mean, quantiles with runs that never got there.

Reference:
    Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep Reinforcement Learning at the Edge of the
    Statistical Precipice", NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.run.intervals import Interval, bootstrap

Array = NDArray[np.float64]
RESAMPLES = 2000
"""Bootstrap samples: the ends of an interval then move by a few per cent of its width from seed to seed."""


def interquartile_mean(values: Array) -> Array:
    """Return the mean of the middle half of the values, along the last axis (IQM; the 25 % trimmed mean).

    Exactly a quarter of the weight is cut off at either end, so the outermost values that stay may
    count in part: of five values the middle one counts 1 and its neighbours 3/4 each. The result is that
    of giving every value four times, so runs count alike whatever their number. (rliable's
    `scipy.stats.trim_mean` cuts floor(n / 4) whole values instead: the same where 4 divides n, but with
    three runs it is the plain mean, which one outlier moves at will.)

    Args:
        values: (..., n), n >= 1, without `nan`.

    Returns:
        (...).
    """
    count = values.shape[-1]
    # of the sorted values, number i covers the stretch [i, i + 1] of [0, n]; n/4 to 3n/4 stays
    edges = np.clip(np.arange(count + 1, dtype=np.float64), count / 4, 3 * count / 4)
    weights = np.diff(edges) / (count / 2)
    mean: Array = np.sort(values, axis=-1) @ weights
    return mean


def bootstrap_iqm(values: Array, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the interquartile mean of the runs, with the percentile interval of the bootstrap over runs.

    (rliable's bootstrap is stratified by task; with one task there is one stratum.)

    Args:
        values: (n,), one number a run.
        resamples: Number of bootstrap samples.
        seed: Of their random numbers.

    Returns:
        `nan` without runs; without an interval for a single one.
    """
    return bootstrap(values, interquartile_mean, resamples, seed)


@dataclass(frozen=True)
class Reached:
    """A quantile of the times at which runs got somewhere.

    Attributes:
        value: The time; where `open` is set, a bound that it is above, with runs that never got there
            counted as later than all that did.
        open: Too few runs got there: the quantile lies beyond what was observed.
    """

    value: float
    open: bool = False


def reached_quantile(reached: Sequence[float | None], watched: Sequence[float], share: float) -> Reached:
    """Compute the time by which a share of the runs had got there; the others count as later than these.

    It is an order statistic, never a mean of two runs: with half of the runs unsolved the median still
    exists, and is the time by which half of them had solved the task.

    Args:
        reached: (n,), when each run got there; None if it had not when it ended. n >= 1.
        watched: (n,), when each run ended.
        share: In (0, 1].
    """
    position = max(1, math.ceil(share * len(reached) - 1e-9)) - 1
    times = sorted(math.inf if time is None else time for time in reached)
    if math.isfinite(times[position]):
        return Reached(times[position])
    bounds = sorted(end if time is None else time for time, end in zip(reached, watched, strict=True))
    latest = max((time for time in times if math.isfinite(time)), default=bounds[position])
    return Reached(max(bounds[position], latest), open=True)
