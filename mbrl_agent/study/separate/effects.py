"""The effects behind the arms: differences of their results, start by start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.run.intervals import Interval, bootstrap
from mbrl_agent.study.separate.arms import BELIEF, GAUSSIAN, NONE, REDRAW, TANGENT, WIDER

Array = NDArray[np.float64]
RESAMPLES = 2000

DERIVATIVES = "derivatives through moments"
VALUES = "Gaussian values"
BEYOND = "both, beyond their sum"
SMOOTHED = "expected cost alone"
WIDENED = "wider cost alone"
TOTAL = "all of gaussian"
EFFECTS: dict[str, Callable[[Mapping[str, Array]], Array]] = {
    DERIVATIVES: lambda y: ((y[TANGENT] - y[NONE]) + (y[GAUSSIAN] - y[REDRAW])) / 2,
    VALUES: lambda y: ((y[REDRAW] - y[NONE]) + (y[GAUSSIAN] - y[TANGENT])) / 2,
    BEYOND: lambda y: (y[GAUSSIAN] - y[REDRAW] - y[TANGENT] + y[NONE]) / 2,
    TOTAL: lambda y: y[GAUSSIAN] - y[NONE],
    SMOOTHED: lambda y: y[BELIEF] - y[NONE],
    WIDENED: lambda y: y[WIDER] - y[NONE],
}
"""Of the results of all arms. The first two sum up to all of gaussian. The third, the interaction, is by how
much the arms whose derivatives are those of their values (none, gaussian) are better than those that mix."""


@dataclass(frozen=True)
class ArmOutcome:
    """What one arm made of R starting policies; all (R,), a step of the horizon.

    Attributes:
        width: Of the cost.
        horizon: T.
        optimizer: "adam" or "sgd".
        arm: Label.
        predicted: Cost without resampling in the frozen model, under noise that all share.
        predicted_start: The same before.
        reward: True reward in real episodes of T steps.
        reward_start: The same before.
        diverged: Whether the policy could not act any more; then its start counts.
        norm: Median over the steps of the gradient's norm.
        largest_norm: Largest over the steps.
        skipped: Steps that were not taken since something was not finite.
    """

    width: float
    horizon: int
    optimizer: str
    arm: str
    predicted: Array
    predicted_start: Array
    reward: Array
    reward_start: Array
    diverged: NDArray[np.bool_]
    norm: Array
    largest_norm: Array
    skipped: Array


@dataclass(frozen=True)
class Effect:
    """One difference between arms, with its interval over the starting policies.

    Attributes:
        name: A key of `EFFECTS`.
        width: Of the cost.
        horizon: T.
        optimizer: "adam" or "sgd".
        reward: On the true reward a step.
        predicted: On the predicted cost a step, turned round: what is above zero is a gain in both.
    """

    name: str
    width: float
    horizon: int
    optimizer: str
    reward: Interval
    predicted: Interval


def effects_of(outcomes: Sequence[ArmOutcome]) -> list[Effect]:
    """Return all effects of which the arms are there."""
    groups: dict[tuple[float, int, str], dict[str, ArmOutcome]] = {}
    for outcome in outcomes:
        key = (outcome.width, outcome.horizon, outcome.optimizer)
        groups.setdefault(key, {})[outcome.arm] = outcome
    found = []
    for (width, horizon, optimizer), arms in groups.items():
        rewards = {label: outcome.reward for label, outcome in arms.items()}
        gains = {label: -outcome.predicted for label, outcome in arms.items()}
        for name, effect in EFFECTS.items():
            try:
                reward, predicted = effect(rewards), effect(gains)
            except KeyError:  # an arm that this cost cannot have
                continue
            found.append(Effect(name, width, horizon, optimizer, _mean(reward), _mean(predicted)))
    return found


def _mean(values: Array) -> Interval:
    return bootstrap(values, lambda drawn: drawn.mean(-1), RESAMPLES)
