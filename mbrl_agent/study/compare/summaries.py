"""The row of a group in the table: how many runs solved the task, how soon, and what it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbrl_agent.run.intervals import Interval, wilson
from mbrl_agent.study.compare.curves import time_unit
from mbrl_agent.study.compare.grouping import Group
from mbrl_agent.study.compare.statistics import Reached, bootstrap_iqm, reached_quantile

QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Summary:
    """What the runs of a group came to.

    Attributes:
        label: Name of the group.
        runs: Number of its runs, those that failed or are unfinished included.
        unfinished: How many of them are unfinished.
        judged: How many have an evaluation that tells success.
        told: Whether it is known of all runs if they solved the task.
        solved: How many solved the task at some time.
        solved_share: Their share of all runs, with Wilson's interval.
        still_solved: How many solved it in their last evaluation as well.
        interaction: Quartiles of the interaction to SOLVED, in seconds or in steps; runs that did not
            solve it count as later than all others.
        final_success: Interquartile mean of the last evaluations' success rates.
        clock: Median of the wall clock of the finished runs [s], `nan` where it is not known.
        clock_to_solved: Quartiles of the wall clock to SOLVED [s], counted likewise; None where not known.
    """

    label: str
    runs: int
    unfinished: int
    judged: int
    told: bool
    solved: int
    solved_share: Interval
    still_solved: int
    interaction: tuple[Reached, ...]
    final_success: Interval
    clock: float
    clock_to_solved: tuple[Reached, ...] | None


def summarise(group: Group) -> Summary:
    """Make one row."""
    runs = group.runs
    solved = [run for run in runs if run.solved_at is not None]
    reached = [None if run.solved_steps is None else run.solved_steps * time_unit(run) for run in runs]
    watched = [run.end_steps * time_unit(run) for run in runs]
    clocks = [run.end_clock for run in runs]
    timed = bool(np.isfinite(clocks).all())
    whole = [clock for run, clock in zip(runs, clocks, strict=True) if run.finished]
    clocks_reached = [run.solved_clock for run in runs]
    return Summary(
        label=group.label,
        runs=len(runs),
        unfinished=sum(not run.finished for run in runs),
        judged=sum(run.judged for run in runs),
        told=all(run.told for run in runs),
        solved=len(solved),
        solved_share=wilson(len(solved), len(runs)),
        still_solved=sum(run.holds for run in solved),
        interaction=_quartiles(reached, watched),
        final_success=bootstrap_iqm(np.array([run.success[-1] for run in runs if run.judged])),
        clock=float(np.median(whole)) if timed and whole else math.nan,
        clock_to_solved=_quartiles(clocks_reached, clocks) if timed else None,
    )


def _quartiles(reached: Sequence[float | None], watched: Sequence[float]) -> tuple[Reached, ...]:
    return tuple(reached_quantile(reached, watched, share) for share in QUARTILES)
