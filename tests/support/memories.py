"""Policies that remember, beside those that do not."""

import torch

from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.memory import MemoryPolicy

REMEMBERING = [name for name in POLICIES.names() if issubclass(POLICIES.get(name).policy_class, MemoryPolicy)]
MEMORYLESS = [name for name in POLICIES.names() if name not in REMEMBERING]
"""The package's policies by whether they are functions of states alone."""


def with_memory(policy: SearchPolicy, states: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """States (..., D) and, behind them, what a policy remembers, random."""
    generator = torch.Generator().manual_seed(seed)
    memory = torch.randn(*states.shape[:-1], policy.memory_dims, generator=generator)
    return torch.cat([states, memory.to(states)], dim=-1)
