"""Kernel tangent: leave the particles alone and smooth their derivatives over neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.gaussians import em
from mbrl_agent.options.validation import require_flag, require_positive
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.resampling.tangent import projection_basis
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack

SINKHORN_STEPS = 20


@dataclass(frozen=True)
class KernelTangent(Resampler):
    """Keep the particles, and replace their derivatives by an affine fit plus a local mean of the rest.

    z_i = x_i in value. The tangents v_i = dx_i/dtheta become

        v <- H v + (I - H) T (I - H) v,

    H the affine regression of `Tangent` with one component, and T a symmetric kernel of whitened states,
    exp(-|x_i - x_j|^2 / (2 width^2)), scaled by Sinkhorn's iteration so that rows and columns add up to one.
    Both are found without gradient, symmetric, and contractions, so that their combination is one. A very
    large width is `tangent:1`, a very small one `none`: width trades variance for bias.

    `mixes_particles` is False, as in `Tangent`, and for the same reason. This strategy is not from the
    literature: it was derived for this package.

    Raises:
        ValueError: `width` is not a finite number above zero.
        TypeError: `width` is not a number, or `wrap` not a truth value.

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> KernelTangent()(prediction, particles, torch.zeros(3, 1), None).particles.squeeze(-1)
        tensor([0., 2., 4.])
    """

    name: ClassVar[str] = "kernel-tangent"
    mixes_particles: ClassVar[bool] = False

    width: float = 0.5
    """Width of the kernel, in standard deviations of the particles."""
    wrap: bool = False
    """Whether angles are fitted on the turn of their circular mean, which the regression then sees."""

    def __post_init__(self) -> None:
        require_positive(self.called("width"), self.width)
        require_flag(self.called("wrap"), self.wrap)

    @property
    def exact_gradient(self) -> bool:
        """False: the values are those of the particles, the derivatives are not."""
        return False

    def min_particles(self, state_dims: int) -> int:
        """Require one more particle than an affine regression has coefficients."""
        return state_dims + 2

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Return the particles with smoothed derivatives, with equal weights. See `Resampler.__call__`."""
        smooth, jitter = self._smoother(particles)
        tangents = particles - particles.detach()  # zero in value
        kept = particles.detach() + smooth(tangents)
        return Resampled(kept, equal_weights(kept), jitter=jitter)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with its derivative: the smoother is symmetric. See `Resampler.vjp`."""
        smooth, jitter = self._smoother(particles)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            return None, None, smooth(by_particles), None

        return Resampled(particles, equal_weights(particles), jitter=jitter), pull_back

    @torch.no_grad()
    def _smoother(self, particles: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Compute the linear map of tangents (*R, P, D), and the jitter (*R)."""
        *shape, count, _ = particles.shape
        samples = em.standardise(particles.detach().reshape(-1, *particles.shape[-2:]))
        basis, jitter = projection_basis(samples, particles.new_zeros(math.prod(shape), 1, count))
        basis = basis.view(*shape, count, -1)
        kernel = doubly_stochastic(basis[..., 1:] * math.sqrt(count), self.width)

        def smooth(tangents: Tensor) -> Tensor:
            affine = basis @ (basis.mT @ tangents)
            local = kernel @ (tangents - affine)
            return affine + local - basis @ (basis.mT @ local)

        return smooth, jitter.view(torch.Size(shape))


def doubly_stochastic(points: Tensor, width: float) -> Tensor:
    """Scale a Gaussian kernel of points (*R, P, D) so that rows and columns add up to one: (*R, P, P).

    Sinkhorn's iteration in its symmetric form, d <- sqrt(d / (K d)), T = d K d.
    """
    kernel = (torch.cdist(points, points).square() / (-2 * width * width)).exp()
    scale = torch.ones_like(kernel[..., :1])
    for _ in range(SINKHORN_STEPS):
        scale = (scale / (kernel @ scale)).sqrt()
    return scale * kernel * scale.mT
