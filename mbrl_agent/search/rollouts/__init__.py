"""Rollouts: how a belief about the state is carried through the model. One file a kind."""

from mbrl_agent.options.registry import Registry
from mbrl_agent.search.rollouts.base import Rollout

ROLLOUTS: Registry[Rollout] = Registry("rollout", "mbrl_agent.search.rollouts", Rollout)  # type: ignore[type-abstract]

__all__ = ["ROLLOUTS", "Rollout"]
