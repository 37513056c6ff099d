"""What a comparison knows of one run, wherever it was read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mbrl_agent.run.evaluation import SOLVED_SUCCESS_RATE
from mbrl_agent.study.compare.statistics import Array

Setting = int | float | bool | str


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        path: Its directory.
        kind: Name of what learned; groups and colours start from it: a resampling strategy, an algorithm
            of Stable-Baselines3, or the name of a directory.
        label: The same with the options that differ from their defaults.
        settings: Its configuration by dotted key; empty where there is none.
        env: Gymnasium id, None where it is not known.
        time_step: Seconds of an environment step, None where it is not known.
        budget: Environment steps that it was to take, None where it is not known.
        finished: Whether it came to its end; False while it runs, and when it was killed.
        keeps: It ended early because the task was solved, so its last evaluation stands for the rest.
        episodes: Episodes of an evaluation, None where it is not known.
        trials: (E,), number of the trial after which each evaluation was, from 1; for others than our
            agent the number of the evaluation.
        steps: (E,), environment steps at each evaluation, increasing.
        success: (E,), fraction of evaluation episodes that succeeded, `nan` where it is not known.
        reward: (E,), mean return of the evaluation episodes.
        clock: (E,), seconds of wall clock so far, `nan` where it is not known.
        end_steps: Environment steps at the end.
        end_clock: Seconds of wall clock at the end.
    """

    path: Path
    kind: str
    label: str
    settings: Mapping[str, Setting]
    env: str | None
    time_step: float | None
    budget: int | None
    finished: bool
    keeps: bool
    episodes: int | None
    trials: Array
    steps: Array
    success: Array
    reward: Array
    clock: Array
    end_steps: float
    end_clock: float

    @property
    def judged(self) -> bool:
        """Whether there are evaluations that tell success."""
        return len(self.success) > 0 and not math.isnan(self.success[-1])

    @property
    def told(self) -> bool:
        """Whether it is known if it solved the task; a run that was killed before an evaluation did not."""
        return self.judged or (self.episodes != 0 and not self.finished and len(self.steps) == 0)

    @property
    def solved_at(self) -> int | None:
        """Index of the first evaluation that solved the task, None without one."""
        return next((i for i, rate in enumerate(self.success) if rate >= SOLVED_SUCCESS_RATE), None)

    @property
    def solved_steps(self) -> float | None:
        """Environment steps to SOLVED, None if it never was."""
        return None if self.solved_at is None else float(self.steps[self.solved_at])

    @property
    def solved_clock(self) -> float | None:
        """Seconds of wall clock to SOLVED, None if it never was."""
        return None if self.solved_at is None else float(self.clock[self.solved_at])

    @property
    def holds(self) -> bool:
        """Whether the last evaluation solves the task."""
        return self.judged and bool(self.success[-1] >= SOLVED_SUCCESS_RATE)
