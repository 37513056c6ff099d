"""Costs of the distance to a target state: quadratic and saturating."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl_agent.costs.base import TaskCost, add_up
from mbrl_agent.costs.checks import (
    Matrix,
    Vector,
    to_indices,
    to_number,
    to_vector,
    to_weight_matrix,
    to_weights,
)
from mbrl_agent.options.validation import require_choice, require_positive

ANGLE_DISTANCES = ("arc", "chord")


@dataclass(frozen=True)
class Quadratic(TaskCost):
    """cost = e^T W e of the deviation e from a target state: the cost of linear-quadratic control.

    e_i = s_i - target_i for ordinary dimensions. For an angle, with a = s_i - target_i,

        "arc":    e_i = a - 2 pi round(a / 2 pi), the shorter way round [rad]; it jumps where the angle is
                  opposite to its target, and the gradient changes sign there
        "chord":  e_i = 2 sin(a / 2), so that e_i^2 = (sin s_i - sin target_i)^2 + (cos s_i - cos target_i)^2,
                  the distance of the two points on the unit circle [1]; smooth everywhere

    Attributes:
        target: (D), in the units of the state.
        weights: W: (D) numbers for a diagonal matrix, or (D, D); None weighs all dimensions by 1. The unit of
            W_ij is cost / (unit of s_i * unit of s_j). A dimension without weight is not looked at.
        angle_dims: Indices of the angles [rad] that are counted modulo a full turn; () takes angles as they
            are, so that one full turn is far away.
        angle_distance: "arc" or "chord".

    Raises:
        ValueError: A number is not finite, the weights do not fit the target or are negative (as a matrix:
            not symmetric and positive semi-definite), an angle's index is out of range, or a matrix couples
            an angle that is measured by its chord to another dimension.
        TypeError: Something is not made of numbers.

    Reference: Anderson and Moore, "Optimal Control: Linear Quadratic Methods", 1990.
    """

    target: Sequence[float]
    weights: Sequence[float] | Sequence[Sequence[float]] | None = None
    angle_dims: Sequence[int] = ()
    angle_distance: str = "arc"

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", to_vector("target", self.target))
        dims = len(self.target)
        object.__setattr__(self, "weights", _weights(self.weights, dims))
        object.__setattr__(self, "angle_dims", to_indices("angle_dims", self.angle_dims))
        require_choice("angle_distance", self.angle_distance, ANGLE_DISTANCES)
        if any(index >= dims for index in self.angle_dims):
            raise ValueError(f"angle_dims {self.angle_dims}: target has dimensions 0 to {dims - 1}")
        if self.angle_distance == "chord":
            self._check_chords()

    def _check_chords(self) -> None:
        """Refuse products with a chord, whose sign changes with each turn."""
        for i, row in enumerate(self._rows()):
            coupled = [j for j in row if i != j and (i in self.angle_dims or j in self.angle_dims)]
            if coupled:
                raise ValueError(
                    f"weights couple dimensions {i} and {coupled[0]}, of which an angle's chord has no sign: "
                    'take angle_distance="arc", or zero there'
                )

    def __call__(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Compute the costs (...) of states (..., D); the action is not looked at.

        Raises:
            ValueError: The states have another number of dimensions than the target.
        """
        if state.shape[-1] != len(self.target):
            raise ValueError(f"target has {len(self.target)} dimensions, but a state has {state.shape[-1]}")
        rows = self._rows()
        deviations = {i: self._deviation(state, i) for i in sorted({i for row in rows for i in row})}
        # one number after the other: a tensor of weights would have to be copied to a GPU at each call
        products = [
            weight * (deviations[i] * deviations[j])
            for i, row in enumerate(rows)
            for j, weight in row.items()
        ]
        return add_up(products)

    def _rows(self) -> list[dict[int, float]]:
        """Return W's rows without zeros; what is left of the diagonal is added to what is right of it."""
        weights: Any = self.weights
        if weights is None:
            return [{i: 1.0} for i in range(len(self.target))]
        if isinstance(weights[0], float):
            return [{i: weight} if weight else {} for i, weight in enumerate(weights)]
        return [
            {j: weight if i == j else 2 * weight for j, weight in enumerate(row) if j >= i and weight}
            for i, row in enumerate(weights)
        ]

    def _deviation(self, state: Tensor, index: int) -> Tensor:
        difference = state[..., index] - self.target[index]
        if index not in self.angle_dims:
            return difference
        if self.angle_distance == "chord":
            return 2 * torch.sin(0.5 * difference)
        return difference - 2 * math.pi * torch.round(difference / (2 * math.pi)).detach()


@dataclass(frozen=True)
class Saturating(TaskCost):
    """cost = 1 - exp(-d^2 / (2 w^2)), d^2 = e^T W e: 0 at the target, towards 1 far from it (PILCO).

    Far away the gradient vanishes: w has to be of the size of the distance from which the target is found.

    Attributes:
        target: (D), in the units of the state.
        width: w, in the units of d: without weights those of the state.
        weights: W as in `Quadratic`; None weighs all dimensions by 1.
        angle_dims: Indices of the angles [rad] that are counted modulo a full turn, as in `Quadratic`.
        angle_distance: "arc" (the shorter way round) or "chord" (of sine and cosine), as in `Quadratic`.

    Raises:
        ValueError: As in `Quadratic`, or the width is not a finite number above zero.
        TypeError: Something is not made of numbers.

    Reference: Deisenroth and Rasmussen, "PILCO", 2011.
    """

    target: Sequence[float]
    width: float = 1.0
    weights: Sequence[float] | Sequence[Sequence[float]] | None = None
    angle_dims: Sequence[int] = ()
    angle_distance: str = "arc"

    def __post_init__(self) -> None:
        squared = self._squared()
        for name in ("target", "weights", "angle_dims"):
            object.__setattr__(self, name, getattr(squared, name))
        object.__setattr__(self, "width", to_number("width", self.width))
        require_positive("width", self.width)

    def __call__(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Compute the costs (...), in [0, 1], of states (..., D); the action is not looked at.

        Raises:
            ValueError: The states have another number of dimensions than the target.
        """
        return saturate(self._squared()(state), self.width)

    def _squared(self) -> Quadratic:
        return Quadratic(self.target, self.weights, self.angle_dims, self.angle_distance)


def saturate(squared: Tensor, width: float) -> Tensor:
    """Return 1 - exp(-d^2 / (2 w^2)) of squared distances d^2, by expm1: small ones keep their digits."""
    return -torch.expm1(-0.5 * (squared / (width * width)))


def _weights(values: Any, dims: int) -> Vector | Matrix | None:
    if values is None:
        return None
    rows = [] if isinstance(values, str) or not isinstance(values, Sequence) else values
    if any(isinstance(row, Sequence) for row in rows) or getattr(values, "ndim", 1) == 2:
        return to_weight_matrix("weights", values, dims)
    return to_weights("weights", values, dims)
