"""What a model and a policy see of a state: angles as sine and cosine, other dimensions as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
        # where the features are found in a state ...
        self._runs = _runs((i in self.angle_dims, i) for i in (*self.plain_dims, *self.angle_dims))
        # ... and where a state's dimensions are found, among the plain features and among the angles
        order = {index: n for dims in (self.plain_dims, self.angle_dims) for n, index in enumerate(dims)}
        self._inverse_runs = _runs((i in self.angle_dims, order[i]) for i in range(state_dims))

    def __call__(self, state: Tensor) -> Tensor:
        """Map states (..., D) to features (..., F) with F = D + number of angles."""
        return torch.cat(self.parts(state), dim=-1) if self.angle_dims else state

    def parts(self, state: Tensor) -> list[Tensor]:
        """Compute the features of states (..., D) in pieces that make (..., F) when put side by side."""
        angles = [state[..., run] for is_angle, run in self._runs if is_angle]
        plain = [state[..., run] for is_angle, run in self._runs if not is_angle]
        return plain + [a.sin() for a in angles] + [a.cos() for a in angles]

    def pull_back(self, features: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient by the state, (..., D), from that by the features.

            dJ/dx = dJ/dphi for plain dimensions,  cos(x) dJ/dsin(x) - sin(x) dJ/dcos(x) for angles

        Args:
            features: phi, (..., F).
            gradient: dJ/dphi, (..., F).
        """
        if not self.angle_dims:
            return gradient
        plain, count = len(self.plain_dims), len(self.angle_dims)
        sines, cosines = slice(plain, plain + count), slice(plain + count, None)
        by_angle = gradient[..., sines] * features[..., cosines]
        by_angle = torch.addcmul(by_angle, gradient[..., cosines], features[..., sines], value=-1)
        parts = [(by_angle if is_angle else gradient)[..., run] for is_angle, run in self._inverse_runs]
        return torch.cat(parts, dim=-1)

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the difference of two states (..., D), angles by the shorter way round.

        Some environments wrap their angles, say to [-pi, pi): a step across the seam is not a turn.
        """
        difference = after - before
        if not self.angle_dims:
            return difference
        is_angle = torch.zeros(self.state_dims, dtype=torch.bool, device=after.device)
        is_angle[list(self.angle_dims)] = True
        wrapped = torch.remainder(difference + math.pi, 2 * math.pi) - math.pi
        return torch.where(is_angle & (difference.abs() > math.pi), wrapped, difference)


def _runs(places: Iterable[tuple[bool, int]]) -> list[tuple[bool, slice]]:
    """Return pairs (is angle, slice), neighbours in one slice: fewer kernels."""
    runs: list[tuple[bool, slice]] = []
    for is_angle, index in places:
        if runs and runs[-1][0] == is_angle and runs[-1][1].stop == index:
            runs[-1] = is_angle, slice(runs[-1][1].start, index + 1)
        else:
            runs.append((is_angle, slice(index, index + 1)))
    return runs
