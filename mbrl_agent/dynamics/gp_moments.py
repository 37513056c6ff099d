"""Gaussian processes with uncertain inputs: the moments of what they predict, as PILCO propagates them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.dynamics.gp_kernels import KERNELS, Hyperparameters
from mbrl_agent.gaussians.mapped import Mapped, pair_products, squared_exponentials
from mbrl_agent.standardization import Scaling, unscaled


@dataclass(frozen=True)
class GpMoments:
    """Posterior of K processes with squared-exponential kernels, ready for uncertain inputs; float64.

    All in the units of features, actions and changes: the standardisation is folded in.

    Attributes:
        centers: The inputs seen, (N, F + U).
        precisions: Inverse squared length-scales, (K, F + U); zero for what never varied.
        weights: s^2 (C + n^2 I)^-1 y, (K, N).
        products: Of the weights in second moments, see `pair_products`.
        signal: s^2, (K).
        zero: (K), the mean change.
    """

    centers: Tensor
    precisions: Tensor
    weights: Tensor
    products: Tensor
    signal: Tensor
    zero: Tensor

    @classmethod
    def of(
        cls,
        hyperparameters: Hyperparameters,
        inputs: Tensor,
        targets: Tensor,
        scaling: Scaling,
        zero: Tensor,
        unit: Tensor,
    ) -> GpMoments:
        """Condition on data.

        Args:
            hyperparameters: Of the K processes.
            inputs: (N, F + U), standardised.
            targets: (K, N), standardised.
            scaling: Of the inputs.
            zero: (K), the change that standardises to zero.
            unit: (K), the change that is one unit.
        """
        points = inputs.expand(len(targets), -1, -1)
        covariance = hyperparameters.covariance(KERNELS["se"], points, points)
        noise = hyperparameters.noise_variance()[:, None].expand(points.shape[:2])
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance + torch.diag_embed(noise)))
        signal = (2 * hyperparameters.log_signal).exp()
        weights = signal[:, None] * (inverse @ targets.unsqueeze(-1)).squeeze(-1) * unit[:, None]
        inner = (signal * unit).square()[:, None, None] * inverse
        return cls(
            unscaled(scaling, inputs),
            (-2 * hyperparameters.log_lengthscales).exp() * scaling.scale.square(),
            weights,
            pair_products(weights, inner),
            signal * unit.square(),
            zero,
        )

    def __call__(self, mean: Tensor, covariance: Tensor) -> Mapped:
        """Map features and actions to the changes that the functions predict, without the noise.

        Args:
            mean: (*R, F + U).
            covariance: (*R, F + U, F + U).
        """
        change = squared_exponentials(
            mean, covariance, self.centers, self.precisions, self.weights, self.products
        )
        return Mapped(change.mean + self.zero, change.covariance + torch.diag(self.signal), change.gain)
