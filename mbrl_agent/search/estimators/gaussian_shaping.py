"""Gaussian shaping gradient (GS): the likelihood ratio of the state distribution's two moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.gaussians.cholesky import robust_cholesky
from mbrl_agent.gaussians.moments import particle_moments
from mbrl_agent.search.estimators.credit import (
    OwnCreditEstimator,
    advantage,
    cost_to_go,
    likelihood_ratio_gradient,
)
from mbrl_agent.search.rollout import Noise, Simulation
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
    what it is credited by; for a quadratic cost the gradient is then unbiased. Particles that have ended
    are left out of the moments and credited with their own cost. Works with resampling "none".

    Reference:
        Parmas (2018), Total Stochastic Gradient Algorithms and Applications in Reinforcement Learning.

    Example:
        >>> GaussianShaping().validate(NoResampling())
    """

    name: ClassVar[str] = "gaussian-shaping"

    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        with torch.no_grad():
            trajectory = simulation(parameters)
        # what the cost sees: a later action is a consequence of an earlier step, too
        points = torch.cat([trajectory.states[1:], trajectory.actions], dim=-1)  # (T, *R, P, D + U)
        ended = None if trajectory.ended is None else trajectory.ended[:-1]
        credit = torch.empty_like(trajectory.costs)
        # even and odd particles: contiguous halves would belong to different members of an ensemble
        for own, other in ((0, 1), (1, 0)):
            half = _Half.of(simulation, points, ended, other)
            shaped = half.credit(points[..., own::2, :])
            if ended is not None:
                is_shaped = half.is_fitted & ~ended[..., own::2]
                shaped = torch.where(is_shaped, shaped + half.constant, trajectory.costs[..., own::2])
            credit[..., own::2] = advantage(cost_to_go(shaped))
        return likelihood_ratio_gradient(parameters, simulation, trajectory, credit)

    def min_particles(self, state_dims: int, action_dims: int) -> int:
        """Require in each half as many as a covariance of states and actions."""
        return 2 * (state_dims + action_dims + 2)


@dataclass(frozen=True)
class _Half:
    """The Gaussians fitted to one half of the particles at every step, and their expected cost.

    Attributes:
        mean: mu, (T, *R, 1, D + U).
        by_mean: c_mu, (T, *R, 1, D + U).
        by_covariance: c_Sigma, (T, *R, D + U, D + U).
        constant: C - c_Sigma : Sigma with C the expected cost, (T, *R, 1).
        is_fitted: (T, *R, 1), whether enough particles had not ended.
    """

    mean: Tensor
    by_mean: Tensor
    by_covariance: Tensor
    constant: Tensor
    is_fitted: Tensor

    @classmethod
    def of(cls, simulation: Simulation, points: Tensor, ended: Tensor | None, first: int) -> _Half:
        """Fit every second particle.

        Args:
            simulation: Gives the cost, the number of state dimensions, and normal numbers.
            points: (T, *R, P, D + U), states and the actions before them.
            ended: (T, *R, P), particles to leave out; None for none.
            first: 0 or 1.
        """
        dims, columns = simulation.initial_particles.shape[-1], points.shape[-1]
        half = points[..., first::2, :]
        living = torch.ones_like(half[..., 0], dtype=torch.bool) if ended is None else ~ended[..., first::2]
        moments = particle_moments(half) if ended is None else _moments(half, living)
        mean, covariance = (moment.requires_grad_() for moment in moments)
        with torch.enable_grad():
            factor, _ = robust_cholesky(covariance)
            drawn = mean + _normals(simulation.noise, columns, first) @ factor.mT
            expected = simulation.cost(drawn[..., :dims], drawn[..., dims:]).mean(-1, keepdim=True)
            by_mean, by_covariance = torch.autograd.grad(expected.sum(), (mean, covariance))
        by_covariance = 0.5 * (by_covariance + by_covariance.mT)
        product = (by_covariance * covariance.detach()).sum((-2, -1)).unsqueeze(-1)
        is_fitted = living.sum(-1, keepdim=True) >= columns + 2
        return cls(mean.detach(), by_mean, by_covariance, expected.detach() - product, is_fitted)

    def credit(self, points: Tensor) -> Tensor:
        """Return what points (T, *R, N, D + U) do to the expected cost, (T, *R, N), but for `constant`."""
        centred = points - self.mean
        linear = (centred * self.by_mean).sum(-1)
        # x x^T - 2 x mu^T is (x - mu)(x - mu)^T but for a constant, which the baseline removes
        quadratic = ((centred @ self.by_covariance) * centred).sum(-1)
        return linear + quadratic


def _normals(noise: Noise, columns: int, first: int) -> Tensor:
    """Draw standard normals for every second particle, (T, *R, N, columns).

    They are those that resampling "none" is given and leaves alone. Where a strategy asks for none, they
    are what the model does with the same particles one step later, which is independent of their states.
    """
    source = noise.resampling if noise.resampling.shape[-1] else noise.model.roll(-1, 0)
    source = source[..., first::2, :]
    # for more columns than a particle has, those of its neighbours
    shifts = range(-(-columns // source.shape[-1]))
    return torch.cat([source.roll(shift, -2) for shift in shifts], dim=-1)[..., :columns]


def _moments(points: Tensor, living: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance as `particle_moments`, of the points (..., N, C) that live, (..., N)."""
    share = living.unsqueeze(-1).to(points.dtype)
    count = share.sum(-2, keepdim=True)
    mean = (points * share).sum(-2, keepdim=True) / count.clamp_min(1)
    centred = (points - mean) * share
    return mean, centred.mT @ centred / (count - 1).clamp_min(1)
