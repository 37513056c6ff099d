"""Linear policy: u = squash(W phi(x) + b), the controller of PILCO's balancing tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agent.policies.base import Controller, PolicyOptions, SearchPolicy, squash
from mbrl_agent.types import Parameters


class LinearPolicy(SearchPolicy):
    """A linear function of the features of a state, squashed to [-1, 1].

    Parameters (F features): weights (F, U), bias (U).

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        self.weights = nn.Parameter(0.1 * torch.randn(self.features.feature_dims, self.action_dims))
        self.bias = nn.Parameter(torch.zeros(self.action_dims))

    def controller(self, parameters: Parameters) -> Controller:
        """The policy at the given parameters; see `SearchPolicy.controller`."""
        weights, bias = parameters["weights"], parameters["bias"].unsqueeze(-2)
        return lambda state: squash(self.features(state) @ weights + bias)

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Small weights on the standardised features, as weights and bias on the raw ones."""
        phi = self.features(states)
        spread = phi.std(0).clamp_min(0.1) if len(phi) > 1 else torch.ones_like(phi[0])
        shape = (replicates, *self.weights.shape)
        weights = (
            0.5
            * torch.randn(shape, generator=generator, device=phi.device).to(phi.dtype)
            / spread.unsqueeze(-1)
        )
        return {"weights": weights, "bias": -(phi.mean(0) @ weights)}


@dataclass(frozen=True)
class Linear(PolicyOptions):
    """The linear policy has no options."""

    name: ClassVar[str] = "linear"
    policy_class: ClassVar[type[SearchPolicy]] = LinearPolicy
