"""Costs of the cart-pole swing-up, written once for NumPy arrays and torch tensors.

Both saturate: cost = 1 - exp(-e / 2) of a squared error e, 0 at the goal and towards 1 far from it. They are
frozen dataclasses and therefore compare, print, copy and pickle by their settings. Call them as `cost(state,
action)`; the action costs nothing and may be left out.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch

from envs.cartpole.physics import DEFAULT_PARAMETERS
from envs.shared.arrays import Array, root, saturate, trigonometry


@dataclass(frozen=True)
class AngleCost:
    """cost = 1 - exp(-(x^2 + theta^2) / 2), x in m and theta in rad, unwrapped.

    A pole that swings up the other way, to theta = 2 pi, is counted as far from the goal.

    Reference: Parmas, Rasmussen, Peters, Doya, "PIPPS", 2018 (the cost of the authors' demonstration).
    """

    def __call__(self, state: Array, action: Array | None = None) -> Array:
        """Return the cost in [0, 1], (...), of states (..., 4); the action (..., 1) is ignored."""
        x, theta = state[..., 0], state[..., 2]
        return saturate(x * x + theta * theta)

    def expected(self, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        """Compute a Gaussian's expected cost (...): mean (..., 4), covariance (..., 4, 4); differentiable.

        E[cost] = 1 - |1 + S|^-1/2 exp(-m^T (1 + S)^-1 m / 2),  of (x, theta)
        """
        x, theta = mean[..., 0], mean[..., 2]
        a, b = 1 + covariance[..., 0, 0], 1 + covariance[..., 2, 2]
        c = covariance[..., 0, 2]
        determinant = a * b - c * c
        distance = (b * x * x - 2 * c * x * theta + a * theta * theta) / determinant
        return 1 - (-distance / 2).exp() / determinant.sqrt()


@dataclass(frozen=True)
class TipCost:
    """cost = 1 - exp(-d^2 / (2 w^2)), d the distance from the pole's tip to the target; periodic in theta.

    Attributes:
        width: w [m]; PILCO uses 0.25, Deep PILCO 0.5.
        pole_length: l [m].

    Raises:
        ValueError: A length is not finite and positive.

    Reference: Deisenroth and Rasmussen, "PILCO", 2011.
    """

    width: float = 0.5
    pole_length: float = DEFAULT_PARAMETERS.pole_length

    def __post_init__(self) -> None:
        for name, value in (("cost_width", self.width), ("pole_length", self.pole_length)):
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"{name} must be a finite length > 0 m, got {value!r}.")

    def __call__(self, state: Array, action: Array | None = None) -> Array:
        """Return the cost in [0, 1], (...), of states (..., 4); the action (..., 1) is ignored."""
        return saturate(squared_tip_distance(state, self.pole_length) / (self.width * self.width))


Cost: TypeAlias = AngleCost | TipCost
COST_NAMES = ("angle", "tip")


def make_cost(name: str, width: float, pole_length: float = DEFAULT_PARAMETERS.pole_length) -> Cost:
    """Build a cost by name.

    Args:
        name: "angle" or "tip".
        width: Width of the tip cost [m]; checked for both costs, used by "tip".
        pole_length: [m].

    Returns:
        The cost, a callable (state (..., 4), action (..., 1)) -> (...).

    Raises:
        ValueError: The name is unknown or the width is not a finite length > 0.
    """
    if name not in COST_NAMES:
        raise ValueError(f"cost must be one of {', '.join(map(repr, COST_NAMES))}, got {name!r}.")
    tip_cost = TipCost(width, pole_length)
    return tip_cost if name == "tip" else AngleCost()


def tip_position(state: Array, pole_length: float = DEFAULT_PARAMETERS.pole_length) -> tuple[Array, Array]:
    """Return the tip's horizontal and vertical position, (x + l sin(theta), l cos(theta)) [m], each (...).

    The height is measured from the hinge; the target is (0, l).
    """
    sin, cos = trigonometry(state)
    theta = state[..., 2]
    return state[..., 0] + pole_length * sin(theta), pole_length * cos(theta)


def squared_tip_distance(state: Array, pole_length: float = DEFAULT_PARAMETERS.pole_length) -> Array:
    """Return the squared distance of the tip from the target (0, l) [m^2], (...), of states (..., 4)."""
    across, height = tip_position(state, pole_length)
    missing = height - pole_length
    return across * across + missing * missing


def tip_distance(state: Array, pole_length: float = DEFAULT_PARAMETERS.pole_length) -> Array:
    """Return the tip's distance from its target [m], (...), of states (..., 4); kinked at the target."""
    return root(squared_tip_distance(state, pole_length))
