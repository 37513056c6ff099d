"""Gradient estimators: rollout -> gradient of the expected cost. One file an estimator."""

from mbrl_agent.estimators.base import Estimator
from mbrl_agent.registry import Registry

ESTIMATORS: Registry[Estimator] = Registry("estimator", "mbrl_agent.estimators", Estimator)  # type: ignore[type-abstract]

__all__ = ["ESTIMATORS", "Estimator"]
