"""The cost of the distance between the tip of an arm, or of a pole, and a target point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.costs.base import TaskCost, add_up
from mbrl_agent.costs.checks import check_dims, to_indices, to_number, to_vector
from mbrl_agent.costs.target import saturate
from mbrl_agent.options.validation import require_flag, require_positive


@dataclass(frozen=True)
class TipDistance(TaskCost):
    """Cost of the distance d between the tip of n links in a plane and a target point.

    The links hang on one another, the first on the base. phi_i is the angle of link i to the vertical: 0 is
    up, positive leans towards +x, hanging is pi. With absolute angles phi_i = theta_i, with relative ones
    phi_i = theta_1 + ... + theta_i. The tip is at

        (x_base + sum_i l_i sin(phi_i), sum_i l_i cos(phi_i))  [m]

    and the cost is 1 - exp(-d^2 / (2 w^2)), or d [m] itself without a width. d is periodic in the angles; it
    has a kink at the target, where its gradient is taken as zero.

    Attributes:
        lengths: (n), l_i [m], from the base outwards; (l,) for the pole of a cart-pole.
        angle_dims: (n), indices of theta_i [rad] in a state.
        base_dim: Index of x_base [m] in a state (the cart's position); None where the base is fixed at 0.
        target: (x, y) [m]; None is above the origin with all links upright, (0, l_1 + ... + l_n).
        width: w [m]; PILCO takes half the pole's length. None gives the plain distance.
        relative: Whether each theta_i is measured from the link before.

    Raises:
        ValueError: A length or the width is not above zero, or lengths and angles are not equally many.
        TypeError: Something is not made of numbers.

    Reference: Deisenroth and Rasmussen, "PILCO", 2011.
    """

    lengths: Sequence[float]
    angle_dims: Sequence[int]
    base_dim: int | None = None
    target: Sequence[float] | None = None
    width: float | None = 0.5
    relative: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", to_vector("lengths", self.lengths))
        object.__setattr__(self, "angle_dims", to_indices("angle_dims", self.angle_dims))
        for index, length in enumerate(self.lengths):
            require_positive(f"lengths[{index}]", length)
        if len(self.lengths) != len(self.angle_dims):
            raise ValueError(
                f"angle_dims must hold one index a link: {len(self.lengths)} lengths, "
                f"but {len(self.angle_dims)} angles"
            )
        if self.base_dim is not None:
            self._check_base()
        if self.target is not None:
            object.__setattr__(self, "target", to_vector("target", self.target))
            if len(self.target) != 2:
                raise ValueError(f"target must be a point (x, y) [m], got {self.target}")
        if self.width is not None:
            object.__setattr__(self, "width", to_number("width", self.width))
            require_positive("width", self.width)
        require_flag("relative", self.relative)

    def _check_base(self) -> None:
        (base_dim,) = to_indices("base_dim", (self.base_dim,))
        object.__setattr__(self, "base_dim", base_dim)
        if self.base_dim in self.angle_dims:
            raise ValueError(f"base_dim {self.base_dim} is one of angle_dims {self.angle_dims} too")

    def __call__(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Compute the costs (...) of states (..., D); the action is not looked at.

        Raises:
            ValueError: The states have too few dimensions.
        """
        x, y = self.tip(state)
        target_x, target_y = self.target if self.target is not None else (0.0, sum(self.lengths))
        across, up = x - target_x, y - target_y
        if self.width is None:
            distance: Tensor = torch.linalg.vector_norm(torch.stack([across, up], dim=-1), dim=-1)
            return distance
        return saturate(across * across + up * up, self.width)

    def tip(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the tip's position (x, y) [m], each (...), of states (..., D).

        Raises:
            ValueError: The states have too few dimensions.
        """
        check_dims("angle_dims", self.angle_dims, state)
        angles = [state[..., index] for index in self.angle_dims]
        if self.relative:
            angles = list(torch.stack(angles).cumsum(0))
        x = add_up([length * angle.sin() for length, angle in zip(self.lengths, angles, strict=True)])
        y = add_up([length * angle.cos() for length, angle in zip(self.lengths, angles, strict=True)])
        if self.base_dim is not None:
            check_dims("base_dim", (self.base_dim,), state)
            x = state[..., self.base_dim] + x
        return x, y
