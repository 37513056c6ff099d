"""The legs of a search: runs of gradient steps with the same candidates, what ends one, and their report.

Successive halving (Jamieson, Talwalkar 2016) divides the steps of a search into as many legs of equal
length as it takes to halve the candidates to one. After each leg the worse half of them is left where it
is. A leg ends sooner where the predicted cost has stopped falling.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mbrl_agent.search.gradient_step import MAX_SKIPPED, StepResult


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
        """Return the next leg, of some of the candidates, by their positions among those of this one."""
        return Leg([self.candidates[position] for position in kept], self.first + len(self.results))

    def spread(self, name: str, replicates: int) -> Tensor:
        """Return what the steps found under a name: (steps, R), nan for candidates that were left behind."""
        values = torch.stack([getattr(result, name) for result in self.results])
        kind = values.dtype if values.is_floating_point() else torch.float64
        found = values.new_full((len(values), replicates), torch.nan, dtype=kind)
        found[:, self.candidates] = values.to(kind)
        return found


@dataclass(frozen=True)
class SearchReport:
    """What one search did.

    Attributes:
        parameters: The improved parameters, with the leading axis R of the candidates.
        expected_cost: (steps, R), before each step, over the horizon; nan once a candidate is left behind.
        grad_norm: (steps, R), before clipping; likewise.
        steps: Gradient steps of each candidate until it was left behind, or the search ended.
        skipped: Steps of single candidates that were skipped because something was not finite.
        stalled: Candidates that failed so `MAX_SKIPPED` times in a row; they keep their last good parameters.
        jitter: Cholesky factorisations that needed more than the base jitter.
    """

    parameters: dict[str, Tensor]
    expected_cost: Tensor
    grad_norm: Tensor
    steps: list[int]
    skipped: int
    stalled: int
    jitter: int


def leg_lengths(steps: int, candidates: int, halving: bool) -> list[int]:
    """Return the gradient steps of each leg of a search.

    Example:
        >>> leg_lengths(steps=200, candidates=4, halving=True)
        [67, 67, 66]
    """
    legs = min(steps, 1 + math.ceil(math.log2(candidates))) if halving else 1
    return [steps // legs + (leg < steps % legs) for leg in range(legs)]


def better_half(costs: Tensor) -> list[int]:
    """Find the lower half of some costs, rounded up, in their order; of equal ones the first."""
    count = (len(costs) + 1) // 2
    return sorted(costs.argsort(stable=True)[:count].tolist())


def is_flat(results: Sequence[StepResult], window: int) -> bool:
    """Tell whether the predicted cost has stopped falling.

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
    return bool(fall <= (variances / window).sqrt())  # (false for costs that are not finite)


def report(improved: dict[str, Tensor], legs: list[Leg], planned: int) -> SearchReport:
    """Report what a search did, up to the step at which it ended; later ones have changed nothing."""
    replicates = len(next(iter(improved.values())))
    last = torch.stack([result.failures for result in legs[-1].results])
    taken = min(len(last), int((last < MAX_SKIPPED).any(1).sum()) + 1)
    legs[-1] = replace(legs[-1], results=legs[-1].results[:taken])
    if bool((last[taken - 1] >= MAX_SKIPPED).all()):
        warnings.warn(
            f"policy search ended at step {legs[-1].first + taken} of {planned}: the costs or the gradients "
            f"of all candidates were not finite {MAX_SKIPPED} times in a row; the last good ones are kept",
            stacklevel=3,
        )
    failures = torch.cat([leg.spread("failures", replicates) for leg in legs])
    return SearchReport(
        improved,
        torch.cat([leg.spread("expected_cost", replicates) for leg in legs]),
        torch.cat([leg.spread("grad_norm", replicates) for leg in legs]),
        steps=(~failures.isnan()).sum(0).tolist(),
        skipped=int((failures > 0).sum()),
        stalled=int((failures >= MAX_SKIPPED).any(0).sum()),
        jitter=sum(int(result.jitter.sum()) for leg in legs for result in leg.results),
    )
