"""Dynamics models: what the agent believes about one environment step. One file a model."""

from mbrl_agent.dynamics.base import DynamicsOptions
from mbrl_agent.options.registry import Registry

DYNAMICS: Registry[DynamicsOptions] = Registry("dynamics", "mbrl_agent.dynamics", DynamicsOptions)  # type: ignore[type-abstract]

__all__ = ["DYNAMICS", "DynamicsOptions"]
