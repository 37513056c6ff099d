"""Whether the cost, which the agent lowers, and the reward, which it is judged by, mean the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger

from mbrl_agent.agent.replay import Episode
from mbrl_agent.types import Cost

FloatArray = NDArray[np.float64]

LEAST_CORRELATION = 0.1
"""A warning is given where the correlation is below this beyond doubt."""
ALIKE_STEPS = 8
"""Neighbouring steps of an episode resemble each other: so many count as one."""
LEAST_VARIATION = 0.1
"""Share of the steps that must have another reward, and another cost, than the most frequent one."""
ACTION_ALONE = 0.95
"""A reward that the action alone orders as well as this says nothing of the states."""


class CostCheck:
    """Log how cost and reward agree on the real episodes, and warn once where they do not."""

    def __init__(self) -> None:
        self._warned = False

    def __call__(
        self, cost: Cost, episodes: Sequence[Episode], logger: Logger, device: torch.device | str
    ) -> None:
        """Compare them on all steps so far; without enough of them nothing is said."""
        found = cost_reward_correlation(cost, episodes, device)
        if found is None:
            return
        correlation, steps = found
        logger.record("rollout/cost_reward_correlation", correlation)
        if disagree(correlation, steps) and not self._warned:
            self._warned = True
            warnings.warn(
                f"cost and reward disagree: over {steps} real steps, the rank correlation of the cost with "
                f"minus the reward is {correlation:.2f}, where 1 means that they order the steps alike and "
                "below 0 that what is cheap is rewarded less; the agent lowers the cost and never sees the "
                "reward: check the cost's sign, target, units and indices (or ignore this if they differ on "
                "purpose)",
                stacklevel=2,
            )


def cost_reward_correlation(
    cost: Cost, episodes: Sequence[Episode], device: torch.device | str = "cpu"
) -> tuple[float, int] | None:
    """Return Spearman's rank correlation between the cost of each real step and minus its reward.

    Args:
        cost: Of the state after a step, and the action.
        episodes: Those without rewards, and steps whose reward or cost is not finite, are left out.
        device: Where the cost is computed.

    Returns:
        The correlation and the number of steps; None where reward or cost hardly vary (sparse rewards), or
        the reward varies with the action alone (until the goal is reached, some tasks only penalise actions).
    """
    rewarded = [e for e in episodes if e.rewards is not None and len(e)]
    if not rewarded:
        return None
    states = np.concatenate([episode.observations[1:] for episode in rewarded])
    actions = np.concatenate([episode.actions for episode in rewarded])
    rewards = np.concatenate([np.asarray(episode.rewards, np.float64) for episode in rewarded])
    with torch.no_grad():
        costs = cost(
            torch.as_tensor(states, dtype=torch.float32, device=device),
            torch.as_tensor(actions, dtype=torch.float32, device=device),
        )
    values = costs.double().cpu().numpy()
    finite = np.isfinite(rewards) & np.isfinite(values)
    rewards, values, actions = _rounded(rewards[finite]), _rounded(values[finite]), actions[finite]
    if not (_varies(rewards) and _varies(values)) or _follows_action(rewards, actions):
        return None
    return rank_correlation(values, -rewards), len(rewards)


def disagree(correlation: float, steps: int) -> bool:
    """Tell whether even two standard errors above the estimate are below `LEAST_CORRELATION`.

    The standard error of a rank correlation of n independent pairs is about 1 / sqrt(n - 1).
    """
    independent = steps / ALIKE_STEPS
    return independent > 1 and correlation + 2 / math.sqrt(independent - 1) < LEAST_CORRELATION


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Compute Spearman's rank correlation of two samples (N), none constant; ties share their mean rank.

    Reference: Kendall and Gibbons, "Rank Correlation Methods", 1990.
    """
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 0, (N), of equal values the mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(counts) - 0.5 * (counts + 1))[inverse]
    return ranks


def _rounded(values: FloatArray) -> FloatArray:
    """Count in millionths of the large ones: what differs by less is a rounding error, and equal."""
    unit = 1e-6 * float(np.quantile(np.abs(values), 0.9)) if len(values) else 0.0
    return np.round(values / unit) if unit > 0 else values


def _varies(values: FloatArray) -> bool:
    """Tell whether enough steps have another value than the most frequent one."""
    if len(values) == 0:
        return False
    most_frequent = np.unique(values, return_counts=True)[1].max()
    return len(values) - int(most_frequent) >= max(1.0, LEAST_VARIATION * len(values))


def _follows_action(rewards: FloatArray, actions: FloatArray) -> bool:
    """Tell whether a quadratic function of each action orders the steps as the reward does.

    It is fitted to the rewards without the rare extremes, such as the one for reaching a goal.
    """
    low, high = np.quantile(rewards, (0.025, 0.975))
    design = np.concatenate([np.ones((len(rewards), 1)), actions, actions * actions], axis=1)
    usual = (rewards >= low) & (rewards <= high)
    if usual.sum() < 2 * design.shape[1]:
        return False
    coefficients = np.linalg.lstsq(design[usual], rewards[usual], rcond=None)[0]
    predicted = design @ coefficients
    return _varies(predicted) and rank_correlation(predicted, rewards) > ACTION_ALONE
