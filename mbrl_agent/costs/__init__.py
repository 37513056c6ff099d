"""Costs that tasks are made of: differentiable, for states (..., D) and actions (..., U) in [-1, 1] -> (...).

    cost = costs.Saturating(target=(0, 0, 0, 0), weights=(1, 0, 1, 0)) + 0.01 * costs.ActionPenalty()

Each is a frozen dataclass: it compares, prints, copies and pickles by its settings. They add up with `+`,
also to a function of the user's own, and scale with `*`. The state is the one AFTER the step, the action the
one that led to it. Dtype and device follow the states and actions; nothing is copied to a GPU at a call.

`mbrl_agent.wrappers` has environments whose state holds more, and hands on their cost.
"""

from mbrl_agent.costs.actions import ActionPenalty, ActionRatePenalty
from mbrl_agent.costs.base import FirstDimensions, Scaled, Sum, TaskCost
from mbrl_agent.costs.target import Quadratic, Saturating
from mbrl_agent.costs.tip import TipDistance
from mbrl_agent.options.registry import Registry

COSTS: Registry[TaskCost] = Registry("cost", "mbrl_agent.costs", TaskCost)  # type: ignore[type-abstract]
"""Costs that have a name: those of plug-ins. The package's own need settings of a task and have none."""

__all__ = [
    "COSTS",
    "ActionPenalty",
    "ActionRatePenalty",
    "FirstDimensions",
    "Quadratic",
    "Saturating",
    "Scaled",
    "Sum",
    "TaskCost",
    "TipDistance",
]
