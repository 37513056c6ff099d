"""Draws of functions from the posterior of Gaussian processes, and the particles that follow them.

By pathwise conditioning (Matheron's rule) a draw of the posterior function is

    f(z) = Phi(z) w + k(z, Z) v,   v = (K + n^2 I)^-1 (y - Phi(Z) w - e),   w ~ N(0, I),  e ~ N(0, n^2 I)

with random Fourier features Phi of the prior: evaluated anywhere at a cost linear in the data, and the same
function at every step of a rollout. A step of all particles is one matrix product, an elementwise cosine,
sine and power of two, and sums; the way back is one more product.

Reference:
    Wilson, Borovitskiy, Terenin, Mostowsky, Deisenroth (2020), Efficiently Sampling Functions from Gaussian
    Process Posteriors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
class FunctionDraws:
    """M draws of K functions each: f(z) = cos(z W) c + sin(z W) s + k(z, Z) v + z b, without s^2 in k.

    Attributes:
        frequencies: W, (K, F, J), shared by all draws of a function.
        cosines: c, (M, K, J).
        sines: s, (M, K, J).
        corrections: v, (M, K, N), times the variance of the signal.
        slopes: b, (M, K, F); zero columns where the kernel has no linear part.
    """

    frequencies: Tensor
    cosines: Tensor
    sines: Tensor
    corrections: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class PosteriorFunctions:
    """Draws and what they are drawn from, in the dtype in which they are followed.

    Attributes:
        shape: Of the kernel.
        inputs: Z, (N, F), standardised.
        inverse_lengthscales: (K, F).
        draws: Of standardised functions.
    """

    shape: Shape
    inputs: Tensor
    inverse_lengthscales: Tensor
    draws: FunctionDraws


@dataclass(frozen=True)
class ChangeScale:
    """From standardised functions to predicted changes.

    Attributes:
        mean: (K), added.
        unit: (K), of the functions.
        noise: (K), standard deviation of a change about its function.
    """

    mean: Tensor
    unit: Tensor
    noise: Tensor


@dataclass(frozen=True)
class FunctionPosterior:
    """K Gaussian processes given their data: what functions are drawn from; float64.

    Attributes:
        kernel: Covariance function.
        hyperparameters: Of the K targets.
        inputs: Z, (N, F), standardised.
        targets: y, (K, N), standardised.
        factor: Cholesky factor of K + n^2 I, (K, N, N).
    """

    kernel: Kernel
    hyperparameters: Hyperparameters
    inputs: Tensor
    targets: Tensor
    factor: Tensor

    @classmethod
    def of(
        cls, kernel: Kernel, hyperparameters: Hyperparameters, inputs: Tensor, targets: Tensor
    ) -> FunctionPosterior:
        """Condition on data."""
        points = inputs.expand(len(targets), -1, -1)
        noise = hyperparameters.noise_variance()[:, None].expand(points.shape[:2])
        covariance = hyperparameters.covariance(kernel, points, points) + torch.diag_embed(noise)
        return cls(kernel, hyperparameters, inputs, targets, torch.linalg.cholesky(covariance))

    def draw(self, functions: int, features: int, generator: torch.Generator) -> FunctionDraws:
        """Draw functions of all targets.

        Args:
            functions: M.
            features: Random Fourier features of a function, half of them cosines.
            generator: Source of all randomness.
        """
        inputs, hyperparameters, linear = self.inputs, self.hyperparameters, self.kernel.linear
        tasks, (count, dims), half = len(self.targets), inputs.shape, -(-features // 2)

        def normal(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
            return drawn.to(inputs.device)

        frequencies = self.kernel.shape.frequencies(normal(tasks, dims, half), normal(tasks, 5, half))
        frequencies = frequencies * (-hyperparameters.log_lengthscales).exp().unsqueeze(-1)
        scale = hyperparameters.log_signal.exp().view(1, -1, 1) / math.sqrt(half)
        cosines, sines = scale * normal(functions, tasks, half), scale * normal(functions, tasks, half)
        angles = inputs @ frequencies  # (K, N, J)
        prior = torch.einsum("knj,mkj->mkn", angles.cos(), cosines)
        prior = prior + torch.einsum("knj,mkj->mkn", angles.sin(), sines)
        slopes = inputs.new_zeros(functions, tasks, dims if linear else 0)
        if linear:
            slopes = hyperparameters.log_slopes.exp() * normal(functions, tasks, dims)
            prior = prior + slopes @ inputs.mT
        noise = hyperparameters.noise_variance()[:, None].sqrt() * normal(functions, tasks, count)
        residual = (self.targets - prior - noise).permute(1, 2, 0)  # (K, N, M)
        corrections = torch.cholesky_solve(residual, self.factor).permute(2, 0, 1)
        if linear:
            slopes = slopes + (2 * hyperparameters.log_slopes).exp() * (corrections @ inputs)
        signal = (2 * hyperparameters.log_signal).exp().view(1, -1, 1)
        return FunctionDraws(frequencies, cosines, sines, signal * corrections, slopes)


class DrawsPredictor(Predictor):
    """Predict each particle's next state by the function that it follows: particle i by i * M // P.

    Args:
        features: What the model sees of a state.
        scaling: Of the features and the actions, (F).
        functions: That were drawn.
        change: From their values to predicted changes.
        integration: From predicted changes to next states.
    """

    def __init__(
        self,
        features: AngleFeatures,
        scaling: Scaling,
        functions: PosteriorFunctions,
        change: ChangeScale,
        integration: IntegrationRule,
    ) -> None:
        self.features, self.scaling, self.shape = features, scaling, functions.shape
        self.mean, self.noise, self.integration = change.mean, change.noise, integration
        draws = functions.draws
        self._waves = draws.frequencies.shape[-1]
        self._basis = _basis(functions)
        coefficients = (draws.cosines, draws.sines, draws.corrections, draws.slopes)
        self._coefficients = [values * change.unit[:, None] for values in coefficients]
        self._dealt: dict[int, list[Tensor]] = {}

    def __call__(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict the next states; see `DynamicsModel.predict`."""
        return self.vjp(state, action, extra_noise)[0]

    def vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None
    ) -> tuple[Prediction, PullBack]:
        """Predict, and return the pull-back (by_mean, by_std) -> (by_state, by_action)."""
        seen = torch.cat([*self.features.parts(state), action], dim=-1)  # (*R, P, F)
        z = self.scaling(seen)
        value, pull_back_value = self._functions(z)
        change = self.mean + value
        prediction, pull_back_next = self.integration.vjp(state, action, change, self.noise.expand_as(change))

        def pull_back(by_mean: Tensor, by_std: Tensor | None) -> Gradients:
            # the noise does not depend on the state
            by_state, by_action, by_change, _ = pull_back_next(by_mean, None)
            by_seen = pull_back_value(by_change) * self.scaling.scale
            count = self.features.feature_dims
            by_features = self.features.pull_back(seen[..., :count], by_seen[..., :count])
            return by_state + by_features, total(by_action, by_seen[..., count:])

        return prediction, pull_back

    def _functions(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (*R, P, K) of the particles' functions at z (*R, P, F), and the pull-back."""
        cosines, sines, corrections, slopes = self._deal(z.shape[-2])
        tasks, dims = cosines.shape[1], z.shape[-1]
        products = torch.cat([z, z * z, torch.ones_like(z[..., :1])], dim=-1) @ self._basis
        angles, distances = (
            part.view(*part.shape[:-1], tasks, part.shape[-1] // tasks)
            for part in (products[..., : tasks * self._waves], products[..., tasks * self._waves :])
        )
        cosine, sine = angles.cos(), angles.sin()
        kernel, slope = self.shape.value_and_slope(distances.clamp_min(0))
        value = (cosine * cosines).sum(-1) + (sine * sines).sum(-1) + (kernel * corrections).sum(-1)
        if slopes.shape[-1]:
            value = value + (slopes * z.unsqueeze(-2)).sum(-1)

        def pull_back(by_value: Tensor) -> Tensor:
            by = by_value.unsqueeze(-1)
            by_angles = by * (cosine * sines - sine * cosines)
            by_distances = by * (slope * corrections)
            by_products = torch.cat([by_angles.flatten(-2), by_distances.flatten(-2)], dim=-1)
            by_inputs = by_products @ self._basis.mT
            by_z = torch.addcmul(by_inputs[..., :dims], z, by_inputs[..., dims : 2 * dims], value=2)
            return by_z + (by * slopes).sum(-2) if slopes.shape[-1] else by_z

        return value, pull_back

    def _deal(self, particles: int) -> list[Tensor]:
        """Compute the coefficients of each particle's function, (P, K, .); kept for the steps to come."""
        if particles not in self._dealt:
            functions = len(self._coefficients[0])
            index = torch.arange(particles, device=self.mean.device) * functions // particles
            self._dealt[particles] = [values[index] for values in self._coefficients]
        return self._dealt[particles]


def _basis(functions: PosteriorFunctions) -> Tensor:
    """Return what (z, z^2, 1) is multiplied by for all angles and distances: (2 F + 1, K (J + N)).

    |(z - c) / l|^2 / 2 = -z . (c / l^2) + z^2 . (1 / (2 l^2)) + |c / l|^2 / 2: one matrix product.
    """
    inputs, frequencies = functions.inputs, functions.draws.frequencies
    precision = functions.inverse_lengthscales.square()  # (K, F)
    scaled = inputs * precision.unsqueeze(1)  # (K, N, F)
    squares = (0.5 * precision).unsqueeze(1).expand_as(scaled)
    offset = 0.5 * (inputs * scaled).sum(-1, keepdim=True)
    distances = functions.shape.unit * torch.cat([-scaled, squares, offset], dim=-1)  # (K, N, 2 F + 1)
    zeros = torch.zeros_like(frequencies)
    waves = torch.cat([frequencies, zeros, zeros[:, :1]], dim=1)  # (K, 2 F + 1, J)
    rows = waves.shape[1]
    return torch.cat([
        waves.transpose(0, 1).reshape(rows, -1), distances.permute(2, 0, 1).reshape(rows, -1)
    ], dim=1)  # fmt: skip
