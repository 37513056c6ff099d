"""Policies: state -> action. One file a policy."""

from mbrl_agent.options.registry import Registry
from mbrl_agent.policies.base import PolicyOptions

POLICIES: Registry[PolicyOptions] = Registry("policy", "mbrl_agent.policies", PolicyOptions)

__all__ = ["POLICIES", "PolicyOptions"]
