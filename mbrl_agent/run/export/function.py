"""The whole function of a policy in torch: raw observations to actions in the units of the environment."""

from __future__ import annotations

import copy

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agent.policies.base import SearchPolicy

EXAMPLES = 3
"""Rows of the observations with which a function is traced; not one, which tracers take for a constant."""


class PolicyFunction(nn.Module):
    """Map raw observations (N, D) to actions (N, U) as `predict` does, but for its checks.

    Args:
        policy: At its own parameters; a copy is taken.
        dtype: In which it computes; None takes the policy's own.
    """

    low: Tensor
    high: Tensor
    center: Tensor
    half_range: Tensor

    def __init__(self, policy: SearchPolicy, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        policy = copy.deepcopy(policy).cpu().requires_grad_(False)
        if dtype is not None:
            policy = policy.to(dtype)
        space = policy.action_space
        assert isinstance(space, spaces.Box)
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        self.action_dtype = torch.from_numpy(space.low).dtype
        self.policy_dtype = next(policy.parameters()).dtype
        self.state_dims, self.action_dims = policy.state_dims, policy.action_dims
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))
        self.register_buffer("center", torch.from_numpy(0.5 * low + 0.5 * high))
        self.register_buffer("half_range", torch.from_numpy(0.5 * high - 0.5 * low))
        self._controller = policy.controller(policy.parameter_dict())
        self.eval()

    def forward(self, observation: Tensor) -> Tensor:
        """(N, D) -> (N, U)."""
        scaled = self._controller(observation.to(self.policy_dtype)).double()
        within = torch.minimum(torch.maximum(self.center + self.half_range * scaled, self.low), self.high)
        return within.to(self.action_dtype)

    def example(self) -> Tensor:
        """Observations (N, D) to trace the function with."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(EXAMPLES, self.state_dims, generator=generator, dtype=torch.float32)
