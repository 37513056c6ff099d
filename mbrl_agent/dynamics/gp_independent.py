"""Particles that draw anew from the predictive variance at every step, with the derivatives written out.

With q the half squared distances to the N data in length-scales, k = kappa(q), and the Cholesky factor L of
the data's covariance, an input z has the mean and the variance

    f = k w,   v = s^2 - |L^-1 s^2 k|^2 + n^2.

Shapes: K targets, N data, F inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.dynamics.gp_kernels import Hyperparameters, Kernel, Shape
from mbrl_agent.features import AngleFeatures
from mbrl_agent.standardization import Scaling
from mbrl_agent.targets import IntegrationRule
from mbrl_agent.types import Prediction
from mbrl_agent.vjp import Gradients, PullBack, total


@dataclass(frozen=True)
class Posterior:
    """The posterior of K standardised functions, in the dtype in which it is followed.

    Attributes:
        shape: Of the kernel.
        distances: From (z, z^2, 1) to all half squared distances, (2 F + 1, K N).
        weights: w, (K, N).
        whitening: (L^-1 s^2)^T, (K, N, N).
        signal: s^2, (K).
        noise: n^2, (K).
    """

    shape: Shape
    distances: Tensor
    weights: Tensor
    whitening: Tensor
    signal: Tensor
    noise: Tensor

    @classmethod
    def of(
        cls, kernel: Kernel, hyperparameters: Hyperparameters, inputs: Tensor, targets: Tensor, like: Tensor
    ) -> Posterior:
        """Condition on data; the factor is taken in float64.

        Args:
            kernel: Without a linear part.
            hyperparameters: Of the K targets.
            inputs: (N, F), standardised, float64.
            targets: (K, N), standardised, float64.
            like: Of the dtype in which particles are followed.
        """
        points = inputs.expand(len(targets), -1, -1)
        covariance = hyperparameters.covariance(kernel, points, points)
        noise, signal = hyperparameters.noise_variance(), (2 * hyperparameters.log_signal).exp()
        factor = torch.linalg.cholesky(covariance + torch.diag_embed(noise[:, None].expand(points.shape[:2])))
        identity = torch.eye(len(inputs), dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        weights = torch.cholesky_solve(targets.unsqueeze(-1), factor).squeeze(-1)
        precision = (-2 * hyperparameters.log_lengthscales).exp()
        scaled = points * precision.unsqueeze(1)
        squares = (0.5 * precision).unsqueeze(1).expand_as(scaled)
        offset = 0.5 * (points * scaled).sum(-1, keepdim=True)
        rows = kernel.shape.unit * torch.cat([-scaled, squares, offset], dim=-1)  # (K, N, 2 F + 1)
        numbers = (
            rows.permute(2, 0, 1).flatten(1),
            signal[:, None] * weights,
            (signal[:, None, None] * inverse).mT,
            signal,
            noise,
        )
        return cls(kernel.shape, *(value.to(like).contiguous() for value in numbers))


class IndependentPredictor(Predictor):
    """Predict the mean and the standard deviation of each particle's next state.

    Args:
        features: What the model sees of a state.
        scaling: Of the features and actions.
        posterior: Of standardised functions.
        zero: (K), the mean change.
        unit: (K), the change that is one unit.
        integration: From predicted changes to next states.
    """

    def __init__(
        self,
        features: AngleFeatures,
        scaling: Scaling,
        posterior: Posterior,
        zero: Tensor,
        unit: Tensor,
        integration: IntegrationRule,
    ) -> None:
        self.features, self.scaling, self.posterior = features, scaling, posterior
        self.zero, self.unit, self.integration = zero, unit, integration

    def __call__(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict the next states; see `DynamicsModel.predict`."""
        return self.vjp(state, action, extra_noise)[0]

    def vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None
    ) -> tuple[Prediction, PullBack]:
        """Predict, and return the pull-back (by_mean, by_std) -> (by_state, by_action)."""
        known = self.posterior
        tasks = len(known.signal)
        seen = torch.cat([*self.features.parts(state), action], dim=-1)
        z = self.scaling(seen)
        products = torch.cat([z, z * z, torch.ones_like(z[..., :1])], dim=-1) @ known.distances
        rows = products.reshape(-1, tasks, known.weights.shape[1]).transpose(0, 1)  # (K, rows, N)
        kernel, slope = known.shape.value_and_slope(rows.clamp_min(0))
        whitened = torch.bmm(kernel, known.whitening)
        value = torch.bmm(kernel, known.weights.unsqueeze(-1)).squeeze(-1)  # (K, rows)
        left = (known.signal[:, None] - whitened.square().sum(-1)).clamp_min(0)
        deviation = (left + known.noise[:, None]).sqrt()
        shape = (*state.shape[:-1], tasks)
        change = (self.zero + self.unit * value.mT).view(shape)
        std = (self.unit * deviation.mT).view(shape)
        prediction, pull_back_next = self.integration.vjp(state, action, change, std)

        def pull_back(by_mean: Tensor, by_std: Tensor | None) -> Gradients:
            by_state, by_action, by_change, by_own_std = pull_back_next(by_mean, by_std)
            by_value = (by_change * self.unit).view(-1, tasks).mT
            by_kernel = by_value.unsqueeze(-1) * known.weights.unsqueeze(1)
            if by_own_std is not None:
                by_left = (by_own_std * self.unit).view(-1, tasks).mT / (2 * deviation) * (left > 0)
                pulled = torch.bmm((-2 * by_left).unsqueeze(-1) * whitened, known.whitening.mT)
                by_kernel = by_kernel + pulled
            by_rows = (by_kernel * slope).transpose(0, 1).reshape(products.shape)
            by_inputs, dims = by_rows @ known.distances.mT, z.shape[-1]
            by_z = torch.addcmul(by_inputs[..., :dims], z, by_inputs[..., dims : 2 * dims], value=2)
            by_seen, count = by_z * self.scaling.scale, self.features.feature_dims
            by_features = self.features.pull_back(seen[..., :count], by_seen[..., :count])
            return by_state + by_features, total(by_action, by_seen[..., count:])

        return prediction, pull_back
