"""Second-order exact Gaussian resampling: draws whose sample moments are those of the particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.gaussians.moments import centred
from mbrl_agent.resampling.gaussian import Gaussian
from mbrl_agent.types import Prediction


@dataclass(frozen=True)
class ExactGaussian(Gaussian):
    """Replace the particles by draws that have exactly their mean and covariance.

    Also called: second-order exact sampling; the analysis step of an ensemble square-root filter.

        z_i = mu + L W (eps_i - mean eps),  L L^T = Sigma,  W = chol(cov eps)^-1,

    with mu and Sigma as in `Gaussian`. Gaussian resampling adds sampling error of order 1 / sqrt(P) to the
    moments at every step, a random walk over the horizon; here there is none. The noise is whitened without
    gradient, everything else is differentiated.

    Raises:
        ValueError: `moments` is neither "particles" nor "predictions".
        TypeError: `moments` is not a string, or `wrap` not a truth value.

    Reference:
        Pham (2001), Stochastic Methods for Sequential Data Assimilation in Strongly Nonlinear Systems.

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> noise = torch.tensor([[0.5], [-1.0], [3.0]])
        >>> drawn = ExactGaussian()(prediction, particles, noise, None).particles
        >>> round(float(drawn.mean()), 3), round(float(drawn.std()), 3)
        (2.0, 2.0)
    """

    name: ClassVar[str] = "exact-gaussian"

    def prepare(self, noise: Tensor, prediction: Prediction, particles: Tensor) -> Tensor:
        """Whiten the noise."""
        return whiten(noise)


@torch.no_grad()
def whiten(noise: Tensor) -> Tensor:
    """Give standard-normal noise (*R, P, D) the sample mean zero and the sample covariance identity.

    Noise that has no covariance of full rank (too few different particles) keeps what it has: it is centred
    only.
    """
    _, deviation = centred(noise)
    covariance = deviation.mT @ deviation / (noise.shape[-2] - 1)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    white = torch.linalg.solve_triangular(factor.mT, deviation, upper=True, left=False)
    return torch.where((failed > 0)[..., None, None], deviation, white)
