"""Gaussian shaping gradient (GS): the likelihood ratio of the state distribution's two moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.estimators.credit import OwnCreditEstimator, advantage, cost_to_go, likelihood_ratio_gradient
from mbrl_agent.resampling.cholesky import robust_cholesky
from mbrl_agent.resampling.moments import particle_moments
from mbrl_agent.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters


@dataclass(frozen=True)
class GaussianShaping(OwnCreditEstimator):
    """Credit a particle with what it does to the mean and covariance of its time step.

    States and actions of a step are summarised by a Gaussian N(mu, Sigma), whose expected cost has the
    derivatives c_mu and c_Sigma. Particle i is credited, instead of with its own cost, with

        c_mu . (x_i - mu) + c_Sigma : [(x_i x_i^T - mean x x^T) - 2 (x_i - mu) mu^T].

    It smooths the cost as Gaussian resampling does and leaves the particles alone. Where the state
    distribution is not Gaussian, the gradient is that of the smoothed cost: biased. The particles are
    split into two halves, each credited by the moments of the other, so that a particle does not enter
    what it is credited by; for a quadratic cost the gradient is then unbiased. Works with resampling
    "none".

    Reference:
        Parmas (2018), Total Stochastic Gradient Algorithms and Applications in Reinforcement Learning.
    """

    name: ClassVar[str] = "gaussian-shaping"

    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        with torch.no_grad():
            trajectory = simulation(parameters)
        # what the cost sees: a later action is a consequence of an earlier step, too
        points = torch.cat([trajectory.states[1:], trajectory.actions], dim=-1)  # (T, *R, P, D + U)
        credit = torch.empty_like(trajectory.costs)
        # even and odd particles: contiguous halves would belong to different members of an ensemble
        for own, other in ((0, 1), (1, 0)):
            half, noise = points[..., own::2, :], simulation.noise.resampling[..., other::2, :]
            by_mean, by_covariance, mean = _moment_derivatives(simulation, points[..., other::2, :], noise)
            centred = half - mean
            linear = (centred * by_mean).sum(-1)
            # x x^T - 2 x mu^T is (x - mu)(x - mu)^T but for a constant, which the baseline removes
            quadratic = ((centred @ by_covariance) * centred).sum(-1)
            credit[..., own::2] = advantage(cost_to_go(linear + quadratic))
        return likelihood_ratio_gradient(parameters, simulation, trajectory, credit)


def _moment_derivatives(
    simulation: Simulation, points: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of the expected cost of every step's fitted Gaussian.

    Args:
        simulation: Gives the cost and the number of state dimensions.
        points: (T, *R, N, D + U), states and the actions before them, to which the Gaussians are fitted.
        noise: (T, *R, N, D), with which they are sampled.

    Returns:
        c_mu (T, *R, 1, D + U), c_Sigma (T, *R, D + U, D + U), mu (T, *R, 1, D + U).
    """
    dims = noise.shape[-1]
    mean, covariance = (moment.requires_grad_() for moment in particle_moments(points))
    # for more columns than a particle has, those of its neighbours
    normals = torch.cat([noise.roll(shift, -2) for shift in range(-(-points.shape[-1] // dims))], dim=-1)
    with torch.enable_grad():
        factor, _ = robust_cholesky(covariance)
        drawn = mean + normals[..., : points.shape[-1]] @ factor.mT
        expected = simulation.cost(drawn[..., :dims], drawn[..., dims:]).mean(-1).sum()
        by_mean, by_covariance = torch.autograd.grad(expected, (mean, covariance))
    return by_mean, 0.5 * (by_covariance + by_covariance.mT), mean.detach()
