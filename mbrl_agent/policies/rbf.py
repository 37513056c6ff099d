"""Radial basis function network, PILCO's policy: u = squash(sum_j w_j exp(-|(phi(x) - c_j) / l|^2 / 2)).

The same function is the mean of a Gaussian process with a squared-exponential kernel; the centres
c_j are its pseudo-inputs and l its ARD length-scales.

Reference:
    Deisenroth, Rasmussen (2011), PILCO: A Model-Based and Data-Efficient Approach to Policy Search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agent.policies.base import Controller, PolicyOptions, SearchPolicy, squash
from mbrl_agent.types import Parameters
from mbrl_agent.validation import require_count, require_positive


class RbfPolicy(SearchPolicy):
    """RBF network over the features of a state, squashed to [-1, 1].

    Parameters (F features, C centres): centers (C, F), log_lengthscales (F), weights (C, U).

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.
        centers: C.
        weight_std: Standard deviation of the initial weights.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
        centers: int = 50,
        weight_std: float = 0.5,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        require_count("centers", centers)
        require_positive("weight_std", weight_std)
        self.weight_std = weight_std
        features = self.features.feature_dims
        self.centers = nn.Parameter(torch.randn(centers, features))
        self.log_lengthscales = nn.Parameter(torch.zeros(features))
        self.weights = nn.Parameter(weight_std * torch.randn(centers, self.action_dims))

    def controller(self, parameters: Parameters) -> Controller:
        """The policy at the given parameters; see `SearchPolicy.controller`."""
        centers, weights = parameters["centers"], parameters["weights"]  # (*R, C, F), (*R, C, U)
        precision = (-2 * parameters["log_lengthscales"]).exp().unsqueeze(-2)  # (*R, 1, F)
        scaled = centers * precision
        # -|(phi - c) / l|^2 / 2 = phi . (c / l^2) - phi^2 . (1 / (2 l^2)) - |c / l|^2 / 2: one matrix product
        linear = torch.cat([scaled, (-0.5 * precision).expand_as(scaled)], dim=-1).mT  # (*R, 2 F, C)
        offset = -0.5 * (centers * scaled).sum(-1).unsqueeze(-2)  # (*R, 1, C)

        def act(state: Tensor) -> Tensor:
            phi = self.features(state)
            exponent = torch.cat([phi, phi * phi], dim=-1) @ linear + offset
            return squash(exponent.exp() @ weights)

        return act

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Centres at visited states, length-scales from their spread, small random weights."""
        phi = self.features(states)
        count, features = self.centers.shape
        chosen = torch.randint(len(phi), (replicates, count), generator=generator, device=phi.device)
        spread = phi.std(0).clamp_min(0.1) if len(phi) > 1 else torch.ones_like(phi[0])
        jitter = torch.randn(replicates, count, features, generator=generator, device=phi.device).to(
            phi.dtype
        )
        weights = torch.randn(replicates, count, self.action_dims, generator=generator, device=phi.device).to(
            phi.dtype
        )
        return {
            "centers": phi[chosen] + 0.5 * spread * jitter,
            "log_lengthscales": spread.log().expand(replicates, features).clone(),
            "weights": self.weight_std * weights.to(phi.dtype),
        }


@dataclass(frozen=True)
class Rbf(PolicyOptions):
    """Options of the RBF policy."""

    name: ClassVar[str] = "rbf"
    policy_class: ClassVar[type[SearchPolicy]] = RbfPolicy

    centers: int = 50
    """Basis functions."""
    weight_std: float = 0.5
    """Standard deviation of the initial weights [unsquashed action]."""

    def __post_init__(self) -> None:
        require_count("centers", self.centers)
        require_positive("weight_std", self.weight_std)
