"""Linear policy: u = squash(W z(x) + b), the controller of PILCO's balancing tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mbrl_agent.gaussians.mapped import Mapped, affine
from mbrl_agent.gaussians.mapped import squashed as squash_moments
from mbrl_agent.policies.acting import Box
from mbrl_agent.policies.base import (
    Controller,
    PolicyOptions,
    SearchPolicy,
    affine_layer,
    normal,
    squash,
    squash_slope,
)
from mbrl_agent.policies.jacobian import Jacobian, Layer, LayeredJacobian
from mbrl_agent.types import Parameters


class LinearPolicy(SearchPolicy):
    """A linear function of the standardised features z of a state, squashed to [-1, 1].

    Parameters (F features): weights (F, U), bias (U).

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.

    Example:
        >>> policy = LinearPolicy(Box(-1, 1, (4,)), Box(-2, 2, (1,)), angle_dims=(2,))
        >>> policy(torch.zeros(5, 4)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        self.weights = nn.Parameter(0.1 * normal(self.features.feature_dims, self.action_dims))
        self.bias = nn.Parameter(torch.zeros_like(self.weights[0]))

    def controller(self, parameters: Parameters) -> Controller:
        """Return the policy at the given parameters; see `SearchPolicy.controller`."""
        weights, bias = parameters["weights"], parameters["bias"].unsqueeze(-2)
        standardized = self.standardized
        return lambda state: squash(standardized(state) @ weights + bias)

    def moments(self, parameters: Parameters) -> Callable[[Tensor, Tensor], Mapped]:
        """Return the moments of the actions; see `SearchPolicy.moments`."""
        scaling = self.standardized.scaling
        mean, scale = scaling.mean.to(parameters["bias"]), scaling.scale.to(parameters["bias"])
        weights = scale.unsqueeze(-1) * parameters["weights"]
        bias = parameters["bias"] - mean @ weights
        return lambda mean, covariance: squash_moments(affine(mean, covariance, weights, bias))

    def jacobian(self, parameters: Parameters) -> Callable[[Tensor], Jacobian]:
        """Compute the derivatives by the parameters; see `SearchPolicy.jacobian`."""
        weights, bias = parameters["weights"], parameters["bias"].unsqueeze(-2)
        standardized = self.standardized

        def at(state: Tensor) -> Jacobian:
            z = standardized(state)
            slopes = torch.diag_embed(squash_slope(z @ weights + bias))
            return LayeredJacobian([Layer("weights", "bias", z, slopes)])

        return at

    def change_inputs(self, parameters: Parameters, factor: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """See `SearchPolicy.change_inputs`."""
        weights, bias = affine_layer(parameters["weights"], parameters["bias"], factor, shift)
        return {**parameters, "weights": weights, "bias": bias}

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw small weights, so that the actions at the visited states are centred on zero."""
        weights = 0.5 * self.draw_normal((replicates, *self.weights.shape), generator)
        return {"weights": weights, "bias": torch.zeros_like(weights[:, 0])}


@dataclass(frozen=True)
class Linear(PolicyOptions):
    """The linear policy has no options.

    Example:
        >>> str(Linear())
        'linear'
    """

    name: ClassVar[str] = "linear"
    policy_class: ClassVar[type[SearchPolicy]] = LinearPolicy
