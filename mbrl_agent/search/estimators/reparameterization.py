"""Reparameterisation gradient (RP; pathwise derivative): differentiate the sampled trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mbrl_agent.search.adjoint import value_and_gradient
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters


@dataclass(frozen=True)
class Reparameterization(Estimator):
    """Backpropagate the expected cost through the whole rollout; works with every resampler.

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos, section 2.3.

    Example:
        >>> Reparameterization().validate(Gaussian())  # works with every strategy
    """

    name: ClassVar[str] = "reparameterization"

    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        trajectories, gradient = value_and_gradient(parameters, simulation)
        expected_cost = torch.stack([part.expected_cost() for part in trajectories]).sum(0)
        jitter = torch.stack([part.jittered() for part in trajectories]).sum(0)
        return GradientEstimate(gradient, expected_cost, {"jitter": jitter})
