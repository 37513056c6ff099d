"""Two uniform rods, one hinged to the tip of the other: their constants, costs and drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from envs.shared.arrays import Array, Component, root, saturate, trigonometry

MAY_BE_ZERO = ("friction", "cart_friction", "gravity")


@dataclass(frozen=True)
class TwoLinks:
    """Constants of two rods, in SI units; angles are absolute, 0 is upright, positive towards +x.

    Attributes:
        masses: m_1, m_2 [kg], spread evenly along the rods.
        lengths: l_1, l_2 [m].
        friction: b_1, b_2, viscous friction of the joints [N m s/rad]: of the first rod's with the ground (or
            the cart), and of the one between the rods.
        gravity: g [m/s^2].
        time_step: Duration of one step, over which forces are held [s].
        substeps: Runge-Kutta steps in one step.

    Raises:
        ValueError: A constant is not finite, negative, or zero where only a positive value makes sense.
    """

    masses: tuple[float, float] = (0.5, 0.5)
    lengths: tuple[float, float] = (0.5, 0.5)
    friction: tuple[float, float] = (0.0, 0.0)
    gravity: float = 9.82
    time_step: float = 0.05
    substeps: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            check_constants(field.name, getattr(self, field.name), field.name in MAY_BE_ZERO)

    @property
    def inertia(self) -> tuple[float, float, float]:
        """a, b, c of the kinetic energy a w_1^2 / 2 + b w_2^2 / 2 + c w_1 w_2 cos(th_1 - th_2) [kg m^2].

        a = m_1 l_1^2 / 3 + m_2 l_1^2,  b = m_2 l_2^2 / 3,  c = m_2 l_1 l_2 / 2
        """
        (m1, m2), (l1, l2) = self.masses, self.lengths
        return (m1 / 3 + m2) * l1 * l1, m2 * l2 * l2 / 3, m2 * l1 * l2 / 2

    @property
    def moments(self) -> tuple[float, float]:
        """A_1 = (m_1 / 2 + m_2) l_1 and A_2 = m_2 l_2 / 2, of the heights of the centres of mass [kg m]."""
        (m1, m2), (l1, l2) = self.masses, self.lengths
        return (m1 / 2 + m2) * l1, m2 * l2 / 2

    @property
    def reach(self) -> float:
        """l_1 + l_2 [m]."""
        return sum(self.lengths)


def check_constants(name: str, value: Any, may_be_zero: bool) -> None:
    """Raise ValueError unless all numbers are finite and positive, or not negative."""
    bound = "finite and >= 0" if may_be_zero else "finite and > 0"
    for number in value if isinstance(value, Sequence) else (value,):
        if not math.isfinite(number) or number < 0 or (number == 0 and not may_be_zero):
            raise ValueError(f"{name} must be {bound}, got {value!r}.")


def two_numbers(name: str, values: Sequence[float]) -> tuple[float, float]:
    """Return two numbers, one a joint; ValueError where there are not two."""
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold two numbers, one a joint, got {values!r}.") from error
    return first, second


def squared_tip_distance(links: TwoLinks, base: Array | float, first: Array, second: Array) -> Array:
    """Return the squared distance of the second rod's tip from its target (0, l_1 + l_2) [m^2].

    Args:
        links: The rods.
        base: (...), where the first rod is hinged [m].
        first: (...), th_1 [rad].
        second: (...), th_2 [rad].
    """
    sin, cos = trigonometry(first)
    l1, l2 = links.lengths
    across = l1 * sin(first) + l2 * sin(second) + base
    missing = l1 * cos(first) + l2 * cos(second) - links.reach
    return across * across + missing * missing


@dataclass(frozen=True)
class LinksTipCost:
    """cost = 1 - exp(-d^2 / (2 w^2)), d the distance from the second rod's tip to its target.

    Attributes:
        links: The rods.
        width: w [m].
        angles: Indices of th_1 and th_2 in a state.
        base: Index of the cart's place in a state; None where there is no cart.

    Raises:
        ValueError: The width is not a finite length > 0.

    Reference: Deisenroth and Rasmussen, "PILCO", 2011.
    """

    links: TwoLinks
    width: float
    angles: tuple[int, int]
    base: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.width) or self.width <= 0:
            raise ValueError(f"cost_width must be a finite length > 0 m, got {self.width!r}.")

    def __call__(self, state: Array, action: Array | None = None) -> Array:
        """Return the cost in [0, 1], (...), of states (..., D); the action is ignored."""
        return saturate(self.squared_distance(state) / (self.width * self.width))

    def squared_distance(self, state: Array) -> Array:
        """Return the squared distance of the tip from its target [m^2], (...), of states (..., D)."""
        first, second = self.angles
        base: Array | float = 0.0 if self.base is None else state[..., self.base]
        return squared_tip_distance(self.links, base, state[..., first], state[..., second])

    def distance(self, state: Array) -> Array:
        """Return the tip's distance from its target [m], (...), of states (..., D); kinked at the target."""
        return root(self.squared_distance(state))


def links_energy(
    links: TwoLinks, angles: tuple[Component, Component], rates: tuple[Component, Component]
) -> Component:
    """Return the energy of two rods on a fixed hinge [J]; zero potential where both lie level with it.

    Args:
        links: The rods.
        angles: th_1, th_2 [rad], (...) each.
        rates: w_1, w_2 [rad/s], (...) each.
    """
    (first, second), (w1, w2) = angles, rates
    _, cos = trigonometry(first)
    a, b, c = links.inertia
    a1, a2 = links.moments
    kinetic = 0.5 * a * (w1 * w1) + 0.5 * b * (w2 * w2) + c * (w1 * w2 * cos(first - second))
    return kinetic + links.gravity * (a1 * cos(first) + a2 * cos(second))
