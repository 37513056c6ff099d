"""Costs of actions: of their size, and of how fast they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor

from mbrl_agent.costs.base import TaskCost, add_up
from mbrl_agent.costs.checks import Vector, check_dims, to_indices, to_number, to_vector, to_weights
from mbrl_agent.options.validation import require_positive


@dataclass(frozen=True)
class ActionPenalty(TaskCost):
    """cost = sum_j w_j u_j^2 of the action.

    u is the action in [-1, 1], which is 0 in the middle of the action space, or, with bounds, the action in
    the environment's units:  u_j = low_j + (a_j + 1) (high_j - low_j) / 2.

    Attributes:
        weights: w, one number for all or (U) numbers, none negative; in cost / (unit of u)^2.
        low: Lower bounds of the action space, one number or (U); None takes u in [-1, 1].
        high: Upper bounds likewise: `low=env.action_space.low, high=env.action_space.high`.

    Raises:
        ValueError: A weight is negative, all are zero, only one bound was passed, `low` is not below `high`,
            or the sizes do not fit together.
        TypeError: Something is not made of numbers.
    """

    weights: float | Sequence[float] = 1.0
    low: float | Sequence[float] | None = None
    high: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _to_weights(self.weights))
        if (self.low is None) != (self.high is None):
            raise ValueError(f"low and high belong together, got low={self.low!r}, high={self.high!r}")
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number_or_vector(name, getattr(self, name)))
        sizes = {len(v) for v in (self.weights, self.low, self.high) if isinstance(v, tuple)}
        if len(sizes) > 1:
            raise ValueError(f"weights, low and high must be of one size, got {sorted(sizes)}")
        count = sizes.pop() if sizes else 1
        if self.low is not None and self.high is not None:
            for low, high in zip(_spread(self.low, count), _spread(self.high, count), strict=True):
                if low >= high:
                    raise ValueError(f"low must be below high, got low={self.low}, high={self.high}")

    def __call__(self, state: Tensor | None, action: Tensor) -> Tensor:
        """Compute the costs (...) of actions (..., U) in [-1, 1]; the state is not looked at.

        Raises:
            ValueError: The actions have another number of dimensions than weights or bounds.
        """
        return _weighted_squares(self._scaled(action), self.weights)

    def _scaled(self, action: Tensor) -> list[Tensor]:
        """Return u_j, each (...)."""
        parts = list(action.unbind(-1))
        if self.low is None or self.high is None:
            return parts
        bounds = zip(_spread(self.low, len(parts)), _spread(self.high, len(parts)), strict=True)
        return [
            low + 0.5 * (part + 1) * (high - low) for part, (low, high) in zip(parts, bounds, strict=True)
        ]


@dataclass(frozen=True)
class ActionRatePenalty(TaskCost):
    """cost = sum_j w_j (a_j - b_j)^2: the action a, in [-1, 1], against b, the action of the step before.

    A cost sees the state after a step and the action a that led to it. The action before that one is not
    among them: it has to be in the state. It is not enough that observations end with the latest action:
    in the state after the step that is a itself. `ActionHistory` wraps an environment so that its
    observations hold both, and says where b is:

        env = mbrl_agent.ActionHistory(env)
        cost = env.cost + 0.1 * costs.ActionRatePenalty(env.previous_action_dims)

    Attributes:
        previous_action_dims: (U), indices in a state of b, the action before the one that led to this state,
            in [-1, 1].
        weights: w, one number for all or (U) numbers, none negative.

    Raises:
        ValueError: A weight is negative, all are zero, or there is not one index a weight.
        TypeError: Something is not made of numbers.
    """

    previous_action_dims: Sequence[int]
    weights: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        dims = to_indices("previous_action_dims", self.previous_action_dims)
        if not dims:
            raise ValueError("previous_action_dims must hold one index an action, got none")
        object.__setattr__(self, "previous_action_dims", dims)
        object.__setattr__(self, "weights", _to_weights(self.weights))
        _spread(self.weights, len(dims))

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Compute the costs (...) of states (..., D) and actions (..., U).

        Raises:
            ValueError: The states have too few dimensions, or the actions another number than was named.
        """
        check_dims("previous_action_dims", self.previous_action_dims, state)
        if action.shape[-1] != len(self.previous_action_dims):
            raise ValueError(
                f"previous_action_dims names {len(self.previous_action_dims)} dimensions, but an action has "
                f"{action.shape[-1]}"
            )
        before = [state[..., index] for index in self.previous_action_dims]
        changes = [now - then for now, then in zip(action.unbind(-1), before, strict=True)]
        return _weighted_squares(changes, self.weights)


def _weighted_squares(parts: Sequence[Tensor], weights: float | Sequence[float]) -> Tensor:
    """Return sum_j w_j u_j^2, (...)."""
    squares = [w * (part * part) for w, part in zip(_spread(weights, len(parts)), parts, strict=True)]
    return add_up(squares)


def _spread(values: float | Sequence[float], count: int) -> Sequence[float]:
    """Return one number a dimension; ValueError where there is another number of them."""
    if not isinstance(values, Sequence):
        return [values] * count
    if len(values) != count:
        raise ValueError(f"there are {len(values)} weights or bounds, but an action has {count} dimensions")
    return values


def _to_weights(values: Any) -> float | Vector:
    if isinstance(values, Real) and not isinstance(values, bool):
        weight = to_number("weights", values)
        require_positive("weights", weight)
        return weight
    vector = to_vector("weights", values)
    return to_weights("weights", vector, len(vector))


def _number_or_vector(name: str, values: Any) -> float | Vector:
    if isinstance(values, Real) and not isinstance(values, bool):
        return to_number(name, values)
    return to_vector(name, values)
