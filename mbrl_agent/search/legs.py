"""The legs of a search: runs of gradient steps with the same candidates, and what ends one.

Successive halving (Jamieson, Talwalkar 2016) divides the steps of a search into as many legs of equal
length as it takes to halve the candidates to one. After each leg the worse half of them is left where it
is. A leg ends sooner where the predicted cost has stopped falling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mbrl_agent.search.gradient_step import StepResult


@dataclass(frozen=True)
class Leg:
    """Gradient steps of the same candidates.

    Attributes:
        candidates: Their indices, of R.
        first: Number of its first step in the search.
        results: One a step.
    """

    candidates: list[int]
    first: int = 0
    results: list[StepResult] = field(default_factory=list)

    def followed_by(self, kept: list[int]) -> Leg:
        """The next leg, of some of the candidates, by their positions among those of this one."""
        return Leg([self.candidates[position] for position in kept], self.first + len(self.results))

    def spread(self, name: str, replicates: int) -> Tensor:
        """What the steps found under a name: (steps, R), nan for candidates that were left behind."""
        values = torch.stack([getattr(result, name) for result in self.results])
        kind = values.dtype if values.is_floating_point() else torch.float64
        found = values.new_full((len(values), replicates), torch.nan, dtype=kind)
        found[:, self.candidates] = values.to(kind)
        return found


def leg_lengths(steps: int, candidates: int, halving: bool) -> list[int]:
    """Gradient steps of each leg of a search.

    Example:
        >>> leg_lengths(steps=200, candidates=4, halving=True)
        [67, 67, 66]
    """
    legs = min(steps, 1 + math.ceil(math.log2(candidates))) if halving else 1
    return [steps // legs + (leg < steps % legs) for leg in range(legs)]


def better_half(costs: Tensor) -> list[int]:
    """Positions of the lower half of some costs, rounded up, in their order; of equal ones the first."""
    count = (len(costs) + 1) // 2
    return sorted(costs.argsort(stable=True)[:count].tolist())


def is_flat(results: Sequence[StepResult], window: int) -> bool:
    """Whether the predicted cost has stopped falling.

    It has, where the mean over the latest `window` steps is not lower, by more than the standard error of
    the difference, than that over as many steps before. Of several candidates the one whose latest mean
    is the lowest is asked. Fresh noise in every step makes the costs nearly independent; with common noise
    the standard error shrinks to what the costs themselves vary.

    Args:
        results: Of the steps of a leg.
        window: W; what is flat is asked after every W steps, from 2 W on.
    """
    if window < 1 or len(results) < 2 * window or len(results) % window:
        return False
    costs = torch.stack([result.expected_cost for result in results[-2 * window :]])  # (2 W, R)
    before, after = costs.double().view(2, window, -1).unbind(0)
    best = int(after.mean(0).nan_to_num(torch.inf).argmin())
    variances = before[:, best].var() + after[:, best].var() if window > 1 else torch.zeros(())
    fall = before[:, best].mean() - after[:, best].mean()
    return not bool(fall > (variances / window).sqrt())
