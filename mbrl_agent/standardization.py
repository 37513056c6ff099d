"""Standardise what varies, and know what does not: the units and zero points of a state must not matter.

Everything here is relative to the data. There is no absolute floor, so that a change of units changes
nothing but rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.features import AngleFeatures
from mbrl_agent.vjp import Gradients, PullBack

ROUNDINGS = 4.0
"""Differences up to this many times eps times the magnitude are rounding noise, not variation."""
LEAST_ANGLE_STD = 0.1
"""Floor under the standard deviation of sines and cosines in a policy; they have no units."""


def resolution(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the smallest difference that counts as variation, column by column: (N, D) -> (D).

    Args:
        values: Numbers of the same quantities, which may have been rounded to float32 once.
        dtype: In which they will be worked with.
    """
    info, single = torch.finfo(dtype), torch.finfo(torch.float32).eps
    was_rounded = (values.float().to(values.dtype) == values).all(0)
    eps = torch.where(was_rounded, max(info.eps, single), info.eps)
    least = ROUNDINGS * values.abs().amax(0) * eps
    return least.clamp_min(info.tiny / info.eps)  # below that, 1 / std overflows


def feature_resolution(features: AngleFeatures, states: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `resolution` of the features of states: (N, D) -> (F)."""
    of_states = resolution(states, dtype)
    plain, angles = of_states[list(features.plain_dims)], of_states[list(features.angle_dims)]
    angles = angles.clamp_min(ROUNDINGS * torch.finfo(dtype).eps)
    return torch.cat([plain, angles, angles])


def mean_and_std(values: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return each column's mean and standard deviation, (N, C); zero where it does not vary.

    Args:
        values: (N, C).
        least: (C), the smallest range that counts as variation, from `resolution`.
    """
    origin = values[0]
    centred = values - origin  # a mean of large numbers would be wrong by their rounding
    low, high = centred.amin(0), centred.amax(0)
    std = centred.std(0) if len(values) > 1 else torch.zeros_like(origin)
    return origin + centred.mean(0), torch.where(high - low > least, std, 0.0)


def inverse(std: Tensor) -> Tensor:
    """Return 1 / std, and zero where that is zero: what has never varied is ignored."""
    return torch.where(std > 0, std, 1.0).reciprocal() * (std > 0)


@dataclass(frozen=True)
class Scaling:
    """An affine map to standardised coordinates, z = (x - mean) * scale, column by column.

    Attributes:
        mean: (F).
        scale: (F), inverse standard deviation; zero for what has never varied.
    """

    mean: Tensor
    scale: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Standardise (..., F), the difference first: in a sum of products 101325 Pa +- 1 would cancel."""
        return (values - self.mean) * self.scale

    def seen_from(self, new: Scaling) -> tuple[Tensor, Tensor]:
        """Return (factor, shift), float64 (F) each: this scaling's z = factor * w + shift of another's w.

        A column that had never varied, and now does, takes the scale of the new one, with its old value
        as zero: a function of z stays as it was wherever the column still has that value.
        """
        own, other = self.scale.double(), new.scale.double()
        own = torch.where(own > 0, own, other)
        factor = torch.where(other > 0, own / torch.where(other > 0, other, 1.0), 1.0)
        return factor, (new.mean.double() - self.mean.double()) * own


def unscaled(scaling: Scaling, values: Tensor) -> Tensor:
    """Go back from standardised coordinates (..., F); what has never varied has its only value."""
    return scaling.mean + values * inverse(scaling.scale)


class StandardizedFeatures:
    """What a policy sees of a state: z = (phi(x) - mean) * scale, with its derivative.

    Args:
        features: phi.
        scaling: Of the features.
    """

    def __init__(self, features: AngleFeatures, scaling: Scaling) -> None:
        self.features = features
        self.scaling = scaling

    def __call__(self, state: Tensor) -> Tensor:
        """Map states (..., D) to standardised features (..., F)."""
        return self.scaling(self.features(state))

    def vjp(self, state: Tensor) -> tuple[Tensor, PullBack]:
        """Do the same, and return the pull-back by_z -> by_state."""
        phi = self.features(state)

        def pull_back(by_z: Tensor) -> Gradients:
            return (self.features.pull_back(phi, by_z * self.scaling.scale),)

        return self.scaling(phi), pull_back


def visited_scaling(features: AngleFeatures, states: Tensor, dtype: torch.dtype) -> Scaling:
    """Return the scaling of the features of the visited states.

    Args:
        features: phi.
        states: (N, D), all states visited so far, best in float64.
        dtype: Of the result.
    """
    mean, std = mean_and_std(features(states), feature_resolution(features, states, dtype))
    plain = len(features.plain_dims)
    std[plain:] = torch.where(std[plain:] > 0, std[plain:].clamp_min(LEAST_ANGLE_STD), 0.0)
    return Scaling(mean.to(dtype), inverse(std).to(dtype))
