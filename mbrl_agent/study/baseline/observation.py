"""What a baseline's network sees: the observation, and the sine and cosine of its angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from mbrl_agent.features import AngleFeatures


class FeatureObservation(gymnasium.ObservationWrapper[NDArray[np.float32], Any, Any]):
    """Append the features of our agent to the angles: (other dimensions, sines, cosines, angles).

    The angles themselves stay, other than in our agent's features: it is given the cost as a function of
    the angle, but a value function has to learn it from what it sees, and the reward of the cart-pole
    swing-up, whose angle is not wrapped, is 1 at theta = 0 and 0 at theta = 2 pi. With sine and cosine alone
    these two states look the same, and SAC stays in the local optimum of never arriving.

    Args:
        env: An environment whose observations are a Box of one axis.
        angle_dims: Indices of the angles [rad]; without any, nothing changes.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], angle_dims: Sequence[int]) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"observations must be a Box with one axis, got {space}")
        self.features = AngleFeatures(space.shape[0], angle_dims)
        bound = np.ones(2 * len(self.features.angle_dims), dtype=np.float32)
        low, high = (self._arrange(np.asarray(end, np.float32), end_of * bound)
                     for end, end_of in ((space.low, -1), (space.high, 1)))  # fmt: skip
        self.observation_space = spaces.Box(low, high, dtype=np.float32)

    def _arrange(self, observation: NDArray[Any], trigonometric: NDArray[Any]) -> NDArray[np.float32]:
        """Join (..., D) and (..., 2 A) to (..., D + 2 A)."""
        plain, angles = list(self.features.plain_dims), list(self.features.angle_dims)
        parts = [observation[..., plain], trigonometric, observation[..., angles]]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def observation(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """Extend (..., D) to (..., D + 2 A), for one observation or for a batch of them."""
        seen = self.features(torch.as_tensor(np.asarray(observation, dtype=np.float32))).numpy()
        return self._arrange(np.asarray(observation), seen[..., len(self.features.plain_dims) :])
