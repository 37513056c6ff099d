"""Gradient estimators: rollout -> gradient of the expected cost. One file an estimator."""

from mbrl_agent.options.registry import Registry
from mbrl_agent.search.estimators.base import Estimator

ESTIMATORS: Registry[Estimator] = Registry("estimator", "mbrl_agent.search.estimators", Estimator)  # type: ignore[type-abstract]

__all__ = ["ESTIMATORS", "Estimator"]
