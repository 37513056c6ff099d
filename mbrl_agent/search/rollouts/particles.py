"""Particles: a sample of the belief, which the model carries on particle by particle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.initial_states import StartDistribution
from mbrl_agent.search.rollouts.base import Rollout


@dataclass(frozen=True)
class Particles(Rollout):
    """Sample the model, and resample between two steps as the strategy says.

    Works with every model, policy, strategy and gradient estimator.

    Example:
        >>> str(Particles())
        'particles'
    """

    name: ClassVar[str] = "particles"

    def gradient(self, estimator: Estimator, start: StartDistribution) -> Estimator:
        """Give the estimator itself."""
        return estimator
