"""Reparameterisation gradient (RP; pathwise derivative): differentiate the sampled trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mbrl_agent.estimators.base import Estimator
from mbrl_agent.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters


@dataclass(frozen=True)
class Reparameterization(Estimator):
    """Backpropagate the expected cost through the whole rollout; works with every resampler.

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos, section 2.3.
    """

    name: ClassVar[str] = "reparameterization"

    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            trajectory = simulation(leaves)
            expected_cost = trajectory.expected_cost()
            # replicates are independent, so the gradient of their sum is each one's own gradient
            gradient = torch.autograd.grad(expected_cost.sum(), list(leaves.values()))
        return GradientEstimate(
            dict(zip(leaves, gradient, strict=True)),
            expected_cost.detach(),
            {"jitter": trajectory.jittered()},
        )
