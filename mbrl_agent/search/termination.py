"""Particles that have ended: they stay where they are and pay their last cost until the horizon.

A strategy that mixes particles must not see them. Their slots are filled with particles that go on, in
proportion to the weights of these, and what is simulated there is discarded at the end of the step: it
only adds to the moments that the strategy fits. Nothing here depends on how many have ended, so that
a step can be captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.vjp import Gradients, PullBack, by_autograd

Carry = Callable[[Tensor, Tensor], Tensor]
"""As `Resampler.carry`."""


def survivors(ended: Tensor, weights: Tensor) -> Tensor:
    """Return which particle each slot holds for the length of a step.

    The slots of particles that go on hold their own. The others are dealt out at equal distances along
    the cumulative weights of those that go on (systematic resampling). Where all have ended, nothing
    that happens in the slots matters.

    Args:
        ended: (*R, P) bool.
        weights: (*R, P), shares of the expected cost.

    Returns:
        (*R, P), indices of slots.
    """
    order = ended.to(torch.uint8).argsort(dim=-1, stable=True)  # those that go on come first
    mass = weights.detach().masked_fill(ended, 0.0).take_along_dim(order, -1).cumsum(-1)
    rank, total = ended.cumsum(-1), ended.sum(-1, keepdim=True)
    level = mass[..., -1:] * ((rank - 0.5) / total.clamp_min(1))
    last = (ended.shape[-1] - 1 - total).clamp_min(0)
    place = torch.minimum(torch.searchsorted(mass, level.clamp_min(0.0)), last)
    own = torch.arange(ended.shape[-1], device=ended.device)
    return torch.where(ended, order.take_along_dim(place, -1), own)


@dataclass(frozen=True)
class Fill:
    """Fill the slots of particles that have ended with particles that go on.

    Attributes:
        carry: Lets what the resampler carries follow the particles.
    """

    carry: Carry

    def __call__(
        self, particles: Tensor, carried: Tensor | None, ended: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the particles (*R, P, D) to simulate, and what the resampler carries to them."""
        index = survivors(ended, weights)
        followed = None if carried is None else self.carry(carried, index)
        return particles.take_along_dim(index.unsqueeze(-1), -2), followed

    def vjp(
        self, particles: Tensor, carried: Tensor | None, ended: Tensor, weights: Tensor
    ) -> tuple[tuple[Tensor, Tensor | None], PullBack]:
        """Do the same, and return the pull-back (by_particles, by_carried) -> (by_particles, by_carried)."""
        index = survivors(ended, weights)
        followed, follow_back = None, None
        if carried is not None:
            (followed,), follow_back = by_autograd(lambda state: (self.carry(state, index),), carried)

        def pull_back(by_filled: Tensor, by_followed: Tensor | None) -> Gradients:
            places = index.unsqueeze(-1).expand_as(by_filled)
            by_particles = torch.zeros_like(by_filled).scatter_add(-2, places, by_filled)
            return by_particles, None if follow_back is None else follow_back(by_followed)[0]

        return (particles.take_along_dim(index.unsqueeze(-1), -2), followed), pull_back


def share(weights: Tensor, ended: Tensor, before: Tensor) -> Tensor:
    """Divide the weight among the particles.

    A particle that has ended keeps the weight that it had then; those that go on share the rest in
    proportion to the weights that the resampler gave them:

        W_i = M w_i / sum_j w_j,  M = 1 - sum of the weights of those that have ended

    Args:
        weights: w, (*R, P).
        ended: (*R, P) bool.
        before: W of the step before, (*R, P).
    """
    return share_vjp(weights, ended, before)[0]


def share_vjp(weights: Tensor, ended: Tensor, before: Tensor) -> tuple[Tensor, PullBack]:
    """Do the same, and return the pull-back by_W -> (by_w, by_M), by_M (*R, 1)."""
    living = weights.masked_fill(ended, 0.0)
    total = living.sum(-1, keepdim=True)
    total = torch.where(total > 0, total, 1.0)
    scale = before.masked_fill(ended, 0.0).sum(-1, keepdim=True) / total

    def pull_back(by_shares: Tensor) -> Gradients:
        by_mass = (by_shares * living).sum(-1, keepdim=True) / total
        return ((by_shares - by_mass) * scale).masked_fill(ended, 0.0), by_mass

    return torch.where(ended, before, living * scale), pull_back


@dataclass(frozen=True)
class Ending:
    """What a rollout needs to know about particles that end.

    Attributes:
        terminated: States (..., D) -> whether an episode ends there, (...) bool.
        fill: As `Fill.__call__`.
        share: As the function `share`.
    """

    terminated: Callable[[Tensor], Tensor]
    fill: Callable[[Tensor, Tensor | None, Tensor, Tensor], tuple[Tensor, Tensor | None]]
    share: Callable[[Tensor, Tensor, Tensor], Tensor]


def times_paid(ended: Tensor, steps_after: int = 0) -> Tensor:
    """Return how often the cost of every step counts.

    A step that a particle did not take does not count; the one at whose end it ended counts for all that
    are left, too. No derivative then has to pass through a particle that stands still.

    Args:
        ended: (T + 1, *R, P) bool, whether each particle has ended before, and after, each step.
        steps_after: Steps of the rollout that follow on these.

    Returns:
        (T, *R, P), whole numbers.
    """
    steps = len(ended) - 1
    left = torch.arange(steps - 1, -1, -1, device=ended.device) + steps_after
    left = left.view(-1, *[1] * (ended.ndim - 1))
    return torch.where(ended[:-1], 0, 1 + left * ended[1:])
