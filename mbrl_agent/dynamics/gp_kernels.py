"""Covariance functions of Gaussian processes, and the random features that approximate draws from them.

All are k(z, z') = s^2 kappa(q) + sum_d a_d^2 z_d z'_d of standardised inputs, with half the squared distance
q = sum_d ((z_d - z'_d) / l_d)^2 / 2 in length-scales l_d, one an input (automatic relevance determination,
ARD); a linear part has only `se-linear`.

Reference:
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, chapter 4; Rahimi, Recht (2007),
    Random Features for Large-Scale Kernel Machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

ROOT_FIVE = math.sqrt(5)
LEAST_DISTANCE = 1e-20
"""Floor under a squared distance of which the root is taken: at zero the root has no derivative."""


class Shape(Protocol):
    """How covariance falls with distance."""

    unit: float
    """What a distance q is multiplied by before it is handed over; chosen for speed."""

    def value(self, distance: Tensor) -> Tensor:
        """Return kappa of distances unit * q, of any shape; differentiable."""

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return kappa, and its derivative by the distance that was handed over."""

    def frequencies(self, normal: Tensor, mixing: Tensor) -> Tensor:
        """Draw from the spectral density, in units of 1 / l.

        Args:
            normal: (..., F, J), standard normal.
            mixing: (..., 5, J), standard normal.
        """


class SquaredExponential:
    """kappa(q) = exp(-q): infinitely smooth."""

    unit = 1 / math.log(2)  # as a power of two: exp is ten times slower where the result underflows

    def value(self, distance: Tensor) -> Tensor:
        """Return 2^-distance."""
        return (-distance).exp2()

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return 2^-distance and its derivative."""
        value = (-distance).exp2()
        return value, value * -math.log(2)

    def frequencies(self, normal: Tensor, mixing: Tensor) -> Tensor:
        """Return the normals: the spectral density is normal."""
        return normal


class Matern52:
    """kappa(q) = (1 + d + d^2 / 3) exp(-d), d = sqrt(10 q): twice differentiable."""

    unit = 1.0

    def value(self, distance: Tensor) -> Tensor:
        """Return kappa."""
        return self.value_and_slope(distance)[0]

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return kappa, and kappa' = -(5 / 3) (1 + d) exp(-d)."""
        root = ROOT_FIVE * (2 * distance).clamp_min(LEAST_DISTANCE).sqrt()
        decay = (-root).exp()
        return (1 + root + root * root / 3) * decay, -5 / 3 * (1 + root) * decay

    def frequencies(self, normal: Tensor, mixing: Tensor) -> Tensor:
        """Return Student's t with 5 degrees of freedom, the spectral density: normals over a common root."""
        return normal * (5 / mixing.square().sum(-2, keepdim=True)).sqrt()


@dataclass(frozen=True)
class Kernel:
    """A covariance function without its numbers.

    Attributes:
        shape: Of the stationary part.
        linear: Whether there is a linear part.
    """

    shape: Shape
    linear: bool = False


KERNELS = {
    "se": Kernel(SquaredExponential()),
    "se-linear": Kernel(SquaredExponential(), linear=True),
    "matern52": Kernel(Matern52()),
}


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers of one covariance function and its noise, or of K of them with a leading axis.

    Attributes:
        log_lengthscales: (*K, F), of log l.
        log_signal: (*K), of log s.
        log_noise: (*K), of the standard deviation of the noise.
        log_slopes: (*K, F), of log a; only a linear part has them.
    """

    log_lengthscales: Tensor
    log_signal: Tensor
    log_noise: Tensor
    log_slopes: Tensor

    def covariance(self, kernel: Kernel, one: Tensor, other: Tensor) -> Tensor:
        """Return the covariance, without noise, of functions at points (*K, N, F), (*K, M, F): (*K, N, M)."""
        inverse = (-self.log_lengthscales).exp().unsqueeze(-2)
        a, b = one * inverse, other * inverse
        half = (a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2)) / 2
        distance = (half - a @ b.mT).clamp_min(0)
        signal = (2 * self.log_signal).exp()[..., None, None]
        found = signal * kernel.shape.value(kernel.shape.unit * distance)
        if kernel.linear:
            found = found + (one * (2 * self.log_slopes).exp().unsqueeze(-2)) @ other.mT
        return found

    def variance(self, kernel: Kernel, points: Tensor) -> Tensor:
        """Return the prior variance of functions at points (*K, N, F): (*K, N)."""
        signal = (2 * self.log_signal).exp().unsqueeze(-1)
        if not kernel.linear:
            return signal.expand(points.shape[:-1])
        return signal + (points.square() * (2 * self.log_slopes).exp().unsqueeze(-2)).sum(-1)

    def noise_variance(self) -> Tensor:
        """Return the variance of the noise, (*K)."""
        return (2 * self.log_noise).exp()


def stack(parts: list[Hyperparameters]) -> Hyperparameters:
    """Put K sets of numbers on one leading axis."""
    names = ("log_lengthscales", "log_signal", "log_noise", "log_slopes")
    return Hyperparameters(*(torch.stack([getattr(part, name) for part in parts]) for name in names))
