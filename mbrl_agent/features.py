"""What a model and a policy see of a state: angles as sine and cosine, other dimensions as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor


class AngleFeatures:
    """Replace each angle of a state by its sine and cosine (PILCO's trigonometric augmentation).

    The feature vector is (other dimensions in their order, sines, cosines), so that one full turn of
    an unwrapped angle is the same point.

    Args:
        state_dims: D.
        angle_dims: Indices of the angles [rad] in a state.

    Raises:
        ValueError: An index is out of range or given twice.
        TypeError: An index is not a whole number.
    """

    def __init__(self, state_dims: int, angle_dims: Sequence[int] = ()) -> None:
        for index in angle_dims:
            if isinstance(index, bool) or not isinstance(index, Integral):
                raise TypeError(f"angle_dims holds indices, whole numbers, got {index!r}")
            if not 0 <= index < state_dims:
                raise ValueError(
                    f"angle_dims {list(angle_dims)}: a state has dimensions 0 to {state_dims - 1}"
                )
        if len(set(angle_dims)) != len(angle_dims):
            raise ValueError(f"angle_dims {list(angle_dims)} names a dimension twice")
        self.state_dims = state_dims
        self.angle_dims = tuple(int(index) for index in angle_dims)
        self.plain_dims = tuple(index for index in range(state_dims) if index not in self.angle_dims)
        self.feature_dims = state_dims + len(self.angle_dims)

    def __call__(self, state: Tensor) -> Tensor:
        """(..., D) -> (..., F) with F = D + number of angles."""
        if not self.angle_dims:
            return state
        angles = [state[..., i : i + 1] for i in self.angle_dims]
        plain = [state[..., i : i + 1] for i in self.plain_dims]
        return torch.cat(plain + [a.sin() for a in angles] + [a.cos() for a in angles], dim=-1)

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        """Difference of two states (..., D), angles by the shorter way round.

        Some environments wrap their angles, say to [-pi, pi): a step across the seam is not a turn.
        """
        difference = after - before
        if not self.angle_dims:
            return difference
        is_angle = torch.zeros(self.state_dims, dtype=torch.bool, device=after.device)
        is_angle[list(self.angle_dims)] = True
        wrapped = torch.remainder(difference + math.pi, 2 * math.pi) - math.pi
        return torch.where(is_angle & (difference.abs() > math.pi), wrapped, difference)
