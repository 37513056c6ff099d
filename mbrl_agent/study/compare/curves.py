"""Learning curves of a group: what its runs had reached at the same time, and over how many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.study.compare.records import Run
from mbrl_agent.study.compare.statistics import Array, bootstrap_iqm

Measure = Literal["success", "reward"]
MEASURES: tuple[Measure, ...] = ("success", "reward")


@dataclass(frozen=True)
class Curve:
    """Interquartile mean of a group with its 95 % interval.

    Attributes:
        time: (T,), seconds of interaction, or environment steps where no duration of a step is known.
        trials: (T,), number of the trial, `nan` where it is not the same for all runs.
        value: (T,), interquartile mean over runs.
        low: (T,), lower end of the interval, `nan` for a single run.
        high: (T,), its upper end.
        runs: (T,), how many runs it is over.
        complete: (T,), whether all runs of the group that have evaluations were still going.
    """

    time: Array
    trials: Array
    value: Array
    low: Array
    high: Array
    runs: NDArray[np.int64]
    complete: NDArray[np.bool_]


def learning_curve(runs: Sequence[Run], measure: Measure) -> Curve:
    """Return the curve of a group, as long as at least half of its runs have something to say.

    At every time at which any run was evaluated, each run counts with its latest evaluation until its own
    last one. From there on only a run that ended because the task was solved goes on counting, with its last
    value: to leave it out would let the curve fall when the best run ends.

    Args:
        runs: Of a group; those without this measure are left out.
        measure: What is averaged.
    """
    runs = [run for run in runs if np.isfinite(getattr(run, measure)).any()]
    times = sorted({float(time) for run in runs for time in run_times(run)})
    columns: list[tuple[float, ...]] = []
    for moment in times:
        values, trials, going = [], set(), 0
        for run in runs:
            index = int(np.searchsorted(run_times(run), moment, side="right")) - 1
            ended = moment > run_times(run)[-1]
            reached = float(getattr(run, measure)[index])
            if index < 0 or (ended and not run.keeps) or np.isnan(reached):
                continue
            values.append(reached)
            trials |= {float(run.trials[index])} if not ended else set()
            going += not ended
        if 2 * len(values) >= len(runs):
            mean = bootstrap_iqm(np.array(values))
            same = trials.pop() if len(trials) == 1 else np.nan
            columns.append((moment, same, mean.value, mean.low, mean.high, len(values), going == len(runs)))
    table = np.array(columns, dtype=np.float64).reshape(-1, 7)
    time, trial, value, low, high, counts, complete = table.T
    return Curve(time, trial, value, low, high, counts.astype(np.int64), complete.astype(bool))


def run_times(run: Run) -> Array:
    """Return when a run was evaluated, (E,), in seconds of interaction or in steps."""
    return run.steps * time_unit(run)


def time_unit(run: Run) -> float:
    """Return what an environment step counts: its seconds, or 1 where they are not known."""
    return 1.0 if run.time_step is None else run.time_step
