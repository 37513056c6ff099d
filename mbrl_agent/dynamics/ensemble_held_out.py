"""What the members of an ensemble have not seen tells when to stop their fit, and how noisy the data are.

Networks that are fitted to some tens of transitions by maximum likelihood are sure of the noise that they
have learned by heart. Each member leaves some transitions out, and every transition is left out by one: so
all of the data judge the networks, at no cost, since a fit predicts all of them for all members anyway.

Reference:
    Stone (1974), Cross-Validatory Choice and Assessment of Statistical Predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor

FEWEST_FOLDS = 5
"""Parts of the data of which a member leaves one out, or as many as there are members."""

NORMAL_MEDIAN = NormalDist().inv_cdf(0.75)
"""Median of the absolute value of a standard normal number."""


def folds(members: int, count: int, generator: torch.Generator) -> Tensor:
    """Deal transitions out to the members that leave them out: (E, N), of torch.bool.

    Args:
        members: E; fewer than FEWEST_FOLDS leave a part of the data to nobody.
        count: N.
        generator: Source of the deal.
    """
    order = torch.randperm(count, generator=generator, device=generator.device)
    part = order % max(members, FEWEST_FOLDS)
    return part == torch.arange(members, device=generator.device).unsqueeze(-1)


class HeldOut:
    """Remember the networks at the time when their error on transitions that they have not seen was least.

    Args:
        unseen: (E, N), whether a member leaves a transition out.
        shares: (K), of each target in the error; zero for one that never varies.
        parameters: Of the networks at first.
    """

    def __init__(self, unseen: Tensor, shares: Tensor, parameters: Sequence[Tensor]) -> None:
        self._unseen = unseen.unsqueeze(-1).to(shares)
        self._shares = shares
        self._least = shares.new_full((), torch.inf)
        self.parameters = [value.detach().clone() for value in parameters]

    @torch.no_grad()
    def look(self, error: Tensor, parameters: Sequence[Tensor]) -> None:
        """Keep the parameters, if no earlier ones had a smaller error.

        What counts is the geometric mean over the targets of their root mean squares, so that a noisy one
        does not hide the others.

        Args:
            error: (E, N, K), of the networks' means at these parameters, standardised.
            parameters: Of the networks.
        """
        squares = self._mean(error.square())
        size = squares.clamp_min(torch.finfo(squares.dtype).tiny).log() @ self._shares
        better = size <= self._least  # (where nothing is held out, the latest)
        self._least = torch.where(better, size, self._least)
        for kept, value in zip(self.parameters, parameters, strict=True):
            kept.copy_(torch.where(better, value, kept))  # (a branch would wait for a GPU)

    @torch.no_grad()
    def noise_factor(self, error: Tensor, log_std: Tensor) -> Tensor:
        """Tell by what factor the networks underestimate the noise of unseen data: (K), at least 1.

        It is a median: what a member misses by far is less often noise than what it has not learned, and
        there the members disagree.

        Args:
            error: (E, N, K), of the networks' means.
            log_std: (E, N, K), their log standard deviations.
        """
        scaled = (error * (-log_std).exp()).abs()[self._unseen.squeeze(-1) > 0]
        if not len(scaled):
            return torch.ones_like(self._shares)
        return (scaled.median(0).values / NORMAL_MEDIAN).clamp_min(1.0)

    def _mean(self, values: Tensor) -> Tensor:
        """Return the mean over what was held out: (E, N, K) -> (K)."""
        return (values * self._unseen).sum((0, 1)) / self._unseen.sum().clamp_min(1)
