"""Likelihood-ratio gradient (LR; score function, REINFORCE) through the model's own noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mbrl_agent.search.estimators.credit import (
    OwnCreditEstimator,
    advantage,
    cost_to_go,
    likelihood_ratio_gradient,
)
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters


@dataclass(frozen=True)
class LikelihoodRatio(OwnCreditEstimator):
    """Credit each predicted step with the cost that followed it, less the other particles' mean.

        (1/P) sum_i sum_t grad log p(x_{i,t+1} | x_{i,t}, u_{i,t}) (G_{i,t} - b_{i,t})

    Nothing is differentiated through time, so chaos does not reach it; its variance grows as the
    model's noise shrinks. Works with resampling "none".

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos, section 3.1.

    Example:
        >>> LikelihoodRatio().validate(Gaussian())
        Traceback (most recent call last):
            ...
        ValueError: estimator 'likelihood-ratio' credits each particle with its own future cost...
    """

    name: ClassVar[str] = "likelihood-ratio"

    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        with torch.no_grad():
            trajectory = simulation(parameters)
        credit = advantage(cost_to_go(trajectory.costs))
        return likelihood_ratio_gradient(parameters, simulation, trajectory, credit)
