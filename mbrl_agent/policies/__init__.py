"""Policies: state -> action. One file a policy."""

from mbrl_agent.policies.base import PolicyOptions
from mbrl_agent.registry import Registry

POLICIES: Registry[PolicyOptions] = Registry("policy", "mbrl_agent.policies", PolicyOptions)

__all__ = ["POLICIES", "PolicyOptions"]
